"""Games of pairs in which players matter unequally: what a few strong players leave in the even part of a game.

e(S) = sum over pairs c_ij z_i z_j with z = +1 where a player is on and -1 where off, c_ij independent with variance
w_i w_j / W and W the sum of w_i w_j over pairs, so that e has variance 1. The pair interaction is I_ij = 4 c_ij.

Axes: C complement pairs, N players, P pairs of players in upper-triangle order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accredit.attribution.protocols import FloatArray, MaskArray

LEAST = 1e-3
"""Weight of the weakest player relative to the strongest, at least: nobody is known to matter not at all."""


@dataclass(frozen=True, kw_only=True)
class WeightedPairs:
    """The covariances of such a game at given coalitions."""

    gram: FloatArray
    """Between the even parts of the coalitions, [C, C]."""
    covariance: FloatArray
    """Between the even part of a coalition and the interactions, [C, P]."""
    variance: FloatArray
    """Of the interactions, [P]."""


def weighted_pairs(masks: MaskArray, relevance: FloatArray) -> WeightedPairs:
    """Return the covariances for players that matter in proportion to `relevance`.

    Args:
        masks: coalitions, [C, N].
        relevance: how much each player matters, not negative and not all 0, [N].

    Example:
        >>> pairs = weighted_pairs(np.array([[False, False], [True, False]]), np.array([1.0, 2.0]))
        >>> pairs.gram, pairs.covariance.ravel(), pairs.variance
        (array([[ 1., -1.],
               [-1.,  1.]]), array([ 4., -4.]), array([16.]))
    """
    weight = np.maximum(relevance, LEAST * relevance.max())
    sign = np.where(masks, 1.0, -1.0)
    first, second = np.triu_indices(masks.shape[1], 1)
    share = weight[first] * weight[second]
    total = share.sum()
    # (sum w_i z_i z_i')^2 counts every pair twice and every player with itself once
    gram = (np.square((sign * weight) @ sign.T) - np.square(weight).sum()) / (2 * total)
    share = share / total
    return WeightedPairs(gram=gram, covariance=4 * share * sign[:, first] * sign[:, second], variance=16 * share)
