"""The life of a graft, as one table: stages, operations, and which operation leads where, when.

    empty --graft--> training --blend--> blending --(alpha reaches 1)--> holding --commit--> committed
                        |                   |                               |
                        +------prune--------+-------------prune-------------+----> empty

Transitions, legality, action masks and tests are all read from `TRANSITIONS`; nothing else knows a rule.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Stage(enum.IntEnum):
    """Where a slot stands; the numbers are what observations and checkpoints store."""

    EMPTY = 0
    TRAINING = 1
    BLENDING = 2
    HOLDING = 3
    COMMITTED = 4

    @property
    def is_live(self) -> bool:
        """Whether the graft reaches the host's output, with its blend weight."""
        return self >= Stage.BLENDING

    @property
    def is_removable(self) -> bool:
        """Whether the graft is dropped when the episode ends without a decision."""
        return Stage.EMPTY < self < Stage.COMMITTED


class Operation(enum.StrEnum):
    """What a policy can do in one step."""

    WAIT = "wait"
    GRAFT = "graft"
    BLEND = "blend"
    COMMIT = "commit"
    PRUNE = "prune"


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One row of the table."""

    operation: Operation
    source: Stage
    target: Stage
    minimum_age: int = 0
    """Steps since the graft entered its slot before the operation is legal."""
    needs_proof: bool = False
    """Legal only where the measured contribution is positive with significance."""


TRANSITIONS = (
    Transition(operation=Operation.GRAFT, source=Stage.EMPTY, target=Stage.TRAINING),
    Transition(operation=Operation.BLEND, source=Stage.TRAINING, target=Stage.BLENDING, minimum_age=1),
    Transition(operation=Operation.COMMIT, source=Stage.HOLDING, target=Stage.COMMITTED, needs_proof=True),
    # Pruning waits, because a policy otherwise fills idle time with cycles of grafting and pruning.
    Transition(operation=Operation.PRUNE, source=Stage.TRAINING, target=Stage.EMPTY, minimum_age=3),
    Transition(operation=Operation.PRUNE, source=Stage.BLENDING, target=Stage.EMPTY, minimum_age=3),
    Transition(operation=Operation.PRUNE, source=Stage.HOLDING, target=Stage.EMPTY, minimum_age=3),
)
"""Every decision that exists. The one move without a decision is in `after_blend`."""


def transition(operation: Operation, source: Stage) -> Transition | None:
    """Return the row for `operation` on a slot in stage `source`, or None where there is none.

    Example:
        >>> transition(Operation.COMMIT, Stage.HOLDING).target.name
        'COMMITTED'
        >>> transition(Operation.COMMIT, Stage.TRAINING) is None
        True
    """
    return next((row for row in TRANSITIONS if row.operation == operation and row.source == source), None)


def is_legal(operation: Operation, source: Stage, *, age: int, is_proven: bool) -> bool:
    """Tell whether `operation` may be applied to a slot.

    Args:
        operation: what is to be done; waiting is always legal.
        source: the stage of the slot.
        age: steps since the graft entered the slot.
        is_proven: whether the graft's contribution is positive with significance.

    Example:
        >>> is_legal(Operation.PRUNE, Stage.TRAINING, age=2, is_proven=False)
        False
        >>> is_legal(Operation.COMMIT, Stage.HOLDING, age=5, is_proven=True)
        True
    """
    if operation == Operation.WAIT:
        return True
    row = transition(operation, source)
    return row is not None and age >= row.minimum_age and (is_proven or not row.needs_proof)


def after_blend(stage: Stage, alpha: float) -> Stage:
    """Return the stage after a blend weight has moved: a blend that has reached 1 holds.

    Example:
        >>> after_blend(Stage.BLENDING, 1.0).name, after_blend(Stage.BLENDING, 0.5).name
        ('HOLDING', 'BLENDING')
    """
    return Stage.HOLDING if stage == Stage.BLENDING and alpha >= 1.0 else stage
