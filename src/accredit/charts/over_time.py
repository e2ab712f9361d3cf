"""Contributions over time: a line per player with a band for its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from accredit.charts.canvas import INK, LINES, MARKERS, NEUTRAL, PLAIN, Axes, Figure, new_axes, write_legend, write_note
from accredit.charts.estimates import Estimates, short_names
from accredit.errors import InvalidArgument

_NAN = math.nan


def over_time_picture(
    times: Sequence[float], history: Sequence[Estimates], *, time_label: str = "step", most: int = len(LINES)
) -> Figure:
    """Contributions of the players that mattered most at any time; the others as one line, their sum.

    A player that does not exist at some time has a gap there, never a 0.

    Args:
        times: rising, in the unit of `time_label`.
        history: the estimates at each of these times, all of one quantity and unit.
        time_label: axis of the times, with its unit.
        most: players with a line of their own, at most 7, which is as many colours as can be told apart.

    Raises:
        InvalidArgument: no time, other numbers of both, times that do not rise, or another quantity on the way.
        MissingExtra: matplotlib is not installed.
    """
    _check(times, history)
    players = list(dict.fromkeys(name for estimates in history for name in estimates.names))
    own = _lines(players, history, most=min(most, len(LINES)))
    figure, axes = new_axes(f"Contributions to {history[0].quantity} over time", width=8.0, height=4.2)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    handles = [
        _draw(axes, times, [_of(estimates, player) for estimates in history], at=at) for at, player in enumerate(own)
    ]
    names = list(short_names(tuple(own)))
    others = set(players) - set(own)
    if others:
        sums = [_sum(estimates, others) for estimates in history]
        handles += axes.plot(times, sums, color=NEUTRAL, linestyle="--")
        names.append(f"the other {len(others)}, summed")
    axes.set_xlabel(time_label, **PLAIN)
    axes.set_ylabel(f"contribution to {history[0].quantity} ({history[0].unit})", **PLAIN)
    write_legend(axes, handles, names, outside=True)
    known = sum(width is not None for estimates in history for width in estimates.reach)
    bands = f"bands: {100 * history[0].level:.4g} % intervals at each time alone" if known else "intervals unknown"
    write_note(figure, f"positive helps; {bands}")
    return figure


def _check(times: Sequence[float], history: Sequence[Estimates]) -> None:
    """Raise unless there is one set of estimates of the same quantity for each of some rising times."""
    rising = all(before < after for before, after in pairwise(times))
    if not times or len(times) != len(history) or not rising:
        raise InvalidArgument(
            f"`times` are {list(times[:5])} ({len(times)}) for {len(history)} results, wanted rising times, one for "
            "each of at least one result; sort them, and keep one result per time."
        )
    kinds = {(estimates.quantity, estimates.unit, estimates.higher_is_better) for estimates in history}
    if len(kinds) > 1:
        raise InvalidArgument(
            f"`history` has the quantities {sorted(f'{kind[0]} [{kind[1]}]' for kind in kinds)}, wanted one; draw a "
            "picture for each."
        )


def _lines(players: list[str], history: Sequence[Estimates], *, most: int) -> list[str]:
    """The players with the largest contribution at any time, in their own order; all where there is room."""
    if len(players) <= most:
        return players
    size = dict.fromkeys(players, 0.0)
    for estimates in history:
        for name, value in zip(estimates.names, estimates.values, strict=True):
            size[name] = max(size[name], abs(value))
    kept = set(sorted(players, key=lambda name: -size[name])[:most])
    return [name for name in players if name in kept]


def _of(estimates: Estimates, player: str) -> tuple[float, float]:
    """Contribution and half-width of a player; NaN, which is not drawn, where there is none."""
    if player not in estimates.names:
        return _NAN, _NAN
    at = estimates.names.index(player)
    width = estimates.reach[at]
    return estimates.contributions[at], _NAN if width is None else width


def _sum(estimates: Estimates, names: set[str]) -> float:
    """Sum of the contributions of those of these players that exist; NaN where none does."""
    there = [
        contribution
        for name, contribution in zip(estimates.names, estimates.contributions, strict=True)
        if name in names
    ]
    return sum(there) if there else _NAN


def _draw(axes: Axes, times: Sequence[float], points: list[tuple[float, float]], *, at: int) -> Any:
    """The line of one player and its band."""
    values = [value for value, _ in points]
    # markers too: a player that exists at a single time has no line, and colours alone do not serve every reader
    (line,) = axes.plot(times, values, color=LINES[at], marker=MARKERS[at], markersize=4, linewidth=1.4)
    lower = [value - width for value, width in points]
    upper = [value + width for value, width in points]
    axes.fill_between(times, lower, upper, color=LINES[at], alpha=0.15, linewidth=0)
    # a band between two times has no width where a player exists at one time alone; its bar of error has
    known = [(time, value, width) for time, (value, width) in zip(times, points, strict=True) if not math.isnan(width)]
    for time, value, width in known:
        axes.errorbar(time, value, yerr=width, color=LINES[at], alpha=0.5, linewidth=0.8, capsize=2)
    return line
