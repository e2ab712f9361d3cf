import json
import math
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, Output, attribute
from accredit.attribution.derived import bootstrap_means, semivalue
from accredit.attribution.games import UnanimitySum, player_names, random_unanimity
from accredit.attribution.matrix import column_of
from accredit.attribution.transforms import beta_weights, shapley_values
from accredit.errors import EvaluationError, InvalidArgument, MissingExtra, MissingValue, StateMismatch, UnknownName

LOSS = Output("loss", "nat", False)
GAME = random_unanimity(5, n_groups=9, seed=11)
NAMES = player_names(5)


def per_example(n_players, n_examples, seed):
    """A game whose every example has a table of its own: [2^N, B] and the value function that reads it."""
    table = np.random.default_rng(seed).normal(size=(2**n_players, n_examples))

    def value(masks):
        rows = masks.long() @ (2 ** torch.arange(n_players))
        return {"loss": torch.from_numpy(table)[rows]}

    return table, value


def loss_matrix(n_players, n_examples, seed, **fields):
    _, value = per_example(n_players, n_examples, seed)
    engine = CounterfactualEngine(CounterfactualConfig(outputs=(LOSS,), **fields))
    return engine.compute_matrix(player_names(n_players), value)


def test_data_uncertainty_is_that_of_the_mean_of_per_example_values():
    """[R6] [R7] Paired: each example is attributed alone, by the closed form of three players; Student t over
    examples."""
    table, value = per_example(3, 40, seed=1)
    matrix = CounterfactualEngine(CounterfactualConfig(outputs=(LOSS,))).compute_matrix(["a", "b", "c"], value)
    alone = (table[1] - table[0]) / 3 + (table[3] - table[2] + table[5] - table[4]) / 6 + (table[7] - table[6]) / 3
    estimate = matrix.shapley("loss")["a"]
    assert estimate.value == pytest.approx(alone.mean(), abs=1e-12)
    assert estimate.contribution == -estimate.value
    assert estimate.stderr_sampling == 0.0
    assert estimate.stderr_data == pytest.approx(alone.std(ddof=1) / math.sqrt(40), rel=1e-10)
    expected = stats.t.interval(0.9, 39, loc=alone.mean(), scale=alone.std(ddof=1) / math.sqrt(40))
    assert estimate.interval(0.9) == pytest.approx(expected, rel=1e-9)


def test_vectors_of_a_result_equal_its_estimates():
    """[R8]"""
    for fields in ({}, {"strategy": "shapley", "max_evaluations": 40}):
        result = loss_matrix(6, 30, seed=2, **fields).shapley("loss")
        for at, player in enumerate(result):
            lower, upper = result[player].interval(0.8)
            assert (upper - lower) / 2 == pytest.approx(result.half_widths(0.8)[at], rel=1e-12)
            assert result[player].stderr == pytest.approx(result.stderr[at], rel=1e-12)


def test_one_example_says_nothing_of_the_others():
    """[R6] An unknown variance, not 0."""
    for fields in ({}, {"strategy": "shapley", "max_evaluations": 40}):
        estimate = loss_matrix(6, 1, seed=3, **fields).shapley("loss")["p0"]
        assert estimate.stderr_data is None


def test_differences_between_players_pair_the_examples():
    """[R8] Two players that differ by a constant on every example differ for certain."""
    noise = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def value(masks):
        on = masks.double()
        return {"loss": (on[:, :1] + on[:, 1:2]) * noise + on[:, :1] * 0.01 + (masks[:, :1] & masks[:, 1:]).double()}

    result = (
        CounterfactualEngine(CounterfactualConfig(outputs=(LOSS,))).compute_matrix(["a", "b"], value).shapley("loss")
    )
    paired = result.difference("a", "b")
    assert paired.value == pytest.approx(0.01)
    assert paired.stderr < 1e-12
    assert result["a"].stderr > 0.05
    assert result.difference("a", "a").value == 0.0
    assert result.difference("a", "a").stderr == 0.0


