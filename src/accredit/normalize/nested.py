"""Observations that are more than one vector: dictionaries, tuples, images.

Axes: C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn

from accredit.errors import InvalidArgument, UnknownName
from accredit.normalize.observation import RunningMeanStd

Observation: TypeAlias = Tensor | Mapping[str, "Observation"] | tuple["Observation", ...]


class Normalizer(Protocol):
    """What a part of a nested observation is normalized by."""

    def update(self, x: Observation, mask: Tensor | None = None) -> None:
        """Take a batch into the statistics."""

    def normalize(self, x: Observation) -> Observation:
        """Normalize by the statistics as they are."""

    def update_and_normalize(self, x: Observation, mask: Tensor | None = None) -> Observation:
        """Take a batch into the statistics and normalize it."""


class NestedNormalizer(nn.Module):
    """One normalizer per entry of a dictionary or tuple; entries without one pass through as they are.

    Entries can be nested again. A key belongs to one kind of observation and one place, so every part keeps its own
    count. A key that torch does not take as the name of a module ("observation.state", "keys") is written in the state
    dict with a % for each dot, or before it.

    Args:
        parts: name -> normalizer for dictionaries, or a sequence for tuples, with None where an entry passes through.

    Example:
        >>> normalizer = NestedNormalizer({"speed": RunningMeanStd(1)})
        >>> observation = {"speed": torch.tensor([[2.0], [4.0]]), "gear": torch.tensor([1, 2])}
        >>> normalizer.update(observation)
        >>> normalized = normalizer(observation)
        >>> normalized["speed"].flatten().tolist(), normalized["gear"].tolist()
        ([-1.0, 1.0], [1, 2])
    """

    def __init__(self, parts: Mapping[str, nn.Module] | Sequence[nn.Module | None]) -> None:
        super().__init__()
        self.by_name = isinstance(parts, Mapping)
        entries = parts.items() if isinstance(parts, Mapping) else ((str(i), part) for i, part in enumerate(parts))
        named = {name: part for name, part in entries if part is not None}
        self.modules_of = {name: _module_name(name) for name in named}
        self.parts = nn.ModuleDict({self.modules_of[name]: part for name, part in named.items()})

    def part(self, name: str) -> nn.Module | None:
        """The normalizer of an entry (of a tuple, by its index as text); None where it passes through."""
        return self.parts[self.modules_of[name]] if name in self.modules_of else None

    def update(self, x: Observation, mask: Tensor | None = None) -> None:
        """Take a batch into the statistics of every part.

        Args:
            x: dictionary or tuple of batches.
            mask: bool, the shape of the batch axes, True where a row counts; the same for every part.

        Raises:
            UnknownName: an entry with a normalizer is missing.
        """
        entries = self._entries(x)
        for name, module in self.modules_of.items():
            cast("Normalizer", self.parts[module]).update(entries[name], mask)

    def normalize(self, x: Observation) -> Observation:
        """The same structure with every part normalized.

        Raises:
            UnknownName: an entry with a normalizer is missing.
        """
        entries = dict(self._entries(x))
        for name, module in self.modules_of.items():
            entries[name] = cast("Normalizer", self.parts[module]).normalize(entries[name])
        return entries if self.by_name else tuple(entries.values())

    def update_and_normalize(self, x: Observation, mask: Tensor | None = None) -> Observation:
        """`update` and then `normalize`, part by part, at a lower price.

        Raises:
            UnknownName: an entry with a normalizer is missing.
        """
        entries = dict(self._entries(x))
        for name, module in self.modules_of.items():
            entries[name] = cast("Normalizer", self.parts[module]).update_and_normalize(entries[name], mask)
        return entries if self.by_name else tuple(entries.values())

    def forward(self, x: Observation) -> Observation:
        """`normalize`."""
        return self.normalize(x)

    def _entries(self, x: Observation) -> Mapping[str, Observation]:
        if self.by_name:
            entries = cast("Mapping[str, Observation]", x)
        else:
            entries = {str(index): entry for index, entry in enumerate(cast("tuple[Observation, ...]", x))}
        missing = [name for name in self.modules_of if name not in entries]
        if missing:
            raise UnknownName(
                f"`x` has the entries {', '.join(entries)}, but {', '.join(missing)} has a normalizer too; pass every "
                "entry that is normalized."
            )
        return entries


def _module_name(entry: str) -> str:
    """Another name for what torch refuses: a dot, an empty name, an attribute of its dictionary."""
    name = entry.replace("%", "%25").replace(".", "%2E")
    return f"%{name}" if not name or name in dir(nn.ModuleDict()) else name


class ChannelNormalizer(nn.Module):
    """Images normalized per channel: one mean and variance for all pixels of a channel.

    For one mean and variance per pixel use `RunningMeanStd((C, H, W))`. A pixel with a NaN in any channel is left out
    by itself; the rest of its image counts. `count` is that of pixels.

    Args:
        n_channels: C.
        axis: of the channels, from the end: -3 for [..., C, H, W], -1 for [..., H, W, C].
        horizon: in pixels; None forgets nothing.
        clip: bound of the output.
        epsilon: floor on the variance.
        device: of the statistics.

    Raises:
        InvalidArgument: an argument out of range.

    Example:
        >>> normalizer = ChannelNormalizer(3)
        >>> images = torch.randint(0, 256, (8, 3, 4, 4), dtype=torch.uint8)
        >>> normalizer.update(images)
        >>> normalizer(images).shape, int(normalizer.statistics.count)
        (torch.Size([8, 3, 4, 4]), 128)
    """

    def __init__(
        self,
        n_channels: int,
        *,
        axis: int = -3,
        horizon: float | None = None,
        clip: float = 10.0,
        epsilon: float = 1e-8,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if axis >= 0:
            raise InvalidArgument(
                f"`axis` is {axis}, but batch axes come first in any number; count from the end, for example -3."
            )
        self.axis = axis
        self.statistics = RunningMeanStd(n_channels, horizon=horizon, clip=clip, epsilon=epsilon, device=device)

    def update(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Take images into the statistics.

        Args:
            x: images with C channels at `axis`, and at least one batch axis.
            mask: bool, the shape of the batch axes, True where an image counts.
        """
        pixels = self._last(x)
        self.statistics.update(pixels, _per_pixel(mask, pixels))

    def normalize(self, x: Tensor) -> Tensor:
        """Images like `x`, each channel by its own statistics."""
        return self.statistics.normalize(self._last(x)).movedim(-1, self.axis)

    def update_and_normalize(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`update` and then `normalize`, at a lower price."""
        pixels = self._last(x)
        return self.statistics.update_and_normalize(pixels, _per_pixel(mask, pixels)).movedim(-1, self.axis)

    def forward(self, x: Tensor) -> Tensor:
        """`normalize`."""
        return self.normalize(x)

    def _last(self, x: Tensor) -> Tensor:
        if x.dim() < -self.axis:
            raise InvalidArgument(
                f"`x` has shape {tuple(x.shape)}, but its channels are at axis {self.axis}; pass images with that axis."
            )
        return x.movedim(self.axis, -1)


def _per_pixel(mask: Tensor | None, pixels: Tensor) -> Tensor | None:
    """A mask of images for all of their pixels [..., H, W, C]."""
    if mask is None:
        return None
    return mask.reshape(*mask.shape, *([1] * (pixels.dim() - 1 - mask.dim()))).expand(pixels.shape[:-1])
