"""`accredit watch`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from accredit.cli.commands import Watch
from accredit.errors import InvalidArgument, MissingExtra

DONE = 0


def watch_runs(command: Watch) -> int:
    """Serve the live page until Ctrl-C."""
    try:
        from accredit.dashboard import Address, watch, watched
    except ModuleNotFoundError as error:
        if (error.name or "accredit").split(".")[0] == "accredit":
            raise
        raise MissingExtra(
            f"`accredit watch` needs the package {error.name}, which is not installed; install the live page by "
            "pip install 'accredit[watch]'."
        ) from error
    if not command.run:
        raise InvalidArgument(
            "`RUN` is missing, wanted the folder of at least one run or attribution; write for example "
            "accredit watch runs/first."
        )
    token = command.token or os.environ.get("ACCREDIT_TOKEN") or None
    address = Address(host=command.host, port=command.port, token=token)
    names = _names(command.run)
    runs = [watched(folder, name) for folder, name in zip(command.run, names, strict=True)]
    watch(runs, address, on_ready=_ready, on_progress=None if command.quiet else _Progress())
    print("the page has ended; the runs go on")
    return DONE


def _ready(url: str) -> None:
    print(f"live page: {url}\nCtrl-C ends it; the runs go on without it", flush=True)


class _Progress:
    """Says at most twice a second how much of a run was read, on one line where that is possible."""

    def __init__(self) -> None:
        self._said_s = 0.0
        self._is_open = False

    def __call__(self, name: str, share: float) -> None:
        is_terminal = sys.stderr.isatty()
        is_due = time.monotonic() - self._said_s > (0.5 if is_terminal else 5.0)
        if share < 1.0 and is_due:
            self._said_s, self._is_open = time.monotonic(), True
            end = "\r" if is_terminal else "\n"
            print(f"reading {name!r}: {share:4.0%}", end=end, file=sys.stderr, flush=True)
        elif share >= 1.0 and self._is_open:
            self._is_open = False
            print(f"reading {name!r}: done", file=sys.stderr, flush=True)


def _names(folders: tuple[Path, ...]) -> list[str]:
    """Name each run by its folder, or by the whole path where several are called the same."""
    last = [folder.resolve().name for folder in folders]
    return [name if last.count(name) == 1 else str(folder) for folder, name in zip(folders, last, strict=True)]
