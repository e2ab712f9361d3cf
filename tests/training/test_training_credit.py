"""Contributions of grafts: exact, carried by events, and negative for the planted harm.

S slots, R hosts, C coalitions, B examples.
"""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from training_toys import KIND, SHORT, TOY, same

from accredit.attribution import CounterfactualConfig, CounterfactualEngine
from accredit.attribution.coalition import factorial_masks, table_index
from accredit.errors import EvaluationError, InvalidArgument
from accredit.growth.architectures import mlp_layers
from accredit.growth.hosts import HostEvaluation, Players
from accredit.growth.looped import LoopedHosts
from accredit.growth.metric import Score
from accredit.growth.stacked import StackedHosts
from accredit.growth.stage import Operation, Stage
from accredit.telemetry import CoalitionsEvaluated, ContributionsEstimated, Event, Origin
from accredit.training.baselines import RandomPolicy
from accredit.training.credit import ACCURACY, LOG_LOSS, AttributionConfig, Cadence, Credit, Creditor
from accredit.training.credit_tables import events_of_row, exact_tables
from accredit.training.data import Examples
from accredit.training.environment import GrowthVectorEnv
from accredit.training.proof import CommitRule
from accredit.training.task import DIGITS

ORIGIN = Origin(environment="host", episode=2, step=5, game="live")


def evaluation() -> HostEvaluation:
    """Two players with an interaction, on four examples: v in nats for neither, first, second, both.

    Example by example the value of `both` is 1 - 0.2 - 0.4 + 0.3 = 0.7 plus noise that is the same under every
    coalition, so that the paired data error is 0 for the second host and not for the first.
    """
    table = torch.tensor([1.0, 0.8, 0.6, 0.7])
    noise = torch.tensor([-0.3, -0.1, 0.1, 0.3])
    paired = table[:, None] + noise
    uneven = table[:, None] * (1 + noise)
    return HostEvaluation(
        slots=(0, 2),
        log_loss=torch.stack([uneven, paired]),
        is_correct=torch.tensor([[0.0] * 4, [1.0] * 4, [0.0] * 4, [1.0] * 4]).repeat(2, 1, 1),
    )


class Recorded:
    """Two hosts whose values were written down; every way of asking reads from the same table."""

    def evaluate(self, rows, inputs, labels, *, players, live=None):
        del inputs, labels, players, live
        told = evaluation()
        chosen = list(rows)
        return HostEvaluation(slots=(0, 2), log_loss=told.log_loss[chosen], is_correct=told.is_correct[chosen])

    def evaluate_coalitions(self, row, masks, inputs, labels, *, players):
        del inputs, labels, players
        at = masks[:, 0].long() + 2 * masks[:, 2].long()
        return Score(log_loss=evaluation().log_loss[row, at], is_correct=evaluation().is_correct[row, at])


def credit_of(row: int, **arguments) -> Credit:
    creditor = Creditor(TOY.slot_names, **({"confidence": 0.95} | arguments))
    plays = np.array([[True, False, True]])
    arguments = {"players": Players.LIVE, "plays": plays, "origins": [ORIGIN]}
    credit = creditor.measure(Recorded(), [row], TOY.splits.reward, **arguments)
    creditor.tell()
    return credit


def test_contributions_of_a_game_with_an_interaction_equal_the_values_by_hand():
    """[R4] [R38] phi_1 = ((.8 - 1) + (.7 - .6)) / 2 = -.05 and phi_2 = ((.6 - 1) + (.7 - .8)) / 2 = -.25 in nats."""
    credit = credit_of(1)
    assert credit.values[0, 0, [0, 2]].tolist() == pytest.approx([0.05, 0.25], abs=1e-6)
    assert credit.values[1, 0, [0, 2]].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert credit.values[2, 0, [0, 2]].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert np.isnan(credit.values[:, 0, 1]).all(), "a slot without a player is unknown, not 0"
    assert credit.is_known.tolist() == [[True, False, True]]
    assert not credit.is_positive[0, 1]


