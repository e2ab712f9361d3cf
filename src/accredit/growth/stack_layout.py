"""Where each weight of a host and of its padded grafts stands in one flat row.

Every slot has room for the largest vector graft, act(h V + b) U + h * a + c; smaller kinds leave the rest at 0 and mark
it as not learnable.  With all hosts in one form, hosts with different grafts share one batched pass.

E hosts, S slots, P columns of the flat form, D features of a slot, R room for the inner width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accredit.errors import InvalidArgument
from accredit.growth.catalogue import VectorGraft, VectorKind
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stack_forms import StackForm, form_of


@dataclass(frozen=True, kw_only=True)
class SlotWeights:
    """The padded graft of one slot, for some rows; also used for masks of the same shape."""

    inner: Tensor
    """V, [rows, D, R]."""
    bias: Tensor
    """b, [rows, R]."""
    outer: Tensor
    """U, [rows, R, D]."""
    scale: Tensor
    """a, [rows, D]."""
    offset: Tensor
    """c, [rows, D]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SlotPlace:
    """Where a slot stands in the network and in the flat form, and which terms the kinds of the catalogue have."""

    axis: int
    """Of the features in the hidden tensor of one host, [B, ...]."""
    shapes: tuple[tuple[int, ...], ...]
    """Of V, b, U, a, c."""
    columns: slice
    """Of the flat form."""
    terms: NDArray[np.bool_]
    """Whether a kind has an inner layer, a, and c alone, [kinds + 1, 3]; the last row is no graft."""

    @property
    def features(self) -> int:
        """D."""
        return self.shapes[-1][0]

    def views(self, slot: Tensor) -> SlotWeights:
        """Return views of the flat weights of the slot, [rows, Q]."""
        pieces = torch.split(slot, [_size(shape) for shape in self.shapes], dim=1)
        inner, bias, outer, scale, offset = (
            piece.view(len(slot), *shape) for piece, shape in zip(pieces, self.shapes, strict=True)
        )
        return SlotWeights(inner=inner, bias=bias, outer=outer, scale=scale, offset=offset)


class StackLayout:
    """The flat form of hosts of one architecture.

    Args:
        template: a host without grafts; the others are like it but for the values of their parameters.
        catalogue: kinds that may be grafted.

    Raises:
        InvalidArgument: two layers of the host share a parameter, or a layer cannot be stacked.
    """

    def __init__(self, template: GrowingNetwork, catalogue: Sequence[VectorKind]) -> None:
        self.catalogue = tuple(catalogue)
        self.axes = tuple(slot.axis for slot in template.slots)
        self.features = tuple(slot.features for slot in template.slots)
        """D of every slot."""
        self._template = template
        self._signature = _signature(template)
        self._widest: dict[tuple[int, ...], int] = {}
        shared = sum(len(list(layer.parameters())) for layer in template.layers) - len(list(template.parameters()))
        if shared:
            raise InvalidArgument(
                f"`network` has {shared} parameters that several layers share, wanted none in a stack; put what shares "
                "them into one layer, or give the task is_stacked=False."
            )
        self.forms: tuple[StackForm | None, ...] = tuple(
            None if isinstance(layer, Slot) else form_of(layer) for layer in template.layers
        )
        """One per layer in order; None: a slot."""

    @property
    def num_slots(self) -> int:
        """S."""
        return len(self.features)

    @property
    def width(self) -> int:
        """R: the largest inner width of the catalogue, at least 1."""
        return max(1, *(kind.width for kind in self.catalogue))

    @cached_property
    def host_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of all parameters of the host, in order."""
        return tuple(shape for form in self.forms if form is not None for shape in form.shapes)

    @cached_property
    def host_learnable(self) -> Tensor:
        """1 for each column of the host that is learned, else 0."""
        learned = [flag for form in self.forms if form is not None for flag in form.is_learned]
        sizes = torch.tensor([_size(shape) for shape in self.host_shapes])
        return torch.repeat_interleave(torch.tensor(learned).float(), sizes)

    @cached_property
    def num_columns(self) -> int:
        """P."""
        return self.places[-1].columns.stop if self.places else len(self.host_learnable)

    @torch.no_grad()
    def widest(self, inputs: Tensor) -> int:
        """Return the numbers of the widest tensor between two layers, for one example of `inputs` [B, ...]."""
        shape = tuple(inputs.shape[1:])
        if shape not in self._widest:
            sizes, hidden = [inputs[:1].numel()], inputs[:1]
            for layer in self._template.layers:
                hidden = layer(hidden)
                sizes.append(hidden.numel())
            self._widest[shape] = max(sizes)
        return self._widest[shape]

    def host_tensors(self, flat: Tensor) -> list[Tensor]:
        """Return the parameters of hosts [rows, P] as views, [rows, ...] each."""
        return [
            flat[:, where].view(len(flat), *shape)
            for where, shape in zip(self.host_columns, self.host_shapes, strict=True)
        ]

    @cached_property
    def host_columns(self) -> tuple[slice, ...]:
        """Where each of `host_shapes` stands among the columns."""
        ends = list(itertools.accumulate(map(_size, self.host_shapes), initial=0))
        return tuple(slice(begin, end) for begin, end in itertools.pairwise(ends))

    @cached_property
    def places(self) -> tuple[SlotPlace, ...]:
        """One per slot."""
        kinds = [
            (kind.width > 0, kind.has_scale or kind.has_fixed_scale, kind.has_offset and not kind.width)
            for kind in self.catalogue
        ]
        terms, places, begin = np.array([*kinds, (False, False, False)]), [], len(self.host_learnable)
        for axis, features in zip(self.axes, self.features, strict=True):
            shapes = _slot_shapes(features, self.width)
            end = begin + sum(map(_size, shapes))
            places.append(SlotPlace(axis=axis, shapes=shapes, columns=slice(begin, end), terms=terms))
            begin = end
        return tuple(places)

    def unpack_slot(self, flat: Tensor, slot: int) -> SlotWeights:
        """Return the weights of one slot as views of [rows, P]."""
        place = self.places[slot]
        return place.views(flat[:, place.columns])

    def write_host(self, row: Tensor, network: GrowingNetwork) -> None:
        """Copy the layers of `network` into one flat row [1, P] in place.

        Raises:
            InvalidArgument: the network is of another architecture.
        """
        for form, layer, tensors in self._layers_of(row, network):
            form.write(layer, tensors)

    def read_host(self, row: Tensor, network: GrowingNetwork) -> None:
        """Copy one flat row [1, P] into the layers of `network` in place.

        Raises:
            InvalidArgument: the network is of another architecture.
        """
        for form, layer, tensors in self._layers_of(row, network):
            form.read(tensors, layer)

    def by_layer(self, tensors: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """Return the host's tensors of each layer; a slot has none."""
        counts = [0 if form is None else len(form.shapes) for form in self.forms]
        ends = list(itertools.accumulate(counts))
        return [tensors[end - count : end] for count, end in zip(counts, ends, strict=True)]

    def _layers_of(
        self, row: Tensor, network: GrowingNetwork
    ) -> Iterator[tuple[StackForm, nn.Module, Sequence[Tensor]]]:
        signature = _signature(network)
        if signature != self._signature:
            raise InvalidArgument(
                f"`network` has layers {', '.join(signature)}, wanted {', '.join(self._signature)}; "
                "hosts that are stacked must share one architecture."
            )
        tensors = self.host_tensors(row)
        for form, layer, mine in zip(self.forms, network.layers, self.by_layer(tensors), strict=True):
            if form is not None:
                yield form, layer, mine


