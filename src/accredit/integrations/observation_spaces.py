"""Normalizers over the observation spaces of Gymnasium: a Box, and dictionaries and tuples of them, to any depth.

Only a Box has a mean. What is something else (Discrete, Text, Sequence...) passes through as it is.

Axes: E environments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from torch import Tensor, nn

from accredit.errors import InvalidArgument
from accredit.integrations.running_statistics import as_floats, as_tensor
from accredit.normalize.nested import ChannelNormalizer, NestedNormalizer
from accredit.normalize.observation import RunningMeanStd

SpaceNormalizer: TypeAlias = RunningMeanStd | ChannelNormalizer | NestedNormalizer
Space: TypeAlias = spaces.Space[Any]


def normalizer_over(space: Space | None, *, epsilon: float) -> SpaceNormalizer:
    """New statistics for every Box of a space.

    Args:
        space: of one environment.
        epsilon: floor on the variance.

    Returns:
        A `RunningMeanStd` for a Box, a `NestedNormalizer` for a Dict or Tuple.

    Raises:
        InvalidArgument: no Box anywhere in the space.

    Example:
        >>> space = spaces.Dict({"joints": spaces.Box(-1, 1, (3,)), "gear": spaces.Discrete(5)})
        >>> normalizer = normalizer_over(space, epsilon=1e-8)
        >>> normalizer.part("joints"), normalizer.part("gear")
        (RunningMeanStd((3,), horizon=None, clip=10.0, epsilon=1e-08), None)
    """
    normalizer = _over(space, epsilon)
    if normalizer is None:
        raise InvalidArgument(
            f"`env` has observations in {space}, but only a Box has a mean; leave them as they are, or turn them into "
            "one, for example with gymnasium.wrappers.FlattenObservation."
        )
    return normalizer


def _over(space: Space | None, epsilon: float) -> SpaceNormalizer | None:
    if isinstance(space, spaces.Box):
        return RunningMeanStd(space.shape, epsilon=epsilon)
    if isinstance(space, spaces.Dict):
        by_name = {name: _over(part, epsilon) for name, part in space.items()}
        boxes = {name: part for name, part in by_name.items() if part is not None}
        return NestedNormalizer(boxes) if boxes else None
    if isinstance(space, spaces.Tuple):
        by_place = [_over(part, epsilon) for part in space]
        return NestedNormalizer(by_place) if any(part is not None for part in by_place) else None
    return None


def normalized_space(space: Space | None, normalizer: nn.Module | None, *, place: str = "observations") -> Space:
    """The space that normalized observations lie in: float32 within the clip bound, where there is a normalizer.

    Args:
        space: of one environment.
        normalizer: what it is normalized by; None where it passes through.
        place: of the space, for error messages.

    Raises:
        InvalidArgument: a normalizer for another kind or shape of observation.
    """
    if isinstance(normalizer, NestedNormalizer):
        return _normalized_parts(space, normalizer, place)
    if normalizer is None and space is not None:
        return space
    if not isinstance(normalizer, RunningMeanStd | ChannelNormalizer) or not isinstance(space, spaces.Box):
        raise InvalidArgument(
            f"`statistics` are a {type(normalizer).__name__}, but {place} lie in {space}; pass a RunningMeanStd or "
            "ChannelNormalizer for a Box, a NestedNormalizer for a Dict or Tuple."
        )
    statistics = normalizer if isinstance(normalizer, RunningMeanStd) else normalizer.statistics
    shape = space.shape if isinstance(normalizer, RunningMeanStd) else (space.shape[normalizer.axis],)
    if statistics.shape != shape:
        raise InvalidArgument(
            f"`statistics` have shape {statistics.shape}, but {place} have shape {shape}; build them for that shape."
        )
    return spaces.Box(-statistics.clip, statistics.clip, space.shape, np.float32)


def _normalized_parts(space: Space | None, normalizer: NestedNormalizer, place: str) -> Space:
    entries: Iterable[tuple[str, Space]]
    if isinstance(space, spaces.Dict) and normalizer.by_name:
        entries = list(space.items())
    elif isinstance(space, spaces.Tuple) and not normalizer.by_name:
        entries = [(str(index), part) for index, part in enumerate(space)]
    else:
        kind = "names" if normalizer.by_name else "places"
        raise InvalidArgument(
            f"`statistics` are a NestedNormalizer by {kind}, but {place} lie in {space}; pass one by names for a Dict, "
            "one by places for a Tuple."
        )
    missing = normalizer.modules_of.keys() - {name for name, _ in entries}
    if missing:
        raise InvalidArgument(
            f"`statistics` normalize {', '.join(sorted(missing))}, but {place} have "
            f"{', '.join(name for name, _ in entries)}; build them for those entries."
        )
    parts = {name: normalized_space(part, normalizer.part(name), place=f"{place}[{name}]") for name, part in entries}
    return spaces.Dict(parts) if normalizer.by_name else spaces.Tuple(tuple(parts.values()))


def to_tensors(observation: Any, normalizer: nn.Module | None) -> Any:
    """Arrays as tensors where there is a normalizer; the rest as it is."""
    if normalizer is None:
        return observation
    if not isinstance(normalizer, NestedNormalizer):
        return as_tensor(observation)
    if normalizer.by_name:
        return {name: to_tensors(entry, normalizer.part(name)) for name, entry in observation.items()}
    return tuple(to_tensors(entry, normalizer.part(str(index))) for index, entry in enumerate(observation))


def to_arrays(observation: Any) -> Any:
    """Tensors as float32 arrays, as a policy is fed; the rest as it is."""
    if isinstance(observation, Tensor):
        return as_floats(observation)
    if isinstance(observation, dict):
        return {name: to_arrays(entry) for name, entry in observation.items()}
    if isinstance(observation, tuple):
        return tuple(to_arrays(entry) for entry in observation)
    return observation


def batch_of_one(observation: Any) -> Any:
    """Every tensor with a batch axis of 1 in front."""
    if isinstance(observation, Tensor):
        return observation.unsqueeze(0)
    if isinstance(observation, dict):
        return {name: batch_of_one(entry) for name, entry in observation.items()}
    if isinstance(observation, tuple):
        return tuple(batch_of_one(entry) for entry in observation)
    return observation
