"""Reward scaling by the standard deviation of the discounted return.

Axes: E environments.
"""

from __future__ import annotations

import math
from typing import Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from accredit.errors import InvalidArgument
from accredit.moments import effective_count, sample_variance
from accredit.normalize import host
from accredit.normalize.checks import check_device, check_gamma, check_mask, check_numbers, fits
from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.state import Transfer, check_configuration, keep_precision

Reward = TypeVar("Reward", Tensor, float)

_NUMPY = frozenset((torch.float32, torch.float64))


class RewardNormalizer(nn.Module):
    """Rewards divided by the running standard deviation of the discounted return; no mean is subtracted.

    R_t = gamma R_{t-1} (1 - done_{t-1}) + r_t,   output = clip(r_t / s),   s^2 = sample variance of all R so far

    done is terminated or truncated: a return ends with its episode, however that ended. Subtracting a mean would change
    which policy is best (it pays or fines every further step), dividing by a number does not. The value at step t
    includes step t. With gamma 0 the scale is the standard deviation of the rewards themselves.

    Until the scale is worth using it is 1 and the output is the clipped raw reward: while the returns are worth fewer
    than `min_effective_count` samples, and while their variance is at most `epsilon`. A scale from few samples, or from
    rewards that never changed, says more about the start than about the task, and would throw the first outputs against
    the clip bound. A reward that is NaN or infinite enters neither the statistics nor its return and is counted as
    dropped; NaN comes out as 0, an infinity as the bound. In eval mode and after `freeze()` nothing moves, returns
    included. State is float64 and stays so.

    Threads: as for `RunningMeanStd`.

    Args:
        num_envs: E, environments that step together.
        gamma: discount in [0, 1], that of the learner.
        clip: bound of the output, above 0; math.inf for none.
        horizon: in samples, how far the statistics reach back; None forgets nothing.
        epsilon: variance of the return up to which it counts as constant.
        min_effective_count: samples of the return from which on the scale is used. At 10 its relative standard error,
            1 / sqrt(2 (K - 1)) for independent normal samples, is below a quarter.
        device: of the state.

    Raises:
        InvalidArgument: an argument out of range.

    Example:
        >>> normalizer = RewardNormalizer(gamma=0.99)
        >>> [normalizer.update_and_normalize(1.0, False) for _ in range(3)]
        [1.0, 1.0, 1.0]

    Source: Engstrom et al., Implementation matters in deep policy gradients (2020), appendix A.2; there the return
    never restarts, which inflates the scale of episodic tasks.
    """

    returns: Tensor

    def __init__(
        self,
        num_envs: int = 1,
        *,
        gamma: float = 0.99,
        clip: float = 10.0,
        horizon: float | None = None,
        epsilon: float = 1e-8,
        min_effective_count: float = 10.0,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_gamma(gamma)
        if num_envs < 1:
            raise InvalidArgument(f"`num_envs` is {num_envs}, but a reward comes from an environment; pass at least 1.")
        if not min_effective_count > 1.0:
            raise InvalidArgument(
                f"`min_effective_count` is {min_effective_count}, but one sample has no variance; pass a number "
                "above 1."
            )
        self.num_envs = num_envs
        self.gamma = gamma
        self.clip = clip
        self.epsilon = epsilon
        self.min_effective_count = min_effective_count
        self.statistics = RunningMeanStd((), horizon=horizon, clip=clip, epsilon=epsilon, device=device)
        self.register_buffer("returns", torch.zeros(num_envs, dtype=torch.float64, device=device))

    def update_and_normalize(self, reward: Reward, done: Tensor | bool, *, mask: Tensor | None = None) -> Reward:
        """Advance the returns by one step, take them into the statistics, and scale the rewards.

        Args:
            reward: [E] of any real dtype, or a Python float for one environment.
            done: bool [E], terminated or truncated with this step; or a Python bool.
            mask: bool [E], False where an environment took no step, for example because this call of a vector
                environment only reset it; its return waits. None for all.

        Returns:
            Scaled rewards, like `reward`.

        Raises:
            InvalidArgument: another number of environments, device or dtype.
        """
        if isinstance(reward, Tensor):
            rewards = reward.detach() if reward.requires_grad else reward
            ended = done if isinstance(done, Tensor) else torch.as_tensor(done)
        else:
            rewards = torch.tensor([reward], dtype=torch.float64, device=self.returns.device)
            ended = torch.tensor([bool(done)], device=self.returns.device)
        self._check(rewards, ended)
        if not self.training or self._statistics().frozen:
            return self.normalize(reward)
        if mask is None and not torch.compiler.is_compiling() and rewards.is_cpu:
            scaled = self._update_on_host(rewards, ended)
            if scaled is not None and reward is rewards:
                return scaled
        else:
            self.statistics.update(self._advance(rewards, ended, mask), mask)
        return self.normalize(reward)

    def advance(self, reward: Tensor, done: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Advance the returns by one step and leave the statistics alone: for those that are taken in later.

        What comes back is for `RolloutStatistics.collect` with this normalizer's `statistics`, so that the scale stands
        still during a rollout and is the same on every rank after it. `normalize` scales the rewards meanwhile.

        Args:
            reward: [E] of any real dtype.
            done: bool [E], terminated or truncated with this step.
            mask: bool [E], False where an environment took no step; pass it to `collect` too. None for all.

        Returns:
            The returns that include this step, float64 [E], NaN where the reward is not finite. In eval mode and after
            `freeze()` nothing moves, and there is nothing to collect.

        Raises:
            InvalidArgument: another number of environments, device or dtype.

        Example:
            >>> normalizer = RewardNormalizer(2, gamma=0.5)
            >>> go_on = torch.zeros(2, dtype=torch.bool)
            >>> _ = normalizer.advance(torch.tensor([1.0, 2.0]), go_on)
            >>> normalizer.advance(torch.tensor([1.0, 2.0]), go_on).tolist(), int(normalizer.statistics.count)
            ([1.5, 3.0], 0)
        """
        self._check(reward, done)
        if not self.training or self.statistics.frozen:
            return self.returns.clone()
        return self._advance(reward.detach(), done, mask)

    @torch.no_grad()
    def _advance(self, reward: Tensor, done: Tensor, mask: Tensor | None = None) -> Tensor:
        exact = reward.double()
        finite = exact.isfinite()
        present = self.returns * self.gamma + torch.where(finite, exact, 0.0)
        if mask is not None:
            check_mask(mask, tuple(self.returns.shape))
            present, done = torch.where(mask, present, self.returns), done & mask
        self.returns.copy_(torch.where(done, 0.0, present))
        return torch.where(finite, present, torch.nan)

    def _update_on_host(self, reward: Tensor, done: Tensor) -> Tensor | None:
        """`_advance`, update and `normalize` on NumPy views: dispatch would cost more than the arithmetic.

        Returns:
            The scaled rewards where that took nothing more; None where `normalize` has to find them.
        """
        is_numpy = reward.dtype in _NUMPY
        numbers = (reward if is_numpy else reward.double()).numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            # one BLAS call finds NaN and infinities
            square = float(numbers.dot(numbers))
            if not square < math.inf:
                self.statistics.update(self._advance(reward, done))
                return None
            returns = self._returns().numpy()
            returns *= self.gamma
            returns += numbers
            self._statistics().absorb_values(returns)
            np.copyto(returns, 0.0, where=done.numpy())
            scale = self._scale_on_host()
            # no number is larger than the root of the sum of all squares, so that most steps need no clipping; the
            # margin is for rounding
            if is_numpy and square <= 0.99 * (self.clip * scale) ** 2:
                return torch.from_numpy(numbers / scale)
        return None

    def normalize(self, reward: Reward) -> Reward:
        """Scale rewards by the statistics as they are.

        Args:
            reward: tensor of any shape, or a Python float.

        Returns:
            clip(reward / scale), like `reward`; integers come out in the default dtype.
        """
        if not isinstance(reward, Tensor):
            scaled = reward / (self._scale_on_host() if self.returns.is_cpu else float(self.scale))
            return 0.0 if math.isnan(scaled) else min(max(scaled, -self.clip), self.clip)
        check_numbers(reward, "reward")
        returns = self._returns()
        check_device(reward, returns.device, "reward")
        floating = reward if reward.is_floating_point() else reward.to(torch.get_default_dtype())
        if torch.compiler.is_compiling() or not reward.is_cpu:
            bounded = (floating / self.scale.to(floating.dtype)).clamp(-self.clip, self.clip)
            return torch.where(bounded.isnan(), 0.0, bounded)
        scale = self._scale_on_host()
        if floating.dtype in _NUMPY and floating.dim() and not floating.requires_grad:
            return host.divide(floating.numpy(), scale, clip=self.clip)
        bounded = floating.div(scale).clamp(-self.clip, self.clip)
        return bounded.nan_to_num(nan=0.0, posinf=self.clip, neginf=-self.clip) if bounded.sum().isnan() else bounded

    @property
    def scale(self) -> Tensor:
        """What rewards are divided by, float64, without axes; 1 until it is worth using."""
        if not torch.compiler.is_compiling() and self.returns.is_cpu:
            return torch.tensor(self._scale_on_host(), dtype=torch.float64)
        var, effective = self.statistics.sample_var, self.statistics.effective_count
        usable = (var > self.epsilon) & (effective >= self.min_effective_count)
        return torch.where(usable, var, 1.0).sqrt()

    def _scale_on_host(self) -> float:
        state, tallies, *_ = self._statistics().on_host()
        weight, weight_of_squares, *_ = tallies.tolist()
        effective = effective_count(weight, weight_of_squares)
        var = sample_variance(float(state[1, 0]), effective)
        usable = var > self.epsilon and effective >= self.min_effective_count
        return math.sqrt(var) if usable else 1.0

    def reset_returns(self, environments: Tensor | None = None) -> None:
        """Start returns anew where episodes were cut from outside, for example by a reset of all environments.

        Args:
            environments: bool [E], which ones; None for all.
        """
        self.returns.masked_fill_(
            torch.ones_like(self.returns, dtype=torch.bool) if environments is None else environments, 0
        )

    def freeze(self, frozen: bool = True) -> Self:
        """Stop (or with False, resume) updates of statistics and returns; `normalize` goes on."""
        self.statistics.freeze(frozen)
        return self

    # a module looks for its buffers and parts last, which takes longer than a step of many environments
    def _returns(self) -> Tensor:
        return cast("Tensor", self._buffers["returns"])

    def _statistics(self) -> RunningMeanStd:
        return cast("RunningMeanStd", self._modules["statistics"])

    def _check(self, reward: Tensor, done: Tensor) -> None:
        returns = self._returns()
        if (
            fits(reward, returns, returns.shape)
            and done.dtype == torch.bool
            and done.device == returns.device
            and done.shape == returns.shape == reward.shape
        ):
            return
        check_numbers(reward, "reward")
        check_device(reward, self.returns.device, "reward")
        check_device(done, self.returns.device, "done")
        for name, values in (("reward", reward), ("done", done)):
            if values.shape != self.returns.shape:
                raise InvalidArgument(
                    f"`{name}` has shape {tuple(values.shape)}, but there are {self.num_envs} environments; pass shape "
                    f"({self.num_envs},), or build a RewardNormalizer for another number."
                )
        if done.dtype != torch.bool:
            raise InvalidArgument(f"`done` has dtype {done.dtype}, but an episode ends or goes on; pass a bool tensor.")

    def get_extra_state(self) -> Tensor:
        """The configuration as a tensor: gamma, min_effective_count, E; the rest is that of `statistics`."""
        return torch.tensor([self.gamma, self.min_effective_count, self.num_envs], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Nothing to set: the configuration is verified before anything is loaded."""

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Transfer) -> None:
        saved = state_dict.get(f"{prefix}_extra_state")
        check_configuration(saved, self.get_extra_state(), names=("gamma", "min_effective_count"))
        # theirs too before the returns are loaded: a refused state must not leave half of itself behind
        self.statistics.check_state(state_dict, f"{prefix}statistics.")
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Transfer, recurse: bool = True) -> Self:
        super()._apply(keep_precision(fn), recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        """Configuration, for `print`."""
        return f"{self.num_envs}, gamma={self.gamma}, clip={self.clip}"