def test_the_error_of_a_contribution_is_that_of_paired_examples():
    """[R7] phi per example = -.05 (1 + e) and -.25 (1 + e); the standard error of their mean, by hand."""
    credit = credit_of(0)
    spread = np.std([-0.3, -0.1, 0.1, 0.3], ddof=1) / 2
    assert credit.values[1, 0, [0, 2]].tolist() == pytest.approx([0.05 * spread, 0.25 * spread], rel=1e-5)
    assert credit.is_positive[0, [0, 2]].all()
    # Student t with 3 degrees of freedom at 99.9 % is 12.9, and the estimate is 7.7 errors away from 0
    assert not credit_of(0, confidence=0.999).is_positive[0, [0, 2]].any()
    # p = .0045 at 7.7 errors: Holm asks for twice that of the first of two
    assert credit_of(0, confidence=0.993).is_positive[0, [0, 2]].all()
    assert not credit_of(0, confidence=0.993, rule=CommitRule.SIGNIFICANT_HOLM).is_positive.any()


def test_events_carry_origin_and_the_whole_game():
    """[R13] [R32] Coalitions as evaluated, raw values that sum to v(all) - v(none)."""
    events: list[Event] = []
    credit_of(1, on_event=events.append)
    game = [event for event in events if isinstance(event, CoalitionsEvaluated)]
    values: dict[str, float] = {}
    for event in game:
        assert event.players == ("input", "hidden2")
        values |= dict(zip(event.coalitions, event.values["log_loss"], strict=True))
    assert values == pytest.approx({"00": 1.0, "10": 0.8, "01": 0.6, "11": 0.7}, abs=1e-6)
    estimated = {event.output: event for event in events if isinstance(event, ContributionsEstimated)}
    assert set(estimated) == {"log_loss", "accuracy"}
    assert estimated["log_loss"].values == pytest.approx((-0.05, -0.25), abs=1e-6)
    assert estimated["log_loss"].contributions == pytest.approx((0.05, 0.25), abs=1e-6)
    assert (estimated["log_loss"].value_none, estimated["log_loss"].value_all) == pytest.approx((1.0, 0.7), abs=1e-6)
    assert all(event.origin == ORIGIN for event in events)


@pytest.mark.parametrize("players", [1, 2, 3, 5])
def test_many_tables_at_once_equal_the_engine_host_by_host_bit_for_bit(players: int):
    """[R2] [R32] Values, errors and events of random tables; one row alone gives the same bits as among four.

    Where every host has every player; a null player changes roundings.
    """
    generator = np.random.default_rng(players)
    examples = generator.normal(size=(2, 4, 2**players, 30))
    names, masks = tuple(f"slot{at}" for at in range(players)), factorial_masks(players)
    outputs = (LOG_LOSS, ACCURACY)
    tables = exact_tables(outputs, examples)
    config = CounterfactualConfig(strategy="full_factorial", outputs=outputs, confidence=0.9)
    for row in range(4):

        def value(asked: torch.Tensor, row: int = row) -> dict[str, torch.Tensor]:
            at = [masks.tolist().index(mask) for mask in asked.tolist()]
            return {output.name: torch.from_numpy(examples[k, row, at]) for k, output in enumerate(outputs)}

        events: list[Event] = []
        engine = CounterfactualEngine(config, on_event=events.append)
        matrix = engine.compute_matrix(names, value, origin=ORIGIN)
        for table, output in zip(tables, outputs, strict=True):
            result = matrix.shapley(output.name)
            assert np.array_equal(table.values[row], result.value)
            assert np.array_equal(table.stderr[row], result.stderr)
            assert table.degrees_of_freedom == result.data_degrees_of_freedom
        own = (True,) * players
        assert events_of_row(tables, row, players=names, plays=own, origin=ORIGIN, level=0.9) == events
    (alone,) = exact_tables((LOG_LOSS,), examples[:1, 2:3])
    assert np.array_equal(alone.values[0], tables[0].values[2])
    assert np.array_equal(alone.stderr[0], tables[0].stderr[2])


