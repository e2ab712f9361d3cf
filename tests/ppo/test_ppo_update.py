"""The update: it learns, it stops, and it refuses numbers that are not finite.

N decisions, F fields, A actions.
"""

import copy
import dataclasses
import math

import pytest
import torch
from torch import optim

from accredit.errors import InvalidArgument, TrainingFailed
from accredit.ppo.config import Memory, PPOConfig
from accredit.ppo.policy import ActorCritic, sample
from accredit.ppo.update import Decisions, Sequences, update_policy

N, F, A = 64, 4, 4


def policy(seed: int = 0) -> ActorCritic:
    return ActorCritic(F, A, hidden=16, generator=torch.Generator().manual_seed(seed))


def adam(made: ActorCritic) -> optim.Adam:
    return optim.Adam(made.parameters(), lr=1e-2, eps=1e-5, foreach=False)


def decisions(made: ActorCritic, *, seed: int = 0, count: int = N) -> Decisions:
    """Decisions of `made` in a bandit: arm 3 would pay most and is never legal, arm 1 is the best that is."""
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(count, F, generator=generator)
    masks = torch.tensor([True, True, True, False]).expand(count, A)
    log_probabilities = made.log_probabilities(observations, masks)
    actions = sample(log_probabilities, generator)
    rewards = torch.tensor([0.0, 1.0, 0.5, 9.0])[actions]
    return Decisions(
        observations=observations,
        masks=masks,
        actions=actions,
        log_probabilities=log_probabilities.gather(1, actions.unsqueeze(1)).squeeze(1),
        advantages=rewards - made.values(observations),
        value_targets=rewards,
    )


def parameters(made: ActorCritic) -> list[torch.Tensor]:
    return [p.detach().clone() for p in made.parameters()]


def run(made: ActorCritic, batch: Decisions, config: PPOConfig, *, progress: float = 0.0):
    order = torch.Generator().manual_seed(9)
    return update_policy(made, adam(made), batch, config, progress=progress, generator=order)


def test_the_first_ratio_is_one():
    """[R35] One step over the whole rollout sees no KL and clips nothing."""
    made = policy()
    report = run(made, decisions(made), PPOConfig(epochs=1, minibatch_size=N))
    assert report.approximate_kl == pytest.approx(0.0, abs=1e-6)
    assert report.clip_fraction == 0.0
    assert report.policy_loss == pytest.approx(0.0, abs=1e-5), "normalized advantages have mean 0"
    assert report.entropy == pytest.approx(math.log(3), abs=0.01), "uniform over three legal arms"


def test_a_masked_bandit_is_learned():
    """[R35] The best legal arm wins, the illegal one keeps probability 0, the critic knows the reward."""
    made = policy()
    optimizer, order = adam(made), torch.Generator().manual_seed(1)
    config = PPOConfig(learning_rate=1e-2, minibatch_size=32, kl_stop=0.2, entropy_start=0.0, entropy_end=0.0)
    for update in range(25):
        update_policy(made, optimizer, decisions(made, seed=update), config, progress=0.0, generator=order)
    last = decisions(made, seed=99)
    probabilities = made.log_probabilities(last.observations, last.masks).exp()
    assert float(probabilities[:, 1].mean()) > 0.9
    assert float(probabilities[:, 3].max()) == 0.0
    assert float((made.values(last.observations) - last.value_targets).abs().mean()) < 0.2


def test_the_learning_rate_and_the_entropy_bonus_fall_with_progress():
    """[R35] The rate linearly to 0; the bonus geometrically, or linearly where an end is 0."""
    made = policy()
    optimizer = adam(made)
    config = PPOConfig(epochs=1, learning_rate=4e-3)
    update_policy(made, optimizer, decisions(made), config, progress=0.75, generator=torch.Generator())
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)
    geometric = PPOConfig(entropy_start=0.01, entropy_end=0.0001)
    assert [geometric.entropy_weight(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.01, 0.001, 0.0001])
    linear = PPOConfig(entropy_start=0.01, entropy_end=0.0)
    assert [linear.entropy_weight(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.01, 0.005, 0.0])


def test_an_update_ends_after_the_epoch_that_passed_the_bound_on_kl():
    """[R35]"""
    loose, tight = policy(), policy()
    large = {"learning_rate": 5e-2, "epochs": 4, "minibatch_size": 16}
    assert run(loose, decisions(loose), PPOConfig(**large, kl_stop=1e9)).epochs == 4
    report = run(tight, decisions(tight), PPOConfig(**large, kl_stop=1e-4))
    assert report.epochs == 1
    assert report.approximate_kl > 1e-4


