"""Networks that grow: slots in a host, grafts in slots, and the one table of what may happen to them."""

from accredit.growth.blend import BlendSchedule as BlendSchedule
from accredit.growth.blend import blend_weight as blend_weight
from accredit.growth.catalogue import VECTOR_CATALOGUE as VECTOR_CATALOGUE
from accredit.growth.catalogue import Activation as Activation
from accredit.growth.catalogue import Kind as Kind
from accredit.growth.catalogue import VectorGraft as VectorGraft
from accredit.growth.catalogue import VectorKind as VectorKind
from accredit.growth.network import Added as Added
from accredit.growth.network import GrowingNetwork as GrowingNetwork
from accredit.growth.slot import Slot as Slot
from accredit.growth.stage import TRANSITIONS as TRANSITIONS
from accredit.growth.stage import Operation as Operation
from accredit.growth.stage import Stage as Stage
from accredit.growth.stage import Transition as Transition
from accredit.growth.stage import is_legal as is_legal
from accredit.growth.surgery import Surgery as Surgery
