"""One sink that passes every event to several, none of which can stop a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from accredit.telemetry.event import Event

Sink = Callable[[Event], None]
"""Whatever takes an event: any callable of one argument."""


class Guarded:
    """A sink whose failures stop nobody: the first is reported, and it is offered every later event.

    Args:
        sink: a callable of one event.
        on_failure: called with a sentence at the first failure.
    """

    def __init__(self, sink: Sink, on_failure: Callable[[str], None]) -> None:
        self.sink, self.on_failure = sink, on_failure
        self._has_failed = False

    def __call__(self, event: Event) -> None:
        """Pass on one event."""
        self.attempt(lambda: self.sink(event), f"on an event of kind {type(event).__name__}")

    def attempt(self, act: Callable[[], None], when: str) -> None:
        """Do something that belongs to the sink.

        Args:
            act: what to do.
            when: the same in words, for the report.
        """
        try:
            act()
        except Exception as error:  # foreign code: a view that breaks must not end hours of training
            if not self._has_failed:
                self._has_failed = True
                self.on_failure(_sentence(self.sink, when, error))


def fan_out(sinks: Sequence[Sink], *, on_failure: Callable[[str], None]) -> Sink:
    """Return a sink that passes each event to all `sinks` in order, whichever of them fail.

    For views that training can do without: a failing sink is reported once and is offered every later event, so that
    it may recover. The file of record should stop the run where it cannot be written; call `JsonlSink` beside this.

    Args:
        sinks: Callables of one event.
        on_failure: Called with a sentence at the first failure of each sink.

    Returns:
        A callable of one event that raises no `Exception` of a sink.

    Example:
        >>> from accredit.telemetry import CoalitionsEvaluated, Origin
        >>> def broken(event):
        ...     raise ConnectionError("no route to host")
        >>> sink = fan_out([broken, lambda event: print("step", event.origin.step)], on_failure=print)
        >>> for step in (1, 2):
        ...     sink(CoalitionsEvaluated(origin=Origin(step=step), players=(), coalitions=(), values={}))
        `<function broken>` failed on an event of kind CoalitionsEvaluated (ConnectionError: no route to host); ...
        step 1
        step 2
    """
    guarded = [Guarded(sink, on_failure) for sink in sinks]

    def pass_on(event: Event) -> None:
        for each in guarded:
            each(event)

    return pass_on


def _sentence(sink: Sink, when: str, error: Exception) -> str:
    # the address in a default repr says nothing to a reader
    name = re.sub(r" at 0x[0-9a-f]+", "", repr(sink))
    return (
        f"`{name}` failed {when} ({type(error).__name__}: {error}); training goes "
        "on and offers it every later event, but further failures of this sink are not reported."
    )
