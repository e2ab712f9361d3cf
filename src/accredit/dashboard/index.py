"""Following the file of events of a run: read once, remembered beside the file, begun anew where the run was cut."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from accredit.dashboard.tally import Tally

_VERSION = 3
"""Raised when a saved index means something else, or what is kept changes; an older one is built anew."""
_CHUNK = 1 << 21
_LONGEST_LINE = 1 << 26
_SAVE_EVERY = 200_000
"""Lines that may have to be read again when the page is started again."""


class RunIndex:
    """What the events of a run say, kept up with the file as it grows.

    A run that is resumed cuts its file and writes the end again, perhaps faster than anybody looks. The index therefore
    keeps a digest of the last line it has read; where the file has another line there, it begins anew, from the index
    that was saved beside the file if that still fits. `poll` is called by one thread; `lock` guards `tally` for others.

    Args:
        folder: of a run. Nothing in it is changed but `events.index`, which may be deleted at any time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "events.jsonl"
        self.saved = folder / "events.index"
        self.lock = threading.Lock()
        self.tally = Tally()
        self.version = 0
        """Raised at every change."""
        self.size = 0
        """Bytes of the file when it was last looked at."""
        self.problem = ""
        """Why the file cannot be read at the moment, as a sentence; empty where it can."""
        self._last = (0, "")  # length and digest of the last line that was read
        self._seen: tuple[int, int, int] | None = None
        self._saved_lines = 0
        self._is_begun = False

    def poll(self) -> bool:
        """Read on by at most one chunk.

        Returns:
            Whether there is more to read at once.
        """
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                # opening a pipe would wait for whoever writes to it
                raise IsADirectoryError(errno.EISDIR, "not a file")
            with self.path.open("rb") as file:
                return self._read(file)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            self._say("No event has been written yet." if missing else f"{self.path.name}: {error.strerror}.")
            if missing and self.tally.position:
                self._restart(Tally(), (0, ""))
            self.size = 0
            return False

    def progress(self) -> float:
        """Return the share of the file that was read, in [0, 1]."""
        if not (self._is_begun or self.problem):
            return 0.0
        return min(1.0, self.tally.position / self.size) if self.size else 1.0

    def save(self) -> None:
        """Write the index beside the file, whole or not at all; a folder that cannot be written is left as it is."""
        with self.lock:
            content = json.dumps({"tally": self.tally.to_plain(), "last": self._last}).encode()
            self._saved_lines = self.tally.lines
        head = json.dumps({"version": _VERSION, "sha256": hashlib.sha256(content).hexdigest()}).encode()
        writing = self.saved.with_name(f".{self.saved.name}.{os.getpid()}.writing")
        try:
            writing.write_bytes(head + b"\n" + content)
            writing.replace(self.saved)
        except OSError:  # read-only or full: the next start reads the events again
            with suppress(OSError):
                writing.unlink(missing_ok=True)

    def save_if_due(self) -> None:
        """Save where much was read since the last time."""
        if self.tally.lines - self._saved_lines >= _SAVE_EVERY:
            self.save()

    def _read(self, file: BinaryIO) -> bool:
        status = os.fstat(file.fileno())
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if not self._is_begun or (seen != self._seen and not _fits(file, self.tally.position, self._last)):
            self._begin(file)
        self._seen, self.size = seen, status.st_size
        self._say("")
        file.seek(self.tally.position)
        chunk = file.read(_CHUNK)
        while chunk and b"\n" not in chunk and len(chunk) < _LONGEST_LINE:
            more = file.read(_CHUNK)
            if not more:
                return False
            chunk += more
        end = chunk.rfind(b"\n") + 1
        if end == 0 and len(chunk) >= _LONGEST_LINE:
            end = len(chunk)  # no line of events is so long; going on counts it as unreadable
        if end == 0:
            return False
        lines = chunk[:end].splitlines(keepends=True) if b"\r" not in chunk else _lines(chunk[:end])
        with self.lock:
            for line in lines:
                self.tally.take(line)
            self._last = (len(lines[-1]), hashlib.sha256(lines[-1]).hexdigest())
            self.version += 1
        self.save_if_due()
        return self.tally.position < status.st_size and len(chunk) >= _CHUNK

    def _begin(self, file: BinaryIO) -> None:
        """Begin with the saved index if it fits the file, else with nothing."""
        tally, last = Tally(), (0, "")
        saved = self._load()
        if saved is not None and _fits(file, saved[0].position, saved[1]):
            tally, last = saved
        self._restart(tally, last)
        self._is_begun = True

    def _restart(self, tally: Tally, last: tuple[int, str]) -> None:
        with self.lock:
            self.tally, self._last = tally, last
            self._saved_lines = tally.lines
            self.version += 1

    def _load(self) -> tuple[Tally, tuple[int, str]] | None:
        """Return the saved index, or None where there is none that is whole and of this version."""
        try:
            head, _, content = self.saved.read_bytes().partition(b"\n")
            described: Any = json.loads(head)
            if described != {"version": _VERSION, "sha256": hashlib.sha256(content).hexdigest()}:
                return None
            plain: Any = json.loads(content)
            return Tally.from_plain(plain["tally"]), (plain["last"][0], plain["last"][1])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self.version += 1


def _lines(chunk: bytes) -> list[bytes]:
    """Split at line feeds only; `splitlines` would also split at the carriage returns of a damaged file."""
    return [line + b"\n" for line in chunk.split(b"\n")[:-1]] or [chunk]


def _fits(file: BinaryIO, position: int, last: tuple[int, str]) -> bool:
    """Whether the line that ends at `position` is the one that was read there."""
    length, digest = last
    if position == 0:
        return True
    file.seek(position - length)
    return hashlib.sha256(file.read(length)).hexdigest() == digest
