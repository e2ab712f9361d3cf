"""The figures of one episode: its grafts, their stages, and what they earned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from accredit.charts import Axis, Band, Chart, Series
from accredit.dashboard.episode import Episode, Estimate
from accredit.dashboard.figures import MOST_SERIES, Figure

_STAGES = {"training": 0.25, "blending": 0.5, "holding": 0.75, "committed": 1.0}
"""Stage -> how deep its colour is."""


@dataclass(kw_only=True)
class _Graft:
    """One graft in its slot, from its insertion to its end."""

    name: str
    slot: str
    begin: int
    end: int
    bands: list[Band] = field(default_factory=list)


def story(episode: Episode, output: str, unit: str) -> Iterator[Figure]:
    """Return the contribution of each graft with its stages, and the last contributions side by side.

    Args:
        episode: what happened.
        output: `game/output` of contributions.
        unit: of the output.
    """
    measured = episode.estimates.get(output, [])
    quantity = Axis(label=f"contribution to {output.rpartition('/')[2]}, positive helps", unit=unit)
    whose = f"{episode.environment}, episode {episode.number}"
    grafts = _grafts(episode)
    # the longest-lived, in the order of their insertion
    kept = sorted(
        sorted(grafts, key=lambda graft: graft.begin - graft.end)[:MOST_SERIES], key=lambda graft: graft.begin
    )
    if kept:
        notes = ["The deeper the colour of a band, the further the stage."]
        if len(grafts) > len(kept):
            notes.append(f"{len(grafts) - len(kept)} short-lived grafts are left out.")
        if measured:
            notes.append(f"Around the lines: {measured[-1][1]:.0%} intervals over examples.")
        chart = Chart(
            title=f"Contribution of each graft and its stages: {whose}",
            kind="line",
            x=Axis(label="step of the episode", unit="count"),
            y=quantity,
            series=tuple(_line(graft, measured) for graft in kept),
            bands=tuple(band for graft in kept for band in graft.bands),
            note=" ".join(notes),
        )
        yield Figure("story", "Grafts", chart)
    if measured and measured[-1][2]:
        step, level, estimates = measured[-1]
        contributions, lower, upper = zip(*estimates.values(), strict=True)
        bars = Series(name="contribution", x=tuple(estimates), y=contributions, lower=lower, upper=upper)
        chart = Chart(
            title=f"Last contributions: {whose}",
            kind="bar",
            x=Axis(label="slot", unit=None),
            y=quantity,
            series=(bars,),
            note=f"After step {step}; error bars: {level:.0%} intervals over examples.",
        )
        yield Figure("latest", "Grafts", chart)


def _grafts(episode: Episode) -> list[_Graft]:
    """Return every graft of the episode with its stages."""
    grafts: list[_Graft] = []
    living: dict[str, tuple[_Graft, str, int]] = {}
    for step, slot, kind, stage in episode.stages:
        if slot in living:
            graft, before, since = living.pop(slot)
            graft.bands.append(_band(graft, before, since, step))
            graft.end = step
        else:
            count = sum(each.slot == slot for each in grafts)
            name = f"{kind} at {slot}" if not count else f"{kind} at {slot}, no. {count + 1}"
            graft = _Graft(name=name, slot=slot, begin=step, end=step)
            grafts.append(graft)
        if stage != "empty":
            living[slot] = (graft, stage, step)
    for graft, stage, since in living.values():
        graft.end = max(episode.last_step, since)
        graft.bands.append(_band(graft, stage, since, graft.end))
    return grafts


def _band(graft: _Graft, stage: str, start: int, end: int) -> Band:
    strength = _STAGES.get(stage, 0.5)
    return Band(lane=graft.name, start=float(start), end=float(max(start, end)), label=stage, strength=strength)


def _line(graft: _Graft, measured: Sequence[tuple[int, float, dict[str, Estimate]]]) -> Series:
    rows = [
        (float(step), *estimates[graft.slot])
        for step, _, estimates in measured
        if graft.slot in estimates and graft.begin <= step <= graft.end
    ]
    columns = [tuple(row[at] for row in rows) for at in range(4)]
    x = tuple(float(row[0]) for row in rows)
    return Series(name=graft.name, x=x, y=columns[1], lower=columns[2], upper=columns[3])
