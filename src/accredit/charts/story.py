"""One host as it grew: what each graft earned, a line each, and above it the stages that it went through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from accredit.charts.chart import Axis, Band, Chart, Series

StageChange: TypeAlias = tuple[int, str, str, str]
"""Step, slot, kind of graft, and the stage that the slot went to."""
Ends: TypeAlias = tuple[float | None, float | None, float | None]
"""Contribution, positive helps, with the lower and the upper end of its interval."""
Measured: TypeAlias = tuple[int, float, Mapping[str, Ends]]
"""Step, level of the intervals, and slot -> contribution."""

_STAGES = {"training": 0.25, "blending": 0.5, "holding": 0.75, "committed": 1.0}
"""Stage -> how deep its colour is."""


@dataclass(kw_only=True)
class StoryGraft:
    """One graft in its slot, from its insertion to its end."""

    name: str
    slot: str
    begin: int
    end: int
    bands: list[Band] = field(default_factory=list)


def story_chart(
    title: str,
    quantity: Axis,
    stages: Sequence[StageChange],
    measured: Sequence[Measured],
    *,
    last_step: int,
    most: int,
) -> Chart | None:
    """Return the contribution of each graft with its stages; None where nothing was grafted.

    Args:
        title: of the chart.
        quantity: the contribution.
        stages: changes in the order in which they happened.
        measured: contributions by rising step.
        last_step: of the episode; grafts that are still there last until then.
        most: grafts that are drawn, the longest-lived, in the order of their insertion.

    Example:
        >>> stages = [(0, "a", "mlp", "training"), (2, "a", "mlp", "committed")]
        >>> chart = story_chart("A host", Axis(label="gain", unit="nat"), stages, [], last_step=4, most=8)
        >>> [(band.lane, band.start, band.end, band.label) for band in chart.bands]
        [('mlp at a', 0.0, 2.0, 'training'), ('mlp at a', 2.0, 4.0, 'committed')]
    """
    grafts = _grafts(stages, last_step)
    kept = sorted(sorted(grafts, key=lambda graft: graft.begin - graft.end)[:most], key=lambda graft: graft.begin)
    if not kept:
        return None
    notes = ["The deeper the colour of a band, the further the stage."]
    if len(grafts) > len(kept):
        notes.append(f"{len(grafts) - len(kept)} short-lived grafts are left out.")
    if measured:
        notes.append(f"Around the lines: {measured[-1][1]:.0%} intervals over examples.")
    return Chart(
        title=title,
        kind="line",
        x=Axis(label="step of the episode", unit="count"),
        y=quantity,
        series=tuple(_line(graft, measured) for graft in kept),
        bands=tuple(band for graft in kept for band in graft.bands),
        note=" ".join(notes),
    )


def _grafts(stages: Sequence[StageChange], last_step: int) -> list[StoryGraft]:
    """Return every graft of the episode with its stages."""
    grafts: list[StoryGraft] = []
    living: dict[str, tuple[StoryGraft, str, int]] = {}
    for step, slot, kind, stage in stages:
        if slot in living:
            graft, before, since = living.pop(slot)
            graft.bands.append(stage_band(graft, before, since, step))
            graft.end = step
        else:
            count = sum(each.slot == slot for each in grafts)
            name = f"{kind} at {slot}" if not count else f"{kind} at {slot}, no. {count + 1}"
            graft = StoryGraft(name=name, slot=slot, begin=step, end=step)
            grafts.append(graft)
        if stage != "empty":
            living[slot] = (graft, stage, step)
    for graft, stage, since in living.values():
        graft.end = max(last_step, since)
        graft.bands.append(stage_band(graft, stage, since, graft.end))
    return grafts


def stage_band(graft: StoryGraft, stage: str, start: int, end: int) -> Band:
    """Return the stretch of one stage in the lane of its graft."""
    strength = _STAGES.get(stage, 0.5)
    return Band(lane=graft.name, start=float(start), end=float(max(start, end)), label=stage, strength=strength)


def _line(graft: StoryGraft, measured: Sequence[Measured]) -> Series:
    rows = [
        (float(step), *estimates[graft.slot])
        for step, _, estimates in measured
        if graft.slot in estimates and graft.begin <= step <= graft.end
    ]
    columns = [tuple(row[at] for row in rows) for at in range(4)]
    x = tuple(float(row[0]) for row in rows)
    return Series(name=graft.name, x=x, y=columns[1], lower=columns[2], upper=columns[3])
