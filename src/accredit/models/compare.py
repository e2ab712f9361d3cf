"""Whether two outputs are equal, bit by bit or nearly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accredit.models.contents import strided_parts, tensors_of


def bit_equal(first: Any, second: Any) -> bool:
    """Whether all tensors of two outputs have the same shapes, types and bits; NaN equals NaN, -0.0 is not 0.0."""
    ours, theirs = tensors_of(first), tensors_of(second)
    return len(ours) == len(theirs) and all(map(_same_bits, ours, theirs))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same but for where they are in memory."""
    if a.layout != b.layout or a.dtype != b.dtype or a.is_nested != b.is_nested:
        return False
    if a.layout == torch.strided and not a.is_nested:
        return a.shape == b.shape and torch.equal(_bits(a), _bits(b))
    ours, theirs = strided_parts(a), strided_parts(b)
    return len(ours) == len(theirs) and all(map(_same_bits, ours, theirs))


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
