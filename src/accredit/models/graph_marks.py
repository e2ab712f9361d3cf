"""Marks in a traced model: where switched modules begin, what they give, and which example is given to which.

They are operations of their own so that tracing keeps them. None of them is executed when a graph runs: `graph_rewrite`
and `graph_segments` take them out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from accredit.models.gate import Arguments, SwitchedModule, TensorShape, first_tensor, is_float
from accredit.models.off import ByFunction, Identity, Resample


@torch.library.custom_op("accredit::port", mutates_args=())
def port(tensor: Tensor, linked: bool) -> Tensor:  # noqa: ARG001 (a mark: the arguments are read in the graph)
    """An input of a switched module; `linked` where a write to it is a write to the tensor that came in."""
    return tensor.clone()


@torch.library.custom_op("accredit::switch", mutates_args=())
def switch(on: Tensor, off: Tensor, player: int) -> Tensor:  # noqa: ARG001 (a mark: the arguments are read in the graph)
    """One tensor of the output of a switched module, by the weight of the player."""
    return on.clone()


@torch.library.custom_op("accredit::reorder", mutates_args=())
def reorder(tensor: Tensor, seed: int) -> Tensor:
    """Every example given the numbers of another one, as `Resample(seed)` says."""
    return reordered(tensor, seed)


@port.register_fake
def _(tensor: Tensor, linked: bool) -> Tensor:  # noqa: ARG001 (a mark: the arguments are read in the graph)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)


@switch.register_fake
def _(on: Tensor, off: Tensor, player: int) -> Tensor:  # noqa: ARG001 (a mark: the arguments are read in the graph)
    return torch.empty_strided(on.shape, on.stride(), dtype=on.dtype, device=on.device)


@reorder.register_fake
def _(tensor: Tensor, seed: int) -> Tensor:  # noqa: ARG001 (a mark: the arguments are read in the graph)
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)


PORT = torch.ops.accredit.port.default
SWITCH = torch.ops.accredit.switch.default
REORDER = torch.ops.accredit.reorder.default


def reordered(tensor: Tensor, seed: int) -> Tensor:
    """The examples of a tensor [B, ...] in the order of `Resample(seed)`."""
    return tensor.index_select(0, _order(seed, len(tensor), tensor.device))


@lru_cache(maxsize=64)
def _order(seed: int, n_examples: int, device: torch.device) -> Tensor:
    """The order, on a device [B]."""
    return Resample(seed).order(n_examples).to(device)


def marked(each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a switched module between marks: the hook under which a model is traced."""
    inside_args, inside_kwargs = _ported((args, kwargs))
    output = each.run(*inside_args, **inside_kwargs)
    on, structure = pytree.tree_flatten(output)
    off = _off_leaves(each, (args, kwargs), output)
    switched = [switch(a, b, each.player) if is_float(a) else a for a, b in zip(on, off, strict=True)]
    return pytree.tree_unflatten(switched, structure)


def _ported(tree: Any) -> Any:
    """The tree with every tensor behind a port; one port for a tensor that comes twice: modules ask `query is key`."""
    ports: dict[int, Tensor] = {}

    def once(tensor: Tensor) -> Tensor:
        if id(tensor) not in ports:
            ports[id(tensor)] = port(tensor, True)
        return ports[id(tensor)]

    return pytree.tree_map_only(Tensor, once, tree)


def _off_leaves(each: SwitchedModule, arguments: Arguments, output: Any) -> list[Any]:
    """Leaves of what the module gives while off; where they are made of `output`, this is traced too."""
    leaves = pytree.tree_leaves(output)
    if isinstance(each.off, Resample):
        for leaf in leaves:
            if is_float(leaf) and len(leaf) < 2:
                # raises; else not called here, for tracing would take the order for something random
                each.off.order(len(leaf))
        return [reorder(leaf, each.off.seed) if is_float(leaf) else leaf for leaf in leaves]
    if isinstance(each.off, ByFunction):
        # behind ports, so that a function that writes to what it is given is found out
        return pytree.tree_leaves(each.replaced(_ported(arguments), _ported(output)))
    off = pytree.tree_leaves(each.replaced(arguments, output))
    if isinstance(each.off, Identity):
        first = next(at for at, leaf in enumerate(leaves) if is_float(leaf))
        off[first] = _uncopied(off[first], arguments)
    return off


def _uncopied(copy: Tensor, arguments: Arguments) -> Tensor:
    """The input itself in place of its copy, where both are alike to the last stride; no graph writes to it."""
    given = first_tensor(arguments)
    alike = TensorShape.of(given) == TensorShape.of(copy) and given.stride() == copy.stride()
    return port(given, False) if alike else copy
