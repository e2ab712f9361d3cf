import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from accredit.attribution import (
    CounterfactualConfig,
    CounterfactualEngine,
    Output,
    PlayerWeights,
    SignsDecided,
    SingleCoalitions,
    TopDecided,
    attribute,
)
from accredit.attribution.coalition import ablation_masks, check_masks, coalition_texts, factorial_masks
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.estimators.permutations import AntitheticPermutations, PermutationDesign
from accredit.attribution.games import Airport, Glove, UnanimitySum, WeightedVoting, player_names, random_unanimity
from accredit.attribution.matrix import matrix_rows
from accredit.errors import BudgetError, InvalidArgument, MissingValue, StateMismatch, UnknownName
from accredit.telemetry.event import CoalitionsEvaluated, ContributionsEstimated, Origin

LOSS, ACCURACY = Output("loss", "nat", False), Output("accuracy", "fraction", True)
GAME = random_unanimity(6, n_groups=12, seed=1)
NAMES = player_names(6)


class Counting:
    """A value function that remembers what it was asked."""

    def __init__(self, game, *, seconds=0.0):
        self.game, self.seconds, self.calls = game, seconds, []

    def __call__(self, masks):
        self.calls.append(coalition_texts(masks.numpy()))
        time.sleep(self.seconds * len(masks))
        return self.game(masks)

    @property
    def coalitions(self):
        return [text for call in self.calls for text in call]


def two_outputs(masks):
    """Loss and accuracy over 50 examples with interactions, different for every example."""
    examples = torch.linspace(0.5, 1.5, 50, dtype=torch.float64)
    both = (masks[:, 0] & masks[:, 1]).double()
    loss = 2.0 - masks[:, 2].double()[:, None] * examples - both[:, None] * examples.flip(0)
    return {"loss": loss, "accuracy": (loss < 1.2).float()}


def compute(game, n_players, on_event=None, **fields):
    engine = CounterfactualEngine(CounterfactualConfig(**fields), on_event)
    return engine.compute_matrix(player_names(n_players), game)


@pytest.mark.parametrize(
    ("game", "n_players"),
    [
        (GAME, 6),
        (Airport((3.0, 1.0, 1.0, 7.5)), 4),
        (Glove(n_left=2, n_right=3), 5),
        (WeightedVoting((5, 3, 3, 1, 1), quota=7), 5),
        (UnanimitySum(1, groups=((0,),), weights=(2.5,)), 1),
        (random_unanimity(11, n_groups=20, seed=2), 11),
    ],
)
def test_a_complete_table_gives_the_closed_form(game, n_players):
    """[R4] [R38]"""
    result = compute(game, n_players, max_evaluations=2048).shapley("value")
    np.testing.assert_allclose(result.value, game.shapley, rtol=0, atol=1e-12)
    assert result.estimator == "exact"
    assert result.value.sum() == pytest.approx(result.value_all - result.value_none, abs=1e-12)


def test_auto_is_exact_if_and_only_if_all_coalitions_fit():
    """[R1] And says why, in the result."""
    exact, sampled = compute(GAME, 6, max_evaluations=64), compute(GAME, 6, max_evaluations=63)
    assert exact.provenance.strategy == "full_factorial"
    assert "2^6 = 64 coalitions fit max_evaluations = 64" in exact.provenance.strategy_reason
    assert sampled.provenance.strategy == "shapley"
    assert "2^6 = 64 coalitions exceed max_evaluations = 63" in sampled.provenance.strategy_reason
    assert exact.shapley("value").estimator == "exact"
    assert sampled.shapley("value").estimator == "pair_process"
    assert len(sampled.masks) <= 63


def test_ablation_evaluates_all_on_each_off_and_all_off():
    """[R1]"""
    value = Counting(GAME)
    matrix = compute(value, 6, strategy="ablation_only")
    expected = {"000000", "111111", "011111", "101111", "110111", "111011", "111101", "111110"}
    assert set(value.coalitions) == expected
    assert len(value.coalitions) == 8
    full, (without,) = (
        GAME(torch.ones(1, 6, dtype=torch.bool))["value"].item(),
        GAME(~torch.eye(6, dtype=torch.bool)[:1])["value"],
    )
    assert matrix.leave_one_out("value")["p0"].value == pytest.approx(full - without.item())


