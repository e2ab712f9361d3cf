"""Policies without learning, in the same environment: what growth by rule earns.

E environments, F fields of an observation, A actions, S slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from accredit.growth.stage import Operation, Stage
from accredit.training.action import ActionTable
from accredit.training.observation import ObservationTable

Observations = NDArray[np.float32]
Masks = NDArray[np.bool_]
Choices = NDArray[np.int64]


class Policy(Protocol):
    """Anything that chooses one legal action per environment."""

    def act(self, observations: Observations, legal: Masks) -> Choices:
        """Return indices of actions, [E].

        Args:
            observations: as the environment gives them, [E, F].
            legal: which actions are legal, [E, A].
        """
        ...


class NoGrowth:
    """Waits for ever."""

    def act(self, observations: Observations, legal: Masks) -> Choices:
        """Return waiting for every environment."""
        del legal
        return np.zeros(len(observations), dtype=np.int64)


class RandomPolicy:
    """Draws uniformly from what is legal.

    Args:
        generator: source of the draws.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def act(self, observations: Observations, legal: Masks) -> Choices:
        """Return one legal action per environment."""
        del observations
        choices: Choices = np.where(legal, self.generator.random(legal.shape), -1.0).argmax(1)
        return choices


class View:
    """Reads what rules need from observations by name.

    Args:
        actions: the table of actions.
        fields: the table of fields.
    """

    def __init__(self, actions: ActionTable, fields: ObservationTable) -> None:
        self.actions, self.fields = actions, fields
        self.num_slots = len(actions.slot_names)

    def column(self, name: str) -> list[int]:
        """Return the columns of a field of every slot, [S]."""
        return [self.fields.index(f"{slot}.{name}") for slot in self.actions.slot_names]

    def time(self, observation: Observations) -> int:
        """Return the steps that are over, from one observation [F]."""
        return round(float(observation[self.fields.index("time")]) * self.fields.steps)

    def ages(self, observation: Observations) -> NDArray[np.int64]:
        """Return the age of every slot's graft in steps, [S]."""
        ages: NDArray[np.int64] = np.rint(observation[self.column("age")] * self.fields.steps).astype(np.int64)
        return ages

    def is_stage(self, observation: Observations, stage: Stage) -> Masks:
        """Return which slots are in `stage`, [S]."""
        bits: Masks = observation[self.column(f"is_{stage.name.lower()}")] > 0.5
        return bits

    def is_known(self, observation: Observations) -> Masks:
        """Return which slots have a measured contribution, [S]."""
        known: Masks = observation[self.column("unknown")] < 0.5
        return known

    def legal_slots(self, legal: Masks, operation: Operation) -> list[int]:
        """Return the slots where `operation` (not a graft) is legal, from one mask [A]."""
        return [slot for slot in range(self.num_slots) if legal[self.actions.find(operation, slot)]]


class Schedule:
    """Grafts slot after slot at fixed times, blends, and commits as soon as that is legal.

    Args:
        view: how to read observations.
        order: slots in the order in which they are grafted.
        kinds: row of the catalogue for each slot, [S]; empty where kinds are drawn and not chosen.
        spacing: steps between two grafts.
        training_steps: age at which a graft begins to blend.
    """

    def __init__(
        self, view: View, order: Sequence[int], *, kinds: Sequence[int], spacing: int = 1, training_steps: int = 2
    ) -> None:
        self.view, self.order, self.kinds = view, tuple(order), tuple(kinds)
        self.spacing, self.training_steps = spacing, training_steps

    def act(self, observations: Observations, legal: Masks) -> Choices:
        """Return what the schedule says for every environment."""
        return np.array([self._one(o, mask) for o, mask in zip(observations, legal, strict=True)], dtype=np.int64)

    def _one(self, observation: Observations, legal: Masks) -> int:
        find = self.view.actions.find
        for slot in self.view.legal_slots(legal, Operation.COMMIT):
            return find(Operation.COMMIT, slot)
        ages, time = self.view.ages(observation), self.view.time(observation)
        for slot in self.view.legal_slots(legal, Operation.BLEND):
            if ages[slot] >= self.training_steps:
                return find(Operation.BLEND, slot)
        empty = self.view.is_stage(observation, Stage.EMPTY)
        for place, slot in enumerate(self.order):
            if empty[slot] and time >= place * self.spacing:
                return find(Operation.GRAFT, slot, self.kinds[slot] if self.kinds else None)
        return find(Operation.WAIT)


