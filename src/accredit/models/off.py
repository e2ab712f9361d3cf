"""What a module gives while it is off, and what is between off and on.

    kind        what the module gives while off                         is the module computed?
    "zero"      zeros of the shape, type and device of its output       no
    "identity"  its first tensor input; further tensors are zeros       no
    "mean"      the mean of its output over a reference pass            no
    "resample"  its output for other examples of the batch              yes
    function    whatever `function(input, output)` returns              yes

At a weight w strictly between 0 and 1 the module gives off + w (on - off), tensor by tensor. Outputs that are tuples,
lists, mappings or records known to `torch.utils._pytree` are taken apart. Where they hold anything but floating-point
tensors and constants (indices, caches), the module is computed even while it is off, and that part is kept.

"resample" is a baseline of the same distribution: within each batch, example i gets the output of example p(i) under
the same coalition, p a fixed cyclic order of the batch that moves every example. So its values depend on how examples
are grouped into batches; a batch of one example cannot be resampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from accredit.errors import InvalidArgument

OffKind: TypeAlias = Literal["zero", "identity", "mean", "resample"]
OffFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(first tensor input, first tensor output) -> what takes the place of that output; same shape."""


@dataclass(frozen=True)
class Zero:
    """Zeros."""

    needs_output = False


@dataclass(frozen=True)
class Identity:
    """The first tensor input."""

    needs_output = False


@dataclass(frozen=True)
class Mean:
    """The mean over the examples of the reference, found by a pass with all on."""

    needs_output = False


@dataclass(frozen=True)
class Resample:
    """The output for other examples of the batch."""

    seed: int = 0
    """Of the cyclic order."""
    needs_output = True

    def order(self, n_examples: int) -> Tensor:
        """Which example each one is given [B]; none is given itself."""
        if n_examples < 2:
            raise InvalidArgument(
                f"`off='resample'` got a batch of {n_examples} example, wanted at least 2 to take others from; "
                "use larger batches, or another kind of off."
            )
        cycle = torch.randperm(n_examples, generator=torch.Generator().manual_seed(self.seed))
        order = torch.empty_like(cycle)
        order[cycle] = cycle.roll(1)
        return order


@dataclass(frozen=True)
class ByFunction:
    """A function of the first tensor input and the first tensor output."""

    function: OffFunction
    needs_output = True


Off: TypeAlias = Zero | Identity | Mean | Resample | ByFunction
OffLike: TypeAlias = "Off | OffFunction | OffKind"
"""A kind, its name, or a function."""
KINDS: dict[str, Off] = {
    "zero": Zero(),
    "identity": Identity(),
    "mean": Mean(),
    "resample": Resample(),
}


def off_of(off: OffLike) -> Off:
    """The kind that a text or a function names.

    Raises:
        InvalidArgument: neither a kind nor a function.
    """
    if isinstance(off, Zero | Identity | Mean | Resample | ByFunction):
        return off
    if isinstance(off, str) and off in KINDS:
        return KINDS[off]
    if callable(off):
        return ByFunction(off)
    raise InvalidArgument(
        f"`off` is {off!r}, wanted {', '.join(map(repr, KINDS))} or a function of (input, output); pass one of these."
    )