def test_shapley_from_an_ablation_is_missing_and_never_invented():
    """[R5] Only (none, all) is a complement pair there; an equal split of v(all) - v(none) would be invented."""
    matrix = compute(GAME, 6, strategy="ablation_only")
    with pytest.raises(MissingValue, match=r"`shapley` got 2 coalitions that pair_process can use, wanted at least 6"):
        matrix.shapley("value")
    with pytest.raises(
        MissingValue, match=r"`Banzhaf` got 8 of 64 coalitions, wanted all of them; continue the matrix"
    ):
        matrix.banzhaf("value")
    assert "`shapley` got 2 coalitions" in str(matrix)


def test_leave_one_out_needs_its_coalitions():
    """[R5] [R11]"""
    value = SingleCoalitions(lambda mask: Counting(GAME, seconds=0.01)(mask[None]))
    matrix = compute(value, 6, timeout_s=1e-6)
    with pytest.raises(
        MissingValue, match=r"`coalition` \{p1, p2, p3, p4, p5\} is not among the 2 that were evaluated"
    ):
        matrix.leave_one_out("value")


def test_sampled_values_lie_within_their_intervals():
    """[R5] A wide interval that never misses by more than its half-width here; coverage itself is benchmarked."""
    game = random_unanimity(12, n_groups=30, seed=4)
    result = compute(game, 12, strategy="shapley", max_evaluations=384).shapley("value")
    assert (np.abs(result.value - game.shapley) <= result.half_widths(0.9999)).all()
    assert result.half_widths().max() < 0.2 * np.abs(game.shapley).max()
    assert result.value.sum() == pytest.approx(result.value_all - result.value_none, abs=1e-9)


def test_a_sampled_design_that_fills_the_table_is_exact():
    """[R4] A complete table gives the exact answer, however it came about."""
    result = compute(GAME, 6, strategy="shapley", max_evaluations=64).shapley("value")
    assert result.estimator == "exact"
    np.testing.assert_allclose(result.value, GAME.shapley, rtol=0, atol=1e-12)


def test_design_and_estimator_can_be_replaced():
    """[R1] The assumption-light reference: antithetic permutations with their own design."""
    config = CounterfactualConfig(strategy="shapley", max_evaluations=300, seed=5)
    engine = CounterfactualEngine(config, design=PermutationDesign(), estimator=AntitheticPermutations(seed=5))
    game = random_unanimity(10, n_groups=12, seed=6)
    result = engine.compute_matrix(player_names(10), game).shapley("value")
    assert result.estimator == "antithetic_permutations"
    assert (np.abs(result.value - game.shapley) <= result.half_widths(0.9999)).all()


def test_an_estimator_meets_the_rows_in_one_order_however_they_came():
    """[R10] So that no estimator can depend on batches, failures or merges."""
    seen = []

    def remembering(masks, values):
        seen.append((masks.tobytes(), values.tobytes()))
        return PairProcess()(masks, values)

    config = CounterfactualConfig(strategy="shapley", max_evaluations=40)
    engine = CounterfactualEngine(config, estimator=remembering)
    whole = engine.compute_matrix(NAMES, GAME)
    masks = whole.masks.flip(0)
    backwards = matrix_rows(whole, np.arange(40)[::-1].copy())
    assert torch.equal(backwards.masks, masks)
    whole.shapley("value")
    backwards.shapley("value")
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("n_players", "budget"), [(64, 256), (200, 404)])
def test_many_players_work(n_players, budget):
    """[R1]"""
    game = random_unanimity(n_players, n_groups=40, seed=7)
    matrix = compute(game, n_players, max_evaluations=budget)
    result = matrix.shapley("value")
    assert len(set(matrix_texts(matrix))) == len(matrix.masks) <= budget
    assert result.value.sum() == pytest.approx(result.value_all - result.value_none, abs=1e-9)


def matrix_texts(matrix):
    return coalition_texts(matrix.masks.numpy())


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"strategy": "full_factorial", "max_evaluations": 63}, 64),
        ({"strategy": "shapley", "max_evaluations": 13}, 14),
        ({"strategy": "auto", "max_evaluations": 13}, 14),
        ({"strategy": "ablation_only", "max_evaluations": 7}, 8),
    ],
)
def test_a_budget_below_the_minimum_raises(fields, wanted):
    """[R9] It never degrades silently."""
    value = Counting(GAME)
    message = rf"`max_evaluations` is {fields['max_evaluations']}, wanted at least {wanted} for the strategy"
    with pytest.raises(BudgetError, match=message):
        compute(value, 6, **fields)
    assert value.calls == []
    compute(value, 6, **{**fields, "max_evaluations": wanted})


