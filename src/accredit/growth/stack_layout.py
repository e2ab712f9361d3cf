"""Where each weight of an MLP host and of its padded grafts stands in one flat row.

Every slot has room for the largest vector graft, act(h V + b) U + h * a + c; smaller kinds leave the rest at 0 and mark
it as not learnable.  With all hosts in one form, hosts with different grafts share one batched pass.

E hosts, S slots, P columns of the flat form, D features of a slot, R room for the inner width.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from accredit.errors import InvalidArgument
from accredit.growth.catalogue import VectorGraft, VectorKind
from accredit.growth.network import GrowingNetwork


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


@dataclass(frozen=True, kw_only=True)
class StackLayout:
    """Shapes of a stack of MLP hosts: sizes (64, 8, 8, 10) has slots of 64, 8 and 8 features."""

    sizes: tuple[int, ...]
    """Features of the input, of each hidden layer, and of the output."""
    catalogue: tuple[VectorKind, ...]
    """Kinds that may be grafted."""
    slots_before: tuple[int, ...] = ()
    """Index of the linear layer before which each slot stands, ascending; empty: one slot before each."""

    @cached_property
    def slots_at(self) -> tuple[tuple[int, ...], ...]:
        """Slots before each linear layer, in order."""
        layers = range(len(self.sizes) - 1)
        before = self.slots_before or tuple(layers)
        return tuple(tuple(slot for slot, at in enumerate(before) if at == layer) for layer in layers)

    @cached_property
    def features(self) -> tuple[int, ...]:
        """D of every slot."""
        return tuple(size for size, slots in zip(self.sizes, self.slots_at, strict=False) for _ in slots)

    @property
    def num_slots(self) -> int:
        """S."""
        return len(self.features)

    @property
    def width(self) -> int:
        """R: the largest inner width of the catalogue, at least 1."""
        return max(1, *(kind.width for kind in self.catalogue))

    @property
    def host_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of weight [in, out] and bias [out] of each linear layer, in order."""
        pairs = itertools.pairwise(self.sizes)
        return tuple(shape for inputs, outputs in pairs for shape in ((inputs, outputs), (outputs,)))

    def slot_shapes(self, slot: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of V, b, U, a, c of one slot."""
        features, width = self.features[slot], self.width
        return ((features, width), (width,), (width, features), (features,), (features,))

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """All shapes in the order of the columns: the host, then slot after slot."""
        slots = (self.slot_shapes(slot) for slot in range(self.num_slots))
        return self.host_shapes + tuple(shape for shapes in slots for shape in shapes)

    @cached_property
    def sizes_of_pieces(self) -> list[int]:
        """Columns of each of `shapes`."""
        return [_size(shape) for shape in self.shapes]

    @cached_property
    def groups(self) -> Tensor:
        """[P] int64: 0 for columns of the host, 1 + s for columns of slot s."""
        host = sum(_size(shape) for shape in self.host_shapes)
        sizes = [host] + [sum(map(_size, self.slot_shapes(slot))) for slot in range(self.num_slots)]
        return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))

    def unpack(self, flat: Tensor) -> tuple[list[Tensor], list[SlotWeights]]:
        """Split [rows, P] into the host's tensors and each slot's weights, as views with one common gradient.

        Args:
            flat: [rows, P].

        Returns:
            Weight and bias of each layer with a leading axis of rows, and one `SlotWeights` per slot.
        """
        rows = flat.shape[0]
        pieces = [
            piece.view(rows, *shape)
            for piece, shape in zip(torch.split(flat, self.sizes_of_pieces, dim=1), self.shapes, strict=True)
        ]
        count = len(self.host_shapes)
        slots = [
            SlotWeights(inner=p[0], bias=p[1], outer=p[2], scale=p[3], offset=p[4])
            for p in (pieces[at : at + 5] for at in range(count, len(pieces), 5))
        ]
        return pieces[:count], slots

    def write_host(self, row: Tensor, network: GrowingNetwork) -> None:
        """Copy the linear layers of `network` into one flat row [1, P] in place.

        Raises:
            InvalidArgument: the network is not an MLP of these sizes.
        """
        tensors, _ = self.unpack(row)
        for linear, weight, bias in zip(self._linears(network), tensors[::2], tensors[1::2], strict=True):
            weight[0].copy_(linear.weight.detach().T)
            bias[0].copy_(linear.bias.detach())

    def read_host(self, row: Tensor, network: GrowingNetwork) -> None:
        """Copy one flat row [1, P] into the linear layers of `network` in place.

        Raises:
            InvalidArgument: the network is not an MLP of these sizes.
        """
        tensors, _ = self.unpack(row)
        with torch.no_grad():
            for linear, weight, bias in zip(self._linears(network), tensors[::2], tensors[1::2], strict=True):
                linear.weight.copy_(weight[0].T)
                linear.bias.copy_(bias[0])

    def _linears(self, network: GrowingNetwork) -> list[nn.Linear]:
        linears = [layer for layer in network.layers if isinstance(layer, nn.Linear)]
        sizes = tuple(linear.in_features for linear in linears) + tuple(linear.out_features for linear in linears[-1:])
        if sizes != self.sizes:
            raise InvalidArgument(
                f"`network` has linear layers of sizes {sizes}, wanted {self.sizes}; "
                "hosts that are stacked must share one architecture."
            )
        return linears


def clear_slot(weights: SlotWeights) -> None:
    """Set the padded graft of one slot to 0 in place."""
    for tensor in (weights.inner, weights.bias, weights.outer, weights.scale, weights.offset):
        tensor.zero_()


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


def _size(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())
