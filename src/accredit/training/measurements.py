"""Which grafts are measured after a step, on which examples, and what that proves.

E environments, S slots, A actions.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from accredit.growth.hosts import Hosts, Players
from accredit.growth.stage import Stage
from accredit.telemetry.event import Origin
from accredit.training.action import NEVER, ActionTable
from accredit.training.credit import Cadence, Creditor
from accredit.training.data import Examples
from accredit.training.slot_states import SlotStates

Bits = NDArray[np.bool_]
SUBSET_SEED = 20240301  # the same examples at every step and in every run, so that steps can be compared


class Measurements:
    """Keeps the credit of all slots up to date.

    Live grafts are measured while one of them waits for a decision, and once more at the end of the episode; grafts in
    training after every step.  `attribution.cadence` says where that takes many examples.

    Args:
        hosts: E hosts.
        slots: their slots; credit and proofs are written here.
        creditor: measures.
        actions: knows what is legal.
        examples: the reward split.
    """

    def __init__(
        self, hosts: Hosts, slots: SlotStates, *, creditor: Creditor, actions: ActionTable, examples: Examples
    ) -> None:
        self.hosts, self.slots, self.creditor, self.actions = hosts, slots, creditor, actions
        self.seconds = 0.0
        """Spent here so far, by a monotonic clock; telling it as events is not in it."""
        self._many = _subset(examples, creditor.attribution.examples)
        self._few = _subset(examples, creditor.attribution.examples_between)

    def update(self, rows: NDArray[np.int64], *, at_end: Bits, origin: Callable[[int, str], Origin]) -> None:
        """Forget the credit of `rows` and measure what is due.

        Args:
            rows: environments that were evaluated.
            at_end: whose episode is over, [E].
            origin: row and game -> where it happens.
        """
        began, slots = time.perf_counter(), self.slots
        slots.forget_credit(rows)
        live, training = slots.alphas > 0, slots.stages == Stage.TRAINING
        now = self.actions.decidable(slots.stages, ages=slots.ages, stays=slots.stays)
        old = np.full_like(slots.ages, NEVER)
        some_day = self.actions.decidable(slots.stages, ages=old, stays=old) & (slots.stages >= Stage.BLENDING)
        here = np.zeros(len(live), dtype=bool)
        here[rows] = True
        due = here & live.any(1) & (some_day.any(1) | at_end)
        self._measure(Players.LIVE, live, due, (now & live).any(1) | at_end, origin=origin)
        self._measure(Players.CANDIDATES, training, here & training.any(1), (now & training).any(1), origin=origin)
        # Removal cost alone proves nothing: a host adapts even to a graft that harms it, and then misses it.
        slots.proven[rows] &= slots.welcome[rows]
        self.seconds += time.perf_counter() - began
        self.creditor.tell()

    def _measure(
        self, players: Players, plays: Bits, due: Bits, decides: Bits, *, origin: Callable[[int, str], Origin]
    ) -> None:
        """Measure one game of all hosts that are `due` [E], on more examples where a step `decides` [E]."""
        if self.creditor.attribution.cadence == Cadence.EVERY_STEP:
            decides = due
        positive = self.slots.welcome if players == Players.CANDIDATES else self.slots.proven
        for chosen, examples in ((due & decides, self._many), (due & ~decides, self._few)):
            rows = np.flatnonzero(chosen)
            if not len(rows) or not len(examples):
                continue
            credit = self.creditor.measure(
                self.hosts,
                rows.tolist(),
                examples,
                players=players,
                plays=plays[rows],
                origins=[origin(row, players.value) for row in rows.tolist()],
            )
            known = credit.is_known
            self.slots.credit[:, rows] = np.where(known, credit.values, self.slots.credit[:, rows])
            positive[rows] = np.where(known, credit.is_positive, positive[rows])


def _subset(examples: Examples, count: int) -> Examples:
    """Return `count` examples, or all where there are no more; fewer are a part of more."""
    if count >= len(examples):
        return examples
    chosen = np.sort(np.random.default_rng(SUBSET_SEED).permutation(len(examples))[:count])
    return Examples(inputs=examples.inputs[chosen], labels=examples.labels[chosen])
