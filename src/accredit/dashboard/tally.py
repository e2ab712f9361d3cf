"""What is known of a run after reading its events once: every series down-sampled, and where in the file things are."""

from __future__ import annotations

import json
import math
import re
from array import array
from dataclasses import dataclass, field
from typing import Any

from accredit.dashboard.trace import Trace
from accredit.telemetry.record import VERSION

Plain = dict[str, Any]

LINES_A_MARK = 512
"""Lines from one byte offset that is kept to the next."""
MOST_ENVIRONMENTS = 1024
"""Environments that are kept one by one; further ones are seen in their group only."""
_MOST_NAMES = 64  # of groups, policies, operations, outputs, and of players of one output
_MOST_COUNTERS = 100_000  # environments whose steps are counted
_MOST_HOSTS = 4096  # of one policy
_LONGEST_NAME = 500
_ENVIRONMENT_BUCKETS, _SHARED_BUCKETS = 64, 256

STEP_FIELDS = ("log_loss", "accuracy", "graft_parameters", "reward", "gain", "control_gain", "rent")
UPDATE_FIELDS = (
    "episode_return",
    "gain_over_control",
    "final_log_loss",
    "final_accuracy",
    "mean_parameters",
    "explained_variance",
    "entropy",
    "approximate_kl",
    "clip_fraction",
    "policy_loss",
    "value_loss",
    "observation_drift",
    "observation_count",
    "observation_effective_count",
    "reward_scale",
    "return_std",
)
_KNOWN = frozenset(
    (
        "RunStarted",
        "UpdateCompleted",
        "StageChanged",
        "StepCompleted",
        "ContributionsEstimated",
        "HostGrown",
        "HostDiverged",
        "RunCompleted",
    )
)
_HEAD = re.compile(rb'\{"event": "(\w{1,64})", "version": (\d{1,9}), ')


def group_of(name: str) -> str:
    """Return what environments that differ by a number only have in common.

    Example:
        >>> group_of("train-007")
        'train-#'
    """
    return re.sub(r"\d+", "#", name)


@dataclass
class Place:
    """One environment, or a group of them: its series over its own steps."""

    buckets: int
    steps: int = 0
    """Steps that are over; of a group, of the environment that is furthest."""
    members: int = 0
    """Environments of a group."""
    traces: dict[str, Trace] = field(default_factory=dict)
    episode: int | None = None
    """The one that is running."""
    begin: int = 0
    """Byte of the file where it began."""
    finished: tuple[int, int, int] | None = None
    """Number, first byte and end of the episode before."""

    def add(self, name: str, number: object) -> None:
        """Add a measurement at the present step; what is no finite number leaves a gap."""
        if _is_number(number):
            if name not in self.traces:
                self.traces[name] = Trace(self.buckets)
            self.traces[name].add(self.steps, float(number))  # type: ignore[arg-type]

    def enter(self, episode: int, byte: int) -> None:
        """Take note that an event of `episode` stands at `byte`."""
        if episode != self.episode:
            if self.episode is not None:
                self.finished = (self.episode, self.begin, byte)
            self.episode, self.begin = episode, byte

    def to_plain(self) -> list[Any]:
        """Return the state as plain values."""
        traces = {name: trace.to_plain() for name, trace in self.traces.items()}
        return [self.buckets, self.steps, self.members, traces, self.episode, self.begin, self.finished]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Place:
        """Return the place that `to_plain` described."""
        buckets, steps, members, traces, episode, begin, finished = plain
        restored = {name: Trace.from_plain(trace) for name, trace in traces.items()}
        return cls(buckets, steps, members, restored, episode, begin, tuple(finished) if finished else None)


