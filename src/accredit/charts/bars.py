"""Contributions as bars: side by side with their intervals, or one after the other from nothing on to everything on."""

from __future__ import annotations

import importlib

from accredit.charts.canvas import HARMS, HELPS, INK, NEUTRAL, PLAIN, Axes, Figure, new_axes, write_note
from accredit.charts.estimates import Estimates

_MOST_BARS = 30
_WIDTH, _ROW, _FRAME = 7.0, 0.28, 1.5  # inches


def bar_picture(estimates: Estimates, *, most: int = _MOST_BARS) -> Figure:
    """One bar per contribution, largest on top, with its interval; the smallest of many as a sum below.

    Args:
        estimates: of players.
        most: bars of single players.

    Returns:
        A matplotlib figure, to be shown or saved.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    drawn, rest = estimates.largest(most)
    rows = [estimates.contributions[at] for at in drawn]
    figure, axes = _rows(f"Contributions to {estimates.quantity}", [estimates.labels[at] for at in drawn])
    axes.barh(range(len(rows)), rows, color=[HELPS if row >= 0 else HARMS for row in rows], height=0.7)
    for row, at in enumerate(drawn):
        width = estimates.reach[at]
        if width is not None:
            axes.errorbar(rows[row], row, xerr=width, color=INK, capsize=3, linewidth=1.2)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    direction = "higher is better" if estimates.higher_is_better else "lower is better, so a fall is positive"
    axes.set_xlabel(f"contribution to {estimates.quantity} ({estimates.unit})", **PLAIN)
    note = f"positive helps ({direction}); {estimates.interval_note}"
    if rest:
        # as a bar the sum of many would dwarf each of those that can be compared
        total = sum(estimates.contributions[at] for at in rest)
        note += f"\n{len(rest)} smaller ones are not drawn; they sum to {total:.4g} {estimates.unit}"
    write_note(figure, note)
    return figure


def waterfall_picture(estimates: Estimates, *, value_none: float, value_all: float, most: int = _MOST_BARS) -> Figure:
    """How the raw value goes from v(none) to v(all), player by player; the bars are Shapley values and add up.

    Args:
        estimates: of players, Shapley values.
        value_none: the value with everything off.
        value_all: with everything on.
        most: bars of single players.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    drawn, rest = estimates.largest(most)
    steps = [estimates.values[at] for at in drawn]
    labels = [estimates.labels[at] for at in drawn]
    reach = [estimates.reach[at] for at in drawn]
    helps = [estimates.contributions[at] >= 0 for at in drawn]
    if rest:
        steps.append(sum(estimates.values[at] for at in rest))
        labels.append(f"the other {len(rest)}, summed")
        reach.append(None)
    figure, axes = _rows(f"From nothing on to everything on: {estimates.quantity}", ["all off", *labels, "all on"])
    level = value_none
    for at, step in enumerate(steps, start=1):
        colour = NEUTRAL if at > len(helps) else HELPS if helps[at - 1] else HARMS
        axes.barh(at, step, left=level, color=colour, height=0.7)
        axes.plot([level, level], [at - 1, at], color=INK, linewidth=0.6)
        level += step
        width = reach[at - 1]
        if width is not None:
            axes.errorbar(level, at, xerr=width, color=INK, capsize=3, linewidth=1.2)
    axes.plot([level, level], [len(steps), len(steps) + 1], color=INK, linewidth=0.6)
    axes.plot([value_none, value_all], [0, len(steps) + 1], linestyle="none", marker="D", color=INK)
    axes.set_xlabel(f"{estimates.quantity} ({estimates.unit})", **PLAIN)
    _colour_key(axes)
    alone = ", each of one step alone" if any(width is not None for width in reach) else ""
    write_note(figure, estimates.interval_note + alone)
    return figure


def _rows(title: str, labels: list[str]) -> tuple[Figure, Axes]:
    """Axes with a row per label, the first on top."""
    figure, axes = new_axes(title, width=_WIDTH, height=_FRAME + _ROW * max(len(labels), 3))
    axes.set_yticks(range(len(labels)), labels, **PLAIN)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _colour_key(axes: Axes) -> None:
    """What the two colours mean."""
    patches = importlib.import_module("matplotlib.patches")
    handles = [patches.Patch(color=HELPS), patches.Patch(color=HARMS)]
    axes.legend(handles, ["helps", "harms"], frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
