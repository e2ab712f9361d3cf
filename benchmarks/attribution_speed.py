"""Times of the core on one thread, each the median of several runs in processor time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from accredit.attribution import CounterfactualConfig, CounterfactualEngine
from accredit.attribution.design import ComplementPairDesign
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.transforms import shapley_values


def median_ms(work: Callable[[], object], *, runs: int) -> float:
    work()
    times = []
    for _ in range(runs):
        started = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - started))
    return round(statistics.median(times), 3)


def fit_ms(*, runs: int) -> dict[str, float]:
    """Time to estimate from values that are there, by players and evaluations."""
    result = {}
    for n_players, n_evaluations in ((12, 384), (64, 1024), (200, 2000)):
        masks = ComplementPairDesign()(n_players, n_evaluations, seed=0)
        generator = np.random.default_rng(0)
        values = np.tanh(masks @ generator.normal(size=n_players))[:, None] + masks[:, :1] * masks[:, 1:2]
        few = runs if n_players < 100 else 1
        result[f"n={n_players}, {n_evaluations} evaluations"] = median_ms(
            partial(PairProcess(), masks, values), runs=few
        )
    return result


def exact_ms(*, runs: int) -> dict[str, float]:
    """Time of the exact Shapley values from a complete table of one output."""
    tables = {n: np.random.default_rng(0).normal(size=2**n) for n in (12, 16, 20)}
    return {str(n): median_ms(partial(shapley_values, table), runs=runs) for n, table in tables.items()}


def overhead_us(*, runs: int) -> float:
    """Time per evaluation of a complete matrix of 12 players whose values cost nothing: planning and bookkeeping."""
    players = [f"p{number}" for number in range(12)]
    table = torch.randn(2**12, dtype=torch.float64)
    bits = 1 << torch.arange(12)
    engine = CounterfactualEngine(CounterfactualConfig(max_evaluations=2**12))

    def work() -> object:
        return engine.compute_matrix(players, lambda masks: {"value": table[masks.long() @ bits]})

    return round(1e3 * median_ms(work, runs=runs) / 2**12, 3)
