from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch

from accredit.attribution import (
    Output,
    attribute,
    banzhaf_weights,
    beta_weights,
    complete_table,
    interaction_index,
    moebius,
    semivalues,
    shapley_weights,
)
from accredit.attribution.games import player_names, random_unanimity
from accredit.errors import InvalidArgument, MissingValue, UnknownName

GAME = random_unanimity(5, n_groups=9, seed=11)
NAMES = player_names(5)


def value_of(members):
    mask = torch.zeros(1, 5, dtype=torch.bool)
    mask[0, list(members)] = True
    return GAME(mask)["value"].item()


def by_definition(player, weight):
    """Sum over S without the player of weight(|S|) times what it adds."""
    others = [at for at in range(5) if at != player]
    return sum(
        weight(size) * (value_of((*members, player)) - value_of(members))
        for size in range(5)
        for members in combinations(others, size)
    )


@pytest.mark.parametrize(
    ("weights", "weight"),
    [
        (shapley_weights(5), lambda size: 1 / (5 * comb(4, size))),
        (banzhaf_weights(5), lambda _: 1 / 16),
        (banzhaf_weights(5, probability=0.25), lambda size: 0.25**size * 0.75 ** (4 - size)),
        # Beta(2, 1): B(s + 1, 6 - s) / B(2, 1) = 2 s! (5 - s)! / 6!, from whole numbers alone
        (beta_weights(5, alpha=2.0, beta=1.0), lambda size: 2 / (6 * comb(5, size))),
    ],
)
def test_semivalues_follow_their_definition(weights, weight):
    """[R3] [R38] Shapley, Banzhaf, weighted Banzhaf and Beta Shapley of a game with interactions."""
    found = semivalues(attribute(GAME, NAMES), "value", weights=weights)
    expected = [by_definition(player, weight) for player in range(5)]
    np.testing.assert_allclose([found[name].value for name in NAMES], expected, atol=1e-12)


def test_semivalues_carry_direction_and_the_draw_of_examples():
    """[R7] Two players and weights (1, 0): what each adds to nobody, example by example."""
    table = np.random.default_rng(2).normal(size=(4, 30))
    matrix = attribute(
        lambda masks: {"loss": torch.from_numpy(table)[masks.long() @ torch.tensor([1, 2])]},
        ["a", "b"],
        outputs=(Output("loss", "nat", False),),
    )
    estimate = semivalues(matrix, "loss", weights=np.array([1.0, 0.0]), name="alone")["a"]
    alone = table[1] - table[0]
    assert estimate.value == pytest.approx(alone.mean())
    assert estimate.contribution == -estimate.value
    assert estimate.stderr == pytest.approx(alone.std(ddof=1) / np.sqrt(30))
    assert estimate.name == "alone of a"


def test_any_index_follows_from_the_complete_table():
    """[R3] [R12] Moebius coefficients of a unanimity sum are its weights; Banzhaf interactions of any order."""
    table = complete_table(attribute(GAME, NAMES), "value")
    expected = np.zeros(32)
    for group, weight in zip(GAME.groups, GAME.weights, strict=True):
        expected[sum(1 << at for at in group)] += weight
    np.testing.assert_allclose(moebius(table), expected, atol=1e-12)
    triples = interaction_index(table, banzhaf_weights(5, order=3), order=3)
    # Banzhaf interaction of T: sum over groups that contain T of weight / 2^(|group| - |T|)
    by_hand = [
        sum(
            weight / 2 ** (len(group) - 3)
            for group, weight in zip(GAME.groups, GAME.weights, strict=True)
            if set(triple) <= set(group)
        )
        for triple in combinations(range(5), 3)
    ]
    np.testing.assert_allclose(triples, by_hand, atol=1e-12)


def test_semivalues_need_all_coalitions_and_a_weight_for_each_size():
    """[R5] [R37]"""
    matrix = attribute(GAME, NAMES)
    with pytest.raises(InvalidArgument, match=r"`weights` has shape \(4,\), but 5 players join coalitions of 0 to 4"):
        semivalues(matrix, "value", weights=np.ones(4))
    with pytest.raises(UnknownName, match=r"`output` is 'loss', wanted one of value"):
        semivalues(matrix, "loss", weights=np.ones(5))
    few = attribute(random_unanimity(8, n_groups=9, seed=1), player_names(8), max_evaluations=40)
    with pytest.raises(MissingValue, match=r"`semivalue` got 40 of 256 coalitions, wanted all of them"):
        semivalues(few, "value", weights=np.ones(8))
    with pytest.raises(MissingValue, match=r"`complete_table` got 40 of 256 coalitions, wanted all of them"):
        complete_table(few, "value")
