"""What Gymnasium's own tests of normalization demand, where they state the truth, and what they leave out."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.utils import RunningMeanStd as GymnasiumRunningMeanStd

from accredit.errors import InvalidArgument
from accredit.integrations.gymnasium import (
    NormalizeObservation,
    NormalizeReward,
    NormalizeVectorObservation,
    NormalizeVectorReward,
)
from accredit.integrations.running_statistics import take_over, take_over_sums
from accredit.normalize import RewardNormalizer, RunningMeanStd

LENGTH = 10
RETURN_STD = np.array([sum(0.99**k for k in range(step + 1)) for step in range(LENGTH)]).std()


class Counting(gymnasium.Env):
    """Episodes of ten steps of reward 1 that observe the step; they terminate or are truncated."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self, truncates: bool) -> None:
        self.truncates = truncates
        self.steps = 0

    def _observe(self) -> np.ndarray:
        return np.array([self.steps, 1e6 + self.steps], np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        ended = self.steps == LENGTH
        return self._observe(), 1.0, ended and not self.truncates, ended and self.truncates, {}


def vector(truncates: bool, mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: Counting(truncates)] * 3, autoreset_mode=mode)


@pytest.mark.parametrize("truncates", [False, True])
def test_return_std_of_a_single_environment(truncates: bool) -> None:
    """[R22] 2.732 however the episodes end."""
    env = NormalizeReward(Counting(truncates))
    for _ in range(20):
        env.reset()
        for _ in range(LENGTH):
            env.step(0)
    assert float(env.normalizer.statistics.std) == pytest.approx(RETURN_STD, rel=1e-12)
    assert pytest.approx(2.732, abs=5e-4) == RETURN_STD


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_return_std_of_a_vector_environment(truncates: bool, mode: AutoresetMode) -> None:
    """[R22] 2.732 in both autoreset modes: the call that only resets is no step."""
    env = NormalizeVectorReward(vector(truncates, mode))
    env.reset()
    for _ in range(20 * LENGTH + (19 if mode == AutoresetMode.NEXT_STEP else 0)):
        env.step(np.zeros(3, np.int64))
    assert float(env.normalizer.statistics.std) == pytest.approx(RETURN_STD, rel=1e-12)
    assert int(env.normalizer.statistics.count) == 20 * LENGTH * 3


def test_a_return_ends_where_the_episode_is_cut_by_reset() -> None:
    """[R22]"""
    env = NormalizeReward(Counting(False))
    env.reset()
    env.step(0)
    env.reset()
    env.step(0)
    assert float(env.normalizer.statistics.var) == 0.0


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_observation_statistics_are_those_of_every_observation(mode: AutoresetMode) -> None:
    """[R17] Terminal ones included, in both autoreset modes, at a mean of a million."""
    env = NormalizeVectorObservation(vector(False, mode))
    env.reset()
    for _ in range(5 * LENGTH + (4 if mode == AutoresetMode.NEXT_STEP else 0)):
        observations, *_, info = env.step(np.zeros(3, np.int64))
        assert env.observation_space.contains(observations)
    if mode == AutoresetMode.SAME_STEP:
        final = info["final_obs"][0]
        assert final.dtype == np.float32
        np.testing.assert_allclose(final, (LENGTH - env.statistics.mean[0]) / env.statistics.std[0], rtol=0.05)
    steps = np.tile(np.arange(LENGTH + 1.0), 5)
    extra = 1 if mode == AutoresetMode.SAME_STEP else 0
    truth = np.concatenate([steps, np.zeros(extra)])
    np.testing.assert_allclose(env.statistics.mean, [truth.mean(), 1e6 + truth.mean()], rtol=1e-12)
    np.testing.assert_allclose(env.statistics.std, [truth.std()] * 2, rtol=1e-7)


