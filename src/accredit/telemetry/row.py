"""An event as one row of a table: the fields of its origin, then its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from accredit.telemetry.event import EVENT_KINDS, Event, Origin

_ORIGIN = tuple(field.name for field in fields(Origin))
_NOT_REPEATED: Mapping[type[Event], frozenset[str]] = {
    kind: frozenset(field.name for field in fields(kind) if field.name == "origin" or not field.compare)
    for kind in EVENT_KINDS.values()
}


def columns_of(kind: type[Event], *, times: bool = True) -> tuple[str, ...]:
    """Return the names of the columns of a table of events of one kind.

    Args:
        kind: of the events.
        times: whether fields that a clock measured are among them.

    Example:
        >>> from accredit.telemetry import RunCompleted
        >>> columns_of(RunCompleted)
        ('environment', 'episode', 'step', 'game', 'updates')
    """
    return _ORIGIN + tuple(field.name for field in fields(kind) if field.name != "origin" and (times or field.compare))


def row_of(event: Event, *, times: bool = True) -> tuple[object, ...]:
    """Return the values in the order of `columns_of`."""
    origin, left_out = vars(event.origin), {"origin"} if times else _NOT_REPEATED[type(event)]
    own = (value for name, value in vars(event).items() if name not in left_out)
    return (*(origin[name] for name in _ORIGIN), *own)
