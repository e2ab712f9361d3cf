"""Commands in processes of their own, so that they can be killed.

A fork server imports the package once; each command is a fork of it, with a process id of its own.
"""

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["accredit.cli.work", "accredit.training.loop"])
LIMIT_S = 120.0


def command(arguments: list[str], output: Path) -> None:
    """Run one command of `accredit` with both streams in a file; what a child does."""
    from accredit.cli import main

    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.exit(main(arguments))


def start(arguments: list[str], output: Path) -> ForkServerProcess:
    """Begin a command and return at once."""
    process = FORKS.Process(target=command, args=(arguments, output))
    process.start()
    return process


def end(process: ForkServerProcess) -> int:
    """Wait for a command and return its exit status; negative: the signal that ended it."""
    process.join(LIMIT_S)
    status = process.exitcode
    if status is None:
        process.kill()
        raise TimeoutError("a command did not end")
    process.close()
    return status


def signal_at(process: ForkServerProcess, path: Path, size: int, number: signal.Signals) -> None:
    """Send a signal as soon as a file has grown to `size` bytes, or not at all where the process ends before."""
    limit = time.monotonic() + LIMIT_S
    while process.is_alive() and time.monotonic() < limit:
        if path.exists() and path.stat().st_size >= size:
            os.kill(process.pid, number)
            return
        time.sleep(0.0005)
