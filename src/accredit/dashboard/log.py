"""Some of the events of a run as they were written, found through the index and not by reading the file."""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accredit.dashboard.tally import LINES_A_MARK, group_of

Plain = dict[str, Any]

ROWS = 30
"""Events that are shown at once."""
_MOST_BLOCKS = 16
_MOST_BYTES = 1 << 22  # of one block
_LONGEST_TEXT = 400


@dataclass(frozen=True)
class Lines:
    """Where the lines of a file are."""

    path: Path
    count: int
    """Lines that were read."""
    end: int
    """Bytes that were read."""
    marks: array[int]
    """First byte of every 512th line."""


def read_log(lines: Lines, *, before: int, place: str) -> Plain:
    """Return the last events before a line, latest first.

    Of a place that has few events, no more than about 8000 lines are looked through at once.

    Args:
        lines: of the file.
        before: number of a line from 0; what is beyond the end means the end.
        place: an environment or a group of them, whose events alone are wanted; empty: all events.

    Returns:
        `rows`, each with the number of its line from 1, and `first`, before which to go on.
    """
    before = max(0, min(before, lines.count))
    rows: list[Plain] = []
    looked_at = 0
    while before > 0 and len(rows) < ROWS and looked_at < _MOST_BLOCKS:
        block = (before - 1) // LINES_A_MARK
        first = block * LINES_A_MARK
        for number, line in reversed(list(enumerate(_block(lines, block), start=first))):
            if number < before and len(rows) < ROWS:
                before = number
                row = _row(number, line)
                if not place or place in (row["environment"], group_of(row["environment"])):
                    rows.append(row)
        before = before if len(rows) >= ROWS else first
        looked_at += 1
    return {"rows": rows, "first": before, "count": lines.count}


def _block(lines: Lines, block: int) -> list[bytes]:
    begin = lines.marks[block]
    end = lines.marks[block + 1] if block + 1 < len(lines.marks) else lines.end
    try:
        with lines.path.open("rb") as file:
            file.seek(begin)
            content = file.read(min(end - begin, _MOST_BYTES))
    except OSError:
        return []
    return content.split(b"\n")[:-1]


def _row(number: int, line: bytes) -> Plain:
    """Return one event as texts; a line that is none says so."""
    row: Plain = {"line": number + 1, "time": None, "event": "unreadable", "environment": "", "where": "", "text": ""}
    try:
        entries = json.loads(line)
        origin, time_s = entries.pop("origin"), float(entries.pop("time"))
        found = {
            "event": str(entries.pop("event")),
            "time": time_s if math.isfinite(time_s) else None,
            "environment": str(origin["environment"] or ""),
            "where": ", ".join(
                f"{name} {origin[name]}" for name in ("episode", "step", "game") if origin[name] is not None
            ),
        }
        entries.pop("version", None)
        text = ", ".join(f"{name} {_short(value)}" for name, value in entries.items())
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return row
    return row | found | {"text": text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"}


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
