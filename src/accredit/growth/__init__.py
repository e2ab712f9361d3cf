"""Networks that grow: slots in a host, grafts in slots, and the one table of what may happen to them."""

from accredit.growth.blend import BlendSchedule, blend_weight
from accredit.growth.catalogue import VECTOR_CATALOGUE, Activation, Kind, VectorGraft, VectorKind
from accredit.growth.hosts import Players
from accredit.growth.metric import LogLoss, Metric, Score
from accredit.growth.network import Added, GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stage import TRANSITIONS, Operation, Stage, Transition, is_legal
from accredit.growth.surgery import Surgery

__all__ = [
    "TRANSITIONS",
    "VECTOR_CATALOGUE",
    "Activation",
    "Added",
    "BlendSchedule",
    "GrowingNetwork",
    "Kind",
    "LogLoss",
    "Metric",
    "Operation",
    "Players",
    "Score",
    "Slot",
    "Stage",
    "Surgery",
    "Transition",
    "VectorGraft",
    "VectorKind",
    "blend_weight",
    "is_legal",
]
