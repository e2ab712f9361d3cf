"""Updating and normalizing on the CPU outside compiled regions, where dispatch and memory passes are what time goes to.

Rows are compared with the running mean before anything is summed, because distances from a nearby number are small
where the numbers themselves are not: that one rule keeps the digits that E[x^2] - E[x]^2 loses. With e = s E[d] and
q = s E[d^2] of the distances d, where s is the share of the batch in the new weight,

    mean <- mean + e,   var <- (1 - s) var + q - e^2

is Chan's merge. The subtraction is harmless while s is not close to 1; at `LARGEST_SHARE` it costs two digits, and a
larger share (a first batch, a short horizon) takes the two passes of `exact_moments`.

Small batches are worked on as NumPy views of the buffers in float64: a few thousand numbers cost less than the dispatch
of two torch operations. Large ones take distances and sums in float32 (torch sums in cascades), so that mean and
variance of a batch are good to about 1e-7 of the standard deviation and of the variance; the merge is float64.

Axes: B rows of a batch, D features.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.moments import Moments

Numbers: TypeAlias = NDArray[np.floating[Any]]
Exact: TypeAlias = NDArray[np.float64]

SMALL = 4096
"""Batches of up to this many numbers take the NumPy path; above it vectorised torch operations win."""

LARGEST_SHARE = 0.99
"""Share of a batch in the new weight up to which sums about the old mean are merged."""

LARGEST = 1e150
"""Numbers beyond this count as not finite: the square of a larger one overflows float64."""

_FEW = 1024
"""Rows up to which float32 sums are taken in one BLAS call."""

_SAFE_SQUARE = 1e70
"""Sums of squares below this hold neither NaN nor anything that overflows float32."""

NUMPY_DTYPES = frozenset(
    (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
)
"""What both libraries know."""


@lru_cache(maxsize=256)
def _ones(n_rows: int) -> Exact:
    return np.ones(n_rows)


@lru_cache(maxsize=256)
def _single_ones(n_rows: int) -> NDArray[np.float32]:
    return np.ones(n_rows, np.float32)


def _column_sums(rows: Tensor) -> NDArray[np.float32]:
    """Sums [D] of float32 rows [B, D].

    BLAS adds row by row, which is fastest and good to some 1e-7 for few rows; for many rows torch sums in cascades.
    """
    n_rows = len(rows)
    sums: NDArray[np.float32] = _single_ones(n_rows).dot(rows.numpy()) if n_rows <= _FEW else rows.sum(0).numpy()
    return sums


def absorb(state: Exact, *, rest: float, first: Numbers, second: Numbers) -> None:
    """Write the merge into `state` [2, D]: `first` is e, `second` is q, `rest` is 1 - s; overwrites `first`."""
    mean, var = state[0], state[1]
    mean += first
    var *= rest
    var += second
    first *= first
    var -= first


def _beyond(near: NDArray[np.float32], exact: Exact) -> NDArray[np.float32]:
    """By how much numbers were rounded up on their way to float32."""
    difference = near.astype(np.float64)
    difference -= exact
    return difference.astype(np.float32)


def update_column(state: Exact, values: Exact, *, share: float) -> bool:
    """Merge float64 numbers [B] into `state` [2, 1]; False, and nothing done, where one is not finite."""
    distance = values - state[0, 0]
    with np.errstate(over="ignore"):
        second = float(distance.dot(distance))
    if not second < LARGEST**2:
        return False
    first = share * float(distance.sum()) / len(values)
    state[0, 0] += first
    state[1, 0] = (1.0 - share) * state[1, 0] + share * second / len(values) - first * first
    return True


def update_small(state: Exact, rows: Numbers, *, share: float) -> bool:
    """Merge a small batch into `state` [2, D]; False, and nothing done, where a number is not finite."""
    if rows.dtype == np.float64:
        # only there a square can overflow; the warning control costs as much as the arithmetic
        with np.errstate(over="ignore"):
            return _update_small(state, rows, share=share)
    return _update_small(state, rows, share=share)


def _update_small(state: Exact, rows: Numbers, *, share: float) -> bool:
    distance: Exact = rows - state[0]
    flat = distance.reshape(-1)
    # one BLAS call finds NaN, infinities and squares that overflow
    if not flat.dot(flat) < LARGEST**2:
        return False
    weights = _ones(len(rows)) * (share / len(rows))
    first = weights.dot(distance)
    distance *= distance
    absorb(state, rest=1.0 - share, first=first, second=weights.dot(distance))
    return True


@np.errstate(over="ignore", invalid="ignore")
def update_large(state: Exact, rows: Tensor, *, share: float) -> bool:
    """Merge a large batch into `state` [2, D]; False, and nothing done, where float32 cannot hold the squares."""
    near = state[0].astype(np.float32)
    shift = torch.from_numpy(near)
    distance = rows - shift if rows.dtype == torch.float32 else rows.float().sub_(shift)
    first = _column_sums(distance)
    second = _column_sums(distance.square_())
    if not second.dot(second) < np.inf:
        return False
    first *= share / len(rows)
    second *= share / len(rows)
    # the sums are about the rounded mean: move them to the mean
    beyond = _beyond(near, state[0])
    moved = first + np.float32(share) * beyond
    first += moved
    first *= beyond
    second += first
    absorb(state, rest=1.0 - share, first=moved, second=second)
    return True


def exact_moments(rows: Tensor, shift: Tensor, *, limit: float) -> Moments[Tensor] | None:
    """Moments of a batch in float64 and two passes, or None where a variance is not below the limit."""
    distance = rows.double() - shift
    offset = distance.mean(0)
    var = distance.sub_(offset).square_().mean(0)
    if not var.sum() < limit:
        return None
    return Moments(float(len(rows)), float(len(rows)), shift + offset, var)


def finite_rows(rows: Tensor) -> Tensor:
    """Which rows [B] hold only numbers whose square float64 can hold."""
    return (rows.double().abs() < LARGEST).all(-1)


def standardize_small(
    rows: Numbers, state: Exact, *, epsilon: float, clip: float, dtype: type[np.floating[Any]]
) -> Tensor:
    """Standard scores [..., D], bounded by `clip`, NaN as 0; see `accredit.normalize.batch.standardize`."""
    if rows.dtype == np.float64:
        with np.errstate(over="ignore"):
            return _standardize_small(rows, state, epsilon=epsilon, clip=clip, dtype=dtype)
    return _standardize_small(rows, state, epsilon=epsilon, clip=clip, dtype=dtype)


def _standardize_small(
    rows: Numbers, state: Exact, *, epsilon: float, clip: float, dtype: type[np.floating[Any]]
) -> Tensor:
    score: Exact = rows - state[0]
    scale = np.maximum(state[1], epsilon)
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)
    score *= scale
    flat = score.reshape(-1)
    largest_square = flat.dot(flat)
    if not largest_square < _SAFE_SQUARE:
        torch.from_numpy(score).clamp_(-clip, clip).nan_to_num_(nan=0.0, posinf=clip, neginf=-clip)
    bounded = torch.from_numpy(score.astype(dtype))
    # no number is larger than the root of the sum of all squares
    return bounded if largest_square <= clip * clip else bounded.clamp_(-clip, clip)


@np.errstate(over="ignore")
def standardize_large(rows: Tensor, state: Exact, *, epsilon: float, clip: float) -> Tensor:
    """`standardize_small` for many rows: float64 stays float64, all else is worked on in float32."""
    near = state[0].astype(np.float32)
    scale = torch.from_numpy(state[1]).float().clamp_(min=epsilon).rsqrt_()
    factors = scale.numpy()
    # means and variances that only float64 holds show as infinities and zeros
    if rows.dtype == torch.float64 or not near.dot(near) + factors.dot(factors) < np.inf or not factors.all():
        exact = torch.from_numpy(state[1]).clamp(min=epsilon).sqrt_()
        score = rows.double().sub(torch.from_numpy(state[0])).div_(exact).clamp_(-clip, clip)
        return score.nan_to_num_(nan=0.0, posinf=clip, neginf=-clip)
    shift = torch.from_numpy(near)
    score = rows - shift if rows.dtype == torch.float32 else rows.float().sub_(shift)
    beyond = _beyond(near, state[0])
    beyond *= factors
    torch.addcmul(torch.from_numpy(beyond), score, scale, out=score).clamp_(-clip, clip)
    sums = _column_sums(score)
    # bounded numbers cannot overflow a sum, so only a NaN shows in it
    return score if sums.dot(sums) < np.inf else score.nan_to_num_(nan=0.0, posinf=clip, neginf=-clip)
