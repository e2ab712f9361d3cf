"""Which segments to run for a list of coalitions, in which order, and when to let go of what they give.

Value numbering: what a segment gives is named by the segment and the names of what goes into it; a switch has the name
of the chosen branch. So equal names are equal values, each computed once as long as memory allows. All of this is known
before anything runs: a plan is made once and serves every batch.

Memory: values are let go after their last use. Where that still exceeds the budget, what is needed furthest in the
future goes first and is computed again when its time comes (Belady's rule).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from accredit.models.gate import Weights
from accredit.models.graph_segments import OUTSIDE, Place, Program, Segment, Stored, Switch


@dataclass(frozen=True, eq=False)
class Instance:
    """A segment, or a blend, on certain values."""

    run: Callable[..., Any]
    inputs: tuple[int, ...]
    """Numbers of values."""
    base: int
    """Number of its first output."""
    stored: tuple[Stored, ...]
    """Of its outputs."""
    workspace: int


@dataclass(eq=False)
class Step:
    """One run and what is let go after it."""

    instance: Instance
    free: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Round:
    """What is done for one coalition."""

    outputs: tuple[int, ...]
    steps: list[Step] = field(default_factory=list)
    copied: tuple[bool, ...] = ()
    """Which outputs share memory with something that is kept."""
    free: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Plan:
    """All that is done for a list of coalitions."""

    rounds: list[Round]
    n_values: int
    peak_bytes: int
    n_run: int
    """Segments that are run."""
    n_shared: int
    """How many times a segment is needed that was run for an earlier coalition, or is run again for want of memory."""


def planned(program: Program, n_placeholders: int, coalitions: Sequence[Weights], *, max_bytes: float) -> Plan:
    """The plan for these coalitions, in their order.

    Args:
        program: segments and switches.
        n_placeholders: how many tensors go into the graph.
        coalitions: weights per player.
        max_bytes: of everything that is held at once; more only where a single step needs more.
    """
    numbered = _Numbered(program, n_placeholders)
    needs = [numbered.needs_of(weights) for weights in coalitions]
    schedule = _Schedule(numbered, needs, program.fresh)
    schedule.run(math.inf)
    if schedule.peak > max_bytes:
        schedule = _Schedule(numbered, needs, program.fresh)
        schedule.run(max_bytes)
    n_run = sum(len(each.steps) for each in schedule.rounds)
    n_shared = sum(len(needed) for needed, _ in needs) - len(numbered.instances)
    return Plan(schedule.rounds, numbered.n_values, schedule.peak, n_run, n_shared)


class _Numbered:
    """Values by name."""

    def __init__(self, program: Program, n_placeholders: int) -> None:
        self.program = program
        self.n_values = n_placeholders
        self.instances: dict[Any, Instance] = {}
        self.producer: dict[int, Instance] = {}

    def needs_of(self, weights: Weights) -> tuple[list[Instance], tuple[int, ...]]:
        """Everything that the output for a coalition is made of, in order, and the values that it consists of."""
        units = self.program.units
        needed = self._needed(weights)
        firsts = [0] * len(units)
        instances = []

        def value(place: Place) -> int:
            return place[1] if place[0] == OUTSIDE else firsts[place[0]] + place[1]

        for at, unit in enumerate(units):
            if not needed[at]:
                continue
            if isinstance(unit, Switch):
                weight = weights[unit.player]
                if weight in (0.0, 1.0):
                    firsts[at] = value(unit.on if weight else unit.off)
                    continue
                instance = self._blend(at, unit, weight, (value(unit.off), value(unit.on)))
            else:
                instance = self._instance(at, unit, tuple([value(place) for place in unit.inputs]))
            firsts[at] = instance.base
            instances.append(instance)
        # a branch may be what was found before, so an instance may come twice
        return list(dict.fromkeys(instances)), tuple(value(place) for place in self.program.outputs)

    def _needed(self, weights: Weights) -> list[bool]:
        """Which units the output depends on."""
        units = self.program.units
        needed = [False] * (len(units) + 1)
        for source, _ in self.program.outputs:
            needed[source] = True
        for at in range(len(units) - 1, -1, -1):
            if not needed[at]:
                continue
            unit = units[at]
            if isinstance(unit, Segment):
                for source, _ in unit.inputs:
                    needed[source] = True
                continue
            weight = weights[unit.player]
            if weight != 0.0:
                needed[unit.on[0]] = True
            if weight != 1.0:
                needed[unit.off[0]] = True
        return needed

    def _instance(self, at: int, unit: Segment, inputs: tuple[int, ...]) -> Instance:
        """A segment on certain values."""
        key = (at, inputs)
        if key not in self.instances:
            self._add(key, Instance(unit.run, inputs, self.n_values, unit.stored, unit.workspace))
        return self.instances[key]

    def _blend(self, at: int, unit: Switch, weight: float, inputs: tuple[int, int]) -> Instance:
        """A blend of two values; `at` tells apart switches of other sizes."""
        key = (at, inputs, weight)
        if key not in self.instances:
            stored = Stored(owned=((0, unit.n_bytes),), lent=())
            self._add(key, Instance(partial(_lerp, weight), inputs, self.n_values, (stored,), unit.n_bytes))
        return self.instances[key]

    def _add(self, key: Any, instance: Instance) -> None:
        self.instances[key] = instance
        for _ in instance.stored:
            self.producer[self.n_values] = instance
            self.n_values += 1


def _lerp(weight: float, off: Tensor, on: Tensor) -> Tensor:
    """Off + weight (on - off), as `SwitchedModule.blended` computes it."""
    return torch.lerp(off, on, weight)


_ELSEWHERE = (-1, 0)
"""Storage of placeholders, which is not ours to count."""


class _Schedule:
    """What is done and held, step by step.

    A position is a place in the order in which values would be computed for the first time.
    """

    def __init__(
        self, numbered: _Numbered, needs: Sequence[tuple[list[Instance], tuple[int, ...]]], fresh: tuple[bool, ...]
    ) -> None:
        self.numbered, self.fresh = numbered, fresh
        self.rounds = [Round(outputs) for _, outputs in needs]
        self.order: list[list[Instance]] = []
        self.uses: dict[int, list[int]] = {}
        self._find_uses(needs)
        self.resident: dict[int, tuple[tuple[int, int], ...]] = {}
        """Values that are held, and their storages."""
        self.holders: dict[tuple[int, int], set[int]] = {}
        self.sizes: dict[tuple[int, int], int] = {}
        self.held = self.peak = self.position = 0
        self.free: list[int] = []
        """Where what is let go next is noted: behind what ran last."""

    def _find_uses(self, needs: Sequence[tuple[list[Instance], tuple[int, ...]]]) -> None:
        """When each value is read, if each is computed once."""
        known: set[Instance] = set()
        position = 0
        for needed, outputs in needs:
            new = [instance for instance in needed if instance not in known]
            known.update(new)
            self.order.append(new)
            for instance in new:
                for value in instance.inputs:
                    self.uses.setdefault(value, []).append(position)
                position += 1
            for value in outputs:
                self.uses.setdefault(value, []).append(position)
            position += 1

    def run(self, max_bytes: float) -> None:
        """Go through all coalitions with this much memory."""
        for each, new in zip(self.rounds, self.order, strict=True):
            for instance in new:
                self._compute([instance], each, max_bytes)
                self._let_go(instance.inputs)
                self.position += 1
            self._compute_outputs(each, max_bytes)
            self.free = each.free
            self._let_go(each.outputs)
            each.copied = tuple(
                not fresh or self._is_shared(value) for value, fresh in zip(each.outputs, self.fresh, strict=True)
            )
            self.position += 1

    def _compute_outputs(self, each: Round, max_bytes: float) -> None:
        """Compute again those outputs of the model that were let go."""
        for value in each.outputs:
            producer = self.numbered.producer.get(value)
            if producer is not None and value not in self.resident:
                self._compute([producer], each, max_bytes, kept=each.outputs)

    def _compute(self, pending: list[Instance], each: Round, max_bytes: float, kept: tuple[int, ...] = ()) -> None:
        """Run an instance, and before it whatever it needs that is not held."""
        while pending:
            instance = pending[-1]
            missing = [value for value in instance.inputs if value not in self.resident]
            producers = [self.numbered.producer[value] for value in missing if value in self.numbered.producer]
            if producers:
                pending.append(producers[0])
                continue
            pinned = {value for waiting in pending for value in waiting.inputs}.union(kept)
            self._make_room(instance.workspace, pinned, max_bytes)
            step = Step(instance)
            each.steps.append(step)
            self.free = step.free
            self.peak = max(self.peak, self.held + instance.workspace)
            self._take(instance)
            pending.pop()
            wanted = {value for waiting in pending for value in waiting.inputs}.union(kept)
            made = range(instance.base, instance.base + len(instance.stored))
            self._let_go(value for value in (*instance.inputs, *made) if value not in wanted)

    def _take(self, instance: Instance) -> None:
        """Hold what an instance gives."""
        for number, stored in enumerate(instance.stored):
            value = instance.base + number
            if value in self.resident:
                continue
            storages = {(instance.base, name): size for name, size in stored.owned}
            lent = [storage for at in stored.lent for storage in self._storages(instance.inputs[at])]
            self.resident[value] = (*storages, *lent)
            for storage in self.resident[value]:
                if not self.holders.setdefault(storage, set()):
                    self.sizes[storage] = storages.get(storage, self.sizes.get(storage, 0))
                    self.held += self.sizes[storage]
                self.holders[storage].add(value)

    def _storages(self, value: int) -> tuple[tuple[int, int], ...]:
        """Storages of a value; those of placeholders are not ours."""
        return self.resident.get(value, (_ELSEWHERE,))

    def _let_go(self, values: Iterable[int]) -> None:
        """Let go of those values that are not read after this position."""
        for value in dict.fromkeys(values):
            if value in self.resident and self._next_use(value) == math.inf:
                self._drop(value)

    def _next_use(self, value: int) -> float:
        """The next position that reads a value, this one left out for what has just run."""
        uses = self.uses.get(value, [])
        at = bisect.bisect_right(uses, self.position)
        return uses[at] if at < len(uses) else math.inf

    def _drop(self, value: int) -> None:
        """Hold a value no longer."""
        for storage in self.resident.pop(value):
            self.holders[storage].discard(value)
            if not self.holders[storage]:
                self.held -= self.sizes[storage]
        self.free.append(value)

    def _make_room(self, n_bytes: int, pinned: set[int], max_bytes: float) -> None:
        """Let go of what is needed furthest in the future until there is room, or nothing more to let go."""
        while self.held + n_bytes > max_bytes:
            candidates = [
                (min(map(self._next_use, holders)), storage)
                for storage, holders in self.holders.items()
                if holders and self.sizes[storage] and not holders & pinned
            ]
            if not candidates:
                return
            for value in tuple(self.holders[max(candidates)[1]]):
                self._drop(value)

    def _is_shared(self, value: int) -> bool:
        """Whether somebody else holds memory of an output that is handed out."""
        storages = self.resident.get(value)
        if storages is None:
            producer = self.numbered.producer.get(value)
            return producer is None or self._lends(producer, value)
        return True

    def _lends(self, producer: Instance, value: int) -> bool:
        """Whether an output is a view of what went into its segment, or another value is a view of it."""
        stored = producer.stored[value - producer.base]
        names = {(producer.base, name) for name, _ in stored.owned}
        return bool(stored.lent) or any(self.holders.get(name) for name in names)
