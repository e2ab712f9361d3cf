"""One process at a time appends to the file of a matrix."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import BinaryIO

from accredit.errors import RunFolderError

_PATIENCE_S = 0.5  # a reader that looks whether somebody writes holds the lock for a moment
_AGAIN_S = 0.01


def claim(file: BinaryIO, path: Path) -> None:
    """Lock an open file for this process until it is closed, however the process ends.

    The lock is one of POSIX: no child inherits it, so that workers which outlive a killed process hold up nobody. It
    keeps out other processes, not other threads, and closing any other descriptor of the file gives it back.

    Args:
        file: open for writing.
        path: how the caller knows it, for the message.

    Raises:
        RunFolderError: another living process writes it.
    """
    begin_s = time.monotonic()
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            if time.monotonic() - begin_s < _PATIENCE_S:
                time.sleep(_AGAIN_S)
                continue
            raise in_use(path) from error
        except OSError:
            return  # a file system without locks: as safe as it can be
        return


def in_use(path: Path) -> RunFolderError:
    """Return the error that says so."""
    return RunFolderError(
        f"`path` is {path}, which another process is writing, wanted a matrix that no living process writes; wait for "
        "it to end, stop it by Ctrl-C (SIGINT), or name another place."
    )


def is_being_written(path: Path) -> bool:
    """Whether another living process appends to the file of a matrix; of one that is not there nobody does.

    Args:
        path: of the matrix; it may be read-only, and stays as it is.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
