"""Exact indices of a complete table by their definitions, to score estimates against; shares no code with the package.

Axes: N players; a table is [2^N], bit i = player i.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def exact_shapley(table: Table) -> Table:
    """Return the Shapley values [N] of a complete table."""
    n_players = int(math.log2(len(table)))
    index = np.arange(len(table))
    size = np.bitwise_count(index).astype(int)
    weight = np.array(
        [math.factorial(s) * math.factorial(n_players - 1 - s) / math.factorial(n_players) for s in range(n_players)]
    )
    values = np.empty(n_players)
    for player in range(n_players):
        without = index[(index >> player) & 1 == 0]
        values[player] = (weight[size[without]] * (table[without | (1 << player)] - table[without])).sum()
    return values


def exact_interactions(table: Table) -> Table:
    """Return the order-2 Shapley interactions of a complete table, pairs in upper-triangle order."""
    n_players = int(math.log2(len(table)))
    index = np.arange(len(table))
    size = np.bitwise_count(index).astype(int)
    weight = np.array([1 / ((n_players - 1) * math.comb(n_players - 2, s)) for s in range(n_players - 1)])
    values = []
    for first, second in combinations(range(n_players), 2):
        one, two = 1 << first, 1 << second
        rest = index[(index & (one | two)) == 0]
        step = table[rest | one | two] - table[rest | one] - table[rest | two] + table[rest]
        values.append((weight[size[rest]] * step).sum())
    return np.array(values)
