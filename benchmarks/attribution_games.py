"""Games that the benchmark draws: complete tables with interactions, of kinds that are not networks.

Axes: N players; a table is [2^N], bit i = player i.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
Generator = np.random.Generator


def all_masks(n_players: int) -> NDArray[np.bool_]:
    """Return all coalitions [2^N, N], bit i = player i."""
    return (np.arange(2**n_players)[:, None] >> np.arange(n_players)) & 1 > 0


def airport(generator: Generator) -> Table:
    """The dearest runway that anyone in the coalition needs."""
    cost = np.sort(generator.gamma(2.0, size=14))
    return np.where(all_masks(14), cost, 0.0).max(axis=1)


def voting(generator: Generator) -> Table:
    """1 if the votes of the coalition exceed half of all."""
    votes = generator.integers(1, 20, size=14)
    return (all_masks(14) @ votes > votes.sum() / 2).astype(float)


def unanimity(generator: Generator) -> Table:
    """A sum of 50 unanimity games of 1 to 6 members with normal coefficients."""
    masks, value = all_masks(14), np.zeros(2**14)
    for _ in range(50):
        members = generator.permutation(14)[: generator.integers(1, 7)]
        value += generator.normal() * masks[:, members].all(axis=1)
    return value


def glove(generator: Generator) -> Table:
    """Pairs that the gloves of the coalition make; never as many left as right, for then the odd part is additive."""
    left = generator.permutation(12) < generator.choice([4, 5, 7, 8])
    masks = all_masks(12)
    return np.minimum(masks[:, left].sum(axis=1), masks[:, ~left].sum(axis=1)).astype(float)


def bankruptcy(generator: Generator) -> Table:
    """What the others leave of an estate that is too small for all claims."""
    claim = generator.gamma(1.5, size=14)
    estate = claim.sum() * generator.uniform(0.3, 0.7)
    return np.maximum(0.0, estate - (~all_masks(14)) @ claim)


def coverage(generator: Generator) -> Table:
    """Weight of the items that at least one in the coalition covers."""
    covers = generator.random((14, 40)) < generator.uniform(0.05, 0.3, size=(14, 1))
    return (all_masks(14).astype(float) @ covers > 0) @ generator.gamma(1.0, size=40)


def forest(generator: Generator) -> Table:
    """A sum of 30 random decision trees of depth 4 whose splits are players."""
    masks, value = all_masks(14), np.zeros(2**14)
    for _ in range(30):
        split = generator.integers(0, 14, size=4)
        leaf = masks[:, split] @ (1 << np.arange(4))
        value += generator.normal(size=16)[leaf]
    return value


GAMES: dict[str, Callable[[Generator], Table]] = {
    "airport": airport,
    "voting": voting,
    "unanimity": unanimity,
    "glove": glove,
    "bankruptcy": bankruptcy,
    "coverage": coverage,
    "forest": forest,
}


def drawn_table(name: str, *, seed: int) -> Table:
    """Draw the game `name`."""
    return GAMES[name](np.random.default_rng([seed, *name.encode()]))
