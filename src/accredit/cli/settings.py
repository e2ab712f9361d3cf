"""`--set ppo.clip=0.1`: any field of a configuration by its name."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import Any

from accredit.errors import InvalidArgument, UnknownName
from accredit.training.config import TrainConfig
from accredit.training.config_record import from_plain, to_plain


def with_settings(config: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """Return `config` with `NAME=VALUE` applied in order.

    Raises:
        InvalidArgument: no `=`, or a value out of range.
        UnknownName: no such field; the nearest is suggested.
        StateMismatch: a value of another type.

    Example:
        >>> with_settings(TrainConfig(), ["ppo.clip=0.1"]).ppo.clip
        0.1
    """
    plain = to_plain(config)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InvalidArgument(f"`--set` got {setting!r}, wanted NAME=VALUE; write for example --set ppo.clip=0.1.")
        _assign(plain, name, _parsed(text))
    return from_plain(TrainConfig, plain)


def field_names(kind: type[Any] = TrainConfig) -> list[str]:
    """Return the dotted names of all fields."""
    return list(_leaves(to_plain(kind()), ""))


def _assign(plain: dict[str, Any], name: str, value: object) -> None:
    *path, last = name.split(".")
    names = list(_leaves(plain, ""))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise UnknownName(
            f"`--set` got the field {name!r}, wanted one of the {len(names)} fields of the configuration; "
            f"did you mean {near[0]!r}?"
        )
    for part in path:
        plain = plain[part]
    plain[last] = value


def _leaves(plain: dict[str, Any], place: str) -> list[str]:
    return [
        leaf
        for name, value in plain.items()
        for leaf in (_leaves(value, f"{place}{name}.") if isinstance(value, dict) else [f"{place}{name}"])
    ]


def _parsed(text: str) -> object:
    """Return numbers and booleans as such, everything else as text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def quick(config: TrainConfig) -> TrainConfig:
    """Return a version that shows everything in seconds and learns next to nothing."""
    return dataclasses.replace(
        config,
        environments=8,
        updates=4,
        checkpoint_every=2,
        episode=dataclasses.replace(config.episode, host_seeds=16),
        evaluation=dataclasses.replace(config.evaluation, hosts=8, calibration_episodes=1),
    )
