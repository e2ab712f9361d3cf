"""Gymnasium wrappers over our normalizers, single and vector; extra `grow` (or just `gymnasium`).

They stand where `gymnasium.wrappers.NormalizeObservation` and `NormalizeReward` stood, with the same arguments in the
same order, the same `update_running_mean` switch, and `obs_rms` and `return_rms` to read. What they hold is a module:
save `wrapper.statistics.state_dict()` or `wrapper.normalizer.state_dict()` with the policy.

Axes: E environments.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray

from accredit.errors import InvalidArgument, MissingExtra
from accredit.integrations.running_statistics import as_floats, as_tensor
from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.reward import RewardNormalizer

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
    from gymnasium.vector.utils import batch_space

    from accredit.integrations.observation_spaces import SpaceNormalizer, each_part, normalized_space, normalizer_over
except ImportError as error:
    raise MissingExtra(
        "`accredit.integrations.gymnasium` needs the package gymnasium, which is not installed; install it, or the "
        "extra `grow`: pip install 'accredit[grow]'."
    ) from error

Info = dict[str, Any]


class NormalizeObservation(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Observations of one environment as standard scores, float32, bounded by the clip of the statistics.

    The statistics take in every observation before it is normalized by them, unless `update_running_mean` is False.
    Of a Dict or Tuple every Box is normalized, to any depth, and the rest passes through.

    Args:
        env: with a Box observation space, or a Dict or Tuple that holds one.
        epsilon: floor on the variance, of new statistics.
        statistics: to go on with, from the policy for example; None for new ones.

    Raises:
        InvalidArgument: an observation space without a Box, statistics for another one, or an epsilon out of range.

    Example:
        >>> env = NormalizeObservation(gymnasium.make("CartPole-v1"))
        >>> observation, info = env.reset(seed=0)
        >>> int(env.statistics.count), observation.dtype
        (1, dtype('float32'))
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], epsilon: float = 1e-8, *, statistics: SpaceNormalizer | None = None
    ) -> None:
        super().__init__(env)
        space = env.observation_space
        self.statistics = normalizer_over(space, epsilon=epsilon) if statistics is None else statistics
        self.update_running_mean = True
        self.observation_space = normalized_space(space, self.statistics)

    @property
    def obs_rms(self) -> SpaceNormalizer:
        """The statistics, by Gymnasium's name."""
        return self.statistics

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Reset, and normalize the first observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        return _normalize_one(observation, self.statistics, update=self.update_running_mean), info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, Info]:
        """Step, and normalize the observation; a terminal one counts like any other."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        normalized = _normalize_one(observation, self.statistics, update=self.update_running_mean)
        return normalized, reward, terminated, truncated, info


class NormalizeReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Rewards of one environment, scaled by the standard deviation of the discounted return.

    A step after the end of an episode that no reset came before only resets (`gymnasium.wrappers.Autoreset`): its
    reward of 0 belongs to no step, and is left out of statistics and returns.

    Args:
        env: any environment.
        gamma: discount of a new normalizer.
        epsilon: variance of the return up to which it counts as constant, of a new normalizer.
        normalizer: to go on with; None for a new one.

    Raises:
        InvalidArgument: a gamma or epsilon out of range, or a normalizer of more than one environment.

    Example:
        >>> env = NormalizeReward(gymnasium.make("CartPole-v1"))
        >>> _ = env.reset(seed=0)
        >>> env.step(0)[1]
        1.0
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        gamma: float = 0.99,
        epsilon: float = 1e-8,
        *,
        normalizer: RewardNormalizer | None = None,
    ) -> None:
        super().__init__(env)
        self.normalizer = _reward_normalizer(normalizer, 1, gamma=gamma, epsilon=epsilon)
        self.update_running_mean = True
        self._ended = False

    @property
    def return_rms(self) -> RunningMeanStd:
        """Statistics of the discounted return, by Gymnasium's name."""
        return self.normalizer.statistics

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Reset, and begin a new return, also where the episode was cut short."""
        self.normalizer.reset_returns()
        self._ended = False
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        """Step, and scale the reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        was_a_step, self._ended = not self._ended, bool(terminated or truncated)
        if self.update_running_mean and was_a_step:
            scaled = self.normalizer.update_and_normalize(float(reward), self._ended)
        else:
            scaled = self.normalizer.normalize(float(reward))
        return observation, scaled, terminated, truncated, info


