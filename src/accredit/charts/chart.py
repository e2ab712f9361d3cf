"""Figures as data: what is drawn, in which unit, with which intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from accredit.errors import InvalidArgument

Kind = Literal["line", "bar", "scatter"]
Numbers = tuple[float | None, ...]

_PADDING = 0.06
"""Share of the range left free at either end, so that no cap of an error bar touches the frame."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What an axis shows."""

    label: str
    """The quantity, in words."""
    unit: str | None
    """Its unit ("nats", "share", "count"); None only where the axis lists names."""
    logarithmic: bool = False
    """Whether equal distances are equal ratios; every number must then be positive."""

    @property
    def title(self) -> str:
        """The label with its unit in parentheses."""
        return self.label if self.unit is None else f"{self.label} ({self.unit})"


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that belong together. A number that is None or not finite is not drawn: a gap, never 0."""

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    """Where the points are: numbers, or in a bar chart the names of the bars."""
    y: Numbers
    """What was measured, one number per point."""
    lower: Numbers | None = None
    """Lower ends of the intervals of `y`; None where an interval is unknown."""
    upper: Numbers | None = None
    """Upper ends of the intervals of `y`."""
    x_lower: Numbers | None = None
    """Lower ends of the intervals of `x`, in a scatter chart."""
    x_upper: Numbers | None = None
    """Upper ends of the intervals of `x`."""
    joins_gaps: bool = False
    """Whether a line goes on across points that were not measured, as between visits that are rarer than the grid."""

    def __post_init__(self) -> None:
        """Check that all columns are of one length."""
        for name, column in self.columns():
            if len(column) != len(self.y):
                raise InvalidArgument(
                    f"`{name}` of the series {self.name!r} has {len(column)} entries, but `y` has {len(self.y)}; pass "
                    "one per point."
                )

    def columns(self) -> Iterator[tuple[str, tuple[float, ...] | tuple[str, ...] | Numbers]]:
        """Yield the name and the entries of every column that is given."""
        yield "x", self.x
        yield "y", self.y
        ends = {"lower": self.lower, "upper": self.upper, "x_lower": self.x_lower, "x_upper": self.x_upper}
        yield from ((name, column) for name, column in ends.items() if column is not None)


@dataclass(frozen=True, kw_only=True)
class Band:
    """A stretch of the x axis that something lasted, drawn in a lane above a line chart."""

    lane: str
    """Name of the lane; one that is the name of a series has its colour."""
    start: float
    end: float
    label: str
    """What lasted, in a word or two."""
    strength: float = 1.0
    """How deep its colour is, in [0, 1]."""

    def __post_init__(self) -> None:
        """Check that it begins before it ends."""
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start <= self.end):
            raise InvalidArgument(
                f"`start` and `end` of the band {self.label!r} are {self.start} and {self.end}, wanted finite numbers "
                "in this order; swap them, or end the band where the axis ends."
            )
        if not 0.0 <= self.strength <= 1.0:
            raise InvalidArgument(
                f"`strength` of the band {self.label!r} is {self.strength}, wanted a number in [0, 1]; pass 1 for the "
                "full colour."
            )


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure.

    - line: y over x; intervals are bands around the line, `bands` are stages in lanes above it.
    - bar: lying bars, a name each (`x` lists the names, which all series share); intervals are error bars.
    - scatter: points; intervals are error bars in one or both directions.

    Example:
        >>> chart = Chart(
        ...     title="Contributions",
        ...     kind="bar",
        ...     x=Axis(label="graft", unit=None),
        ...     y=Axis(label="fall of the log-loss", unit="nats"),
        ...     series=(Series(name="grafts", x=("a", "b"), y=(0.5, -0.25), lower=(0.25, -0.5), upper=(0.75, 0.0)),),
        ... )
        >>> chart.y_range()
        (-0.575, 0.825)
    """

    title: str
    kind: Kind
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    note: str = ""
    """What a reader needs to know: what the intervals are, over how many repetitions."""
    bands: tuple[Band, ...] = ()
    """Stages over the same x, in a line chart."""

    def __post_init__(self) -> None:
        """Check that the series fit the kind of chart."""
        if self.bands and self.kind != "line":
            raise InvalidArgument(
                f"`bands` of the {self.kind} chart {self.title!r} has {len(self.bands)} entries, but only a line chart "
                "has an axis that something can last along; leave them out."
            )
        names = {series.x for series in self.series}
        is_named = any(isinstance(place, str) for x in names for place in x)
        if self.kind == "bar" and len(names) > 1:
            raise InvalidArgument(
                f"`series` of the bar chart {self.title!r} have {len(names)} different `x`, but bars stand side by "
                "side over the same names; give every series the same names, with None where it has no value."
            )
        if is_named != (self.kind == "bar") and any(names):
            raise InvalidArgument(
                f"`x` of the {self.kind} chart {self.title!r} has {'names' if is_named else 'numbers'}, but a bar "
                "chart has names and the others have numbers; convert them or choose another kind."
            )
        if self.y.unit is None or (self.x.unit is None and self.kind != "bar"):
            raise InvalidArgument(
                f"`unit` of an axis with numbers of the chart {self.title!r} is None, but every number has a unit; "
                'pass one, "count" or "share" among them.'
            )
        for axis, numbers in ((self.x, self._numbers("x")), (self.y, self._numbers("y"))):
            if axis.logarithmic and any(number <= 0 for number in numbers):
                raise InvalidArgument(
                    f"`{axis.label}` of the chart {self.title!r} is {min(numbers)}, but a logarithmic axis has "
                    "positive numbers only; pass logarithmic=False."
                )

    def x_range(self) -> tuple[float, float] | None:
        """Return the ends of the x axis that show all points and intervals; None where it has no numbers."""
        numbers = self._numbers("x")
        if self.kind == "line" and numbers and not self.x.logarithmic:
            low, high = min(numbers), max(numbers)
            return (low, high) if low < high else (low - 1.0, high + 1.0)
        return _padded(numbers, logarithmic=self.x.logarithmic)

    def y_range(self) -> tuple[float, float] | None:
        """Return the ends of the y axis that show all points and intervals; None where it has no numbers."""
        numbers = self._numbers("y")
        if self.kind != "bar" or self.y.logarithmic:
            return _padded(numbers, logarithmic=self.y.logarithmic)
        # the length of a bar is its number, so that bars begin at 0
        low, high = _padded([*numbers, 0.0], logarithmic=False) or (0.0, 1.0)
        return low if min(numbers, default=0.0) < 0 else 0.0, high if max(numbers, default=1.0) > 0 else 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the figure as plain values that standard JSON can hold; numbers that are not finite become None."""
        return {
            "title": self.title,
            "kind": self.kind,
            "note": self.note,
            "x": {"title": self.x.title, "logarithmic": self.x.logarithmic, "range": self.x_range()},
            "y": {"title": self.y.title, "logarithmic": self.y.logarithmic, "range": self.y_range()},
            "series": [
                {"name": series.name}
                | ({"joins": True} if series.joins_gaps else {})
                | {name: [_drawn(entry) for entry in column] for name, column in series.columns()}
                for series in self.series
            ],
        } | ({"bands": [vars(band) for band in self.bands]} if self.bands else {})

    def _numbers(self, axis: Literal["x", "y"]) -> list[float]:
        """Return every finite number along one axis, ends of intervals included."""
        wanted = {"x", "x_lower", "x_upper"} if axis == "x" else {"y", "lower", "upper"}
        entries = [e for series in self.series for name, column in series.columns() if name in wanted for e in column]
        entries += [end for band in self.bands for end in (band.start, band.end)] if axis == "x" else []
        return [entry for entry in map(_drawn, entries) if isinstance(entry, (int, float))]


def _drawn(entry: float | str | None) -> float | str | None:
    return entry if isinstance(entry, str) or (entry is not None and math.isfinite(entry)) else None


def _padded(numbers: list[float], *, logarithmic: bool) -> tuple[float, float] | None:
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    if logarithmic:
        factor = (high / low) ** _PADDING if high > low else 2.0
        return low / factor, high * factor
    space = (high - low) * _PADDING if high > low else abs(high) * _PADDING or 1.0
    return low - space, high + space
