"""TorchRL transforms over our normalizers; extra `grow` (or just `torchrl`).

They stand where `VecNorm` or `VecNormV2` stood. The statistics belong to the caller, so that they are saved and
exported with the policy; they are in the state dict of the transform (and so of the environment) too.

Axes: B batch axes of a tensordict, E environments (all batch axes taken together), D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from accredit.errors import InvalidArgument, MissingExtra
from accredit.integrations.running_statistics import take_over_sums
from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.reward import RewardNormalizer

try:
    from tensordict import TensorDictBase
    from tensordict.utils import NestedKey
    from torchrl.data import Bounded, Composite
    from torchrl.envs.transforms import Transform, VecNorm, VecNormV2
except ImportError as error:
    raise MissingExtra(
        "`accredit.integrations.torchrl` needs the package torchrl, which is not installed; install it, or the extra "
        "`grow`: pip install 'accredit[grow]'."
    ) from error


class NormalizeObservation(Transform):  # type: ignore[misc]
    """Entries of a tensordict as standard scores, each by its own statistics.

    In an environment every entry is taken in before it is normalized, at reset too; freeze the statistics, or put them
    into eval mode, to act and learn under the same ones. As a module elsewhere (in a replay buffer) it only normalizes.
    The statistics keep their own mode: TorchRL puts the transforms of every environment into eval mode.

    Args:
        in_keys: entries to normalize.
        statistics: one per entry, of the shape of a single observation.
        out_keys: where they go; None for in place.

    Raises:
        InvalidArgument: not as many statistics or out_keys as in_keys.

    Example:
        >>> from tensordict import TensorDict
        >>> transform = NormalizeObservation(["observation"], [RunningMeanStd(1)])
        >>> data = TensorDict({"observation": torch.tensor([[2.0], [4.0]])}, [2])
        >>> transform.take_in(data)["observation"].flatten().tolist()
        [-1.0, 1.0]
    """

    def __init__(
        self,
        in_keys: Sequence[NestedKey],
        statistics: Sequence[RunningMeanStd],
        out_keys: Sequence[NestedKey] | None = None,
    ) -> None:
        targets = list(in_keys if out_keys is None else out_keys)
        if not len(in_keys) == len(statistics) == len(targets):
            raise InvalidArgument(
                f"`in_keys` are {len(in_keys)}, but there are {len(statistics)} statistics and {len(targets)} "
                "out_keys; pass one of each per entry."
            )
        super().__init__(in_keys=list(in_keys), out_keys=targets)
        self.statistics = nn.ModuleList(statistics)
        self._entries = list(zip(self.in_keys, self.out_keys, statistics, strict=True))

    def take_in(self, data: TensorDictBase, is_new: Tensor | None = None) -> TensorDictBase:
        """Update by the entries of a tensordict (where they are in train mode and not frozen), then normalize them.

        Args:
            data: entries of every environment.
            is_new: bool [*B] or [*B, 1], False where an entry is left over from an earlier step, because an environment
                sat this one out or was not reset; it counts for nothing. None where all are new.
        """
        for key, _, statistics in self._entries:
            x = data.get(key, None)
            if x is not None:
                x = x.unsqueeze(0) if x.dim() == len(statistics.shape) else x
                batch = x.shape[: x.dim() - len(statistics.shape)]
                statistics.update(x, None if is_new is None else _spread(is_new, data.batch_size, batch))
        return self.forward(data)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Normalize by the statistics as they are; entries that are missing stay missing."""
        for key, target, statistics in self._entries:
            x = tensordict.get(key, None)
            if x is not None:
                tensordict.set(target, statistics.normalize(x))
        return tensordict

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        return self.take_in(next_tensordict, tensordict.get("_step", None))

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        return self.take_in(tensordict_reset, _environments_to_reset(tensordict))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of this transform, not that of the statistics."""
        self.training = mode
        return self

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Bounds of the entries: the clip of their statistics."""
        spec = observation_spec.clone()
        for key, target, statistics in self._entries:
            old = observation_spec[key]
            dtype = old.dtype if old.dtype.is_floating_point else torch.get_default_dtype()
            clip = statistics.clip
            spec[target] = Bounded(low=-clip, high=clip, shape=old.shape, dtype=dtype, device=old.device)
        return spec


