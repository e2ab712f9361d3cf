"""What happened between two updates, gathered for charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from accredit.charts.estimates import Estimates
from accredit.telemetry.event import ContributionsEstimated, Event, HostDiverged, StageChanged, StepCompleted

_MEASURED = ("reward", "gain", "control_gain", "rent", "log_loss", "accuracy", "graft_parameters")


@dataclass
class Contributions:
    """Contributions of all players to one output, as they came."""

    first: ContributionsEstimated
    """Says output, unit and direction."""
    by_player: dict[str, list[float]] = field(default_factory=dict)
    """Player -> contributions; positive helps."""

    def take(self, event: ContributionsEstimated) -> None:
        """Add those of one matrix."""
        for player, contribution in zip(event.players, event.contributions, strict=True):
            self.by_player.setdefault(player, []).append(contribution)

    def means(self) -> Estimates:
        """Return the mean of each player; intervals are unknown, for the matrices of one host depend on each other."""
        sign = 1.0 if self.first.higher_is_better else -1.0
        return Estimates(
            names=tuple(self.by_player),
            values=tuple(sign * sum(numbers) / len(numbers) for numbers in self.by_player.values()),
            half_widths=None,
            quantity=self.first.output,
            unit=self.first.unit,
            higher_is_better=self.first.higher_is_better,
            level=self.first.level,
        )


@dataclass
class Window:
    """Steps, stages and contributions of all environments since the last update."""

    steps: dict[str, list[float]] = field(default_factory=dict)
    """Field of `StepCompleted` -> its values; a missing one is left out."""
    operations: Counter[str] = field(default_factory=Counter)
    """How often slots changed their stage, by what was decided."""
    diverged: int = 0
    """Hosts that were rolled back."""
    contributions: dict[str, Contributions] = field(default_factory=dict)
    """`game/output`, or `output` alone where there is one game -> contributions."""

    def take(self, event: Event) -> None:
        """Add what one event says; kinds that nothing is drawn from are passed over."""
        match event:
            case StepCompleted():
                values = vars(event)
                for name in _MEASURED:
                    if values[name] is not None:
                        self.steps.setdefault(name, []).append(float(values[name]))
            case StageChanged():
                self.operations[event.operation] += 1
            case HostDiverged():
                self.diverged += 1
            case ContributionsEstimated():
                game = event.origin.game
                key = event.output if game is None else f"{game}/{event.output}"
                self.contributions.setdefault(key, Contributions(event)).take(event)
            case _:
                pass


def scalars_of(event: Event) -> Iterator[tuple[str, float]]:
    """Return name and value of every number of an event, entries of mappings as `field/key`; nothing for a missing one.

    Example:
        >>> from accredit.telemetry import RunCompleted
        >>> list(scalars_of(RunCompleted(updates=40)))
        [('updates', 40.0)]
    """
    for name, value in vars(event).items():
        if isinstance(value, int | float):
            yield name, float(value)
        elif isinstance(value, Mapping):
            yield from ((f"{name}/{key}", float(each)) for key, each in value.items() if isinstance(each, int | float))
