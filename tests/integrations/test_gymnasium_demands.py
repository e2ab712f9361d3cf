"""What the tests of Gymnasium demand of its normalization wrappers, asked of ours, where they state the truth.

The table in docs/normalization.md says which demand is held by which test, and which ones are refused.
"""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import Autoreset

from accredit.errors import InvalidArgument
from accredit.integrations.gymnasium import (
    NormalizeObservation,
    NormalizeReward,
    NormalizeVectorObservation,
    NormalizeVectorReward,
)

BOX = spaces.Box(np.array([0, -10, -5], np.float32), np.array([10, -5, 10], np.float32))
CENTRES, SPREADS = np.array([5, -7.5, 2.5]), np.array([10, 5, 15]) / np.sqrt(12)
"""Mean and standard deviation of uniform numbers over the box, by the formula of the uniform distribution."""
PAYDAY = 10


class Uniform(gymnasium.Env):
    """Observes uniform numbers; episodes of ten steps are paid 1 at their end."""

    observation_space = BOX
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def _observe(self) -> np.ndarray:
        return self.np_random.uniform(BOX.low, BOX.high).astype(np.float32)

    def step(self, action):
        self.steps += 1
        ended = self.steps == PAYDAY
        return self._observe(), float(ended), ended, False, {}


class Paying(Uniform):
    """Rewards 1, 2, 3, 4 in turn."""

    def step(self, action):
        observation, _, _, truncated, info = super().step(action)
        return observation, float(self.steps), self.steps == 4, truncated, info


