"""What holds for every game: drawn by hypothesis, with interactions of every order."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, CounterfactualMatrix
from accredit.attribution.coalition import coalition_texts
from accredit.attribution.games import player_names

N_PLAYERS = st.integers(1, 6)
SEEDS = st.integers(0, 2**32 - 1)


def table_of(n_players, seed):
    return np.random.default_rng(seed).normal(size=2**n_players)


def as_game(table):
    n_players = len(table).bit_length() - 1
    powers = 2 ** torch.arange(n_players)
    return lambda masks: {"value": torch.from_numpy(table)[masks.long() @ powers]}


def exact(table):
    n_players = len(table).bit_length() - 1
    return CounterfactualEngine(CounterfactualConfig()).compute_matrix(player_names(n_players), as_game(table))


def values(table):
    return exact(table).shapley("value").value


@given(n_players=N_PLAYERS, seed=SEEDS)
def test_efficiency(n_players, seed):
    """[R4] Values sum to v(all) - v(none)."""
    table = table_of(n_players, seed)
    assert abs(values(table).sum() - (table[-1] - table[0])) < 1e-12


@given(n_players=st.integers(2, 6), seed=SEEDS, data=st.data())
def test_symmetry(n_players, seed, data):
    """[R4] Players that can be exchanged earn the same, up to rounding."""
    table = table_of(n_players, seed)
    first, second = data.draw(st.lists(st.integers(0, n_players - 1), min_size=2, max_size=2, unique=True))
    index = np.arange(2**n_players)
    swapped = index & ~(1 << first | 1 << second) | (index >> first & 1) << second | (index >> second & 1) << first
    found = values((table + table[swapped]) / 2)
    assert abs(found[first] - found[second]) < 1e-12


@given(n_players=N_PLAYERS, seed=SEEDS, data=st.data())
def test_null_player(n_players, seed, data):
    """[R4] A player that never changes the value earns nothing."""
    player = data.draw(st.integers(0, n_players - 1))
    table = table_of(n_players, seed)
    table = table[np.arange(2**n_players) & ~(1 << player)]
    matrix = exact(table)
    assert abs(matrix.shapley("value").value[player]) < 1e-12
    assert matrix.leave_one_out("value")[f"p{player}"].value == 0.0
    assert abs(matrix.banzhaf("value")[f"p{player}"].value) < 1e-12


@given(n_players=N_PLAYERS, seed=SEEDS, factor=st.floats(-1e3, 1e3))
def test_linearity(n_players, seed, factor):
    """[R4]"""
    one, other = table_of(n_players, seed), table_of(n_players, seed ^ 1)
    np.testing.assert_allclose(values(one + factor * other), values(one) + factor * values(other), rtol=0, atol=1e-9)


@given(n_players=N_PLAYERS, seed=SEEDS, data=st.data())
def test_relabelling_players_relabels_the_answer(n_players, seed, data):
    """[R4] Names travel with their columns."""
    order = data.draw(st.permutations(range(n_players)))
    game = as_game(table_of(n_players, seed))
    names = player_names(n_players)
    back = torch.tensor([order.index(player) for player in range(n_players)])
    engine = CounterfactualEngine(CounterfactualConfig())
    plain = engine.compute_matrix(names, game).shapley("value")
    relabelled = engine.compute_matrix([names[player] for player in order], lambda masks: game(masks[:, back])).shapley(
        "value"
    )
    for name in names:
        assert abs(plain[name].value - relabelled[name].value) < 1e-12


@given(n_players=st.integers(2, 5), seed=SEEDS)
def test_interactions_add_up(n_players, seed):
    """[R12] phi_i with j against without j: for two players alone the interaction is the second difference."""
    table = table_of(n_players, seed)
    pairs = exact(table).interactions("value")
    if n_players == 2:
        assert abs(pairs["p0", "p1"].value - (table[3] - table[2] - table[1] + table[0])) < 1e-12
    doubled = exact(2 * table).interactions("value")
    np.testing.assert_allclose(doubled.value, 2 * pairs.value, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(n_players=st.integers(5, 7), seed=SEEDS, data=st.data())
def test_saving_loading_merging_and_continuing_commute_with_the_answer(n_players, seed, data, tmp_path_factory):
    """[R3] [R10] [R11] Any cut of the work gives the bits of the whole."""
    game, names = as_game(table_of(n_players, seed)), player_names(n_players)
    budget = data.draw(st.integers(2 * n_players + 2, min(2**n_players, 50)))
    cut = data.draw(st.integers(2 * n_players + 2, budget))

    def compute(most, **arguments):
        config = CounterfactualConfig(strategy="shapley", max_evaluations=most, seed=seed % 7)
        return CounterfactualEngine(config).compute_matrix(names, game, **arguments)

    whole, part = compute(budget), compute(cut)
    path = tmp_path_factory.mktemp("matrix") / "file"
    part.save(path)
    continued = compute(budget, matrix=CounterfactualMatrix.load(path))
    merged = part.merge(whole)
    for found in (continued, merged, whole.merge(part)):
        assert sorted(coalition_texts(found.masks.numpy())) == sorted(coalition_texts(whole.masks.numpy()))
        assert found.shapley("value").value.tobytes() == whole.shapley("value").value.tobytes()


@settings(max_examples=15, deadline=None)
@given(n_players=st.integers(6, 9), seed=SEEDS)
def test_sampled_efficiency(n_players, seed):
    """[R4] [R5] What is sampled sums to v(all) - v(none) too."""
    table = table_of(n_players, seed)
    config = CounterfactualConfig(strategy="shapley", max_evaluations=4 * n_players)
    matrix = CounterfactualEngine(config).compute_matrix(player_names(n_players), as_game(table))
    result = matrix.shapley("value")
    assert abs(result.value.sum() - (table[-1] - table[0])) < 1e-9
    assert result.estimator == "pair_process"