def test_slots_without_a_player_are_null_players_of_the_shared_table():
    """[R2] [R4] A host with the second and third of four players: its numbers and events are those of its own game."""
    generator, plays = np.random.default_rng(0), (False, True, True, False)
    own = generator.normal(size=(2, 1, 4, 30))  # in table order: bit 0 is the second slot, bit 1 the third
    wide = own[:, :, [bits >> 1 & 3 for bits in table_index(factorial_masks(4)).tolist()]]
    outputs, names = (LOG_LOSS, ACCURACY), ("a", "b", "c", "d")
    tables = exact_tables(outputs, wide)
    alone = exact_tables(outputs, own[:, :, table_index(factorial_masks(2))])
    for table, mine in zip(tables, alone, strict=True):
        assert np.allclose(table.values[0], [0.0, *mine.values[0], 0.0], atol=1e-15)
        assert np.allclose(table.stderr[0], [0.0, *mine.stderr[0], 0.0], atol=1e-15)
    told = events_of_row(tables, 0, players=names, plays=plays, origin=ORIGIN, level=0.9)
    expected = events_of_row(alone, 0, players=("b", "c"), plays=(True, True), origin=ORIGIN, level=0.9)
    assert told[0] == expected[0]
    for event, other in zip(told[1:], expected[1:], strict=True):
        assert dataclasses.replace(event, values=(), contributions=(), stderr=(), lower=(), upper=()) == (
            dataclasses.replace(other, values=(), contributions=(), stderr=(), lower=(), upper=())
        )
        for name in ("values", "contributions", "stderr", "lower", "upper"):
            assert getattr(event, name) == pytest.approx(getattr(other, name), abs=1e-15)


def test_the_error_of_a_single_example_is_unknown_and_proves_nothing():
    """[R6] NaN in the table, null in the event."""
    (table,) = exact_tables((LOG_LOSS,), np.array([[[[2.0], [1.0]]]]))
    assert np.isnan(table.stderr).all()
    estimated = events_of_row((table,), 0, players=("input",), plays=(True,), origin=ORIGIN, level=0.95)[1]
    assert (estimated.values, estimated.stderr, estimated.lower) == ((-1.0,), (None,), (None,))
    hosts = grown_hosts(1)
    one = Examples(inputs=TOY.splits.reward.inputs[:1], labels=TOY.splits.reward.labels[:1])
    credit = Creditor(TOY.slot_names, confidence=0.95).measure(
        hosts, [0], one, players=Players.CANDIDATES, plays=np.ones((1, 3), dtype=bool), origins=[ORIGIN]
    )
    assert credit.is_known.all()
    assert np.isnan(credit.values[1]).all()
    assert not credit.is_positive.any()


def grown_hosts(count: int, *, stage: Stage = Stage.TRAINING, make=StackedHosts) -> StackedHosts:
    """Return toy hosts with a trained mlp in every slot."""
    hosts = TOY.looped_hosts(count, learning_rate=1e-2) if make is not StackedHosts else None
    hosts = hosts or TOY.make_hosts(count, learning_rate=1e-2)
    stages, alphas = np.full((count, 3), Stage.TRAINING, dtype=np.int64), np.zeros((count, 3))
    for row in range(count):
        hosts.reset(row, TOY.build_host(row))
        for slot in range(3):
            hosts.graft(row, slot, KIND["mlp"], seed=slot)
    hosts.set_stages(stages, alphas)
    train = TOY.splits.train
    for at in range(0, 120, 20):
        x, y = train.inputs[at : at + 20], train.labels[at : at + 20]
        hosts.train(x.expand(count, *x.shape), y.expand(count, *y.shape))
    if stage != Stage.TRAINING:
        hosts.set_stages(np.full_like(stages, stage), np.full_like(alphas, 0.5))
    return hosts


@pytest.mark.parametrize("make", [StackedHosts, LoopedHosts])
@pytest.mark.parametrize(("players", "stage"), [(Players.CANDIDATES, Stage.TRAINING), (Players.LIVE, Stage.BLENDING)])
def test_coalitions_one_by_one_equal_those_of_the_shared_pass(make, players: Players, stage: Stage):
    """[R10] For both kinds of hosts and both games, to rounding; nothing about the hosts moves."""
    hosts, reward = grown_hosts(2, stage=stage, make=make), TOY.splits.reward
    before = hosts.state_dict()
    shared = hosts.evaluate([0, 1], reward.inputs, reward.labels, players=players)
    masks = torch.from_numpy((np.arange(8)[:, None] >> np.arange(3) & 1).astype(bool))
    for row in range(2):
        apart = hosts.evaluate_coalitions(row, masks, reward.inputs, reward.labels, players=players)
        assert torch.allclose(apart.log_loss, shared.log_loss[row], atol=1e-5)
        assert torch.equal(apart.is_correct, shared.is_correct[row])
    assert float((shared.log_loss[0, 0] - shared.log_loss[0, 7]).abs().max()) > 0.01
    assert same(hosts.state_dict(), before)


