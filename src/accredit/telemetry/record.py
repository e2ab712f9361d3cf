"""An event as one line of standard JSON, and back.

A line is `{"event": ..., "version": 1, "time": ..., ` and then the fields of the event, in their order; `event` is the
name of its class and `time` is seconds since 1970 (UTC), the only entry in which two runs with the same seed differ. A
missing measurement is `null`. JSON has no NaN and no infinity, and a diverged loss is a measurement, not a missing one:
it is written as the string `"NaN"`, `"Infinity"` or `"-Infinity"`, as Protocol Buffers do in their JSON form, and the
type of the field tells it from a name when it is read.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Literal, Union, cast, get_args, get_origin, get_type_hints

from accredit.errors import InvalidArgument
from accredit.telemetry.event import EVENT_KINDS, Event, Origin

VERSION = 1
"""Raised when a line changes its meaning; a new kind of event, or a new field with a default, leaves it as it is."""

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, kw_only=True)
class UnknownEvent:
    """An event of a kind that this Accredit does not have: from a newer one, whose lines still mean the same."""

    origin: Origin
    kind: str
    fields: Mapping[str, object]
    """The other fields as JSON gives them."""


class UnreadableLineError(Exception):
    """Why a line is not an event, as the middle of a sentence."""


def encode(event: Event, *, time_s: float) -> str:
    """Write an event as one line of JSON, without the line break.

    Args:
        event: An instance of a class in `EVENT_KINDS`.
        time_s: Seconds since 1970, UTC.

    Returns:
        The line, in ASCII.

    Raises:
        InvalidArgument: The event has no kind, or holds something else than plain values.

    Example:
        >>> from accredit.telemetry import CoalitionsEvaluated
        >>> encode(CoalitionsEvaluated(origin=Origin(step=3), players=(), coalitions=(), values={}), time_s=0.5)
        '{"event": "CoalitionsEvaluated", "version": 1, "time": 0.5, "origin": {...}, ... "failures": {}}'
    """
    kind = type(event).__name__
    if EVENT_KINDS.get(kind) is not type(event):
        raise InvalidArgument(
            f"`event` is a {type(event).__qualname__}, but events are instances of the classes in `EVENT_KINDS` "
            "of `accredit.telemetry.event`; add its class there."
        )
    # its place in the line stays; a record in a record would cost a call back from the encoder
    line = {"event": kind, "version": VERSION, "time": time_s, **vars(event)}
    line["origin"] = vars(event.origin)
    try:
        return to_json(line)
    except TypeError as error:
        raise InvalidArgument(
            f"`event` of kind {kind} holds what JSON cannot ({error}), but events hold str, int, float, bool, None, "
            "tuples and mappings of these; convert it first."
        ) from error


def to_json(value: object) -> str:
    """Write plain values, and records and mappings of them, as JSON with numbers that are not finite spelled out.

    Raises:
        TypeError: there is something else in `value`.

    Example:
        >>> to_json({"loss": (0.5, None, float("inf"))})
        '{"loss": [0.5, null, "Infinity"]}'
    """
    text = _encode(value)
    # asking every number first would slow down every event, and so would a second pass of the encoder
    return _spell_special(text) if "NaN" in text or "Infinity" in text else text


def head_of(kind: type[Event]) -> str:
    """Return what every line with an event of class `kind` begins with, and no other line does."""
    return f'{{"event": "{kind.__name__}", '


def decode(line: str) -> Event | UnknownEvent:
    """Rebuild the event that `encode` wrote; the time is left out.

    Args:
        line: One line of JSON.

    Returns:
        An event equal to the one that was encoded, or an `UnknownEvent`.

    Raises:
        UnreadableLineError: The line is not the JSON of an event, or is from a newer version.
    """
    return decode_timed(line)[1]


def decode_timed(line: str) -> tuple[float, Event | UnknownEvent]:
    """Rebuild the event that `encode` wrote, with its time.

    Args:
        line: One line of JSON.

    Returns:
        Seconds since 1970 (UTC), and an event equal to the one that was encoded, or an `UnknownEvent`.

    Raises:
        UnreadableLineError: The line is not the JSON of an event, or is from a newer version.
    """
    try:
        entries = json.loads(line, parse_constant=_refuse_constant)
    except ValueError as error:
        raise UnreadableLineError(f"is not JSON ({error})") from error
    if not isinstance(entries, dict) or not {"event", "version", "time", "origin"} <= entries.keys():
        raise UnreadableLineError("is not an event, whose entries are event, version, time, origin and more")
    kind, version, time_s = entries.pop("event"), entries.pop("version"), entries.pop("time")
    if version != VERSION:
        raise UnreadableLineError(f"has version {version}, but this Accredit reads version {VERSION}")
    if type(time_s) not in (float, int):
        raise UnreadableLineError(f"has the time {time_s!r} instead of a number")
    if kind in EVENT_KINDS:
        return time_s, cast("Event", _build(EVENT_KINDS[kind], entries))
    origin = cast("Origin", _build(Origin, entries.pop("origin")))
    return time_s, UnknownEvent(origin=origin, kind=str(kind), fields=entries)


def _as_mapping(value: object) -> Mapping[str, object]:
    """Hand the encoder what is inside a nested record."""
    if is_dataclass(value) and not isinstance(value, type):
        return vars(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__qualname__}")


# an event is a tree, so that there is no circle to look for
_encode = json.JSONEncoder(default=_as_mapping, check_circular=False).encode

_TEXT_OR_WORD = re.compile(r'"(?:[^"\\]++|\\.)*+"|NaN|-?Infinity')
_WORD = re.compile("NaN|-?Infinity")


def _spell_special(text: str) -> str:
    """Put quotation marks around what JSON does not have, and leave texts that contain it alone."""
    if '\\"' in text:
        return _TEXT_OR_WORD.sub(_quoted, text)
    parts = text.split('"')  # without a quotation mark inside a text, every second part is outside of them
    for at in range(0, len(parts), 2):
        if "N" in parts[at] or "I" in parts[at]:
            parts[at] = _WORD.sub(_quoted, parts[at])
    return '"'.join(parts)


def _quoted(found: re.Match[str]) -> str:
    word = found[0]
    return word if word[0] == '"' else f'"{word}"'


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _build(kind: type, entries: object) -> object:
    """Make a record of dataclass `kind` from the entries of a JSON object."""
    if not isinstance(entries, dict):
        raise UnreadableLineError(f"has {entries!r} where the fields of a {kind.__name__} belong")
    readers = _readers(kind)
    if excess := entries.keys() - readers.keys():
        raise UnreadableLineError(f"has the field {min(excess)!r}, which a {kind.__name__} lacks")
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    if lacking := needed - entries.keys():
        raise UnreadableLineError(f"lacks the field {min(lacking)!r} of a {kind.__name__}")
    try:
        return kind(**{name: readers[name](value) for name, value in entries.items()})
    except _WrongTypeError as error:
        raise UnreadableLineError(f"has {error} in a field of a {kind.__name__}") from error


class _WrongTypeError(Exception):
    """A JSON value that does not fit the type of its field."""


_Reader = Callable[[object], object]


@cache
def _readers(kind: type) -> dict[str, _Reader]:
    hints = get_type_hints(kind)
    return {field.name: _reader(hints[field.name]) for field in fields(kind)}


def _reader(hint: object) -> _Reader:
    """Return the function from a JSON value to a value of the annotated type."""
    shape, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return lambda value: _build(cast("type", hint), value)
    if hint is float:
        return _read_float
    if hint in (int, str, bool):
        return lambda value: _read_exactly(cast("type", hint), value)
    if shape is Literal:
        return lambda value: _read_choice(inner, value)
    if shape in (Union, types.UnionType) and len(inner) == 2 and inner[1] is types.NoneType:
        present = _reader(inner[0])
        return lambda value: None if value is None else present(value)
    if shape is tuple and inner[1:] == (...,):
        item = _reader(inner[0])
        return lambda value: tuple(item(each) for each in cast("list[object]", _read_exactly(list, value)))
    if shape in (Mapping, dict) and inner[0] is str:
        item = _reader(inner[1])
        return lambda value: {
            key: item(each) for key, each in cast("dict[str, object]", _read_exactly(dict, value)).items()
        }
    raise InvalidArgument(
        f"`{hint}` is the type of a field of an event, but fields are str, int, float, bool, Literal, dataclasses, "
        "`X | None`, tuple[X, ...] and Mapping[str, X]; declare it as one of these."
    )


def _read_float(value: object) -> float:
    if type(value) in (float, int):
        return float(cast("float", value))
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    raise _WrongTypeError(f"{value!r} instead of a number")


def _read_exactly(kind: type, value: object) -> object:
    if type(value) is not kind:
        raise _WrongTypeError(f"{value!r} instead of a {kind.__name__}")
    return value


def _read_choice(choices: tuple[object, ...], value: object) -> object:
    if value not in choices:
        raise _WrongTypeError(f"{value!r} instead of one of {choices}")
    return value
