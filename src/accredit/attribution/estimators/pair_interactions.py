"""Pair interactions from complement pairs: Gaussian processes on the even part of the game, averaged by evidence.

Axes: C complement pairs, N players, P pairs of players, R columns of values, H hypotheses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from accredit.attribution.estimators.kernel import (
    DistanceKernel,
    EvenKernel,
    EvenMixture,
    PairGeometry,
    QuadraticKernel,
    interaction_covariance,
)
from accredit.attribution.estimators.mixture import CORRELATIONS, ROUGH, tempered_weights
from accredit.attribution.estimators.pairing import paired_values
from accredit.attribution.estimators.player_lengths import fit_player_lengths
from accredit.attribution.estimators.weighted_pairs import WeightedPairs, weighted_pairs
from accredit.attribution.protocols import FittedValues, FloatArray, MaskArray
from accredit.errors import InvalidArgument

CONSTANT_VARIANCE = 1e3
"""Prior variance of the constant in the even part, which no interaction depends on: large beside the process's 1."""

EVALUATIONS_PER_PLAYER = 16
"""With fewer evaluations the intervals were measured not to hold."""

CONSTANT_SHARE = 0.8
"""An even part that is the same in more than this share of the pairs is no draw from a smooth process."""


def default_even_hypotheses() -> tuple[EvenMixture, ...]:
    """Return the 92 kernels that are averaged over: smooth, with a rough and a quadratic part, and by size."""
    smooth = [
        _with_parts(DistanceKernel(correlation=correlation), rough=rough, pairs=pairs)
        for correlation in CORRELATIONS
        for rough in (0.0, 0.2)
        for pairs in (0.0, 0.3, 1.0, 3.0)
    ]
    sizes = [
        _with_parts(DistanceKernel(correlation=correlation, size_width=width), rough=rough, pairs=pairs)
        for correlation in (0.97, 0.9, 0.8)
        for width in (0.1, 0.25)
        for rough in (0.0, 0.2)
        for pairs in (0.0, 0.3, 1.0)
    ]
    return (*smooth, *sizes)


def _with_parts(kernel: DistanceKernel, *, rough: float, pairs: float) -> EvenMixture:
    """Give a share of the variance to a rough part, and add a quadratic part."""
    return EvenMixture(parts=((1.0 - rough, kernel), (rough, ROUGH), (pairs, QuadraticKernel())))


def default_weighted_hypotheses() -> tuple[tuple[EvenMixture, float], ...]:
    """Return kernels to which pairs of unequal players are added, with the variance of that part."""
    return tuple(
        (_with_parts(DistanceKernel(correlation=correlation), rough=rough, pairs=0.0), variance)
        for correlation in (0.97, 0.9, 0.7)
        for rough in (0.0, 0.2)
        for variance in (0.3, 1.0, 3.0, 10.0)
    )