@pytest.mark.parametrize("make", [StackedHosts, LoopedHosts])
def test_the_players_of_one_host_switch_nothing_in_another(make):
    """[R10] [R13] A candidate of the first host stands where the second has a live graft, and the other way round.

    Everything off is the live network, everything on has the candidate at alpha = 1, as for each host alone.
    """
    hosts, reward = grown_hosts(2, make=make), TOY.splits.reward
    stages = np.array([[Stage.TRAINING, Stage.COMMITTED, Stage.EMPTY], [Stage.HOLDING, Stage.TRAINING, Stage.TRAINING]])
    hosts.prune(0, 2)
    hosts.set_stages(stages, np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.0]]))
    arguments = {"inputs": reward.inputs, "labels": reward.labels}
    live = hosts.evaluate([0, 1], **arguments, players=Players.NOBODY).log_loss[:, 0]
    together = hosts.evaluate([0, 1], **arguments, players=Players.CANDIDATES)
    assert together.slots == (0, 1, 2)
    assert torch.allclose(together.log_loss[:, 0], live, atol=1e-6)
    for row in range(2):
        alone = hosts.evaluate([row], **arguments, players=Players.CANDIDATES)
        for bits in range(2 ** len(alone.slots)):
            wide = sum(1 << slot for at, slot in enumerate(alone.slots) if bits >> at & 1)
            assert torch.allclose(together.log_loss[row, wide], alone.log_loss[0, bits], atol=1e-6)
    assert not torch.allclose(together.log_loss[0, 1], live[0], atol=1e-3)


MANY = dataclasses.replace(TOY, name="many", layers=partial(mlp_layers, (8, 6, 3), slots_before=(0, 0, 0, 0, 1, 1, 1)))
"""Seven slots: 128 coalitions, twice what fits the default budget."""


def many_hosts(plays: np.ndarray) -> StackedHosts:
    """Return hosts with a candidate wherever one plays, [R, 7]."""
    hosts = MANY.make_hosts(len(plays), learning_rate=1e-2)
    for row, slot in np.argwhere(plays).tolist():
        if slot == np.flatnonzero(plays[row])[0]:
            hosts.reset(row, MANY.build_host(row))
        hosts.graft(row, slot, KIND["dropper" if slot == 3 else "affine"], seed=slot)
    hosts.set_stages(np.where(plays, Stage.TRAINING, Stage.EMPTY), np.zeros(plays.shape))
    return hosts


def test_hosts_with_different_players_are_measured_as_each_alone():
    """[R10] The union of their players is beyond the budget, so that they are evaluated in parts."""
    plays = np.zeros((4, 7), dtype=bool)
    for row, slots in enumerate(((0, 3), (3, 4, 5), (1, 2, 6), (0, 3))):
        plays[row, list(slots)] = True
    hosts, creditor = many_hosts(plays), Creditor(MANY.slot_names, confidence=0.95)
    arguments = {"examples": MANY.splits.reward, "players": Players.CANDIDATES}
    reward = MANY.splits.reward
    outcome = hosts.evaluate(range(4), reward.inputs, reward.labels, players=Players.NOBODY)
    live = Score(log_loss=outcome.log_loss[:, 0], is_correct=outcome.is_correct[:, 0])
    for known in (None, live):
        together = creditor.measure(hosts, range(4), plays=plays, origins=[ORIGIN] * 4, live=known, **arguments)
        assert np.array_equal(together.is_known, plays)
        for row in range(4):
            alone = creditor.measure(hosts, [row], plays=plays[[row]], origins=[ORIGIN], **arguments)
            assert np.allclose(together.values[:, row], alone.values[:, 0], atol=1e-6, equal_nan=True)