def test_changes_between_checkpoints_pair_the_examples():
    """[R8]"""
    table, _ = per_example(3, 60, seed=4)
    results = []
    for shift in (0.0, 0.5):
        moved = torch.from_numpy(table + shift * (np.arange(8) % 2)[:, None])  # player 0 earns `shift` more everywhere
        matrix = attribute(
            lambda masks, moved=moved: {"loss": moved[masks.long() @ (2 ** torch.arange(3))]},
            ["a", "b", "c"],
            outputs=(LOSS,),
        )
        results.append(matrix.shapley("loss"))
    change = results[1].change_from(results[0], "a")
    assert change.value == pytest.approx(0.5)
    assert change.stderr < 1e-12
    with pytest.raises(UnknownName, match=r"`player` is 'z', wanted one of a, b, c"):
        results[1].change_from(results[0], "z")
    _, value = per_example(3, 10, seed=1)
    other = attribute(value, ["a", "b", "c"], outputs=(LOSS,)).shapley("loss")
    with pytest.raises(
        StateMismatch, match=r"`earlier` has output 'loss' over each of 10 examples, wanted 'loss' over each"
    ):
        results[1].change_from(other, "a")


def test_changes_of_sampled_results_pair_the_resamples_and_nothing_else():
    """[R8] The same examples, resampled with the same seed, cancel; other columns are refused, not paired."""
    effect = torch.randn(8, 40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def result(shift, seed=0, replicates=40, **fields):
        game = random_unanimity(8, n_groups=12, seed=5)
        config = CounterfactualConfig(outputs=(LOSS,), seed=seed, bootstrap_replicates=replicates, **fields)
        matrix = CounterfactualEngine(config).compute_matrix(
            player_names(8),
            lambda masks: {"loss": game(masks)["value"][:, None] + masks.double() @ effect + shift * masks[:, :1]},
        )
        return matrix.shapley("loss")

    sampled = {"strategy": "shapley", "max_evaluations": 96}
    before, after = result(0.0, **sampled), result(0.5, **sampled)
    change = after.change_from(before, "p0")
    assert change.value == pytest.approx(0.5, abs=1e-3)
    assert change.stderr_data < 0.05 * after["p0"].stderr_data
    assert change.stderr_sampling == pytest.approx(
        math.hypot(after["p0"].stderr_sampling, before["p0"].stderr_sampling)
    )
    assert change.n_evaluations == 192
    resamples = r"over 40 resamples \(seed 0\) of 40 examples"
    for other, found in (
        (result(0.0, seed=1, **sampled), r"over 40 resamples \(seed 1\) of 40 examples"),
        (result(0.0), "over each of 40 examples"),
        (result(0.0, replicates=41, **sampled), r"over 41 resamples \(seed 0\) of 40 examples"),
    ):
        with pytest.raises(StateMismatch, match=rf"`earlier` has output 'loss' {found}, wanted 'loss' {resamples}"):
            after.change_from(other, "p0")


def test_a_change_keeps_the_smaller_share_of_the_error():
    """[R8] [R9] Where one of the two was stopped by a look, so was their difference."""
    game = random_unanimity(8, n_groups=12, seed=5)
    fields = {"strategy": "shapley", "max_evaluations": 200, "seed": 1}
    looked = CounterfactualEngine(CounterfactualConfig(target_half_width=9.0, **fields))
    plain = CounterfactualEngine(CounterfactualConfig(**fields))
    stopped, whole = (engine.compute_matrix(player_names(8), game).shapley("value") for engine in (looked, plain))
    assert stopped.error_share == 0.5
    assert whole.change_from(stopped, "p1").error_share == 0.5
    assert stopped.change_from(whole, "p1").error_share == 0.5


def test_large_tables_with_examples_have_the_data_part_of_the_small_form():
    """[R7] [R16] 2^13 rows, in blocks; expected example by example, by the transform of its table."""
    table, value = per_example(13, 6, seed=10)
    matrix = attribute(value, player_names(13), outputs=(LOSS,), max_evaluations=8192)
    alone = shapley_values(np.ascontiguousarray(table.T))
    expected = alone.std(axis=0, ddof=1) / math.sqrt(6)
    np.testing.assert_allclose(matrix.shapley("loss").stderr_data, expected, rtol=1e-9)
    np.testing.assert_allclose(matrix.shapley("loss").value, alone.mean(axis=0), atol=1e-12)


def test_holm_is_applied_over_all_players():
    """[R8]"""
    result = loss_matrix(3, 40, seed=5).shapley("loss")
    p_values = sorted(result[player].p_value for player in result)
    assert min(result.holm().values()) == pytest.approx(min(1.0, 3 * p_values[0]))


def test_bootstrap_replicates_have_the_variance_of_the_mean():
    """[R7] For one coalition: sample variance / B, within the error of 4000 replicates (5 of its standard errors)."""
    matrix = loss_matrix(3, 50, seed=6, bootstrap_replicates=4000)
    examples = matrix.example_values("loss").numpy()
    found = bootstrap_means(column_of(matrix, "loss")).var(axis=1, ddof=1)
    expected = examples.var(axis=1, ddof=1) / 50
    np.testing.assert_allclose(found, expected, rtol=5 * math.sqrt(2 / 4000) + 2 / 50)


def test_sampled_data_uncertainty_agrees_with_the_exact_one():
    """[R7] Examples that add to each player: the bootstrap of a sampled design finds what the full table finds."""
    generator = torch.Generator().manual_seed(1)
    effect = torch.randn(8, 300, generator=generator, dtype=torch.float64)
    game = random_unanimity(8, n_groups=12, seed=5)

    def value(masks):
        return {"loss": game(masks)["value"][:, None] + masks.double() @ effect}

    names = player_names(8)
    exact = attribute(value, names, outputs=(LOSS,)).shapley("loss")
    sampled = attribute(value, names, outputs=(LOSS,), max_evaluations=128).shapley("loss")
    assert sampled.estimator == "pair_process"
    np.testing.assert_allclose(sampled.stderr_data, exact.stderr_data, rtol=0.3)
    assert (sampled.stderr_sampling > 0.0).all()


def test_spread_is_the_sample_deviation_of_marginals_and_no_uncertainty():
    """[R6] Marginals 1, 2, 3, 4 have variance 5/3."""
    values = {frozenset(): 0, frozenset("b"): 0, frozenset("c"): 0, frozenset("bc"): 0}
    values |= {frozenset("a"): 1, frozenset("ab"): 2, frozenset("ac"): 3, frozenset("abc"): 4}

    def value(masks):
        return {
            "value": torch.tensor(
                [float(values[frozenset(n for n, on in zip("abc", row, strict=True) if on)]) for row in masks]
            )
        }

    estimate = attribute(value, "abc").shapley("value")["a"]
    assert estimate.spread**2 == pytest.approx(5 / 3)
    assert estimate.stderr is None


def test_one_marginal_has_an_unknown_spread():
    """[R6]"""
    assert attribute(UnanimitySum(1, groups=((0,),), weights=(2.0,)), ["a"]).shapley("value")["a"].spread is None


def test_marginal_contributions_carry_their_coalitions():
    """[R3]"""
    game = UnanimitySum(2, groups=((0, 1), (0,)), weights=(3.0, 1.0))
    matrix = attribute(game, ["a", "b"])
    assert matrix.marginal_contribution("a", "value") == {"00": 1.0, "01": 4.0}


def test_leave_one_out_and_banzhaf_of_a_unanimity_sum():
    """[R3] By hand: groups {a, b} worth 3 and {a} worth 1."""
    matrix = attribute(UnanimitySum(2, groups=((0, 1), (0,)), weights=(3.0, 1.0)), ["a", "b"])
    assert {player: estimate.value for player, estimate in matrix.leave_one_out("value").items()} == {
        "a": 4.0,
        "b": 3.0,
    }
    assert {player: estimate.value for player, estimate in matrix.banzhaf("value").items()} == {"a": 2.5, "b": 1.5}


def test_leave_one_out_has_the_uncertainty_of_a_paired_difference():
    """[R7]"""
    table, value = per_example(2, 25, seed=8)
    matrix = CounterfactualEngine(CounterfactualConfig(outputs=(LOSS,))).compute_matrix(["a", "b"], value)
    paired = table[3] - table[2]
    estimate = matrix.leave_one_out("loss")["a"]
    assert estimate.value == pytest.approx(paired.mean())
    assert estimate.stderr == pytest.approx(paired.std(ddof=1) / 5)
    assert estimate.n_evaluations == 2


def test_any_semivalue_follows_from_the_table():
    """[R3] Beta(1, 1) is the Shapley value."""
    matrix = attribute(GAME, NAMES)
    found = semivalue(column_of(matrix, "value"), beta_weights(5, alpha=1.0, beta=1.0), name="Beta")
    np.testing.assert_allclose([found[name].value for name in NAMES], GAME.shapley, atol=1e-12)


def test_interactions_of_a_complete_table_are_exact_for_any_order():
    """[R12] [R38] A single group of three: order 3 is its weight, pairs half of it."""
    matrix = attribute(UnanimitySum(4, groups=((0, 1, 2),), weights=(6.0,)), list("abcd"))
    pairs = matrix.interactions("value")
    assert pairs["b", "a"].value == pytest.approx(3.0)
    assert pairs["a", "d"].value == pytest.approx(0.0, abs=1e-12)
    assert matrix.interactions("value", order=3)["a", "b", "c"].value == pytest.approx(6.0)
    assert list(pairs) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]