def test_the_engine_keeps_nothing_between_calls():
    """[R2]"""
    engine = CounterfactualEngine(CounterfactualConfig(max_evaluations=40))
    first = engine.compute_matrix(NAMES, GAME)
    engine.compute_matrix(["x", "y"], lambda masks: {"value": masks.sum(dim=1).double()})
    second = engine.compute_matrix(NAMES, GAME)
    assert torch.equal(first.masks, second.masks)
    assert torch.equal(first.values("value"), second.values("value"))
    assert first.shapley("value").value.tobytes() == second.shapley("value").value.tobytes()


def test_no_global_random_state_is_read_or_moved():
    """[R10]"""
    np.random.seed(0)  # noqa: NPY002 - the global generator is what must not be touched
    torch.manual_seed(0)
    before = (np.random.get_state()[1].tobytes(), torch.get_rng_state())  # noqa: NPY002 - as above
    first = compute(GAME, 6, max_evaluations=40)
    assert np.random.get_state()[1].tobytes() == before[0]  # noqa: NPY002 - as above
    assert torch.equal(torch.get_rng_state(), before[1])
    torch.manual_seed(99)
    assert torch.equal(compute(GAME, 6, max_evaluations=40).masks, first.masks)


@pytest.mark.parametrize("strategy", ["full_factorial", "shapley", "ablation_only"])
def test_no_coalition_is_evaluated_twice_and_none_and_all_come_first(strategy):
    """[R9]"""
    value = Counting(GAME)
    compute(value, 6, strategy=strategy, max_evaluations=64, coalitions_per_call=7)
    assert len(set(value.coalitions)) == len(value.coalitions)
    assert value.coalitions[:2] == ["000000", "111111"]
    assert max(map(len, value.calls)) <= 7


def executors():
    return [None, ThreadPoolExecutor(1), ThreadPoolExecutor(4), ProcessPoolExecutor(2)]


def test_batch_size_and_executor_change_nothing():
    """[R10] Same coalitions in the same order, same values and same answer bit for bit."""
    fields = {"strategy": "shapley", "max_evaluations": 48, "outputs": (LOSS, ACCURACY)}
    results = []
    for executor in executors():
        for size in (1, 5, 256):
            engine = CounterfactualEngine(CounterfactualConfig(**fields, coalitions_per_call=size))
            matrix = engine.compute_matrix(NAMES, two_outputs, executor=executor)
            answer = matrix.shapley("loss")
            results.append(
                (matrix_texts(matrix), matrix.values("loss").tolist(), answer.value.tobytes(), answer.stderr.tobytes())
            )
        if executor is not None:
            executor.shutdown()
    assert all(result == results[0] for result in results)


def test_events_equal_the_matrix():
    """[R2] [R13]"""
    events = []
    engine = CounterfactualEngine(
        CounterfactualConfig(strategy="shapley", max_evaluations=60, outputs=(LOSS, ACCURACY)), events.append
    )
    matrix = engine.compute_matrix(NAMES, two_outputs, origin=Origin(environment="host-3", episode=1, step=7))
    rounds = [event for event in events if isinstance(event, CoalitionsEvaluated)]
    assert len(rounds) == 3  # 24, 48, 60
    assert tuple(text for event in rounds for text in event.coalitions) == matrix_texts(matrix)
    for output in ("loss", "accuracy"):
        assert [value for event in rounds for value in event.values[output]] == matrix.values(output).tolist()
    estimates = {event.output: event for event in events if isinstance(event, ContributionsEstimated)}
    assert set(estimates) == {"loss", "accuracy"}
    event, result = estimates["loss"], matrix.shapley("loss")
    assert event.values == tuple(result.value.tolist())
    assert event.contributions == tuple((-result.value).tolist())
    assert event.stderr == tuple(result.stderr.tolist())
    ends = [result[player].interval(0.95) for player in NAMES]
    assert list(zip(event.lower, event.upper, strict=True)) == [pytest.approx(end, rel=1e-12) for end in ends]
    assert (event.unit, event.higher_is_better, event.level) == ("nat", False, 0.95)
    assert sum(event.values) == pytest.approx(event.value_all - event.value_none, abs=1e-9)
    assert {event.origin for event in events} == {Origin(environment="host-3", episode=1, step=7)}


def test_an_unknown_uncertainty_is_null_in_events():
    """[R32] Averages say nothing of the validation set: None, never 0."""
    events = []
    compute(GAME, 6, events.append)
    assert events[-1].stderr == events[-1].lower == events[-1].upper == (None,) * 6


