"""The life of a graft, as one table: stages, operations, and which operation leads where, when.

    empty --graft--> training --blend--> blending --(alpha reaches 1)--> holding --commit--> committed
                        |                   |                               |                    |
                        +------prune--------+-------------prune-------------+---(if allowed)-----+----> empty

Transitions, legality, action masks and tests are all read from the table that `stage_table` returns; nothing else knows
a rule.
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
    """What is decided, or what time brings."""
    source: Stage
    """Stage before."""
    target: Stage
    """Stage after."""
    minimum_age: int = 0
    """Steps since the graft entered its slot before the operation is legal."""
    minimum_stay: int = 0
    """Steps since the slot entered its stage before the operation is legal."""
    needs_proof: bool = False
    """Legal only where the measured contribution is positive with significance."""


def stage_table(
    *,
    holding_steps: int = 0,
    cooldown_steps: int = 0,
    commit_needs_proof: bool = True,
    prune_committed: bool = False,
) -> tuple[Transition, ...]:
    """Return every decision that exists under some rules. The one move without a decision is in `after_blend`.

    Args:
        holding_steps: steps that a graft must hold at alpha = 1 before it can be committed, >= 0.
        cooldown_steps: decisions for which a slot stays empty after its graft was pruned, >= 0.
        commit_needs_proof: whether only a graft with a contribution that is positive with significance is committed.
        prune_committed: whether a committed graft can be pruned.

    Example:
        >>> [row.minimum_stay for row in stage_table(holding_steps=2) if row.operation == Operation.COMMIT]
        [2]
    """
    graft, blend, commit, prune = Operation.GRAFT, Operation.BLEND, Operation.COMMIT, Operation.PRUNE
    # The decision after a prune finds the slot empty for one step already.
    rest = cooldown_steps + 1 if cooldown_steps else 0
    rows = (
        Transition(operation=graft, source=Stage.EMPTY, target=Stage.TRAINING, minimum_stay=rest),
        Transition(operation=blend, source=Stage.TRAINING, target=Stage.BLENDING, minimum_age=1),
        Transition(
            operation=commit,
            source=Stage.HOLDING,
            target=Stage.COMMITTED,
            minimum_stay=holding_steps,
            needs_proof=commit_needs_proof,
        ),
        # Pruning waits, because a policy otherwise fills idle time with cycles of grafting and pruning.
        Transition(operation=prune, source=Stage.TRAINING, target=Stage.EMPTY, minimum_age=3),
        Transition(operation=prune, source=Stage.BLENDING, target=Stage.EMPTY, minimum_age=3),
        Transition(operation=prune, source=Stage.HOLDING, target=Stage.EMPTY, minimum_age=3),
        Transition(operation=prune, source=Stage.COMMITTED, target=Stage.EMPTY, minimum_stay=3),
    )
    return tuple(row for row in rows if prune_committed or row.source != Stage.COMMITTED)


TRANSITIONS = stage_table()
"""The table under the rules that hold where nothing else is said."""

SURGERY = stage_table(prune_committed=True)
"""Everything that can be done to a network, whatever a run allows."""


def transition(operation: Operation, source: Stage, table: tuple[Transition, ...] = TRANSITIONS) -> Transition | None:
    """Return the row of a table for `operation` on a slot in stage `source`, or None where there is none.

    Example:
        >>> transition(Operation.COMMIT, Stage.HOLDING).target.name
        'COMMITTED'
        >>> transition(Operation.COMMIT, Stage.TRAINING) is None
        True
    """
    return next((row for row in table if row.operation == operation and row.source == source), None)


def is_legal(
    operation: Operation,
    source: Stage,
    *,
    age: int,
    stay: int,
    is_proven: bool,
    table: tuple[Transition, ...] = TRANSITIONS,
) -> bool:
    """Tell whether `operation` may be applied to a slot.

    Args:
        operation: what is to be done; waiting is always legal.
        source: the stage of the slot.
        age: steps since the graft entered the slot.
        stay: steps since the slot entered the stage.
        is_proven: whether the graft's contribution is positive with significance.
        table: the rules.

    Example:
        >>> is_legal(Operation.PRUNE, Stage.TRAINING, age=2, stay=2, is_proven=False)
        False
        >>> is_legal(Operation.COMMIT, Stage.HOLDING, age=5, stay=0, is_proven=True)
        True
    """
    if operation == Operation.WAIT:
        return True
    row = transition(operation, source, table)
    if row is None:
        return False
    return age >= row.minimum_age and stay >= row.minimum_stay and (is_proven or not row.needs_proof)


def after_blend(stage: Stage, alpha: float) -> Stage:
    """Return the stage after a blend weight has moved: a blend that has reached 1 holds.

    Example:
        >>> after_blend(Stage.BLENDING, 1.0).name, after_blend(Stage.BLENDING, 0.5).name
        ('HOLDING', 'BLENDING')
    """
    return Stage.HOLDING if stage == Stage.BLENDING and alpha >= 1.0 else stage
