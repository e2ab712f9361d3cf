"""Which grafts are measured after a step, on which examples, and what that proves.

E environments, S slots, A actions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.growth.hosts import Hosts, Players
from accredit.growth.metric import Score
from accredit.growth.stage import Stage
from accredit.telemetry.event import Origin
from accredit.training.action import NEVER, ActionTable
from accredit.training.credit import Cadence, Creditor
from accredit.training.data import Examples
from accredit.training.slot_states import SlotStates

Bits = NDArray[np.bool_]
SUBSET_SEED = 20240301  # the same examples at every step and in every run, so that steps can be compared


@dataclass(frozen=True)
class Subset:
    """A part of the reward split."""

    places: Tensor
    """Which examples, int64."""
    examples: Examples


@dataclass(frozen=True)
class Game:
    """One game of all environments at one step."""

    players: Players
    plays: Bits
    """Which slots have a player, [E, S]."""
    due: Bits
    """Whose players are measured, [E]."""
    decides: Bits
    """Where a decision waits for it, so that it takes many examples, [E]."""
    positive: Bits
    """Where it is written what was positive with significance, [E, S]."""


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

    def update(
        self, rows: NDArray[np.int64], evaluated: Score, *, at_end: Bits, origin: Callable[[int, str], Origin]
    ) -> None:
        """Forget the credit of `rows` and measure what is due.

        Args:
            rows: environments that were evaluated.
            evaluated: their live networks on all examples, [R, B].
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
        games = (
            Game(Players.LIVE, live, due, (now & live).any(1) | at_end, slots.proven),
            Game(Players.CANDIDATES, training, here & training.any(1), (now & training).any(1), slots.welcome),
        )
        place = np.zeros(len(live), dtype=np.int64)  # of a row in what was evaluated
        place[rows] = np.arange(len(rows))
        every_step = self.creditor.attribution.cadence == Cadence.EVERY_STEP
        for subset, is_many in ((self._many, True), (self._few, False)):
            chosen = [np.flatnonzero(game.due & ((every_step | game.decides) == is_many)) for game in games]
            if len(subset.examples) and any(map(len, chosen)):
                known = evaluated.of_rows(place[np.concatenate(chosen)]).of_examples(subset.places)
                self._measure(games, chosen, subset.examples, known, origin=origin)
        # Removal cost alone proves nothing: a host adapts even to a graft that harms it, and then misses it.
        slots.proven[rows] &= slots.welcome[rows]
        self.seconds += time.perf_counter() - began
        self.creditor.tell()

    def _measure(
        self,
        games: Sequence[Game],
        chosen: Sequence[NDArray[np.int64]],
        examples: Examples,
        live: Score,
        *,
        origin: Callable[[int, str], Origin],
    ) -> None:
        """Measure both games in one pass, each in the rows that are `chosen` for it."""
        credit = self.creditor.measure(
            self.hosts,
            np.concatenate(chosen).tolist(),
            examples,
            players=[game.players for game, rows in zip(games, chosen, strict=True) for _ in rows],
            plays=np.concatenate([game.plays[rows] for game, rows in zip(games, chosen, strict=True)]),
            origins=[
                origin(row, game.players.value)
                for game, rows in zip(games, chosen, strict=True)
                for row in rows.tolist()
            ],
            live=live,
        )
        end = 0
        for game, rows in zip(games, chosen, strict=True):
            mine, end = slice(end, end + len(rows)), end + len(rows)
            is_known = credit.is_known[mine]
            self.slots.credit[:, rows] = np.where(is_known, credit.values[:, mine], self.slots.credit[:, rows])
            game.positive[rows] = np.where(is_known, credit.is_positive[mine], game.positive[rows])


def _subset(examples: Examples, count: int) -> Subset:
    """Return `count` examples, or all where there are no more; fewer are a part of more."""
    if count >= len(examples):
        return Subset(torch.arange(len(examples)), examples)
    chosen = np.random.default_rng(SUBSET_SEED).permutation(len(examples))[:count]
    places = torch.from_numpy(np.sort(chosen))
    return Subset(places, Examples(inputs=examples.inputs[places], labels=examples.labels[places]))
