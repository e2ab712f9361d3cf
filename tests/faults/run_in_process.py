"""Commands in processes of their own, so that they can be killed, and how two runs are compared bit by bit.

A fork server imports the package once; each command is a fork of it, with a process id of its own.
"""

import json
import multiprocessing
import os
import re
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from accredit import checkpoint
from accredit.telemetry import read

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["accredit.cli.work", "accredit.training.loop"])
LIMIT_S = 120.0
UPDATES = 3
TINY = [
    "--environments", "2", "--updates", str(UPDATES), "--set", "episode.steps=6", "episode.minibatches=2",
    "episode.batch_size=16", "episode.host_seeds=4", "evaluation.hosts=2", "evaluation.calibration_episodes=1",
    "checkpoint_every=1", "ppo.epochs=2",
]  # fmt: skip


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


def tables(output: Path) -> list[str]:
    """Return what a quiet command printed, but for the path of the report."""
    return [line for line in output.read_text().splitlines() if not re.match("report: |accredit: |`.*damaged", line)]


def same(first: object, second: object) -> bool:
    """Compare nested states bit by bit; NaN equals NaN."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first.nan_to_num(nan=-77.0), second.nan_to_num(nan=-77.0))
    if isinstance(first, dict) and isinstance(second, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second


def assert_equal_runs(folder: Path, reference: Path) -> None:
    """Events but for times, comparison, final weights and everything else of the last checkpoint; tolerance 0."""
    assert list(read(folder / "events.jsonl")) == list(read(reference / "events.jsonl"))
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(
        (reference / "evaluation.json").read_text()
    )
    states = [checkpoint.load_latest(f / "checkpoints", on_damaged=pytest.fail) for f in (folder, reference)]
    assert states[0][1] == states[1][1] == UPDATES
    assert same(states[0][0]["trainer"], states[1][0]["trainer"])
