"""Rows that an estimator refuses, and how the others are paired."""

from __future__ import annotations

import numpy as np
import pytest

from accredit.attribution.estimators.pairing import paired_values
from accredit.errors import InvalidArgument, MissingValue

MASKS = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 1], [1, 1, 0]], dtype=bool)
VALUES = np.array([[1.0], [9.0], [2.0], [6.0], [5.0]])


def test_pairs_have_none_and_all_first_and_leave_out_the_coalition_alone() -> None:
    """[R5] By hand."""
    order = [4, 3, 1, 0, 2]
    pairs = paired_values(MASKS[order], VALUES[order])
    np.testing.assert_array_equal(pairs.masks, [[False, False, False], [False, True, True]])
    np.testing.assert_array_equal(pairs.odd, [[-4.0], [2.0]])
    np.testing.assert_array_equal(pairs.even, [[5.0], [4.0]])
    np.testing.assert_array_equal(pairs.total, [8.0])


def test_shapes_and_types_are_refused() -> None:
    """[R11] Each in one sentence."""
    with pytest.raises(InvalidArgument, match=r"`masks` is float64 of shape \(5, 3\), but coalitions are bool"):
        paired_values(MASKS.astype(float), VALUES)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"`values` has shape \(4, 1\), but there are 5 coalitions; pass"):
        paired_values(MASKS, VALUES[:4])


def test_a_coalition_twice_is_refused() -> None:
    """[R5] Which of two values is meant cannot be known."""
    with pytest.raises(
        InvalidArgument, match="`masks` has 6 rows, but only 5 different ones; pass each coalition once"
    ):
        paired_values(np.concatenate([MASKS, MASKS[:1]]), np.concatenate([VALUES, VALUES[:1]]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    """[R11] No average absorbs a NaN."""
    values = VALUES.copy()
    values[2] = bad
    with pytest.raises(InvalidArgument, match="`values` has 1 rows that are not finite, but an estimate cannot skip"):
        paired_values(MASKS, values)


@pytest.mark.parametrize("missing", [0, 1])
def test_without_none_or_all_there_is_no_estimate(missing: int) -> None:
    """[R5] Shapley values share out v(all) - v(none); nothing is invented for either."""
    keep = [row for row in range(5) if row != missing]
    with pytest.raises(MissingValue, match="`masks` lacks the coalition of no player or that of all players"):
        paired_values(MASKS[keep], VALUES[keep])
