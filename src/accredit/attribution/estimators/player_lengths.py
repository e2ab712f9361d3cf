"""A covariance in which every player has a length of its own, fitted to the odd part of the game.

k(S, T) = prod_i r_i^[i in S xor T] with r_i = exp(-w_i): a player that changes much has a large w_i. It is a product
over players, so its averages over random coalitions are integrals of polynomials over the probability p that a player
is on (a uniform size, then a uniform coalition of that size, is the same draw), exact by Gauss and Legendre's rule.

Axes: C complement pairs, N players, R columns of values, Q quadrature nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize

from accredit.attribution.estimators.conditioning import NOISE
from accredit.attribution.protocols import FloatArray, MaskArray

STEPS = 12
"""Steps of the optimiser: later ones were measured to change the estimates no more."""

SPREAD = 1.0
"""Prior standard deviation of log w_i around the mean of the players."""

ROUGH_LOGIT = (-2.0, 1.5)
"""Prior mean and standard deviation of the logit of the rough share."""


@dataclass(frozen=True, kw_only=True)
class PlayerLengths:
    """What a fit found."""

    rate: FloatArray
    """w_i of each player, [N]."""
    rough_share: float
    """Share of the variance in the rough part, in (0, 1)."""

    def gram(self, masks: MaskArray) -> FloatArray:
        """Return the covariance between the odd parts of coalitions [C, N], scaled to variance 1: [C, C]."""
        near, far = _near_and_far(np.where(masks, 1.0, -1.0), self.rate)
        gram: FloatArray = (near - far) / (2 * _odd_variance(self.rate))
        return gram

    def shapley_covariance(self, masks: MaskArray) -> FloatArray:
        """Return cov(phi_i, o(T)) for the coalitions T in `masks` [C, N], in the scale of `gram`: [C, N]."""
        keep = np.exp(-self.rate)
        total = np.zeros(masks.shape)
        for probability, weight in zip(*_nodes(len(keep)), strict=True):
            on = probability + (1 - probability) * keep
            off = 1 - probability + probability * keep
            factor = np.where(masks, on, off)
            total += weight * factor.prod(axis=1, keepdims=True) / factor
        covariance: FloatArray = total * np.where(masks, 1 - keep, keep - 1) / _odd_variance(self.rate)
        return covariance

    def shapley_prior(self) -> FloatArray:
        """Return the prior covariance of the Shapley values, in the scale of `gram`: [N, N]."""
        keep = np.exp(-self.rate)
        n_players = len(keep)
        node, node_weight = _nodes(n_players)
        covariance = np.zeros((n_players, n_players))
        variance = np.zeros(n_players)
        for probability, weight in zip(node, node_weight, strict=True):
            same = (probability * node + (1 - probability) * (1 - node))[:, None]
            factor = same + (1 - same) * keep
            product = factor.prod(axis=1) * node_weight * weight
            step = (1 - keep) / factor
            here = step * (2 * node[:, None] - 1) * product[:, None]
            covariance += here.T @ (step * (2 * probability - 1))
            variance += product @ (2 * step)
        covariance[np.diag_indices(n_players)] = variance
        return covariance / _odd_variance(self.rate)


def fit_player_lengths(masks: MaskArray, odd: FloatArray, *, rough: FloatArray) -> PlayerLengths:
    """Find the rates that explain the odd part best, shrunk towards each other.

    Maximises the mean log evidence over the columns of s ((1 - a) K_w + a K_rough + l Z Z' / N) with a free scale s,
    with the priors log w_i ~ N(mean, 1), mean ~ N(-log N, 1.5^2), logit a ~ N(-2, 1.5^2), log l ~ N(0, 2^2). The start
    is all players alike, so players that do alike stay alike.

    Args:
        masks: one coalition of each pair, [C, N].
        odd: odd part of the game there, [C, R]; columns share the rates.
        rough: covariance of the rough part, [C, C].

    Source: MacKay (1994), automatic relevance determination; Rasmussen and Williams (2006), eq. 5.9.
    """
    n_players = masks.shape[1]
    sign = np.where(masks, 1.0, -1.0)
    start = np.concatenate([np.full(n_players, -np.log(n_players)), [ROUGH_LOGIT[0], 0.0]])
    bounds = [(-9.0, 1.5)] * n_players + [(-6.0, 2.0), (-5.0, 4.0)]
    found = minimize(
        _objective,
        start,
        args=(sign, odd, rough),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": STEPS},
    )
    return PlayerLengths(rate=np.exp(found.x[:n_players]), rough_share=float(1 / (1 + np.exp(-found.x[n_players]))))


def _objective(point: FloatArray, sign: FloatArray, odd: FloatArray, rough: FloatArray) -> tuple[float, FloatArray]:
    """Return minus the log posterior density of (log w, logit a, log l), up to a constant, and its gradient."""
    n_pairs, n_players = sign.shape
    rate = np.exp(point[:n_players])
    share, linear = 1 / (1 + np.exp(-point[n_players])), np.exp(point[n_players + 1])
    near, far = _near_and_far(sign, rate)
    variance = _odd_variance(rate)
    smooth = (near - far) / (2 * variance)
    product = sign @ sign.T / n_players
    gram = (1 - share) * smooth + share * rough + linear * product
    gram[np.diag_indices(n_pairs)] += NOISE * (1 + linear)
    factor = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    solved = cho_solve((factor, True), odd, check_finite=False)
    squares = np.maximum(np.einsum("cr,cr->r", odd, solved), np.finfo(np.float64).tiny)
    value = 0.5 * n_pairs * np.log(squares).mean() + np.log(np.diag(factor)).sum()
    slope = cho_solve((factor, True), np.eye(n_pairs), overwrite_b=True, check_finite=False)
    slope = 0.5 * (slope - (n_pairs / odd.shape[1]) * (solved / squares) @ solved.T)
    gradient = np.empty(n_players + 2)
    gradient[:n_players] = (1 - share) * rate * _rate_slope(slope, sign, near, far, smooth=smooth, rate=rate)
    gradient[n_players] = share * (1 - share) * np.vdot(slope, rough - smooth)
    gradient[n_players + 1] = linear * np.vdot(slope, product)
    prior, prior_gradient = _prior(point, n_players)
    return float(value + prior), gradient + prior_gradient


def _rate_slope(
    slope: FloatArray, sign: FloatArray, near: FloatArray, far: FloatArray, *, smooth: FloatArray, rate: FloatArray
) -> FloatArray:
    """Return sum(slope * d smooth / d w_i) for each player: quadratic forms in its signs, [N]."""
    variance = _odd_variance(rate)
    toward, away = slope * near, slope * far
    differ = toward.sum() - np.einsum("ci,ci->i", sign, toward @ sign)
    agree = away.sum() + np.einsum("ci,ci->i", sign, away @ sign)
    rescale = np.vdot(slope, smooth) * (0.5 - variance)
    result: FloatArray = ((agree - differ) / 4 - rescale) / variance
    return result


def _prior(point: FloatArray, n_players: int) -> tuple[float, FloatArray]:
    """Return minus the log prior density of the parameters, up to a constant, and its gradient."""
    mean = point[:n_players].mean()
    apart = (point[:n_players] - mean) / SPREAD**2
    level = (mean + np.log(n_players)) / 1.5**2
    share = (point[n_players] - ROUGH_LOGIT[0]) / ROUGH_LOGIT[1] ** 2
    linear = point[n_players + 1] / 2.0**2
    squares = np.square(apart).sum() * SPREAD**2 + np.square(level) * 1.5**2
    squares += np.square(share) * ROUGH_LOGIT[1] ** 2 + np.square(linear) * 2.0**2
    return float(0.5 * squares), np.concatenate([apart + level / n_players, [share, linear]])


def _near_and_far(sign: FloatArray, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return k(S, T) and k(S, complement of T), [C, C] each."""
    total = rate.sum()
    distance = 0.5 * (total - (sign * rate) @ sign.T)
    return np.exp(-distance), np.exp(distance - total)


def _odd_variance(rate: FloatArray) -> float:
    """Return the variance of the odd part before scaling, the same for all coalitions."""
    return float(-0.5 * np.expm1(-rate.sum()))


def _nodes(n_players: int) -> tuple[FloatArray, FloatArray]:
    """Return the nodes and weights [Q] that integrate polynomials of degree N over [0, 1] exactly."""
    node, weight = leggauss(n_players // 2 + 1)
    return (node + 1) / 2, weight / 2
