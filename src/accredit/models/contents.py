"""What batches and outputs hold: tensors, also inside objects that `torch.utils._pytree` does not know.

Batches are often records of a library (`transformers.BatchEncoding`, dataclasses of one's own), and so are outputs.
Looked into for comparing: every object with attributes. Taken apart and made anew: what pytree knows, dataclasses and
`UserDict`s alone, for other objects may keep something beside their tensors that belongs to them.
"""

from __future__ import annotations

import copy
import dataclasses
import types
from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

_PLAIN = (Tensor, str, int, float, complex, bool, bytes, type(None), torch.dtype, torch.device, torch.Size)
_CODE = (type, nn.Module, types.FunctionType, types.MethodType, types.ModuleType)


def contents(value: Any) -> Iterator[Any]:
    """Leaves of a value, those in attributes of unknown objects included; code and its state are left out.

    Example:
        >>> list(contents({"a": (1, types.SimpleNamespace(inside=[2.0]))}))
        [1, 2.0]
    """
    return _leaves(value, set())


def _leaves(value: Any, seen: set[int]) -> Iterator[Any]:
    """Leaves in order; an object that contains itself is gone through once."""
    for leaf in pytree.tree_leaves(value):
        attributes = None if isinstance(leaf, (*_PLAIN, *_CODE)) else getattr(leaf, "__dict__", None)
        if not isinstance(attributes, dict):
            yield leaf
        elif id(leaf) not in seen:
            seen.add(id(leaf))
            yield from _leaves(dict(attributes), seen)


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of a batch or an output, in order."""
    return [leaf for leaf in contents(value) if isinstance(leaf, Tensor)]


def with_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """The same value with another tensor in the place of each; the value itself stays as it is.

    Objects that can be made anew are; those that hold no tensor, or are not known, stay the same objects.
    """

    def replaced(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return function(leaf)
        if not is_record(leaf) or not tensors_of(leaf):
            return leaf
        anew = copy.copy(leaf)
        if isinstance(leaf, UserDict):
            anew.data = with_tensors(function, leaf.data)
            return anew
        for each in dataclasses.fields(leaf):
            # also where the dataclass is frozen
            object.__setattr__(anew, each.name, with_tensors(function, getattr(leaf, each.name)))
        return anew

    return pytree.tree_map(replaced, value)


def is_record(leaf: Any) -> bool:
    """Whether it is an object that can be made anew with other tensors."""
    return isinstance(leaf, UserDict) or (dataclasses.is_dataclass(leaf) and not isinstance(leaf, type))


def unknown_holder(value: Any) -> str | None:
    """Class of an object that holds tensors and cannot be made anew; None where there is none."""
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, Tensor):
            continue
        if is_record(leaf):
            inside = (
                leaf.data if isinstance(leaf, UserDict) else [getattr(leaf, f.name) for f in dataclasses.fields(leaf)]
            )
            if (found := unknown_holder(inside)) is not None:
                return found
        elif tensors_of(leaf):
            return type(leaf).__name__
    return None


def strided_parts(tensor: Tensor) -> list[Tensor]:
    """Plain tensors that make up a tensor of any layout: indices and values of a sparse one."""
    plain = tensor.detach()
    if plain.is_nested:
        return list(plain.unbind())
    if plain.layout == torch.sparse_coo:
        # not `coalesce`: it is compared as it is, and a sum of the same index may round
        return [plain._indices(), plain._values()]
    if plain.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [plain.crow_indices(), plain.col_indices(), plain.values()]
    if plain.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [plain.ccol_indices(), plain.row_indices(), plain.values()]
    return [plain]
