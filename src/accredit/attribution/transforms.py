"""Exact indices from a complete table of 2^N values: every one a linear transform, all players and outputs at once.

Axes: N players, K leading axes of the table (outputs, examples), P coalitions of the order asked for. A table is [...,
2^N]; in the last axis bit i of the index means that player i is on.

All indices here have the form I(T) = sum over S without T of w(|S|) D_T v(S), with the discrete derivative D_T v(S) =
sum over U in T of (-1)^(|T| - |U|) v(S + U). Written as sums over supersets,
I(T) = sum over U in T of A_U[h_|U|] with A_U[g] = sum of g(S) over all S that contain U and
h_y(S) = (-1)^(t - y) v(S) sum over x <= y of C(y, x) w(|S| - x), which needs a handful of passes over the table for
all T together and, unlike the detour over Moebius coefficients, loses nothing to cancellation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from accredit.attribution.protocols import FloatArray, MaskArray
from accredit.errors import InvalidArgument


def shapley_weights(n_players: int, *, order: int = 1) -> FloatArray:
    """Weights w(s), s = 0 .. N - t, of the Shapley value (t = 1) and the Shapley interaction index of order t.

    w(s) = s! (N - s - t)! / (N - t + 1)!

    Example:
        >>> shapley_weights(3).round(4).tolist()
        [0.3333, 0.1667, 0.3333]

    Source: Grabisch and Roubens (1999), An axiomatic approach to the concept of interaction, equation 9.
    """
    sizes = np.arange(n_players - order + 1)
    logs = gammaln(sizes + 1) + gammaln(n_players - sizes - order + 1) - gammaln(n_players - order + 2)
    return np.asarray(np.exp(logs))


def banzhaf_weights(n_players: int, *, order: int = 1, probability: float = 0.5) -> FloatArray:
    """Weights of the (weighted) Banzhaf value and interaction index: each other player is on with `probability`.

    w(s) = p^s (1 - p)^(N - t - s)

    Example:
        >>> banzhaf_weights(3).tolist()
        [0.25, 0.25, 0.25]

    Source: Marichal and Mathonet (2011), Weighted Banzhaf power and interaction indexes, equation 8.
    """
    if not 0.0 < probability < 1.0:
        raise InvalidArgument(
            f"`probability` is {probability}, wanted a number between 0 and 1, both excluded; pass 0.5 for Banzhaf."
        )
    sizes = np.arange(n_players - order + 1)
    return np.asarray(probability**sizes * (1.0 - probability) ** (n_players - order - sizes))


def beta_weights(n_players: int, *, alpha: float, beta: float) -> FloatArray:
    """Weights of the Beta(alpha, beta) Shapley value; Beta(1, 1) is Shapley, alpha > beta favours small coalitions.

    w(s) = B(s + beta, N - 1 - s + alpha) / B(alpha, beta)

    Example:
        >>> bool(np.allclose(beta_weights(4, alpha=1.0, beta=1.0), shapley_weights(4)))
        True

    Source: Kwon and Zou (2022), Beta Shapley, equation 3 (their j is s + 1).
    """
    if not (alpha > 0.0 and beta > 0.0):
        raise InvalidArgument(f"`alpha` and `beta` are {alpha} and {beta}, wanted both above 0; pass 1 for Shapley.")
    sizes = np.arange(n_players)
    return np.asarray(np.exp(betaln(sizes + beta, n_players - 1 - sizes + alpha) - betaln(alpha, beta)))


def table_players(table: FloatArray) -> int:
    """N of a table [..., 2^N].

    Raises:
        InvalidArgument: the last axis is no power of two of at least 2.
    """
    length = table.shape[-1]
    n_players = int(length).bit_length() - 1
    if length < 2 or 1 << n_players != length:
        raise InvalidArgument(
            f"`table` has {length} values, wanted 2^n of them, n at least 1; pass one value for every coalition."
        )
    return n_players


def shapley_values(table: FloatArray) -> FloatArray:
    """Shapley values [..., N] of a complete table [..., 2^N].

    phi_i = sum over S without i of |S|! (N - |S| - 1)! / N! (v(S + i) - v(S))

    Args:
        table: values [..., 2^N], float64; bit i of the index = player i on.

    Returns:
        Raw values [..., N], exact to rounding; over players they sum to v(all) - v(none).

    Raises:
        InvalidArgument: the number of values is no power of two.

    Example:
        Two players earn 3 together and nothing apart; the second earns 1 more by itself.

        >>> shapley_values(np.array([0.0, 0.0, 1.0, 4.0])).tolist()
        [1.5, 2.5]

    Source: Shapley (1953), A value for n-person games.
    """
    n_players = table_players(table)
    return interaction_index(table, shapley_weights(n_players), order=1)


def interaction_index(table: FloatArray, weights: FloatArray, *, order: int) -> FloatArray:
    """I(T) = sum over S without T of w(|S|) D_T v(S) for every T of `order` players.

    Args:
        table: values [..., 2^N].
        weights: w(s), s = 0 .. N - order, as from `shapley_weights` or `banzhaf_weights` of the same order.
        order: 1 for values of players, 2 for pairs, and so on up to N.

    Returns:
        [..., P], the T in the order of `itertools.combinations(range(N), order)`.

    Raises:
        InvalidArgument: an order outside 1 .. N, or another number of weights.

    Example:
        >>> unanimity = np.array([0.0, 0.0, 0.0, 1.0])
        >>> interaction_index(unanimity, shapley_weights(2, order=2), order=2).tolist()
        [1.0]

    Source: Fujimoto, Kojadinovic and Marichal (2006), Axiomatic characterizations of probabilistic and
    cardinal-probabilistic interaction indices, equation 2; the sums over supersets are this module's.
    """
    n_players = table_players(table)
    if not 1 <= order <= n_players or weights.shape != (n_players - order + 1,):
        raise InvalidArgument(
            f"`order` is {order} with {weights.shape[0]} weights, wanted an order from 1 to {n_players} and "
            f"{n_players} - order + 1 weights; make the weights for this order."
        )
    sizes = _sizes(n_players)
    centred = table - table[..., :1]  # an offset of the whole game cannot then cost digits
    total = np.zeros((*table.shape[:-1], math.comb(n_players, order)))
    for inside in range(order + 1):
        coefficients = _superset_coefficients(weights, order=order, inside=inside, n_players=n_players)
        sums = superset_sums(coefficients[sizes] * centred, order=inside)
        total += sums[..., _members(n_players, order, inside)].sum(axis=-1)
    return total


def _superset_coefficients(weights: FloatArray, *, order: int, inside: int, n_players: int) -> FloatArray:
    """h_y / v by size of the coalition: (-1)^(t - y) sum over x <= y of C(y, x) w(s - x)."""
    padded = np.zeros(n_players + 1)
    # sizes at which w would need more players than there are stay 0: no coalition has them
    for x in range(inside + 1):
        padded[x : x + len(weights)] += math.comb(inside, x) * weights
    return np.asarray((-1.0) ** (order - inside) * padded)


def superset_sums(table: FloatArray, *, order: int) -> FloatArray:
    """Sums of the table over all coalitions that contain T, for every T of `order` players.

    Folding the table at its last player halves it: T with that player needs the upper half alone, T without it the sum
    of both halves. All T together cost a few passes over the table.

    Returns:
        [..., P] in the order of `itertools.combinations(range(N), order)`.

    Example:
        >>> superset_sums(np.array([1.0, 10.0, 100.0, 1000.0]), order=1).tolist()
        [1010.0, 1100.0]
    """
    n_players = table.shape[-1].bit_length() - 1
    folded = np.concatenate(_folded_sums(table, order), axis=-1)
    return np.asarray(folded[..., _lexicographic(n_players, order)]) if order > 1 else folded


def _folded_sums(table: FloatArray, order: int) -> list[FloatArray]:
    """Blocks of superset sums, T ordered by their last player first (colexicographic)."""
    if order == 0:
        return [table.sum(axis=-1, keepdims=True)]
    blocks: list[FloatArray] = []
    while table.shape[-1] > 1:
        half = table.shape[-1] // 2
        blocks[:0] = _folded_sums(table[..., half:], order - 1)
        table = table[..., :half] + table[..., half:]
    return blocks


@lru_cache(maxsize=32)
def _lexicographic(n_players: int, order: int) -> NDArray[np.intp]:
    """Where each combination, taken lexicographically, stands in the colexicographic order."""
    subsets = list(combinations(range(n_players), order))
    colexicographic = sorted(range(len(subsets)), key=lambda at: subsets[at][::-1])
    return np.argsort(np.array(colexicographic, dtype=np.intp))


@lru_cache(maxsize=64)
def _members(n_players: int, order: int, inside: int) -> NDArray[np.intp]:
    """Positions of the subsets of size `inside` of every T of size `order`: [P, C(order, inside)]."""
    place = {subset: at for at, subset in enumerate(combinations(range(n_players), inside))}
    return np.array(
        [[place[part] for part in combinations(subset, inside)] for subset in combinations(range(n_players), order)],
        dtype=np.intp,
    )


@lru_cache(maxsize=8)
def _sizes(n_players: int) -> NDArray[np.intp]:
    """Number of players of every coalition in table order [2^N]."""
    sizes = np.zeros(1, dtype=np.intp)
    for _ in range(n_players):
        sizes = np.concatenate([sizes, sizes + 1])
    return sizes


def moebius(table: FloatArray) -> FloatArray:
    """Moebius coefficients (Harsanyi dividends) [..., 2^N]: v(S) = sum of m(T) over T in S.

    m(S) = sum over T in S of (-1)^(|S| - |T|) v(T)

    Example:
        >>> moebius(np.array([0.0, 0.0, 1.0, 4.0])).tolist()
        [0.0, 0.0, 1.0, 3.0]

    Source: Rota (1964), On the foundations of combinatorial theory I.
    """
    table_players(table)
    coefficients = np.array(table, dtype=np.float64)
    step = 1
    while step < coefficients.shape[-1]:
        pairs = coefficients.reshape(*table.shape[:-1], -1, 2, step)
        pairs[..., 1, :] -= pairs[..., 0, :]
        step *= 2
    return coefficients


def value_coefficients(masks: MaskArray, weights: FloatArray) -> FloatArray:
    """Coefficients [M, N] that turn the values of ALL coalitions, in the order of the rows, into indices of players.

    phi = coefficients.T @ values, with w(|S| - 1) where the player is on and -w(|S|) where it is off: the same
    transform as `interaction_index` of order 1, written for tables with many columns (one per example) and rows in any
    order.
    """
    sizes = masks.sum(axis=1)
    padded = np.zeros(len(weights) + 1)
    padded[:-1] = weights
    return np.asarray(np.where(masks, padded[sizes - 1][:, None], -padded[sizes][:, None]))
