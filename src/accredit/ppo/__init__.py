"""Proximal policy optimization over a masked categorical: policy, rollout, update."""

from accredit.ppo.policy import ActorCritic as ActorCritic
from accredit.ppo.policy import sample as sample
from accredit.ppo.rollout import Rollout as Rollout
from accredit.ppo.update import Decisions as Decisions
from accredit.ppo.update import PPOConfig as PPOConfig
from accredit.ppo.update import UpdateReport as UpdateReport
from accredit.ppo.update import update_policy as update_policy