def write_graft(graft: VectorGraft, weights: SlotWeights, learnable: SlotWeights) -> None:
    """Copy `graft` into a cleared slot of one row in place, and mark with 1 what is learned.

    Args:
        graft: the module.
        weights: views of the row's weights, [1, ...] each.
        learnable: views of the row's mask, of the same shapes.
    """
    kind = graft.kind
    if kind.width:
        weights.inner[0, :, : kind.width] = graft.inner.detach()
        weights.outer[0, : kind.width] = graft.outer.detach()
        learnable.inner[0, :, : kind.width] = 0.0 if kind.planted_inner else 1.0
        learnable.outer[0, : kind.width] = 1.0
    if kind.has_bias:
        weights.bias[0, : kind.width] = graft.bias.detach()
        learnable.bias[0, : kind.width] = 1.0
    if kind.has_scale:
        weights.scale[0] = graft.scale.detach()
        learnable.scale[0] = 1.0
    if kind.has_offset:
        weights.offset[0] = graft.offset.detach()
        learnable.offset[0] = 1.0
    if kind.has_fixed_scale:
        weights.scale[0] += graft.get_buffer("fixed_scale")


def read_graft(graft: VectorGraft, weights: SlotWeights) -> None:
    """Copy one row of a slot into `graft`, a module of the kind that lives there, in place."""
    kind = graft.kind
    with torch.no_grad():
        if kind.width:
            graft.inner.copy_(weights.inner[0, :, : kind.width])
            graft.outer.copy_(weights.outer[0, : kind.width])
        if kind.has_bias:
            graft.bias.copy_(weights.bias[0, : kind.width])
        if kind.has_fixed_scale:
            graft.get_buffer("fixed_scale").copy_(weights.scale[0])
        elif kind.has_scale:
            graft.scale.copy_(weights.scale[0])
        if kind.has_offset:
            graft.offset.copy_(weights.offset[0])


def _signature(network: GrowingNetwork) -> tuple[str, ...]:
    """Return class and parameter shapes of every layer, and the place of every slot."""
    return tuple(
        f"{type(layer).__name__}({layer.features})"
        if isinstance(layer, Slot)
        else f"{type(layer).__name__}{[tuple(parameter.shape) for parameter in layer.parameters()]}"
        for layer in network.layers
    )


def _slot_shapes(features: int, width: int) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of V, b, U, a, c."""
    return ((features, width), (width,), (width, features), (features,), (features,))


def _size(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())
