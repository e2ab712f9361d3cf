"""The design of complement pairs: order, nesting, no repetition, at every size."""

from __future__ import annotations

import numpy as np
import pytest

from accredit.attribution.design import (
    EXPECTED_GAME,
    ComplementPairDesign,
    _chosen_pairs,
    greedy_order,
    random_pairs,
)
from accredit.attribution.estimators.kernel import LinearKernel, PairGeometry, shapley_covariance
from accredit.errors import InvalidArgument

DESIGN = ComplementPairDesign()


@pytest.mark.parametrize("n_players", [1, 2, 3, 7, 12, 64])
def test_begins_with_none_and_all_and_goes_on_in_complement_pairs(n_players: int) -> None:
    """[R9] Whatever cuts the evaluations short, v(none) and v(all) exist."""
    masks = DESIGN(n_players, 40, seed=3)
    assert not masks[0].any()
    assert masks[1].all()
    assert (masks[::2] == ~masks[1::2]).all()


@pytest.mark.parametrize(("n_players", "n_evaluations"), [(5, 32), (11, 2048), (12, 1500), (200, 1300)])
def test_no_coalition_comes_twice_also_beyond_a_pool(n_players: int, n_evaluations: int) -> None:
    """[R5] A repeated coalition would be a wasted evaluation."""
    masks = DESIGN(n_players, n_evaluations, seed=0)
    assert masks.shape == (n_evaluations, n_players)
    assert len(np.unique(masks, axis=0)) == n_evaluations


@pytest.mark.parametrize(("short", "long"), [(24, 96), (96, 1200), (1200, 1300), (1210, 1300)])
def test_a_longer_design_begins_with_the_shorter(short: int, long: int) -> None:
    """[R10] Extending, resuming or stopping early changes no coalition, also across pools of 600 pairs."""
    np.testing.assert_array_equal(DESIGN(12, short, seed=5), DESIGN(12, long, seed=5)[:short])


def test_depends_on_the_seed_and_on_nothing_else() -> None:
    """[R10] Computed anew after other calls, not taken from the cache."""
    first = DESIGN(10, 60, seed=1)
    DESIGN(9, 30, seed=2)
    _chosen_pairs.cache_clear()
    np.testing.assert_array_equal(first, DESIGN(10, 60, seed=1))
    assert (first != DESIGN(10, 60, seed=2)).any()


def test_ends_where_all_coalitions_are_in() -> None:
    """[R9] More than 2^N cannot be evaluated; an odd number is rounded down."""
    assert DESIGN(4, 100, seed=0).shape == (16, 4)
    assert DESIGN(4, 9, seed=0).shape == (8, 4)


@pytest.mark.parametrize("n_players", [6, 7, 12])
def test_random_pairs_are_every_pair_once(n_players: int) -> None:
    """[R5] One coalition of each pair of complements, none twice."""
    pairs = np.array(list(random_pairs(n_players, seed=0)))
    both = np.concatenate([pairs, ~pairs])
    assert len(np.unique(both, axis=0)) == 2**n_players


def test_random_pairs_are_balanced_over_sizes() -> None:
    """[R9] Sizes take turns while they last, the middle one half as often."""
    pairs = [mask for mask, _ in zip(random_pairs(20, seed=0), range(191), strict=False)]
    counts = np.bincount([int(mask.sum()) for mask in pairs], minlength=11)
    assert counts[1:10].tolist() == [20, 20, 20, 20, 20, 20, 20, 20, 20]
    assert counts[10] == 10


def test_each_choice_lowers_the_summed_variance_most() -> None:
    """[R9] Against the posterior variance computed anew for every candidate."""
    pool = np.array(list(random_pairs(7, seed=1)))[:25]
    table = EXPECTED_GAME.shapley_table(7)
    order = greedy_order(pool, 9, given=pool[:0], expected=EXPECTED_GAME)

    def explained(rows: list[int]) -> float:
        gram = EXPECTED_GAME.gram(PairGeometry.of(pool[rows])) + 1e-12 * np.eye(len(rows))
        covariance = shapley_covariance(pool[rows], table=table)
        return float((covariance * np.linalg.solve(gram, covariance)).sum())

    for step in range(1, 9):
        before = order[:step].tolist()
        best = max(explained([*before, row]) for row in range(25) if row not in before)
        assert explained([*before, int(order[step])]) == pytest.approx(best, rel=1e-9)


def test_a_second_pool_is_ordered_given_the_first() -> None:
    """[R9] With the first part given, the greedy order goes on as if it had been one."""
    pool = np.array(list(random_pairs(9, seed=1)))[:60]
    whole = greedy_order(pool, 20, given=pool[:0], expected=EXPECTED_GAME)
    rest = np.delete(pool, whole[:8], axis=0)
    continued = rest[greedy_order(rest, 12, given=pool[whole[:8]], expected=EXPECTED_GAME)]
    np.testing.assert_array_equal(continued, pool[whole[8:]])


def test_another_expected_covariance_gives_another_order() -> None:
    """[R37] `expected` is used."""
    additive = ComplementPairDesign(expected=LinearKernel())
    assert (additive(10, 60, seed=0) != DESIGN(10, 60, seed=0)).any()


def test_pairs_that_say_nothing_more_are_still_chosen_once() -> None:
    """[R5] An additive game is known after N pairs: from there on no pair has a gain, and none may come again."""
    masks = ComplementPairDesign(expected=LinearKernel())(6, 64, seed=0)
    assert len(np.unique(masks, axis=0)) == 64


def test_no_players_and_no_budget_are_refused() -> None:
    """[R9] A budget below none and all cannot make a design."""
    with pytest.raises(InvalidArgument, match=r"`n_players` is 0, but a game has at least 1; name the players\."):
        DESIGN(0, 4, seed=0)
    with pytest.raises(InvalidArgument, match=r"`n_evaluations` is 1, but .* none and all; allow at least 2\."):
        DESIGN(4, 1, seed=0)
