"""Numbers and times as a report writes them, and figures that many sections draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from accredit.charts import Axis, Chart, Series, thinned
from accredit.charts.chart import Numbers
from accredit.report.page import Interval

_MOST_POINTS = 240
"""Of a line: half a page is not many more pixels wide, and a report has dozens of lines."""
MINUS = "\N{MINUS SIGN}"


def signed(number: float, digits: int = 3) -> str:
    """Write a number with its sign.

    Example:
        >>> signed(0.25), signed(-2.0, 1)
        ('+0.250', '−2.0')
    """
    return f"{number:+.{digits}f}".replace("-", MINUS)


def percent(level: float) -> str:
    """Write a level of confidence.

    Example:
        >>> percent(0.95), percent(0.999)
        ('95 %', '99.9 %')
    """
    return f"{100 * level:.4g} %"


def ends(interval: Mapping[str, Any], form: str) -> str:
    """Write both ends of an interval, each in a form of `str.format`.

    Example:
        >>> ends({"lower": 0.125, "upper": 0.5}, "{:.1%}"), ends({"lower": None, "upper": None}, "{}")
        ('12.5% to 50.0%', 'interval unknown')
    """
    if interval["lower"] is None:
        return "interval unknown"
    return f"{form.format(interval['lower'])} to {form.format(interval['upper'])}".replace("-", MINUS)


def cell(interval: Mapping[str, Any] | None) -> Interval | None:
    """Return an interval as a cell of a table."""
    return (
        None if interval is None else Interval(value=interval["mean"], lower=interval["lower"], upper=interval["upper"])
    )


def moment(time_s: float | None) -> str:
    """Write a time of day.

    Example:
        >>> moment(0.0), moment(None)
        ('1970-01-01 00:00 UTC', 'unknown')
    """
    return "unknown" if time_s is None else f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float | None) -> str:
    """Write a duration in the two largest of its units.

    Example:
        >>> duration(0.025), duration(2.5), duration(75.0), duration(7260), duration(None)
        ('25 ms', '2.5 s', '1 min 15 s', '2 h 1 min', 'unknown')
    """
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def lines(
    title: str, x: Sequence[float], y: Mapping[str, Numbers], *, axis: Axis, quantity: Axis, note: str = ""
) -> Chart:
    """Return a line chart of some numbers over one axis, thinned where it is long.

    Args:
        title: Of the chart.
        x: Where the points are.
        y: Name of a line -> its numbers; lines without any number are left out.
        axis: Of `x`.
        quantity: Of the numbers.
        note: What a reader needs to know.
    """
    series = tuple(
        Series(name=name, x=tuple(x), y=numbers)
        for name, numbers in y.items()
        if any(number is not None for number in numbers)
    )
    return thinned(Chart(title=title, kind="line", x=axis, y=quantity, series=series, note=note), most=_MOST_POINTS)
