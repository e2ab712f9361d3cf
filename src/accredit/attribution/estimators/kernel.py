"""Covariances between coalitions that treat all players alike, and what they say about the indices.

A random game `f` has covariance `k(S, T)` that depends on the counts `|S & T|, |S - T|, |T - S|, |neither|` only. It
splits into an odd part `o(S) = (f(S) - f(S^c)) / 2`, which alone decides the Shapley values, and an even part
`e(S) = (f(S) + f(S^c)) / 2`, which alone decides the pair interactions. Each kernel here gives the covariance of a part
between coalitions and, in closed form, the covariance of that part with the index. By symmetry between players, and
between a coalition and its complement, the second is a table over one size:

    cov(phi_i, o(T)) = +table[|T| - 1]       if i is in T
                     = -table[N - 1 - |T|]   otherwise            var(phi_i) = 2 mean(table)

Each part is scaled to mean variance 1 over the sizes 0..N. Source: the hypergeometric identities follow from averaging
over a uniform subset of each size; the odd and even parts are those of OddSHAP (2026).

Axes: M pairs of complementary coalitions, N players.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from accredit.attribution.protocols import FloatArray, MaskArray

IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairGeometry:
    """Sizes and distances of M coalitions: all that a kernel which treats players alike can see."""

    n_players: int
    """Number of players N."""
    size: IntArray
    """Players that are on, [M]."""
    distance: IntArray
    """Players in which two coalitions differ, [M, M]."""

    @staticmethod
    def of(masks: MaskArray) -> PairGeometry:
        """Measure the coalitions `masks` [M, N].

        Example:
            >>> PairGeometry.of(np.array([[False, False], [True, False]])).distance
            array([[0, 1],
                   [1, 0]])
        """
        sign = np.where(masks, 1.0, -1.0)
        n_players = masks.shape[1]
        agreement = sign @ sign.T
        distance = ((n_players - agreement) / 2).astype(np.int64)
        return PairGeometry(n_players=n_players, size=masks.sum(axis=1, dtype=np.int64), distance=distance)

    def first(self, count: int) -> PairGeometry:
        """Return the geometry of the first `count` coalitions."""
        return PairGeometry(n_players=self.n_players, size=self.size[:count], distance=self.distance[:count, :count])


class OddKernel(Protocol):
    """A covariance of odd parts together with its covariance to the Shapley values."""

    def gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the odd parts of the coalitions, [M, M]."""
        ...

    def shapley_table(self, n_players: int) -> FloatArray:
        """Return cov(phi_i, o(T)) for T that contains i, over the number of other players in T, [N]."""
        ...


