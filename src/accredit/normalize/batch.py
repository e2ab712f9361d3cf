"""Moments of one batch, and the normalising step: pure functions over flat rows.

Every function takes `rows` [B, D] and returns the same quantities; they differ in where they are fast. All of them
subtract the running mean before anything is summed, because distances from a nearby number are small where the numbers
themselves are not: that one rule keeps the digits that E[x^2] - E[x]^2 loses.

- `small_moments`: NumPy views. A batch of some thousand numbers costs less than the dispatch of two torch operations.
- `fast_moments`: distances and sums in float32 (torch sums in cascades), merged in float64. Mean and variance are good
  to about 1e-7 of their own size.
- `exact_moments`: float64 throughout, for wide types, and for a first batch, where no running mean is near yet.
- `masked_moments`: float64 without any look at the numbers: for accelerators and compiled regions, where a look is a
  synchronisation or a graph break. Rows that are not to count get weight 0.

Axes: B rows of a batch, D features.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.moments import Moments

Numbers: TypeAlias = NDArray[np.floating[Any]]

LARGEST = 1e150
"""Numbers beyond this count as not finite: the square of a larger one overflows float64."""

SMALL = 4096
"""Batches of up to this many numbers take the NumPy path: above it the vectorised torch operations win."""


class Batch(NamedTuple):
    """Moments of the rows of a batch that count, and how many do not."""

    moments: Moments[Tensor]
    """Over the rows that are finite and not masked; weight is a tensor of no axes."""
    dropped: Tensor
    """int64, rows with a NaN or an infinity that the mask would have let pass."""
    masked: Tensor
    """int64, rows that the mask leaves out."""


def small_moments(rows: Numbers, shift: NDArray[np.float64]) -> Moments[NDArray[np.float64]] | None:
    """Moments of a small batch on the CPU, or None where a number is not finite."""
    n_rows = len(rows)
    if n_rows == 1:
        only = rows[0].astype(np.float64)
        # BLAS tells of a NaN or an infinity in one call, and raises no floating point warning
        finite = np.dot(only, only) < LARGEST**2
        return Moments(1.0, 1.0, only, np.zeros_like(only)) if finite else None
    distance = rows - shift
    flat = distance.reshape(-1)
    if not np.dot(flat, flat) < LARGEST**2:
        return None
    weights = np.full(n_rows, 1.0 / n_rows)
    offset = weights @ distance
    distance -= offset
    np.square(distance, out=distance)
    return Moments(float(n_rows), float(n_rows), shift + offset, weights @ distance)


def fast_moments(rows: Tensor, shift: NDArray[np.float64]) -> Moments[NDArray[np.float64]] | None:
    """Moments of a large batch on the CPU from float32 distances, or None where their squares are not finite."""
    n_rows = rows.shape[0]
    near = torch.from_numpy(shift).float()
    distance = rows - near if rows.dtype == torch.float32 else rows.float().sub_(near)
    offset = distance.sum(0).div_(n_rows)
    square = distance.square_().sum(0).div_(n_rows)
    if not square.sum() < torch.inf:
        return None
    var = square.addcmul_(offset, offset, value=-1.0).clamp_(min=0.0)
    mean = offset.double().add_(near.double())
    return Moments(float(n_rows), float(n_rows), mean.numpy(), var.double().numpy())


def exact_moments(rows: Tensor, shift: NDArray[np.float64]) -> Moments[NDArray[np.float64]] | None:
    """Moments of a large batch on the CPU in float64, or None where a number is not finite."""
    n_rows = rows.shape[0]
    near = torch.from_numpy(shift)
    distance = rows - near if rows.dtype == torch.float64 else rows.double().sub_(near)
    offset = distance.sum(0).div_(n_rows)
    var = distance.sub_(offset).square_().sum(0).div_(n_rows)
    if not var.sum() < LARGEST**2:
        return None
    return Moments(float(n_rows), float(n_rows), offset.add_(near).numpy(), var.numpy())


def finite_rows(rows: Tensor) -> Tensor:
    """Which rows [B] hold only numbers whose square float64 can hold."""
    return (rows.double().abs() < LARGEST).all(-1)


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


def small_standardize(
    x: Numbers, mean: NDArray[np.float64], *, var: NDArray[np.float64], epsilon: float, clip: float
) -> Tensor:
    """`standardize` for a small array on the CPU: [..., D] in, float64 out, no gradient."""
    score = x - mean
    score /= np.sqrt(np.maximum(var, epsilon))
    flat = score.reshape(-1)
    bounded = torch.from_numpy(score).clamp_(-clip, clip)
    return bounded if np.dot(flat, flat) < np.inf else bounded.nan_to_num_(nan=0.0)
