"""The definitions, term by term: slow, obvious, and sharing no code with the package."""

from __future__ import annotations

from itertools import combinations, permutations
from math import factorial

import numpy as np


def table_of(game, n_players):
    """Values of a function of a set of positions, bit i of the index = player i on."""
    return np.array([game(subset_of(index, n_players)) for index in range(2**n_players)], dtype=np.float64)


def subset_of(index, n_players):
    return frozenset(player for player in range(n_players) if index >> player & 1)


def shapley_by_orders(game, n_players):
    """Mean marginal contribution over all orders."""
    total = np.zeros(n_players)
    for order in permutations(range(n_players)):
        before = frozenset()
        for player in order:
            total[player] += game(before | {player}) - game(before)
            before |= {player}
    return total / factorial(n_players)


def interaction(game, n_players, group, weight):
    """Sum over S outside the group of weight(|S|) times the discrete derivative."""
    others = [player for player in range(n_players) if player not in group]
    total = 0.0
    for size in range(len(others) + 1):
        for rest in combinations(others, size):
            for inside in range(len(group) + 1):
                for part in combinations(group, inside):
                    sign = (-1) ** (len(group) - inside)
                    total += weight(size) * sign * game(frozenset(rest) | frozenset(part))
    return total


def random_game(n_players, seed):
    """A game without any structure."""
    values = np.random.default_rng(seed).normal(size=2**n_players)
    return lambda subset: values[sum(1 << player for player in subset)]
