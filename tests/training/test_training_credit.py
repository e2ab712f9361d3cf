"""Contributions of grafts: exact, carried by events, and negative for the planted harm.

S slots, R hosts, C coalitions, B examples.
"""

import numpy as np
import pytest
import torch
from training_toys import KIND, SHORT, TOY

from accredit.growth.hosts import HostEvaluation, Players
from accredit.growth.stage import Stage
from accredit.telemetry import CoalitionsEvaluated, ContributionsEstimated, Event, Origin
from accredit.training.baselines import RandomPolicy
from accredit.training.credit import Creditor
from accredit.training.environment import GrowthVectorEnv
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


def test_contributions_of_a_game_with_an_interaction_equal_the_values_by_hand():
    """[R4] [R38] phi_1 = ((.8 - 1) + (.7 - .6)) / 2 = -.05 and phi_2 = ((.6 - 1) + (.7 - .8)) / 2 = -.25 in nats."""
    credit = Creditor(TOY.slot_names, confidence=0.95).measure(evaluation(), 1, (0, 2), ORIGIN)
    assert credit.values[0, [0, 2]].tolist() == pytest.approx([0.05, 0.25], abs=1e-6)
    assert credit.values[1, [0, 2]].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert credit.values[2, [0, 2]].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert np.isnan(credit.values[:, 1]).all(), "a slot without a player is unknown, not 0"
    assert not credit.is_positive[1]


def test_the_error_of_a_contribution_is_that_of_paired_examples():
    """[R7] phi per example = -.05 (1 + e) and -.25 (1 + e); the standard error of their mean, by hand."""
    credit = Creditor(TOY.slot_names, confidence=0.95).measure(evaluation(), 0, (0, 2), ORIGIN)
    spread = np.std([-0.3, -0.1, 0.1, 0.3], ddof=1) / 2
    assert credit.values[1, [0, 2]].tolist() == pytest.approx([0.05 * spread, 0.25 * spread], rel=1e-5)
    assert credit.is_positive[[0, 2]].all()
    # Student t with 3 degrees of freedom at 99.9 % is 12.9, and the estimate is 7.7 errors away from 0
    strict = Creditor(TOY.slot_names, confidence=0.999).measure(evaluation(), 0, (0, 2), ORIGIN)
    assert not strict.is_positive[[0, 2]].any()


def test_events_carry_origin_and_the_whole_game():
    """[R13] [R32] Coalitions as evaluated, raw values that sum to v(all) - v(none)."""
    events: list[Event] = []
    Creditor(TOY.slot_names, confidence=0.95, on_event=events.append).measure(evaluation(), 1, (0, 2), ORIGIN)
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
    for row in range(10):
        estimate = creditor.matrix(outcome, row, (0,), ORIGIN).shapley("log_loss")["input"]
        assert estimate.is_significant(0.95)
        assert (estimate.contribution < 0) == (row < 5)
        assert bool(creditor.measure(outcome, row, (0,), ORIGIN).is_positive[0]) == (row >= 5)
