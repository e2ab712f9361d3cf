"""What a decision earns, on one screen.

Per step, with L the log-loss of the live network on the reward split, capped at C so that one diverged host cannot
wreck the scale, and L' that of an ungrown host of the same seed at the same time:

    gain         = min(L_before, C) - min(L_after, C)
    control gain = the same for L', or 0 without control variate
    rent         = r * (parameters of all grafts) / (parameters of the host) / T
    reward       = gain - control gain - rent - g * (1 if a module was grafted in this step)

The gains telescope, so there is nothing to be earned by going to and fro.  The control depends on seed and time only:
it takes the host's own learning out of the reward and leaves the best policy as it was (a control variate).

E environments; T steps an episode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accredit.errors import InvalidArgument

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """Prices."""

    loss_cap: float = 2.5
    """C, nats, > 0; just above log 10, the loss of a guess among ten classes."""
    rent: float = 0.02
    """r, nats for a whole episode with grafts as large as the host, >= 0."""
    graft_cost: float = 0.005
    """g, nats per graft, >= 0."""
    control_variate: bool = True
    """Whether the control gain is taken off; False pays a policy for what its host learns without it, too."""

    def __post_init__(self) -> None:
        if self.loss_cap <= 0 or self.rent < 0 or self.graft_cost < 0:
            raise InvalidArgument(
                f"`reward` got loss_cap {self.loss_cap}, rent {self.rent}, graft_cost {self.graft_cost}, wanted a "
                "positive cap and prices of at least 0; correct the configuration."
            )


@dataclass(frozen=True, kw_only=True)
class Reward:
    """The reward of one step and its terms, [E] each, in nats and before any scaling."""

    gain: Floats
    control_gain: Floats
    rent: Floats
    graft_cost: Floats

    @property
    def total(self) -> Floats:
        """The sum: gain - control_gain - rent - graft_cost."""
        return self.gain - self.control_gain - self.rent - self.graft_cost


def step_reward(
    config: RewardConfig,
    *,
    losses: tuple[Floats, Floats],
    control_losses: tuple[Floats, Floats],
    graft_share: Floats,
    grafted: NDArray[np.bool_],
    steps: int,
) -> Reward:
    """Return the reward of one step.

    Args:
        config: the prices.
        losses: log-loss before and after the step, [E] each.
        control_losses: the same of the ungrown host.
        graft_share: parameters of all grafts over parameters of the host, [E].
        grafted: whether a module was grafted in this step, [E].
        steps: T.

    Example:
        >>> one = lambda value: np.array([value])
        >>> reward = step_reward(RewardConfig(), losses=(one(2.0), one(1.5)), control_losses=(one(2.0), one(1.8)),
        ...                      graft_share=one(1.0), grafted=np.array([True]), steps=16)
        >>> round(float(reward.total[0]), 5)
        0.29375
    """

    def fall(before: Floats, after: Floats) -> Floats:
        return np.minimum(before, config.loss_cap) - np.minimum(after, config.loss_cap)

    return Reward(
        gain=fall(*losses),
        control_gain=fall(*control_losses) if config.control_variate else np.zeros_like(graft_share),
        rent=config.rent * graft_share / steps,
        graft_cost=config.graft_cost * grafted.astype(np.float64),
    )
