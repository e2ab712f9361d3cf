"""What happens to the environments, told as events.

E environments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from accredit.growth.stage import Stage
from accredit.telemetry.event import Event, HostDiverged, Origin, StageChanged, StepCompleted
from accredit.training.reward import Reward


class Chronicle:
    """Sends events with the right origin, or none where nobody listens.

    Args:
        names: E environment ids.
        slot_names: names of the slots.
        kind_names: names of the catalogue.
        on_event: gets every event; None: nobody listens.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        slot_names: tuple[str, ...],
        kind_names: tuple[str, ...],
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self.names, self.slot_names, self.kind_names = tuple(names), slot_names, kind_names
        self.on_event = on_event
        self.episode = np.full(len(self.names), -1)
        self.time = np.zeros(len(self.names), dtype=np.int64)

    def origin(self, row: int, game: str | None = None) -> Origin:
        """Return where environment `row` stands."""
        return Origin(environment=self.names[row], episode=int(self.episode[row]), step=int(self.time[row]), game=game)

    def stage_changed(self, row: int, slot: int, kind: int, *, operation: str, source: Stage, target: Stage) -> None:
        """Tell that a slot went from one stage to another."""
        if self.on_event is not None:
            self.on_event(
                StageChanged(
                    origin=self.origin(row),
                    slot=self.slot_names[slot],
                    kind=self.kind_names[kind],
                    operation=operation,
                    source=source.name.lower(),
                    target=target.name.lower(),
                )
            )

    def step_completed(
        self,
        *,
        seeds: NDArray[np.int64],
        actions: Sequence[str],
        measured: tuple[NDArray[np.float64], NDArray[np.float64]],
        parameters: NDArray[np.int64],
        reward: Reward,
        diverged: NDArray[np.bool_],
    ) -> None:
        """Tell what one step of all environments brought.

        Args:
            seeds: of the hosts, [E].
            actions: what was decided, in words, [E].
            measured: log-loss and accuracy on the reward split, [E] each.
            parameters: of all grafts, [E].
            reward: terms, [E] each.
            diverged: hosts that were rolled back, [E].
        """
        if self.on_event is None:
            return
        total = reward.total
        for row, action in enumerate(actions):
            origin = self.origin(row)
            if diverged[row]:
                self.on_event(HostDiverged(origin=origin))
            loss = float(measured[0][row])
            self.on_event(
                StepCompleted(
                    origin=origin,
                    host_seed=int(seeds[row]),
                    action=action,
                    log_loss=loss if np.isfinite(loss) else None,
                    accuracy=float(measured[1][row]),
                    graft_parameters=int(parameters[row]),
                    gain=float(reward.gain[row]),
                    control_gain=float(reward.control_gain[row]),
                    rent=float(reward.rent[row]),
                    graft_cost=float(reward.graft_cost[row]),
                    reward=float(total[row]),
                )
            )