def test_more_players_than_the_budget_has_coalitions_for_are_sampled_within_it():
    """[R9] [R10] Exactly 64 coalitions told, none and all among them; the same at every call; efficiency; the exact
    values of the complete table lie within six standard errors; the planted harm is negative.
    """
    plays, events = np.ones((1, 7), dtype=bool), []
    hosts, reward = many_hosts(plays), MANY.splits.reward
    creditor = Creditor(MANY.slot_names, confidence=0.95, on_event=events.append)
    arguments = {"players": Players.CANDIDATES, "plays": plays, "origins": [ORIGIN]}
    credit, again = (creditor.measure(hosts, [0], reward, **arguments) for _ in range(2))
    assert events == []
    creditor.tell()
    creditor.tell()  # once each
    assert np.array_equal(credit.values, again.values)
    told = [coalition for event in events if isinstance(event, CoalitionsEvaluated) for coalition in event.coalitions]
    assert len(told) == 2 * 64 == 2 * len(set(told))
    assert {"0" * 7, "1" * 7} <= set(told)
    estimated = next(event for event in events if isinstance(event, ContributionsEstimated))
    assert (estimated.estimator, estimated.n_evaluations) == ("pair_process", 64)
    assert sum(estimated.values) == pytest.approx(estimated.value_all - estimated.value_none, abs=1e-6)
    whole = dataclasses.replace(creditor.attribution, max_evaluations=128)
    exact = Creditor(MANY.slot_names, confidence=0.95, attribution=whole).measure(hosts, [0], reward, **arguments)
    error = credit.values[0] - exact.values[0]
    assert (np.abs(error) < 6 * credit.values[1] + 1e-9).all()
    assert credit.values[0, 0, 3] < 0
    assert not credit.is_positive[0, 3]


def test_a_host_that_is_not_finite_has_no_credit_and_leaves_others_theirs():
    """[R25] [R5] In a table, and where coalitions are sampled."""
    for plays in (np.ones((2, 7), dtype=bool), np.eye(7, dtype=bool)[:2]):
        sound, sick = many_hosts(plays), many_hosts(plays)
        sick.weights[1] = torch.nan
        creditor = Creditor(MANY.slot_names, confidence=0.95)
        arguments = {"players": Players.CANDIDATES, "plays": plays, "origins": [ORIGIN] * 2}
        healthy, ill = (creditor.measure(hosts, [0, 1], MANY.splits.reward, **arguments) for hosts in (sound, sick))
        assert np.array_equal(healthy.values[:, 0], ill.values[:, 0], equal_nan=True)
        assert np.array_equal(healthy.is_known, plays)
        assert not ill.is_known[1].any()
        assert not ill.is_positive[1].any()


def test_an_error_in_the_evaluation_is_no_unknown_contribution():
    """[R11] It comes out with its coalition."""

    class Broken(Recorded):
        def evaluate_coalitions(self, row, masks, inputs, labels, *, players):
            raise ZeroDivisionError("broken")

    creditor = Creditor(MANY.slot_names, confidence=0.95)
    with pytest.raises(EvaluationError, match=r"`value_function` failed for .* broken"):
        creditor.measure(
            Broken(), [0], MANY.splits.reward, players=Players.LIVE, plays=np.ones((1, 7), dtype=bool), origins=[ORIGIN]
        )


def test_episodes_with_many_slots_go_on_under_the_budget():
    """[R9] Every slot of two hosts filled and blended; no matrix beyond 16 coalitions."""
    config = dataclasses.replace(SHORT, steps=18, attribution=AttributionConfig(max_evaluations=16))
    events: list[Event] = []
    env = GrowthVectorEnv(2, task=MANY, config=config, on_event=events.append)
    env.reset(seed=0)
    table = env.episodes.actions
    for slot in range(7):
        env.step(np.full(2, table.find(Operation.GRAFT, slot, KIND["affine"])))
    for slot in range(7):
        env.step(np.full(2, table.find(Operation.BLEND, slot)))
    sizes = [len(event.coalitions) for event in events if isinstance(event, CoalitionsEvaluated)]
    assert max(sizes) == 16
    assert max(len(event.players) for event in events if isinstance(event, ContributionsEstimated)) == 7
    assert env.observation_space.contains(env.episodes.observations())


