"""Moments of one batch and the normalizing step without a look at the numbers.

For accelerators, compiled regions, and where gradients are wanted: a look at the numbers would be a host
synchronisation or a graph break. Moments are float64 and in two passes; rows that are not to count get weight 0. What
runs on the CPU otherwise is in `accredit.normalize.host`.

Axes: B rows of a batch, D features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from accredit.moments import Moments
from accredit.normalize.host import LARGEST


class Batch(NamedTuple):
    """Moments of the rows of a batch that count, and how many do not."""

    moments: Moments[Tensor]
    """Over the rows that are finite and not masked; weight is a tensor of no axes."""
    dropped: Tensor
    """int64, rows with a NaN or an infinity that the mask would have let pass."""
    masked: Tensor
    """int64, rows that the mask leaves out."""


def masked_moments(rows: Tensor, mask: Tensor | None) -> Batch:
    """Moments of the rows that are finite and not masked, without a host synchronisation or a data-dependent shape."""
    exact = rows.double()
    finite = (exact.abs() < LARGEST).all(-1)
    keep = finite if mask is None else finite & mask
    count = keep.sum()
    weight = count.double()
    divisor = weight.clamp(min=1.0)
    column = keep.unsqueeze(-1)
    mean = torch.where(column, exact, 0.0).sum(0) / divisor
    distance = torch.where(column, exact - mean, 0.0)
    # the mean of the distances is the rounding error of the mean
    offset = distance.sum(0) / divisor
    var = (distance.square().sum(0) / divisor - offset * offset).clamp(min=0.0)
    allowed = torch.full_like(count, rows.shape[0]) if mask is None else mask.sum()
    return Batch(Moments(weight, weight, mean + offset, var), allowed - count, rows.shape[0] - allowed)


def standardize(x: Tensor, mean: Tensor, *, var: Tensor, epsilon: float, clip: float) -> Tensor:
    """Standard scores of `x` [..., *shape], bounded by `clip`, with a gradient to `x` only.

    y = clip((x - mean) / sqrt(max(var, epsilon))), NaN becomes 0

    `mean` and `var` are float64 in the shape of the features. The difference is taken against the mean rounded to the
    dtype of the work, and what the rounding left out is added at the end, so that a mean of 1e6 costs no digits.
    """
    with torch.no_grad():
        scale = var.clamp(min=epsilon).rsqrt()
        work = torch.float64 if x.dtype == torch.float64 else torch.float32
        near = mean.to(work)
        remainder = ((near - mean) * scale).to(work)
        scale = scale.to(work)
    score = torch.addcmul(remainder, x.to(work) - near, scale).clamp(-clip, clip)
    score = torch.where(score.isnan(), 0.0, score)
    return score.to(x.dtype if x.is_floating_point() else torch.get_default_dtype())
