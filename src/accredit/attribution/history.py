"""Contributions over time: from results of several checkpoints, or from the events of a training run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from accredit.attribution.result import ShapleyResult
from accredit.charts.estimates import Estimates
from accredit.charts.over_time import over_time_picture
from accredit.errors import InvalidArgument
from accredit.telemetry.event import ContributionsEstimated


def plot_over_time(
    results: Sequence[tuple[float, ShapleyResult]], *, level: float | None = None, time_label: str = "step"
) -> Any:
    """A matplotlib figure of the contributions at several times.

    Args:
        results: (time, result) by rising time, all of one output; players may come and go.
        level: of the intervals, in (0, 1); default: the configured confidence of each result.
        time_label: axis of the times, with its unit.

    Raises:
        InvalidArgument: no result, times that do not rise, or results of several outputs.
        MissingExtra: matplotlib is not installed.
    """
    times = [time for time, _ in results]
    return over_time_picture(times, [result.estimates(level) for _, result in results], time_label=time_label)


def plot_events_over_time(events: Iterable[ContributionsEstimated], *, time_label: str = "step of the episode") -> Any:
    """The same from events, at the step of each; those of one environment, episode, game and output.

    Raises:
        InvalidArgument: events of several of these, without a step, or none.
        MissingExtra: matplotlib is not installed.
    """
    listed = list(events)
    where = {(one.origin.environment, one.origin.episode, one.origin.game, one.output) for one in listed}
    steps = [one.origin.step for one in listed if one.origin.step is not None]
    if len(where) != 1 or len(steps) != len(listed):
        raise InvalidArgument(
            f"`events` are of {len(where)} environments, episodes, games and outputs, {len(listed) - len(steps)} of "
            "them without a step, wanted all of one, each with its step; filter them before."
        )
    return over_time_picture(steps, [_estimates(event) for event in listed], time_label=time_label)


def _estimates(event: ContributionsEstimated) -> Estimates:
    """What a picture is drawn from."""
    ends = zip(event.lower, event.upper, strict=True)
    return Estimates(
        names=event.players,
        values=event.values,
        half_widths=tuple(None if low is None or high is None else (high - low) / 2 for low, high in ends),
        quantity=event.output,
        unit=event.unit,
        higher_is_better=event.higher_is_better,
        level=event.level,
    )
