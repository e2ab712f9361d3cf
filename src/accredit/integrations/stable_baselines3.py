"""Stable-Baselines3's VecNormalize over our normalizers; extra `sb3`.

A subclass, because Stable-Baselines3 finds the wrapper by its class: replay buffers keep original observations and
normalize what they sample, evaluation callbacks copy the statistics, `model.get_vec_normalize_env()` returns it.

Differences to theirs, each because theirs is wrong or unsafe: no phantom sample; float64 about the running mean;
epsilon is a floor; a NaN row is left out and counted; rewards are scaled by the sample deviation, and not before ten
samples; files hold tensors and plain types, and loading one executes nothing.

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
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env import VecNormalize as TheirVecNormalize
from torch import Tensor

from accredit.errors import StateMismatch
from accredit.integrations.running_statistics import as_floats, as_tensor
from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.reward import RewardNormalizer

Observation: TypeAlias = NDArray[Any] | dict[str, NDArray[Any]]


class VecNormalize(TheirVecNormalize):  # type: ignore[misc]
    """Normalized observations and scaled rewards of a VecEnv, with the arguments and the reach of theirs.

    `obs_rms` is a `RunningMeanStd` (or a dictionary of them), `ret_rms` a `RewardNormalizer`. As in theirs, terminal
    observations are normalized but not taken in. There is no `epsilon`: theirs is added to the variance, ours is a
    floor under it, 1e-8.

    Args:
        venv: the vector environment.
        training: whether statistics move.
        norm_obs: whether observations are normalized.
        norm_reward: whether rewards are scaled.
        clip_obs: bound of observations.
        clip_reward: bound of rewards.
        gamma: discount.
        norm_obs_keys: entries of a dictionary observation to normalize; None for all.
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
            norm_obs_keys=norm_obs_keys,
        )
        if norm_obs:
            spaces = venv.observation_space
            keys = self.norm_obs_keys
            self.obs_rms = {key: self._over(spaces[key].shape) for key in keys} if keys else self._over(spaces.shape)
        self.ret_rms = self._rewards()

    def _over(self, shape: tuple[int, ...]) -> RunningMeanStd:
        return RunningMeanStd(shape, clip=self.clip_obs, epsilon=self.epsilon)

    def _rewards(self) -> RewardNormalizer:
        return RewardNormalizer(self.num_envs, gamma=self.gamma, clip=self.clip_reward, epsilon=self.epsilon)

    def step_wait(self) -> tuple[Observation, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step, take in, normalize."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.old_obs, self.old_reward = observations, rewards
        self._take_in(observations)
        if self.training:
            self.ret_rms.update_and_normalize(as_tensor(rewards), as_tensor(np.asarray(dones, bool)))
        for index in np.flatnonzero(dones):
            if "terminal_observation" in infos[index]:
                infos[index]["terminal_observation"] = self.normalize_obs(infos[index]["terminal_observation"])
        return self.normalize_obs(observations), self.normalize_reward(rewards), dones, infos

    def reset(self) -> Observation:
        """Reset all environments, begin new returns, take in and normalize the first observations."""
        observations: Observation = self.venv.reset()
        self.old_obs = observations
        self.ret_rms.reset_returns()
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
        return self.obs_rms if isinstance(self.obs_rms, dict) else {"": self.obs_rms}

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
        return transform(as_tensor(obs), parts[""]) if parts else obs.copy()

    def normalize_reward(self, reward: NDArray[Any]) -> NDArray[np.float32]:
        """Scale rewards by the statistics as they are; float32."""
        rewards = as_tensor(reward)
        return as_floats(self.ret_rms.normalize(rewards) if self.norm_reward else rewards)

    def unnormalize_reward(self, reward: NDArray[Any]) -> NDArray[Any]:
        """Rewards in their original unit; what was clipped stays clipped."""
        return reward * float(self.ret_rms.scale) if self.norm_reward else reward

    def set_venv(self, venv: VecEnv) -> None:
        """Wrap another environment, after a copy that came without one."""
        super().set_venv(venv)
        if self.ret_rms.num_envs != venv.num_envs:
            statistics = self.ret_rms.statistics
            self.ret_rms = self._rewards()
            self.ret_rms.statistics = statistics

    def save(self, save_path: str | PathLike[str]) -> None:
        """Write statistics and settings, as tensors and plain types."""
        torch.save(
            {
                "settings": self._settings(),
                "observations": {key: statistics.state_dict() for key, statistics in self._parts().items()},
                "rewards": self.ret_rms.statistics.state_dict(),
            },
            save_path,
        )

    def _settings(self) -> dict[str, Any]:
        names = ("training", "norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "norm_obs_keys")
        return {name: self.__dict__[name] for name in names}

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
        self.ret_rms.statistics.load_state_dict(saved["rewards"])
        return self
