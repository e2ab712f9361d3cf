"""Sinks that can be made anew from the file of events, and all sinks of a run together."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from accredit.errors import AccreditError
from accredit.telemetry.event import Event
from accredit.telemetry.record import UnknownEvent
from accredit.telemetry.sinks.fan_out import Guarded, Sink


class View(abc.ABC):
    """A sink with something to open and close, all of which follows from the events.

    A run that is resumed cuts its events at the checkpoint and writes the rest again. A view is therefore begun anew
    and shown the events that stayed, so that it ends as that of a run that nobody interrupted. A sink that is a plain
    callable has no way to forget: after a resume it is offered again what came after the checkpoint.
    """

    @abc.abstractmethod
    def begin(self) -> None:
        """Put away what is there from before, and be ready for the first event of a run."""

    @abc.abstractmethod
    def __call__(self, event: Event) -> None:
        """Take one event."""

    @abc.abstractmethod
    def close(self) -> None:
        """Write out what waits and give back what is open; calling it twice is harmless."""

    def __enter__(self) -> Self:
        """Begin, and return the view itself."""
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the view."""
        self.close()


@contextmanager
def showing(
    sinks: Sequence[Sink], *, history: Callable[[], Iterable[Event | UnknownEvent]], on_failure: Callable[[str], None]
) -> Iterator[Sink]:
    """Begin the views among `sinks`, show them what happened before, and close them in the end.

    Args:
        sinks: Views and plain callables; whatever they raise is reported once each and stops nobody.
        history: Returns the events that the file of record holds already; asked only where there is a view.
        on_failure: Called with a sentence at the first failure of each sink.

    Returns:
        A sink that passes each event to all of them.

    Example:
        >>> from accredit.telemetry import RunCompleted
        >>> with showing([print], history=list, on_failure=print) as sink:
        ...     sink(RunCompleted(updates=2))
        RunCompleted(origin=Origin(...), updates=2)
    """
    guarded = [Guarded(sink, on_failure) for sink in sinks]
    views = [(each, each.sink) for each in guarded if isinstance(each.sink, View)]
    try:
        for each, view in views:
            each.attempt(view.begin, "to begin")
        if views:
            _show([each for each, _ in views], history, on_failure)

        def pass_on(event: Event) -> None:
            for each in guarded:
                each(event)

        yield pass_on
    finally:
        for each, view in views:
            each.attempt(view.close, "to close")


def _show(
    views: Sequence[Guarded], history: Callable[[], Iterable[Event | UnknownEvent]], on_failure: Callable[[str], None]
) -> None:
    try:
        for event in history():
            if not isinstance(event, UnknownEvent):
                for each in views:
                    each(event)
    except AccreditError as error:  # the file of record is damaged: its matter, and no reason to stop for a view
        on_failure(f"sinks begin with a gap, because the events before could not all be read: {error}")
