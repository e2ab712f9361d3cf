"""The trainer: every option of PPO continues exactly, failures are told, a collapsed policy ends the run.

E environments, T steps.
"""

import dataclasses
import io
import itertools
import math
import time

import numpy as np
import pytest
import torch
from training_toys import TINY, TOY, same

from accredit.errors import PolicyCollapsed, TrainingFailed
from accredit.growth.stage import Operation
from accredit.ppo.config import Memory, PPOConfig
from accredit.ppo.rollout import Rollout
from accredit.telemetry import Event, PolicyRolledBack, UpdateCompleted
from accredit.training.collection import Collected
from accredit.training.trainer import Trainer

OPTIONS = {
    "as it comes": {},
    "memory": {"memory": Memory.GRU},
    "normalized values": {"normalize_values": True},
    "raw observations": {"normalize_observations": False},
    "raw rewards": {"normalize_rewards": False},
    "memory and values": {"memory": Memory.GRU, "normalize_values": True},
}


def trainer(events: list[Event] | None = None, **options: object) -> Trainer:
    config = dataclasses.replace(TINY, ppo=PPOConfig(epochs=2, minibatch_size=8, hidden=8, **options))
    return Trainer(TOY, config, on_event=(lambda _: None) if events is None else events.append)


def warmed(events: list[Event] | None = None, **options: object) -> Trainer:
    made = trainer(events, **options)
    made.warm_up()
    return made


def through_a_file(state: dict[str, object]) -> dict[str, object]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def always(made: Trainer, action: int, *, logit: float = 100.0) -> None:
    """Make the policy prefer one action in every situation."""
    with torch.no_grad():
        made.policy.logits[-1].weight.zero_()
        made.policy.logits[-1].bias.zero_()
        made.policy.logits[-1].bias[action] = logit


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_continues_bit_equal_from_a_saved_state(options):
    """[R29] Policy, memory, value statistics and optimizer among it; events too, tolerance 0."""
    heard: list[Event] = []
    whole = warmed(heard, **options)
    whole.learn()
    state, told = through_a_file(whole.state_dict()), len(heard)
    whole.learn()
    again: list[Event] = []
    resumed = trainer(again, **options)
    resumed.load_state_dict(state)
    assert same(resumed.state_dict(), state)
    resumed.learn()
    assert again == heard[told:]
    assert same(resumed.state_dict(), whole.state_dict())
    assert not same(state["policy"], whole.state_dict()["policy"])


def test_every_option_changes_what_is_learned():
    """[R37] None of them is a switch without a wire."""
    weights = {}
    for name, options in OPTIONS.items():
        made = warmed(**options)
        made.learn()
        made.learn()
        weights[name] = made.policy.value[0].weight[:, :4].clone()
    names = list(weights)
    for at, one in enumerate(names):
        assert not any(torch.equal(weights[one], weights[other]) for other in names[at + 1 :]), one


def test_a_memory_is_that_of_the_episode_and_in_the_middle_of_one_it_is_saved():
    """[R29] A host that diverged shifts its episodes against the rollouts, so that they begin in the middle of one."""
    made = warmed(memory=Memory.GRU)
    made.learn()
    assert not made.state_dict()["memory"].any(), "all episodes ended with the rollout"
    made.environments.step(np.zeros(TINY.environments, dtype=np.int64))
    made._observations, made._begins = made.environments.episodes.observations(), torch.tensor([False, False])
    made.learn()
    state = made.state_dict()
    assert state["memory"].shape == (TINY.environments, 8)
    assert state["memory"].any(dim=1).all()
    resumed = trainer(memory=Memory.GRU)
    resumed.load_state_dict(through_a_file(state))
    made.learn()
    resumed.learn()
    assert same(resumed.state_dict(), made.state_dict())


def test_a_memory_in_an_evaluation_begins_with_each_episode_whatever_was_before():
    """[R35] Asked about other environments, or about the same from their beginning, it answers as a new one does."""
    made = warmed(memory=Memory.GRU)
    made.learn()
    fields = made.environments.episodes.fields
    observations = made._observations.copy()
    later = observations.copy()
    later[:, fields.index("time")] = 0.5
    legal = np.ones((len(observations), len(made.environments.episodes.actions)), dtype=bool)

    def memories(*seen: np.ndarray) -> torch.Tensor:
        policy = made.learned
        for one in seen:
            policy.act(one, legal[: len(one)])
        return policy._memory

    assert torch.equal(memories(observations, later, observations), memories(observations))
    assert torch.equal(memories(observations[:1], observations), memories(observations))
    assert not torch.equal(memories(observations, later), memories(later))


def test_without_normalizers_the_policy_sees_and_earns_what_the_environment_gives():
    """[R22] And with them it does not; the statistics are kept either way."""
    raw = warmed(normalize_observations=False, normalize_rewards=False)
    scaled = warmed()
    for made, is_raw in ((raw, True), (scaled, False)):
        made.learn()
        collected = made._collect()
        assert all(map(torch.equal, collected.rollout.observations, collected.raw_observations)) == is_raw
        paid = [torch.from_numpy(rewards).float() for rewards in collected.raw_rewards]
        assert all(map(torch.equal, collected.rollout.rewards, paid)) == is_raw
        assert int(made.observation_normalizer.count) > 0
    assert raw.learn().reward_scale == 1.0
    assert scaled.learn().reward_scale == pytest.approx(float(scaled.reward_normalizer.scale)) != 1.0


