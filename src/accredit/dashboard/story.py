"""The figures of one episode: its grafts, their stages, and what they earned."""

from __future__ import annotations

from collections.abc import Iterator

from accredit.charts import Axis, Chart, Series, story_chart
from accredit.dashboard.episode import Episode
from accredit.dashboard.figures import MOST_SERIES, Figure


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
    title = f"Contribution of each graft and its stages: {whose}"
    told = story_chart(title, quantity, episode.stages, measured, last_step=episode.last_step, most=MOST_SERIES)
    if told is not None:
        yield Figure("story", "Grafts", told)
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
