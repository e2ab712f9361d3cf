"""Shapley values from complement pairs: Gaussian processes on the odd part of the game, averaged by evidence.

Axes: C complement pairs, N players, R columns of values, L weights of the linear part, H hypotheses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular

from accredit.attribution.estimators.kernel import OddKernel, PairGeometry, shapley_covariance
from accredit.attribution.estimators.mixture import NEGLIGIBLE, default_hypotheses, tempered_weights
from accredit.attribution.estimators.pairing import paired_values
from accredit.attribution.protocols import FittedValues, FloatArray, MaskArray

LINEAR_VARIANCES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class _Posterior:
    """What one hypothesis makes of the data, for each weight of the linear part."""

    log_evidence: FloatArray
    """Up to a constant, [L, R]."""
    mean: FloatArray
    """Of the Shapley values, [L, N, R]."""
    scale: FloatArray
    """Estimated variance of the process, [L, R]."""
    covariance: FloatArray
    """Of the Shapley values in units of `scale`, [L, N, N]."""


@dataclass(frozen=True, kw_only=True)
class PairProcess:
    """Shapley values from the odd part of the game, modelled as a mixture of Gaussian processes.

    The odd part o(S) = (v(S) - v(S^c)) / 2 decides the Shapley values, phi_i = E[o(S + i) - o(S)]. Under hypothesis
    h it is beta'z(S) + g(S) with z = +1 / -1 for on / off, beta ~ N(0, s l/N), g ~ GP(0, s k_h) and a free scale s.
    Posterior mean and covariance of phi follow in closed form; hypotheses (42 kernels, 6 weights l) are averaged with
    their evidence to the power 0.4.

    - Estimand: the Shapley values of the game as evaluated. Estimator: posterior mean. All outputs and replicates
      share the factorisations, not the weights.
    - Bias: of order of the standard error, shrinking with the number of pairs; none for additive games. Efficiency
      holds to rounding.
    - Standard error: of the posterior mixture, Student t with C - 2 degrees of freedom. It assumes that the game looks
      like a draw from some mixture of the hypotheses: measured, it covers networks, and too little thresholded games
      (voting, glove) at 4 evaluations a player and below; `caution` then says so.
    - Cost: no evaluation beyond the pairs; O(C^3) per hypothesis.

    Source: Rasmussen and Williams (2006), eq. 2.25-2.30 and 2.42 (linear part by Woodbury); odd part: OddSHAP (2026).
    Differs from both in the tempered average over kernels.

    Example:
        >>> from accredit.attribution.design import ComplementPairDesign
        >>> masks = ComplementPairDesign()(6, 24, seed=0)
        >>> fitted = PairProcess()(masks, masks[:, :1] * (1.0 + masks[:, 1:2]))
        >>> (fitted.value.round(2) + 0.0).ravel()
        array([1.5, 0.5, 0. , 0. , 0. , 0. ])
    """

    hypotheses: tuple[OddKernel, ...] = field(default_factory=default_hypotheses)
    """Kernels of the odd part."""
    linear_variances: tuple[float, ...] = LINEAR_VARIANCES
    """Prior variances l of the linear part, as multiples of the process's."""
    noise: float = 1e-8
    """Variance of an error of the values themselves, as a share of the process's; larger where a value is noisy."""

    def __call__(self, masks: MaskArray, values: FloatArray) -> FittedValues:
        """Estimate the Shapley values from the complement pairs among the rows.

        Args:
            masks: distinct coalitions in any order, [M, N], among them none and all.
            values: finite, [M, R].

        Raises:
            MissingValue: none or all is not among the rows.
            InvalidArgument: shapes that do not belong together, values that are not finite, a coalition twice.
        """
        pairs = paired_values(masks, values)
        n_pairs, n_players = pairs.masks.shape
        unit = np.maximum(np.abs(pairs.odd).max(axis=0), np.finfo(np.float64).tiny)
        posteriors = self._posteriors(pairs.masks, pairs.odd / unit)
        value, covariance = _average(posteriors)
        value, covariance = value * unit, covariance * np.square(unit)[:, None, None]
        value = value + (pairs.total - value.sum(axis=0)) / n_players
        variance = np.einsum("rpp->pr", covariance)
        return FittedValues(
            value=value,
            stderr=np.sqrt(variance) if n_pairs > 2 else None,
            degrees_of_freedom=float(max(3, n_pairs - 2)),
            estimator="pair_process",
            n_evaluations=2 * n_pairs,
            covariance=covariance if n_pairs > 2 else None,
            caution=_caution(n_pairs, n_players),
        )

    def _posteriors(self, masks: MaskArray, odd: FloatArray) -> list[_Posterior]:
        """Return the posteriors of the hypotheses that are not negligible beside one before them."""
        geometry = PairGeometry.of(masks)
        best = np.full(odd.shape[1], -np.inf)
        posteriors = []
        for hypothesis in self.hypotheses:
            fit = _fit(hypothesis, geometry, masks, odd, noise=self.noise, variances=self.linear_variances)
            best = np.maximum(best, fit.log_evidence.max(axis=0))
            if (fit.log_evidence > best - NEGLIGIBLE).any():
                posteriors.append(_posterior(fit, hypothesis, masks))
        return posteriors


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """One hypothesis whitened: everything its evidence needs."""

    factor: FloatArray
    """Lower Cholesky factor of the covariance of the process, [C, C]."""
    odd: FloatArray
    """Whitened odd part, [C, R]."""
    sign: FloatArray
    """Whitened signs of the players, rotated to be orthogonal, [C, N]."""
    rotation: FloatArray
    """Columns are the rotated players, [N, N]."""
    projection: FloatArray
    """`sign.T @ odd`, [N, R]."""
    shrinkage: FloatArray
    """Posterior covariance of the rotated linear part, in units of the scale, [L, N]."""
    residual: FloatArray
    """Squares left over, [L, R]."""
    log_evidence: FloatArray
    """Up to a constant, [L, R]."""


