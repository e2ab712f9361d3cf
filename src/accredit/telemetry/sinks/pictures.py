"""What a run looks like so far, as charts that a sink can draw: learning, PPO, one host, the comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from accredit.charts.chart import Axis, Chart, Series
from accredit.charts.means import mean_bars, mean_points
from accredit.charts.story import Ends, Measured, StageChange, story_chart
from accredit.telemetry.event import ContributionsEstimated, Event, HostGrown, StageChanged, StepCompleted

MOST_POINTS = 200
"""Points of a curve; where there are more, every second one goes."""
_MOST_LINES = 7  # as many colours as can be told apart
_MOST_ENTRIES = 20_000  # of one episode
_LIVE = "live"  # the game of grafts that are part of the network; named in `accredit.growth.hosts`
_NAT = "nat"
_UPDATE = Axis(label="PPO update", unit="count")

Point = TypeVar("Point")

_CURVES: Mapping[str, tuple[str, str, str, Mapping[str, str]]] = {
    "learning/returns": (
        "Return and gain over no growth",
        "mean over the episodes of a rollout",
        _NAT,
        {"episode_return": "return (gain less rent and cost)", "gain_over_control": "gain over no growth"},
    ),
    "learning/decisions": ("What the policy decided", "decisions for an operation", "share", {}),
    "ppo/entropy": (
        "Entropy of the policy",
        "mean entropy",
        _NAT,
        {"entropy": "over the update", "decision_entropy": "as it acted, where it had a choice"},
    ),
    "ppo/divergence": (
        "Divergence from the policy that acted",
        "approximate KL divergence",
        _NAT,
        {"approximate_kl": "approximate KL"},
    ),
    "ppo/shares": (
        "Clipped decisions, and what the critic explains",
        "of the decisions, of the variance",
        "share",
        {"clip_fraction": "clipped", "explained_variance": "explained variance"},
    ),
}
"""Tag -> title, quantity, unit, and field of `UpdateCompleted` -> name of its line; no field: shares of operations."""


@dataclass
class Curves:
    """Numbers of the updates so far, as many as a curve can show."""

    rows: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)
    """Update, and its numbers by name as `scalars_of` names them; one that was not measured is absent."""

    def take(self, update: int, numbers: Mapping[str, float]) -> None:
        """Add an update."""
        append_thinned(self.rows, (update, numbers))

    def charts(self) -> Iterator[tuple[str, Chart]]:
        """Yield tag and chart of every curve that has a number."""
        prefix = "action_frequencies/"
        operations = dict.fromkeys(name for _, row in self.rows for name in row if name.startswith(prefix))
        for tag, (title, quantity, unit, named) in _CURVES.items():
            # an operation that was never chosen in a rollout has no entry there, and a share of 0
            names, absent = named, None
            if not named:
                names, absent = {name: name.removeprefix(prefix) for name in operations}, 0.0
            series = tuple(
                Series(
                    name=name,
                    x=tuple(float(update) for update, _ in self.rows),
                    y=tuple(row.get(entry, absent) for _, row in self.rows),
                )
                for entry, name in list(names.items())[:_MOST_LINES]
                if any(entry in row for _, row in self.rows)
            )
            if series:
                y = Axis(label=quantity, unit=unit)
                yield tag, Chart(title=title, kind="line", x=_UPDATE, y=y, series=series)


@dataclass
class _Episode:
    """What happened in it so far."""

    number: int
    last_step: int = 0
    stages: list[StageChange] = field(default_factory=list)
    first: ContributionsEstimated | None = None
    """Says output and unit of what is measured."""
    measured: list[Measured] = field(default_factory=list)


@dataclass
class OneHost:
    """The episodes of the first environment that is seen, of which the latest whole one is told."""

    environment: str | None = None
    running: _Episode | None = None
    finished: _Episode | None = None

    def take(self, event: Event) -> None:
        """Add an event, if it is of this environment and has a part in the story."""
        if not isinstance(event, StageChanged | StepCompleted | ContributionsEstimated):
            return
        origin = event.origin
        self.environment = self.environment or origin.environment
        if origin.environment != self.environment or origin.episode is None or origin.step is None:
            return
        if self.running is None or self.running.number != origin.episode:
            self.finished, self.running = self.running or self.finished, _Episode(origin.episode)
        episode, step = self.running, origin.step
        episode.last_step = max(episode.last_step, step)
        if isinstance(event, StageChanged) and len(episode.stages) < _MOST_ENTRIES:
            episode.stages.append((step, event.slot, event.kind, event.target))
        elif isinstance(event, ContributionsEstimated) and origin.game in (_LIVE, None):
            episode.first = episode.first or event
            if event.output == episode.first.output and len(episode.measured) < _MOST_ENTRIES:
                episode.measured.append((step, event.level, _contributions(event)))

    def chart(self) -> Chart | None:
        """Return the story of the latest whole episode, of the running one before there is any."""
        episode = self.finished or self.running
        if episode is None:
            return None
        quantity, unit = "contribution", _NAT
        if episode.first is not None:
            quantity, unit = f"contribution to {episode.first.output}, positive helps", episode.first.unit
        return story_chart(
            f"Contribution of each graft and its stages: {self.environment}, episode {episode.number}",
            Axis(label=quantity, unit=unit),
            episode.stages,
            episode.measured,
            last_step=episode.last_step,
            most=_MOST_LINES,
        )


def comparison_charts(grown: Mapping[str, list[HostGrown]]) -> Iterator[tuple[str, Chart]]:
    """Yield tag and chart of the comparison: means over the hosts of each policy, with their intervals.

    Args:
        grown: policy -> the hosts that it grew.
    """
    if not any(grown.values()):
        return
    columns: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for policy, hosts in grown.items():
        for name in ("log_loss", "accuracy", "parameters"):
            columns[name][policy] = [float(vars(host)[name]) for host in hosts]
    over = "the hosts that each policy has grown, on the test split"
    accuracy = Axis(label="test accuracy", unit="share")
    log_loss = Axis(label="test log-loss", unit=_NAT)
    yield "comparison/log_loss", mean_bars("Log-loss", log_loss, columns["log_loss"], of="policy", over=over)
    yield "comparison/accuracy", mean_bars("Accuracy", accuracy, columns["accuracy"], of="policy", over=over)
    pairs = {policy: (columns["parameters"][policy], columns["accuracy"][policy]) for policy in grown}
    size = Axis(label="parameters of host and grafts", unit="count")
    title = "Accuracy against parameters"
    yield "comparison/accuracy_against_parameters", mean_points(title, (size, accuracy), pairs, over=over)


def append_thinned(points: list[Point], point: Point) -> None:
    """Append a point; where there are too many, every second one goes, so that the curve keeps its shape."""
    points.append(point)
    if len(points) > MOST_POINTS:
        del points[1:-1:2]


def _contributions(event: ContributionsEstimated) -> dict[str, Ends]:
    """Player -> contribution with its interval; ends of raw values change places where lower values are better."""
    rows = zip(event.players, event.contributions, event.lower, event.upper, strict=True)
    if event.higher_is_better:
        return {player: (number, low, high) for player, number, low, high in rows}
    return {player: (number, _minus(high), _minus(low)) for player, number, low, high in rows}


def _minus(number: float | None) -> float | None:
    return None if number is None else -number
