"""Accredit: what every switchable part of a network earns, normalizers for RL, and networks that grow under PPO.

The names below need torch, numpy and scipy only.  `accredit.training` (extra `grow`) trains a policy that grows
networks; `accredit.telemetry` has its events.
"""

from accredit.attribution.attribute import attribute
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.estimate import InteractionEstimate, ShapleyEstimate
from accredit.attribution.helper import CounterfactualHelper
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.models.switchable import SwitchableModel
from accredit.models.value import ModelValue
from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.popart import ValueNormalizer
from accredit.normalize.reward import RewardNormalizer

__all__ = [
    "CounterfactualConfig",
    "CounterfactualEngine",
    "CounterfactualHelper",
    "CounterfactualMatrix",
    "GrowingNetwork",
    "InteractionEstimate",
    "ModelValue",
    "Output",
    "RewardNormalizer",
    "RunningMeanStd",
    "ShapleyEstimate",
    "Slot",
    "SwitchableModel",
    "ValueNormalizer",
    "attribute",
]
