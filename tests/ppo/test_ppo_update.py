"""The update: it learns, it stops, and it refuses numbers that are not finite.

N decisions, F fields, A actions.
"""

import dataclasses
import math

import pytest
import torch
from torch import optim

from accredit.errors import InvalidArgument, TrainingFailed
from accredit.ppo.policy import ActorCritic, sample
from accredit.ppo.config import PPOConfig
from accredit.ppo.update import Decisions, update_policy

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
