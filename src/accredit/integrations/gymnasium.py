"""Gymnasium wrappers over our normalizers, single and vector; extra `grow` (or just `gymnasium`).

They stand where `gymnasium.wrappers.NormalizeObservation` and `NormalizeReward` stood, with the same
`update_running_mean` switch. What they hold is a module: save `wrapper.statistics.state_dict()` with the policy.

Axes: E environments.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from accredit.errors import InvalidArgument
from accredit.integrations.running_statistics import as_floats, as_tensor
from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.reward import RewardNormalizer

Info = dict[str, Any]
Floats = NDArray[np.float32]


class NormalizeObservation(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Observations of one environment as standard scores, float32, bounded by the clip of the statistics.

    The statistics take in every observation before it is normalized by them, unless `update_running_mean` is False.

    Args:
        env: with a Box observation space.
        statistics: to go on with; None for new ones.

    Raises:
        InvalidArgument: an observation space that is no Box, or statistics of another shape.

    Example:
        >>> env = NormalizeObservation(gymnasium.make("CartPole-v1"))
        >>> observation, info = env.reset(seed=0)
        >>> int(env.statistics.count), observation.dtype
        (1, dtype('float32'))
    """

    def __init__(self, env: gymnasium.Env[Any, Any], statistics: RunningMeanStd | None = None) -> None:
        super().__init__(env)
        shape = _box_shape(env.observation_space)
        self.statistics = _statistics(statistics, shape)
        self.update_running_mean = True
        self.observation_space = spaces.Box(-self.statistics.clip, self.statistics.clip, shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, Info]:
        """Reset, and normalize the first observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._normalize(observation), info

    def step(self, action: Any) -> tuple[Floats, SupportsFloat, bool, bool, Info]:
        """Step, and normalize the observation; a terminal one counts like any other."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._normalize(observation), reward, terminated, truncated, info

    def _normalize(self, observation: Any) -> Floats:
        x = as_tensor(observation)
        if self.update_running_mean:
            self.statistics.update(x.unsqueeze(0))
        return as_floats(self.statistics.normalize(x))


class NormalizeReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Rewards of one environment, scaled by the standard deviation of the discounted return.

    Args:
        env: any environment.
        normalizer: to go on with; None for a new one.
        gamma: discount of a new one.

    Example:
        >>> env = NormalizeReward(gymnasium.make("CartPole-v1"))
        >>> _ = env.reset(seed=0)
        >>> env.step(0)[1]
        1.0
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], normalizer: RewardNormalizer | None = None, *, gamma: float = 0.99
    ) -> None:
        super().__init__(env)
        self.normalizer = RewardNormalizer(gamma=gamma) if normalizer is None else normalizer
        self.update_running_mean = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Reset, and begin a new return, also where the episode was cut short."""
        self.normalizer.reset_returns()
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        """Step, and scale the reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self.update_running_mean:
            scaled = self.normalizer.update_and_normalize(float(reward), bool(terminated or truncated))
        else:
            scaled = self.normalizer.normalize(float(reward))
        return observation, scaled, terminated, truncated, info


