"""Grafts over time: in one host as it grew, and while the policy learned."""

from __future__ import annotations

from accredit.charts import Axis, Band, Chart, Series, StoryGraft, isolated, stage_band
from accredit.growth.hosts import Players
from accredit.growth.stage import Stage
from accredit.report.page import Group, Item, Section
from accredit.report.run_record import RunRecord, Story
from accredit.report.wording import lines, percent
from accredit.telemetry.event import ContributionsEstimated

_MOST_GRAFTS = 8
"""Grafts of one host that are drawn: as many as there are colours."""
_STEP = Axis(label="step of the episode", unit="count")


def growth(record: RunRecord) -> Section:
    """Return how one host grew, and what grafts earned while the policy learned."""
    story = record.story if record.story.steps else record.early
    items: list[Item] = []
    if story.steps:
        items += _told(story)
    by_update = _over_training(record)
    if by_update is not None:
        items.append(by_update)
    whose = "the first host of the comparison, grown by the learned policy"
    if story is record.early:
        whose = "the last episode of the first training environment"
    said = (
        f"One host step by step: {whose} ({story.environment}). Each graft has a line and, above it, its stages. "
        "While it trains it does not reach the output of the host; from blending on it does, and earns."
        if story.steps
        else "No episode has been recorded yet."
    )
    return Section(title="Grafts over time", paragraphs=(said,), items=tuple(items))


def _told(story: Story) -> list[Item]:
    """Contributions with stages, then what insertion would have brought, then the host as a whole."""
    last = max(step.origin.step or 0 for step in story.steps)
    grafts = _grafts(story, last)
    # the longest-lived, in the order of their insertion
    kept = sorted(sorted(grafts, key=lambda graft: graft.begin - graft.end)[:_MOST_GRAFTS], key=lambda one: one.begin)
    items: list[Item] = []
    live = [each for each in story.contributions if each.origin.game == Players.LIVE.value]
    waiting = [each for each in story.contributions if each.origin.game == Players.CANDIDATES.value]
    if kept:
        omitted = f" {len(grafts) - len(kept)} short-lived grafts are left out." if len(grafts) > len(kept) else ""
        items.append(
            _contributions_over_time(
                "Contribution of each graft and its stages",
                live,
                kept,
                last,
                note=f"The deeper the colour of a band, the further the stage.{omitted}",
                bands=tuple(band for graft in kept for band in graft.bands),
            )
        )
    x = tuple(float(step.origin.step or 0) for step in story.steps)
    host = lines(
        "The host while it grew",
        x,
        {
            "log-loss": tuple(step.log_loss for step in story.steps),
        },
        axis=_STEP,
        quantity=Axis(label="log-loss on the reward split", unit="nat"),
    )
    if kept and waiting:
        candidates = _contributions_over_time(
            "What insertion would bring", waiting, kept, last, note="Grafts in training, at blend weight 1."
        )
        items.append(Group(items=(candidates, host)))
    else:
        items.append(host)
    return items


def _grafts(story: Story, last: int) -> list[StoryGraft]:
    """Every graft of an episode with its stages."""
    grafts: list[StoryGraft] = []
    open_grafts: dict[str, tuple[StoryGraft, str, int]] = {}
    for event in story.stages:
        at = event.origin.step or 0
        graft, stage, since = open_grafts.pop(event.slot, (None, "", 0))
        if graft is None:
            name = first = f"{isolated(event.kind)} at {isolated(event.slot)}"
            number = 2
            while any(other.name == name for other in grafts):
                name, number = f"{first}, no. {number}", number + 1
            graft = StoryGraft(name=name, slot=event.slot, begin=at, end=last)
            grafts.append(graft)
        else:
            graft.bands.append(stage_band(graft, stage, since, at))
        graft.end = at
        if event.target != Stage.EMPTY.name.lower():
            open_grafts[event.slot] = (graft, event.target, at)
            graft.end = last
    for graft, stage, since in open_grafts.values():
        graft.bands.append(stage_band(graft, stage, since, last))
    return grafts


def _contributions_over_time(
    title: str,
    measured: list[ContributionsEstimated],
    grafts: list[StoryGraft],
    last: int,
    *,
    note: str,
    bands: tuple[Band, ...] = (),
) -> Chart:
    """Return a line per graft to the first output that was measured."""
    first = measured[0] if measured else None
    steps = tuple(range(last + 1))
    by_step = {each.origin.step: each for each in measured if first is None or each.output == first.output}
    series = tuple(_line(graft, steps, by_step) for graft in grafts)
    quantity = "contribution" if first is None else f"contribution to {first.output}, positive helps"
    level = (
        ""
        if first is None
        else f" Bands around lines: {percent(first.level)} intervals over examples, each step alone."
    )
    return Chart(
        title=title,
        kind="line",
        x=_STEP,
        y=Axis(label=quantity, unit="nat" if first is None else first.unit),
        series=series,
        note=(note + level) if first else f"{note} Nothing was earned: no graft reached the output.",
        bands=bands,
    )


def _line(graft: StoryGraft, steps: tuple[int, ...], by_step: dict[int | None, ContributionsEstimated]) -> Series:
    points: list[tuple[float | None, float | None, float | None]] = []
    for step in steps:
        event = by_step.get(step)
        if event is None or graft.slot not in event.players or not graft.begin <= step <= graft.end:
            points.append((None, None, None))
            continue
        at = event.players.index(graft.slot)
        low, high = event.lower[at], event.upper[at]
        if not event.higher_is_better:
            low, high = (None if high is None else -high), (None if low is None else -low)
        points.append((event.contributions[at], low, high))
    y, lower, upper = zip(*points, strict=True)
    return Series(name=graft.name, x=tuple(map(float, steps)), y=y, lower=lower, upper=upper, joins_gaps=True)


def _over_training(record: RunRecord) -> Chart | None:
    """Return the mean contribution by slot over the updates; None where nothing was measured."""
    slots = tuple(dict.fromkeys(slot for window in record.earned for slot in window))
    if not slots or not record.updates:
        return None
    windows = record.earned[: len(record.updates)]
    first = next(iter(record.directions.values()))
    which = "all hosts and steps" if record.stride == 1 else f"one in {record.stride} of all hosts and steps"
    return lines(
        "Contribution by slot while the policy learned",
        [float(event.update) for _, event in record.updates],
        {
            slot: tuple(sum(window[slot]) / len(window[slot]) if window.get(slot) else None for window in windows)
            for slot in slots
        },
        axis=Axis(label="PPO update", unit="count"),
        quantity=Axis(label=f"mean contribution to {first.output}", unit=first.unit),
        note=f"Positive helps. Mean over {which} of a rollout at which a graft was live. No intervals: steps of a host "
        "depend on each other.",
    )
