"""Everything that a report says of a run, as it was read."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from accredit.telemetry.event import (
    CoalitionsEvaluated,
    ContributionsEstimated,
    Event,
    HostGrown,
    PolicyRolledBack,
    RunCompleted,
    RunStarted,
    StageChanged,
    StepCompleted,
    UpdateCompleted,
)
from accredit.telemetry.record import UnknownEvent
from accredit.training.run_folder import RunFolder

Plain = dict[str, Any]

_LEARNED, _TRAINED = "learned-000", "train-000"
"""The hosts whose story is told: the first of the comparison, or, before it, the first that was trained on."""


@dataclass(kw_only=True)
class Story:
    """The events of one episode of one environment."""

    environment: str
    stages: list[StageChanged] = field(default_factory=list)
    steps: list[StepCompleted] = field(default_factory=list)
    contributions: list[ContributionsEstimated] = field(default_factory=list)

    def take(self, event: Event | UnknownEvent) -> None:
        """Add an event; the first of another episode begins anew."""
        told = self.stages or self.steps or self.contributions
        if told and told[0].origin.episode != event.origin.episode:
            self.stages, self.steps, self.contributions = [], [], []
        match event:
            case StageChanged():
                self.stages.append(event)
            case StepCompleted():
                self.steps.append(event)
            case ContributionsEstimated():
                self.contributions.append(event)
            case _:
                pass


@dataclass(kw_only=True)
class RunRecord:
    """What the files of a run say."""

    run: RunFolder
    config: Plain
    """As the run was begun; a field of another version is kept as it is."""
    comparison: Plain | None
    """`evaluation.json`; None before the comparison is through."""
    notices: list[str]
    """What is missing or damaged, in sentences."""
    started: RunStarted | None = None
    started_s: float | None = None
    """Seconds since 1970, UTC, as all times."""
    completed_s: float | None = None
    last_s: float | None = None
    """Of the last event that was read."""
    updates: list[tuple[float, UpdateCompleted]] = field(default_factory=list)
    hosts: list[HostGrown] = field(default_factory=list)
    story: Story = field(default_factory=lambda: Story(environment=_LEARNED))
    early: Story = field(default_factory=lambda: Story(environment=_TRAINED))
    """The last episode of the first training environment."""
    tested: list[CoalitionsEvaluated] = field(default_factory=list)
    """All coalitions of the hosts of the learned policy, on the test split."""
    directions: dict[str, ContributionsEstimated] = field(default_factory=dict)
    """Output -> its first estimate, which says its unit and direction."""
    earned: list[dict[str, list[float]]] = field(default_factory=lambda: [defaultdict(list)])
    """Per update the contributions of each slot's live graft to the first output; the last entry has no update yet."""
    diverged: int = 0
    """Hosts that were rolled back, because their weights were not finite."""
    rolled_back: list[PolicyRolledBack] = field(default_factory=list)
    """Updates of the policy that were taken back."""
    stride: int = 1
    """Of how many matrices of training one was read."""
    coalitions: Counter[str] = field(default_factory=Counter)
    """Game -> coalitions evaluated; the comparison on the test split has the game ""."""

    def take(self, time_s: float, event: Event | UnknownEvent) -> None:
        """Add one event."""
        match event:
            case RunStarted():
                self.started, self.started_s = event, time_s
            case RunCompleted():
                self.completed_s = time_s
            case UpdateCompleted():
                self.updates.append((time_s, event))
                self.earned.append(defaultdict(list))
            case PolicyRolledBack():
                self.rolled_back.append(event)
            case HostGrown():
                self.hosts.append(event)
            case CoalitionsEvaluated():
                self.tested.append(event)
            case ContributionsEstimated():
                self.describe(event)
                if event.output == next(iter(self.directions)):
                    for player, contribution in zip(event.players, event.contributions, strict=True):
                        self.earned[-1][player].append(contribution)
            case _:
                pass
        self.last_s = time_s

    def describe(self, event: Event | UnknownEvent) -> None:
        """Keep unit and direction of an output."""
        if isinstance(event, ContributionsEstimated):
            self.directions.setdefault(event.output, event)
