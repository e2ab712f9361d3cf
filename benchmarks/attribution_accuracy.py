"""Errors, coverage and half-widths of ours on the tables of the benchmark, and their ratios to the best peer.

A cell is one game at one budget. Networks and other games are averaged apart; where the budget is a complete table
there is no cell. Axes: N players.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from accredit.attribution.design import ComplementPairDesign
from accredit.attribution.estimators.pair_interactions import PairInteractions
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.estimators.permutations import AntitheticPermutations, PermutationDesign
from accredit.attribution.protocols import FittedValues, MaskArray

BUDGETS = (4, 8, 16, 32)
LEVEL = 0.95


def values_of(table: np.ndarray, masks: MaskArray) -> np.ndarray:
    return table[masks @ (1 << np.arange(masks.shape[1]))][:, None]


def half_width(fitted: FittedValues) -> np.ndarray | None:
    if fitted.stderr is None:
        return None
    return fitted.stderr[:, 0] * student.ppf((1 + LEVEL) / 2, fitted.degrees_of_freedom)


def score(fitted: FittedValues, exact: np.ndarray) -> dict[str, float]:
    error = fitted.value[:, 0] - exact
    width = half_width(fitted)
    # rounding must not count as a miss where an interval has no width
    slack = 1e-7 * np.abs(exact).max()
    return {
        "squared_error": float(np.square(error).sum()),
        "exact_enough": float(1e-8 * np.square(exact).sum()),
        "covered": np.nan if width is None else float((np.abs(error) <= width + slack).mean()),
        "half_width": np.nan if width is None else float(width.mean()),
    }


def our_cells(folder: Path, *, seeds: int, first_seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Means over designs of every cell: Shapley values, the antithetic reference, interactions."""
    cells: dict[str, dict[str, dict[str, float]]] = {}
    tables = sorted(folder.glob("*.npz"))
    for number, path in enumerate(tables, 1):
        sys.stderr.write(f"ours: table {number}/{len(tables)}, {path.stem}\n")
        stored = np.load(path)
        table, exact, pairs = stored["table"], stored["shapley"], stored["interactions"]
        n_players = len(exact)
        for per_player in BUDGETS:
            budget = per_player * n_players
            if budget >= len(table):
                continue
            runs: dict[str, list[dict[str, float]]] = {"values": [], "antithetic": [], "pairs": []}
            for seed in range(first_seed, first_seed + seeds):
                masks = ComplementPairDesign()(n_players, budget, seed=seed)
                values = values_of(table, masks)
                runs["values"].append(score(PairProcess()(masks, values), exact))
                if path.stem.startswith("network"):
                    runs["pairs"].append(score(PairInteractions()(masks, values), pairs))
                masks = PermutationDesign()(n_players, budget, seed=seed)
                fitted = AntitheticPermutations(seed=seed)(masks, values_of(table, masks))
                runs["antithetic"].append(score(fitted, exact))
            cells[f"{path.stem} {per_player}n"] = {kind: _means(run) for kind, run in runs.items() if run}
    return cells


def _means(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}


def summary(ours: dict[str, Any], peers: dict[str, Any]) -> dict[str, Any]:
    """The keys of the benchmark that compare errors and intervals."""
    networks = {cell for cell in ours if cell.startswith("network")}
    ratios = {cell: _ratio(ours[cell]["values"], peers["cells"][cell]) for cell in ours if peers["cells"].get(cell)}
    pair_ratios = {cell: _ratio(ours[cell]["pairs"], scores) for cell, scores in peers["pair_cells"].items() if scores}
    covered = {cell: ours[cell]["values"]["covered"] for cell in ours}
    widths = {
        cell: ours[cell]["values"]["half_width"] / ours[cell]["antithetic"]["half_width"]
        for cell in ours
        if ours[cell]["antithetic"]["half_width"] > 0
    }
    games = set(ours) - networks
    worst = max(ratios, key=lambda cell: ratios[cell]) if ratios else None
    return {
        "mse_ratio_best_peer": _by_budget(ratios, networks, _geometric),
        "mse_ratio_best_peer_games": _by_budget(ratios, games, _geometric),
        "mse_ratio_worst_cell": ratios.get(worst) if worst else None,
        "mse_ratio_worst_cell_is": worst,
        "coverage": _by_budget(covered, networks, np.mean),
        "coverage_worst": _by_budget(covered, networks, np.min),
        "coverage_games": _by_budget(covered, games, np.mean),
        "coverage_games_worst": _by_budget(covered, games, np.min),
        "half_width_ratio_student_t": {
            budget: value for budget, value in _by_budget(widths, networks, _geometric).items() if budget != "4n"
        },
        "interaction_mse_ratio": _by_budget(pair_ratios, networks, _geometric),
        "interaction_coverage": _by_budget(
            {cell: ours[cell]["pairs"]["covered"] for cell in networks}, networks, np.nanmean, budgets=("16n", "32n")
        ),
        "ratios": ratios,
    }


def _ratio(ours: dict[str, float], scores: dict[str, float]) -> float:
    """Squared error over that of the best peer; a 10 000th of the values is exact enough for both."""
    return max(ours["squared_error"], ours["exact_enough"]) / max(min(scores.values()), ours["exact_enough"])


def _geometric(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(np.maximum(values, 1e-12)))))


def _by_budget(
    cells: dict[str, float], among: set[str], combine: Any, *, budgets: tuple[str, ...] = ("4n", "8n", "16n", "32n")
) -> dict[str, float]:
    found = {
        budget: [value for cell, value in cells.items() if cell in among and cell.endswith(f" {budget}")]
        for budget in budgets
    }
    return {budget: round(float(combine(values)), 4) for budget, values in found.items() if values}
