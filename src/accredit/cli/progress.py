"""How far a long run is, how fast it goes and how much longer it needs."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

PLAIN_EVERY_S = 5.0


@dataclass
class Pace:
    """Rate of one phase, from the parts that were done since it was first seen."""

    phase: str
    first: int
    began_s: float

    def describe(self, done: int, planned: int, now_s: float) -> str:
        """Return rate and remaining time in words."""
        parts, elapsed = done - self.first, now_s - self.began_s
        if parts <= 0 or elapsed <= 0:
            return "measuring the pace"
        rate = parts / elapsed
        return f"{rate:.2f}/s, {_duration(max(planned - done, 0) / rate)} left"


class Display:
    """Shows progress: a live bar on a terminal, a plain line every few seconds elsewhere, nothing when quiet.

    Args:
        console: where to; rich finds out whether it is a terminal.
        quiet: show nothing.
        clock: seconds, for tests.
    """

    def __init__(self, console: Console, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.quiet, self.clock = console, quiet, clock
        self.folder: Path | None = None
        """Where everything is kept, once that is known; said with the next progress, for who wants to watch."""
        self._pace: Pace | None = None
        self._printed_s = -PLAIN_EVERY_S
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def show(self, phase: str, done: int, planned: int) -> None:
        """Take one report: what is being done, how many parts of it are done and planned."""
        if self.quiet:
            return
        if self.folder is not None:
            self._tell(f"live: accredit watch {shlex.quote(str(self.folder))}")
            self.folder = None
        now_s = self.clock()
        if self._pace is None or self._pace.phase != phase:
            self._pace, self._printed_s = Pace(phase, done, now_s), -PLAIN_EVERY_S
        pace = self._pace.describe(done, planned, now_s)
        if self.console.is_terminal:
            self._draw(phase, done, planned, pace)
        elif done == planned or now_s - self._printed_s >= PLAIN_EVERY_S:
            self._printed_s = now_s
            self.console.print(f"{phase} {done}/{planned}, {pace}", highlight=False)

    def say(self, sentence: str) -> None:
        """Print a notice above the bar, on stderr, quiet or not."""
        (self._bar.console if self._bar else Console(file=sys.stderr)).print(Text(sentence), soft_wrap=True)

    def _tell(self, sentence: str) -> None:
        """Print a line where progress is printed, above the bar."""
        (self._bar.console if self._bar else self.console).print(Text(sentence), soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, phase: str, done: int, planned: int, pace: str) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description:<12}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(str(phase), total=planned, pace=pace)
        if self._task is not None:
            self._bar.update(self._task, description=str(phase), completed=done, total=planned, pace=pace)


def _duration(seconds: float) -> str:
    """Return seconds as `45 s`, `3 min 20 s` or `1 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
