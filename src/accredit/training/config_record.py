"""Configurations as plain values: saved, read back with every field checked, and compared field by field."""

from __future__ import annotations

import dataclasses
import enum
import math
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from accredit.errors import InvalidArgument, StateMismatch

Config = TypeVar("Config")


def to_plain(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dicts of str, int, float, bool and None.

    Example:
        >>> from accredit.training.reward import RewardConfig
        >>> to_plain(RewardConfig())
        {'loss_cap': 2.5, 'rent': 0.02, 'graft_cost': 0.005, 'control_variate': True}
    """
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = vars(config)[field.name]
        if dataclasses.is_dataclass(value):
            plain[field.name] = to_plain(value)
        else:
            plain[field.name] = str(value) if isinstance(value, enum.StrEnum) else value
    return plain


def from_plain(kind: type[Config], plain: Mapping[str, Any], *, place: str = "") -> Config:
    """Return the configuration of class `kind` that `to_plain` described.

    Raises:
        StateMismatch: a field is missing, unknown, or not of its type.
        InvalidArgument: a value is out of range.
    """
    hints = typing.get_type_hints(kind)
    if set(plain) != set(hints):
        wrong = sorted(set(plain) ^ set(hints))
        raise StateMismatch(
            f"`config` differs from this version in the fields {', '.join(place + name for name in wrong)}, wanted "
            "exactly the fields of this version; resume with the version of accredit that began the run."
        )
    values = {name: _value(hints[name], plain[name], place + name) for name in plain}
    return kind(**values)


def differing_fields(first: Mapping[str, Any], second: Mapping[str, Any], *, place: str = "") -> list[str]:
    """Return `field: first -> second` for every leaf in which two plain configurations differ.

    Example:
        >>> differing_fields({"seed": 0, "ppo": {"clip": 0.2}}, {"seed": 0, "ppo": {"clip": 0.3}})
        ['ppo.clip: 0.2 -> 0.3']
    """
    found: list[str] = []
    for name in dict.fromkeys([*first, *second]):
        one, other = first.get(name), second.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differing_fields(one, other, place=f"{place}{name}.")
        elif one != other or type(one) is not type(other):
            found.append(f"{place}{name}: {one} -> {other}")
    return found


def _value(hint: Any, value: Any, place: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_plain(typing.cast("type[Any]", hint), value, place=f"{place}.")
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum) and value in list(hint):
        return hint(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is float and not math.isfinite(value):
        raise InvalidArgument(f"`{place}` of the configuration is {value}, wanted a finite number; pass one.")
    if type(value) is not hint:
        raise StateMismatch(
            f"`{place}` of the configuration is {value!r}, wanted {hint.__name__}; restore the file that the run wrote."
        )
    return value