def test_interactions_carry_the_uncertainty_of_the_examples():
    """[R12] Two players: the interaction of each example is v(ab) - v(a) - v(b) + v()."""
    table, value = per_example(2, 30, seed=9)
    matrix = CounterfactualEngine(CounterfactualConfig(outputs=(LOSS,))).compute_matrix(["a", "b"], value)
    alone = table[3] - table[1] - table[2] + table[0]
    estimate = matrix.interactions("loss")["a", "b"]
    assert estimate.value == pytest.approx(alone.mean())
    assert estimate.stderr == pytest.approx(alone.std(ddof=1) / math.sqrt(30))
    assert matrix.interactions("loss").regimes(0.0, level=0.001) == {
        ("a", "b"): "interference" if alone.mean() > 0 else "synergy"
    }


def test_the_sign_of_a_triple_is_that_of_its_definition_for_every_example():
    """[R12] Three players: v(abc) - v(ab) - v(ac) - v(bc) + v(a) + v(b) + v(c) - v(), example by example."""
    table, value = per_example(3, 30, seed=10)
    matrix = CounterfactualEngine(CounterfactualConfig(outputs=(LOSS,))).compute_matrix(["a", "b", "c"], value)
    alone = table[7] - table[3] - table[5] - table[6] + table[1] + table[2] + table[4] - table[0]
    result = matrix.interactions("loss", order=3)
    assert result["a", "b", "c"].value == pytest.approx(alone.mean())
    np.testing.assert_allclose(result.data.columns[0], alone, rtol=0, atol=1e-12)


