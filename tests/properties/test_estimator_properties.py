"""What holds for every game and every budget."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.attribution.design import ComplementPairDesign
from accredit.attribution.estimators.pair_interactions import PairInteractions
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.estimators.permutations import AntitheticPermutations, PermutationDesign

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=25, deadline=None)


def random_game(masks: np.ndarray, seed: int) -> np.ndarray:
    """Values [M, 1] of a game in which every triple of neighbours interacts."""
    weight = np.random.default_rng(seed).normal(size=(3, masks.shape[1]))
    near = np.roll(masks, 1, axis=1) & masks
    triple = np.roll(masks, 2, axis=1) & near
    return (masks @ weight[0] + near @ weight[1] + triple @ weight[2])[:, None]


@FEW
@given(n_players=st.integers(1, 12), n_pairs=st.integers(1, 60), seed=SEEDS)
def test_pair_process_is_efficient_for_every_design(n_players: int, n_pairs: int, seed: int) -> None:
    """[R4] Values sum to v(all) - v(none)."""
    masks = ComplementPairDesign()(n_players, 2 * n_pairs, seed=seed % 3)
    values = random_game(masks, seed)
    total = float(values[1, 0] - values[0, 0])
    assert abs(PairProcess()(masks, values).value.sum() - total) < 1e-9


@FEW
@given(seed=SEEDS)
def test_renaming_the_players_renames_the_answers(seed: int) -> None:
    """[R4] Symmetry: no player is treated by its position, for values as for interactions."""
    order = np.random.default_rng(seed).permutation(7)
    masks = ComplementPairDesign()(7, 112, seed=0)
    values = random_game(masks, seed)
    plain, renamed = PairProcess()(masks, values), PairProcess()(masks[:, order], values)
    np.testing.assert_allclose(renamed.value, plain.value[order], atol=1e-4)
    first, second = np.triu_indices(7, 1)
    square = np.zeros((7, 7))
    square[first, second] = PairInteractions()(masks, values).value[:, 0]
    square = square + square.T
    after = PairInteractions()(masks[:, order], values).value[:, 0]
    np.testing.assert_allclose(after, square[order][:, order][first, second], atol=1e-6)


@FEW
@given(seed=SEEDS, n_evaluations=st.integers(14, 200))
def test_a_null_player_gets_exactly_zero_from_permutations(seed: int, n_evaluations: int) -> None:
    """[R4] Each of its marginal contributions is zero."""
    masks = PermutationDesign()(6, n_evaluations, seed=seed)
    without = masks.copy()
    without[:, 3] = False
    assert AntitheticPermutations(seed=seed)(masks, random_game(without, seed)).value[3, 0] == 0.0


@FEW
@given(seed=SEEDS, factor=st.floats(-5, 5))
def test_permutations_are_linear_in_the_game(seed: int, factor: float) -> None:
    """[R4] The estimate of a sum is the sum of the estimates."""
    masks = PermutationDesign()(7, 100, seed=seed)
    one, two = random_game(masks, seed), random_game(masks, seed + 1)
    estimate = AntitheticPermutations(seed=seed)
    expected = estimate(masks, one).value + factor * estimate(masks, two).value
    np.testing.assert_allclose(estimate(masks, one + factor * two).value, expected, atol=1e-9)


@FEW
@given(n_players=st.integers(1, 14), first=st.integers(2, 90), more=st.integers(0, 90), seed=st.integers(0, 5))
def test_designs_are_nested_and_without_repetition(n_players: int, first: int, more: int, seed: int) -> None:
    """[R10] Whatever number is asked for, of either design."""
    for design in (ComplementPairDesign(), PermutationDesign()):
        short, long = design(n_players, first, seed=seed), design(n_players, first + more, seed=seed)
        np.testing.assert_array_equal(long[: len(short)], short)
        assert len(np.unique(long, axis=0)) == len(long) <= first + more
