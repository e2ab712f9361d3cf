"""Normalizers over the observation spaces of Gymnasium: a Box, and dictionaries and tuples of them, to any depth.

Only a Box has a mean. What is something else (Discrete, Text, Sequence...) passes through as it is.

Axes: E environments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from torch import nn

from accredit.errors import InvalidArgument
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
    entries = _entries(space)
    if entries is None:
        return RunningMeanStd(space.shape, epsilon=epsilon) if isinstance(space, spaces.Box) else None
    parts = {name: _over(entry, epsilon) for name, entry in entries.items()}
    if not any(parts.values()):
        return None
    if isinstance(space, spaces.Tuple):
        return NestedNormalizer(list(parts.values()))
    return NestedNormalizer({name: part for name, part in parts.items() if part is not None})


def _entries(space: Space | None) -> dict[str, Space] | None:
    """Entries of a Dict by name, of a Tuple by index as text; None for what has none."""
    if isinstance(space, spaces.Dict):
        return dict(space.items())
    if isinstance(space, spaces.Tuple):
        return {str(index): entry for index, entry in enumerate(space)}
    return None


def normalized_space(space: Space | None, normalizer: nn.Module, *, place: str = "observations") -> Space:
    """The space that normalized observations lie in: float32 within the clip bound, where there is a normalizer.

    Args:
        space: of one environment.
        normalizer: what it is normalized by.
        place: of the space, for error messages.

    Raises:
        InvalidArgument: a normalizer for another kind or shape of observation.
    """
    if isinstance(normalizer, NestedNormalizer):
        return _normalized_entries(space, normalizer, place)
    # statistics of images are of their channels alone
    axis = normalizer.axis if isinstance(normalizer, ChannelNormalizer) else None
    statistics = normalizer if axis is None else normalizer.statistics
    if not isinstance(statistics, RunningMeanStd) or not isinstance(space, spaces.Box):
        raise InvalidArgument(
            f"`statistics` are a {type(normalizer).__name__}, but {place} lie in {space}; pass a RunningMeanStd or "
            "ChannelNormalizer for a Box, a NestedNormalizer for a Dict or Tuple."
        )
    shape = space.shape if axis is None else (space.shape[axis],)
    if statistics.shape != shape:
        raise InvalidArgument(
            f"`statistics` have shape {statistics.shape}, but {place} have shape {shape}; build them for that shape."
        )
    return spaces.Box(-statistics.clip, statistics.clip, space.shape, np.float32)


def _normalized_entries(space: Space | None, normalizer: NestedNormalizer, place: str) -> Space:
    entries = _entries(space)
    if space is None or entries is None or isinstance(space, spaces.Dict) != normalizer.by_name:
        kind = "names" if normalizer.by_name else "places"
        raise InvalidArgument(
            f"`statistics` are a NestedNormalizer by {kind}, but {place} lie in {space}; pass one by names for a Dict, "
            "one by places for a Tuple."
        )
    missing = sorted(normalizer.modules_of.keys() - entries.keys())
    if missing:
        raise InvalidArgument(
            f"`statistics` normalize {', '.join(missing)}, but {place} have {', '.join(entries)}; build them for those "
            "entries."
        )
    for name, entry in entries.items():
        part = normalizer.part(name)
        if part is not None:
            entries[name] = normalized_space(entry, part, place=f"{place}[{name}]")
    return spaces.Dict(entries) if normalizer.by_name else spaces.Tuple(tuple(entries.values()))


def each_part(observation: Any, normalizer: nn.Module | None, function: Callable[[Any], Any]) -> Any:
    """The observation with a function applied to every part that has a normalizer; the rest as it is."""
    if normalizer is None:
        return observation
    if not isinstance(normalizer, NestedNormalizer):
        return function(observation)
    if normalizer.by_name:
        return {name: each_part(entry, normalizer.part(name), function) for name, entry in observation.items()}
    return tuple(each_part(entry, normalizer.part(str(index)), function) for index, entry in enumerate(observation))
