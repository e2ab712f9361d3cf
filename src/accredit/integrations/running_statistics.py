"""Statistics that other libraries have gathered, taken over from live objects; no file is ever unpickled.

Axes: D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from accredit.errors import InvalidArgument
from accredit.moments import Moments, remove
from accredit.normalize.observation import RunningMeanStd


class MeanVarCount(Protocol):
    """What the `RunningMeanStd` of Gymnasium, Stable-Baselines3 and most others hold."""

    @property
    def mean(self) -> ArrayLike:
        """Mean [*shape]."""

    @property
    def var(self) -> ArrayLike:
        """Population variance [*shape]."""

    @property
    def count(self) -> float:
        """Samples, the phantom one included."""


class EmpiricalNormalization(Protocol):
    """What rsl_rl's module of this name offers."""

    @property
    def mean(self) -> Tensor:
        """Mean [D]."""

    @property
    def std(self) -> Tensor:
        """Population standard deviation [D]."""

    count: Tensor


class RunningStandardScaler(Protocol):
    """What skrl's module of this name offers."""

    running_mean: Tensor
    running_variance: Tensor
    current_count: Tensor


@dataclass(frozen=True)
class Held:
    """Mean, variance and count as plain numbers."""

    mean: ArrayLike
    var: ArrayLike
    count: float


def take_over(
    statistics: MeanVarCount,
    *,
    initial_count: float = 1e-4,
    horizon: float | None = None,
    clip: float = 10.0,
    epsilon: float = 1e-8,
) -> RunningMeanStd:
    """Our statistics from a live object with mean, var and count, without the phantom sample it began with.

    Args:
        statistics: `obs_rms`, `ret_rms` or `return_rms` of Gymnasium or Stable-Baselines3, or anything alike.
        initial_count: weight of the phantom sample of mean 0 and variance 1 that they begin with: 1e-4 there; 1 in
            skrl; 0 where there is none.
        horizon: in samples; None forgets nothing.
        clip: bound of the output.
        epsilon: floor on the variance.

    Returns:
        Statistics of the data alone.

    Raises:
        InvalidArgument: the object has counted less than its phantom sample.

    Example:
        >>> from types import SimpleNamespace
        >>> theirs = SimpleNamespace(mean=np.array([3.0]), var=np.array([4.0]), count=100.0)
        >>> int(take_over(theirs, initial_count=0.0).count)
        100
    """
    if not statistics.count > initial_count - 1e-12:
        raise InvalidArgument(
            f"`statistics` has a count of {statistics.count}, but it began with {initial_count}; pass the "
            "initial_count of its library."
        )
    mean, var = (torch.from_numpy(np.array(x, np.float64)) for x in (statistics.mean, statistics.var))
    weight = float(statistics.count)
    if weight - initial_count < 0.5:
        return RunningMeanStd(tuple(mean.shape), horizon=horizon, clip=clip, epsilon=epsilon)
    phantom = Moments(initial_count, initial_count, torch.zeros_like(mean), torch.ones_like(var))
    data = remove(Moments(weight, weight, mean, var), phantom)
    return RunningMeanStd.from_moments(
        data.mean, data.var.clamp(min=0.0), round(weight - initial_count), horizon=horizon, clip=clip, epsilon=epsilon
    )


def take_over_sums(
    total: Tensor,
    squares: Tensor,
    count: float,
    *,
    horizon: float | None = None,
    clip: float = 10.0,
    epsilon: float = 1e-8,
) -> RunningMeanStd:
    """Our statistics from sums and sums of squares, as TorchRL's VecNorm keeps them (`_sum`, `_ssq`, `_count`).

    What those sums have lost to cancellation is lost; a variance that came out negative is taken as 0.

    Args:
        total: [*shape], sum of the samples.
        squares: [*shape], sum of their squares.
        count: samples behind the sums, above 0.
        horizon: in samples; TorchRL's decay per batch of B rows corresponds to B / (1 - decay).
        clip: bound of the output.
        epsilon: floor on the variance.

    Returns:
        Statistics of the same mean and variance.

    Raises:
        InvalidArgument: no sample.

    Example:
        >>> ours = take_over_sums(torch.tensor([6.0]), torch.tensor([20.0]), 2)
        >>> ours.mean.item(), ours.var.item()
        (3.0, 1.0)
    """
    if not count > 0.0:
        raise InvalidArgument(f"`count` is {count}, but sums of nothing have no mean; pass a count above 0.")
    mean = total.double() / count
    var = (squares.double() / count - mean.square()).clamp(min=0.0)
    return RunningMeanStd.from_moments(mean, var, count, horizon=horizon, clip=clip, epsilon=epsilon)


def take_over_rsl_rl(
    theirs: EmpiricalNormalization,
    *,
    horizon: float | None = None,
    clip: float = 10.0,
    epsilon: float = 1e-8,
) -> RunningMeanStd:
    """Our statistics from a live `EmpiricalNormalization` of rsl_rl, which begins without a phantom sample.

    Args:
        theirs: the module; its variance is the population's, its epsilon was added to the standard deviation.
        horizon: in samples; None forgets nothing.
        clip: bound of the output; theirs has none.
        epsilon: floor on the variance.

    Returns:
        Statistics of the same mean and variance.
    """
    var = theirs.std.double().square()
    return RunningMeanStd.from_moments(
        theirs.mean.double(), var, float(theirs.count), horizon=horizon, clip=clip, epsilon=epsilon
    )


def take_over_skrl(
    theirs: RunningStandardScaler,
    *,
    horizon: float | None = None,
    clip: float = 5.0,
    epsilon: float = 1e-8,
) -> RunningMeanStd:
    """Our statistics from a live `RunningStandardScaler` of skrl, without the phantom sample that it began with.

    Args:
        theirs: the module. It merges sample variances as if they were the population's; how much that has added cannot
            be told from the result.
        horizon: in samples; None forgets nothing.
        clip: bound of the output, by default theirs.
        epsilon: floor on the variance.

    Returns:
        Statistics of the same mean and variance but for that sample.
    """
    held = Held(theirs.running_mean.numpy(), theirs.running_variance.numpy(), float(theirs.current_count))
    return take_over(held, initial_count=1.0, horizon=horizon, clip=clip, epsilon=epsilon)


def as_floats(x: Tensor) -> NDArray[np.float32]:
    """What a policy is fed: float32 NumPy."""
    floats: NDArray[np.float32] = x.float().numpy()
    return floats


def as_tensor(array: ArrayLike) -> Tensor:
    """A tensor over an array's memory; read-only arrays, which torch cannot share, are copied."""
    numbers = np.asarray(array)
    return torch.from_numpy(numbers if numbers.flags.writeable and numbers.flags.owndata else numbers.copy())
