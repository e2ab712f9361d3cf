"""A run's folder: where each of its files is, and the only code that makes or finds one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accredit.errors import FileDamaged, RunFolderError


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The configuration, JSON."""
        return self.path / "config.json"

    @property
    def events(self) -> Path:
        """The events, JSON lines."""
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        """The outcome of the final evaluation, JSON; exists once that is through."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The report, HTML."""
        return self.path / "report.html"

    def create(self, config: Mapping[str, Any]) -> None:
        """Make the folder, which must be new, with the configuration in it: both at once, or neither.

        Raises:
            RunFolderError: it exists, or cannot be made.
        """
        if self.path.exists():
            raise RunFolderError(
                f"`--out` is {self.path}, which exists, wanted a new folder; go on with that run by "
                f"`accredit resume {self.path}`, or name another folder."
            )
        beginning = self.path.with_name(f".{self.path.name}-{os.getpid()}.beginning")
        try:
            beginning.mkdir(parents=True)
            write_json(beginning / self.config.name, config)
            beginning.rename(self.path)
        except OSError as error:
            raise RunFolderError(
                f"`--out` is {self.path}, which cannot be made ({error.strerror}), wanted a folder that can be "
                "written; name another one or change its permissions."
            ) from error

    def require(self) -> None:
        """Check that a run lives here.

        Raises:
            RunFolderError: there is no configuration in the folder.
        """
        if not self.config.is_file():
            raise RunFolderError(
                f"`RUN` is {self.path}, which holds no run, wanted a folder with a config.json; "
                "name a folder that `accredit grow` has made, such as one under runs/."
            )

    def unused_name(self) -> RunFolder:
        """Return this folder, or the first of `name-2`, `name-3`, ... that does not exist."""
        candidate, number = self.path, 2
        while candidate.exists():
            candidate, number = self.path.with_name(f"{self.path.name}-{number}"), number + 1
        return RunFolder(candidate)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that the file is either whole or not there.

    Raises:
        RunFolderError: it cannot be written.
    """
    temporary = path.with_name(path.name + ".writing")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunFolderError(
            f"`{path}` cannot be written ({error.strerror}), wanted room and permission; "
            "free space or change the permissions, then resume the run."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file.

    Raises:
        FileDamaged: the file is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FileDamaged(
            f"`{path}` cannot be read as JSON ({error}), wanted what accredit wrote; restore the file from a copy."
        ) from error
    if not isinstance(content, dict):
        raise FileDamaged(
            f"`{path}` holds a {type(content).__name__}, wanted a JSON object; restore the file from a copy."
        )
    return content
