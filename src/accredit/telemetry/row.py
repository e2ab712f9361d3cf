"""An event as one row of a table: the fields of its origin, then its own."""

from __future__ import annotations

from dataclasses import fields

from accredit.telemetry.event import Event, Origin

_ORIGIN = tuple(field.name for field in fields(Origin))


def columns_of(kind: type[Event]) -> tuple[str, ...]:
    """Return the names of the columns of a table of events of one kind.

    Example:
        >>> from accredit.telemetry import RunCompleted
        >>> columns_of(RunCompleted)
        ('environment', 'episode', 'step', 'game', 'updates')
    """
    return _ORIGIN + tuple(field.name for field in fields(kind) if field.name != "origin")


def row_of(event: Event) -> tuple[object, ...]:
    """Return the values in the order of `columns_of`."""
    values = vars(event)
    origin = vars(event.origin)
    return (*(origin[name] for name in _ORIGIN), *(value for name, value in values.items() if name != "origin"))
