"""One sink that passes every event to several."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from accredit.telemetry.event import Event

Sink = Callable[[Event], None]
"""Whatever takes an event."""


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
    failed: set[int] = set()

    def pass_on(event: Event) -> None:
        for index, sink in enumerate(sinks):
            try:
                sink(event)
            except Exception as error:  # foreign code: a view that breaks must not end hours of training
                if index not in failed:
                    failed.add(index)
                    on_failure(_sentence(sink, event, error))

    return pass_on


def _sentence(sink: Sink, event: Event, error: Exception) -> str:
    # the address in a default repr says nothing to a reader
    name = re.sub(r" at 0x[0-9a-f]+", "", repr(sink))
    return (
        f"`{name}` failed on an event of kind {type(event).__name__} ({type(error).__name__}: {error}); training goes "
        "on and offers it every later event, but further failures of this sink are not reported."
    )
