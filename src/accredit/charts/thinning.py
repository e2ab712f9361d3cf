"""Long series with as many points as a reader can see: the extremes of every stretch, as they were measured."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from accredit.charts.chart import Chart, Numbers, Series


def thinned(chart: Chart, *, most: int = 400) -> Chart:
    """Keep of every long series of a line chart the lowest and the highest point of every stretch, and both its ends.

    No point is moved or averaged, so that a single spike among millions stays where it was and as high as it was, and
    a stretch without any measurement stays a gap. The note says what was left out.

    Args:
        chart: A line chart; another kind comes back as it is.
        most: Points of a series, at least 4.

    Returns:
        The same chart where no series is longer.

    Example:
        >>> from accredit.charts import Axis
        >>> long = Series(name="s", x=tuple(map(float, range(1000))), y=(0.0,) * 700 + (9.0,) + (0.0,) * 299)
        >>> short = thinned(Chart(title="t", kind="line", x=Axis(label="x", unit="count"),
        ...     y=Axis(label="y", unit="nat"), series=(long,)), most=10)
        >>> len(short.series[0].y) <= 10, max(short.series[0].y)
        (True, 9.0)
    """
    longest = max((len(series.y) for series in chart.series), default=0)
    if chart.kind != "line" or longest <= most:
        return chart
    said = f"Of up to {longest} points of a line, at most {most} are kept: the extremes of every stretch."
    return replace(
        chart,
        series=tuple(_thinned(series, most) for series in chart.series),
        note=f"{chart.note} {said}".strip(),
    )


def _thinned(series: Series, most: int) -> Series:
    count = len(series.y)
    if count <= most:
        return series
    # two points of every stretch, and room for both ends
    stretch = math.ceil(count / ((most - 2) // 2))
    kept = {0, count - 1}
    for begin in range(0, count, stretch):
        kept |= _extremes(series.y, begin, min(begin + stretch, count))
    places = sorted(kept)
    columns: dict[str, Any] = {name: tuple(column[at] for at in places) for name, column in series.columns()}
    return replace(series, **columns)


def _extremes(numbers: Numbers, begin: int, end: int) -> set[int]:
    """Where the lowest and the highest number stand; the first place where there is no number."""
    known = [(number, at) for at in range(begin, end) if (number := numbers[at]) is not None and math.isfinite(number)]
    return {min(known)[1], max(known)[1]} if known else {begin}