def test_sampled_interactions_are_near_the_exact_ones():
    """[R12]"""
    game = random_unanimity(9, n_groups=12, seed=2)
    found = attribute(game, player_names(9), max_evaluations=288).interactions("value")
    exact = np.array([game.interaction(i, j) for i in range(9) for j in range(i + 1, 9)])
    assert np.abs(found.value - exact).max() < 0.25 * np.abs(exact).max()
    assert found.stderr_sampling is not None


def test_interactions_that_cannot_be_had_are_refused():
    """[R12] [R5]"""
    sampled = attribute(random_unanimity(9, n_groups=9, seed=2), player_names(9), max_evaluations=100)
    with pytest.raises(MissingValue, match=r"`interactions` of order 3 got 100 of 2\^9 coalitions, wanted all of them"):
        sampled.interactions("value", order=3)
    with pytest.raises(InvalidArgument, match=r"`order` is 1, wanted 2 to 9, the number of players"):
        sampled.interactions("value", order=1)
    pairs = attribute(GAME, NAMES).interactions("value")
    with pytest.raises(InvalidArgument, match=r"`names` are \['p0', 'p0'\], wanted 2 different players"):
        pairs["p0", "p0"]


def test_merged_matrices_hold_each_coalition_once():
    """[R3] [R9]"""
    config = CounterfactualConfig(strategy="ablation_only")
    first = CounterfactualEngine(config).compute_matrix(NAMES, GAME)
    second = attribute(GAME, NAMES, max_evaluations=20)
    merged = first.merge(second)
    assert merged.cost.n_evaluations == len({tuple(row) for row in merged.masks.tolist()}) <= 7 + 20
    whole = merged.merge(attribute(GAME, NAMES))
    assert whole.cost.n_evaluations == 32
    np.testing.assert_allclose(whole.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)


def test_matrices_of_other_games_are_not_merged():
    """[R31]"""
    matrix = attribute(GAME, NAMES)
    with pytest.raises(StateMismatch, match=r"`matrix` has players \['a', .*wanted \['p0'"):
        matrix.merge(attribute(GAME, list("abcde")))
    other = attribute(random_unanimity(5, n_groups=9, seed=12), NAMES)
    with pytest.raises(
        StateMismatch, match=r"`other` has another value for \{.*\} and \d+ coalition\(s\) in all, wanted the"
    ):
        matrix.merge(other)
    with pytest.raises(StateMismatch, match=r"`other` has values over \[9\] examples, wanted \[8\]"):
        loss_matrix(3, 8, seed=1).merge(loss_matrix(3, 9, seed=1))


