"""Numbers along a growing axis in bounded memory: the whole of it ever coarser, and the latest part as it came.

The axis is a whole number that says where a run stands: steps of an environment, or updates. Every bucket keeps how
many numbers fell into it, their sum, the lowest and the highest, so that no down-sampling hides a spike.
"""

from __future__ import annotations

import base64
import math
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RECENT = 100
"""Positions of the latest part."""
_SLACK = 50  # older positions that wait to be let go together
_CELL = 4  # count, sum, lowest, highest
_EMPTY = (0.0, 0.0, math.inf, -math.inf)


@dataclass(frozen=True)
class Points:
    """What a trace shows, one entry per bucket that is not empty."""

    x: tuple[float, ...]
    """Middle of each bucket."""
    mean: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    count: tuple[int, ...]
    """Numbers in each bucket, at least 1."""


@dataclass
class Whole:
    """Everything since the beginning, in buckets whose width doubles when they become too many.

    Example:
        >>> whole = Whole(capacity=4)
        >>> for position in range(8):
        ...     whole.add(position, float(position))
        >>> whole.width, whole.points().mean
        (2, (0.5, 2.5, 4.5, 6.5))
    """

    capacity: int
    """Most buckets, even."""
    width: int = 1
    """Positions of a bucket."""
    cells: array[float] = field(default_factory=lambda: array("d"))

    def add(self, position: int, number: float) -> None:
        """Add a finite number at a position, 0 or more."""
        bucket = position // self.width
        while bucket >= self.capacity:
            self._double()
            bucket = position // self.width
        _put(self.cells, bucket, number)

    def points(self) -> Points:
        """Return what is there."""
        return _points(self.cells, 0, self.width)

    def _double(self) -> None:
        cells = np.frombuffer(self.cells, dtype=np.float64).reshape(-1, _CELL)
        if len(cells) % 2:
            cells = np.concatenate([cells, np.array([_EMPTY])])
        first, second = cells[0::2], cells[1::2]
        merged = np.empty_like(first)
        merged[:, :2] = first[:, :2] + second[:, :2]
        merged[:, 2] = np.minimum(first[:, 2], second[:, 2])
        merged[:, 3] = np.maximum(first[:, 3], second[:, 3])
        self.cells = array("d", merged.tobytes())
        self.width *= 2


@dataclass
class Recent:
    """The latest positions, a bucket each; older ones are let go.

    Example:
        >>> recent = Recent()
        >>> for position in range(1000):
        ...     recent.add(position, 1.0)
        >>> recent.points().x[0], recent.points().x[-1]
        (900.0, 999.0)
    """

    first: int = 0
    """Position of the first bucket."""
    cells: array[float] = field(default_factory=lambda: array("d"))

    def add(self, position: int, number: float) -> None:
        """Add a finite number at a position; one that is older than everything kept is left out."""
        bucket = position - self.first
        if bucket < 0:
            return
        if bucket >= RECENT + _SLACK:
            forgotten = bucket - RECENT + 1
            del self.cells[: forgotten * _CELL]
            self.first += forgotten
            bucket -= forgotten
        _put(self.cells, bucket, number)

    def points(self) -> Points:
        """Return the latest positions that have numbers."""
        forgotten = max(0, len(self.cells) // _CELL - RECENT)
        return _points(self.cells[forgotten * _CELL :], self.first + forgotten, 1)


class Trace:
    """One quantity: the whole of it and its latest part.

    Args:
        capacity: most buckets of the whole, even.
    """

    __slots__ = ("recent", "whole")

    def __init__(self, capacity: int) -> None:
        self.whole = Whole(capacity)
        self.recent: Recent | None = None
        """None as long as the whole has a bucket for each position, and so the latest part, too."""

    def add(self, position: int, number: float) -> None:
        """Add a finite number at a position, 0 or more."""
        if self.recent is None and position >= self.whole.capacity:
            self.recent = Recent(0, self.whole.cells[:])
        self.whole.add(position, number)
        if self.recent is not None:
            self.recent.add(position, number)

    def latest(self) -> Points:
        """Return the latest positions as they came."""
        return (self.recent or Recent(0, self.whole.cells)).points()

    def to_plain(self) -> list[Any]:
        """Return the state as plain values that JSON can hold."""
        whole, recent = self.whole, self.recent
        kept = None if recent is None else [recent.first, _to_text(recent.cells)]
        return [whole.capacity, whole.width, _to_text(whole.cells), kept]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Trace:
        """Return the trace that `to_plain` described."""
        trace = cls(plain[0])
        trace.whole = Whole(plain[0], plain[1], _from_text(plain[2]))
        trace.recent = None if plain[3] is None else Recent(plain[3][0], _from_text(plain[3][1]))
        return trace


def _put(cells: array[float], bucket: int, number: float) -> None:
    at = bucket * _CELL
    if len(cells) <= at:
        cells.extend(_EMPTY * (bucket + 1 - len(cells) // _CELL))
    cells[at] += 1.0
    cells[at + 1] += number
    if number < cells[at + 2]:
        cells[at + 2] = number
    if number > cells[at + 3]:
        cells[at + 3] = number


def _points(cells: array[float], first: int, width: int) -> Points:
    table = np.frombuffer(cells, dtype=np.float64).reshape(-1, _CELL)
    filled = np.flatnonzero(table[:, 0])
    table = table[filled]
    return Points(
        x=tuple((first + (filled + 0.5) * width - 0.5).tolist()),
        mean=tuple((table[:, 1] / table[:, 0]).tolist()),
        lowest=tuple(table[:, 2].tolist()),
        highest=tuple(table[:, 3].tolist()),
        count=tuple(table[:, 0].astype(int).tolist()),
    )


def _to_text(cells: array[float]) -> str:
    return base64.b64encode(np.frombuffer(cells, dtype=np.float64).astype("<f8").tobytes()).decode()


def _from_text(text: str) -> array[float]:
    return array("d", np.frombuffer(base64.b64decode(text), dtype="<f8").astype(np.float64).tobytes())
