"""What an attribution leaves on the disk.

task.json           digests of what is attributed, so that a folder is never continued with something else
matrix.accredit     every coalition with its values; grows while it is evaluated
result.json         contributions, interactions and how they were found, for programs
report.html         all of it for readers: one file that opens from disk
*.png               pictures, where the extra `report` is installed
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accredit.attribution.matrix import CounterfactualMatrix, shapley_where_known
from accredit.errors import FileDamaged, MissingExtra, MissingValue, RunFolderError, StateMismatch


@dataclass(frozen=True)
class AttributionFolder:
    """Paths of one attribution.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def task(self) -> Path:
        """What is attributed, JSON."""
        return self.path / "task.json"

    @property
    def matrix(self) -> Path:
        """The coalitions."""
        return self.path / "matrix.accredit"

    @property
    def result(self) -> Path:
        """The result, JSON."""
        return self.path / "result.json"

    def begin(self, task: Mapping[str, str]) -> None:
        """Make the folder for a task, or check that it is of the same.

        Raises:
            RunFolderError: it cannot be made, or holds something else.
            StateMismatch: it holds an attribution of another model, of other players, or on other examples.
            FileDamaged: its `task.json` is no JSON.
        """
        try:
            if self.task.exists():
                self._check_same(task)
                return
            if self.path.is_dir() and any(self.path.iterdir()):
                raise RunFolderError(
                    f"`--out` is {self.path}, which holds other files and no task.json, wanted a new folder or one of "
                    "an attribution; name another folder."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            _write_json(self.task, task)
        except OSError as error:
            if isinstance(error, RunFolderError):
                raise
            raise RunFolderError(
                f"`--out` is {self.path}, which cannot be made ({error.strerror}), wanted a folder that can be "
                "written; name another one or change its permissions."
            ) from error

    def leave(self) -> None:
        """Remove what `begin` made where nothing was evaluated after it."""
        if self.task.exists() and not self.matrix.exists():
            self.task.unlink()
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def _check_same(self, task: Mapping[str, str]) -> None:
        try:
            saved = json.loads(self.task.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FileDamaged(
                f"`{self.task}` cannot be read as JSON ({error}), wanted what accredit wrote; name another --out."
            ) from error
        differing = [name for name in task if saved.get(name) != task[name]]
        if differing:
            raise StateMismatch(
                f"`--out` is {self.path}, which was begun with other {' and other '.join(differing)}, wanted the same "
                "in all of a matrix; name another folder, or, where the file trains or draws data, let it begin with a "
                "fixed seed."
            )


def new_folder(name: str) -> AttributionFolder:
    """A folder under runs/ that does not exist yet."""
    first = Path("runs") / f"attribute-{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = first, 2
    while path.exists():
        path, number = first.with_name(f"{first.name}-{number}"), number + 1
    return AttributionFolder(path)


def result_record(matrix: CounterfactualMatrix, **more: object) -> dict[str, object]:
    """Everything that is known of a matrix but its values per example, in types that JSON has."""
    plain = matrix.to_dict() | {"interactions": {}} | more
    for output in matrix.config.outputs:
        plain["interactions"] |= {output.name: _interactions(matrix, output.name)}  # type: ignore[operator]
    return {name: _finite(entry) for name, entry in plain.items()}


def _interactions(matrix: CounterfactualMatrix, output: str) -> list[dict[str, object]] | None:
    """One entry per pair, None where the coalitions do not tell."""
    if len(matrix.players) < 2:
        return []
    try:
        result = matrix.interactions(output)
    except MissingValue:
        return None
    entries = []
    for pair in result:
        estimate = result[pair]
        ends = estimate.interval(matrix.config.confidence)
        entries.append(
            {
                "players": list(pair),
                "value": estimate.value,
                "contribution": estimate.contribution,
                "stderr": estimate.stderr,
                "lower": None if ends is None else ends[0],
                "upper": None if ends is None else ends[1],
                "caution": estimate.caution,
            }
        )
    return entries


def write_result(folder: AttributionFolder, record: Mapping[str, object]) -> None:
    """Write the result so that the file is either whole or as it was before.

    Raises:
        RunFolderError: it cannot be written.
    """
    try:
        _write_json(folder.result, record)
    except OSError as error:
        raise RunFolderError(
            f"`{folder.result}` cannot be written ({error.strerror}), wanted room and permission; free space, then run "
            "the same command again."
        ) from error


def write_pictures(matrix: CounterfactualMatrix, folder: AttributionFolder) -> list[Path]:
    """Draw contributions to every output, the way from nothing on to all on, and interactions for the first one.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    results = shapley_where_known(matrix)
    pictures: list[tuple[str, Any]] = [(f"contributions-{name}", result.plot()) for name, result in results.items()]
    for name, result in list(results.items())[:1]:
        pictures.append((f"waterfall-{name}", result.plot("waterfall")))
        if len(matrix.players) > 1:
            try:
                pictures.append((f"interactions-{name}", matrix.interactions(name).plot()))
            except MissingValue:
                continue
    written: list[Path] = []
    for name, figure in pictures:
        path = folder.path / f"{_file_name(name, written)}.png"
        figure.savefig(path)
        written.append(path)
    return written


def pictures_note(matrix: CounterfactualMatrix, folder: AttributionFolder) -> str:
    """Draw, and say what was drawn or why nothing was."""
    try:
        written = write_pictures(matrix, folder)
    except MissingExtra:
        return "no pictures, for matplotlib is not installed: pip install 'accredit[report]'"
    if not written:
        return "no pictures, for there are no Shapley values"
    return f"pictures: {written[0]}" + (f" and {len(written) - 1} more" if written[1:] else "")


def _file_name(text: str, written: list[Path]) -> str:
    """A name that any file system takes, unlike those before."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:100]
    stems = {path.stem.lower() for path in written}
    return plain if plain.lower() not in stems else f"{plain}-{len(written) + 1}"


def _finite(entry: Any) -> Any:
    """The entry with None for numbers that JSON does not have: what is unknown or without bound."""
    if isinstance(entry, float):
        return entry if math.isfinite(entry) else None
    if isinstance(entry, dict):
        return {name: _finite(one) for name, one in entry.items()}
    return [_finite(one) for one in entry] if isinstance(entry, list | tuple) else entry


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write beside the place, then move there at once."""
    temporary = path.with_name(path.name + ".writing")
    temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
    temporary.replace(path)
