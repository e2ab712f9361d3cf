"""Averaging over hypotheses by how well each explains the data, and the hypotheses about the odd part of a game.

Axes: H hypotheses, R columns of values, N players.
"""

from __future__ import annotations

import numpy as np

from accredit.attribution.estimators.kernel import DistanceKernel, Mixture, UnanimityKernel
from accredit.attribution.protocols import FloatArray

TEMPER = 0.4
"""Power of the evidence: below 1 because the games of the world are not draws from any of the hypotheses."""

NEGLIGIBLE = 7.0
"""A hypothesis whose log evidence is so far below the best has no weight."""

ROUGH = DistanceKernel(correlation=0.4)
"""A part of games that hardly correlate over distance: it keeps the intervals from believing in smoothness alone."""

CORRELATIONS = (0.99, 0.97, 0.94, 0.9, 0.82, 0.7, 0.55)


def default_hypotheses() -> tuple[Mixture, ...]:
    """Return the 42 kernels that are averaged over: smooth, rough, unanimity sums, and sizes that decorrelate."""
    smooth = [
        _with_rough(DistanceKernel(correlation=correlation), share)
        for correlation in CORRELATIONS
        for share in (0.0, 0.1, 0.3)
    ]
    unanimity = [
        _with_rough(UnanimityKernel(growth=growth), share)
        for growth in (0.1, 0.3, 0.6, 1.0, 2.0, 4.0)
        for share in (0.0, 0.1)
    ]
    sizes = [
        Mixture(parts=((1.0, DistanceKernel(correlation=correlation, size_width=width)),))
        for correlation in (0.97, 0.9, 0.8, 0.6)
        for width in (0.1, 0.25)
    ]
    return (*smooth, Mixture(parts=((1.0, ROUGH),)), *unanimity, *sizes)


def _with_rough(kernel: DistanceKernel | UnanimityKernel, share: float) -> Mixture:
    """Give `share` of the variance to the rough part."""
    if share == 0.0:
        return Mixture(parts=((1.0, kernel),))
    return Mixture(parts=((1.0 - share, kernel), (share, ROUGH)))


def tempered_weights(log_evidence: FloatArray) -> FloatArray:
    """Turn log evidences into the weights of the hypotheses.

    w_h is proportional to exp(0.4 (l_h - max l)), and 0 where l_h is more than 7 below the best.

    Args:
        log_evidence: natural logarithms up to a constant, [H, R].

    Returns:
        Weights [H, R] that sum to 1 over hypotheses.

    Example:
        >>> tempered_weights(np.array([[0.0], [0.0], [-8.0]])).ravel()
        array([0.5, 0.5, 0. ])
    """
    lead = log_evidence - log_evidence.max(axis=0)
    weight: FloatArray = np.where(lead > -NEGLIGIBLE, np.exp(TEMPER * np.maximum(lead, -NEGLIGIBLE)), 0.0)
    weight /= weight.sum(axis=0)
    return weight