def _fit(
    hypothesis: OddKernel,
    geometry: PairGeometry,
    masks: MaskArray,
    odd: FloatArray,
    *,
    noise: float,
    variances: tuple[float, ...],
) -> _Fit:
    """Whiten the data under one hypothesis and integrate the linear part and the scale out of its evidence."""
    n_pairs, n_players = masks.shape
    gram = hypothesis.gram(geometry)
    gram[np.diag_indices(n_pairs)] += noise
    factor = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    right = np.concatenate([np.where(masks, 1.0, -1.0), odd], axis=1)
    white = solve_triangular(factor, right, lower=True, overwrite_b=True, check_finite=False)
    sign, white_odd = white[:, :n_players], white[:, n_players:]
    eigenvalue, rotation = eigh(sign.T @ sign, check_finite=False)
    eigenvalue = np.maximum(eigenvalue, 0.0)
    sign = sign @ rotation
    projection = sign.T @ white_odd
    prior = np.array(variances)[:, None] / n_players
    shrinkage = prior / (1 + prior * eigenvalue)
    residual = np.square(white_odd).sum(axis=0) - shrinkage @ np.square(projection)
    residual = np.maximum(residual, np.finfo(np.float64).tiny)
    log_determinant = 2 * np.log(np.diag(factor)).sum() + np.log1p(prior * eigenvalue).sum(axis=1)
    return _Fit(
        factor=factor,
        odd=white_odd,
        sign=sign,
        rotation=rotation,
        projection=projection,
        shrinkage=shrinkage,
        residual=residual,
        log_evidence=-0.5 * (n_pairs * np.log(residual) + log_determinant[:, None]),
    )


def _posterior(fit: _Fit, hypothesis: OddKernel, masks: MaskArray) -> _Posterior:
    """Return mean and covariance of the Shapley values under one hypothesis, for every weight of the linear part."""
    n_pairs, n_players = masks.shape
    table = hypothesis.shapley_table(n_players)
    covariance = shapley_covariance(masks, table=table)
    white = solve_triangular(fit.factor, covariance, lower=True, check_finite=False)
    # an additive game with coefficients beta has odd part beta'z, and its Shapley values are 2 beta
    linear = 2 * fit.rotation.T - fit.sign.T @ white
    mean = white.T @ fit.odd + linear.T @ (fit.shrinkage[:, :, None] * fit.projection)
    process = _prior_covariance(hypothesis, table) - white.T @ white
    return _Posterior(
        log_evidence=fit.log_evidence,
        mean=mean,
        scale=fit.residual / max(n_pairs - 2, 1),
        covariance=process + (linear.T * fit.shrinkage[:, None, :]) @ linear,
    )


def _prior_covariance(hypothesis: OddKernel, table: FloatArray) -> FloatArray:
    """Return the prior covariance of the Shapley values, [N, N]: by symmetry one variance and one covariance.

    The covariance follows from efficiency: the values sum to 2 o(all).
    """
    n_players = len(table)
    everyone = PairGeometry.of(np.ones((1, n_players), dtype=bool))
    variance = 2 * float(table.mean())
    total = 4 * float(hypothesis.gram(everyone)[0, 0])
    between = (total - n_players * variance) / max(n_players * (n_players - 1), 1)
    return np.full((n_players, n_players), between) + (variance - between) * np.eye(n_players)


def _average(posteriors: list[_Posterior]) -> tuple[FloatArray, FloatArray]:
    """Average hypotheses and weights of the linear part: mean [N, R] and covariance [R, N, N] of the mixture."""
    weight = tempered_weights(np.concatenate([posterior.log_evidence for posterior in posteriors]))
    mean = np.concatenate([posterior.mean for posterior in posteriors])
    scale = np.concatenate([posterior.scale for posterior in posteriors])
    within = np.concatenate([posterior.covariance for posterior in posteriors])
    average = np.einsum("hr,hnr->nr", weight, mean)
    apart = np.sqrt(weight)[:, None] * (mean - average)
    covariance = np.tensordot((weight * scale).T, within, axes=1)
    covariance += np.einsum("hnr,hkr->rnk", apart, apart, optimize=True)
    diagonal = np.einsum("rnn->rn", covariance)
    np.maximum(diagonal, 0.0, out=diagonal)
    return average, covariance


def _caution(n_pairs: int, n_players: int) -> str | None:
    """Say where the standard errors are known to be missing or too small."""
    if n_pairs <= 2:
        return "no standard error: two pairs of coalitions or fewer say nothing about the spread"
    if n_pairs <= 2 * n_players:
        return "at 4 evaluations a player or fewer the intervals of thresholded games (voting, glove) are too narrow"
    return None
