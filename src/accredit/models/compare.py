"""Whether two outputs are equal, bit by bit or nearly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def tensors_of(output: Any) -> list[Tensor]:
    """The tensors of an output, in order."""
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def bit_equal(first: Any, second: Any) -> bool:
    """Whether all tensors of two outputs have the same shapes, types and bits; NaN equals NaN, -0.0 is not 0.0."""
    pairs = list(zip(tensors_of(first), tensors_of(second), strict=False))
    same_number = len(tensors_of(first)) == len(tensors_of(second))
    return same_number and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.equal(_bits(a), _bits(b)) for a, b in pairs
    )


def largest_error(first: Any, second: Any) -> float:
    """Largest difference of two outputs, relative to the largest number of its tensor; infinite where shapes differ."""
    worst = 0.0
    for a, b in zip(tensors_of(first), tensors_of(second), strict=False):
        if a.shape != b.shape or not (a.isfinite() == b.isfinite()).all():
            return float("inf")
        if a.numel() and a.is_floating_point():
            scale = float(a.nan_to_num().abs().max())
            worst = max(worst, float((a - b).nan_to_num().abs().max()) / (scale or 1.0))
    return worst if len(tensors_of(first)) == len(tensors_of(second)) else float("inf")


def _bits(tensor: Tensor) -> Tensor:
    """Bytes of a tensor."""
    plain = tensor.detach().contiguous()
    return plain.view(-1).view(torch.uint8) if plain.numel() and plain.dtype != torch.bool else plain
