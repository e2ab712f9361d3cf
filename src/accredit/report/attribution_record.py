"""What an attribution left in its folder: the matrix, and how it came about."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accredit.attribution.matrix import CounterfactualMatrix
from accredit.errors import RunFolderError

MATRIX, RESULT, TASK, REPORT = "matrix.accredit", "result.json", "task.json", "report.html"

_STOPPED = {
    "timeout_s": "Evaluating ended at the time limit",
    "failure": "Evaluating ended because coalitions failed",
    "interrupt": "Evaluating was stopped",
    "killed": "Evaluating goes on, or was killed",
}
"""Ends that a reader must know of; the others are those that were asked for."""


@dataclass(frozen=True, kw_only=True)
class AttributionRecord:
    """What the files of an attribution say."""

    folder: Path
    matrix: CounterfactualMatrix
    details: dict[str, Any]
    """`result.json`, for how the matrix came about: source, command, versions, sharing; empty where it is missing."""
    task: dict[str, Any]
    """Digests of what was attributed; empty where they are missing."""
    notices: tuple[str, ...] = field(default=())
    """What is missing, or not as it should be, in sentences."""


def read_attribution(folder: Path, matrix: CounterfactualMatrix | None = None) -> AttributionRecord:
    """Read the folder of an attribution that is finished, goes on, or was stopped.

    Args:
        folder: where `accredit attribute` keeps everything.
        matrix: what is in its file, where it is at hand.

    Raises:
        RunFolderError: there is no matrix in the folder.
        FileDamaged: the matrix was altered, or is from a newer version.
    """
    notices: list[str] = []
    if matrix is None:
        path = folder / MATRIX
        if not path.is_file():
            raise RunFolderError(
                f"`RUN` is {folder}, which holds no {MATRIX}, wanted the folder of an attribution; name one that "
                "`accredit attribute` has made."
            )
        matrix = CounterfactualMatrix.load(path, recover=True)
    details = _json(folder / RESULT, notices, "how to repeat it")
    task = _json(folder / TASK, notices, "what was attributed")
    return AttributionRecord(
        folder=folder, matrix=matrix, details=details, task=task, notices=(*_standing(matrix), *notices)
    )


def _standing(matrix: CounterfactualMatrix) -> list[str]:
    """What the reader must know before the numbers."""
    said = []
    ended = _STOPPED.get(matrix.provenance.stop_reason)
    if ended is not None:
        count = matrix.cost.n_evaluations
        said.append(f"{ended}: there are {count} coalitions. The same command goes on in the same folder.")
    if matrix.failures:
        first = matrix.failures[0]
        said.append(
            f"{len(matrix.failures)} coalitions failed and have no value, first {first.players}: {first.message}"
        )
    return said


def _json(path: Path, notices: list[str], what: str) -> dict[str, Any]:
    """A JSON object; an empty one, with a notice, where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        notices.append(f"{path.name} is missing, which says {what}.")
        return {}
    except (OSError, ValueError) as error:
        notices.append(f"{path.name} cannot be read ({error}), which says {what}.")
        return {}
    if not isinstance(content, dict):
        notices.append(f"{path.name} holds no JSON object, but a {type(content).__name__}; it says {what}.")
        return {}
    return content
