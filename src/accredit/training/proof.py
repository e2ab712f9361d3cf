"""When a contribution is proven: what a commit asks for.

N players of a game.
"""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr


class CommitRule(enum.StrEnum):
    """What makes a commit legal."""

    SIGNIFICANT = "significant"
    """A contribution that is positive with significance, each graft tested alone."""
    SIGNIFICANT_HOLM = "significant-holm"
    """The same with Holm's correction over all grafts of the host that play at that step."""
    ANY = "any"
    """No proof is needed."""


def are_positive(
    contributions: NDArray[np.float64],
    stderr: NDArray[np.float64],
    *,
    degrees_of_freedom: float,
    level: float,
    together: bool,
) -> NDArray[np.bool_]:
    """Tell which contributions are positive and differ from 0 with significance, by Student t, two-sided.

    Args:
        contributions: of the N players of a game, NaN for one that does not play and is not tested, [..., N].
        stderr: their standard errors, NaN where unknown, which proves nothing, [..., N].
        degrees_of_freedom: of the standard errors.
        level: in (0, 1).
        together: hold the level for all players of a game at once (Holm), not for each alone.

    Example:
        >>> contributions, stderr = np.array([0.3, 0.2, -0.9]), np.full(3, 0.1)
        >>> are_positive(contributions, stderr, degrees_of_freedom=99, level=0.95, together=False).tolist()
        [True, True, False]
        >>> are_positive(contributions, stderr, degrees_of_freedom=99, level=0.97, together=True).tolist()
        [True, False, False]

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    size = np.abs(np.nan_to_num(contributions))
    certain = np.where((size > 0) & (stderr == 0), np.inf, 0.0)  # an error of 0 leaves the sign alone to decide
    score = np.divide(size, stderr, out=certain, where=stderr > 0)
    p_values = np.asarray(2.0 * stdtr(degrees_of_freedom, -score))
    if together:
        is_tested = np.isfinite(contributions)
        p_values[~is_tested] = 1.0
        order = p_values.argsort(axis=-1)
        tests_left = np.maximum(is_tested.sum(axis=-1, keepdims=True) - np.arange(p_values.shape[-1]), 1)
        # A larger p-value may not end up below a smaller one, whatever their factors.
        stepped = np.maximum.accumulate(np.take_along_axis(p_values, order, -1) * tests_left, axis=-1)
        np.put_along_axis(p_values, order, stepped, -1)
    return np.asarray((contributions > 0) & (p_values < 1.0 - level))
