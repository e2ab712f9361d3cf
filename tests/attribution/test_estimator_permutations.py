"""Antithetic permutations: unbiased, efficient, with an interval from independent draws."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_truth import all_masks, shapley_matrix, unanimity_sum
from scipy.stats import t as student

from accredit.attribution.estimators.permutations import AntitheticPermutations, PermutationDesign, permutation_masks
from accredit.errors import InvalidArgument, MissingValue

DESIGN = PermutationDesign()


def test_two_draws_by_hand() -> None:
    """[R5] The mean over two permutations and their reverses, walked player by player."""
    masks = DESIGN(4, 14, seed=0)
    values, _ = unanimity_sum(masks, seed=1)
    value_of = {mask.tobytes(): value for mask, value in zip(masks, values, strict=True)}
    total = np.zeros(4)
    walks = permutation_masks(4, seed=0)
    for _ in range(2):
        rank = (~next(walks)).sum(axis=0) - 1
        order = np.argsort(rank)
        for walk in (order, order[::-1]):
            on = np.zeros(4, dtype=bool)
            for player in walk:
                before = value_of[on.tobytes()]
                on[player] = True
                total[player] += (value_of[on.tobytes()] - before) / 4
    fitted = AntitheticPermutations(seed=0)(masks, values[:, None])
    np.testing.assert_allclose(fitted.value[:, 0], total, atol=1e-12)


def test_standard_error_is_that_of_the_mean_of_the_draws() -> None:
    """[R6] Of two draws a and b it is |a - b| / 2; their mean and the first alone tell both."""
    masks = DESIGN(5, 18, seed=3)
    values = unanimity_sum(masks, seed=1)[0][:, None]
    first = len(DESIGN(5, 10, seed=3))
    one = AntitheticPermutations(seed=3)(masks[:first], values[:first]).value
    both = AntitheticPermutations(seed=3)(masks, values)
    assert both.stderr is not None
    assert both.degrees_of_freedom == 1.0
    np.testing.assert_allclose(both.stderr, np.abs(one - both.value), atol=1e-12)


def test_mean_over_seeds_is_the_exact_value_and_intervals_cover() -> None:
    """[R8] [R38] 300 seeds: the mean within 5 of its standard errors, and 1600 of 1800 intervals cover."""
    table = all_masks(6)
    values, exact = unanimity_sum(table, seed=2)
    np.testing.assert_allclose(shapley_matrix(6) @ values, exact, atol=1e-12)
    estimates, covered = [], 0
    for seed in range(300):
        masks = DESIGN(6, 52, seed=seed)
        row = masks @ (1 << np.arange(6))
        fitted = AntitheticPermutations(seed=seed)(masks, values[row][:, None])
        estimates.append(fitted.value[:, 0])
        assert fitted.stderr is not None
        half_width = student.ppf(0.975, fitted.degrees_of_freedom) * fitted.stderr[:, 0]
        covered += int((np.abs(fitted.value[:, 0] - exact) <= half_width + 1e-12).sum())
    spread = np.std(estimates, axis=0, ddof=1) / np.sqrt(300)
    assert (np.abs(np.mean(estimates, axis=0) - exact) < 5 * spread + 1e-9).all()
    assert covered >= 1600


def test_values_sum_to_all_minus_none() -> None:
    """[R4] Each draw telescopes."""
    masks = DESIGN(9, 100, seed=3)
    values = unanimity_sum(masks, seed=0)[0][:, None]
    assert AntitheticPermutations(seed=3)(masks, values).value.sum() == pytest.approx(
        float(values[1, 0] - values[0, 0])
    )


def test_stops_at_the_first_incomplete_draw_and_leaves_out_no_step() -> None:
    """[R5] Missing coalitions shorten the sample; they are not skipped over."""
    masks = DESIGN(6, 62, seed=1)
    values = unanimity_sum(masks, seed=0)[0][:, None]
    shorter = DESIGN(6, 32, seed=1)
    expected = AntitheticPermutations(seed=1)(shorter, values[: len(shorter)])
    cut = AntitheticPermutations(seed=1)(masks[: len(shorter) + 3], values[: len(shorter) + 3])
    np.testing.assert_array_equal(cut.value, expected.value)
    assert cut.n_evaluations == len(shorter)


def test_design_is_nested_distinct_and_begins_with_none_and_all() -> None:
    """[R9] [R10] As every design."""
    long, short = DESIGN(8, 200, seed=4), DESIGN(8, 60, seed=4)
    np.testing.assert_array_equal(long[: len(short)], short)
    assert len(np.unique(long, axis=0)) == len(long) <= 200
    assert not long[0].any()
    assert long[1].all()


def test_one_draw_has_no_standard_error() -> None:
    """[R6] One sample has an unknown variance, not 0."""
    masks = DESIGN(5, 10, seed=0)
    fitted = AntitheticPermutations(seed=0)(masks, masks[:, :1].astype(float))
    assert fitted.stderr is None
    assert "single pair of permutations" in str(fitted.caution)


def test_without_a_complete_draw_there_is_no_estimate() -> None:
    """[R5] A player without data is an error, never 0."""
    masks = DESIGN(5, 10, seed=0)[:-1]
    with pytest.raises(MissingValue, match="`masks` completes no permutation of the design with seed 0"):
        AntitheticPermutations(seed=0)(masks, np.zeros((len(masks), 1)))


def test_a_budget_below_none_and_all_is_refused() -> None:
    """[R9] It never degrades silently."""
    with pytest.raises(InvalidArgument, match="`n_evaluations` is 1 for 5 players, but a design has none and all"):
        DESIGN(5, 1, seed=0)


def test_a_single_player_earns_everything() -> None:
    """[R4] The smallest game."""
    masks = DESIGN(1, 2, seed=0)
    with pytest.raises(MissingValue, match="completes no permutation"):
        AntitheticPermutations(seed=0)(masks[:1], np.array([[1.0]]))
    assert AntitheticPermutations(seed=0)(masks, np.array([[1.0], [4.0]])).value.tolist() == [[3.0]]
