"""Agreement with an independent reference program, whose numbers and provenance are in attribution_reference.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from accredit.attribution.design import EXPECTED_GAME, greedy_order
from accredit.attribution.estimators.kernel import PairGeometry, shapley_covariance
from accredit.attribution.estimators.pair_interactions import PairInteractions, default_even_hypotheses
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.protocols import FittedValues, MaskArray

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "attribution_reference.json").read_text())


def unpacked(coalitions: list[int], n_players: int) -> MaskArray:
    return np.array([[bool(coalition >> player & 1) for player in range(n_players)] for coalition in coalitions])


def half_width(fitted: FittedValues) -> np.ndarray:
    assert fitted.stderr is not None
    return fitted.stderr[:, 0] * student.ppf(0.975, fitted.degrees_of_freedom)


def rows(case: dict[str, Any]) -> tuple[MaskArray, np.ndarray]:
    masks = unpacked(case["coalitions"], case["n_players"])
    values = np.array(case["values"] + case["complement_values"])
    return np.concatenate([masks, ~masks]), values[:, None]


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"n={case['n_players']}")
def test_shapley_values_agree_with_the_reference_where_players_are_treated_alike(case: dict[str, Any]) -> None:
    """[R8] [R38] The mixture over 42 kernels and 6 linear weights, on games with interactions."""
    fitted = PairProcess(individual_share=0.0, widening=1.0)(*rows(case))
    np.testing.assert_allclose(fitted.value[:, 0], case["shapley"], atol=1e-7)
    np.testing.assert_allclose(half_width(fitted), case["shapley_half_width"], rtol=1e-7)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"n={case['n_players']}")
def test_interactions_agree_with_the_reference(case: dict[str, Any]) -> None:
    """[R12] [R38] Values everywhere, half-widths where there are evaluations enough for any."""
    fitted = PairInteractions(hypotheses=default_even_hypotheses()[:56], weighted=())(*rows(case))
    np.testing.assert_allclose(fitted.value[:, 0], case["interactions"], atol=1e-9)
    if len(case["coalitions"]) >= 8 * case["n_players"]:
        np.testing.assert_allclose(half_width(fitted), case["interaction_half_width"], rtol=1e-7)


def test_greedy_order_leaves_the_variance_that_the_reference_leaves() -> None:
    """[R9] Orders may differ where candidates tie by symmetry; what they leave unknown may not."""
    design = REFERENCE["design"]
    pool = unpacked(design["pool"], design["n_players"])
    order = greedy_order(pool, max(design["after"]), given=pool[:0], expected=EXPECTED_GAME)
    table = EXPECTED_GAME.shapley_table(design["n_players"])
    for count, expected in zip(design["after"], design["variance_left"], strict=True):
        chosen = pool[order[:count]]
        gram = EXPECTED_GAME.gram(PairGeometry.of(chosen)) + 1e-9 * np.eye(count)
        covariance = shapley_covariance(chosen, table=table)
        explained = (covariance * np.linalg.solve(gram, covariance)).sum()
        left = design["n_players"] * 2 * table.mean() - explained
        assert left == pytest.approx(expected, rel=2e-3)
