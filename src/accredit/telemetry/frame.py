"""Events of one kind as a pandas frame (extra `report`)."""

from __future__ import annotations

import importlib
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from accredit.errors import InvalidArgument, MissingExtra
from accredit.telemetry.event import EVENT_KINDS, Event, Origin
from accredit.telemetry.record import UnknownEvent
from accredit.telemetry.row import columns_of, row_of
from accredit.telemetry.sinks.jsonl import read_timed


def read_frame(
    path: Path,
    kind: type[Event],
    *,
    environment: str | None = None,
    episode: int | None = None,
    step: int | None = None,
) -> Any:
    """Read the events of one kind, one row each, in the order they were written.

    The columns are `time` (UTC), the origin's `environment`, `episode`, `step` and `game`, and the fields of the kind.
    Numbers are float64 with NaN, or Int64 with NA, where a measurement is missing; lists and mappings stay tuples and
    dictionaries.

    Args:
        path: A file that a `JsonlSink` wrote, or is still writing, such as `events.jsonl` of a run.
        kind: A class of `EVENT_KINDS`.
        environment: Only events of this environment, if given.
        episode: Only events of this episode, if given.
        step: Only events of this step, if given.

    Returns:
        A `pandas.DataFrame`, without rows where there are no such events; `Any`, for pandas need not be there.

    Raises:
        InvalidArgument: `kind` is no kind of events.
        MissingExtra: pandas is not installed.
        FileDamaged: A line is not an event.
        RunFolderError: The file cannot be read.

    Example:
        >>> import tempfile
        >>> from accredit.telemetry import JsonlSink, RunCompleted
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "events.jsonl"
        ...     with JsonlSink(path) as sink:
        ...         sink(RunCompleted(updates=40))
        ...     read_frame(path, RunCompleted)["updates"].tolist()
        [40]
    """
    if EVENT_KINDS.get(getattr(kind, "__name__", "")) is not kind:
        raise InvalidArgument(
            f"`kind` is {kind!r}, but a frame has the events of one kind; pass a class of `EVENT_KINDS`, such as "
            "`UpdateCompleted`."
        )
    pandas = _pandas()
    found = read_timed(path, kinds=(kind,), environment=environment, episode=episode, step=step)
    timed = [(time_s, row_of(event)) for time_s, event in found if not isinstance(event, UnknownEvent)]
    times = pandas.to_datetime(pandas.Series([time_s for time_s, _ in timed], dtype="float64"), unit="s", utc=True)
    columns: dict[str, Any] = {"time": times}
    hints = get_type_hints(Origin) | get_type_hints(kind)
    for at, name in enumerate(columns_of(kind)):
        columns[name] = pandas.Series([row[at] for _, row in timed], dtype=_dtype(hints[name]))
    return pandas.DataFrame(columns)


def _dtype(hint: object) -> str:
    """Return the type of a column, so that one without rows or without measurements has it too."""
    may_be_none = get_origin(hint) in (Union, types.UnionType)
    plain: Any = get_args(hint)[0] if may_be_none else hint
    if plain is int:
        return "Int64" if may_be_none else "int64"
    return {float: "float64", bool: "bool"}.get(plain, "object")


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise MissingExtra(
            "`read_frame` got no pandas, wanted it installed; run `pip install accredit[report]`, or use `read`."
        ) from error