def test_a_matrix_is_extended_by_results_from_elsewhere():
    """[R3]"""
    config = CounterfactualConfig(strategy="ablation_only")
    matrix = CounterfactualEngine(config).compute_matrix(NAMES, GAME)
    masks = (torch.arange(32)[:, None] >> torch.arange(5) & 1).bool()
    extended = matrix.extend(masks, GAME(masks))
    assert extended.cost.n_evaluations == 32
    np.testing.assert_allclose(extended.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)
    assert matrix.cost.n_evaluations == 7
    with pytest.raises(EvaluationError, match=r"`value_function` returned the outputs \['loss'\], wanted \['value'\]"):
        matrix.extend(masks, {"loss": torch.zeros(32)})


def test_values_are_copies_and_keep_every_output():
    """[R3]"""
    matrix = loss_matrix(3, 8, seed=1)
    matrix.values("loss").zero_()
    matrix.example_values("loss").zero_()
    matrix.masks.fill_(True)
    assert matrix.values("loss").abs().sum() > 0
    assert matrix.example_values("loss").shape == (8, 8)
    assert int(matrix.masks.sum()) == 12
    with pytest.raises(
        MissingValue, match=r"`example_values` of 'value' got averages over the validation set, wanted one"
    ):
        attribute(GAME, NAMES).example_values("value")


def test_plain_values_are_json_and_unknown_is_null():
    """[R3] [R32]"""
    record = json.loads(json.dumps(attribute(GAME, NAMES).to_dict(), allow_nan=False))
    assert record["shapley"]["value"]["players"][0]["stderr"] is None
    assert record["players"] == list(NAMES)
    assert len(record["coalitions"]) == len(record["values"]["value"]) == 32
    assert record["config"]["max_evaluations"] == 1024
    assert record["provenance"]["strategy"] == "full_factorial"


def test_a_frame_without_pandas_names_the_extra(monkeypatch):
    """[R37]"""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        MissingExtra, match=r"`to_frame` got no pandas, wanted it installed; run `pip install accredit\[report"
    ):
        attribute(GAME, NAMES).to_frame()


def test_a_frame_has_a_row_per_output_and_player():
    """[R3] Numbers are numbers, and what is unknown is NaN in a column of floats, never 0."""
    _, value = per_example(3, 8, seed=1)
    outputs = (LOSS, Output("size", "count", True))
    matrix = attribute(lambda masks: {**value(masks), "size": masks.sum(dim=1)}, player_names(3), outputs=outputs)
    frame = matrix.to_frame()
    assert list(frame["output"]) == ["loss"] * 3 + ["size"] * 3
    assert list(frame["player"]) == [*player_names(3), *player_names(3)]
    for column in ("value", "contribution", "stderr", "stderr_data", "lower", "upper", "p_value", "spread"):
        assert frame[column].dtype == np.float64, column
    loss, size = frame[frame["output"] == "loss"], frame[frame["output"] == "size"]
    assert (loss["lower"] < loss["value"]).all()
    assert (loss["value"] < loss["upper"]).all()
    np.testing.assert_array_equal(loss["contribution"], -loss["value"])
    np.testing.assert_array_equal(loss["value"], matrix.shapley("loss").value)
    assert size[["stderr", "lower", "upper", "p_value"]].isna().all(axis=None)
    np.testing.assert_array_equal(size["value"], [1.0, 1.0, 1.0])
    assert (frame["level"] == 0.95).all()
    assert frame["n_evaluations"].dtype == np.int64


def test_a_frame_of_nothing_known_has_its_columns_and_no_row():
    """[R5] An ablation has no Shapley values."""
    config = CounterfactualConfig(strategy="ablation_only")
    frame = CounterfactualEngine(config).compute_matrix(NAMES, GAME).to_frame()
    assert len(frame) == 0
    assert {"output", "player", "value", "lower"} <= set(frame.columns)


def test_a_frame_of_unknowns_alone_has_columns_of_numbers():
    """[R3] Not of objects, with which no arithmetic is possible."""
    frame = attribute(GAME, NAMES).to_frame()
    assert frame["stderr"].dtype == np.float64
    assert frame["stderr"].isna().all()


def test_the_printed_table_names_unit_estimator_and_failures():
    """[R3]"""
    text = str(loss_matrix(3, 8, seed=1))
    assert "of loss [nat]" in text
    assert "exact, 8 coalitions: all 8 coalitions were evaluated" in text
    assert "2^3 = 8 coalitions fit max_evaluations = 1024" in text
    few = attribute(random_unanimity(9, n_groups=9, seed=2), player_names(9), max_evaluations=30)
    assert few.shapley("value").caution is not None
    assert f"caution: {few.shapley('value').caution}" in str(few)