def test_the_scale_of_values_is_told_where_they_are_normalized():
    """[R32] Unknown is null, never 0."""
    assert warmed().learn().value_scale is None
    made = warmed(normalize_values=True)
    assert made.policy.value_normalizer is not None
    assert made.learn().value_scale == pytest.approx(float(made.policy.value_normalizer.scale))


def test_the_entropy_that_is_told_is_over_decisions_with_a_choice():
    """[R32] A uniform policy over k legal actions has log k; where waiting alone is legal nothing is decided."""
    made = warmed()
    with torch.no_grad():
        made.policy.logits[-1].weight.zero_()
    collected = made._collect()
    legal = torch.stack(collected.rollout.masks).sum(-1)
    wanted = legal[legal > 1].double().log().mean().item()
    assert collected.decision_entropy() == pytest.approx(wanted, abs=1e-5)
    collected.rollout.masks = [masks & (torch.arange(masks.shape[1]) == 0) for masks in collected.rollout.masks]
    assert collected.decision_entropy() is None


def spoil(made: Trainer) -> None:
    """Make every value target infinite."""
    with torch.no_grad():
        made.policy.value[-1].bias.fill_(math.inf)


def test_an_update_that_is_not_finite_is_taken_back_and_told_and_the_run_goes_on():
    """[R35] [R32] Its measurements are null; the next one that works sets the count back."""
    events: list[Event] = []
    made = warmed(events)
    made.learn()
    spoil(made)
    before = through_a_file({"policy": made.policy.state_dict(), "optimizer": made.optimizer.state_dict()})
    event = made.learn()
    assert same(made.policy.state_dict(), before["policy"])
    assert same(made.optimizer.state_dict(), before["optimizer"])
    assert (event.epochs, event.policy_loss, event.entropy, event.approximate_kl) == (0, None, None, None)
    assert event.decision_entropy is not None
    told = [e for e in events if isinstance(e, PolicyRolledBack)]
    assert [(e.update, e.in_a_row) for e in told] == [(2, 1)]
    assert "`update_policy` got the losses" in told[0].reason
    assert [e.update for e in events if isinstance(e, UpdateCompleted)] == [1, 2]
    assert made.state_dict()["rollbacks"] == 1
    with torch.no_grad():
        made.policy.value[-1].bias.zero_()
    assert made.learn().epochs > 0
    assert made.state_dict()["rollbacks"] == 0


def test_too_many_updates_in_a_row_that_are_not_finite_end_the_run():
    """[R35] As many as `ppo.rollbacks` are forgiven."""
    made = warmed(rollbacks=1)
    spoil(made)
    made.learn()
    with pytest.raises(
        TrainingFailed,
        match=r"`train` took back 2 updates of the policy in a row .* at most 1 \(`ppo.rollbacks`\).*begin a run with",
    ):
        made.learn()


def test_a_policy_that_only_waits_and_explores_no_more_ends_the_run():
    """[R35] Its diagnostics are told before."""
    events: list[Event] = []
    made = warmed(events, learning_rate=1e-9)
    always(made, 0)
    with pytest.raises(
        PolicyCollapsed,
        match=r"whose 12 decisions of update 1 were all `wait` with a mean entropy of .* nats, wanted at least 0.01 "
        r"\(`ppo.collapse_entropy`\).*begin a run with a higher ppo.entropy_start",
    ):
        made.learn()
    last = events[-1]
    assert isinstance(last, UpdateCompleted)
    assert last.action_frequencies == {"wait": 1.0}
    assert last.decision_entropy == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("change", ["forgiven", "undecided", "others"])
def test_a_policy_that_is_sure_but_does_more_than_one_thing_or_is_not_sure_goes_on(change: str):
    """[R35] Waiting in all decisions by chance is no collapse, nor is one that a user asked for."""
    made = warmed(learning_rate=1e-9, collapse_entropy=0.0 if change == "forgiven" else 0.01)
    graft = made.environments.episodes.actions.find(Operation.GRAFT, 0, 0)
    always(made, graft if change == "others" else 0, logit=8.0 if change == "undecided" else 100.0)
    event = made.learn()
    if change == "undecided":
        assert event.action_frequencies == {"wait": 1.0}
        assert event.decision_entropy > 0.01
    elif change == "forgiven":
        assert event.decision_entropy < 1e-6
    else:
        assert set(event.action_frequencies) > {"graft"}


def test_the_share_of_attribution_is_measured_by_the_clock_of_every_part_that_measures(monkeypatch):
    """[R32] A clock that moves by 1 s whenever it is read, which is twice a measurement and at both ends.

    T steps and one common beginning of episodes are measured; of the latter nothing is told, for no graft is there.
    """
    made, readings = warmed(), itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(readings)))
    steps = TINY.episode.steps
    assert made.learn().attribution_share == pytest.approx(steps / (2 * (steps + 1) + 1))


def test_the_share_of_attribution_counts_every_process():
    """[R32] 6 s of two processes within 10 s are 30 % of the time of each."""
    collected = Collected(rollout=Rollout(), last_values=torch.empty(0), attribution_s=6.0)
    collected.began_s = time.perf_counter() - 10.0
    assert collected.attribution_share(2) == pytest.approx(0.3, rel=1e-3)
    assert collected.attribution_share(1) == pytest.approx(0.6, rel=1e-3)