def test_the_order_of_minibatches_is_that_of_the_generator():
    """[R10]"""
    first, second, other = policy(), policy(), policy()
    config = PPOConfig(epochs=2, minibatch_size=16)
    batch = decisions(first)
    for made, seed in ((first, 1), (second, 1), (other, 2)):
        update_policy(made, adam(made), batch, config, progress=0.0, generator=torch.Generator().manual_seed(seed))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("term", "number"),
    [
        ("advantages", math.nan),
        ("advantages", math.inf),
        ("value_targets", math.nan),
        ("value_targets", -math.inf),
        ("observations", math.nan),
        ("log_probabilities", math.nan),
        ("log_probabilities", -math.inf),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_policy_as_it_was(term: str, number: float):
    """[R35] Every term is checked: the value loss alone may be the one that fails."""
    made = policy()
    batch = decisions(made)
    spoilt = getattr(batch, term).clone()
    spoilt[5] = number
    before = parameters(made)
    with pytest.raises(
        TrainingFailed, match=r"`update_policy` got the losses \{.*loss_critic.*\} and a gradient of norm"
    ):
        run(made, dataclasses.replace(batch, **{term: spoilt}), PPOConfig(minibatch_size=N))
    assert all(torch.equal(a, b) for a, b in zip(before, made.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"learning_rate": 0.0}, r"`ppo.learning_rate` is 0.0, wanted a positive number; correct the configuration"),
        ({"epochs": 0}, "`ppo.epochs` is 0, wanted a positive"),
        ({"minibatch_size": -1}, "`ppo.minibatch_size` is -1, wanted a positive"),
        ({"clip": math.nan}, "`ppo.clip` is nan, wanted a positive"),
        ({"kl_stop": 0.0}, "`ppo.kl_stop` is 0.0, wanted a positive"),
        ({"gradient_norm": 0.0}, "`ppo.gradient_norm` is 0.0, wanted a positive"),
        ({"hidden": 0}, "`ppo.hidden` is 0, wanted a positive"),
        ({"gamma": 1.1}, r"`ppo` got gamma 1.1 and gae_lambda 0.95, wanted both in \[0, 1\]; correct"),
        ({"gae_lambda": -0.1}, r"`ppo` got gamma 1.0 and gae_lambda -0.1, wanted both in \[0, 1\]"),
        ({"entropy_start": -0.1}, "`ppo` got entropy_start -0.1, entropy_end .* wanted weights of at least 0"),
        ({"rollbacks": -1}, "`ppo` got rollbacks -1 and collapse_entropy 0.01, wanted numbers of at least 0; correct"),
        ({"collapse_entropy": -0.1}, "`ppo` got rollbacks 2 and collapse_entropy -0.1, wanted numbers of at least 0"),
        ({"value_weight": -1.0}, "`ppo` got entropy_start .* and value_weight -1.0, wanted weights of at least 0"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, sentence: str):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=sentence):
        PPOConfig(**settings)


def test_a_failure_in_a_later_minibatch_takes_back_the_steps_before_it():
    """[R35] Minibatches before the one that failed have already moved the weights."""
    made = policy()
    batch = decisions(made)
    spoilt = batch.value_targets.clone()
    spoilt[5] = math.nan
    before = parameters(made)
    with pytest.raises(TrainingFailed):
        run(made, dataclasses.replace(batch, value_targets=spoilt), PPOConfig(minibatch_size=4))
    assert all(torch.equal(a, b) for a, b in zip(before, made.parameters(), strict=True))


STEPS, ENVIRONMENTS = 6, 16


