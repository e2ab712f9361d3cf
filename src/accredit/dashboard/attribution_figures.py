"""The figures of an attribution as it stands: those of its report, as far as the coalitions so far tell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from accredit.attribution.output import Output
from accredit.charts import Axis, Chart, Estimates, Series, estimate_bars, isolated
from accredit.dashboard.attribution_standing import MOST_OUTPUTS, Standing
from accredit.dashboard.figures import MOST_SERIES, Figure

Looks: TypeAlias = Sequence[tuple[int, Mapping[str, Estimates]]]
"""Number of coalitions, and the contributions to each output, at each look of the page, by rising number."""

_MOST_PAIRS, _MOST_POINTS = 20, 400


def attribution_figures(standing: Standing, looks: Looks, output: str) -> list[Figure]:
    """Return contributions to every output, and for one of them the pairs, the values, and how the estimates came.

    Args:
        standing: what is known.
        looks: what the page has seen, this time included.
        output: the one that is looked at.
    """
    drawn = [_bars(standing, each) for each in standing.outputs[:MOST_OUTPUTS] if each.name in standing.contributions]
    chosen = next((each for each in standing.outputs if each.name == output), standing.outputs[0])
    if standing.is_shapley and sum(chosen.name in contributions for _, contributions in looks) > 1:
        drawn.append(_over_coalitions(looks, chosen))
    if chosen.name in standing.interactions:
        chart = estimate_bars(
            standing.interactions[chosen.name],
            title=f"Interactions: {isolated(chosen.name)}",
            of="pair",
            what="interaction",
            most=_MOST_PAIRS,
        )
        drawn.append(Figure(_identifier("pairs", chosen), "Interactions", chart))
    return [*drawn, *_values(standing, chosen)]


def _identifier(what: str, output: Output) -> str:
    """The same for the same output of several attributions, and plain letters whatever its name is."""
    return f"{what}-{hashlib.sha256(repr((output.name, output.unit)).encode()).hexdigest()[:12]}"


def _bars(standing: Standing, output: Output) -> Figure:
    what = "Contributions to" if standing.is_shapley else "Cost of leaving one out:"
    chart = estimate_bars(standing.contributions[output.name], title=f"{what} {isolated(output.name)}", of="player")
    return Figure(_identifier("contributions", output), "Contributions", chart)


def _over_coalitions(looks: Looks, output: Output) -> Figure:
    """How contributions and their intervals settled while the page looked."""
    known = [(count, each[output.name]) for count, each in looks if output.name in each]
    last = known[-1][1]
    shown = sorted(range(len(last.names)), key=lambda at: -abs(last.values[at]))[:MOST_SERIES]
    x = tuple(float(count) for count, _ in known)
    series = tuple(_line(last.names[at], at, x, [estimates for _, estimates in known]) for at in sorted(shown))
    omitted = len(last.names) - len(shown)
    chart = Chart(
        title=f"Contributions to {isolated(output.name)} as coalitions came",
        kind="line",
        x=Axis(label="coalitions", unit="count"),
        y=Axis(label=f"contribution to {isolated(output.name)}, positive helps", unit=output.unit),
        series=series,
        note="Since this page looks on. Bands: the interval at each look alone."
        + (f" {omitted} players with smaller contributions are left out." if omitted else ""),
    )
    return Figure(_identifier("settling", output), "Contributions", chart)


def _line(name: str, at: int, x: tuple[float, ...], known: list[Estimates]) -> Series:
    rows = [(each.contributions[at], each.reach[at]) for each in known]
    return Series(
        name=name,
        x=x,
        y=tuple(number for number, _ in rows),
        lower=tuple(None if width is None else number - width for number, width in rows),
        upper=tuple(None if width is None else number + width for number, width in rows),
    )


def _values(standing: Standing, output: Output) -> list[Figure]:
    """Values of the coalitions by their size."""
    if not standing.count:
        return []
    stride = -(-standing.count // _MOST_POINTS)
    sizes = standing.masks[::stride].sum(axis=1)
    means = standing.means[standing.outputs.index(output)][::stride]
    points = Series(name="coalitions", x=tuple(map(float, sizes)), y=tuple(map(float, means)))
    chart = Chart(
        title=f"{isolated(output.name)} against the number of parts that are on",
        kind="scatter",
        x=Axis(label="parts that are on", unit="count"),
        y=Axis(label=isolated(output.name), unit=output.unit),
        series=(points,),
        note=f"One in {stride} coalitions is a point." if stride > 1 else "Every coalition is a point.",
    )
    return [Figure(_identifier("values", output), "Values", chart)]
