"""A rollout: what was seen, done and earned between two updates, and the advantages that follow.

T steps, E environments, F fields, A actions, H numbers of memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchrl.objectives.value.functional import generalized_advantage_estimate

from accredit.ppo.update import Decisions, Sequences


@dataclass
class Rollout:
    """Lists that grow by one entry a step, [E, ...] each; raw and scaled rewards are never mixed.

    Args:
        memory: of the policy before the first step, [E, H]; None: it has none.
    """

    memory: Tensor | None = None
    observations: list[Tensor] = field(default_factory=list)
    """Normalized, as the policy saw them, [E, F]."""
    masks: list[Tensor] = field(default_factory=list)
    """[E, A] bool."""
    actions: list[Tensor] = field(default_factory=list)
    """[E] int64."""
    log_probabilities: list[Tensor] = field(default_factory=list)
    """[E]."""
    values: list[Tensor] = field(default_factory=list)
    """[E], in units of scaled rewards."""
    entropies: list[Tensor] = field(default_factory=list)
    """Of the policy as it acted, nats, [E]."""
    begins: list[Tensor] = field(default_factory=list)
    """Where the observation is the first of an episode, [E] bool; empty without a memory."""
    rewards: list[Tensor] = field(default_factory=list)
    """Scaled, [E]."""
    terminated: list[Tensor] = field(default_factory=list)
    """[E] bool."""

    def decisions(self, last_values: Tensor, *, gamma: float, gae_lambda: float) -> Decisions:
        """Return the rollout flat, with advantages and value targets by GAE.

            delta_t = r_t + gamma V(s_{t+1}) - V(s_t),   A_t = sum_k (gamma lambda)^k delta_{t+k},   target = A + V

        Behind a terminal state nothing is added: the state there belongs to the next episode.

        Args:
            last_values: values of the observations after the last step, [E].
            gamma: discount.
            gae_lambda: lambda.

        Source: Schulman et al. 2016, High-Dimensional Continuous Control Using GAE, equation 16.
        """
        values = torch.stack(self.values)
        following = torch.cat([values[1:], last_values.unsqueeze(0)])
        done = torch.stack(self.terminated)

        def batched(x: Tensor) -> Tensor:
            return x.T.unsqueeze(-1)  # TorchRL wants [E, T, 1]

        advantages, targets = generalized_advantage_estimate(
            gamma,
            gae_lambda,
            batched(values),
            batched(following),
            batched(torch.stack(self.rewards)),
            batched(done),
            batched(done),
        )
        return Decisions(
            observations=torch.stack(self.observations).flatten(0, 1),
            masks=torch.stack(self.masks).flatten(0, 1),
            actions=torch.stack(self.actions).flatten(0, 1),
            log_probabilities=torch.stack(self.log_probabilities).flatten(0, 1),
            advantages=advantages.squeeze(-1).T.flatten(),
            value_targets=targets.squeeze(-1).T.flatten(),
            sequences=(None if self.memory is None else Sequences(begins=torch.stack(self.begins), memory=self.memory)),
        )
