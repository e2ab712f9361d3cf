"""Known answers of RewardNormalizer."""

import math

import numpy as np
import pytest
import torch

from accredit.errors import InvalidArgument, StateMismatch
from accredit.normalize import RewardNormalizer


def returns_of_episodes(length: int, gamma: float) -> np.ndarray:
    return np.array([sum(gamma**k for k in range(step + 1)) for step in range(length)])


@pytest.mark.parametrize("num_envs", [1, 3])
def test_ten_step_episodes_have_a_return_std_of_2_732(num_envs: int) -> None:
    """[R22] 2.732 by enumeration; a return that never restarts has 15.5 or so."""
    truth = returns_of_episodes(10, 0.99).std()
    assert truth == pytest.approx(2.732, abs=5e-4)
    normalizer = RewardNormalizer(num_envs)
    for step in range(500):
        normalizer.update_and_normalize(torch.ones(num_envs), torch.full((num_envs,), step % 10 == 9))
    assert float(normalizer.statistics.std) == pytest.approx(truth, rel=1e-12)
    assert float(normalizer.normalize(1.0)) == pytest.approx(1 / truth, rel=2e-3)


def test_each_environment_restarts_its_own_return() -> None:
    """[R22] By hand: the value at step t includes step t, and done is cleared after use."""
    normalizer = RewardNormalizer(2, gamma=0.5)
    normalizer.update_and_normalize(torch.tensor([1.0, 2.0]), torch.tensor([True, False]))
    normalizer.update_and_normalize(torch.tensor([3.0, 4.0]), torch.tensor([False, False]))
    assert normalizer.returns.tolist() == [3.0, 5.0]
    assert float(normalizer.statistics.mean) == (1 + 2 + 3 + 5) / 4


