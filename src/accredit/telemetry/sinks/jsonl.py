"""Events as JSON lines, in a file that survives SIGKILL and continues exactly."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Self

from accredit.errors import FileDamaged, RunFolderError
from accredit.telemetry.event import Event
from accredit.telemetry.record import UnknownEvent, UnreadableLineError, decode_timed, encode, head_of


class JsonlSink:
    r"""Append events to a file, one line each, handed to the operating system before the call returns.

    A killed process loses no event whose call had returned; at most a torn last line stays, which is trimmed when the
    file is opened again. One sink writes to a file at a time, from one thread at a time; any process may read.

    Args:
        path: The file; created with its folder if missing, continued if it exists.

    Raises:
        RunFolderError: The file cannot be opened or, on a call, written.

    Example:
        >>> import tempfile
        >>> from accredit.telemetry import CoalitionsEvaluated, Origin
        >>> event = CoalitionsEvaluated(
        ...     origin=Origin(environment="host-0", step=4),
        ...     players=("a",),
        ...     coalitions=("0", "1"),
        ...     values={"loss": (0.7, None)},
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with JsonlSink(Path(folder) / "events.jsonl") as sink:
        ...         sink(event)
        ...     list(read(Path(folder) / "events.jsonl", environment="host-0")) == [event]
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            _trim(path)
            self._file: BufferedWriter = path.open("ab")
        except OSError as error:
            raise _cannot_write(path, error) from error

    def __call__(self, event: Event) -> None:
        """Write one event."""
        line = encode(event, time_s=round(time.time(), 3))
        try:
            self._file.write(line.encode("ascii") + b"\n")
            self._file.flush()
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def position(self) -> int:
        """Return the size of the file in bytes after everything so far has reached the disk.

        Save it in a checkpoint; `cut` sets the file back to it.
        """
        try:
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        try:
            self._file.close()
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def __enter__(self) -> Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def cut(path: Path, position: int) -> None:
    """Remove everything that was written after `position`, so that a resumed run writes it again.

    Args:
        path: A file of events that no sink has open.
        position: What `JsonlSink.position` returned, in bytes.

    Raises:
        FileDamaged: The file is shorter than `position`, or `position` is inside a line.
        RunFolderError: The file is missing or cannot be written.
    """
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size < position:
                raise FileDamaged(
                    f"`{path}` has {size} bytes, but the checkpoint was taken at byte {position}; events are missing, "
                    "so restore the file from a backup or start the run again."
                )
            if position > 0:
                file.seek(position - 1)
                if file.read(1) != b"\n":
                    raise FileDamaged(
                        f"`{path}` has no end of line before byte {position}, but the checkpoint was taken there; it "
                        "was altered, so restore it from a backup or start the run again."
                    )
            file.truncate(position)
            os.fsync(file.fileno())
    except OSError as error:
        raise _cannot_write(path, error) from error


def read(
    path: Path,
    *,
    kinds: Collection[type[Event]] | None = None,
    environment: str | None = None,
    episode: int | None = None,
    step: int | None = None,
) -> Iterator[Event | UnknownEvent]:
    """Read the events of a file one after the other; a torn last line is left out.

    The times are left out, so that the events of two runs with the same seed are equal.

    Args:
        path: A file that a `JsonlSink` wrote, or is still writing.
        kinds: Only events of these classes, if given; lines of other kinds are passed over without being looked at,
            many times faster.
        environment: Only events of this environment, if given.
        episode: Only events of this episode, if given.
        step: Only events of this step, if given.

    Returns:
        The events in the order they were written; a kind unknown here comes as `UnknownEvent`.

    Raises:
        FileDamaged: A line is not an event, or has a newer version; the message has its number.
        RunFolderError: The file cannot be read.
    """
    timed = read_timed(path, kinds=kinds, environment=environment, episode=episode, step=step)
    return (event for _, event in timed)


def read_timed(
    path: Path,
    *,
    kinds: Collection[type[Event]] | None = None,
    environment: str | None = None,
    episode: int | None = None,
    step: int | None = None,
) -> Iterator[tuple[float, Event | UnknownEvent]]:
    """Read the events of a file as `read` does, each with its time in seconds since 1970, UTC."""
    heads = tuple(head_of(kind).encode("ascii") for kind in kinds or ())
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                if kinds is not None and not line.startswith(heads):
                    continue
                time_s, event = _decode(path, number, line)
                origin = event.origin
                if (
                    (environment is None or origin.environment == environment)
                    and (episode is None or origin.episode == episode)
                    and (step is None or origin.step == step)
                ):
                    yield time_s, event
    except OSError as error:
        raise RunFolderError(
            f"`{path}` cannot be read: {error.strerror or error}; a run keeps its events there, so give the folder of "
            "a run."
        ) from error


def _decode(path: Path, number: int, line: bytes) -> tuple[float, Event | UnknownEvent]:
    try:
        return decode_timed(line.decode("utf-8"))
    except (UnreadableLineError, UnicodeDecodeError) as error:
        raise FileDamaged(
            f"`{path}` line {number} {error}; every line must be an event as it was written, so restore the file or "
            "read it with the version of Accredit that wrote it."
        ) from error


def _trim(path: Path) -> None:
    """Cut off a last line that has no end."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        while keep > 0:
            start = max(0, keep - 65536)
            file.seek(start)
            last = file.read(keep - start).rfind(b"\n")
            if last >= 0:
                keep = start + last + 1
                break
            keep = start
        if keep < end:
            file.truncate(keep)


def _cannot_write(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"`{path}` cannot be written: {error.strerror or error}; every event must be kept, so make room or grant "
        "access and resume the run."
    )