class NormalizeReward(Transform):  # type: ignore[misc]
    """Rewards of a tensordict, scaled by the standard deviation of the discounted return.

    `VecNorm` subtracts a mean from rewards, which changes which policy is best; this one only divides. Returns end
    where `done` says so (terminated or truncated), and begin anew at every reset. As a module elsewhere (in a replay
    buffer) it only scales. The normalizer keeps its own mode: TorchRL puts the transforms of every environment into
    eval mode; freeze the normalizer, or put it into eval mode, to keep it still.

    An environment that sat out a step (TorchRL's `_step` mask) is left out of statistics and returns.

    Args:
        normalizer: for as many environments as the tensordict has.
        in_key: the reward, [*B, 1].
        out_key: where it goes; None for in place.
        done_key: the end of an episode, [*B, 1].

    Example:
        >>> from tensordict import TensorDict
        >>> transform = NormalizeReward(RewardNormalizer(2, gamma=0.5))
        >>> data = {"reward": torch.tensor([[1.0], [4.0]]), "done": torch.tensor([[True], [False]])}
        >>> transform.take_in(TensorDict(data, [2]))["reward"].flatten().tolist()
        [1.0, 4.0]
        >>> transform.normalizer.returns.tolist()
        [0.0, 4.0]
    """

    def __init__(
        self,
        normalizer: RewardNormalizer,
        in_key: NestedKey = "reward",
        out_key: NestedKey | None = None,
        *,
        done_key: NestedKey = "done",
    ) -> None:
        super().__init__(in_keys=[in_key], out_keys=[in_key if out_key is None else out_key])
        self.normalizer = normalizer
        self.done_key = done_key

    def take_in(self, data: TensorDictBase, took_a_step: Tensor | None = None) -> TensorDictBase:
        """Advance the returns by one step (where the normalizer is in train mode and not frozen), then scale.

        Args:
            data: with a reward and a done of every environment.
            took_a_step: bool, one per environment in any shape, False where it sat out; None for all.

        Raises:
            InvalidArgument: another number of environments than that of the normalizer.
        """
        reward, done = data.get(self.in_keys[0]), data.get(self.done_key)
        mask = None if took_a_step is None else took_a_step.reshape(-1)
        scaled = self.normalizer.update_and_normalize(reward.reshape(-1), done.reshape(-1), mask=mask)
        return data.set(self.out_keys[0], scaled.view(reward.shape))

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Scale by the statistics as they are; a reward that is missing stays missing."""
        reward = tensordict.get(self.in_keys[0], None)
        return tensordict if reward is None else tensordict.set(self.out_keys[0], self.normalizer.normalize(reward))

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        return self.take_in(next_tensordict, tensordict.get("_step", None))

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        which = _environments_to_reset(tensordict)
        if self.normalizer.training and not self.normalizer.statistics.frozen:
            self.normalizer.reset_returns(None if which is None else which.reshape(-1))
        return tensordict_reset

    def train(self, mode: bool = True) -> Self:
        """Set the mode of this transform, not that of the normalizer."""
        self.training = mode
        return self

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Bounds of the reward: the clip of the normalizer."""
        spec = reward_spec.clone()
        old, clip = reward_spec[self.in_keys[0]], self.normalizer.clip
        spec[self.out_keys[0]] = Bounded(low=-clip, high=clip, shape=old.shape, dtype=old.dtype, device=old.device)
        return spec


def _environments_to_reset(tensordict: TensorDictBase | None) -> Tensor | None:
    """Which environments a reset is for, None for all; TorchRL hands the others along with what they last had."""
    return None if tensordict is None else tensordict.get("_reset", None)


def _spread(is_new: Tensor, batch_size: torch.Size, batch: torch.Size) -> Tensor:
    """A mark per environment as one per row of an entry, which can have more batch axes, one per agent for example."""
    marks = is_new.reshape(batch_size)
    return marks.reshape(*batch_size, *([1] * (len(batch) - len(batch_size)))).expand(batch)


def take_over_vecnorm(
    theirs: VecNorm | VecNormV2,
    key: NestedKey,
    *,
    horizon: float | None = None,
    clip: float = 10.0,
    epsilon: float = 1e-8,
) -> RunningMeanStd:
    """Our statistics from a live `VecNorm` or (stateful) `VecNormV2` that has seen data.

    What they have lost to cancellation is lost; a variance that came out negative is taken as 0.

    Args:
        theirs: the transform.
        key: one of its in_keys.
        horizon: in samples; None forgets nothing. The decay of a `VecNorm` per call of B rows corresponds to
            B / (1 - decay), that of a `VecNormV2` to 1 / (1 - decay).
        clip: bound of the output.
        epsilon: floor on the variance.

    Returns:
        Statistics of the same mean and variance, in the shape of theirs.

    Raises:
        InvalidArgument: a transform that has seen nothing.
    """
    if isinstance(theirs, VecNormV2):
        if theirs._loc is None:
            raise _has_seen_nothing(theirs)
        count = float(theirs._count.get(key))
        # moving averages that began at 0 are those of the data times 1 - decay^n; `_var` is that of the squares
        known = 1.0 if theirs.decay == 1.0 else 1.0 - theirs.decay**count
        total, squares = (average.get(key).double() * (count / known) for average in (theirs._loc, theirs._var))
    else:
        if theirs._td is None:
            raise _has_seen_nothing(theirs)
        *nest, last = (key,) if isinstance(key, str) else key
        total, squares, weight = (theirs._td.get((*nest, f"{last}_{name}")) for name in ("sum", "ssq", "count"))
        count = float(weight)
    return take_over_sums(total, squares, count, horizon=horizon, clip=clip, epsilon=epsilon)


def _has_seen_nothing(theirs: Transform) -> InvalidArgument:
    return InvalidArgument(
        f"`theirs` is a {type(theirs).__name__} that has seen nothing, but there is nothing to take over then; build "
        "new statistics with RunningMeanStd(shape)."
    )
