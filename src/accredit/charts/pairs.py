"""Interactions of pairs: as a network of the strongest, or as a matrix of all."""

from __future__ import annotations

import importlib
import math
from typing import Any

from accredit.charts.canvas import HARMS, HELPS, INK, PLAIN, Axes, Figure, new_axes, write_note
from accredit.charts.estimates import PairEstimates, short_names

_MOST_NODES, _MOST_EDGES = 24, 60
_MOST_LEVEL = 12  # nodes whose names stand level beside them
_MOST_ROWS = 40
_ABSENT = "#D9D9D9"  # a player has no interaction with itself
_LONGEST = 18  # characters of a name beside a node or on two axes


def network_picture(
    estimates: PairEstimates, *, most_players: int = _MOST_NODES, most_pairs: int = _MOST_EDGES
) -> Figure:
    """Players on a circle, a line for each of the strongest interactions: as wide as it is strong.

    Blue and whole: together they help more than apart; orange and dashed: less. Pale: the interval does not exclude 0,
    or is unknown.

    Args:
        estimates: of all pairs.
        most_players: nodes that are drawn, those with the strongest interactions.
        most_pairs: lines that are drawn, the strongest among these players.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure, axes = new_axes(f"Interactions: {estimates.pairs.quantity}", width=7.0, height=6.4)
    nodes = estimates.strongest_players(most_players)
    angle = {at: math.pi / 2 - 2 * math.pi * place / len(nodes) for place, at in enumerate(nodes)}
    between = [
        (abs(value), at, pair)
        for at, (pair, value) in enumerate(zip(estimates.places(), estimates.pairs.values, strict=True))
        if pair[0] in angle and pair[1] in angle and value != 0.0
    ]
    lines = sorted(between, key=lambda line: (-line[0], line[1]))[:most_pairs]
    # the weakest first, so that the strongest lie on top
    for size, at, (first, second) in reversed(lines):
        ends = [(math.cos(angle[end]), math.sin(angle[end])) for end in (first, second)]
        helps, width = estimates.pairs.contributions[at] > 0, estimates.pairs.reach[at]
        axes.plot(
            *zip(*ends, strict=True),
            color=HELPS if helps else HARMS,
            linestyle="-" if helps else "--",
            linewidth=0.4 + 4.0 * size / lines[0][0],
            alpha=0.9 if width is not None and size > width else 0.3,
            zorder=1,
        )
    _nodes(axes, [short_names(estimates.players, longest=_LONGEST)[at] for at in nodes], list(angle.values()))
    omitted = math.comb(len(estimates.players), 2) - len(lines)
    strongest = f"widest line: {lines[0][0]:.3g} {estimates.pairs.unit}" if lines else "no interaction differs from 0"
    _key(axes)
    write_note(
        figure,
        f"{strongest}; pale: interval contains 0 or is unknown ({estimates.pairs.interval_note});\n"
        f"{len(nodes)} of {len(estimates.players)} players, {omitted} weaker or absent pairs are not drawn",
    )
    return figure


def _nodes(axes: Axes, labels: list[str], angles: list[float]) -> None:
    """Nodes on the circle with their names outside of it, read from left to right."""
    places = [(math.cos(angle), math.sin(angle)) for angle in angles]
    axes.scatter(*zip(*places, strict=True), s=60, color="white", edgecolors=INK, zorder=2)
    around = len(labels) > _MOST_LEVEL
    for label, angle, (x, y) in zip(labels, angles, places, strict=True):
        left = x < -1e-9
        # names of many players would overlap unless each goes on in the direction of its node
        degrees = math.degrees(angle) + (180.0 if left else 0.0) if around else 0.0
        centred = abs(x) < 0.2 and not around
        axes.text(
            1.07 * x,
            1.07 * y,
            label,
            rotation=degrees,
            rotation_mode="anchor",
            ha="center" if centred else "right" if left else "left",
            va="center" if not centred else "bottom" if y > 0 else "top",
            fontsize=9,
            **PLAIN,
        )
    axes.set_aspect("equal")
    axes.set_xlim(-2.0, 2.0)
    axes.set_ylim(-1.9, 1.9)
    axes.set_axis_off()


def _key(axes: Axes) -> None:
    """What the two kinds of lines mean."""
    lines = importlib.import_module("matplotlib.lines")
    handles = [lines.Line2D([], [], color=HELPS), lines.Line2D([], [], color=HARMS, linestyle="--")]
    axes.legend(handles, ["synergy", "interference"], frameon=False, fontsize=8, loc="upper right")


def matrix_picture(estimates: PairEstimates, *, most: int = _MOST_ROWS) -> Figure:
    """A square per pair: blue where together they help more than apart, orange where less; a dot where 0 is excluded.

    Args:
        estimates: of all pairs.
        most: players that are drawn, those with the strongest interactions.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    drawn = estimates.strongest_players(most)
    place = {at: row for row, at in enumerate(drawn)}
    cells = [[math.nan] * len(drawn) for _ in drawn]
    decided: list[tuple[int, int]] = []
    for at, (first, second) in enumerate(estimates.places()):
        if first in place and second in place:
            row, column = place[first], place[second]
            cells[row][column] = cells[column][row] = estimates.pairs.contributions[at]
            width = estimates.pairs.reach[at]
            if width is not None and abs(estimates.pairs.values[at]) > width:
                decided += [(row, column), (column, row)]
    side = 2.6 + 0.26 * max(len(drawn), 6)
    figure, axes = new_axes(f"Interactions: {estimates.pairs.quantity}", width=side + 1.0, height=side)
    limit = max((abs(cell) for line in cells for cell in line if not math.isnan(cell)), default=0.0) or 1.0
    image = axes.imshow(cells, cmap=_colours(), vmin=-limit, vmax=limit)
    if decided:
        rows, columns = zip(*decided, strict=True)
        axes.scatter(columns, rows, s=9, color="white", edgecolors=INK, linewidths=0.6)
    labels = [short_names(estimates.players, longest=_LONGEST)[at] for at in drawn]
    axes.set_xticks(range(len(drawn)), labels, rotation=90, **PLAIN)
    axes.set_yticks(range(len(drawn)), labels, **PLAIN)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label(f"interaction ({estimates.pairs.unit}), positive helps", **PLAIN)
    omitted = len(estimates.players) - len(drawn)
    left_out = f"; {omitted} players with weaker interactions are not drawn" if omitted else ""
    write_note(figure, f"dot: the interval excludes 0 ({estimates.pairs.interval_note}){left_out}")
    return figure


def _colours() -> Any:
    """From orange over white to blue, grey where there is no number."""
    colours = importlib.import_module("matplotlib.colors")
    scale = colours.LinearSegmentedColormap.from_list("sign", [HARMS, "#FFFFFF", HELPS])
    return scale.with_extremes(bad=_ABSENT)