class EvenKernel(Protocol):
    """A covariance of even parts together with its covariance to the pair interactions."""

    def even_gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the even parts of the coalitions, [M, M]."""
        ...

    def interaction_table(self, n_players: int) -> FloatArray:
        """Return cov(I_ij, e(T)) by how many of i, j are in T and how many others, [3, N - 1]."""
        ...


@dataclass(frozen=True, kw_only=True)
class DistanceKernel:
    """`k(S, T) = correlation ** |S xor T| * exp(-((|S| - |T|) / (size_width N))^2 / 2)`.

    Games whose values change by little when one player is switched; `size_width` lets coalitions of different sizes
    differ more than their distance says.
    """

    correlation: float
    """Correlation left after one player has been switched, in (0, 1)."""
    size_width: float = np.inf
    """Length over which sizes decorrelate, as a share of N."""

    def gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the odd parts of the coalitions, [M, M]."""
        return self._part(pairs, sign=-1.0, scale=self._scale(pairs.n_players)[0])

    def even_gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the even parts of the coalitions, [M, M]."""
        return self._part(pairs, sign=1.0, scale=self._scale(pairs.n_players)[1])

    def shapley_table(self, n_players: int) -> FloatArray:
        """Return cov(phi_i, o(T)) for T that contains i, over the number of other players in T, [N]."""
        size = np.arange(n_players)
        gap = size[:, None] - size
        step = self._fade(gap, n_players) - self.correlation * self._fade(gap - 1, n_players)
        table: FloatArray = (expected_power(self.correlation, n_players - 1) * step).mean(axis=0)
        table *= self._scale(n_players)[0]
        return table

    def interaction_table(self, n_players: int) -> FloatArray:
        """Return cov(I_ij, e(T)) by how many of i, j are in T and how many others, [3, N - 1]."""
        size = np.arange(n_players - 1)
        rows = []
        for inside in range(3):
            gap = size[:, None] - size - inside
            both = self.correlation ** (2 - inside) * self._fade(gap + 2, n_players)
            none = self.correlation**inside * self._fade(gap, n_players)
            one = (2 * self.correlation if inside != 1 else 1 + self.correlation**2) * self._fade(gap + 1, n_players)
            rows.append((expected_power(self.correlation, n_players - 2) * (both - one + none)).mean(axis=0))
        return np.array(rows) * self._scale(n_players)[1]

    def _part(self, pairs: PairGeometry, *, sign: float, scale: float) -> FloatArray:
        """Return (k(S, T) + sign k(S, complement of T)) scale / 2, [M, M]."""
        n_players = pairs.n_players
        near = self.correlation ** np.arange(n_players + 1.0) * (scale / 2)
        far = sign * near[::-1]
        if np.isinf(self.size_width):
            return np.take(near + far, pairs.distance)
        fade = self._fade(np.arange(-n_players, n_players + 1), n_players)
        row, column = pairs.size[:, None], pairs.size
        gram: FloatArray = np.take(near, pairs.distance) * np.take(fade, row - column + n_players)
        gram += np.take(far, pairs.distance) * np.take(fade, row + column)
        return gram

    def _fade(self, gap: IntArray, n_players: int) -> FloatArray:
        """Return what is left of the covariance between sizes that differ by `gap`."""
        return np.exp(-0.5 * np.square(gap / (self.size_width * n_players)))

    def _scale(self, n_players: int) -> tuple[float, float]:
        """Return the factors that bring the odd and the even part to mean variance 1 over sizes."""
        far = self.correlation**n_players * self._fade(2 * np.arange(n_players + 1) - n_players, n_players).mean()
        return float(2 / (1 - far)), float(2 / (1 + far))


@dataclass(frozen=True, kw_only=True)
class UnanimityKernel:
    """`k(S, T) = (1 + growth) ** |S & T|`: random sums of unanimity games, large ones discounted by `growth`."""

    growth: float
    """Prior variance of a unanimity game with one more member, relative to one with fewer, above 0."""

    def gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the odd parts of the coalitions, [M, M]."""
        power = self._power(pairs.n_players)
        row, column = pairs.size[:, None], pairs.size
        both = (row + column - pairs.distance) // 2
        on_and_off = power[both] + power[pairs.n_players - row - column + both]
        gram: FloatArray = (on_and_off - power[row - both] - power[column - both]) * (self._scale(power) / 4)
        return gram

    def shapley_table(self, n_players: int) -> FloatArray:
        """Return cov(phi_i, o(T)) for T that contains i, over the number of other players in T, [N]."""
        power = self._power(n_players)
        size = np.arange(1, n_players + 1)
        table: FloatArray = (power[1:] - power[0]) / size * (self._scale(power) / 2)
        return table

    def _power(self, n_players: int) -> FloatArray:
        """Return `(1 + growth) ** k` for k = 0..N divided by its largest, which would overflow for many players."""
        power: FloatArray = np.exp((np.arange(n_players + 1) - n_players) * np.log1p(self.growth))
        return power

    def _scale(self, power: FloatArray) -> float:
        """Return the factor that brings the odd part to mean variance 1 over sizes."""
        return float(4 / (power + power[::-1] - 2 * power[0]).mean())


@dataclass(frozen=True)
class LinearKernel:
    """Additive games: the odd part is linear in the signs of the players, each with variance 1/N."""

    def gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the odd parts of the coalitions, [M, M]."""
        return 1 - 2 * pairs.distance / pairs.n_players

    def shapley_table(self, n_players: int) -> FloatArray:
        """Return cov(phi_i, o(T)) for T that contains i, over the number of other players in T, [N]."""
        return np.full(n_players, 2 / n_players)


@dataclass(frozen=True)
class QuadraticKernel:
    """Games of pairs: the even part is a quadratic form in the signs of the players with independent coefficients."""

    def even_gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the even parts of the coalitions, [M, M]."""
        n_players = pairs.n_players
        product = np.square(n_players - 2.0 * pairs.distance)
        gram: FloatArray = (product - n_players) / max(n_players * (n_players - 1), 1)
        return gram

    def interaction_table(self, n_players: int) -> FloatArray:
        """Return cov(I_ij, e(T)) by how many of i, j are in T and how many others, [3, N - 1]."""
        sign = np.array([[1.0], [-1.0], [1.0]])
        return np.repeat(sign * (8 / (n_players * (n_players - 1))), n_players - 1, axis=1)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A weighted sum of independent kernels: one hypothesis about the odd part of a game."""

    parts: tuple[tuple[float, OddKernel], ...]
    """Weight and kernel of each part."""

    def gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the odd parts of the coalitions, [M, M]."""
        total = np.zeros(pairs.distance.shape)
        for weight, kernel in self.parts:
            total += weight * kernel.gram(pairs)
        return total

    def shapley_table(self, n_players: int) -> FloatArray:
        """Return cov(phi_i, o(T)) for T that contains i, over the number of other players in T, [N]."""
        total = np.zeros(n_players)
        for weight, kernel in self.parts:
            total += weight * kernel.shapley_table(n_players)
        return total


