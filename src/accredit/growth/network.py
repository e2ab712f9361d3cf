"""GrowingNetwork: a host in layers with slots between them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from accredit.errors import InvalidArgument, UnknownName
from accredit.growth.blend import blended
from accredit.growth.catalogue import Kind
from accredit.growth.slot import Slot, change_along
from accredit.growth.stage import SURGERY, Operation, Stage, after_blend, transition
from accredit.growth.summary import summary_table
from accredit.growth.surgery import Surgery


class Added(nn.Module):
    """h + alpha f(h) as a plain module: what a live graft is in an exported network.

    Args:
        graft: f.
        alpha: the blend weight at export.
        axis: of the features, as in `Slot`.
    """

    def __init__(self, graft: nn.Module, alpha: float, *, axis: int = -1) -> None:
        super().__init__()
        self.graft = graft
        self.alpha = alpha
        self.axis = axis

    def forward(self, hidden: Tensor) -> Tensor:
        """Return h + alpha f(h)."""
        return blended(hidden, change_along(self.axis, self.graft, hidden), self.alpha)


class GrowingNetwork(nn.Module):
    """A host into whose slots modules can be grafted, blended in, committed and pruned while it trains.

    Grafting preserves the function: until a graft blends, every slot hands on the tensor that it got.  A graft in
    training learns nevertheless, from `shadow`: a second pass in which it stands at alpha = 1 on a detached h.

    Args:
        layers: modules in order, with a `Slot` wherever something may be grafted.

    Raises:
        InvalidArgument: no slot, or two slots of one name.

    Example:
        >>> import torch
        >>> from accredit.growth.catalogue import VECTOR_CATALOGUE
        >>> network = GrowingNetwork([Slot("input", 4), nn.Linear(4, 2)])
        >>> x = torch.ones(1, 4)
        >>> before = network(x)
        >>> surgery = network.graft("input", VECTOR_CATALOGUE[0], torch.Generator().manual_seed(0))
        >>> len(surgery.added), torch.equal(network(x), before)
        (2, True)
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        names = [slot.name for slot in self.slots]
        if not names or len(set(names)) < len(names):
            raise InvalidArgument(
                f"`layers` has slots named {names}, wanted at least one slot and no name twice; "
                "put `Slot(name, features)` between the layers."
            )

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots in the order of execution."""
        return tuple(layer for layer in self.layers if isinstance(layer, Slot))

    def slot(self, name: str) -> Slot:
        """Return the slot called `name`.

        Raises:
            UnknownName: there is none.
        """
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise UnknownName(
            f"`slot` is {name!r}, but the network has {', '.join(slot.name for slot in self.slots)}; name one of these."
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the host with its live grafts at their blend weights."""
        for layer in self.layers:
            x = layer(x)
        return x

    def shadow(self, x: Tensor) -> Tensor:
        """Return the output with every training graft at alpha = 1; only training grafts get a gradient from it.

        Up to the first training graft nothing is tracked.  Behind it the host's own parameters are on the path, so
        that a caller takes the gradient for `training_parameters()` alone: `torch.autograd.grad(loss, parameters)`.
        """
        tracked = False
        for layer in self.layers:
            training = isinstance(layer, Slot) and layer.stage == Stage.TRAINING
            tracked = tracked or training
            with torch.set_grad_enabled(tracked and torch.is_grad_enabled()):
                x = layer.shadow(x) if isinstance(layer, Slot) else layer(x)
        return x

    def training_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of all grafts in training."""
        return [parameter for slot in self._training_slots() for parameter in slot.parameters()]

    def graft(self, slot: str, kind: Kind, generator: torch.Generator) -> Surgery:
        """Put a new graft of `kind` into an empty slot; the output does not change.

        Args:
            slot: name of an empty slot.
            kind: a row of a catalogue.
            generator: source of the graft's initial weights.

        Returns:
            The report, whose `follow(optimizer)` registers the new parameters.

        Raises:
            UnknownName: no such slot.
            InvalidArgument: the slot is not empty.
        """
        place = self._in_stage_for(slot, Operation.GRAFT)
        device = next((parameter.device for parameter in self.parameters()), torch.device("cpu"))
        place.receive(kind.build(place.features, generator).to(device).train(self.training), kind)
        place.stage, place.alpha = Stage.TRAINING, 0.0
        return Surgery(slot=slot, added=tuple(place.parameters()))

    def blend(self, slot: str) -> Surgery:
        """Let the graft of `slot` begin to blend, from alpha = 0.

        Raises:
            UnknownName: no such slot.
            InvalidArgument: the slot is not in training.
        """
        self._in_stage_for(slot, Operation.BLEND).stage = Stage.BLENDING
        return Surgery(slot=slot)

    def set_alpha(self, slot: str, alpha: float) -> None:
        """Move the blend weight of a blending graft; at 1 it holds.

        Raises:
            UnknownName: no such slot.
            InvalidArgument: alpha outside [0, 1], or the slot is not blending.
        """
        place = self.slot(slot)
        if place.stage != Stage.BLENDING or not 0.0 <= alpha <= 1.0:
            raise InvalidArgument(
                f"`alpha` of slot {slot!r} got {alpha} in stage {place.stage.name.lower()}, wanted a number in [0, 1] "
                "in stage blending; call `blend` first."
            )
        place.alpha = alpha
        place.stage = after_blend(place.stage, alpha)

    def commit(self, slot: str) -> Surgery:
        """Make a holding graft a part of the host for good.

        Raises:
            UnknownName: no such slot.
            InvalidArgument: the slot is not holding.
        """
        self._in_stage_for(slot, Operation.COMMIT).stage = Stage.COMMITTED
        return Surgery(slot=slot)

    def prune(self, slot: str) -> Surgery:
        """Remove the graft of `slot`, a committed one included.

        Returns:
            The report, whose `follow(optimizer)` drops the parameters with their optimizer state.

        Raises:
            UnknownName: no such slot.
            InvalidArgument: the slot is empty.
        """
        place = self._in_stage_for(slot, Operation.PRUNE)
        removed = tuple(place.parameters())
        place.vacate()
        place.stage, place.alpha = Stage.EMPTY, 0.0
        return Surgery(slot=slot, removed=removed)

    def parameter_count(self) -> int:
        """Return the number of parameters of host and grafts."""
        return sum(parameter.numel() for parameter in self.parameters())

    def summary(self) -> str:
        """Return a table of layers and slots: stage, graft, blend weight, parameters, multiply-accumulates.

        Multiply-accumulates are those of `nn.Linear`, of convolutions and of grafts, for each vector that passes: a
        position of a sequence, a pixel of the layer's output.

        Example:
            >>> from accredit.growth.catalogue import VECTOR_CATALOGUE
            >>> network = GrowingNetwork([Slot("input", 4), nn.Linear(4, 2)])
            >>> _ = network.graft("input", VECTOR_CATALOGUE[1], torch.Generator().manual_seed(0))
            >>> print(network.summary())
            layer       stage     graft     alpha  parameters  MACs
            slot input  training  low-rank   0.00          16    16
            Linear                                         10     8
            sum                                            26    24
        """
        return summary_table(self.layers)

    def export(self) -> nn.Sequential:
        """Return a plain module, independent of this one, that computes what the network computes now.

        Live grafts become `Added`; slots and grafts in training vanish.
        """
        plain: list[nn.Module] = []
        for layer in self.layers:
            if not isinstance(layer, Slot):
                plain.append(copy.deepcopy(layer))
            elif layer.is_live and layer.graft is not None:
                plain.append(Added(copy.deepcopy(layer.graft), layer.alpha, axis=layer.axis))
        return nn.Sequential(*plain)

    def _training_slots(self) -> Iterator[Slot]:
        return (slot for slot in self.slots if slot.stage == Stage.TRAINING)

    def _in_stage_for(self, name: str, operation: Operation) -> Slot:
        place = self.slot(name)
        if transition(operation, place.stage, SURGERY) is None:
            raise InvalidArgument(
                f"`{operation}` got slot {name!r} in stage {place.stage.name.lower()}, where it is not possible; "
                "see accredit.growth.stage.SURGERY for what is."
            )
        return place
