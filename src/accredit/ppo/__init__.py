"""Proximal policy optimization over a masked categorical: policy, rollout, update."""

from accredit.ppo.config import Memory, PPOConfig
from accredit.ppo.policy import ActorCritic, entropy, sample
from accredit.ppo.rollout import Rollout
from accredit.ppo.update import Decisions, Sequences, UpdateReport, update_policy

__all__ = [
    "ActorCritic",
    "Decisions",
    "Memory",
    "PPOConfig",
    "Rollout",
    "Sequences",
    "UpdateReport",
    "entropy",
    "sample",
    "update_policy",
]
