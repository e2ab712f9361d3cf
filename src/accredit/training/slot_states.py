"""What every slot of every host is in, as arrays: the state that decisions change.

E environments, S slots.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.growth.blend import BlendSchedule, blend_weight
from accredit.growth.stage import Stage, after_blend

EMPTY = -1
RESTED = 10**6  # more steps than any cooldown
ARRAYS = ("stages", "kinds", "ages", "stays", "blend_ages", "alphas", "credit", "proven", "welcome")


class SlotStates:
    """Stage, kind, age, blend weight and credit of all slots.

    Args:
        environments: E.
        slots: S.
    """

    def __init__(self, environments: int, slots: int) -> None:
        shape = (environments, slots)
        self.stages = np.zeros(shape, dtype=np.int64)
        self.kinds = np.full(shape, EMPTY)
        """Row of the catalogue, -1 where empty."""
        self.ages = np.zeros(shape, dtype=np.int64)
        """Steps since the graft entered."""
        self.stays = np.full(shape, RESTED)
        """Steps since the slot entered its stage; many where no graft was ever in it."""
        self.blend_ages = np.zeros(shape, dtype=np.int64)
        self.alphas = np.zeros(shape)
        self.credit = np.full((4, *shape), np.nan)
        """Contribution to the log-loss, its standard error, the same for the accuracy; NaN where not measured."""
        self.welcome = np.zeros(shape, dtype=bool)
        """Contribution positive with significance when last measured as a candidate."""
        self.proven = np.zeros(shape, dtype=bool)
        """Welcome, and still positive with significance now."""

    def clear(self, row: int) -> None:
        """Note that an environment begins with empty slots."""
        for slot in range(self.stages.shape[1]):
            self.enter(row, slot, Stage.EMPTY)
        self.stays[row] = RESTED

    def enter(self, row: int, slot: int, stage: Stage) -> None:
        """Note that a slot goes to another stage; an empty one forgets its graft."""
        self.stages[row, slot] = stage
        self.stays[row, slot] = 0
        if stage == Stage.EMPTY:
            self.kinds[row, slot] = EMPTY
            self.ages[row, slot] = self.blend_ages[row, slot] = 0
            self.alphas[row, slot] = 0.0
            self.welcome[row, slot] = self.proven[row, slot] = False
            self.credit[:, row, slot] = np.nan

    def grow_older(self, schedule: BlendSchedule, blend_steps: int) -> list[tuple[int, int]]:
        """Let a step pass; return the slots whose blend has reached 1 and which hold from now on."""
        self.ages[self.stages != Stage.EMPTY] += 1
        self.stays += 1
        done = []
        for row, slot in np.argwhere(self.stages == Stage.BLENDING).tolist():
            self.blend_ages[row, slot] += 1
            self.alphas[row, slot] = alpha = blend_weight(schedule, int(self.blend_ages[row, slot]), blend_steps)
            if after_blend(Stage.BLENDING, alpha) == Stage.HOLDING:
                self.enter(row, slot, Stage.HOLDING)
                done.append((row, slot))
        return done

    def forget_credit(self, rows: NDArray[np.int64]) -> None:
        """Make all contributions of `rows` unknown."""
        self.credit[:, rows] = np.nan
        self.proven[rows] = False

    def state_dict(self) -> dict[str, object]:
        """Return copies of all arrays, as tensors."""
        return {name: torch.from_numpy(array.copy()) for name, array in self._arrays().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state of the same shape."""
        for name, array in self._arrays().items():
            array[...] = state[name].numpy()

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {name: vars(self)[name] for name in ARRAYS}
