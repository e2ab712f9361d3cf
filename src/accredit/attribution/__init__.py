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
from accredit.attribution.history import plot_events_over_time, plot_over_time
from accredit.attribution.interaction import InteractionResult
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.attribution.prepared import PreparedEvaluation
from accredit.attribution.result import ShapleyResult
from accredit.attribution.semivalues import complete_table, semivalues
from accredit.attribution.stop import HalfWidthReached, Look, SignsDecided, StopRule, TopDecided
from accredit.attribution.transforms import (
    banzhaf_weights,
    beta_weights,
    interaction_index,
    moebius,
    shapley_weights,
)

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
    "PreparedEvaluation",
    "ShapleyEstimate",
    "ShapleyResult",
    "SignsDecided",
    "SingleCoalitions",
    "StopRule",
    "TopDecided",
    "ValueFunction",
    "attribute",
    "banzhaf_weights",
    "beta_weights",
    "complete_table",
    "interaction_index",
    "moebius",
    "paired_control",
    "plot_events_over_time",
    "plot_over_time",
    "semivalues",
    "shapley_weights",
]
