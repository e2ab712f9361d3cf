"""Hosts: what a training system asks of the networks that it grows, one at a time or many at once.

E hosts, S slots, R rows asked for, C coalitions, B examples.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accredit.growth.metric import Score
from accredit.growth.network import GrowingNetwork


class Players(enum.Enum):
    """Which grafts are switched in an evaluation; all others stay as they are in the live network."""

    NOBODY = "nobody"
    """The live network alone."""
    LIVE = "live"
    """Live grafts; on means the current blend weight, so that all on is the live network."""
    CANDIDATES = "candidates"
    """Grafts in training; on means alpha = 1, so that all off is the live network."""


Games = Players | Sequence[Players]
"""One game for all rows of hosts, or one for each: a row may be named twice and play two games."""


def games_of(players: Games, rows: int) -> tuple[Players, ...]:
    """Return the game of each of so many rows."""
    return (players,) * rows if isinstance(players, Players) else tuple(players)


@dataclass(frozen=True, kw_only=True)
class HostEvaluation:
    """Per-example values of some hosts under coalitions of players.

    Coalition c of the C = 2^k has the graft of slot `slots[i]` on if bit i of c is 1; the last one has all on.
    Where a host has no player in one of these slots, both settings are the same network.
    """

    slots: tuple[int, ...]
    """The k slots that vary, ascending."""
    log_loss: Tensor
    """[R, C, B] in nats."""
    is_correct: Tensor
    """[R, C, B], 1 where the likeliest class is the label."""


class Hosts(Protocol):
    """E hosts that train side by side; each row is independent of the others."""

    @property
    def num_hosts(self) -> int:
        """E."""
        ...

    def reset(self, row: int, network: GrowingNetwork) -> None:
        """Start row `row` again from the weights of a fresh network without grafts."""
        ...

    def graft(self, row: int, slot: int, kind: int, seed: int) -> None:
        """Put a new graft of catalogue row `kind` into a slot, its weights drawn from `seed`."""
        ...

    def prune(self, row: int, slot: int) -> None:
        """Remove the graft of a slot with its optimizer state."""
        ...

    def set_stages(self, stages: NDArray[np.int64], alphas: NDArray[np.float64]) -> None:
        """Take over stage and blend weight of every slot, [E, S] each."""
        ...

    def train(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Train every host on its own minibatch [E, B, D], [E, B]; return the losses before the update, [E]."""
        ...

    def evaluate(
        self, rows: Sequence[int], inputs: Tensor, labels: Tensor, *, players: Games, live: Score | None = None
    ) -> HostEvaluation:
        """Evaluate `rows` on shared examples [B, D], [B], under all coalitions of the `players` of each.

        What the live networks give on these examples, [R, B], need not be computed again where it is known.
        """
        ...

    def evaluate_coalitions(
        self, row: int, masks: Tensor, inputs: Tensor, labels: Tensor, *, players: Players
    ) -> Score:
        """Evaluate one host under M coalitions, masks [M, S] bool; slots without a player are as they are live."""
        ...

    def finite_rows(self) -> NDArray[np.bool_]:
        """Tell for each host whether all of its weights are finite, [E]."""
        ...

    def graft_parameter_counts(self) -> NDArray[np.int64]:
        """Return the parameters of every slot's graft, [E, S]."""
        ...

    def remember(self) -> None:
        """Keep a copy of all weights and optimizer state, for `roll_back`."""
        ...

    def roll_back(self, rows: Sequence[int]) -> None:
        """Put `rows` back to what was remembered last: weights and optimizer state."""
        ...

    def network(self, row: int, template: GrowingNetwork) -> GrowingNetwork:
        """Write host `row` with its grafts into `template`, a fresh network of the same architecture, and return it."""
        ...

    def state_dict(self) -> dict[str, object]:
        """Return everything that is needed to continue, as tensors and plain values."""
        ...

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state."""
        ...
