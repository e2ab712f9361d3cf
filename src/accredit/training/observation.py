"""What a policy sees: every field by name, with its range, in one table.

Contributions are 0 with the bit `unknown` at 1 where they were not measured.  E environments, S slots, F fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accredit.growth.stage import Stage

Floats = NDArray[np.float64]
LARGEST_LOSS = 10.0  # nats; a field beyond its range is cut to it
LARGEST_SHARE = 100.0


@dataclass(frozen=True, kw_only=True)
class Field:
    """One number of the observation."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything an observation is made of."""

    time: Floats
    """Share of the episode that is over, [E]."""
    log_loss: Floats
    """Of the live network, nats, [E]."""
    accuracy: Floats
    """Of the live network, [E]."""
    last_gain: Floats
    """Fall of the log-loss in the last step, nats, [E]."""
    control_log_loss: Floats
    """Of the ungrown host at the same time, nats, [E]."""
    graft_share: Floats
    """Parameters of all grafts over those of the host, [E]."""
    stages: NDArray[np.int64]
    """[E, S]."""
    kinds: NDArray[np.int64]
    """Row of the catalogue, -1 where empty, [E, S]."""
    alphas: Floats
    """[E, S]."""
    ages: NDArray[np.int64]
    """Steps since the graft entered, [E, S]."""
    stays: NDArray[np.int64]
    """Steps since the slot entered its stage, [E, S]."""
    credit: Floats
    """Contribution to the log-loss (nats, positive helps), its standard error, the same for the accuracy; NaN where
    unknown, [4, E, S]."""


class ObservationTable:
    """The layout of an observation.

    Args:
        slot_names: S names.
        kind_names: names of the catalogue.
        steps: T, steps of an episode.
        observe_kinds: whether the kinds of grafts can be seen; False leaves 0 in their bits, and in `graft_share`,
            which would tell them apart by their size.
        observe_stays: whether each slot has a field `stay`, for rules that look at it.

    Example:
        >>> table = ObservationTable(("input",), ("affine",), steps=16)
        >>> table.index("input.alpha"), len(table.fields)
        (14, 21)
    """

    def __init__(
        self,
        slot_names: tuple[str, ...],
        kind_names: tuple[str, ...],
        *,
        steps: int,
        observe_kinds: bool = True,
        observe_stays: bool = False,
    ) -> None:
        self.steps, self.observe_kinds, self.observe_stays = steps, observe_kinds, observe_stays
        self.num_kinds = len(kind_names)
        self.fields = (
            Field(name="time", low=0.0, high=1.0),
            Field(name="log_loss", low=0.0, high=LARGEST_LOSS),
            Field(name="accuracy", low=0.0, high=1.0),
            Field(name="last_gain", low=-LARGEST_LOSS, high=LARGEST_LOSS),
            Field(name="control_log_loss", low=0.0, high=LARGEST_LOSS),
            Field(name="gain_over_control", low=-LARGEST_LOSS, high=LARGEST_LOSS),
            Field(name="graft_share", low=0.0, high=LARGEST_SHARE),
            Field(name="live_share", low=0.0, high=1.0),
            *(field for name in slot_names for field in self._slot_fields(name, kind_names)),
        )
        self._index = {field.name: at for at, field in enumerate(self.fields)}
        self.low = np.array([field.low for field in self.fields], dtype=np.float32)
        self.high = np.array([field.high for field in self.fields], dtype=np.float32)

    def index(self, name: str) -> int:
        """Return the column of the field called `name`."""
        return self._index[name]

    def encode(self, now: Situation) -> NDArray[np.float32]:
        """Return observations [E, F], each field cut to its range."""
        loss, control = (np.minimum(value, LARGEST_LOSS) for value in (now.log_loss, now.control_log_loss))
        base = [
            now.time,
            loss,
            now.accuracy,
            now.last_gain,
            control,
            control - loss,
            now.graft_share * self.observe_kinds,
            (now.alphas > 0).mean(1),
        ]
        known = np.isfinite(now.credit[0])
        per_slot = np.concatenate(
            [
                np.eye(len(Stage))[now.stages],
                np.eye(self.num_kinds + 1)[now.kinds][:, :, : self.num_kinds] * self.observe_kinds,
                np.stack(
                    [
                        now.alphas,
                        now.ages / self.steps,
                        *([now.stays / self.steps] if self.observe_stays else []),
                        *np.nan_to_num(now.credit, nan=0.0),
                        ~known,
                    ],
                    axis=-1,
                ),
            ],
            axis=-1,
        )
        flat = np.concatenate([np.stack(base, axis=1), per_slot.reshape(len(now.time), -1)], axis=1)
        encoded: NDArray[np.float32] = np.clip(flat.astype(np.float32), self.low, self.high)
        return encoded

    def _slot_fields(self, slot: str, kind_names: tuple[str, ...]) -> tuple[Field, ...]:
        bits = [f"is_{stage.name.lower()}" for stage in Stage] + [f"kind_{kind}" for kind in kind_names]
        oldest = (self.steps + 1) / self.steps
        return (
            *(Field(name=f"{slot}.{bit}", low=0.0, high=1.0) for bit in bits),
            Field(name=f"{slot}.alpha", low=0.0, high=1.0),
            Field(name=f"{slot}.age", low=0.0, high=oldest),
            *([Field(name=f"{slot}.stay", low=0.0, high=oldest)] if self.observe_stays else []),
            Field(name=f"{slot}.contribution", low=-LARGEST_LOSS, high=LARGEST_LOSS),
            Field(name=f"{slot}.contribution_error", low=0.0, high=LARGEST_LOSS),
            Field(name=f"{slot}.accuracy_contribution", low=-1.0, high=1.0),
            Field(name=f"{slot}.accuracy_error", low=0.0, high=1.0),
            Field(name=f"{slot}.unknown", low=0.0, high=1.0),
        )