def recalled(made: ActorCritic, seed: int) -> Decisions:
    """Play a game of memory: the cue is seen at the first step of an episode alone, and pays when repeated after it."""
    generator = torch.Generator().manual_seed(seed)
    cues = torch.randint(0, 2, (ENVIRONMENTS,), generator=generator)
    observations = torch.zeros(STEPS, ENVIRONMENTS, F)
    observations[0, torch.arange(ENVIRONMENTS), cues] = 1.0
    observations[1:, :, 2] = 1.0
    begins = torch.zeros(STEPS, ENVIRONMENTS, dtype=torch.bool)
    begins[0] = True
    memory, columns = made.empty_memory(ENVIRONMENTS), []
    masks = torch.tensor([True, True, False, False]).expand(ENVIRONMENTS, A)
    for step in range(STEPS):
        contexts, memory = made.look(observations[step], memory)
        logs = made.log_probabilities(contexts, masks)
        actions = sample(logs, generator)
        rewards = (actions == cues).float() if step else torch.zeros(ENVIRONMENTS)
        columns.append((actions, logs.gather(1, actions.unsqueeze(1)).squeeze(1), rewards, made.values(contexts)))
    actions, logs, rewards, values = (torch.cat(parts) for parts in zip(*columns, strict=True))
    return Decisions(
        observations=observations.flatten(0, 1),
        masks=masks.repeat(STEPS, 1),
        actions=actions,
        log_probabilities=logs,
        advantages=rewards - values,
        value_targets=rewards,
        sequences=Sequences(begins=begins, memory=made.empty_memory(ENVIRONMENTS)),
    )


def with_memory(memory: Memory) -> ActorCritic:
    return ActorCritic(F, A, hidden=16, memory=memory, generator=torch.Generator().manual_seed(0))


def share_recalled(memory: Memory) -> float:
    made, order = with_memory(memory), torch.Generator().manual_seed(1)
    optimizer, config = adam(made), PPOConfig(learning_rate=1e-2, minibatch_size=48, kl_stop=0.1, memory=memory)
    for update in range(30):
        update_policy(made, optimizer, recalled(made, update), config, progress=0.0, generator=order)
    last = recalled(made, 999)
    return float(last.value_targets[ENVIRONMENTS:].mean())


def test_a_memory_learns_what_was_seen_before_and_without_one_it_is_a_coin():
    """[R35]"""
    assert share_recalled(Memory.GRU) > 0.9
    assert 0.3 < share_recalled(Memory.NONE) < 0.7


def test_the_first_ratio_is_one_with_a_memory():
    """[R35] The sequences that are learned from are those that were acted."""
    made = with_memory(Memory.GRU)
    report = run(made, recalled(made, 0), PPOConfig(epochs=1, minibatch_size=STEPS * ENVIRONMENTS))
    assert report.approximate_kl == pytest.approx(0.0, abs=1e-6)
    assert report.clip_fraction == 0.0


def test_minibatches_of_a_memory_are_whole_sequences():
    """[R35] Of as many decisions as were asked for, at least one sequence; every decision once an epoch."""
    made, seen = with_memory(Memory.GRU), []
    batch, unroll = recalled(made, 0), made.unroll

    def watched(observations, begins, memory):
        seen.append((observations.shape[:2], begins[0].all().item()))
        return unroll(observations, begins, memory)

    made.unroll = watched
    for size, sequences in ((3 * STEPS + 1, 3), (2, 1)):
        seen.clear()
        run(made, batch, PPOConfig(epochs=1, minibatch_size=size))
        assert [shape[0] for shape, _ in seen] == [STEPS] * len(seen)
        assert sum(shape[1] for shape, _ in seen) == ENVIRONMENTS
        assert max(shape[1] for shape, _ in seen) == sequences
        assert all(begins for _, begins in seen)


def test_a_memory_without_sequences_is_refused():
    """[R37]"""
    made = with_memory(Memory.GRU)
    batch = dataclasses.replace(recalled(made, 0), sequences=None)
    with pytest.raises(InvalidArgument, match=r"`decisions` has no sequences, but the policy has a memory .* collect"):
        run(made, batch, PPOConfig())


def test_a_normalized_critic_learns_targets_of_any_scale_and_leaves_its_values_where_they_were():
    """[R23] Targets around 10,000 with a spread of 100: an unnormalized critic is nowhere near after the same steps."""
    errors = {}
    for normalize in (False, True):
        generator = torch.Generator().manual_seed(0)
        made = ActorCritic(F, A, hidden=16, normalize_values=normalize, generator=generator)
        optimizer, order = adam(made), torch.Generator().manual_seed(1)
        config = PPOConfig(learning_rate=1e-2, minibatch_size=32, kl_stop=1e9)
        for update in range(20):
            batch = decisions(made, seed=update)
            targets = 1e4 + 100 * batch.observations[:, 0]
            batch = dataclasses.replace(batch, advantages=torch.zeros(N), value_targets=targets)
            update_policy(made, optimizer, batch, config, progress=0.0, generator=order)
        last = decisions(made, seed=99)
        wanted = 1e4 + 100 * last.observations[:, 0]
        errors[normalize] = float((made.values(last.observations) - wanted).abs().mean())
    assert errors[True] < 30 < 3000 < errors[False]


