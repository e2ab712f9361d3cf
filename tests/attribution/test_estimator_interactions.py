"""Pair interactions from the even part of the game, and where there is no interval."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_truth import all_masks, interaction_matrix
from scipy.stats import t as student

from accredit.attribution.design import ComplementPairDesign
from accredit.attribution.estimators.pair_interactions import PairInteractions
from accredit.attribution.estimators.weighted_pairs import weighted_pairs
from accredit.errors import InvalidArgument

ESTIMATE = PairInteractions()


def smooth_game(masks: np.ndarray, *, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    n_players = masks.shape[1]
    score = masks @ generator.normal(size=n_players)
    return np.tanh(score) + 0.5 * masks[:, 0] * masks[:, 1] + np.exp(-masks.sum(axis=1) / 4)


def test_intervals_cover_the_exact_interactions_from_16_evaluations_a_player() -> None:
    """[R12] [R38] 10 players, 8 games, 45 pairs each: of 360 at least 290 (94 % true: less than 1e-6 by chance)."""
    truth = interaction_matrix(10)
    table = all_masks(10)
    covered = 0
    for seed in range(8):
        exact = truth @ smooth_game(table, seed=seed)
        masks = ComplementPairDesign()(10, 240, seed=seed)
        fitted = ESTIMATE(masks, smooth_game(masks, seed=seed)[:, None])
        assert fitted.stderr is not None
        half_width = student.ppf(0.975, fitted.degrees_of_freedom) * fitted.stderr[:, 0]
        covered += int((np.abs(fitted.value[:, 0] - exact) <= half_width).sum())
        assert np.linalg.norm(fitted.value[:, 0] - exact) < 0.5 * np.linalg.norm(exact)
    assert covered >= 290


def test_games_of_pairs_are_found_exactly() -> None:
    """[R12] [R38] A quadratic game has its coefficients as interactions."""
    generator = np.random.default_rng(0)
    first, second = np.triu_indices(8, 1)
    coefficient = generator.normal(size=len(first))
    masks = ComplementPairDesign()(8, 160, seed=0)
    values = (masks[:, first] & masks[:, second]) @ coefficient
    np.testing.assert_allclose(ESTIMATE(masks, values[:, None]).value[:, 0], coefficient, atol=1e-4)


def test_too_few_evaluations_give_values_without_interval() -> None:
    """[R12] It declines rather than reports an interval that does not hold."""
    masks = ComplementPairDesign()(10, 120, seed=0)
    fitted = ESTIMATE(masks, smooth_game(masks, seed=0)[:, None])
    assert fitted.stderr is None
    assert fitted.caution == "no interval: 120 evaluations, but intervals of interactions hold from 160 (16 a player)"
    assert np.isfinite(fitted.value).all()


@pytest.mark.parametrize("game", ["voting", "additive"])
def test_an_even_part_that_hardly_varies_gives_no_interval(game: str) -> None:
    """[R12] In a constant-sum game v(S) + v(S^c) is constant: an interval of no width would claim certainty."""
    masks = ComplementPairDesign()(9, 160, seed=0)
    weights = np.arange(1.0, 10.0)
    values = (masks @ weights > 22.5).astype(float) if game == "voting" else masks @ weights
    fitted = ESTIMATE(masks, values[:, None])
    assert fitted.stderr is None
    assert "the same in almost all pairs" in str(fitted.caution)
    np.testing.assert_allclose(fitted.value, 0.0, atol=1e-6)


def test_columns_are_estimated_apart() -> None:
    """[R3] The first column knows nothing of those beside it, and no column does without unequal players."""
    masks = ComplementPairDesign()(7, 112, seed=0)
    values = np.stack([smooth_game(masks, seed=seed) for seed in range(2)], axis=1)
    both, first = ESTIMATE(masks, values), ESTIMATE(masks, values[:, :1])
    np.testing.assert_allclose(both.value[:, :1], first.value, atol=1e-10)
    alike = PairInteractions(weighted=())
    second = alike(masks, values[:, 1:])
    np.testing.assert_allclose(alike(masks, values).value[:, 1:], second.value, atol=1e-10)


def test_unequal_players_are_recognised() -> None:
    """[R12] [R38] Where a few of ten players matter, knowing which lowers the squared error, over twelve games."""
    masks = ComplementPairDesign()(10, 80, seed=0)
    sign = np.where(masks, 1.0, -1.0)
    first, second = np.triu_indices(10, 1)
    weight = 0.4 ** np.arange(10.0)
    errors = np.zeros(2)
    for seed in range(12):
        generator = np.random.default_rng(seed)
        coefficients = generator.normal(size=45) * np.sqrt(weight[first] * weight[second])
        additive = sign @ (np.sqrt(weight) * generator.choice([-1.0, 1.0], 10))
        values = additive + (sign[:, first] * sign[:, second]) @ coefficients
        for at, estimate in enumerate((PairInteractions(), PairInteractions(weighted=()))):
            errors[at] += np.square(estimate(masks, values[:, None]).value[:, 0] - 4 * coefficients).sum()
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("relevance", [np.ones(5), np.array([4.0, 2.0, 1.0, 0.5, 0.0])])
def test_weighted_pairs_agree_with_games_that_were_drawn(relevance: np.ndarray) -> None:
    """[R12] [R38] Covariances of 200,000 random games of pairs, within 6 standard errors."""
    masks = np.random.default_rng(0).random((6, 5)) < 0.5
    sign = np.where(masks, 1.0, -1.0)
    first, second = np.triu_indices(5, 1)
    known = weighted_pairs(masks, relevance)
    weight = np.maximum(relevance, 1e-3 * relevance.max())
    share = weight[first] * weight[second]
    coefficients = np.random.default_rng(1).normal(size=(200_000, 10)) * np.sqrt(share / share.sum())
    even, interactions = coefficients @ (sign[:, first] * sign[:, second]).T, 4 * coefficients
    np.testing.assert_allclose(known.gram, even.T @ even / 200_000, atol=6 * np.sqrt(2 / 200_000))
    np.testing.assert_allclose(known.covariance, even.T @ interactions / 200_000, atol=6 * 4 * np.sqrt(2 / 200_000))
    np.testing.assert_allclose(known.variance, np.square(interactions).mean(axis=0), rtol=6 * np.sqrt(2 / 200_000))


def test_one_player_is_refused() -> None:
    """[R12] There is no pair."""
    with pytest.raises(InvalidArgument, match=r"`masks` has 1 column, but an interaction is between 2 players"):
        ESTIMATE(np.array([[False], [True]]), np.array([[0.0], [1.0]]))
