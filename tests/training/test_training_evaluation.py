"""The final comparison on the test split: what it reads of a host, however many grafts the host has."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from training_toys import TINY, TOY

from accredit.growth.architectures import mlp_layers
from accredit.growth.hosts import Players
from accredit.growth.stacked import StackedHosts
from accredit.telemetry import CoalitionsEvaluated, Event
from accredit.training.baselines import Schedule
from accredit.training.credit import AttributionConfig
from accredit.training.evaluation import grow_evaluation_hosts, measure
from accredit.training.playing import layout
from accredit.training.proof import CommitRule

SLOTS = 5
FIVE = dataclasses.replace(TOY, name="five", layers=partial(mlp_layers, (8, 6, 3), slots_before=(0, 0, 0, 1, 1)))


@pytest.mark.parametrize(("budget", "evaluated"), [(64, 2**SLOTS), (16, 16)], ids=["exact", "sampled"])
def test_a_host_with_many_grafts_is_credited_within_the_budget(
    budget: int, evaluated: int, monkeypatch: pytest.MonkeyPatch
):
    """[R9] [R36] Five grafts have 32 coalitions; what the host reached is that of all of them on, either way."""
    attribution = AttributionConfig(max_evaluations=budget)
    episode = dataclasses.replace(TINY.episode, steps=24, commit_rule=CommitRule.ANY, attribution=attribution)
    config, events = dataclasses.replace(TINY, episode=episode), list[Event]()
    schedule = Schedule(layout(FIVE, config), range(SLOTS), kinds=(0,) * SLOTS)
    asked: list[int] = []
    all_coalitions, some = StackedHosts.evaluate, StackedHosts.evaluate_coalitions

    def evaluate(hosts, rows, inputs, labels, *, players, live=None):
        outcome = all_coalitions(hosts, rows, inputs, labels, players=players, live=live)
        if inputs is FIVE.splits.test.inputs and players is not Players.NOBODY:
            asked.append(outcome.log_loss.shape[1])
        return outcome

    def evaluate_coalitions(hosts, row, masks, inputs, labels, *, players):
        if inputs is FIVE.splits.test.inputs:
            asked.append(len(masks))
        return some(hosts, row, masks, inputs, labels, players=players)

    monkeypatch.setattr(StackedHosts, "evaluate", evaluate)
    monkeypatch.setattr(StackedHosts, "evaluate_coalitions", evaluate_coalitions)
    measured = measure(FIVE, config, "schedule", schedule, events.append)
    monkeypatch.undo()
    assert sum(asked) == evaluated * config.evaluation.hosts  # the test split is read for no more than that
    tested = [
        event
        for event in events
        if isinstance(event, CoalitionsEvaluated) and event.origin.environment == "schedule-000-test"
    ]
    assert sum(len(event.coalitions) for event in tested) == evaluated
    assert len(measured.contributions) == SLOTS * config.evaluation.hosts
    assert np.isfinite([each.log_loss for each in measured.contributions]).all()
    grown, test = grow_evaluation_hosts(FIVE, config, "again", schedule), FIVE.splits.test
    alone = grown.hosts.evaluate([0], test.inputs, test.labels, players=Players.NOBODY)
    assert measured.hosts[0].log_loss == pytest.approx(float(alone.log_loss[0, -1].double().mean()), rel=1e-5)
