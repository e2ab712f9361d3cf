"""Antithetic permutations: the reference that assumes next to nothing, with its own design.

Axes: N players, M coalitions, D pairs of a permutation and its reverse, R columns of values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from accredit.attribution.estimators.pairing import check_rows
from accredit.attribution.protocols import FittedValues, FloatArray, MaskArray
from accredit.errors import InvalidArgument, MissingValue


def permutation_masks(n_players: int, *, seed: int) -> Iterator[MaskArray]:
    """Yield, for one random permutation after another, the coalitions of its walk from none to all, [N + 1, N].

    The walk of the reversed permutation meets their complements, in reverse order. Draws are independent.

    Args:
        n_players: N, at least 1.
        seed: of the permutations.

    Example:
        >>> next(permutation_masks(3, seed=0)).sum(axis=1)
        array([0, 1, 2, 3])
    """
    generator = np.random.default_rng([seed, n_players])
    while True:
        rank = generator.permutation(n_players)
        yield rank < np.arange(n_players + 1)[:, None]


@dataclass(frozen=True)
class PermutationDesign:
    """The coalitions of random permutations and their reverses, each coalition once.

    The number of permutations follows from the budget alone, 2 + 2 (N - 1) each if none shared a coalition: it must not
    depend on which coalitions they happen to share, or the estimate would be biased. So fewer coalitions than allowed
    may come out.

    Source: Castro, Gomez, Tejada (2009); antithetic: Mitchell, Cooper, Frank, Holmes (2022), section 4.

    Example:
        >>> PermutationDesign()(3, 6, seed=1).sum(axis=1)
        array([0, 3, 1, 2, 2, 1])
    """

    def __call__(self, n_players: int, n_evaluations: int, *, seed: int) -> MaskArray:
        """Masks [M, N] in the order of evaluation: none, all, then walk by walk; no row twice.

        Args:
            n_players: N, at least 1.
            n_evaluations: coalitions allowed, at least 2.
            seed: of the permutations.

        Raises:
            InvalidArgument: fewer than 1 player or fewer than 2 evaluations.
        """
        if n_players < 1 or n_evaluations < 2:
            raise InvalidArgument(
                f"`n_evaluations` is {n_evaluations} for {n_players} players, but a design has none and all of at least"
                " 1 player; allow at least 2."
            )
        ends = [np.zeros((1, n_players), dtype=bool), np.ones((1, n_players), dtype=bool)]
        n_draws = (n_evaluations - 2) // max(2 * (n_players - 1), 1)
        inner = [walk[1:-1] for walk in islice(permutation_masks(n_players, seed=seed), n_draws)]
        both = [np.stack([walk, ~walk], axis=1).reshape(-1, n_players) for walk in inner]
        masks = np.concatenate([*ends, *both])
        _, first = np.unique(masks, axis=0, return_index=True)
        return masks[np.sort(first)]


@dataclass(frozen=True, kw_only=True)
class AntitheticPermutations:
    """Shapley values as the mean marginal contribution over random permutations and their reverses.

    phi_i = mean over draws d of (m_i(pi_d) + m_i(reverse pi_d)) / 2, with m_i(pi) what i adds to those before it.

    - Estimand: the Shapley values of the game as evaluated. Bias: none. Efficiency holds to rounding, for each draw.
    - Standard error: sample standard deviation of the draws over sqrt(D), Student t with D - 1 degrees of freedom. It
      assumes independent draws, which holds by design, and means that are close to normal; where contributions are
      almost always 0 (voting with a large quota) a few draws cover too little.
    - Cost: 2 (N - 1) evaluations a draw, fewer where draws share coalitions.

    The permutations are those of `PermutationDesign` with the same seed, in the same order, up to the first whose
    coalitions are not all there: nothing is drawn anew and no step is left out.

    Source: Castro, Gomez, Tejada (2009), eq. 4; antithetic: Mitchell, Cooper, Frank, Holmes (2022), section 4.

    Example:
        >>> masks = PermutationDesign()(4, 50, seed=0)
        >>> AntitheticPermutations(seed=0)(masks, masks @ np.array([[1.0], [2.0], [3.0], [4.0]])).value.ravel()
        array([1., 2., 3., 4.])
    """

    seed: int
    """Seed of the design that the coalitions come from."""

    def __call__(self, masks: MaskArray, values: FloatArray) -> FittedValues:
        """Average the marginal contributions of the permutations whose coalitions are all among the rows.

        Args:
            masks: distinct coalitions in any order, [M, N].
            values: finite, [M, R].

        Raises:
            MissingValue: not one permutation and its reverse are complete.
            InvalidArgument: shapes that do not belong together, values that are not finite, a coalition twice.
        """
        row_of = check_rows(masks, values)
        draws, used = self._draws(masks, values, row_of)
        if not draws:
            raise MissingValue(
                f"`masks` completes no permutation of the design with seed {self.seed}, but one with its reverse is the"
                f" least; evaluate at least {2 * masks.shape[1]} coalitions of `PermutationDesign` with that seed."
            )
        contribution = np.array(draws)
        n_draws = len(contribution)
        value = contribution.mean(axis=0)
        covariance = None
        if n_draws > 1:
            apart = contribution - value
            covariance = np.einsum("dnr,dkr->rnk", apart, apart) / (n_draws * (n_draws - 1))
        return FittedValues(
            value=value,
            stderr=None if covariance is None else np.sqrt(np.einsum("rnn->nr", covariance)),
            degrees_of_freedom=float(n_draws - 1) if n_draws > 1 else math.nan,
            estimator="antithetic_permutations",
            n_evaluations=used,
            covariance=covariance,
            caution=None if n_draws > 1 else "no standard error: a single pair of permutations has no spread",
        )

    def _draws(self, masks: MaskArray, values: FloatArray, row_of: dict[bytes, int]) -> tuple[list[FloatArray], int]:
        """Return the contributions [N, R] of each complete draw, and how many coalitions they used."""
        draws: list[FloatArray] = []
        used: set[int] = set()
        for walk in permutation_masks(masks.shape[1], seed=self.seed):
            forth = [row_of.get(mask.tobytes(), -1) for mask in walk]
            back = [row_of.get(mask.tobytes(), -1) for mask in ~walk]
            # when every row has been used, a further draw would be complete by the accident of what it shares
            if min(forth) < 0 or min(back) < 0 or len(used) == len(masks):
                return draws, len(used)
            used.update(forth, back)
            order = np.argmax(np.diff(walk.astype(np.int8), axis=0), axis=1)
            contribution = np.empty((masks.shape[1], values.shape[1]))
            contribution[order] = (np.diff(values[forth], axis=0) - np.diff(values[back], axis=0)) / 2
            draws.append(contribution)
        return draws, len(used)