@dataclass(frozen=True, kw_only=True)
class PairInteractions:
    """Shapley interactions of all pairs of players from the even part of the game, a mixture of Gaussian processes.

    The even part e(S) = (v(S) + v(S^c)) / 2 decides the pair interactions, I_ij = E[e(S+ij) - e(S+i) - e(S+j) + e(S)]
    over S without i and j, uniform over sizes. Under hypothesis h it is a constant plus g ~ GP(0, s k_h) with a free
    scale s; posterior mean and variance of I follow in closed form and are averaged with tempered evidence.

    Hypotheses are of two families: 92 kernels that treat all players alike, and 24 with pairs of unequal players. How
    much a player matters is what the odd part of the same evaluations says (`fit_player_lengths`, first column): one
    who moves the values quickly has strong interactions, too.

    - Estimand: the order-2 Shapley interaction index. Estimator: posterior mean. Bias: towards 0, of the order of the
      standard error.
    - Standard error: of the posterior mixture, Student t with C - 3 degrees of freedom; it assumes an even part that
      looks like a draw from the hypotheses. There is none below 16 evaluations a player, nor where the even part is
      almost constant (constant-sum games such as voting), and `caution` says why.
    - Cost: no evaluation beyond the pairs; O(C^2 (C + N^2)) per hypothesis that matters. Pass one output in a call, its
      replicates after it.

    Source: Grabisch and Roubens (1999) for the index; Rasmussen and Williams (2006), eq. 2.25-2.30.

    Example:
        >>> from accredit.attribution.design import ComplementPairDesign
        >>> masks = ComplementPairDesign()(8, 128, seed=0)
        >>> fitted = PairInteractions()(masks, masks[:, :1] * (1.0 + masks[:, 1:2]))
        >>> (fitted.value[:3].round(2) + 0.0).ravel()
        array([1., 0., 0.])
    """

    hypotheses: tuple[EvenKernel, ...] = field(default_factory=default_even_hypotheses)
    """Kernels of the even part that treat all players alike."""
    weighted: tuple[tuple[EvenKernel, float], ...] = field(default_factory=default_weighted_hypotheses)
    """Kernels to which pairs of unequal players are added, with the variance of that part; () leaves them out."""
    noise: float = 1e-8
    """Variance of an error of the values themselves, as a share of the process's; larger where a value is noisy."""

    def __call__(self, masks: MaskArray, values: FloatArray) -> FittedValues:
        """Estimate the interactions, in the order of `numpy.triu_indices(N, 1)`, from the complement pairs.

        Args:
            masks: distinct coalitions in any order, [M, N], among them none and all, N at least 2.
            values: finite, [M, R].

        Raises:
            MissingValue: none or all is not among the rows.
            InvalidArgument: shapes that do not belong together, values that are not finite, a coalition twice.
        """
        pairs = paired_values(masks, values)
        n_pairs, n_players = pairs.masks.shape
        if n_players < 2:
            raise InvalidArgument(
                "`masks` has 1 column, but an interaction is between 2 players; pass shape (M, N >= 2)."
            )
        even = pairs.even - pairs.even.mean(axis=0)
        unit = np.maximum(np.abs(even).max(axis=0), np.finfo(np.float64).tiny)
        value, variance = self._average(pairs.masks, even / unit, pairs.odd)
        caution = _caution(pairs.even, np.abs(values).max(axis=0), n_players)
        return FittedValues(
            value=value * unit,
            stderr=None if caution else np.sqrt(np.maximum(variance, 0.0)) * unit,
            degrees_of_freedom=float(max(3, n_pairs - 3)),
            estimator="pair_interactions",
            n_evaluations=2 * n_pairs,
            caution=caution,
        )

    def _average(self, masks: MaskArray, even: FloatArray, odd: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance [P, R] of the mixture; only hypotheses that matter are carried to the end."""
        n_pairs = len(masks)
        geometry = PairGeometry.of(masks)
        unequal = _unequal_players(masks, odd, geometry) if self.weighted else None
        hypotheses = [(kernel, 0.0) for kernel in self.hypotheses] + list(self.weighted)
        fits = [_whiten(_factor(each, geometry, unequal, noise=self.noise), even) for each in hypotheses]
        weight = tempered_weights(np.array([fit.log_evidence for fit in fits]))
        mean = np.zeros((math.comb(masks.shape[1], 2), even.shape[1]))
        square = np.zeros_like(mean)
        for hypothesis, fit, share in zip(hypotheses, fits, weight, strict=True):
            if (share == 0.0).all():
                continue
            factor = _factor(hypothesis, geometry, unequal, noise=self.noise)
            covariance, prior = _with_interactions(hypothesis, masks, unequal)
            white = solve_triangular(factor, covariance, lower=True, overwrite_b=True, check_finite=False)
            here = white.T @ fit.even
            left = np.maximum(prior - np.square(white).sum(axis=0), 0.0)
            within = left[:, None] * (np.square(fit.even).sum(axis=0) / max(n_pairs - 3, 1))
            mean += share * here
            square += share * (within + np.square(here))
        return mean, square - np.square(mean)


@dataclass(frozen=True, kw_only=True)
class _Whitened:
    """The data under one hypothesis."""

    even: FloatArray
    """Whitened even part, [C, R]."""
    log_evidence: FloatArray
    """Up to a constant, [R]."""


def _unequal_players(masks: MaskArray, odd: FloatArray, geometry: PairGeometry) -> WeightedPairs:
    """Return pairs of players who matter as the odd part of the first column says."""
    first = odd[:, :1]  # the columns beside it must not have a say, as in `PairProcess`
    unit = max(float(np.abs(first).max()), np.finfo(np.float64).tiny)
    rate = fit_player_lengths(masks, first / unit, rough=ROUGH.gram(geometry)).rate
    return weighted_pairs(masks, rate)


def _factor(
    hypothesis: tuple[EvenKernel, float], geometry: PairGeometry, unequal: WeightedPairs | None, *, noise: float
) -> FloatArray:
    """Return the lower Cholesky factor of the covariance of the even part with its constant, [C, C]."""
    kernel, variance = hypothesis
    gram = kernel.even_gram(geometry) + CONSTANT_VARIANCE
    if unequal is not None and variance > 0.0:
        gram += variance * unequal.gram
    gram[np.diag_indices(len(gram))] += noise
    factor: FloatArray = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    return factor


def _with_interactions(
    hypothesis: tuple[EvenKernel, float], masks: MaskArray, unequal: WeightedPairs | None
) -> tuple[FloatArray, FloatArray]:
    """Return the covariance of the even part with the interactions, [C, P], and their prior variances, [P]."""
    kernel, variance = hypothesis
    table = kernel.interaction_table(masks.shape[1])
    covariance = interaction_covariance(masks, table=table)
    prior = np.full(covariance.shape[1], float((table[2] - 2 * table[1] + table[0]).mean()))
    if unequal is not None and variance > 0.0:
        covariance = covariance + variance * unequal.covariance
        prior = prior + variance * unequal.variance
    return covariance, prior


def _whiten(factor: FloatArray, even: FloatArray) -> _Whitened:
    """Whiten the even part under one hypothesis and integrate the scale out of its evidence."""
    white = solve_triangular(factor, even, lower=True, check_finite=False)
    residual = np.maximum(np.square(white).sum(axis=0), np.finfo(np.float64).tiny)
    half_log_determinant = np.log(np.diag(factor)).sum()
    return _Whitened(even=white, log_evidence=-0.5 * (len(even) - 1) * np.log(residual) - half_log_determinant)


def _caution(even: FloatArray, magnitude: FloatArray, n_players: int) -> str | None:
    """Say why there can be no interval: too few evaluations, or an even part that hardly varies."""
    n_pairs = len(even)
    if 2 * n_pairs < EVALUATIONS_PER_PLAYER * n_players:
        return (
            f"no interval: {2 * n_pairs} evaluations, but intervals of interactions hold from"
            f" {EVALUATIONS_PER_PLAYER * n_players} (16 a player)"
        )
    same = np.abs(even - np.median(even, axis=0)) <= 1e-9 * np.maximum(magnitude, np.finfo(np.float64).tiny)
    if (same.mean(axis=0) > CONSTANT_SHARE).any():
        return "no interval: the even part v(S) + v(S^c) is the same in almost all pairs, so its spread says nothing"
    return None
