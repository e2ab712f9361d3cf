"""Who earns what, now: exact Shapley values from one evaluation of all coalitions.

Two games, never mixed in one matrix.  `live`: the players are the live grafts, on means the current blend weight; a
value says what removal would cost.  `candidates`: the players are the grafts in training, on means alpha = 1; a value
says what insertion would bring to a host that has not adapted to the graft.  The two are not the same, and neither is a
causal contribution: a host adapts even to a graft that harms it, and then misses it when it is gone.

S slots, R rows, B examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.growth.hosts import HostEvaluation
from accredit.telemetry.event import CoalitionsEvaluated, ContributionsEstimated, Origin

LOG_LOSS = Output("log_loss", "nat", False)
ACCURACY = Output("accuracy", "share", True)
AttributionEvent = CoalitionsEvaluated | ContributionsEstimated


@dataclass(frozen=True, kw_only=True)
class Credit:
    """Contributions of the slots of one host; NaN where a slot has no player."""

    values: NDArray[np.float64]
    """Contribution to the log-loss (nats, positive helps), its standard error over the examples, contribution to the
    accuracy (positive helps), its standard error, [4, S]."""
    is_positive: NDArray[np.bool_]
    """Contribution to the log-loss positive with significance, [S]."""


class Creditor:
    """Measures hosts after their evaluation.

    Args:
        slot_names: S names, the players.
        confidence: level at which a contribution counts as positive, in (0, 1).
        on_event: gets the events of every matrix.
    """

    def __init__(
        self,
        slot_names: tuple[str, ...],
        *,
        confidence: float,
        on_event: Callable[[AttributionEvent], None] | None = None,
    ) -> None:
        self.slot_names = slot_names
        self.confidence = confidence
        self.config = CounterfactualConfig(
            strategy="full_factorial",
            max_evaluations=2 ** len(slot_names),
            outputs=(LOG_LOSS, ACCURACY),
            confidence=confidence,
        )
        self._engine = CounterfactualEngine(self.config, on_event=on_event)

    def matrix(
        self, evaluation: HostEvaluation, row: int, slots: tuple[int, ...], origin: Origin
    ) -> CounterfactualMatrix:
        """Return the matrix of one host: all coalitions of its players, per example.

        Args:
            evaluation: of all coalitions, of a group of hosts.
            row: the host in that group.
            slots: its players, a part of `evaluation.slots`.
            origin: what the events carry.
        """
        bits = torch.tensor([1 << evaluation.slots.index(slot) for slot in slots])

        def value(masks: Tensor) -> Mapping[str, Tensor]:
            coalitions = (masks * bits).sum(1)
            return {
                LOG_LOSS.name: evaluation.log_loss[row, coalitions],
                ACCURACY.name: evaluation.is_correct[row, coalitions],
            }

        return self._engine.compute_matrix([self.slot_names[slot] for slot in slots], value, origin=origin)

    def measure(self, evaluation: HostEvaluation, row: int, slots: tuple[int, ...], origin: Origin) -> Credit:
        """Return what each player of one host earns."""
        matrix = self.matrix(evaluation, row, slots, origin)
        losses, accuracies = matrix.shapley(LOG_LOSS.name), matrix.shapley(ACCURACY.name)
        table = np.full((5, len(self.slot_names)), np.nan)
        columns = (losses.contributions, losses.stderr, accuracies.contributions, accuracies.stderr)
        for values, part in zip(table, (*columns, losses.half_widths(self.confidence)), strict=True):
            if part is not None:
                values[list(slots)] = part
        return Credit(values=table[:4], is_positive=table[0] > table[4])
