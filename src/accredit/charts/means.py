"""Means of several groups side by side, each with the interval of Student's t."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from accredit.charts.chart import Axis, Chart, Series

_LEVEL = 0.95
_NOTE = f"error bars: {_LEVEL:.0%} Student t intervals."


def mean_interval(numbers: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the mean and the ends of its 95 % interval, mean -+ t s / sqrt(n); one number alone has none.

    Args:
        numbers: at least one, finite, independent of each other.

    Example:
        >>> mean_interval([1.0])
        (1.0, None, None)
        >>> [round(end, 3) for end in mean_interval([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484]
    """
    count, mean = len(numbers), float(np.mean(numbers))
    if count < 2:
        return mean, None, None
    reach = float(stdtrit(count - 1, 0.5 + _LEVEL / 2) * np.std(numbers, ddof=1) / math.sqrt(count))
    return mean, mean - reach, mean + reach


def mean_bars(title: str, quantity: Axis, groups: Mapping[str, Sequence[float]], *, of: str, over: str) -> Chart:
    """Return a bar per group: the mean with its interval.

    Args:
        title: of the chart.
        quantity: what was measured.
        groups: name -> finite numbers; a group without any is left out.
        of: what the groups are, in a word.
        over: what the numbers of a group are, in words.
    """
    known = {name: numbers for name, numbers in groups.items() if len(numbers)}
    rows = [mean_interval(numbers) for numbers in known.values()]
    y, lower, upper = zip(*rows, strict=True) if rows else ((), (), ())
    bars = Series(name="mean", x=tuple(known), y=y, lower=lower, upper=upper)
    note = f"Mean over {over}; {_NOTE}"
    return Chart(title=title, kind="bar", x=Axis(label=of, unit=None), y=quantity, series=(bars,), note=note)


def mean_points(
    title: str, axes: tuple[Axis, Axis], groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, over: str
) -> Chart:
    """Return a point per group: the means of two quantities with their intervals.

    Args:
        title: of the chart.
        axes: of both quantities, across and up.
        groups: name -> finite numbers across and up; a group without any is left out.
        over: what the numbers of a group are, in words.
    """
    series = []
    for name, (across, up) in groups.items():
        if len(across) and len(up):
            (x, left, right), (y, low, high) = mean_interval(across), mean_interval(up)
            series.append(
                Series(name=name, x=(x,), y=(y,), lower=(low,), upper=(high,), x_lower=(left,), x_upper=(right,))
            )
    note = f"Mean over {over}; {_NOTE}"
    return Chart(title=title, kind="scatter", x=axes[0], y=axes[1], series=tuple(series), note=note)
