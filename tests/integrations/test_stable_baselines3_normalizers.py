"""What Stable-Baselines3's own tests of VecNormalize demand, where they state the truth."""

import copy
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

sb3 = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed (extra sb3)")

from stable_baselines3.common.vec_env import DummyVecEnv, sync_envs_normalization  # noqa: E402 - after the skip
from stable_baselines3.common.vec_env import VecNormalize as TheirVecNormalize  # noqa: E402

from accredit.errors import StateMismatch  # noqa: E402
from accredit.integrations.stable_baselines3 import VecNormalize  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
LENGTH = 10


class Counting(gymnasium.Env):
    """Episodes of ten steps of reward 1, truncated, that observe noise about a large mean."""

    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, keys: bool = False) -> None:
        box = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.keys = keys
        self.observation_space = spaces.Dict({"a": box, "b": box}) if keys else box

    def _observe(self):
        one = self.np_random.normal(1e6, 2.0, 2)
        return {"a": one, "b": one * 2} if self.keys else one

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        return self._observe(), 1.0, False, self.steps == LENGTH, {}


def make(keys: bool = False, n_envs: int = 2, **settings) -> VecNormalize:
    venv = DummyVecEnv([lambda: Counting(keys)] * n_envs)
    venv.seed(0)
    return VecNormalize(venv, **settings)


def run(env: VecNormalize, n_steps: int) -> list:
    env.reset()
    return [env.step(np.zeros((env.num_envs, 1))) for _ in range(n_steps)]


def test_observations_have_mean_0_and_std_1_and_originals_are_kept() -> None:
    """[R17]"""
    env = make()
    steps = run(env, 400)
    late = np.concatenate([observations for observations, *_ in steps[200:]])
    assert late.dtype == np.float32
    assert np.abs(late.mean(0)).max() < 0.2
    assert np.abs(late.std(0) - 1).max() < 0.2
    assert env.get_original_obs().min() > 9e5
    assert env.get_original_reward().tolist() == [1.0, 1.0]
    np.testing.assert_allclose(env.unnormalize_obs(env.normalize_obs(env.get_original_obs())), env.old_obs, rtol=1e-7)


def test_return_std_is_that_of_ten_step_episodes() -> None:
    """[R22] 2.732, and rewards are scaled by it."""
    env = make()
    rewards = run(env, 50 * LENGTH)[-1][1]
    assert float(env.ret_rms.std) == pytest.approx(2.732, abs=5e-4)
    assert rewards.dtype == np.float32
    np.testing.assert_allclose(rewards, 1 / 2.732, rtol=2e-3)
    np.testing.assert_allclose(env.unnormalize_reward(rewards), 1.0, rtol=1e-6)


def test_terminal_observations_are_normalized() -> None:
    """[R17]"""
    env = make()
    infos = [info for *_, infos in run(env, 30) for info in infos if "terminal_observation" in info]
    assert len(infos) == 6
    assert all(np.abs(info["terminal_observation"]).max() <= 10 for info in infos)


def test_nothing_moves_outside_training() -> None:
    """[R28]"""
    env = make(training=False)
    run(env, 5)
    assert int(env.obs_rms.count) == 0
    assert int(env.ret_rms.count) == 0


def test_switches_leave_observations_or_rewards_alone() -> None:
    """[R37]"""
    observations, rewards, *_ = run(make(norm_obs=False, norm_reward=False), 20)[-1]
    assert observations.min() > 9e5
    assert rewards.tolist() == [1.0, 1.0]


def test_only_the_keys_that_are_named_are_normalized() -> None:
    """[R37]"""
    observations, *_ = run(make(True, norm_obs_keys=["a"]), 20)[-1]
    assert np.abs(observations["a"]).max() <= 10
    assert observations["b"].min() > 1e6


@pytest.mark.parametrize("keys", [False, True])
def test_saving_and_loading_keeps_statistics_and_settings(keys: bool, tmp_path: Path) -> None:
    """[R26] Without pickle: the file loads with weights only. Around another number of environments too."""
    env = make(keys, clip_obs=3.0, gamma=0.9)
    run(env, 40)
    env.save(tmp_path / "statistics.pt")
    torch.load(tmp_path / "statistics.pt", weights_only=True)
    again = VecNormalize.load(tmp_path / "statistics.pt", DummyVecEnv([lambda: Counting(keys)] * 5))
    original = env.get_original_obs()
    for one, other in zip(
        env.normalize_obs(original).values() if keys else [env.normalize_obs(original)],
        again.normalize_obs(original).values() if keys else [again.normalize_obs(original)],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert (again.gamma, again.clip_obs) == (0.9, 3.0)
    assert torch.equal(again.rewards.scale, env.rewards.scale)
    assert again.rewards.num_envs == 5


def test_a_file_of_other_keys_is_refused(tmp_path: Path) -> None:
    """[R26]"""
    make(True, norm_obs_keys=["a"]).save(tmp_path / "statistics.pt")
    saved = torch.load(tmp_path / "statistics.pt", weights_only=True)
    saved["settings"]["norm_obs_keys"] = ["a", "b"]
    torch.save(saved, tmp_path / "statistics.pt")
    with pytest.raises(StateMismatch, match=r"holds statistics of \['a'\], but the environment has \['a', 'b'\]; load"):
        VecNormalize.load(tmp_path / "statistics.pt", DummyVecEnv([lambda: Counting(True)]))


def test_evaluation_environments_get_the_statistics() -> None:
    """[R26] As Stable-Baselines3's evaluation callback copies them."""
    env, evaluation = make(), make(training=False)
    run(env, 30)
    sync_envs_normalization(env, evaluation)
    assert torch.equal(evaluation.obs_rms.moments, env.obs_rms.moments)
    run(env, 5)
    assert not torch.equal(evaluation.obs_rms.moments, env.obs_rms.moments)


def test_algorithms_find_the_wrapper_and_train() -> None:
    """[R37] On policy, and off policy with a replay buffer of original observations."""
    env = make()
    model = sb3.PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1)
    model.learn(32)
    assert model.get_vec_normalize_env() is env
    env = make(n_envs=1)
    model = sb3.SAC("MlpPolicy", env, learning_starts=8, buffer_size=64)
    model.learn(20)
    assert model.replay_buffer.observations[:5].min() > 9e5
    assert isinstance(env, TheirVecNormalize)


def test_a_copy_without_environment_can_be_put_around_one() -> None:
    """[R26] As SB3 does when a wrapper travels alone."""
    env = make()
    run(env, 20)
    state = env.__getstate__()
    alone = VecNormalize.__new__(VecNormalize)
    alone.__setstate__(copy.deepcopy(state))
    alone.set_venv(DummyVecEnv([lambda: Counting()] * 3))
    run(alone, 3)
    assert alone.rewards.num_envs == 3
    assert int(alone.ret_rms.count) == 20 * 2 + 3 * 3
