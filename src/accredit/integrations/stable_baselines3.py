"""Stable-Baselines3's VecNormalize over our normalizers; extra `sb3`.

A subclass, because Stable-Baselines3 finds the wrapper by its class: replay buffers keep original observations and
normalize what they sample, evaluation callbacks copy the statistics, `model.get_vec_normalize_env()` returns it.

Differences to theirs, each because theirs is wrong or unsafe: no phantom sample; float64 about the running mean;
epsilon is a floor, not an addition; a NaN row is left out and counted; rewards are scaled by the sample deviation, and
not before ten samples; files hold tensors and plain types, and loading one executes nothing.

Axes: E environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from os import PathLike
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.errors import MissingExtra, StateMismatch
from accredit.integrations.running_statistics import as_floats, as_tensor, take_over
from accredit.normalize.checks import check_settings
from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.reward import RewardNormalizer

try:
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env import VecNormalize as TheirVecNormalize
except ImportError as error:
    raise MissingExtra(
        "`accredit.integrations.stable_baselines3` needs the package stable-baselines3, which is not installed; "
        "install the extra `sb3`: pip install 'accredit[sb3]'."
    ) from error

Observation: TypeAlias = NDArray[Any] | dict[str, NDArray[Any]]

_SETTINGS = (
    "training",
    "norm_obs",
    "norm_reward",
    "clip_obs",
    "clip_reward",
    "gamma",
    "epsilon",
    "norm_obs_keys",
)


class VecNormalize(TheirVecNormalize):  # type: ignore[misc]
    """Normalized observations and scaled rewards of a VecEnv, with the arguments, their order, and the reach of theirs.

    `obs_rms` is a `RunningMeanStd` (or a dictionary of them), `ret_rms` the one of the discounted return, `rewards` the
    `RewardNormalizer` that it belongs to. As in theirs, terminal observations are normalized but not taken in; clip,
    epsilon and gamma are the wrapper's, whatever statistics are put into it: set `env.clip_obs` to change a bound.

    Args:
        venv: the vector environment.
        training: whether statistics move.
        norm_obs: whether observations are normalized.
        norm_reward: whether rewards are scaled.
        clip_obs: bound of observations.
        clip_reward: bound of rewards.
        gamma: discount.
        epsilon: floor on the variance of observations; variance of the return up to which it counts as constant.
        norm_obs_keys: entries of a dictionary observation to normalize; None for all.

    Raises:
        ValueError: from theirs: observations that are neither a Box nor a dictionary of them, or keys without one.
        InvalidArgument: a clip, gamma or epsilon out of range.

    Example:
        >>> import gymnasium
        >>> from stable_baselines3.common.vec_env import DummyVecEnv
        >>> env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 2))
        >>> observations = env.reset()
        >>> observations.dtype, int(env.obs_rms.count)
        (dtype('float32'), 2)
    """

    def __init__(
        self,
        venv: VecEnv,
        training: bool = True,
        norm_obs: bool = True,
        norm_reward: bool = True,
        clip_obs: float = 10.0,
        clip_reward: float = 10.0,
        gamma: float = 0.99,
        epsilon: float = 1e-8,
        norm_obs_keys: list[str] | None = None,
    ) -> None:
        super().__init__(
            venv,
            training=training,
            norm_obs=norm_obs,
            norm_reward=norm_reward,
            clip_obs=clip_obs,
            clip_reward=clip_reward,
            gamma=gamma,
            epsilon=epsilon,
            norm_obs_keys=norm_obs_keys,
        )
        if norm_obs:
            spaces = venv.observation_space
            keys = self.norm_obs_keys
            # `_parts` gives them the clip and epsilon of the wrapper
            over = {key: RunningMeanStd(spaces[key].shape) for key in keys or ()}
            self.obs_rms = over or RunningMeanStd(spaces.shape)
        check_settings(horizon=None, clip=clip_obs, epsilon=epsilon)
        self.rewards = _reward_normalizer(self)
        # a view: what theirs calls by this name
        self.returns = self.rewards.returns.numpy()

    @property
    def ret_rms(self) -> RunningMeanStd:
        """Statistics of the discounted return."""
        return self.rewards.statistics

    @ret_rms.setter
    def ret_rms(self, statistics: object) -> None:
        # their constructor puts one of its own here, which `rewards` then takes the place of
        if isinstance(statistics, RunningMeanStd):
            self.rewards.statistics = statistics

    def _current_rewards(self) -> RewardNormalizer:
        rewards = self.rewards
        rewards.gamma, rewards.clip, rewards.epsilon = self.gamma, self.clip_reward, self.epsilon
        rewards.statistics.clip, rewards.statistics.epsilon = self.clip_reward, self.epsilon
        return rewards

    def step_wait(self) -> tuple[Observation, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step, take in, normalize."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.old_obs, self.old_reward = observations, rewards
        self._take_in(observations)
        if self.training:
            ended = as_tensor(np.asarray(dones, bool))
            self._current_rewards().update_and_normalize(as_tensor(rewards), ended)
        for index in np.flatnonzero(dones):
            if "terminal_observation" in infos[index]:
                infos[index]["terminal_observation"] = self.normalize_obs(infos[index]["terminal_observation"])
        return self.normalize_obs(observations), self.normalize_reward(rewards), dones, infos

    def reset(self) -> Observation:
        """Reset all environments, begin new returns, take in and normalize the first observations."""
        observations: Observation = self.venv.reset()
        self.old_obs = observations
        self.rewards.reset_returns()
        self._take_in(observations)
        return self.normalize_obs(observations)

    def _take_in(self, observations: Observation) -> None:
        if self.training and self.norm_obs:
            for key, statistics in self._parts().items():
                statistics.update(as_tensor(observations[key] if isinstance(observations, dict) else observations))

    def _parts(self) -> Mapping[str, RunningMeanStd]:
        """Statistics by key of the observation; the key is empty where an observation is one array."""
        if not self.norm_obs:
            return {}
        parts = self.obs_rms if isinstance(self.obs_rms, dict) else {"": self.obs_rms}
        for statistics in parts.values():
            statistics.clip, statistics.epsilon = self.clip_obs, self.epsilon
        return parts

    def normalize_obs(self, obs: Observation) -> Observation:
        """Observations as standard scores, float32, by the statistics as they are; with or without a batch axis."""
        return self._each(obs, lambda x, statistics: as_floats(statistics.normalize(x)))

    def unnormalize_obs(self, obs: Observation) -> Observation:
        """Observations in their original unit; what was clipped stays clipped."""
        return self._each(obs, lambda x, statistics: statistics.denormalize(x.double()).numpy())

    def _each(self, obs: Observation, transform: Callable[[Tensor, RunningMeanStd], NDArray[Any]]) -> Observation:
        parts = self._parts()
        if isinstance(obs, dict):
            return {key: transform(as_tensor(x), parts[key]) if key in parts else deepcopy(x) for key, x in obs.items()}
        return transform(as_tensor(obs), parts[""]) if parts else deepcopy(obs)

    def normalize_reward(self, reward: NDArray[Any]) -> NDArray[np.float32]:
        """Scale rewards by the statistics as they are; float32."""
        # a copy where nothing is scaled: the caller may write into what comes back
        return (
            as_floats(self._current_rewards().normalize(as_tensor(reward)))
            if self.norm_reward
            else np.array(reward, np.float32)
        )

    def unnormalize_reward(self, reward: NDArray[Any]) -> NDArray[Any]:
        """Rewards in their original unit; what was clipped stays clipped."""
        return reward * float(self._current_rewards().scale) if self.norm_reward else reward

    def set_venv(self, venv: VecEnv) -> None:
        """Wrap another environment, after a copy that came without one."""
        super().set_venv(venv)
        statistics = self.ret_rms
        self.rewards = _reward_normalizer(self)
        self.returns = self.rewards.returns.numpy()
        self.ret_rms = statistics

    def save(self, save_path: str | PathLike[str]) -> None:
        """Write statistics and settings, as tensors and plain types."""
        torch.save(
            {
                "settings": {name: self.__dict__[name] for name in _SETTINGS},
                "observations": {key: statistics.state_dict() for key, statistics in self._parts().items()},
                "rewards": self._current_rewards().statistics.state_dict(),
            },
            save_path,
        )

    @classmethod
    def load(cls, load_path: str | PathLike[str], venv: VecEnv) -> Self:
        """Read what `save` wrote, around an environment; returns begin anew, as its episodes do.

        Raises:
            StateMismatch: observations of the environment have other keys or shapes than those saved.
        """
        saved = torch.load(load_path, weights_only=True)
        settings = saved["settings"]
        self = cls(venv, **settings)
        parts = self._parts()
        if parts.keys() != saved["observations"].keys():
            raise StateMismatch(
                f"`{load_path}` holds statistics of {sorted(saved['observations'])}, but the environment has "
                f"{sorted(parts)}; load it around the environment that it was saved with."
            )
        for key, statistics in parts.items():
            statistics.load_state_dict(saved["observations"][key])
        self.ret_rms.load_state_dict(saved["rewards"])
        return self


def take_over_vec_normalize(theirs: TheirVecNormalize) -> VecNormalize:
    """One of ours around the environment of a live one of theirs, with its settings, statistics and returns.

    Args:
        theirs: its environment is used on; the phantom sample that its statistics began with is taken out.

    Returns:
        A wrapper that stands where theirs stood.
    """
    ours = VecNormalize(theirs.venv, **{name: theirs.__dict__[name] for name in _SETTINGS})
    if theirs.norm_obs:
        old = theirs.obs_rms
        ours.obs_rms = {key: take_over(one) for key, one in old.items()} if isinstance(old, dict) else take_over(old)
    ours.ret_rms = take_over(theirs.ret_rms)
    ours.rewards.returns.copy_(as_tensor(theirs.returns))
    return ours


def _reward_normalizer(env: VecNormalize) -> RewardNormalizer:
    return RewardNormalizer(env.num_envs, gamma=env.gamma, clip=env.clip_reward, epsilon=env.epsilon)
