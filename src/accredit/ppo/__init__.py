"""Proximal policy optimization over a masked categorical: policy, rollout, update."""

from accredit.ppo.policy import ActorCritic, sample
from accredit.ppo.rollout import Rollout
from accredit.ppo.update import Decisions, PPOConfig, UpdateReport, update_policy

__all__ = [
    "ActorCritic",
    "Decisions",
    "PPOConfig",
    "Rollout",
    "UpdateReport",
    "sample",
    "update_policy",
]