def test_single_observations_are_normalized_and_float32() -> None:
    """[R17] With statistics that the policy owns."""
    statistics = RunningMeanStd(2, clip=3.0)
    env = NormalizeObservation(Counting(False), statistics=statistics)
    first, _ = env.reset()
    assert first.tolist() == [0.0, 0.0]
    for _ in range(LENGTH):
        observation, *_ = env.step(0)
        assert env.observation_space.contains(observation)
    assert int(statistics.count) == LENGTH + 1
    assert statistics.mean[0] == pytest.approx(LENGTH / 2)


@pytest.mark.parametrize("wrap", [NormalizeObservation, NormalizeReward])
def test_statistics_can_be_frozen_by_the_switch_of_gymnasium(wrap) -> None:
    """[R28]"""
    env = wrap(Counting(False))
    env.update_running_mean = False
    env.reset()
    env.step(0)
    statistics = env.statistics if wrap is NormalizeObservation else env.normalizer.statistics
    assert int(statistics.count) == 0


def test_vector_statistics_can_be_frozen_and_partly_reset() -> None:
    """[R28] A partial reset takes in what was reset only."""
    env = NormalizeVectorObservation(vector(False, AutoresetMode.DISABLED))
    rewards = NormalizeVectorReward(env)
    rewards.reset()
    rewards.step(np.zeros(3, np.int64))
    rewards.reset(options={"reset_mask": np.array([True, False, False])})
    assert int(env.statistics.count) == 7
    assert rewards.normalizer.returns.tolist() == [0.0, 1.0, 1.0]
    env.update_running_mean = rewards.update_running_mean = False
    rewards.step(np.zeros(3, np.int64))
    assert int(env.statistics.count) == 7
    assert int(rewards.normalizer.statistics.count) == 3


def test_statistics_of_gymnasium_are_taken_over_without_their_phantom_sample() -> None:
    """[R18] Far from 0, where the phantom weighs 1e-4 * mean^2 / N."""
    rows = np.random.default_rng(0).normal(1000, 2, (50, 3))
    theirs = GymnasiumRunningMeanStd(shape=(3,))
    theirs.update(rows)
    ours = take_over(theirs)
    np.testing.assert_allclose(ours.mean, rows.mean(0), rtol=1e-9)
    np.testing.assert_allclose(ours.var, rows.var(0), rtol=1e-6)
    assert int(ours.count) == 50
    assert abs(theirs.var / rows.var(0) - 1).min() > 0.1
    assert int(take_over(GymnasiumRunningMeanStd(shape=(3,))).count) == 0


def test_sums_of_torchrl_are_taken_over() -> None:
    """[R17]"""
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = take_over_sums(rows.sum(0), rows.square().sum(0), 40)
    torch.testing.assert_close(ours.var, rows.var(0, correction=0), rtol=1e-12, atol=0)


REFUSALS = [
    (
        lambda: NormalizeObservation(gymnasium.make("FrozenLake-v1")),
        r"`env` has observations in Discrete\(16\), but only a Box has a mean; leave",
    ),
    (
        lambda: NormalizeObservation(Counting(False), statistics=RunningMeanStd(3)),
        r"`statistics` have shape \(3,\), but observations have shape \(2,\); build",
    ),
    (
        lambda: NormalizeVectorReward(vector(False, AutoresetMode.NEXT_STEP), normalizer=RewardNormalizer(2)),
        r"`normalizer` is for 2 environments, but there are 3; build one with",
    ),
    (
        lambda: take_over(SimpleNamespace(mean=0.0, var=1.0, count=0.5), initial_count=1.0),
        r"`statistics` has a count of 0.5, but it began with 1.0; pass the initial_count",
    ),
    (lambda: take_over_sums(torch.ones(1), torch.ones(1), 0), r"`count` is 0, but sums of nothing have no mean; pass"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_what_does_not_fit_is_refused(call, message: str) -> None:
    """[R21] [R37]"""
    with pytest.raises(InvalidArgument, match=message):
        call()
