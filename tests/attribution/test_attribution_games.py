from functools import cache
from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch
from brute_force import interaction, shapley_by_orders

from accredit.attribution.games import Airport, Glove, Majority, UnanimitySum, WeightedVoting, random_unanimity
from accredit.errors import InvalidArgument

GAMES = [
    (UnanimitySum(5, groups=((0, 1, 2), (1, 3), (4,), (0, 1, 2, 3, 4)), weights=(3.0, -1.0, 0.5, 2.0)), 5),
    (random_unanimity(6, n_groups=9, seed=3), 6),
    (Airport((3.0, 1.0, 1.0, 7.5, 0.0)), 5),
    (WeightedVoting((5, 3, 3, 1, 0, 2), quota=8), 6),
    (WeightedVoting((4, 1, 1), quota=2), 3),
    (Glove(n_left=2, n_right=4), 6),
    (Glove(n_left=3, n_right=1), 4),
    (Majority(6), 6),
]


def as_set_function(game, n_players):
    @cache
    def value(subset):
        mask = torch.tensor([[player in subset for player in range(n_players)]])
        return game(mask)["value"].item()

    return value


@pytest.mark.parametrize(("game", "n_players"), GAMES)
def test_closed_forms_equal_the_mean_over_all_orders(game, n_players):
    """[R38]"""
    expected = shapley_by_orders(as_set_function(game, n_players), n_players)
    np.testing.assert_allclose(game.shapley, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("game", "n_players"), GAMES)
def test_every_game_has_interactions(game, n_players):
    """[R38] An additive game is answered right by wrong estimators."""
    value = as_set_function(game, n_players)
    subsets = [frozenset(group) for size in range(n_players + 1) for group in combinations(range(n_players), size)]
    second = [
        value(s | {0, 1}) - value(s | {0}) - value(s | {1}) + value(s - {0, 1}) for s in subsets if not s & {0, 1}
    ]
    third = [value(s | {1, 2}) - value(s | {1}) - value(s | {2}) + value(s - {1, 2}) for s in subsets if not s & {1, 2}]
    assert max(map(abs, second + third)) > 1e-3


def test_interactions_of_unanimity_sums_follow_their_definition():
    """[R12] [R38]"""
    game, n_players = GAMES[0]

    def weight(size):
        return factorial(size) * factorial(n_players - size - 2) / factorial(n_players - 1)

    for pair in [(0, 1), (1, 3), (2, 4)]:
        expected = interaction(as_set_function(game, n_players), n_players, pair, weight)
        assert game.interaction(*pair) == pytest.approx(expected, abs=1e-12)


def test_groups_and_weights_must_belong_together():
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`groups` has 2 entries and `weights` has 1, wanted as many"):
        UnanimitySum(2, groups=((0,), (1,)), weights=(1.0,))
