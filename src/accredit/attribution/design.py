"""Which coalitions to evaluate when 2^N are too many: complement pairs, the most informative first.

A design is fixed by the number of players and the seed alone: it is known before the first evaluation, a longer one
begins with the shorter one, and no coalition comes twice. So it can be batched, shipped to workers, extended, resumed
and cut by a timeout without a change to what is estimated.

Axes: N players, M complement pairs (2M coalitions).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, islice

import numpy as np
from scipy.linalg import solve_triangular

from accredit.attribution.estimators.kernel import (
    DistanceKernel,
    IntArray,
    LinearKernel,
    Mixture,
    OddKernel,
    PairGeometry,
    UnanimityKernel,
    shapley_covariance,
)
from accredit.attribution.protocols import FloatArray, MaskArray
from accredit.errors import InvalidArgument

POOL = 600
"""Random pairs among which the next is chosen greedily; when they are used up another such pool follows."""

ENUMERATED = 5000
"""A size with at most so many coalitions is listed and shuffled; from a larger one coalitions are drawn."""

SMALLEST_VARIANCE = 1e-9
"""Below this share of the prior variance a pair is as good as known and offers no gain."""

TIE = 1 - 1e-9
"""Gains so close are equal but for rounding, as by symmetry many are; the first in the pool wins on every machine."""

EXPECTED_GAME = Mixture(
    parts=(
        (0.5, DistanceKernel(correlation=0.6)),
        (0.2, DistanceKernel(correlation=0.8, size_width=0.25)),
        (0.3, UnanimityKernel(growth=0.6)),
        (1.0, LinearKernel()),
    )
)
"""What the design expects of a game before it has seen any value."""


@dataclass(frozen=True, kw_only=True)
class ComplementPairDesign:
    """Coalitions in pairs with their complements: (none, all), then greedily whatever says most about Shapley values.

    From a pool of 600 random pairs, balanced over sizes, the next pair is the one that lowers the summed posterior
    variance of the Shapley values most under the covariance `expected` (one column of a pivoted Cholesky
    factorisation). The rest of the budget beyond a pool is taken from further pools in the same way.

    Cost: no evaluation; about 30 ms for 384 coalitions of 12 players, kept for the next call with the same arguments.
    Source: greedy A-optimal design for Gaussian processes; complement pairs as in OddSHAP (2026).

    Example:
        >>> masks = ComplementPairDesign()(4, 6, seed=0)
        >>> masks[:2].astype(int)
        array([[0, 0, 0, 0],
               [1, 1, 1, 1]])
        >>> bool((masks[2::2] == ~masks[3::2]).all())
        True
    """

    expected: Mixture = field(default=EXPECTED_GAME)
    """Covariance of the odd part of the game that the order is best for."""

    def __call__(self, n_players: int, n_evaluations: int, *, seed: int) -> MaskArray:
        """Masks [M, N] in the order of evaluation: none, all, then each pair side by side; no row twice.

        Args:
            n_players: N, at least 1.
            n_evaluations: coalitions wanted, at least 2; an odd number is rounded down, and 2^N are all there are.
            seed: of the random pools.

        Raises:
            InvalidArgument: fewer than 1 player or fewer than 2 evaluations.
        """
        if n_players < 1:
            raise InvalidArgument(f"`n_players` is {n_players}, but a game has at least 1; name the players.")
        if n_evaluations < 2:
            raise InvalidArgument(
                f"`n_evaluations` is {n_evaluations}, but a design begins with two coalitions, none and all;"
                " allow at least 2."
            )
        n_pairs = min(n_evaluations // 2, 2 ** (n_players - 1))
        first = _chosen_pairs(n_players, seed, n_pairs, self.expected)
        return np.stack([first, ~first], axis=1).reshape(-1, n_players)


@lru_cache(maxsize=8)
def _chosen_pairs(n_players: int, seed: int, n_pairs: int, expected: Mixture) -> MaskArray:
    """Return the first `n_pairs` pairs by their smaller coalitions, [M, N]; read only, because it is cached."""
    n_earlier = (n_pairs - 1) // POOL * POOL
    earlier = _chosen_pairs(n_players, seed, n_earlier, expected) if n_earlier else np.zeros((0, n_players), dtype=bool)
    pool = np.array(list(islice(random_pairs(n_players, seed=seed), n_earlier, n_earlier + POOL)))
    order = greedy_order(pool, n_pairs - n_earlier, given=earlier, expected=expected)
    chosen = np.concatenate([earlier, pool[order]])
    chosen.setflags(write=False)
    return chosen


def random_pairs(n_players: int, *, seed: int) -> Iterator[MaskArray]:
    """Yield every complement pair once, as its smaller coalition [N], in an order balanced over sizes.

    (none, all) comes first. Then the sizes 1..N/2 take turns, the middle size half as often (its coalitions are their
    own complements' size), each for as long as its coalitions last; within a size the order is random.

    Args:
        n_players: N, at least 1.
        seed: of the order within a size.

    Example:
        >>> sum(1 for _ in random_pairs(5, seed=0))
        16
    """
    yield np.zeros(n_players, dtype=bool)
    sizes = range(1, n_players // 2 + 1)
    rate = np.array([0.5 if 2 * size == n_players else 1.0 for size in sizes])
    sources = [_coalitions_of_size(n_players, size, seed) for size in sizes]
    left = [math.comb(n_players, size) // (2 if 2 * size == n_players else 1) for size in sizes]
    credit = np.zeros(len(left))
    generator = np.random.default_rng([seed, n_players])
    while any(left):
        credit = np.where([count > 0 for count in left], credit + rate / rate.sum(), -np.inf)
        turn = int(np.argmax(credit + 1e-6 * generator.random(len(left))))
        left[turn] -= 1
        credit[turn] -= 1
        yield next(sources[turn])


def _coalitions_of_size(n_players: int, size: int, seed: int) -> Iterator[MaskArray]:
    """Yield the coalitions [N] of one size in random order, each once; of two complements of that size only one."""
    generator = np.random.default_rng([seed, n_players, size])
    halved = 2 * size == n_players
    fixed, free = (1, n_players - 1) if halved else (0, n_players)
    if math.comb(free, size - fixed) <= ENUMERATED:
        listed = np.array(list(combinations(range(fixed, n_players), size - fixed)), dtype=np.int64)
        chosen: Iterator[IntArray] = iter(generator.permutation(listed, axis=0))
    else:
        chosen = _distinct_draws(generator, free, size - fixed, offset=fixed)
    for players in chosen:
        coalition = np.zeros(n_players, dtype=bool)
        coalition[players] = True
        coalition[0] |= halved
        yield coalition


def _distinct_draws(generator: np.random.Generator, n_items: int, size: int, *, offset: int) -> Iterator[IntArray]:
    """Yield subsets of `size` of the items offset..offset + n_items - 1, uniform, no subset twice."""
    seen: set[bytes] = set()
    while True:
        subset = np.sort(generator.permutation(n_items)[:size]) + offset
        if subset.tobytes() not in seen:
            seen.add(subset.tobytes())
            yield subset


def greedy_order(pool: MaskArray, count: int, *, given: MaskArray, expected: OddKernel) -> IntArray:
    """Order pairs so that each lowers the summed posterior variance of the Shapley values most.

    With c(T) = cov(phi, o(T)) and v(T) = var(o(T)), both conditional on the pairs chosen so far, evaluating T lowers
    the sum of variances by |c(T)|^2 / v(T). Choosing T is one column of a pivoted Cholesky factorisation.

    Args:
        pool: candidates by one coalition of each pair, [P, N], distinct; without `given` the first is chosen first.
        count: how many to choose, at most P.
        given: pairs that are evaluated already, [G, N].
        expected: covariance of the odd part of the game.

    Returns:
        Rows of the pool in the order of choice, [count].

    Source: Harbrecht, Peters, Schneider (2012), pivoted Cholesky; the criterion is A-optimality.
    """
    n_given = len(given)
    masks = np.concatenate([given, pool])
    gram = expected.gram(PairGeometry.of(masks))[n_given:]
    covariance = shapley_covariance(masks, table=expected.shapley_table(pool.shape[1]))
    factor = np.zeros((len(pool), n_given + count))
    remaining = covariance[n_given:]
    if n_given:
        known = np.linalg.cholesky(expected.gram(PairGeometry.of(given)) + SMALLEST_VARIANCE * np.eye(n_given))
        factor[:, :n_given] = solve_triangular(known, gram[:, :n_given].T, lower=True).T
        remaining = remaining - factor[:, :n_given] @ solve_triangular(known, covariance[:n_given], lower=True)
    variance = np.diag(gram[:, n_given:]) - np.square(factor).sum(axis=1)
    return _pivot(gram[:, n_given:], remaining, variance, factor, n_known=n_given)


def _pivot(
    gram: FloatArray, remaining: FloatArray, variance: FloatArray, factor: FloatArray, *, n_known: int
) -> IntArray:
    """Run the pivoted Cholesky factorisation of `gram`, writing to `factor` from column `n_known` on."""
    chosen = np.zeros(factor.shape[1] - n_known, dtype=np.int64)
    available = np.ones(len(gram), dtype=bool)
    for step in range(len(chosen)):
        column = n_known + step
        gain = np.einsum("pn,pn->p", remaining, remaining) / np.maximum(variance, SMALLEST_VARIANCE)
        gain[~available] = -1.0
        row = 0 if column == 0 else int(np.argmax(gain >= TIE * gain.max()))
        chosen[step] = row
        available[row] = False
        pivot = math.sqrt(max(float(variance[row]), SMALLEST_VARIANCE))
        factor[:, column] = (gram[:, row] - factor[:, :column] @ factor[row, :column]) / pivot
        remaining = remaining - np.outer(factor[:, column], remaining[row] / pivot)
        variance = np.maximum(variance - np.square(factor[:, column]), 0.0)
    return chosen
