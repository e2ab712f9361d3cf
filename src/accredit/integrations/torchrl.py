"""A TorchRL transform over our normalizers; extra `grow` (or just `torchrl`).

It stands where `VecNorm` or `VecNormV2` stood, and its statistics belong to the caller, so that they are saved and
exported with the policy.

Axes: B batch axes of a tensordict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from tensordict import TensorDictBase
from tensordict.utils import NestedKey
from torch import nn
from torchrl.data import Bounded, Composite
from torchrl.envs.transforms import Transform

from accredit.errors import InvalidArgument
from accredit.normalize.observation import RunningMeanStd


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

    def take_in(self, data: TensorDictBase) -> TensorDictBase:
        """Update by the entries of a tensordict (where they are in train mode and not frozen), then normalize them."""
        for key, _, statistics in self._entries:
            x = data.get(key, None)
            if x is not None:
                single = x.dim() == len(statistics.shape)
                statistics.update(x.unsqueeze(0) if single else x)
        return self.forward(data)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Normalize by the statistics as they are; entries that are missing stay missing."""
        for key, target, statistics in self._entries:
            x = tensordict.get(key, None)
            if x is not None:
                tensordict.set(target, statistics.normalize(x))
        return tensordict

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return self.take_in(next_tensordict)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of this transform, not that of the statistics."""
        self.training = mode
        return self

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:  # noqa: ARG002
        return self.take_in(tensordict_reset)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Bounds of the entries: the clip of their statistics."""
        spec = observation_spec.clone()
        for key, target, statistics in self._entries:
            old = observation_spec[key]
            dtype = old.dtype if old.dtype.is_floating_point else torch.get_default_dtype()
            clip = statistics.clip
            spec[target] = Bounded(low=-clip, high=clip, shape=old.shape, dtype=dtype, device=old.device)
        return spec
