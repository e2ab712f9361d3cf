"""Games with interactions whose Shapley values are known in closed form, to test anything that attributes.

An additive game is answered right by wrong estimators; none of these is additive. Each is a value function: masks [M,
N], bool -> {"value": [M]}, with the exact answer beside it as `shapley`.

Axes: N players, M coalitions, T terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import lgamma

import numpy as np
import torch
from torch import Tensor

from accredit.attribution.protocols import FloatArray
from accredit.errors import InvalidArgument


@dataclass(frozen=True)
class UnanimitySum:
    """v(S) = sum of the weights of the groups that are all on: every game is such a sum.

    phi_i = sum over groups with i of weight / size

    Example:
        >>> game = UnanimitySum(3, groups=((0, 1), (2,)), weights=(4.0, 1.0))
        >>> game.shapley.tolist()
        [2.0, 2.0, 1.0]
        >>> game(torch.tensor([[True, True, False]]))["value"].item()
        4.0
    """

    n_players: int
    groups: tuple[tuple[int, ...], ...]
    """Positions of the players of every group, none empty."""
    weights: tuple[float, ...]
    """One per group."""

    def __post_init__(self) -> None:
        """Check that groups and weights belong together."""
        if len(self.groups) != len(self.weights) or not all(self.groups):
            raise InvalidArgument(
                f"`groups` has {len(self.groups)} entries and `weights` has {len(self.weights)}, wanted as many and "
                "no empty group; give each group its weight."
            )

    def __call__(self, masks: Tensor) -> dict[str, Tensor]:
        """Values [M] of masks [M, N]."""
        total = torch.zeros(len(masks), dtype=torch.float64)
        for group, weight in zip(self.groups, self.weights, strict=True):
            total += weight * masks[:, list(group)].all(dim=1).double()
        return {"value": total}

    @cached_property
    def shapley(self) -> FloatArray:
        """Shapley values [N]."""
        value = np.zeros(self.n_players)
        for group, weight in zip(self.groups, self.weights, strict=True):
            value[list(group)] += weight / len(group)
        return value

    def interaction(self, first: int, second: int) -> float:
        """Shapley interaction of two players: sum over groups with both of weight / (size - 1)."""
        pairs = zip(self.groups, self.weights, strict=True)
        return sum(weight / (len(group) - 1) for group, weight in pairs if first in group and second in group)


@dataclass(frozen=True)
class Airport:
    """v(S) = the largest cost in S: runways that are shared.

    With costs sorted, each step of the cost is shared by all who need it.
    Source: Littlechild and Owen (1973), A simple expression for the Shapley value in a special case.

    Example:
        >>> Airport((1.0, 2.0, 4.0)).shapley.round(4).tolist()
        [0.3333, 0.8333, 2.8333]
    """

    costs: tuple[float, ...]
    """Cost of every player alone, at least 0."""

    def __call__(self, masks: Tensor) -> dict[str, Tensor]:
        """Values [M] of masks [M, N]."""
        costs = torch.tensor(self.costs, dtype=torch.float64)
        return {"value": (masks * costs).max(dim=1).values}

    @cached_property
    def shapley(self) -> FloatArray:
        """Shapley values [N]."""
        costs = np.array(self.costs)
        order = np.argsort(costs, kind="stable")
        steps = np.diff(costs[order], prepend=0.0) / np.arange(len(costs), 0, -1)
        value = np.empty(len(costs))
        value[order] = np.cumsum(steps)
        return value


@dataclass(frozen=True)
class WeightedVoting:
    """v(S) = 1 where the weights of S reach the quota, else 0: thresholds, the hardest kind for estimators.

    phi_i = sum over sizes s of s! (N - s - 1)! / N! times the number of coalitions of s others whose weights fall
    short of the quota by at most the weight of i, counted by size and weight in O(N^2 quota).

    Source: Mann and Shapley (1962), Values of large games VI: evaluating the electoral college exactly.

    Example:
        >>> WeightedVoting((3, 2, 1), quota=4).shapley.round(4).tolist()
        [0.6667, 0.1667, 0.1667]
    """

    weights: tuple[int, ...]
    """Votes of every player, at least 0."""
    quota: int
    """Votes that win, above 0."""

    def __call__(self, masks: Tensor) -> dict[str, Tensor]:
        """Values [M] of masks [M, N]."""
        votes = masks.to(torch.int64) @ torch.tensor(self.weights, dtype=torch.int64)
        return {"value": (votes >= self.quota).double()}

    @cached_property
    def shapley(self) -> FloatArray:
        """Shapley values [N]."""
        return np.array([self._value_of(player) for player in range(len(self.weights))])

    def _value_of(self, player: int) -> float:
        """Shapley value of one player."""
        others = [weight for at, weight in enumerate(self.weights) if at != player]
        counts = np.zeros((len(others) + 1, self.quota))  # coalitions of others by size and weight below the quota
        counts[0, 0] = 1.0
        for weight in others:
            for size in range(len(others) - 1, -1, -1):
                counts[size + 1, weight:] += counts[size, : max(self.quota - weight, 0)]
        pivotal = counts[:, max(self.quota - self.weights[player], 0) :].sum(axis=1)
        n_players = len(self.weights)
        shares = [np.exp(lgamma(s + 1) + lgamma(n_players - s) - lgamma(n_players + 1)) for s in range(n_players)]
        return float(pivotal @ np.array(shares))


@dataclass(frozen=True)
class Glove:
    """v(S) = number of pairs of a left and a right glove in S.

    A player is pivotal where the other hand has the majority among those before it in a random order; the probability
    follows from hypergeometric counts.
    Source: Shapley and Shubik (1969), Pure competition, coalitional power, and fair division.

    Example:
        >>> Glove(n_left=1, n_right=2).shapley.round(4).tolist()
        [0.6667, 0.1667, 0.1667]
    """

    n_left: int
    """The first players, each with a left glove."""
    n_right: int
    """The others, each with a right glove."""

    def __call__(self, masks: Tensor) -> dict[str, Tensor]:
        """Values [M] of masks [M, N]."""
        left, right = masks[:, : self.n_left].sum(dim=1), masks[:, self.n_left :].sum(dim=1)
        return {"value": torch.minimum(left, right).double()}

    @cached_property
    def shapley(self) -> FloatArray:
        """Shapley values [N]."""
        left, right = _glove_value(self.n_left, self.n_right), _glove_value(self.n_right, self.n_left)
        return np.array([left] * self.n_left + [right] * self.n_right)


def _glove_value(own: int, other: int) -> float:
    """Chance that fewer of the own hand than of the other stand before a player in a random order."""
    total = own + other
    value = 0.0
    for mine in range(own):
        for theirs in range(mine + 1, other + 1):
            logs = _log_choose(own - 1, mine) + _log_choose(other, theirs) - _log_choose(total - 1, mine + theirs)
            value += float(np.exp(logs)) / total
    return value


def _log_choose(total: int, chosen: int) -> float:
    """Logarithm of the binomial coefficient."""
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)


@dataclass(frozen=True)
class Majority:
    """v(S) = 1 where more than half of the players are on, else 0: all alike, so that each is worth 1 / N.

    Example:
        >>> Majority(4)(torch.tensor([[True, True, False, False], [True, True, True, False]]))["value"].tolist()
        [0.0, 1.0]
    """

    n_players: int

    def __call__(self, masks: Tensor) -> dict[str, Tensor]:
        """Values [M] of masks [M, N]."""
        return {"value": (2 * masks.sum(dim=1) > self.n_players).double()}

    @cached_property
    def shapley(self) -> FloatArray:
        """Shapley values [N]."""
        return np.full(self.n_players, 1.0 / self.n_players)


def player_names(n_players: int) -> tuple[str, ...]:
    """Names for the players of a game: p0, p1, ...

    Example:
        >>> player_names(2)
        ('p0', 'p1')
    """
    return tuple(f"p{at}" for at in range(n_players))


def random_unanimity(n_players: int, *, n_groups: int, seed: int) -> UnanimitySum:
    """A sum of unanimity games of random groups and weights: interactions of every order, answer in closed form."""
    generator = np.random.default_rng(seed)
    groups: list[tuple[int, ...]] = []
    for _ in range(n_groups):
        size = int(generator.integers(1, n_players + 1))
        groups.append(tuple(sorted(generator.choice(n_players, size, replace=False).tolist())))
    weights: Sequence[float] = generator.normal(size=n_groups).tolist()
    return UnanimitySum(n_players, groups=tuple(groups), weights=tuple(weights))
