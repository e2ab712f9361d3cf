"""Squared errors of the peers on tables that the benchmark wrote; runs in an environment of its own, without accredit.

    python attribution_peers.py TABLES_FOLDER OUT.json --seeds 30

Each peer gets as many distinct evaluations as its rivals: one that asks for a coalition twice is given a larger budget,
until its distinct ones reach the number. A peer that fails on a cell is left out of that cell, and named in the output.
Axes: N players.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import shap
import shapiq
import shapiq.approximator as approximators

warnings.filterwarnings("ignore")

Values = np.ndarray
Peer = Callable[["CountedGame", int, int], Values]


class CountedGame:
    """A table looked up coalition by coalition, [M, N] bool at a time, counting the distinct ones."""

    def __init__(self, table: Values) -> None:
        self.table = table
        self.n_players = int(math.log2(len(table)))
        self.asked: set[int] = set()

    def __call__(self, masks: Values) -> Values:
        rows = np.atleast_2d(np.asarray(masks)) > 0.5
        index = rows @ (1 << np.arange(self.n_players))
        self.asked.update(index.tolist())
        return self.table[index] - self.table[0]


def shapiq_peer(name: str, **options: object) -> Peer:
    """Return a peer from shapiq's approximators."""

    def estimate(game: CountedGame, budget: int, seed: int) -> Values:
        found = getattr(approximators, name)(n=game.n_players, random_state=seed, **options).approximate(budget, game)
        values = np.zeros(game.n_players)
        for coalition, position in found.interaction_lookup.items():
            if len(coalition) == 1:
                values[coalition[0]] = found.values[position]
        return values

    return estimate


def shap_kernel(game: CountedGame, budget: int, seed: int) -> Values:
    """shap.KernelExplainer with a zero background, so that a masked player is 0."""
    np.random.seed(seed)  # noqa: NPY002 - shap draws from the global generator
    n = game.n_players
    explainer = shap.KernelExplainer(game, np.zeros((1, n)), silent=True)
    return np.asarray(explainer.shap_values(np.ones((1, n)), nsamples=budget - 2, silent=True, l1_reg=0)).ravel()


