"""One process at a time in a run folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from accredit.errors import RunFolderError


@contextmanager
def locked(folder: Path, *, argument: str = "RUN") -> Iterator[None]:
    """Keep other processes from writing to a run while this one does.

    The operating system holds the lock for as long as the process lives, and gives it back however that ends: what
    SIGKILL leaves behind is taken over, and a process id that was given to somebody else in between misleads nobody.
    The file `run.lock` says who holds it; it stays, empty, when the lock is given back.

    Args:
        folder: of a run; it must exist.
        argument: how the caller knows it, for the message.

    Raises:
        RunFolderError: a living process, perhaps of another machine, uses the run; or the folder cannot be written.
    """
    path = folder / "run.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _cannot_lock(path, error) from error
    try:
        _take(descriptor, path, folder, argument)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def user_of(folder: Path) -> str | None:
    """Say which living process uses a run, None where none does; the folder may be read-only, and stays as it is.

    Args:
        folder: of a run.
    """
    try:
        descriptor = os.open(folder / "run.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # a run that nobody has locked has no such file
    try:
        # shared, so that two readers do not take each other for the user; given back by closing
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _take(descriptor: int, path: Path, folder: Path, argument: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunFolderError(
            f"`{argument}` is {folder}, which {_holder(descriptor)} is using, wanted a run that no living process "
            "uses; wait for it to end, stop it by Ctrl-C (SIGINT), or begin another run."
        ) from error
    except OSError as error:  # some network file systems have no locks
        raise _cannot_lock(path, error) from error
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
    except OSError as error:
        raise _cannot_lock(path, error) from error


def _holder(descriptor: int) -> str:
    """Say who holds the lock, as far as the file tells; its holder may be about to write it."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(owner['pid'])} on {owner['host']} (since {owner['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has just begun"


def _cannot_lock(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"`{path}` cannot be locked ({error.strerror or error}), wanted a folder that can be written and locked; "
        "change its permissions, or keep the run on a disk of this machine."
    )