def test_a_matrix_that_is_asked_for_by_itself_is_told_at_once():
    """[R2] [R32] What ends a comparison on the test split."""
    events: list[Event] = []
    creditor = Creditor(TOY.slot_names, confidence=0.95, on_event=events.append)
    matrix = creditor.matrix(evaluation(), 1, (0, 2), ORIGIN)
    assert [type(event) for event in events] == [CoalitionsEvaluated, ContributionsEstimated, ContributionsEstimated]
    assert events[1].values == tuple(matrix.shapley("log_loss").value.tolist())


def test_raw_values_of_an_episode_sum_to_what_all_grafts_bring_and_carry_where_they_belong():
    """[R4] [R32] To 1e-6 in every event of random episodes in two environments."""
    events: list[Event] = []
    env = GrowthVectorEnv(2, task=TOY, config=SHORT, on_event=events.append)
    _, info = env.reset(seed=0)
    policy = RandomPolicy(np.random.default_rng(1))
    for _ in range(3 * SHORT.steps):
        info = env.step(policy.act(np.zeros((2, 1), dtype=np.float32), info["action_mask"]))[4]
    estimated = [event for event in events if isinstance(event, ContributionsEstimated)]
    assert len(estimated) > 20
    assert any(len(event.players) > 1 for event in estimated)
    for event in estimated:
        assert sum(event.values) == pytest.approx(event.value_all - event.value_none, abs=1e-6)
        assert event.origin.environment in ("env-000", "env-001")
        assert event.origin.episode in (0, 1, 2, 3)
        assert event.origin.step in range(SHORT.steps + 1)
        assert event.origin.game in ("live", "candidates")
    assert {event.origin.environment for event in estimated} == {"env-000", "env-001"}
    assert {event.origin.game for event in estimated} == {"live", "candidates"}


def test_the_planted_harm_is_significantly_negative_as_a_candidate_and_a_trained_graft_positive():
    """[R33] A dropper in front of each of ten hosts on digits; beside it a graft that has learned."""
    hosts = DIGITS.make_hosts(10, learning_rate=1e-2)
    for row in range(10):
        hosts.reset(row, DIGITS.build_host(row))
        hosts.graft(row, 0, KIND["dropper" if row < 5 else "mlp"], seed=row)
    stages = np.zeros((10, 3), dtype=np.int64)
    stages[:, 0] = Stage.TRAINING
    hosts.set_stages(stages, np.zeros((10, 3)))
    train, reward, order = DIGITS.splits.train, DIGITS.splits.reward, torch.Generator().manual_seed(0)
    for _ in range(40):
        chosen = torch.randint(0, len(train), (10, 64), generator=order)
        hosts.train(train.inputs[chosen], train.labels[chosen])
    outcome = hosts.evaluate(range(10), reward.inputs, reward.labels, players=Players.CANDIDATES)
    creditor = Creditor(DIGITS.slot_names, confidence=0.95)
    credit = creditor.measure(
        hosts, range(10), reward, players=Players.CANDIDATES, plays=stages == Stage.TRAINING, origins=[ORIGIN] * 10
    )
    for row in range(10):
        estimate = creditor.matrix(outcome, row, (0,), ORIGIN).shapley("log_loss")["input"]
        assert estimate.is_significant(0.95)
        assert (estimate.contribution < 0) == (row < 5)
        assert bool(credit.is_positive[row, 0]) == (row >= 5)
        assert credit.values[0, row, 0] == pytest.approx(estimate.contribution, abs=1e-12)


@pytest.mark.parametrize(
    ("wrong", "least"),
    [({"examples": 1}, 2), ({"examples_between": -1}, 0), ({"max_evaluations": 15}, 16), ({"seed": -1}, 0)],
)
def test_impossible_budgets_are_refused(wrong: dict[str, int], least: int):
    """[R37]"""
    ((name, value),) = wrong.items()
    with pytest.raises(InvalidArgument, match=f"`attribution.{name}` is {value}, wanted at least {least}; correct the"):
        AttributionConfig(**wrong)


