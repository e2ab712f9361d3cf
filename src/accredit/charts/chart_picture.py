"""Any chart as a picture of matplotlib: for places that show images and run no script."""

from __future__ import annotations

import math
from typing import Any

from accredit.charts.canvas import HARMS, HELPS, INK, LINES, MARKERS, PLAIN, Axes, Figure, new_axes, write_legend
from accredit.charts.canvas import write_note as write_below
from accredit.charts.chart import Chart, Numbers
from accredit.charts.estimates import short_names

_WIDTH, _HEIGHT, _ROW, _FRAME = 8.0, 4.2, 0.28, 1.5  # inches
_LANE = 0.07  # of the height of the axes
_DEEP = 0.6  # strength from which on a dark text on the colour is hard to read
_NOTE_LINE, _LONGEST_TITLE, _LONGEST_AXIS, _LONGEST_STAGE = 110, 90, 56, 12  # characters


def chart_picture(chart: Chart) -> Figure:
    """A chart as a matplotlib figure: lines with bands and stages, lying bars or points with bars of error.

    What a page of HTML draws from `Chart.to_dict` is drawn here with the same titles, units, intervals and note; a
    number that is None or not finite leaves a gap.

    Args:
        chart: What is drawn; a chart without any number gives empty axes.

    Returns:
        A matplotlib figure, to be shown or saved.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    rows = max((len(series.y) for series in chart.series), default=0) * len(chart.series)
    height = _FRAME + _ROW * max(rows, 3) if chart.kind == "bar" else _HEIGHT
    figure, axes = new_axes(_short(chart.title, _LONGEST_TITLE), width=_WIDTH, height=height)
    if chart.kind == "bar":
        handles = _bars(axes, chart)
    else:
        handles = [_points(axes, chart, at) for at in range(len(chart.series))]
        axes.set_xlabel(_short(chart.x.title), **PLAIN)
        axes.set_ylabel(_short(chart.y.title), **PLAIN)
        _scale(axes, chart)
        _lanes(axes, chart)
    if len(chart.series) > 1:
        write_legend(axes, handles, list(short_names(tuple(series.name for series in chart.series))), outside=True)
    if chart.note:
        write_below(figure, _wrapped(chart.note))
    return figure


def _scale(axes: Axes, chart: Chart) -> None:
    """Limits and scales as a page has them."""
    for name, axis, ends in (("x", chart.x, chart.x_range()), ("y", chart.y, chart.y_range())):
        if axis.logarithmic:
            getattr(axes, f"set_{name}scale")("log")
        if ends is not None:
            getattr(axes, f"set_{name}lim")(*ends)


def _points(axes: Axes, chart: Chart, at: int) -> Any:
    """A line with its band, or points with their bars of error."""
    series = chart.series[at]
    colour, marker = LINES[at % len(LINES)], MARKERS[at % len(MARKERS)]
    x, y = _numbers(series.x), _numbers(series.y)
    lower, upper = _ends(series.lower, y), _ends(series.upper, y)
    if chart.kind == "line":
        kept = [i for i, number in enumerate(y) if not math.isnan(number)] if series.joins_gaps else range(len(y))
        style = {"markersize": 4, "linewidth": 1.4, "marker": marker if len(y) <= 30 else ""}
        (handle,) = axes.plot([x[i] for i in kept], [y[i] for i in kept], color=colour, **style)
        if series.lower is not None:
            axes.fill_between(x, lower, upper, color=colour, alpha=0.15, linewidth=0)
        return handle
    across = None if series.x_lower is None else _reach(x, _ends(series.x_lower, x), _ends(series.x_upper, x))
    along = None if series.lower is None else _reach(y, lower, upper)
    return axes.errorbar(x, y, yerr=along, xerr=across, color=colour, marker=marker, linestyle="none", capsize=3)


def _bars(axes: Axes, chart: Chart) -> list[Any]:
    """Lying bars, the first name on top, several series side by side."""
    count = max(len(chart.series), 1)
    thick = 0.7 / count
    names = tuple(map(str, chart.series[0].x)) if chart.series else ()
    handles = []
    for at, series in enumerate(chart.series):
        y = _numbers(series.y)
        places = [row + (at - (count - 1) / 2) * thick for row in range(len(y))]
        colours = [HARMS if number < 0 else HELPS for number in y] if count == 1 else LINES[at % len(LINES)]
        handles.append(axes.barh(places, [0.0 if math.isnan(n) else n for n in y], color=colours, height=thick))
        if series.lower is not None:
            reach = _reach(y, _ends(series.lower, y), _ends(series.upper, y))
            axes.errorbar(y, places, xerr=reach, color=INK, capsize=3, linewidth=1.2, linestyle="none")
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), short_names(names), **PLAIN)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(_short(chart.y.title), **PLAIN)
    ends = chart.y_range()
    if ends is not None:
        axes.set_xlim(*ends)
    return handles


def _lanes(axes: Axes, chart: Chart) -> None:
    """Stages above a line chart, a lane each, over the same axis."""
    lanes = list(dict.fromkeys(band.lane for band in chart.bands))
    if not lanes:
        return
    names = [series.name for series in chart.series]
    above = axes.inset_axes([0.0, 1.02, 1.0, _LANE * len(lanes)], sharex=axes)
    for band in chart.bands:
        colour = LINES[names.index(band.lane) % len(LINES)] if band.lane in names else INK
        place = lanes.index(band.lane)
        above.barh(
            place, band.end - band.start, left=band.start, height=0.9, color=colour, alpha=max(band.strength, 0.1)
        )
        above.text(
            (band.start + band.end) / 2,
            place,
            _short(band.label, _LONGEST_STAGE),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if band.strength > _DEEP else INK,
            clip_on=True,
            **PLAIN,
        )
    above.set_ylim(len(lanes) - 0.5, -0.5)
    above.set_yticks(range(len(lanes)), short_names(tuple(lanes)), fontsize=7, **PLAIN)
    above.tick_params(axis="both", length=0, labelbottom=False)
    for spine in above.spines.values():
        spine.set_visible(False)


def _numbers(column: tuple[float, ...] | tuple[str, ...] | Numbers) -> list[float]:
    """Floats, NaN for what is not drawn."""
    numbers = [math.nan if entry is None else float(entry) for entry in column]
    return [number if math.isfinite(number) else math.nan for number in numbers]


def _ends(column: Numbers | None, middle: list[float]) -> list[float]:
    """Ends of intervals; NaN where there are none."""
    return [math.nan] * len(middle) if column is None else _numbers(column)


def _reach(middle: list[float], lower: list[float], upper: list[float]) -> tuple[list[float], list[float]]:
    """How far bars of error go down and up; a mean that rounding puts outside of its interval has a reach of 0."""
    down = [max(m - low, 0.0) if low == low else low for m, low in zip(middle, lower, strict=True)]
    up = [max(high - m, 0.0) if high == high else high for m, high in zip(middle, upper, strict=True)]
    return down, up


def _short(text: str, longest: int = _LONGEST_AXIS) -> str:
    """A text on one line that leaves room for what it names."""
    return short_names((text,), longest=longest)[0]


def _wrapped(note: str) -> str:
    """A note on lines that fit the picture, broken between its words."""
    lines = [""]
    for word in note.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= _NOTE_LINE:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
