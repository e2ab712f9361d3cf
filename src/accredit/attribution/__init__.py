"""Which parts earn what: counterfactual attribution over arrays and callables; knows no model.

coalition -> evaluation -> matrix -> estimate
"""

from accredit.attribution.attribute import attribute
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.control import paired_control
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.estimate import Estimate, InteractionEstimate, MarginalEstimate, ShapleyEstimate
from accredit.attribution.evaluation import PlayerWeights, SingleCoalitions, ValueFunction
from accredit.attribution.helper import CounterfactualHelper
from accredit.attribution.interaction import InteractionResult
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.attribution.result import ShapleyResult
from accredit.attribution.stop import HalfWidthReached, Look, SignsDecided, StopRule, TopDecided

__all__ = [
    "CounterfactualConfig",
    "CounterfactualEngine",
    "CounterfactualHelper",
    "CounterfactualMatrix",
    "Estimate",
    "HalfWidthReached",
    "InteractionEstimate",
    "InteractionResult",
    "Look",
    "MarginalEstimate",
    "Output",
    "PlayerWeights",
    "ShapleyEstimate",
    "ShapleyResult",
    "SignsDecided",
    "SingleCoalitions",
    "StopRule",
    "TopDecided",
    "ValueFunction",
    "attribute",
    "paired_control",
]