def measured_examples(config: AttributionConfig) -> list[tuple[str, int, int]]:
    """Return game, step and number of examples of every matrix in the life of one graft; the split has 80.

    Grafted at step 0, blended by the second decision, held from the fourth on; T = 8.
    """
    env = GrowthVectorEnv(1, task=TOY, config=dataclasses.replace(SHORT, steps=8, attribution=config))
    env.reset(seed=0)
    measure, seen = env.episodes.creditor.measure, []

    def watched(hosts, rows, examples, *, players, plays, origins, live):
        seen.extend((game.value, origin.step, len(examples)) for game, origin in zip(players, origins, strict=True))
        return measure(hosts, rows, examples, players=players, plays=plays, origins=origins, live=live)

    env.episodes.creditor.measure = watched
    table = env.episodes.actions
    for action in (table.find(Operation.GRAFT, 1, KIND["mlp"]), table.find(Operation.BLEND, 1), 0, 0, 0, 0, 0):
        env.step(np.array([action]))
    return seen


def test_every_step_measures_on_as_many_examples_as_there_are_or_are_asked_for():
    """[R9]"""
    for config, used in ((AttributionConfig(), 80), (AttributionConfig(examples=60), 60)):
        seen = measured_examples(config)
        assert seen == [("candidates", 1, used), *[("live", step, used) for step in range(2, 8)]]


def test_some_environments_are_measured_as_all_of_them_are():
    """[R9] Each with what is known of its own live network, on the examples that a measurement takes."""
    config = dataclasses.replace(SHORT, steps=8, attribution=AttributionConfig(examples=30))
    env = GrowthVectorEnv(3, task=TOY, config=config)
    env.reset(seed=0)
    episodes, table = env.episodes, env.episodes.actions
    for operation in (Operation.GRAFT, Operation.BLEND):
        kinds = (KIND["mlp"],) if operation == Operation.GRAFT else ()
        env.step(np.array([table.find(operation, slot, *kinds) for slot in range(3)]))
    env.step(np.array([table.find(Operation.GRAFT, slot, KIND["affine"]) for slot in (1, 2, 0)]))
    credit, reward = episodes.slots.credit.copy(), TOY.splits.reward
    assert np.isfinite(credit[0]).sum() == 6  # a live graft and a candidate each
    some = episodes.measurements._many.examples
    assert len(some) == 30
    for players, slots in ((Players.LIVE, (0, 1, 2)), (Players.CANDIDATES, (1, 2, 0))):
        plays = np.eye(3, dtype=bool)[list(slots)]
        told = Creditor(TOY.slot_names, confidence=0.95).measure(
            episodes.hosts, range(3), some, players=players, plays=plays, origins=[ORIGIN] * 3
        )
        assert np.allclose(credit[:, plays], told.values[:, plays], atol=1e-6)
    for rows in ([2], [0, 2]):
        outcome = episodes.hosts.evaluate(rows, reward.inputs, reward.labels, players=Players.NOBODY)
        live = Score(log_loss=outcome.log_loss[:, 0], is_correct=outcome.is_correct[:, 0])
        at_end = np.zeros(3, dtype=bool)
        episodes.measurements.update(np.array(rows), live, at_end=at_end, origin=episodes.chronicle.origin)
        assert np.allclose(episodes.slots.credit, credit, atol=1e-6, equal_nan=True)


def test_between_decisions_fewer_examples_are_used_or_none():
    """[R9] Prune is legal from age 3 on, commit from holding on; before that 40 examples, or unknown."""
    some = measured_examples(AttributionConfig(cadence=Cadence.WHEN_LEGAL, examples=60, examples_between=40))
    assert some == [("candidates", 1, 40), ("live", 2, 40), *[("live", step, 60) for step in range(3, 8)]]
    none = measured_examples(AttributionConfig(cadence=Cadence.WHEN_LEGAL, examples_between=0))
    assert none == [("live", step, 80) for step in range(3, 8)]


def test_what_was_not_measured_is_unknown_and_never_zero():
    """[R5] [R32] The bit is 1, the credit NaN; no event tells of it."""
    config = dataclasses.replace(SHORT, attribution=AttributionConfig(cadence=Cadence.WHEN_LEGAL, examples_between=0))
    events: list[Event] = []
    env = GrowthVectorEnv(1, task=TOY, config=config, on_event=events.append)
    env.reset(seed=0)
    env.step(np.array([env.episodes.actions.find(Operation.GRAFT, 1, KIND["mlp"])]))
    assert np.isnan(env.episodes.slots.credit[:, 0, 1]).all()
    assert env.episodes.observations()[0, env.episodes.fields.index("hidden1.unknown")] == 1.0
    assert not [event for event in events if isinstance(event, ContributionsEstimated)]
