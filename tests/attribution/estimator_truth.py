"""What the tests of the sampled estimators compare with: a game with interactions, and the definitions as matrices."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray


def all_masks(n_players: int) -> NDArray[np.bool_]:
    """All coalitions, bit i of the row number = player i on."""
    return (np.arange(2**n_players)[:, None] >> np.arange(n_players)) & 1 > 0


def shapley_matrix(n_players: int) -> NDArray[np.float64]:
    """The Shapley values as a matrix on the table of a game, [N, 2^N]."""
    matrix = np.zeros((n_players, 2**n_players))
    for coalition in range(2**n_players):
        size = coalition.bit_count()
        for player in range(n_players):
            if coalition >> player & 1:
                matrix[player, coalition] += 1 / (n_players * comb(n_players - 1, size - 1))
            else:
                matrix[player, coalition] -= 1 / (n_players * comb(n_players - 1, size))
    return matrix


def interaction_matrix(n_players: int) -> NDArray[np.float64]:
    """The order-2 Shapley interactions as a matrix on the table of a game, pairs in upper-triangle order."""
    rows = []
    for first, second in combinations(range(n_players), 2):
        row = np.zeros(2**n_players)
        for coalition in range(2**n_players):
            inside = (coalition >> first & 1) + (coalition >> second & 1)
            rest = coalition.bit_count() - inside
            sign = -1 if inside == 1 else 1
            row[coalition] = sign / ((n_players - 1) * comb(n_players - 2, rest))
        rows.append(row)
    return np.array(rows)


def unanimity_sum(masks: NDArray[np.bool_], *, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values [M] of a random sum of unanimity games of 1 to 4 members, and its Shapley values in closed form."""
    generator = np.random.default_rng(seed)
    n_players = masks.shape[1]
    values, exact = np.zeros(len(masks)), np.zeros(n_players)
    for _ in range(3 * n_players):
        members = generator.permutation(n_players)[: generator.integers(1, min(5, n_players + 1))]
        coefficient = generator.normal()
        values += coefficient * masks[:, members].all(axis=1)
        exact[members] += coefficient / len(members)
    return values, exact