def test_progress_counts_to_the_plan():
    """[R9]"""
    seen = []
    engine = CounterfactualEngine(CounterfactualConfig(coalitions_per_call=20))
    engine.compute_matrix(NAMES, GAME, progress=lambda done, planned: seen.append((done, planned)))
    assert seen == [(20, 64), (40, 64), (60, 64), (64, 64)]


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(2)])
@pytest.mark.parametrize("wrap", [SingleCoalitions, None])
def test_a_timeout_ends_between_evaluations_and_leaves_a_usable_matrix(executor, wrap):
    """[R9] None and all are always there, and what was evaluated is used."""
    value = Counting(GAME, seconds=0.004)
    function = value if wrap is None else SingleCoalitions(lambda mask: {"value": value(mask[None])["value"][0]})
    engine = CounterfactualEngine(CounterfactualConfig(timeout_s=0.06, coalitions_per_call=8))
    begin = time.perf_counter()
    matrix = engine.compute_matrix(NAMES, function, executor=executor)
    assert time.perf_counter() - begin < 2.0
    assert matrix.provenance.stop_reason == "timeout_s"
    assert 2 <= len(matrix.masks) < 64
    assert matrix_texts(matrix)[:2] == ("000000", "111111")
    finished = CounterfactualEngine(CounterfactualConfig()).compute_matrix(NAMES, GAME, matrix=matrix)
    np.testing.assert_allclose(finished.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)


def test_under_a_timeout_the_first_call_is_none_and_all_alone():
    """[R9] A call that cannot be interrupted must not be larger than what is known to fit."""
    value = Counting(GAME, seconds=0.02)
    compute(value, 6, timeout_s=0.3)
    assert value.calls[0] == ("000000", "111111")
    assert max(map(len, value.calls)) <= 16


def test_a_timeout_shorter_than_one_evaluation_still_has_none_and_all():
    """[R9]"""
    matrix = compute(SingleCoalitions(lambda mask: Counting(GAME, seconds=0.01)(mask[None])), 6, timeout_s=1e-6)
    assert matrix_texts(matrix) == ("000000", "111111")


def test_continuing_evaluates_only_what_is_missing_also_across_strategies():
    """[R9] [R11]"""
    value = Counting(GAME)
    matrix = None
    for fields in (
        {"strategy": "ablation_only"},
        {"strategy": "shapley", "max_evaluations": 30},
        {"strategy": "shapley", "max_evaluations": 50},
        {"strategy": "full_factorial"},
    ):
        engine = CounterfactualEngine(CounterfactualConfig(**fields))
        matrix = engine.compute_matrix(NAMES, value, matrix=matrix)
        assert len(matrix.masks) <= engine.config.max_evaluations
    assert len(value.coalitions) == len(set(value.coalitions)) == 64
    np.testing.assert_allclose(matrix.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)


def test_a_full_table_needs_room_for_coalitions_from_elsewhere():
    """[R9]"""
    config = CounterfactualConfig(strategy="ablation_only", max_evaluations=8)
    full = compute(GAME, 6)
    with pytest.raises(BudgetError, match=r"`max_evaluations` is 8, but the matrix already holds 56 coalitions that"):
        CounterfactualEngine(config).compute_matrix(NAMES, GAME, matrix=full)


@pytest.mark.parametrize(
    ("players", "outputs"), [(("a", "b", "c", "d", "e", "f"), (Output("value", "1", True),)), (NAMES, (LOSS,))]
)
def test_a_matrix_of_another_game_is_not_continued(players, outputs):
    """[R31]"""
    matrix = compute(GAME, 6)
    with pytest.raises(
        StateMismatch, match=r"`matrix` has players \['p0'.*wanted .*put only rows of one game together"
    ):
        CounterfactualEngine(CounterfactualConfig(outputs=outputs)).compute_matrix(players, GAME, matrix=matrix)


@pytest.mark.parametrize("players", [[], ["a", "a"], ["a", ""]])
def test_player_names_are_checked(players):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`players` are .*, wanted at least one name, none empty and none twice"):
        CounterfactualEngine(CounterfactualConfig()).compute_matrix(players, GAME)


def test_too_many_players_for_a_table_are_refused():
    """[R16]"""
    with pytest.raises(InvalidArgument, match=r"`players` has 25 names, wanted at most 24 for all 2\^n coalitions"):
        factorial_masks(25)