class Greedy:
    """Tries a graft in every empty slot, commits what has proven itself, prunes what has not.

    Args:
        view: how to read observations.
        generator: draws slots, and kinds where they are not given.
        kinds: row of the catalogue for each slot, [S]; None: drawn uniformly, harmful ones included.
        training_steps: age at which a graft begins to blend.
        patience: age at which a graft without proof is pruned.
    """

    def __init__(
        self,
        view: View,
        generator: np.random.Generator,
        *,
        kinds: Sequence[int] | None = None,
        training_steps: int = 2,
        patience: int = 5,
    ) -> None:
        self.view, self.generator, self.kinds = view, generator, kinds
        self.training_steps, self.patience = training_steps, patience

    def act(self, observations: Observations, legal: Masks) -> Choices:
        """Return the greedy choice for every environment."""
        return np.array([self._one(o, mask) for o, mask in zip(observations, legal, strict=True)], dtype=np.int64)

    def _one(self, observation: Observations, legal: Masks) -> int:
        view, find = self.view, self.view.actions.find
        for slot in view.legal_slots(legal, Operation.COMMIT):
            return find(Operation.COMMIT, slot)
        ages, holding = view.ages(observation), view.is_stage(observation, Stage.HOLDING)
        known = view.is_known(observation)
        for slot in view.legal_slots(legal, Operation.PRUNE):
            if holding[slot] and known[slot] and ages[slot] >= self.patience:
                return find(Operation.PRUNE, slot)
        for slot in view.legal_slots(legal, Operation.BLEND):
            if ages[slot] >= self.training_steps:
                return find(Operation.BLEND, slot)
        empty = np.flatnonzero(view.is_stage(observation, Stage.EMPTY))
        # A graft needs to train, to blend and to be measured before it can be committed.
        if len(empty) and view.time(observation) <= view.fields.steps - self.patience:
            slot = int(self.generator.choice(empty))
            kind = int(self.generator.integers(view.fields.num_kinds)) if self.kinds is None else self.kinds[slot]
            return find(Operation.GRAFT, slot, kind)
        return find(Operation.WAIT)


class Calibrator:
    """A greedy policy with random kinds that remembers what each kind earned in each slot when it first held.

    Args:
        view: how to read observations.
        generator: draws slots and kinds.
    """

    def __init__(self, view: View, generator: np.random.Generator) -> None:
        self.view = view
        self.greedy = Greedy(view, generator)
        self.total = np.zeros((view.num_slots, view.fields.num_kinds))
        self.count = np.zeros((view.num_slots, view.fields.num_kinds))

    def act(self, observations: Observations, legal: Masks) -> Choices:
        """Return the greedy choices, after noting every contribution of a graft that holds."""
        view = self.view
        for slot, name in enumerate(view.actions.slot_names):
            holds = observations[:, view.fields.index(f"{name}.is_holding")] > 0.5
            known = observations[:, view.fields.index(f"{name}.unknown")] < 0.5
            earned = observations[:, view.fields.index(f"{name}.contribution")]
            for kind, kind_name in enumerate(view.actions.kind_names):
                chosen = holds & known & (observations[:, view.fields.index(f"{name}.kind_{kind_name}")] > 0.5)
                self.total[slot, kind] += earned[chosen].sum()
                self.count[slot, kind] += chosen.sum()
        return self.greedy.act(observations, legal)

    def best_kinds(self) -> tuple[int, ...]:
        """Return for each slot the kind with the largest mean contribution so far; unseen kinds do not compete."""
        mean = np.where(self.count > 0, self.total / np.maximum(self.count, 1), -np.inf)
        return tuple(int(kind) for kind in mean.argmax(1))
