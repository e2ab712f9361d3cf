"""Whatever a folder holds, as the page sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from accredit.dashboard.attribution import MATRIX, TASK, WatchedAttribution
from accredit.dashboard.figures import Selection
from accredit.dashboard.run import WatchedRun
from accredit.errors import RunFolderError

Plain = dict[str, Any]


class Watched(Protocol):
    """What is shown side by side: a run, or an attribution."""

    @property
    def name(self) -> str:
        """Under which it is shown."""

    @property
    def version(self) -> int:
        """Raised at every change."""

    def poll(self) -> bool:
        """Look at the files once; return whether there is more to read at once. Called by one thread."""

    def progress(self) -> float:
        """Return the share of the files that was read, in [0, 1]."""

    def save(self) -> None:
        """Keep what makes the next start faster, if anything does."""

    def state(self) -> str:
        """Return how it stands, in a few words, as far as its files tell."""

    def choices(self) -> Plain:
        """Return what can be selected: groups of environments, environments and outputs."""

    def answer(self, selection: Selection) -> Plain:
        """Return how it stands and its figures, as plain values."""

    def log(self, *, before: int, place: str) -> Plain:
        """Return some single events before a line, latest first, as texts."""


def watched(folder: Path, name: str) -> Watched:
    """Return what a folder holds.

    Args:
        folder: of a run or of an attribution, finished or not.
        name: under which it is shown.

    Raises:
        RunFolderError: the folder holds neither, or is none.
        FileDamaged: the configuration of a run cannot be read.
    """
    if (folder / "config.json").is_file():
        return WatchedRun(folder, name)
    if any((folder / each).is_file() for each in (MATRIX, TASK)):
        return WatchedAttribution(folder, name)
    what = "which holds no run and no attribution" if folder.is_dir() else "which is no folder"
    raise RunFolderError(
        f"`RUN` is {folder}, {what}, wanted one with a config.json or a {MATRIX}; name a folder that `accredit grow` "
        "or `accredit attribute` has made, such as one under runs/."
    )
