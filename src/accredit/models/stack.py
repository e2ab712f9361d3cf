"""Several coalitions in one pass, stacked along the batch: for models whose pass is bound by dispatch.

Every module is computed for all coalitions of a stack, and rows take what their coalition wants, so nothing is skipped
but what the whole stack has off. It pays where the price of an operation is calling it. Values equal those of one pass
after another but for rounding (a matrix product over more rows may add in another order), which is why a matrix that
was begun with a stack keeps to stacks of that size.

Axes: S coalitions of a stack, B examples.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from accredit.models.batches import ForwardPass
from accredit.models.contents import tensors_of, unknown_holder, with_tensors
from accredit.models.gate import SwitchedModule, Weights, gated, is_float
from accredit.models.off import Resample

if TYPE_CHECKING:
    from accredit.models.switchable import SwitchableModel


class NotStackable(Exception):
    """Why coalitions of this model cannot go through it side by side."""


class Stack:
    """Passes over S coalitions at once.

    Args:
        switchable: the model and its players.
        size: S, coalitions of a pass; a stack that is not full is filled up with its last coalition.
    """

    name = "stack"
    peak_bytes = 0

    def __init__(self, switchable: SwitchableModel, *, size: int = 16) -> None:
        self.switchable = switchable
        self.size = size

    def outputs(self, forward: ForwardPass, coalitions: Sequence[Weights]) -> Iterator[Any]:
        """Output of the model for each coalition in turn.

        Raises:
            NotStackable: the model mixes examples, or has an output whose first dimension is not that of examples.
        """
        n_examples = examples_of(forward.batch)
        stacked = ForwardPass(forward.model, forward.forward, self._repeated(forward.batch, n_examples))
        for begin in range(0, len(coalitions), self.size):
            some = list(coalitions[begin : begin + self.size])
            filled = some + some[-1:] * (self.size - len(some))
            with gated(self.switchable.model, self.switchable.switched, _RowSwitch(filled, n_examples)):
                output = stacked()
            yield from self._parts(output, n_examples)[: len(some)]

    def _repeated(self, batch: Any, n_examples: int) -> Any:
        """The batch S times, one after the other."""
        _check_known(batch, "a batch")

        def repeat(tensor: Tensor) -> Tensor:
            if tensor.dim() and len(tensor) == n_examples:
                return tensor.repeat(self.size, *[1] * (tensor.dim() - 1))
            return tensor

        return with_tensors(repeat, batch)

    def _parts(self, output: Any, n_examples: int) -> list[Any]:
        """The outputs of the coalitions of a stack."""
        _check_known(output, "an output")
        tensors = tensors_of(output)
        for tensor in tensors:
            if not tensor.dim() or len(tensor) != self.size * n_examples:
                raise NotStackable(f"an output has the shape {tuple(tensor.shape)}, not one row per example")
        parts = []
        for at in range(self.size):
            rows = slice(at * n_examples, (at + 1) * n_examples)
            parts.append(with_tensors(operator.itemgetter(rows), output))
        return parts


def _check_known(value: Any, what: str) -> None:
    """Refuse objects whose tensors cannot be exchanged."""
    if (name := unknown_holder(value)) is not None:
        raise NotStackable(f"{what} holds a {name}, which cannot be taken apart into examples")


def examples_of(batch: Any) -> int:
    """B: the length of the first tensor of a batch.

    Raises:
        NotStackable: there is no tensor with a first dimension.
    """
    for tensor in tensors_of(batch):
        if tensor.dim():
            return len(tensor)
    raise NotStackable("a batch has no tensor with examples along its first dimension")


class _RowSwitch:
    """Hook: every row of a module's output as the coalition of the row wants it."""

    def __init__(self, coalitions: Sequence[Weights], n_examples: int) -> None:
        self.coalitions, self.n_examples = coalitions, n_examples
        self.size = len(coalitions)

    def __call__(self, each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the module where any row needs it, and choose row by row."""
        weights = [coalition[each.player] for coalition in self.coalitions]
        if not any(weights):
            skipped = each.skipped((args, kwargs))
            if skipped is not NotImplemented:
                return skipped
        output = each.run(*args, **kwargs)
        if all(weight == 1.0 for weight in weights):
            return output
        each.learn((args, kwargs), output)
        on, structure = pytree.tree_flatten(output)
        off = self._off(each, args, kwargs, output)
        return pytree.tree_unflatten(
            [self._chosen(a, b, weights) if is_float(a) else a for a, b in zip(on, off, strict=True)], structure
        )

    def _off(self, each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> list[Any]:
        """The tensors that the module would give if it were off everywhere."""
        if isinstance(each.off, Resample):
            order = each.off.order(self.n_examples)
            starts = torch.arange(self.size)[:, None] * self.n_examples
            rows = (starts + order).flatten()
            return [leaf[rows.to(leaf.device)] if is_float(leaf) else leaf for leaf in pytree.tree_leaves(output)]
        return pytree.tree_leaves(each.replaced((args, kwargs), output))

    def _chosen(self, on: Tensor, off: Tensor, weights: Sequence[float]) -> Tensor:
        """Rows of one tensor."""
        if not on.dim() or len(on) != self.size * self.n_examples:
            raise NotStackable(f"a switched module gives the shape {tuple(on.shape)}, not one row per example")
        rows = torch.tensor(weights, device=on.device).repeat_interleave(self.n_examples)
        rows = rows.view(-1, *[1] * (on.dim() - 1))
        mixed = torch.where(rows == 1.0, on, off)
        if all(weight in (0.0, 1.0) for weight in weights):
            return mixed
        return torch.where((rows == 1.0) | (rows == 0.0), mixed, torch.lerp(off, on, rows.to(on.dtype)))
