"""What a run took: time, evaluations, and how much of both went into attribution."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from accredit.charts import Axis, Chart
from accredit.growth.hosts import Players
from accredit.report.page import Cell, Column, Group, Item, Section, Table
from accredit.report.run_record import RunRecord
from accredit.report.wording import duration, lines

_UPDATE = Axis(label="PPO update", unit="count")
_GAMES = {
    Players.LIVE.value: "live grafts: what removal would cost",
    Players.CANDIDATES.value: "grafts in training: what insertion would bring",
    "": "live grafts of finished hosts, on the test split",
}


def cost(record: RunRecord) -> Section:
    """Return time and evaluations of a run."""
    times = [time_s for time_s, _ in record.updates]
    apart = [later - earlier for earlier, later in pairwise(([record.started_s] if record.started_s else []) + times)]
    items: list[Item] = [_time_table(record, times, apart)]
    charts = (_durations(record, apart), _shares(record))
    drawn = tuple(chart for chart in charts if chart.series)
    if drawn:
        items.append(Group(items=drawn))
    if record.coalitions:
        items.append(_evaluations(record))
    said = "From the times of the events; where a run was stopped and resumed, the pause is part of an update."
    return Section(title="Cost", paragraphs=(said,), items=tuple(items))


def _durations(record: RunRecord, apart: list[float]) -> Chart:
    updates = [float(event.update) for _, event in record.updates]
    return lines(
        "Time of an update",
        updates[len(updates) - len(apart) :],
        {"seconds": tuple(apart)},
        axis=_UPDATE,
        quantity=Axis(label="rollout and update", unit="s"),
    )


def _shares(record: RunRecord) -> Chart:
    return lines(
        "Attribution in the time of an update",
        [float(event.update) for _, event in record.updates],
        {"share": tuple(event.attribution_share for _, event in record.updates)},
        axis=_UPDATE,
        quantity=Axis(label="share of the time", unit="share"),
    )


def _time_table(record: RunRecord, times: list[float], apart: list[float]) -> Table:
    """Durations as texts, for their units differ."""
    trained = times[-1] - record.started_s if times and record.started_s is not None else None
    compared = record.completed_s - times[-1] if times and record.completed_s is not None else None
    steps = record.updates[-1][1].environment_steps if record.updates else None
    shares = [event.attribution_share for _, event in record.updates if event.attribution_share is not None]
    rows: list[tuple[Cell, ...]] = [
        ("training", duration(trained)),
        ("comparison on the test split", duration(compared)),
        ("an update, median", duration(median(apart) if apart else None)),
        ("decisions", "unknown" if steps is None else f"{steps}"),
        ("decisions in a second", f"{steps / trained:.0f}" if steps and trained else "unknown"),
    ]
    if shares:
        rows.append(("attribution, share of the time of training", f"{sum(shares) / len(shares):.1%}"))
    return Table(title="Time", columns=(Column(name="what"), Column(name="how much")), rows=tuple(rows))


def _evaluations(record: RunRecord) -> Table:
    """How many coalitions each question took."""
    return Table(
        title="Coalitions evaluated",
        columns=(Column(name="players, and what is asked"), Column(name="coalitions", unit="count")),
        rows=tuple((_GAMES.get(game, game), float(count)) for game, count in sorted(record.coalitions.items())),
        note="One coalition is one pass of one host over the reward split, or over the test split in the comparison.",
    )
