"""Finished evaluations that are lost when the value function or the process fails, and coalitions evaluated twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, CounterfactualMatrix, SingleCoalitions
from accredit.errors import EvaluationError, EvaluationInterrupted

PLAYERS = [f"p{number}" for number in range(9)]
FAIL_AT = 40


class Fragile:
    """A value function that counts what it finished and fails once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.finished: Counter[bytes] = Counter()

    def __call__(self, mask: Tensor) -> dict[str, float]:
        if sum(self.finished.values()) == FAIL_AT and self.kind != "whole":
            kind, self.kind = self.kind, "whole"
            if kind == "exception":
                raise RuntimeError("out of memory")
            if kind == "interrupt":
                raise KeyboardInterrupt
            if kind == "nan":
                return {"value": float("nan")}
            if kind == "timeout":
                time.sleep(0.3)
        self.finished[bytes(mask.tolist())] += 1
        return {"value": float(mask.sum()) ** 2}


def lost_and_duplicated(folder: Path) -> dict[str, int]:
    """Sum over exception, NaN, timeout, interrupt and SIGKILL; each is continued to its end."""
    lost = duplicates = 0
    for kind in ("exception", "nan", "timeout", "interrupt"):
        game = Fragile(kind)
        timeout = 0.25 if kind == "timeout" else None
        config = CounterfactualConfig(strategy="shapley", max_evaluations=120, timeout_s=timeout)
        try:
            matrix = CounterfactualEngine(config).compute_matrix(PLAYERS, SingleCoalitions(game))
        except (EvaluationError, EvaluationInterrupted) as error:
            matrix = error.matrix
        lost += len(game.finished) - len(matrix.masks)
        whole = CounterfactualConfig(strategy="shapley", max_evaluations=120)
        matrix = CounterfactualEngine(whole).compute_matrix(PLAYERS, SingleCoalitions(game), matrix=matrix)
        lost += 120 - len(matrix.masks)
        duplicates += sum(game.finished.values()) - len(game.finished)
    killed = _killed(folder)
    return {"lost_evaluations": lost + killed["lost"], "duplicates": duplicates + killed["duplicates"]}


def _killed(folder: Path) -> dict[str, int]:
    """Run in a process of its own that is killed after some evaluations; then the same call again finishes the file."""
    log, path = folder / "evaluated.txt", folder / "killed.matrix"
    command = [sys.executable, "-m", "benchmarks.attribution_faults", str(path), str(log)]
    process = subprocess.Popen(command, cwd=Path(__file__).resolve().parent.parent)
    while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < FAIL_AT):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(log.read_text().splitlines())
    kept = len(CounterfactualMatrix.load(path, recover=True).masks)
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parent.parent)
    lines = log.read_text().splitlines()
    # the evaluation in flight when the signal came may have been logged before it was kept
    return {"lost": max(0, before - 1 - kept), "duplicates": max(0, len(lines) - len(set(lines)) - 1)}


def evaluate_slowly(path: Path, log: Path) -> None:
    def value(mask: Tensor) -> dict[str, float]:
        time.sleep(0.01)
        with log.open("a") as file:
            file.write("".join("1" if on else "0" for on in mask.tolist()) + "\n")
        return {"value": float(mask.sum()) ** 2}

    config = CounterfactualConfig(strategy="shapley", max_evaluations=120, coalitions_per_call=1)
    CounterfactualEngine(config).compute_matrix(PLAYERS, SingleCoalitions(value), path=path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    evaluate_slowly(Path(sys.argv[1]), Path(sys.argv[2]))
