"""Who earns what, now: exact Shapley values from one evaluation of all coalitions.

Two games, never mixed in one matrix.  `live`: the players are the live grafts, on means the current blend weight; a
value says what removal would cost.  `candidates`: the players are the grafts in training, on means alpha = 1; a value
says what insertion would bring to a host that has not adapted to the graft.  The two are not the same, and neither is a
causal contribution: a host adapts even to a graft that harms it, and then misses it when it is gone.

S slots, R rows, B examples.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtr
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
Floats = NDArray[np.float64]


class CommitRule(enum.StrEnum):
    """What makes a commit legal; docs/decisions/0050-hidden-kinds-and-commit-rules.md says why these."""

    SIGNIFICANT = "significant"
    """A contribution that is positive with significance, each graft tested alone."""
    SIGNIFICANT_HOLM = "significant-holm"
    """The same with Holm's correction over all grafts of the host that play at that step."""
    ANY = "any"
    """No proof is needed."""


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
        rule: whether the grafts of a host are tested alone or together; `ANY` marks them as `SIGNIFICANT` does.
        on_event: gets the events of every matrix.
    """

    def __init__(
        self,
        slot_names: tuple[str, ...],
        *,
        confidence: float,
        rule: CommitRule = CommitRule.SIGNIFICANT,
        on_event: Callable[[AttributionEvent], None] | None = None,
    ) -> None:
        self.slot_names = slot_names
        self.confidence, self.rule = confidence, rule
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
        table = np.full((4, len(self.slot_names)), np.nan)
        columns = (losses.contributions, losses.stderr, accuracies.contributions, accuracies.stderr)
        for values, part in zip(table, columns, strict=True):
            if part is not None:
                values[list(slots)] = part
        is_positive = np.zeros(len(self.slot_names), dtype=bool)
        if losses.stderr is not None:
            is_positive[list(slots)] = are_positive(
                losses.contributions,
                losses.stderr,
                degrees_of_freedom=losses.data_degrees_of_freedom,
                level=self.confidence,
                together=self.rule == CommitRule.SIGNIFICANT_HOLM,
            )
        return Credit(values=table, is_positive=is_positive)


def are_positive(
    contributions: Floats, stderr: Floats, *, degrees_of_freedom: float, level: float, together: bool
) -> NDArray[np.bool_]:
    """Tell which contributions are positive and differ from 0 with significance, by Student t, two-sided.

    Args:
        contributions: of the N players of a game, [..., N].
        stderr: their standard errors, [..., N].
        degrees_of_freedom: of the standard errors.
        level: in (0, 1).
        together: hold the level for all players of a game at once (Holm), not for each alone.

    Example:
        >>> contributions, stderr = np.array([0.3, 0.2, -0.9]), np.full(3, 0.1)
        >>> are_positive(contributions, stderr, degrees_of_freedom=99, level=0.95, together=False).tolist()
        [True, True, False]
        >>> are_positive(contributions, stderr, degrees_of_freedom=99, level=0.97, together=True).tolist()
        [True, False, False]

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    size = np.abs(contributions)
    certain = np.where(size > 0, np.inf, 0.0)  # an error of 0 leaves the sign alone to decide
    score = np.divide(size, stderr, out=certain, where=stderr > 0)
    p_values = np.asarray(2.0 * stdtr(degrees_of_freedom, -score))
    if together:
        order = p_values.argsort(axis=-1)
        tests_left = np.arange(p_values.shape[-1], 0, -1)
        # A larger p-value may not end up below a smaller one, whatever their factors.
        stepped = np.maximum.accumulate(np.take_along_axis(p_values, order, -1) * tests_left, axis=-1)
        np.put_along_axis(p_values, order, stepped, -1)
    return np.asarray((contributions > 0) & (p_values < 1.0 - level))