def test_value_statistics_take_the_targets_in_once_and_the_loss_is_at_unit_scale():
    """[R23] [R24] Mean and population standard deviation of the targets, whatever the number of epochs."""
    generator = torch.Generator().manual_seed(0)
    made = ActorCritic(F, A, hidden=16, normalize_values=True, generator=generator)
    batch = decisions(made)
    batch = dataclasses.replace(batch, value_targets=500 + 40 * batch.observations[:, 0])
    report = run(made, batch, PPOConfig(epochs=3))
    assert made.value_normalizer is not None
    assert made.value_normalizer.statistics.mean.item() == pytest.approx(batch.value_targets.mean().item(), rel=1e-6)
    assert made.value_normalizer.scale.item() == pytest.approx(batch.value_targets.std(correction=0).item(), rel=1e-6)
    assert report.value_loss < 3, "a head that has learned nothing starts at unit scale"


def test_later_statistics_leave_the_values_of_the_critic_where_they_were():
    """[R23] A second rollout with targets elsewhere: before the first step on it the critic says what it said."""
    generator = torch.Generator().manual_seed(0)
    made = ActorCritic(F, A, hidden=16, normalize_values=True, generator=generator)
    batch = decisions(made)
    optimizer, config = adam(made), PPOConfig(epochs=1, minibatch_size=N)
    update_policy(made, optimizer, batch, config, progress=0.0, generator=torch.Generator())
    before = made.values(batch.observations)
    elsewhere = dataclasses.replace(batch, value_targets=50 + 7 * batch.value_targets)
    # at progress 1 the learning rate is 0: statistics move, weights do not
    update_policy(made, optimizer, elsewhere, config, progress=1.0, generator=torch.Generator())
    assert made.value_normalizer is not None
    assert made.value_normalizer.scale.item() > 10
    assert torch.allclose(made.values(batch.observations), before, atol=1e-4)


def test_later_statistics_rescale_the_moments_of_the_optimizer_with_the_head():
    """[R23] Twice the scale halves the head, and its first moment, which waits for a gradient in the same call."""
    generator = torch.Generator().manual_seed(0)
    made = ActorCritic(F, A, hidden=16, normalize_values=True, generator=generator)
    optimizer, batch = adam(made), decisions(made)
    config = PPOConfig(epochs=1, minibatch_size=N, value_weight=0.0)
    update_policy(made, optimizer, batch, config, progress=0.0, generator=torch.Generator())
    optimizer.state[made.value_head.weight]["exp_avg"].fill_(1.0)
    assert made.value_normalizer is not None
    before = made.value_normalizer.scale.item()
    wider = dataclasses.replace(batch, value_targets=10 * batch.value_targets)
    update_policy(made, optimizer, wider, config, progress=0.0, generator=torch.Generator())
    ratio = before / made.value_normalizer.scale.item()
    assert ratio < 0.5
    # without a value loss the gradient is 0 and Adam keeps 0.9 of the moment
    wanted = torch.full_like(made.value_head.weight, 0.9 * ratio)
    assert torch.allclose(optimizer.state[made.value_head.weight]["exp_avg"], wanted, atol=1e-5)


def test_an_update_that_is_taken_back_takes_value_statistics_and_optimizer_back_too():
    """[R35] [R23]"""
    generator = torch.Generator().manual_seed(0)
    made = ActorCritic(F, A, hidden=16, normalize_values=True, generator=generator)
    optimizer = adam(made)
    update_policy(made, optimizer, decisions(made), PPOConfig(), progress=0.0, generator=torch.Generator())
    before = copy.deepcopy((made.state_dict(), optimizer.state_dict()))
    batch = decisions(made)
    batch.value_targets[5] = math.nan
    with pytest.raises(TrainingFailed):
        update_policy(made, optimizer, batch, PPOConfig(minibatch_size=4), progress=0.5, generator=torch.Generator())
    after = (made.state_dict(), optimizer.state_dict())
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1]["param_groups"] == after[1]["param_groups"]
    for key, entries in before[1]["state"].items():
        assert all(torch.equal(entries[name], after[1]["state"][key][name]) for name in entries)
