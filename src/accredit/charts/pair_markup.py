"""Interactions of pairs as HTML: a drawn network, or a table with coloured cells; no script, and the same on paper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Literal

from accredit.charts.estimates import PairEstimates, isolated, short_names

_MOST_NODES, _MOST_LINES, _MOST_ROWS = 24, 60, 40
_MOST_LEVEL = 12  # nodes whose names stand level beside them
_MOST_NUMBERS = 6  # rows of a matrix whose cells have room for a number
_MOST_NARROW = 16  # players of a figure that is readable at half the width of a page
_MOST_LISTED = 400  # pairs in the table below
_LONGEST = 18  # characters of a name beside a node
_DEPTHS = 5  # shades of either sign
_RADIUS, _LETTER = 100.0, 6.8


@dataclass(frozen=True, kw_only=True)
class PairChart:
    """Interactions of the pairs of some players, as a figure of a page."""

    title: str
    kind: Literal["network", "matrix"]
    estimates: PairEstimates
    note: str = ""
    """What a reader needs to know beyond the colours, which are explained anyway."""


@dataclass(frozen=True)
class _Pairs:
    """Columns of the pairs, computed once: a figure asks for each of them thousands of times."""

    names: tuple[str, ...]
    contributions: tuple[float, ...]
    reach: tuple[float | None, ...]
    unit: str

    def is_decided(self, at: int) -> bool:
        """Whether the interval excludes 0."""
        reach = self.reach[at]
        return reach is not None and abs(self.contributions[at]) > reach

    def ends(self, at: int) -> tuple[str, str, str]:
        """The interaction and its interval, positive helps, as texts."""
        middle, reach = self.contributions[at], self.reach[at]
        ends = ["unknown"] * 2 if reach is None else [f"{middle - reach:.4g}", f"{middle + reach:.4g}"]
        first, lower, upper = (text.replace("-", "\N{MINUS SIGN}") for text in (f"{middle:.4g}", *ends))
        return first, lower, upper

    def spoken(self, at: int) -> str:
        """A pair in words."""
        value, lower, upper = self.ends(at)
        return f"{self.names[at]}: {value} [{lower}, {upper}] {self.unit}"


def _columns(chart: PairChart) -> _Pairs:
    pairs, players = chart.estimates.pairs, tuple(map(isolated, chart.estimates.players))
    names = tuple(f"{players[first]} + {players[second]}" for first, second in chart.estimates.places())
    return _Pairs(names, pairs.contributions, pairs.reach, pairs.unit)


def pair_figure(chart: PairChart, *, identifier: str) -> str:
    """Return one figure as HTML: title, picture, what its colours mean, and its numbers as a table.

    Args:
        chart: What is drawn.
        identifier: An id that is unique in the page.

    Example:
        >>> from accredit.charts import Estimates
        >>> pairs = Estimates(names=("a + b",), values=(0.5,), half_widths=(0.1,), quantity="accuracy", unit="share",
        ...     higher_is_better=True, level=0.95)
        >>> chart = PairChart(title="Pairs", kind="matrix", estimates=PairEstimates(players=("a", "b"), pairs=pairs))
        >>> "<b>+0.500</b>" in pair_figure(chart, identifier="pairs-1")
        True
    """
    drawn = _network(chart) if chart.kind == "network" else _matrix(chart)
    note = f'<p class="note" dir="auto">{escape(chart.note)}</p>' if chart.note else ""
    wide = " wide" if len(chart.estimates.players) > _MOST_NARROW else ""
    return (
        f'<figure class="chart {chart.kind}{wide}" aria-labelledby="{identifier}-title">'
        f'<figcaption id="{identifier}-title" dir="auto">{escape(chart.title)}</figcaption>'
        f'{drawn}<p class="note">{_explained(chart)}</p>{note}'
        f"<details><summary>The numbers</summary>{_numbers(chart)}</details></figure>"
    )


def _explained(chart: PairChart) -> str:
    """What the signs mean, what was left out."""
    pairs = chart.estimates.pairs
    said = ["Blue: together they help more than apart; orange: less."]
    if chart.kind == "network":
        said[0] = (
            "Blue, whole lines: together they help more than apart; orange, dashed: less. The wider, the stronger."
        )
        said.append(f"Pale: the interval includes 0 or is unknown ({escape(pairs.interval_note)}).")
    else:
        said.append(f"Bold or dotted: the interval excludes 0 ({escape(pairs.interval_note)}).")
    omitted = len(chart.estimates.players) - (_MOST_NODES if chart.kind == "network" else _MOST_ROWS)
    if omitted > 0:
        said.append(f"{omitted} players with weaker interactions are not drawn.")
    if chart.kind == "network" and (few := len(_lines(chart)[1])) == _MOST_LINES:
        said.append(f"The {few} strongest pairs are drawn.")
    return " ".join(said)


def _lines(chart: PairChart) -> tuple[list[int], list[tuple[float, int, tuple[int, int]]]]:
    """Players that are drawn, and of their pairs the strongest first: strength, position, both players."""
    estimates = chart.estimates
    nodes = estimates.strongest_players(_MOST_NODES)
    lines = [
        (abs(value), at, pair)
        for at, (pair, value) in enumerate(zip(estimates.places(), estimates.pairs.values, strict=True))
        if pair[0] in nodes and pair[1] in nodes and value != 0.0
    ]
    return nodes, sorted(lines, key=lambda line: (-line[0], line[1]))[:_MOST_LINES]


def _network(chart: PairChart) -> str:
    estimates, pairs = chart.estimates, _columns(chart)
    nodes, lines = _lines(chart)
    angle = {at: 2 * math.pi * place / len(nodes) - math.pi / 2 for place, at in enumerate(nodes)}
    parts = []
    # the weakest first, so that the strongest lie on top
    for size, at, (first, second) in reversed(lines):
        kind = "helps" if pairs.contributions[at] > 0 else "harms"
        faint = "" if pairs.is_decided(at) else " faint"
        ends = [f"{_RADIUS * f(angle[end]):.1f}" for end in (first, second) for f in (math.cos, math.sin)]
        parts.append(
            f'<line class="{kind}{faint}" x1="{ends[0]}" y1="{ends[1]}" x2="{ends[2]}" y2="{ends[3]}" '
            f'stroke-width="{1 + 6 * size / lines[0][0]:.2f}"><title>{escape(pairs.spoken(at))}</title></line>'
        )
    names = short_names(estimates.players, longest=_LONGEST)
    parts += (_node(names[at], angle[at], is_level=len(nodes) <= _MOST_LEVEL) for at in nodes)
    box = _frame([names[at] for at in nodes], list(angle.values()))
    label = f"Network: {chart.title}. {len(nodes)} players, {len(lines)} lines. The numbers are in the table below."
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _frame(names: list[str], angles: list[float]) -> str:
    """The part of the plane that holds every node with its name: left, top, width, height."""
    beside = max((len(name) for name in names), default=0) * _LETTER + 20
    above = 24.0 if len(names) <= _MOST_LEVEL else beside
    x, y = ([_RADIUS * f(angle) for angle in angles] or [0.0] for f in (math.cos, math.sin))
    left, top = min(x) - beside, min(y) - above
    return f"{left:.0f} {top:.0f} {max(x) + beside - left:.0f} {max(y) + above - top:.0f}"


def _node(name: str, angle: float, *, is_level: bool) -> str:
    """A point on the circle with its name outside of it: level, or along the ray where many stand close."""
    x, y = math.cos(angle), math.sin(angle)
    point = f'<circle cx="{_RADIUS * x:.1f}" cy="{_RADIUS * y:.1f}" r="5"/>'
    if not is_level:
        turn, side = math.degrees(angle), 1
        if x < -1e-9:
            turn, side = turn + 180, -1
        place = f'transform="rotate({turn:.1f})" x="{side * (_RADIUS + 11):.1f}" y="4"'
        anchor = "start" if side > 0 else "end"
    else:
        anchor = "start" if x > 0.2 else "end" if x < -0.2 else "middle"
        place = f'x="{(_RADIUS + 11) * x:.1f}" y="{(_RADIUS + 13) * y + 4:.1f}"'
    return f'{point}<text {place} text-anchor="{anchor}">{escape(name)}</text>'


def _matrix(chart: PairChart) -> str:
    """A cell per pair in a table; with its number where there is room."""
    estimates, pairs = chart.estimates, _columns(chart)
    largest = max(map(abs, pairs.contributions)) or 1.0
    drawn = estimates.strongest_players(_MOST_ROWS)
    names, is_roomy = short_names(estimates.players), len(drawn) <= _MOST_NUMBERS
    position = {pair: at for at, pair in enumerate(estimates.places())}
    heads = "".join(f'<th scope="col"><span dir="auto">{escape(names[at])}</span></th>' for at in drawn)
    rows = "".join(
        f'<tr><th scope="row"><bdi>{escape(names[row])}</bdi></th>'
        + "".join(
            _square(pairs, position.get((min(row, column), max(row, column))), largest, is_roomy=is_roomy)
            for column in drawn
        )
        + "</tr>"
        for row in drawn
    )
    crowded = "" if is_roomy else " crowded"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Matrix: {escape(chart.title)}">'
        f'<table class="heat{crowded}"><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _square(pairs: _Pairs, at: int | None, largest: float, *, is_roomy: bool) -> str:
    if at is None:
        return '<td class="same"></td>'
    contribution = pairs.contributions[at]
    depth = round(_DEPTHS * abs(contribution) / largest)
    shade = f"{'plus' if contribution > 0 else 'minus'}-{depth}" if depth else "none"
    if not is_roomy:
        said = "&bull;" if pairs.is_decided(at) else ""
        return f'<td class="{shade}" title="{escape(pairs.spoken(at))}">{said}</td>'
    # three digits of the largest, and as many places of all
    places = max(0, 2 - math.floor(math.log10(largest)))
    text = f"{contribution:+.{places}f}".replace("-", "\N{MINUS SIGN}")
    return f'<td class="{shade}">{f"<b>{text}</b>" if pairs.is_decided(at) else text}</td>'


def _numbers(chart: PairChart) -> str:
    """The strongest pairs as a table."""
    pairs = _columns(chart)
    count = len(pairs.names)
    strongest = sorted(range(count), key=lambda at: (-abs(pairs.contributions[at]), at))[:_MOST_LISTED]
    heads = ("pair", f"interaction ({pairs.unit}), positive helps", "lower", "upper")
    head = "".join(f'<th scope="col"{_numeric(place)}>{escape(text)}</th>' for place, text in enumerate(heads))
    body = "".join(
        f'<tr><th scope="row"><bdi>{escape(pairs.names[at])}</bdi></th>'
        + "".join(f'<td class="number">{text}</td>' for text in pairs.ends(at))
        + "</tr>"
        for at in strongest
    )
    omitted = count - len(strongest)
    more = f'<p class="note">{omitted} weaker pairs are left out.</p>' if omitted else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="The numbers: {escape(chart.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"
    )


def _numeric(place: int) -> str:
    return ' class="number"' if place else ""
