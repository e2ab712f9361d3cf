"""A matrix as plain values: for JSON, for pandas, for whoever reads it without this package.

What is unknown is None (NaN in a frame), never 0.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from accredit.attribution.coalition import coalition_texts
from accredit.attribution.config import CounterfactualConfig, config_record
from accredit.attribution.estimate import ShapleyEstimate
from accredit.attribution.evaluation import Evaluations, Failure
from accredit.attribution.provenance import Cost, Provenance
from accredit.attribution.result import ShapleyResult
from accredit.errors import MissingExtra

_TEXTS = ("output", "player")
_NUMBERS = (
    "value",
    "contribution",
    "stderr",
    "stderr_sampling",
    "stderr_data",
    "lower",
    "upper",
    "level",
    "p_value",
    "spread",
)


def matrix_record(
    *,
    players: tuple[str, ...],
    config: CounterfactualConfig,
    evaluations: Evaluations,
    failures: tuple[Failure, ...],
    provenance: Provenance,
    cost: Cost,
    shapley: Mapping[str, ShapleyResult],
) -> dict[str, object]:
    """Everything but values per example, in types that JSON has."""
    return {
        "players": list(players),
        "outputs": [asdict(output) for output in config.outputs],
        "coalitions": list(coalition_texts(evaluations.masks)),
        "values": {
            output.name: means for output, means in zip(config.outputs, evaluations.means.tolist(), strict=True)
        },
        "failures": [asdict(failure) for failure in failures],
        "config": config_record(config),
        "provenance": asdict(provenance),
        "cost": asdict(cost),
        "shapley": {name: _result_record(result) for name, result in shapley.items()},
    }


def _result_record(result: ShapleyResult) -> dict[str, object]:
    """Shapley values of one output."""
    return {
        "estimator": result.estimator,
        "reason": result.reason,
        "caution": result.caution,
        "value_all": result.value_all,
        "value_none": result.value_none,
        "players": shapley_rows(result),
    }


def shapley_rows(result: ShapleyResult) -> list[dict[str, object]]:
    """One row per player."""
    return [_row(result[player], level=result.confidence) for player in result]


def _row(estimate: ShapleyEstimate, *, level: float) -> dict[str, object]:
    """One player."""
    ends = estimate.interval(level)
    return {
        "player": estimate.player,
        "value": estimate.value,
        "contribution": estimate.contribution,
        "stderr": estimate.stderr,
        "stderr_sampling": estimate.stderr_sampling,
        "stderr_data": estimate.stderr_data,
        "lower": None if ends is None else ends[0],
        "upper": None if ends is None else ends[1],
        "level": level,
        "p_value": estimate.p_value,
        "spread": estimate.spread,
        "n_evaluations": estimate.n_evaluations,
    }


def shapley_frame(results: Mapping[str, ShapleyResult]) -> Any:
    """A pandas.DataFrame with one row per output and player; Any, for pandas need not be there.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        frames = importlib.import_module("pandas")
    except ImportError as error:
        raise MissingExtra(
            "`to_frame` got no pandas, wanted it installed; run `pip install accredit[report]`, or use `to_dict`."
        ) from error
    rows = [{"output": name, **row} for name, result in results.items() for row in shapley_rows(result)]
    # named and typed, for pandas would make objects of a column of unknowns and no column at all of no rows
    frame = frames.DataFrame(rows, columns=[*_TEXTS, *_NUMBERS, "n_evaluations"])
    return frame.astype({**dict.fromkeys(_NUMBERS, "float64"), "n_evaluations": "int64"})
