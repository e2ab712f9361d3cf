"""A rollout with what is told about it, and the diagnostics that follow.

T steps, E environments, N = T E decisions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.ppo.rollout import Rollout


@dataclass
class Collected:
    """One rollout, raw and as the policy met it."""

    rollout: Rollout
    last_values: Tensor
    """[E]."""
    raw_rewards: list[NDArray[np.float64]] = field(default_factory=list)
    """As the environment paid them, [E] each."""
    raw_observations: list[Tensor] = field(default_factory=list)
    """As the environment gave them, [E, F] each."""
    results: dict[str, list[float]] = field(default_factory=dict)
    """Of the episodes that ended."""
    attribution_s: float = 0.0
    """Seconds spent on measuring grafts, over all groups of environments."""
    began_s: float = field(default_factory=lambda: time.perf_counter())
    """When the rollout began, by a monotonic clock."""

    def attribution_share(self, processes: int) -> float:
        """Return which share of the time since the rollout began was spent on measuring grafts, in each process."""
        return self.attribution_s / processes / (time.perf_counter() - self.began_s)

    def mean_result(self, name: str) -> float | None:
        """Return the mean over the episodes that ended; None where none did, or one is not finite."""
        return mean(self.results.get(name, []))

    def returns(self) -> tuple[NDArray[np.float64], list[float]]:
        """Return what was still to be earned at every step, [T, E], and the returns of episodes wholly in here."""
        rewards, ended = np.stack(self.raw_rewards), torch.stack(self.rollout.terminated).numpy()
        ahead, to_go = np.zeros(rewards.shape[1]), np.zeros_like(rewards)
        for step in reversed(range(len(rewards))):
            ahead = rewards[step] + np.where(ended[step], 0.0, ahead)
            to_go[step] = ahead
        began = np.vstack([np.ones((1, rewards.shape[1]), dtype=bool), ended[:-1]])
        finished = np.flip(np.logical_or.accumulate(np.flip(ended, 0), 0), 0)
        return to_go, to_go[began & finished].tolist()

    def explained_variance(self, targets: Tensor) -> float:
        """Return 1 - Var(target - value) / Var(target) for targets [N]; 0 where they do not vary."""
        values, variance = torch.stack(self.rollout.values).flatten(), targets.var()
        return float(1 - (targets - values).var() / variance) if variance > 0 else 0.0

    def decision_entropy(self) -> float | None:
        """Return the mean entropy of the acting policy where more than one action was legal; None: nowhere."""
        free = torch.stack(self.rollout.masks).sum(-1) > 1
        entropies = torch.stack(self.rollout.entropies)[free]
        return float(entropies.double().mean()) if len(entropies) else None

    def only_action(self) -> int | None:
        """Return the one action that every decision was, None where they differ."""
        first, *others = {action for actions in self.rollout.actions for action in actions.tolist()}
        return None if others else int(first)


def mean(numbers: list[float]) -> float | None:
    """Return the mean, None of nothing and where a number is not finite."""
    return float(np.mean(numbers)) if numbers and np.isfinite(numbers).all() else None