class NormalizeVectorObservation(VectorWrapper[Any, Any, Any, Any, Any]):
    """`NormalizeObservation` for vector environments, in every autoreset mode.

    In SAME_STEP mode the last observation of an episode arrives in `info["final_obs"]`; it is taken in and normalized
    too, so that both modes have the same statistics.

    Args:
        env: whose single environments have a Box observation space, or a Dict or Tuple that holds one.
        epsilon: floor on the variance, of new statistics.
        statistics: of one environment's observations, to go on with; None for new ones.

    Raises:
        InvalidArgument: an observation space without a Box, statistics for another one, or an epsilon out of range.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], epsilon: float = 1e-8, *, statistics: SpaceNormalizer | None = None
    ) -> None:
        super().__init__(env)
        space = env.single_observation_space
        self.statistics = normalizer_over(space, epsilon=epsilon) if statistics is None else statistics
        self.update_running_mean = True
        self.single_observation_space = normalized_space(space, self.statistics)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    @property
    def obs_rms(self) -> SpaceNormalizer:
        """The statistics, by Gymnasium's name."""
        return self.statistics

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Reset, and normalize; with a `reset_mask` only the environments that were reset are taken in."""
        mask = _reset_mask(options)
        observations, info = self.env.reset(seed=seed, options=options)
        return self._normalize(observations, mask), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Info]:
        """Step, and normalize."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            finals = np.full(self.num_envs, None, dtype=object)
            for index in np.flatnonzero(info["_final_obs"]):
                final = info["final_obs"][index]
                finals[index] = _normalize_one(final, self.statistics, update=self.update_running_mean)
            info = {**info, "final_obs": finals}
        return self._normalize(observations), rewards, terminated, truncated, info

    def _normalize(self, observations: Any, mask: torch.Tensor | None = None) -> Any:
        statistics = self.statistics
        x = each_part(observations, statistics, as_tensor)
        scores = statistics.update_and_normalize(x, mask) if self.update_running_mean else statistics.normalize(x)
        return each_part(scores, statistics, as_floats)


class NormalizeVectorReward(VectorWrapper[Any, Any, Any, Any, Any]):
    """`NormalizeReward` for vector environments, in every autoreset mode.

    In NEXT_STEP mode the call after the end of an episode only resets: its reward of 0 belongs to no step and is left
    out of statistics and returns.

    Args:
        env: any vector environment.
        gamma: discount of a new normalizer.
        epsilon: variance of the return up to which it counts as constant, of a new normalizer.
        normalizer: to go on with, for as many environments; None for a new one.

    Raises:
        InvalidArgument: a gamma or epsilon out of range, or a normalizer for another number of environments.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        gamma: float = 0.99,
        epsilon: float = 1e-8,
        *,
        normalizer: RewardNormalizer | None = None,
    ) -> None:
        super().__init__(env)
        self.normalizer = _reward_normalizer(normalizer, env.num_envs, gamma=gamma, epsilon=epsilon)
        self.update_running_mean = True
        mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._resets_in_the_next_step = mode == AutoresetMode.NEXT_STEP
        self._ended = torch.zeros(env.num_envs, dtype=torch.bool)

    @property
    def return_rms(self) -> RunningMeanStd:
        """Statistics of the discounted return, by Gymnasium's name."""
        return self.normalizer.statistics

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


def _normalize_one(observation: Any, statistics: SpaceNormalizer, *, update: bool) -> Any:
    """Normalize the observation of one environment, after it was taken in."""
    x = each_part(observation, statistics, as_tensor)
    if update:
        statistics.update(each_part(x, statistics, lambda part: part.unsqueeze(0)))
    return each_part(statistics.normalize(x), statistics, as_floats)


def _reward_normalizer(
    normalizer: RewardNormalizer | None, n_envs: int, *, gamma: float, epsilon: float
) -> RewardNormalizer:
    if normalizer is None:
        return RewardNormalizer(n_envs, gamma=gamma, epsilon=epsilon)
    if normalizer.num_envs != n_envs:
        raise InvalidArgument(
            f"`normalizer` is for {normalizer.num_envs} environments, but there are {n_envs}; build one with "
            f"RewardNormalizer({n_envs})."
        )
    return normalizer


def _reset_mask(options: dict[str, Any] | None) -> torch.Tensor | None:
    """Which environments a reset is for, None for all; to be read before the environment takes it out of `options`."""
    return torch.tensor(options["reset_mask"]) > 0 if options is not None and "reset_mask" in options else None