def shap_permutation(game: CountedGame, budget: int, seed: int) -> Values:
    """shap.PermutationExplainer: antithetic permutations."""
    n = game.n_players
    explainer = shap.PermutationExplainer(game, np.zeros((1, n)), seed=seed)
    rounds = max(1, budget // (2 * n))
    return explainer(np.ones((1, n)), max_evals=rounds * 2 * n + 1, silent=True).values.ravel()


def antithetic(game: CountedGame, budget: int, seed: int) -> Values:
    """Antithetic permutations until the distinct evaluations are spent, as pyDVL's sampler draws them."""
    n, generator = game.n_players, np.random.default_rng(seed)
    total, count = np.zeros(n), 0
    while len(game.asked) < budget and count < 100 * budget:
        order = generator.permutation(n)
        for walk in (order, order[::-1]):
            masks = np.zeros((n + 1, n), dtype=bool)
            for step, player in enumerate(walk):
                masks[step + 1 :, player] = True
            total[walk] += np.diff(game(masks))
            count += 1
    return total / count


PEERS: dict[str, Peer] = {
    "shapiq RegressionMSR linear": shapiq_peer("RegressionMSR", index="SV", proxy_model="linear"),
    "shapiq RegressionMSR xgboost": shapiq_peer("RegressionMSR", index="SV", proxy_model="xgboost"),
    "shapiq LeverageSHAP": shapiq_peer("LeverageSHAP"),
    "shapiq KernelSHAP": shapiq_peer("KernelSHAP"),
    "shapiq KernelSHAP paired": shapiq_peer("KernelSHAP", pairing_trick=True),
    "shapiq OddSHAP": shapiq_peer("OddSHAP"),
    "shapiq PolySHAP": shapiq_peer("PolySHAP"),
    "shapiq ProxySHAP": shapiq_peer("ProxySHAP", index="SV", max_order=1),
    "shapiq UnbiasedKernelSHAP": shapiq_peer("UnbiasedKernelSHAP", pairing_trick=True),
    "shapiq SVARM": shapiq_peer("SVARM", pairing_trick=True),
    "shapiq Permutation": shapiq_peer("PermutationSamplingSV"),
    "shapiq Stratified": shapiq_peer("StratifiedSamplingSV"),
    "shapiq Owen": shapiq_peer("OwenSamplingSV"),
    "shap KernelExplainer": shap_kernel,
    "shap PermutationExplainer": shap_permutation,
    "antithetic permutations (as pyDVL)": antithetic,
}


def pair_peer(name: str, **options: object) -> Peer:
    """Return a peer for order-2 Shapley interactions from shapiq's approximators, in upper-triangle order."""

    def estimate(game: CountedGame, budget: int, seed: int) -> Values:
        n = game.n_players
        approximator = getattr(approximators, name)(n=n, max_order=2, index="SII", random_state=seed, **options)
        found = approximator.approximate(budget, game)
        square = np.zeros((n, n))
        for coalition, position in found.interaction_lookup.items():
            if len(coalition) == 2:
                square[coalition] = found.values[position]
        return square[np.triu_indices(n, 1)]

    return estimate


PAIR_PEERS: dict[str, Peer] = {
    "shapiq KernelSHAPIQ": pair_peer("KernelSHAPIQ", pairing_trick=True),
    "shapiq InconsistentKernelSHAPIQ": pair_peer("InconsistentKernelSHAPIQ", pairing_trick=True),
    "shapiq SVARMIQ": pair_peer("SVARMIQ", pairing_trick=True),
    "shapiq SHAPIQ": pair_peer("SHAPIQ", pairing_trick=True),
    "shapiq PermutationSII": pair_peer("PermutationSamplingSII"),
    "shapiq ProxySHAP": pair_peer("ProxySHAP"),
}


def with_distinct(peer: Peer, table: Values, budget: int, seed: int) -> Values:
    """Run a peer with a budget raised until its distinct evaluations come near `budget`; keep the last within it."""
    asked, kept = budget, None
    for _ in range(4):
        game = CountedGame(table)
        values = peer(game, asked, seed)
        if kept is None or len(game.asked) <= 1.05 * budget:
            kept = values
        if len(game.asked) >= 0.95 * budget:
            break
        asked = math.ceil(asked * min(3.0, budget / max(len(game.asked), 1)))
    return kept


def scores(
    peers: dict[str, Peer], table: Values, exact: Values, budget: int, seeds: int, failed: dict[str, str]
) -> dict:
    """Mean squared error of each peer over seeds; a peer that fails is left out, and named in `failed`."""
    result = {}
    for name, peer in peers.items():
        try:
            errors = [np.square(with_distinct(peer, table, budget, seed) - exact).sum() for seed in range(seeds)]
            if np.isfinite(errors).all():
                result[name] = float(np.mean(errors))
        except Exception as error:  # a peer's failure is its own, and recorded
            failed[name] = f"{type(error).__name__}: {error}"[:200]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pair-seeds", type=int, default=3)
    arguments = parser.parse_args()
    result: dict[str, dict] = {
        "cells": {},
        "pair_cells": {},
        "failed": {},
        "versions": {"shapiq": shapiq.__version__, "shap": shap.__version__},
    }
    tables = sorted(arguments.tables.glob("*.npz"))
    for number, path in enumerate(tables, 1):
        sys.stderr.write(f"peers: table {number}/{len(tables)}, {path.stem}\n")
        stored = np.load(path)
        table, exact, pairs = stored["table"], stored["shapley"], stored["interactions"]
        for per_player in (4, 8, 16, 32):
            budget = per_player * len(exact)
            if budget >= len(table):
                continue
            cell = f"{path.stem} {per_player}n"
            failed: dict[str, str] = {}
            result["cells"][cell] = scores(PEERS, table, exact, budget, arguments.seeds, failed)
            if pairs.any() and path.stem.startswith("network"):
                result["pair_cells"][cell] = scores(PAIR_PEERS, table, pairs, budget, arguments.pair_seeds, failed)
            if failed:
                result["failed"][cell] = failed
            arguments.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