class NormalizeVectorObservation(VectorWrapper[Any, Any, Any, Any, Any]):
    """`NormalizeObservation` for vector environments, in every autoreset mode.

    In SAME_STEP mode the last observation of an episode arrives in `info["final_obs"]`; it is taken in and normalized
    too, so that both modes have the same statistics.

    Args:
        env: with a Box observation space.
        statistics: of one environment's observations, to go on with; None for new ones.

    Raises:
        InvalidArgument: an observation space that is no Box, or statistics of another shape.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], statistics: RunningMeanStd | None = None) -> None:
        super().__init__(env)
        shape = _box_shape(env.single_observation_space)
        self.statistics = _statistics(statistics, shape)
        self.update_running_mean = True
        clip = self.statistics.clip
        self.single_observation_space = spaces.Box(-clip, clip, shape, np.float32)
        self.observation_space = spaces.Box(-clip, clip, (env.num_envs, *shape), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, Info]:
        """Reset, and normalize; with a `reset_mask` only the environments that were reset are taken in."""
        mask = _reset_mask(options)
        observations, info = self.env.reset(seed=seed, options=options)
        return self._normalize(observations, mask), info

    def step(self, actions: Any) -> tuple[Floats, Any, Any, Any, Info]:
        """Step, and normalize."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            finals = np.asarray(info["final_obs"], dtype=object).copy()
            for index in np.flatnonzero(info["_final_obs"]):
                finals[index] = self._normalize(np.asarray(finals[index])[None])[0]
            info = {**info, "final_obs": finals}
        return self._normalize(observations), rewards, terminated, truncated, info

    def _normalize(self, observations: Any, mask: torch.Tensor | None = None) -> Floats:
        x = as_tensor(observations)
        if self.update_running_mean:
            self.statistics.update(x, mask)
        return as_floats(self.statistics.normalize(x))


class NormalizeVectorReward(VectorWrapper[Any, Any, Any, Any, Any]):
    """`NormalizeReward` for vector environments, in every autoreset mode.

    In NEXT_STEP mode the call after the end of an episode only resets: its reward of 0 belongs to no step and is left
    out of statistics and returns.

    Args:
        env: any vector environment.
        normalizer: to go on with, for as many environments; None for a new one.
        gamma: discount of a new one.

    Raises:
        InvalidArgument: a normalizer for another number of environments.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], normalizer: RewardNormalizer | None = None, *, gamma: float = 0.99
    ) -> None:
        super().__init__(env)
        self.normalizer = RewardNormalizer(env.num_envs, gamma=gamma) if normalizer is None else normalizer
        if self.normalizer.num_envs != env.num_envs:
            raise InvalidArgument(
                f"`normalizer` is for {self.normalizer.num_envs} environments, but there are {env.num_envs}; build one "
                "with RewardNormalizer(env.num_envs)."
            )
        self.update_running_mean = True
        mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._resets_in_the_next_step = mode == AutoresetMode.NEXT_STEP
        self._ended = torch.zeros(env.num_envs, dtype=torch.bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Reset, and begin new returns in the environments that were reset."""
        mask = _reset_mask(options)
        self.normalizer.reset_returns(mask)
        self._ended = torch.zeros_like(self._ended) if mask is None else self._ended & ~mask
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, NDArray[np.float64], Any, Any, Info]:
        """Step, and scale the rewards."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        x = as_tensor(np.asarray(rewards, np.float64))
        ended = torch.from_numpy(np.logical_or(terminated, truncated))
        if self.update_running_mean:
            mask = ~self._ended if self._resets_in_the_next_step and bool(self._ended.any()) else None
            scaled = self.normalizer.update_and_normalize(x, ended, mask=mask)
        else:
            scaled = self.normalizer.normalize(x)
        self._ended = ended
        return observations, scaled.numpy(), terminated, truncated, info


def _reset_mask(options: dict[str, Any] | None) -> torch.Tensor | None:
    """Which environments a reset is for, None for all; to be read before the environment takes it out of `options`."""
    return torch.tensor(options["reset_mask"]) > 0 if options is not None and "reset_mask" in options else None


def _box_shape(space: spaces.Space[Any] | None) -> tuple[int, ...]:
    if not isinstance(space, spaces.Box):
        raise InvalidArgument(
            f"`env` has observations in {space}, but only a Box has a mean; flatten them first, for example with "
            "gymnasium.wrappers.FlattenObservation, or use NestedNormalizer in the policy."
        )
    return space.shape


def _statistics(statistics: RunningMeanStd | None, shape: tuple[int, ...]) -> RunningMeanStd:
    if statistics is None:
        return RunningMeanStd(shape)
    if statistics.shape != shape:
        raise InvalidArgument(
            f"`statistics` have shape {statistics.shape}, but observations have shape {shape}; build them with "
            f"RunningMeanStd({shape})."
        )
    return statistics