@dataclass(frozen=True, kw_only=True)
class EvenMixture:
    """A weighted sum of independent kernels: one hypothesis about the even part of a game."""

    parts: tuple[tuple[float, EvenKernel], ...]
    """Weight and kernel of each part."""

    def even_gram(self, pairs: PairGeometry) -> FloatArray:
        """Return the covariance between the even parts of the coalitions, [M, M]."""
        total = np.zeros(pairs.distance.shape)
        for weight, kernel in self.parts:
            total += weight * kernel.even_gram(pairs)
        return total

    def interaction_table(self, n_players: int) -> FloatArray:
        """Return cov(I_ij, e(T)) by how many of i, j are in T and how many others, [3, N - 1]."""
        total = np.zeros((3, n_players - 1))
        for weight, kernel in self.parts:
            total += weight * kernel.interaction_table(n_players)
        return total


def shapley_covariance(masks: MaskArray, *, table: FloatArray) -> FloatArray:
    """Spread a table of an odd kernel over coalitions: cov(phi_i, o(T)), [M, N].

    Args:
        masks: coalitions, [M, N].
        table: `shapley_table(N)` of a kernel, [N].
    """
    n_players = masks.shape[1]
    size = masks.sum(axis=1)
    inside = table[np.maximum(size - 1, 0)][:, None]
    outside = table[np.minimum(n_players - 1 - size, n_players - 1)][:, None]
    covariance: FloatArray = np.where(masks, inside, -outside)
    return covariance


def interaction_covariance(masks: MaskArray, *, table: FloatArray) -> FloatArray:
    """Spread a table of an even kernel over coalitions: cov(I_ij, e(T)), [M, N (N - 1) / 2] in upper-triangle order.

    Args:
        masks: coalitions, [M, N].
        table: `interaction_table(N)` of a kernel, [3, N - 1].
    """
    first, second = np.triu_indices(masks.shape[1], 1)
    on = masks.astype(np.int8)
    inside = on[:, first] + on[:, second]
    others = masks.sum(axis=1)[:, None] - np.arange(3)
    by_row = table[np.arange(3), np.clip(others, 0, table.shape[1] - 1)]
    return np.take_along_axis(by_row, inside.astype(np.intp), axis=1)


@lru_cache(maxsize=64)
def expected_power(correlation: float, n_items: int) -> FloatArray:
    """Mean of `correlation ** |S xor T|` over the subsets S of each size, for a fixed T of each size.

    Q_N[s, t] = (s/N) r^[x not in T] Q_{N-1}[s-1, t'] + (1 - s/N) r^[x in T] Q_{N-1}[s, t'], where x is one of N items
    and t' counts the others in T: every term is positive, so nothing cancels however many items there are.

    Args:
        correlation: r in (0, 1].
        n_items: N, at least 0.

    Returns:
        [N + 1, N + 1], indexed by the sizes of S and T. Read only: it is cached.

    Example:
        >>> expected_power(0.5, 2)[1]
        array([0.5  , 0.625, 0.5  ])
    """
    mean = np.ones((1, 1))
    for items in range(1, n_items + 1):
        share = np.arange(items + 1)[:, None] / items
        grown = np.zeros((items + 1, items + 1))
        with_item = np.vstack([np.zeros((1, items)), mean])
        without = np.vstack([mean, np.zeros((1, items))])
        grown[:, 1:] = share * with_item + (1 - share) * correlation * without
        grown[:, 0] = correlation ** np.arange(items + 1)
        mean = grown
    mean.setflags(write=False)
    return mean
