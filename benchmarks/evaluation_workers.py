"""Two worker processes on one matrix, against two processes that know nothing of each other, one thread each.

Wall clock, for processor time would not see a worker that waits. Both sides are warm.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import torch
from benchmarks.evaluation_models import convolutional
from benchmarks.evaluation_timing import new_value

from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.models.value import ModelValue
from accredit.models.workers import ProcessWorkers


def built(seed: int) -> ModelValue:
    """The CNN of 8 blocks between host blocks."""
    torch.manual_seed(seed)
    return new_value(convolutional(32, 8, 64, hosts=True, kind="exportable"))


def engine_for(value: ModelValue) -> CounterfactualEngine:
    """All 256 coalitions."""
    return CounterfactualEngine(CounterfactualConfig(max_evaluations=256, outputs=value.outputs))


def alone(connection: Connection, seed: int) -> None:
    """A process of its own: a matrix whenever it is asked for one."""
    torch.set_num_threads(1)
    value = built(seed)
    engine = engine_for(value)
    while connection.recv():
        engine.compute_matrix(value.switchable.players, value)
        connection.send(None)


def two_workers(*, seed: int, repetitions: int) -> dict[str, Any]:
    """Share of the throughput of two independent processes that two workers on one matrix have."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    processes = [context.Process(target=alone, args=(there, seed), daemon=True) for _, there in pipes]
    for process in processes:
        process.start()

    def apart() -> float:
        started = time.perf_counter()
        for here, _ in pipes:
            here.send(True)
        for here, _ in pipes:
            here.recv()
        return time.perf_counter() - started

    value = built(seed)
    engine, players = engine_for(value), value.switchable.players
    plain = engine.compute_matrix(players, value)
    shares, alike = [], True
    with ProcessWorkers(value, n_workers=2, threads=1) as workers:

        def together() -> float:
            nonlocal alike
            started = time.perf_counter()
            matrix = engine.compute_matrix(players, workers.value, executor=workers.executor)
            spent = time.perf_counter() - started
            alike &= bool((matrix.values("loss") == plain.values("loss")).all())
            return spent

        for _ in range(2):
            apart()
            together()
        for _ in range(repetitions):
            apart_s = apart()
            shares.append(apart_s / (2 * together()))
    for here, _ in pipes:
        here.send(False)
    for process in processes:
        process.join()
    return {"share": round(statistics.median(shares), 3), "all": [round(each, 3) for each in shares], "equal": alike}
