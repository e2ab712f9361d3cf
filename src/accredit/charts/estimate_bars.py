"""Named estimates as a chart of a page: a bar each with its interval, those that matter most."""

from __future__ import annotations

from accredit.charts.chart import Axis, Chart, Series
from accredit.charts.estimates import Estimates, isolated


def estimate_bars(estimates: Estimates, *, title: str, of: str, what: str = "contribution", most: int = 40) -> Chart:
    """Return a bar per estimate, positive helps, by falling contribution; the smallest of many are left out.

    Args:
        estimates: of players, or of pairs.
        title: of the chart.
        of: what has the names, in a word.
        what: the quantity that is estimated of the output, in a word.
        most: bars.

    Example:
        >>> loss = Estimates(names=("a", "b"), values=(-0.5, 0.25), half_widths=(0.125, None), quantity="loss",
        ...     unit="nat", higher_is_better=False, level=0.9)
        >>> chart = estimate_bars(loss, title="Contributions", of="player")
        >>> chart.series[0].y, chart.series[0].lower, chart.note
        ((0.5, -0.25), (0.375, None), 'Error bars: 90 % intervals, unknown for 1, each player alone.')
    """
    drawn, rest = estimates.largest(most)
    contributions, reach = estimates.contributions, estimates.reach
    rows = [(contributions[at], reach[at]) for at in drawn]
    bars = Series(
        name=what,
        x=tuple(estimates.names[at] for at in drawn),
        y=tuple(number for number, _ in rows),
        lower=tuple(None if width is None else number - width for number, width in rows),
        upper=tuple(None if width is None else number + width for number, width in rows),
    )
    note = f"Error bars: {estimates.interval_note}, each {of} alone."
    if rest:
        note += f" {len(rest)} smaller ones are not drawn."
    return Chart(
        title=title,
        kind="bar",
        x=Axis(label=of, unit=None),
        y=Axis(label=f"{what} to {isolated(estimates.quantity)}, positive helps", unit=estimates.unit),
        series=(bars,),
        note=note,
    )