def test_first_rewards_come_out_as_they_are() -> None:
    """[R22] One environment at gamma .99: 1, 1, 1 gives 1, 1, 1."""
    normalizer = RewardNormalizer(gamma=0.99)
    assert [normalizer.update_and_normalize(1.0, False) for _ in range(3)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("reward", [1.0, 0.1, -3.3, 1e6])
@pytest.mark.parametrize("num_envs", [1, 7])
def test_constant_rewards_stay_as_they_are_for_ever_at_gamma_zero(reward: float, num_envs: int) -> None:
    """[R22] Also those that no binary fraction holds, whose mean is rounded."""
    normalizer = RewardNormalizer(num_envs, gamma=0.0, clip=1e9)
    rewards = torch.full((num_envs,), reward, dtype=torch.float64)
    for _ in range(300):
        scaled = normalizer.update_and_normalize(rewards, torch.zeros(num_envs, dtype=torch.bool))
        assert torch.equal(scaled, rewards)


def test_raw_rewards_are_clipped_before_the_scale_is_known() -> None:
    """[R22]"""
    assert RewardNormalizer(clip=2.0).update_and_normalize(50.0, False) == 2.0


def test_no_mean_is_subtracted() -> None:
    """[R22] Rewards of one sign keep it."""
    normalizer = RewardNormalizer(4, gamma=0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        scaled = normalizer.update_and_normalize(5 + torch.rand(4, generator=generator), torch.zeros(4) > 0)
    assert (scaled > 0).all()


def test_scale_at_gamma_zero_is_the_sample_deviation_of_the_rewards() -> None:
    """[R22] [R24] With n - 1: 20 rewards are few enough to see the difference."""
    rewards = np.random.default_rng(1).normal(3, 2, 20)
    normalizer = RewardNormalizer(gamma=0.0)
    for reward in rewards:
        last = normalizer.update_and_normalize(float(reward), False)
    assert last == pytest.approx(rewards[-1] / rewards.std(ddof=1), rel=1e-12)


def test_a_gradient_free_float32_batch_stays_float32() -> None:
    """[R22]"""
    normalizer = RewardNormalizer(3)
    assert normalizer.update_and_normalize(torch.ones(3), torch.zeros(3, dtype=torch.bool)).dtype == torch.float32
    assert normalizer.update_and_normalize(torch.ones(3, dtype=torch.int64), torch.zeros(3) > 0).dtype == torch.float32
    assert isinstance(RewardNormalizer().update_and_normalize(1.0, True), float)


@pytest.mark.parametrize(("bad", "out"), [(math.nan, 0.0), (math.inf, 10.0), (-math.inf, -10.0)])
def test_a_bad_reward_moves_nothing_but_the_tally(bad: float, out: float) -> None:
    """[R25] The other environment's return and the statistics are those without it."""
    normalizer, other = RewardNormalizer(2), RewardNormalizer(1)
    go_on = torch.zeros(2, dtype=torch.bool)
    for step in range(30):
        other.update_and_normalize(torch.tensor([float(step)]), go_on[:1])
        scaled = normalizer.update_and_normalize(torch.tensor([float(step), bad]), go_on)
    assert scaled[1].item() == out
    assert torch.equal(normalizer.statistics.moments, other.statistics.moments)
    assert normalizer.returns[1].item() == 0.0
    assert int(normalizer.statistics.dropped) == 30


def test_a_bad_reward_does_not_end_the_return_it_interrupts() -> None:
    """[R25] It counts as a step without a reward."""
    normalizer = RewardNormalizer(gamma=0.5)
    for reward in (4.0, math.nan, 1.0):
        normalizer.update_and_normalize(reward, False)
    assert normalizer.returns.item() == 2.0
    assert int(normalizer.statistics.count) == 2


def test_an_environment_that_took_no_step_is_left_alone() -> None:
    """[R22] Its return waits, and what came with the call is no sample."""
    normalizer = RewardNormalizer(2, gamma=0.5)
    go_on = torch.zeros(2, dtype=torch.bool)
    normalizer.update_and_normalize(torch.tensor([1.0, 4.0]), go_on)
    normalizer.update_and_normalize(torch.tensor([1.0, 9.0]), ~go_on, mask=torch.tensor([True, False]))
    assert normalizer.returns.tolist() == [0.0, 4.0]
    assert float(normalizer.statistics.mean) == (1 + 4 + 1.5) / 3
    assert int(normalizer.statistics.masked) == 1


def test_eval_mode_and_freezing_stop_statistics_and_returns() -> None:
    """[R28]"""
    normalizer = RewardNormalizer()
    normalizer.update_and_normalize(1.0, False)
    for still in (normalizer.eval(), normalizer.train().freeze()):
        still.update_and_normalize(5.0, False)
        assert normalizer.returns.item() == 1.0
        assert int(normalizer.statistics.count) == 1
    normalizer.freeze(False).update_and_normalize(1.0, False)
    assert int(normalizer.statistics.count) == 2


def test_returns_restart_on_request() -> None:
    """[R22] All, or those named."""
    normalizer = RewardNormalizer(2)
    normalizer.update_and_normalize(torch.tensor([1.0, 2.0]), torch.zeros(2) > 0)
    normalizer.reset_returns(torch.tensor([True, False]))
    assert normalizer.returns.tolist() == [0.0, 2.0]
    normalizer.reset_returns()
    assert normalizer.returns.tolist() == [0.0, 0.0]


def test_running_returns_are_in_the_state() -> None:
    """[R26] A run that goes on from a state scales as the one that was never stopped, bit for bit."""
    generator = torch.Generator().manual_seed(2)
    rewards, dones = torch.randn(60, 4, generator=generator), torch.rand(60, 4, generator=generator) < 0.1
    whole = RewardNormalizer(4)
    expected = [whole.update_and_normalize(r, d) for r, d in zip(rewards, dones, strict=True)]
    first, second = RewardNormalizer(4), RewardNormalizer(4)
    for step in range(25):
        first.update_and_normalize(rewards[step], dones[step])
    second.load_state_dict(first.state_dict())
    for step in range(25, 60):
        assert torch.equal(second.update_and_normalize(rewards[step], dones[step]), expected[step])


def test_state_of_another_gamma_or_number_of_environments_is_refused() -> None:
    """[R26]"""
    with pytest.raises(StateMismatch, match=r"gamma 0.9 against 0.99; shape \(3,\) against \(2,\)"):
        RewardNormalizer(2).load_state_dict(RewardNormalizer(3, gamma=0.9).state_dict())


GO_ON = torch.zeros(2, dtype=torch.bool)
REFUSALS = [
    (
        lambda n: n.update_and_normalize(torch.ones(3), torch.zeros(3) > 0),
        r"`reward` has shape \(3,\), but there are 2 env",
    ),
    (
        lambda n: n.update_and_normalize(torch.ones(2), torch.zeros(3) > 0),
        r"`done` has shape \(3,\), but there are 2 env",
    ),
    (
        lambda n: n.update_and_normalize(1.0, False),
        r"`reward` has shape \(1,\), but there are 2 environments; pass shape",
    ),
    (
        lambda n: n.update_and_normalize(torch.ones(2), torch.zeros(2)),
        r"`done` has dtype torch.float32, but an episode",
    ),
    (lambda n: n.update_and_normalize(torch.ones(2, dtype=torch.cfloat), GO_ON), r"`reward` has dtype torch.complex64"),
    (lambda n: n.update_and_normalize(torch.ones(2, device="meta"), GO_ON), r"`reward` is on meta, but the statistics"),
    (
        lambda n: n.update_and_normalize(torch.ones(2), GO_ON.to("meta")),
        r"`done` is on meta, but the statistics are on cpu",
    ),
    (lambda n: n.normalize(torch.ones(2, dtype=torch.bool)), r"`reward` has dtype torch.bool"),
    (
        lambda n: n.update_and_normalize(torch.ones(2), GO_ON, mask=torch.ones(2)),
        r"`mask` has dtype torch.float32 and shape",
    ),
    (lambda n: RewardNormalizer(0), r"`num_envs` is 0, but a reward comes from an environment; pass at least 1"),
    (lambda n: RewardNormalizer(gamma=1.1), r"`gamma` is 1.1, but a discount lies in \[0, 1\]; pass"),
    (lambda n: RewardNormalizer(gamma=-0.1), r"`gamma` is -0.1, but a discount lies in \[0, 1\]; pass"),
    (lambda n: RewardNormalizer(clip=-1.0), r"`clip` is -1.0, but it bounds a magnitude"),
    (lambda n: RewardNormalizer(horizon=0.0), r"`horizon` is 0.0, but it counts samples"),
    (
        lambda n: RewardNormalizer(min_effective_count=1.0),
        r"`min_effective_count` is 1.0, but one sample has no variance",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_bad_reward_input_is_refused_with_both_sides_named(call, message: str) -> None:
    """[R21] [R37]"""
    normalizer = RewardNormalizer(2)
    with pytest.raises(InvalidArgument, match=message):
        call(normalizer)
    assert int(normalizer.statistics.count) == 0
