"""Conditioning Gaussian hypotheses on the odd part of a game: evidence, Shapley values, and their average.

Under one hypothesis the odd part is beta'z(S) + g(S), with z = +1 / -1 for a player on / off, beta ~ N(0, s l/N),
g ~ GP(0, s K) and a scale s that is integrated out. The linear part enters by Woodbury, so that all its weights l share
one Cholesky factor. Source: Rasmussen and Williams (2006), eq. 2.25-2.30, 2.42.

Axes: C complement pairs, N players, R columns of values, L weights of the linear part, H hypotheses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from accredit.attribution.protocols import FloatArray, MaskArray

LINEAR_VARIANCES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Prior variances l of the linear part, as multiples of the process's."""

NOISE = 1e-8
"""Variance of an error of the values, as a share of the process's: no more than keeps a factorisation stable."""


@dataclass(frozen=True, kw_only=True)
class Whitened:
    """The odd part under one hypothesis: everything that its evidence needs."""

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
    """Posterior variance of the rotated linear part, in units of the scale, [L, N]."""
    residual: FloatArray
    """Squares left over, [L, R]."""
    log_evidence: FloatArray
    """Up to a constant, [L, R]."""


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """What one hypothesis makes of the data, for each weight of the linear part."""

    log_evidence: FloatArray
    """Up to a constant, [L, R]."""
    mean: FloatArray
    """Of the Shapley values, [L, N, R]."""
    scale: FloatArray
    """Estimated variance of the process, [L, R]."""
    covariance: FloatArray
    """Of the Shapley values in units of `scale`, [L, N, N]."""


def whiten(gram: FloatArray, masks: MaskArray, odd: FloatArray, *, noise: float = NOISE) -> Whitened:
    """Whiten the odd part under one hypothesis; the linear part and the scale are integrated out of its evidence.

    Args:
        gram: covariance of the process between the pairs, [C, C]; kept.
        masks: one coalition of each pair, [C, N].
        odd: odd part of the game there, [C, R].
        noise: variance of an error of the values, as a share of the process's.
    """
    n_pairs, n_players = masks.shape
    noisy = gram + noise * np.eye(n_pairs)
    factor = cholesky(noisy, lower=True, overwrite_a=True, check_finite=False)
    right = np.concatenate([np.where(masks, 1.0, -1.0), odd], axis=1)
    white = solve_triangular(factor, right, lower=True, overwrite_b=True, check_finite=False)
    sign, white_odd = white[:, :n_players], white[:, n_players:]
    eigenvalue, rotation = np.linalg.eigh(sign.T @ sign)
    eigenvalue = np.maximum(eigenvalue, 0.0)
    sign = sign @ rotation
    projection = sign.T @ white_odd
    prior = np.array(LINEAR_VARIANCES)[:, None] / n_players
    shrinkage = prior / (1 + prior * eigenvalue)
    residual = np.square(white_odd).sum(axis=0) - shrinkage @ np.square(projection)
    residual = np.maximum(residual, np.finfo(np.float64).tiny)
    log_determinant = 2 * np.log(np.diag(factor)).sum() + np.log1p(prior * eigenvalue).sum(axis=1)
    return Whitened(
        factor=factor,
        odd=white_odd,
        sign=sign,
        rotation=rotation,
        projection=projection,
        shrinkage=shrinkage,
        residual=residual,
        log_evidence=-0.5 * (n_pairs * np.log(residual) + log_determinant[:, None]),
    )


def posterior(white: Whitened, covariance: FloatArray, *, prior: FloatArray) -> Posterior:
    """Return mean and covariance of the Shapley values under one hypothesis, for every weight of the linear part.

    Args:
        white: the data under the hypothesis.
        covariance: of the Shapley values with the odd part of each pair, [C, N].
        prior: covariance of the Shapley values, [N, N].
    """
    white_covariance = solve_triangular(white.factor, covariance, lower=True, check_finite=False)
    # an additive game with coefficients beta has odd part beta'z, and its Shapley values are 2 beta
    linear = 2 * white.rotation.T - white.sign.T @ white_covariance
    mean = white_covariance.T @ white.odd + linear.T @ (white.shrinkage[:, :, None] * white.projection)
    return Posterior(
        log_evidence=white.log_evidence,
        mean=mean,
        scale=white.residual / max(len(covariance) - 2, 1),
        covariance=prior - white_covariance.T @ white_covariance + (linear.T * white.shrinkage[:, None, :]) @ linear,
    )


def average(posteriors: list[Posterior], weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Average posteriors: mean [N, R] and covariance [R, N, N] of the mixture.

    Args:
        posteriors: of H / L hypotheses.
        weight: of each hypothesis and weight of its linear part in turn, [H, R], summing to 1.
    """
    mean = np.concatenate([each.mean for each in posteriors])
    scale = np.concatenate([each.scale for each in posteriors])
    within = np.concatenate([each.covariance for each in posteriors])
    centre = np.einsum("hr,hnr->nr", weight, mean)
    apart = np.sqrt(weight)[:, None] * (mean - centre)
    covariance = np.tensordot((weight * scale).T, within, axes=1)
    covariance += np.einsum("hnr,hkr->rnk", apart, apart, optimize=True)
    players = np.arange(len(centre))
    covariance[:, players, players] = np.maximum(covariance[:, players, players], 0.0)
    return centre, covariance
