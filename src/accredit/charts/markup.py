"""Figures as HTML: a canvas that draws itself, and the numbers in a table for those who cannot see it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from accredit.charts.chart import Chart, Series

_HERE = Path(__file__).parent
_NUMBER = ' class="number"'
_BAND_HEAD = (("lane", False), ("band", False), ("from", True), ("to", True))
_SCRIPTS = ("vendor/chart.umd.min.js", "vendor/chartjs-chart-error-bars.umd.min.js", "draw.js")


def scripts() -> list[str]:
    """Return the JavaScript that draws every figure of a page, in the order in which it must run.

    The first two are Chart.js and its error bars, as they were published but for the comment that points a browser to
    a source map elsewhere; the last reads the element with the id `charts` and draws it.
    """
    return [_without_source_map((_HERE / name).read_text(encoding="utf-8")) for name in _SCRIPTS]


def colours() -> str:
    """Return the style sheet with the fonts and colours of every page, which the figures are drawn in, too."""
    return (_HERE / "colours.css").read_text(encoding="utf-8")


def figure(chart: Chart, *, identifier: str) -> str:
    """Return one figure as HTML: title, canvas, note, and its numbers as a table that opens on demand.

    Args:
        chart: What is drawn.
        identifier: The id of the canvas, unique in the page.
    """
    rows = max((len(series.y) for series in chart.series), default=0)
    kind = {"line": "Line chart", "bar": "Bar chart", "scatter": "Scatter chart"}[chart.kind]
    label = f"{kind}: {chart.title}. {chart.y.title} over {chart.x.title}. The numbers are in the table below."
    # lying bars need room for each name, whatever their number
    height = f' data-rows="{max(rows, 1) * max(len(chart.series), 1)}"' if chart.kind == "bar" else ""
    note = f'<p class="note" dir="auto">{escape(chart.note)}</p>' if chart.note else ""
    return (
        f'<figure class="chart" aria-labelledby="{identifier}-title">'
        f'<figcaption id="{identifier}-title" dir="auto">{escape(chart.title)}</figcaption>'
        f'<div class="plot"{height}><canvas id="{identifier}" role="img" aria-label="{escape(label)}"></canvas></div>'
        f'<p class="note" id="{identifier}-key"></p>{note}'
        f"<details><summary>The numbers</summary>{_table(chart)}{_bands(chart)}</details></figure>"
    )


def data(charts: Sequence[tuple[str, Chart]]) -> str:
    """Return the element that holds all figures of a page as JSON.

    Args:
        charts: The id of the canvas of each chart, and the chart.
    """
    content = json.dumps([{"id": identifier} | chart.to_dict() for identifier, chart in charts], allow_nan=False)
    return f'<script type="application/json" id="charts">{_inert(content)}</script>'


def _inert(content: str) -> str:
    """Spell the characters that could end or open an element inside a script."""
    return content.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _without_source_map(script: str) -> str:
    return "\n".join(line for line in script.split("\n") if not line.startswith("//# sourceMappingURL="))


def _table(chart: Chart) -> str:
    headings = [("series", False), (chart.x.title, chart.kind != "bar"), (chart.y.title, True)]
    ends = [("lower", True), ("upper", True)]
    has_interval = any(series.lower is not None or series.upper is not None for series in chart.series)
    has_x_interval = any(series.x_lower is not None for series in chart.series)
    if has_x_interval:
        headings[2:2] = ends
    head = "".join(
        f'<th scope="col"{_NUMBER if is_number else ""}><bdi>{escape(heading)}</bdi></th>'
        for heading, is_number in headings + (ends if has_interval else [])
    )
    body = "".join(_rows(series, has_interval=has_interval, has_x_interval=has_x_interval) for series in chart.series)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="The numbers: {escape(chart.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _bands(chart: Chart) -> str:
    """What lasted from where to where."""
    if not chart.bands:
        return ""
    head = "".join(f'<th scope="col"{_NUMBER if end else ""}>{text}</th>' for text, end in _BAND_HEAD)
    body = "".join(
        f'<tr><th scope="row"><bdi>{escape(band.lane)}</bdi></th><td><bdi>{escape(band.label)}</bdi></td>'
        f"{_cell(band.start)}{_cell(band.end)}</tr>"
        for band in chart.bands
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="The bands: {escape(chart.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _rows(series: Series, *, has_interval: bool, has_x_interval: bool) -> str:
    unknown = (None,) * len(series.y)
    columns: list[Sequence[float | str | None]] = [series.x, series.y]
    if has_interval:
        columns += [series.lower or unknown, series.upper or unknown]
    if has_x_interval:
        columns[1:1] = [series.x_lower or unknown, series.x_upper or unknown]
    return "".join(
        f'<tr><th scope="row"><bdi>{escape(series.name)}</bdi></th>{"".join(map(_cell, row))}</tr>'
        for row in zip(*columns, strict=True)
    )


def _cell(entry: float | str | None) -> str:
    if entry is None:
        return f"<td{_NUMBER}>&ndash;</td>"
    if isinstance(entry, str):
        return f"<td><bdi>{escape(entry)}</bdi></td>"
    if not math.isfinite(entry):
        return f"<td{_NUMBER}>{'NaN' if math.isnan(entry) else '∞' if entry > 0 else '&minus;∞'}</td>"
    return f"<td{_NUMBER}>{f'{entry:.6g}'.replace('-', '&minus;')}</td>"