@pytest.mark.parametrize("n_players", [1, 2, 3, 7])
def test_the_fixed_designs_are_complete_and_without_repetition(n_players):
    """[R1]"""
    table = coalition_texts(factorial_masks(n_players))
    assert len(set(table)) == len(table) == 2**n_players
    ablation = coalition_texts(ablation_masks(n_players))
    off = {"1" * at + "0" + "1" * (n_players - at - 1) for at in range(n_players)}
    assert len(set(ablation)) == len(ablation)
    assert set(ablation) == off | {"0" * n_players, "1" * n_players}


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            np.zeros((2, 7), dtype=bool),
            r"`mask` has 7 columns, but the model has 6 players; pass masks of shape \(M, 6\)",
        ),
        (np.zeros(6, dtype=bool), r"`mask` has shape \(6,\) instead of columns, but the model has 6 players"),
        (np.zeros((2, 6)), r"`mask` has dtype float64, wanted bool; pass `weights > 0` or"),
    ],
)
def test_masks_of_wrong_width_or_dtype_are_refused(masks, message):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=message):
        check_masks(masks, n_players=6)


def test_adapters_take_functions_of_one_coalition_and_of_weights():
    """[R2] A pure Python value function works; each coalition is a call of its own."""

    def of_mask(mask):
        return {"value": float(mask[0]) + 2.0 * float(mask[0] and mask[1])}

    def of_weights(weights):
        return {"value": weights["a"] + 2.0 * weights["a"] * weights["b"]}

    for function in (SingleCoalitions(of_mask), PlayerWeights(("a", "b"), of_weights)):
        assert attribute(function, ["a", "b"]).shapley("value").value.tolist() == [2.0, 1.0]


def test_unknown_names_are_refused():
    """[R37]"""
    matrix = compute(GAME, 6)
    with pytest.raises(UnknownName, match=r"`output` is 'loss', wanted one of value; pass a declared output"):
        matrix.shapley("loss")
    with pytest.raises(UnknownName, match=r"`player` is 'p9', wanted one of p0, p1"):
        matrix.shapley("value")["p9"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"target_half_width": 0.2}, "target_half_width"),
        ({"stop": SignsDecided()}, "stop"),
        ({"stop": TopDecided(1)}, "stop"),
        ({"stop": TopDecided(1), "target_half_width": 1e-9}, "stop"),
        ({"target_half_width": 1e-9}, "max_evaluations"),
        ({}, "max_evaluations"),
    ],
)
def test_sampling_stops_for_a_reason(fields, reason):
    """[R9]"""
    game = UnanimitySum(10, groups=(*((at,) for at in range(10)), (0, 1, 2)), weights=(*range(3, 13), 4.0))
    matrix = compute(game, 10, strategy="shapley", max_evaluations=512, seed=1, **fields)
    assert matrix.provenance.stop_reason == reason
    assert (len(matrix.masks) == 512) == (reason == "max_evaluations")
    assert (matrix.provenance.error_share < 1.0) == bool(fields)


def test_a_stopped_run_reports_the_level_that_its_looks_left():
    """[R8] [R9] First look: half of the error level, so the interval at 95 % is that at 97.5 % of a run without
    looks."""
    game = UnanimitySum(10, groups=tuple((at,) for at in range(10)), weights=tuple(range(3, 13)))
    fields = {"strategy": "shapley", "max_evaluations": 512}
    stopped = compute(game, 10, target_half_width=5.0, **fields)
    plain = compute(game, 10, strategy="shapley", max_evaluations=len(stopped.masks))
    assert stopped.provenance.error_share == 0.5
    np.testing.assert_allclose(
        stopped.shapley("value").half_widths(0.95), plain.shapley("value").half_widths(0.975), rtol=1e-9
    )


def test_a_continued_run_stops_where_an_uninterrupted_one_does():
    """[R9] [R10] Also where the rows of later rounds are there already."""
    game = random_unanimity(10, n_groups=15, seed=3)
    config = CounterfactualConfig(strategy="shapley", max_evaluations=640, target_half_width=0.4)
    whole = CounterfactualEngine(config).compute_matrix(player_names(10), game)
    assert whole.provenance.stop_reason == "target_half_width"
    for cut in (10, 46, 100):
        part = CounterfactualEngine(replace(config, max_evaluations=cut + 40 if cut < 22 else cut)).compute_matrix(
            player_names(10), game
        )
        if len(part.masks) > len(whole.masks):
            continue
        continued = CounterfactualEngine(config).compute_matrix(player_names(10), game, matrix=part)
        assert matrix_texts(continued) == matrix_texts(whole)
        assert continued.shapley("value").value.tobytes() == whole.shapley("value").value.tobytes()
        assert continued.provenance == whole.provenance
