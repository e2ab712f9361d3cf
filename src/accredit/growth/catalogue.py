"""Kinds of graft for hidden vectors, as data: one formula covers all of them.

    f(h) = act(h V + b) U + h * a + c

D features of the slot, R width of the inner layer.  V is [D, R], b [R], U [R, D], a and c [D]; a kind keeps some of the
terms and has none of the others.  The last layer (U, a, c) starts at 0, so that a new graft changes nothing even
at alpha = 1, and its gradient is not 0.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from accredit.errors import InvalidArgument, UnknownName


class Kind(Protocol):
    """What a catalogue holds: anything with a name that can build a graft and say what it costs."""

    @property
    def name(self) -> str:
        """Unique within a catalogue."""
        ...

    @property
    def is_harmful(self) -> bool:
        """Whether it is planted to harm, so that baselines that know the catalogue leave it out."""
        ...

    def build(self, features: int, generator: torch.Generator) -> nn.Module:
        """Return a new graft for a slot of `features` features."""
        ...

    def parameter_count(self, features: int) -> int:
        """Return the number of parameters at a slot of `features` features."""
        ...

    def mac_count(self, features: int) -> int:
        """Return multiply-accumulates per example at a slot of `features` features."""
        ...


class Activation(enum.StrEnum):
    """The function between V and U."""

    IDENTITY = "identity"
    RELU = "relu"


@dataclass(frozen=True, kw_only=True)
class VectorKind:
    """A row of the catalogue: which terms of the formula a kind has."""

    name: str
    """Unique within a catalogue."""
    width: int = 0
    """R, columns of V; 0: no inner layer."""
    activation: Activation = Activation.IDENTITY
    """Between V and U."""
    has_bias: bool = False
    """Whether the inner layer has b."""
    has_scale: bool = False
    """Whether a is learned."""
    has_offset: bool = False
    """Whether c is learned."""
    dropped: float = 0.0
    """Share of the features in [0, 1] that are zeroed for good (a = -1 there, not learned): a planted harm."""
    planted_inner: tuple[tuple[float, ...], ...] = ()
    """V as data, D rows of R numbers, not learned: what the graft reads; empty: V is drawn and learned."""
    planted_scale: tuple[float, ...] = ()
    """a as data, D numbers, not learned; empty: no planted scale."""

    def __post_init__(self) -> None:
        if self.width < 0 or not 0.0 <= self.dropped <= 1.0:
            raise InvalidArgument(
                f"`VectorKind` {self.name!r} got width {self.width} and dropped {self.dropped}, wanted width >= 0 and "
                "dropped in [0, 1]; correct the catalogue."
            )
        if self.dropped and self.has_scale:
            raise InvalidArgument(
                f"`VectorKind` {self.name!r} got dropped {self.dropped} and a learned scale, but both are the term a; "
                "give a kind one of the two."
            )
        if self.planted_scale and (self.has_scale or self.dropped):
            raise InvalidArgument(
                f"`VectorKind` {self.name!r} got a planted scale and another one (learned: {self.has_scale}, dropped: "
                f"{self.dropped}), but all are the term a; give a kind one of them."
            )
        if any(len(row) != self.width for row in self.planted_inner):
            raise InvalidArgument(
                f"`VectorKind` {self.name!r} got planted rows of {sorted({len(row) for row in self.planted_inner})} "
                f"numbers, wanted {self.width}, its width; give V as D rows of R numbers."
            )

    @property
    def is_harmful(self) -> bool:
        """Whether it zeroes features for good."""
        return self.dropped > 0

    @property
    def has_fixed_scale(self) -> bool:
        """Whether a is there and not learned."""
        return self.dropped > 0 or bool(self.planted_scale)

    def build(self, features: int, generator: torch.Generator) -> VectorGraft:
        """Return a new graft for a slot of `features` features; V is uniform in +-sqrt(3 / D), the rest 0.

        Raises:
            InvalidArgument: what was planted has another number of features.
        """
        for planted in (self.planted_inner, self.planted_scale):
            if planted and len(planted) != features:
                raise InvalidArgument(
                    f"`features` is {features}, but kind {self.name!r} was planted for {len(planted)}; "
                    "graft it into slots of that size."
                )
        return VectorGraft(self, features, generator)

    def parameter_count(self, features: int) -> int:
        """Return the number of learned numbers.

        Example:
            >>> VectorKind(name="low-rank", width=2).parameter_count(8)
            32
        """
        learned = 1 if self.planted_inner else 2
        inner = learned * features * self.width + (self.width if self.has_bias else 0)
        return inner + features * (int(self.has_scale) + int(self.has_offset))

    def mac_count(self, features: int) -> int:
        """Return multiply-accumulates per example.

        Example:
            >>> VectorKind(name="affine", has_scale=True, has_offset=True).mac_count(8)
            8
        """
        return 2 * features * self.width + features * int(self.has_scale or self.has_fixed_scale)


class VectorGraft(nn.Module):
    """A graft for hidden vectors: f(h) = act(h V + b) U + h * a + c with the terms that its kind has.

    Args:
        kind: the row of the catalogue.
        features: D, size of the hidden vector.
        generator: source of V and of the features that a harmful kind drops.
    """

    def __init__(self, kind: VectorKind, features: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        bound = math.sqrt(3.0 / features)
        self.inner: Tensor
        if kind.planted_inner:
            self.register_buffer("inner", torch.tensor(kind.planted_inner))
        elif kind.width:
            self.inner = nn.Parameter(torch.rand(features, kind.width, generator=generator) * (2 * bound) - bound)
        if kind.width:
            self.outer = nn.Parameter(torch.zeros(kind.width, features))
        if kind.has_bias:
            self.bias = nn.Parameter(torch.zeros(kind.width))
        if kind.has_scale:
            self.scale = nn.Parameter(torch.zeros(features))
        if kind.has_offset:
            self.offset = nn.Parameter(torch.zeros(features))
        if kind.planted_scale:
            self.register_buffer("fixed_scale", torch.tensor(kind.planted_scale))
        elif kind.dropped:
            self.register_buffer("fixed_scale", -dropped_features(kind, features, generator))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return f(h), of the shape of `hidden` [..., D]."""
        change = torch.zeros_like(hidden)
        if self.kind.width:
            inside = hidden @ self.inner
            if self.kind.has_bias:
                inside = inside + self.bias
            if self.kind.activation == Activation.RELU:
                inside = inside.relu()
            change = inside @ self.outer
        if self.kind.has_scale:
            change = change + hidden * self.scale
        if self.kind.has_fixed_scale:
            change = change + hidden * self.get_buffer("fixed_scale")
        if self.kind.has_offset:
            change = change + self.offset
        return change


def dropped_features(kind: VectorKind, features: int, generator: torch.Generator) -> Tensor:
    """Return [D], 1 where the kind drops a feature, else 0."""
    order = torch.randperm(features, generator=generator)
    return (order < round(kind.dropped * features)).float()


VECTOR_CATALOGUE = (
    VectorKind(name="affine", has_scale=True, has_offset=True),
    VectorKind(name="low-rank", width=2),
    VectorKind(name="bottleneck", width=4, activation=Activation.RELU, has_bias=True, has_offset=True),
    VectorKind(name="mlp", width=16, activation=Activation.RELU, has_bias=True, has_offset=True),
    VectorKind(name="dropper", dropped=0.5),
)
"""Four kinds that help and a planted one that harms (it zeroes half of the features)."""


def kind_named(catalogue: tuple[VectorKind, ...], name: str) -> VectorKind:
    """Return the kind called `name`.

    Raises:
        UnknownName: the catalogue has no such kind.

    Example:
        >>> kind_named(VECTOR_CATALOGUE, "mlp").width
        16
    """
    for kind in catalogue:
        if kind.name == name:
            return kind
    raise UnknownName(
        f"`name` is {name!r}, but the catalogue has {', '.join(kind.name for kind in catalogue)}; choose one of these."
    )
