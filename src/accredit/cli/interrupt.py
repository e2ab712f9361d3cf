"""Ctrl-C: the first one ends a command where nothing is lost, the second one at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

STOPPED = 130
"""Exit status of a command that Ctrl-C ended: 128 + the number of the signal, as shells have it."""


@contextlib.contextmanager
def gentle_stop(say: Callable[[str], None], *, where: str, at_once: bool = False) -> Iterator[Callable[[], bool]]:
    """Take Ctrl-C as a question that the work answers when it can.

    Python drops an exception that a signal raises while a destructor or a callback of C runs. The question stays, so
    that work which asks now and then ends all the same.

    Args:
        say: told at the first Ctrl-C what happens now.
        where: where the work will stop, as the end of "stopping ...".
        at_once: raise at the first Ctrl-C too, for work that rarely asks.

    Returns:
        Whether Ctrl-C was pressed.
    """
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal asked
        if asked or at_once:
            asked = True
            raise KeyboardInterrupt
        asked = True
        with contextlib.suppress(RuntimeError):  # Ctrl-C came in the middle of printing, which cannot begin again
            say(f"stopping {where}; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