@dataclass
class Tally:
    """The state of reading a file of events, line by line."""

    position: int = 0
    """Bytes that were read."""
    lines: int = 0
    marks: array[int] = field(default_factory=lambda: array("Q"))
    """First byte of every 512th line."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Kind -> events of it."""
    unreadable: int = 0
    """Lines that are no events of this version."""
    first_unreadable: str = ""
    """What is wrong with the first of them, as a sentence."""
    started: Plain = field(default_factory=dict)
    """Fields of `RunStarted`."""
    is_completed: bool = False
    begin_s: float | None = None
    """Time of the first event, seconds since 1970, UTC."""
    end_s: float | None = None
    """Time of the latest."""
    updates: Place = field(default_factory=lambda: Place(_SHARED_BUCKETS))
    environments: dict[str, Place] = field(default_factory=dict)
    groups: dict[str, Place] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    """Environment -> steps that are over."""
    outputs: dict[str, list[Any]] = field(default_factory=dict)
    """`game/output` -> unit and whether higher is better."""
    policies: dict[str, list[list[float]]] = field(default_factory=dict)
    """Policy -> accuracies and parameters of the hosts it grew."""

    def take(self, line: bytes) -> None:
        """Take one line, its end included, which begins at `position`."""
        if self.lines % LINES_A_MARK == 0:
            self.marks.append(self.position)
        self.lines += 1
        try:
            self._take(line)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            self.unreadable += 1
            if not self.first_unreadable:
                self.first_unreadable = f"Line {self.lines} {_reason(line, error)}."
        self.position += len(line)

    def _take(self, line: bytes) -> None:
        head = _HEAD.match(line)
        if head is None:
            raise ValueError("no head")
        kind = head[1].decode()
        if int(head[2]) != VERSION:
            raise ValueError("version")
        if kind in self.kinds or len(self.kinds) < _MOST_NAMES:
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if kind not in _KNOWN:
            return
        entries = json.loads(line)
        self._date(entries["time"])
        origin = entries["origin"]
        match kind:
            case "StageChanged":
                self._places(origin)  # an episode begins with the first of its events
            case "StepCompleted":
                self._step(origin, entries)
            case "ContributionsEstimated":
                self._contributions(origin, entries)
            case "UpdateCompleted":
                self._update(entries)
            case "HostGrown":
                self._host(entries)
            case "RunStarted":
                self.started = {name: entries[name] for name in ("task", "seed", "code_version", "torch_version")}
            case "RunCompleted":
                self.is_completed = True
            case _:
                pass

    def _date(self, time_s: object) -> None:
        if not _is_number(time_s):
            raise ValueError("time")
        if self.begin_s is None:
            self.begin_s = float(time_s)  # type: ignore[arg-type]
        self.end_s = float(time_s)  # type: ignore[arg-type]

    def _places(self, origin: Plain) -> list[Place]:
        """Return where an event counts: its environment, if that is kept, and the group of it."""
        if origin["environment"] is None:
            return []
        name, places = _name(origin["environment"]), []
        if name not in self.environments and len(self.environments) < MOST_ENVIRONMENTS:
            self.environments[name] = Place(_ENVIRONMENT_BUCKETS)
        if name in self.environments:
            place = self.environments[name]
            if isinstance(origin["episode"], int):
                place.enter(origin["episode"], self.position)
            places.append(place)
        group = group_of(name)
        if group not in self.groups:
            group = group if len(self.groups) < _MOST_NAMES else "#"
            self.groups.setdefault(group, Place(_SHARED_BUCKETS))
        if name not in self.counters:
            if len(self.counters) >= _MOST_COUNTERS:
                return places
            self.counters[name] = 0
            self.groups[group].members += 1
        return [*places, self.groups[group]]

    def _step(self, origin: Plain, entries: Plain) -> None:
        places = self._places(origin)
        name = origin["environment"]
        if name in self.counters:
            self.counters[name] += 1
        for place in places:
            place.steps = self.counters.get(name, place.steps + 1)
            for quantity in STEP_FIELDS:
                place.add(quantity, entries.get(quantity))

    def _contributions(self, origin: Plain, entries: Plain) -> None:
        game = origin["game"]
        output = _name(entries["output"])
        key = f"{_name(game)}/{output}" if game else output
        if key not in self.outputs:
            if len(self.outputs) >= _MOST_NAMES:
                return
            self.outputs[key] = [str(entries["unit"]), bool(entries["higher_is_better"])]
        places = self._places(origin)
        for place in places:
            place.steps = self.counters.get(origin["environment"], place.steps)
            for player, number in zip(entries["players"], entries["contributions"], strict=True):
                name = f"{key}\0{_name(player)}"
                if name in place.traces or len(place.traces) < _MOST_NAMES * 4:
                    place.add(name, number)

    def _update(self, entries: Plain) -> None:
        if not isinstance(entries["update"], int) or entries["update"] < 0:
            raise ValueError("update")
        self.updates.steps = entries["update"]
        for quantity in UPDATE_FIELDS:
            self.updates.add(quantity, entries.get(quantity))  # files of other versions lack some
        # an operation that was never chosen in a rollout has no entry there, and a share of 0
        shares = dict.fromkeys((name for name in self.updates.traces if name.startswith("action\0")), 0.0)
        shares |= {f"action\0{_name(operation)}": share for operation, share in entries["action_frequencies"].items()}
        for name, share in shares.items():
            if name in self.updates.traces or len(self.updates.traces) < _MOST_NAMES * 2:
                self.updates.add(name, share)

    def _host(self, entries: Plain) -> None:
        policy = _name(entries["policy"])
        if policy not in self.policies and len(self.policies) >= _MOST_NAMES:
            return
        accuracies, parameters = self.policies.setdefault(policy, [[], []])
        if _is_number(entries["accuracy"]) and _is_number(entries["parameters"]) and len(accuracies) < _MOST_HOSTS:
            accuracies.append(float(entries["accuracy"]))
            parameters.append(float(entries["parameters"]))

    def to_plain(self) -> Plain:
        """Return the state as plain values that JSON can hold."""
        return vars(self) | {
            "marks": self.marks.tolist(),
            "updates": self.updates.to_plain(),
            "environments": {name: place.to_plain() for name, place in self.environments.items()},
            "groups": {name: place.to_plain() for name, place in self.groups.items()},
        }

    @classmethod
    def from_plain(cls, plain: Plain) -> Tally:
        """Return the tally that `to_plain` described."""
        return cls(
            **plain
            | {
                "marks": array("Q", plain["marks"]),
                "updates": Place.from_plain(plain["updates"]),
                "environments": {name: Place.from_plain(place) for name, place in plain["environments"].items()},
                "groups": {name: Place.from_plain(place) for name, place in plain["groups"].items()},
            }
        )


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _name(value: object) -> str:
    """Check that a value can stand for something a user named."""
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise ValueError("name")
    return value


def _reason(line: bytes, error: Exception) -> str:
    head = _HEAD.match(line)
    if head is None:
        return "is no event as Accredit writes it"
    if int(head[2]) != VERSION:
        return f"has version {int(head[2])}, but this Accredit reads version {VERSION}"
    if isinstance(error, KeyError):
        return f"lacks the field {error.args[0]!r}"
    return f"is a damaged {head[1].decode()}"
