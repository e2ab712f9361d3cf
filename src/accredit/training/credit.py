"""Who earns what, now: exact Shapley values of every live graft from one evaluation of all coalitions.

"On" means the current blend weight.  Removal cost is not causal contribution: the host has adapted to its grafts.

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
    """Contributions of the slots of one host; NaN where a slot has no live graft."""

    contribution: NDArray[np.float64]
    """To the log-loss, nats, positive helps, [S]."""
    contribution_error: NDArray[np.float64]
    """Standard error over the examples, [S]."""
    accuracy_contribution: NDArray[np.float64]
    """To the accuracy, positive helps, [S]."""
    accuracy_error: NDArray[np.float64]
    """[S]."""
    is_proven: NDArray[np.bool_]
    """Contribution to the log-loss positive with significance, [S]."""


class Creditor:
    """Measures hosts after their evaluation.

    Args:
        slot_names: S names, the players.
        confidence: level at which a contribution counts as proven, in (0, 1).
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
        self, evaluation: HostEvaluation, row: int, live: tuple[int, ...], origin: Origin
    ) -> CounterfactualMatrix:
        """Return the matrix of one host: all coalitions of its live slots, per example.

        Args:
            evaluation: of all coalitions, of a group of hosts.
            row: the host in that group.
            live: its live slots, a part of `evaluation.slots`.
            origin: what the events carry.
        """
        bits = torch.tensor([1 << evaluation.slots.index(slot) for slot in live])

        def value(masks: Tensor) -> Mapping[str, Tensor]:
            coalitions = (masks * bits).sum(1)
            return {
                LOG_LOSS.name: evaluation.log_loss[row, coalitions],
                ACCURACY.name: evaluation.is_correct[row, coalitions],
            }

        return self._engine.compute_matrix([self.slot_names[slot] for slot in live], value, origin=origin)

    def measure(self, evaluation: HostEvaluation, row: int, live: tuple[int, ...], origin: Origin) -> Credit:
        """Return what each live slot of one host earns."""
        matrix = self.matrix(evaluation, row, live, origin)
        losses, accuracies = matrix.shapley(LOG_LOSS.name), matrix.shapley(ACCURACY.name)
        table = np.full((5, len(self.slot_names)), np.nan)
        columns = (losses.contributions, losses.stderr, accuracies.contributions, accuracies.stderr)
        for values, part in zip(table, (*columns, losses.half_widths(self.confidence)), strict=True):
            if part is not None:
                values[list(live)] = part
        return Credit(
            contribution=table[0],
            contribution_error=table[1],
            accuracy_contribution=table[2],
            accuracy_error=table[3],
            is_proven=table[0] > table[4],
        )