def vector(n_envs: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> SyncVectorEnv:
    return SyncVectorEnv([Uniform] * n_envs, autoreset_mode=mode)


def actions(env) -> np.ndarray:
    return np.zeros(env.num_envs, np.int64)


def test_observations_of_a_uniform_box_come_out_with_mean_0_and_variance_1() -> None:
    """[R17] After 1000 steps, over the next 1000; 0.15 is more than four standard errors of either."""
    env = NormalizeObservation(Autoreset(Uniform()))
    env.reset(seed=1)
    late = np.array([env.step(0)[0] for _ in range(2000)])[1000:]
    assert late.dtype == np.float32
    np.testing.assert_allclose(late.mean(0), 0.0, atol=0.15)
    np.testing.assert_allclose(late.var(0), 1.0, atol=0.15)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_observations_of_a_vector_environment_come_out_with_mean_0_and_variance_1(mode: AutoresetMode) -> None:
    """[R17] Gymnasium's own refuses SAME_STEP."""
    env = NormalizeVectorObservation(vector(4, mode))
    env.reset(seed=1)
    late = np.array([env.step(actions(env))[0] for _ in range(500)])[250:]
    np.testing.assert_allclose(late.mean((0, 1)), 0.0, atol=0.15)
    np.testing.assert_allclose(late.var((0, 1)), 1.0, atol=0.15)


def test_single_and_vector_statistics_agree_with_the_distribution() -> None:
    """[R17] Not only with each other; the bounds are five standard errors."""
    single, several = NormalizeObservation(Autoreset(Uniform())), NormalizeVectorObservation(vector(3))
    single.reset(seed=2)
    several.reset(seed=3)
    for _ in range(1200):
        single.step(0)
    for _ in range(400):
        several.step(actions(several))
    for statistics in (single.obs_rms, several.obs_rms):
        np.testing.assert_allclose((statistics.mean.numpy() - CENTRES) / SPREADS, 0.0, atol=0.15)
        np.testing.assert_allclose(statistics.std.numpy() / SPREADS, 1.0, atol=0.08)


@pytest.mark.parametrize("wrap", [NormalizeObservation, NormalizeVectorObservation])
def test_observation_statistics_move_stop_and_move_again(wrap) -> None:
    """[R28] By the switch, which is on at first."""
    env = wrap(Uniform() if wrap is NormalizeObservation else vector(2))
    action = 0 if wrap is NormalizeObservation else actions(env)
    assert env.update_running_mean
    env.reset(seed=4)
    after = []
    for switch in (True, False, True):
        env.update_running_mean = switch
        env.step(action)
        after.append((env.obs_rms.mean.numpy(), env.obs_rms.var.numpy()))
    np.testing.assert_array_equal(after[0], after[1])
    assert (after[1][0] != after[2][0]).all()
    assert (after[1][1] != after[2][1]).all()


@pytest.mark.parametrize("wrap", [NormalizeReward, NormalizeVectorReward])
def test_return_statistics_move_stop_and_move_again(wrap) -> None:
    """[R28]"""
    env = wrap(Paying() if wrap is NormalizeReward else SyncVectorEnv([Paying] * 2))
    action = 0 if wrap is NormalizeReward else actions(env)
    assert env.update_running_mean
    env.reset(seed=4)
    after = []
    for switch in (True, False, True):
        env.update_running_mean = switch
        env.step(action)
        after.append(float(env.return_rms.mean))
    assert after[0] == after[1] == 1.0
    # the return stands still with the statistics: 1, then .99 + 3
    assert after[2] == pytest.approx((1 + 0.99 + 3) / 2, rel=1e-12)


def test_mean_return_is_that_of_the_returns_so_far() -> None:
    """[R22] 1, then (1 + (2 + .99)) / 2, exactly: no phantom sample to be tolerant of."""
    env = NormalizeReward(Paying())
    env.reset()
    env.step(0)
    assert float(env.return_rms.mean) == 1.0
    env.step(0)
    assert float(env.return_rms.mean) == pytest.approx((1 + 2.99) / 2, rel=1e-15)


def test_a_reward_is_a_number_without_axes() -> None:
    """[R22]"""
    env = NormalizeReward(Uniform())
    env.reset()
    assert np.ndim(env.step(0)[1]) == 0


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_payday_is_scaled_by_the_deviation_of_the_returns(mode: AutoresetMode) -> None:
    """[R22] Returns are nine times 0 and once 1, deviation 0.3; Gymnasium's 1.33 has them go on past the end."""
    env = NormalizeVectorReward(vector(3, mode))
    env.reset()
    rewards = np.concatenate([env.step(actions(env))[1] for _ in range(40 * (PAYDAY + 1))])
    assert rewards.max() > 0
    assert float(env.return_rms.std) == pytest.approx(0.3, rel=2e-3)
    assert rewards[-3 * PAYDAY * 2 :].max() == pytest.approx(1 / 0.3, rel=1e-2)


def test_single_environment_that_resets_itself_has_the_return_statistics_of_the_vector_one() -> None:
    """[R22] Autoreset's call that only resets is no step there either."""
    single, several = NormalizeReward(Autoreset(Uniform())), NormalizeVectorReward(vector(3))
    single.reset()
    several.reset()
    for _ in range(11 * 10):
        single.step(0)
        several.step(actions(several))
    assert int(single.return_rms.count) == 100
    assert float(single.return_rms.var) == pytest.approx(0.09, rel=1e-12)
    assert float(several.return_rms.var) == pytest.approx(0.09, rel=1e-12)


def test_images_in_a_vector_environment_are_normalized() -> None:
    """[R17] Grey images of unsigned bytes, wrapped before they are put together."""

    class Camera(Uniform):
        observation_space = spaces.Box(0, 255, (12, 12), np.uint8)

        def _observe(self) -> np.ndarray:
            return self.np_random.integers(0, 256, (12, 12), np.uint8)

    envs = SyncVectorEnv([lambda: NormalizeObservation(Camera())] * 4)
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (4, 12, 12)
    for _ in range(5):
        observations, *_ = envs.step(actions(envs))
    assert observations.dtype == np.float32
    assert 0.5 < observations.std() < 1.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NormalizeObservation(Uniform(), 0.0), r"`epsilon` is 0.0, but it is a floor on the variance; pass"),
        (lambda: NormalizeVectorObservation(vector(2), -1.0), r"`epsilon` is -1.0, but it is a floor"),
        (lambda: NormalizeReward(Uniform(), 1.5), r"`gamma` is 1.5, but a discount lies in \[0, 1\]; pass"),
        (lambda: NormalizeReward(Uniform(), 0.9, 0.0), r"`epsilon` is 0.0, but it is a floor"),
        (lambda: NormalizeVectorReward(vector(2), -0.1), r"`gamma` is -0.1, but a discount lies in"),
        (lambda: NormalizeVectorReward(vector(2), 0.9, 0.0), r"`epsilon` is 0.0, but it is a floor"),
    ],
)
def test_settings_out_of_range_are_refused_in_gymnasiums_places(build, message: str) -> None:
    """[R37] gamma and epsilon by position."""
    with pytest.raises(InvalidArgument, match=message):
        build()


def test_settings_are_taken_from_gymnasiums_places() -> None:
    """[R37]"""
    assert NormalizeObservation(Uniform(), 0.5).statistics.epsilon == 0.5
    assert NormalizeVectorObservation(vector(2), 0.5).statistics.epsilon == 0.5
    for env in (NormalizeReward(Uniform(), 0.8, 0.5), NormalizeVectorReward(vector(2), 0.8, 0.5)):
        assert (env.normalizer.gamma, env.normalizer.epsilon) == (0.8, 0.5)
