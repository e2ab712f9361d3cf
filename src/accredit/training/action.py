"""One categorical action: a legal (operation, slot, kind) out of a table.

E environments, S slots, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accredit.growth.stage import TRANSITIONS, Operation, Stage, Transition, transition

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing that a policy can decide."""

    operation: Operation
    slot: int | None = None
    """Index of the slot; None for waiting."""
    kind: int | None = None
    """Row of the catalogue; None unless grafting, or where the kind is drawn and not chosen."""


class ActionTable:
    """All actions of a layout in a fixed order, and which are legal now.

    Args:
        slot_names: S names.
        kind_names: names of the catalogue.
        choose_kinds: whether a graft is chosen by slot and kind; False: by slot alone, and its kind is drawn.
        table: the rules of `accredit.growth.stage.stage_table`.

    Example:
        >>> table = ActionTable(("input", "hidden1"), ("affine", "mlp"))
        >>> len(table.actions), table.label(2)
        (11, 'graft mlp at input')
        >>> ActionTable(("input", "hidden1"), ("affine", "mlp"), choose_kinds=False).label(2)
        'graft at hidden1'
    """

    def __init__(
        self,
        slot_names: tuple[str, ...],
        kind_names: tuple[str, ...],
        *,
        choose_kinds: bool = True,
        table: tuple[Transition, ...] = TRANSITIONS,
    ) -> None:
        slots = range(len(slot_names))
        kinds = range(len(kind_names)) if choose_kinds else (None,)
        self.slot_names, self.kind_names, self.choose_kinds = slot_names, kind_names, choose_kinds
        self.actions: tuple[Action, ...] = (
            Action(operation=Operation.WAIT),
            *(Action(operation=Operation.GRAFT, slot=slot, kind=kind) for slot in slots for kind in kinds),
            *(
                Action(operation=operation, slot=slot)
                for operation in (Operation.BLEND, Operation.COMMIT, Operation.PRUNE)
                for slot in slots
            ),
        )
        self._slot = np.array([action.slot or 0 for action in self.actions])
        rows = [[transition(action.operation, stage, table) for stage in Stage] for action in self.actions]
        self._minimum_age = np.array([[row.minimum_age if row else NEVER for row in stages] for stages in rows])
        self._minimum_age[0] = 0  # waiting is legal in every stage
        self._minimum_stay = np.array([[row.minimum_stay if row else 0 for row in stages] for stages in rows])
        self._needs_proof = np.array([[row is not None and row.needs_proof for row in stages] for stages in rows])
        self._fates = np.array(
            [
                [self.find(operation, slot) for slot in range(len(slot_names))]
                for operation in (Operation.COMMIT, Operation.PRUNE)
            ]
        )

    def __len__(self) -> int:
        return len(self.actions)

    def find(self, operation: Operation, slot: int | None = None, kind: int | None = None) -> int:
        """Return the index of an action; where kinds are drawn, `kind` is not looked at."""
        return self.actions.index(Action(operation=operation, slot=slot, kind=kind if self.choose_kinds else None))

    def label(self, index: int) -> str:
        """Return an action in words."""
        action = self.actions[index]
        if action.slot is None:
            return str(action.operation)
        kind = f"{self.kind_names[action.kind]} " if action.kind is not None else ""
        return f"{action.operation} {kind}at {self.slot_names[action.slot]}"

    def legal(
        self,
        stages: NDArray[np.int64],
        *,
        ages: NDArray[np.int64],
        stays: NDArray[np.int64],
        proven: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Return which actions are legal, [E, A], straight from the stage table.

        Args:
            stages: stage of every slot, [E, S].
            ages: steps since the graft of a slot entered it, [E, S].
            stays: steps since a slot entered its stage, [E, S].
            proven: whether a graft's contribution is positive with significance, [E, S].
        """
        stage, action = stages[:, self._slot], np.arange(len(self.actions))
        legal = ages[:, self._slot] >= self._minimum_age[action, stage]
        legal &= stays[:, self._slot] >= self._minimum_stay[action, stage]
        return np.asarray(legal & (proven[:, self._slot] | ~self._needs_proof[action, stage]))

    def decidable(
        self, stages: NDArray[np.int64], *, ages: NDArray[np.int64], stays: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return where a commit or a prune is legal as soon as there is a proof, [E, S].

        Args:
            stages: stage of every slot, [E, S].
            ages: steps since the graft of a slot entered it, [E, S].
            stays: steps since a slot entered its stage, [E, S].
        """
        legal = self.legal(stages, ages=ages, stays=stays, proven=np.ones_like(stages, dtype=bool))
        return np.asarray(legal[:, self._fates].any(axis=1))
