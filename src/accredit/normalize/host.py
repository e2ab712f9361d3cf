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
from scipy.linalg.blas import idamax
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


@lru_cache(maxsize=256)
def _floor(width: int, epsilon: float) -> Exact:
    return np.full(width, epsilon)


def absorb(state: Exact, *, rest: float, first: Numbers, second: Numbers) -> None:
    """Write the merge into `state` [2, D]: `first` is e, `second` is q, `rest` is 1 - s; overwrites `first`."""
    mean, var = state[0], state[1]
    mean += first
    var *= rest
    var += second
    first *= first
    var -= first


def update_column(state: Exact, values: Exact, *, share: float) -> bool:
    """Merge float64 numbers [B] into `state` [2, 1]; False, and nothing done, where one is not finite.

    The caller lets overflow pass without a warning.
    """
    distance = values - state[0, 0]
    second = float(distance.dot(distance))
    if not second < LARGEST**2:
        return False
    weight = share / len(values)
    first = weight * float(distance.dot(_ones(len(values))))
    state[0, 0] += first
    state[1, 0] = (1.0 - share) * state[1, 0] + weight * second - first * first
    return True


def update_small(state: Exact, rows: Numbers, *, share: float) -> bool:
    """Merge a small batch into `state` [2, D]; False, and nothing done, where a number is not finite."""
    if rows.dtype == np.float64:
        # only there a square can overflow; the warning control costs as much as the arithmetic
        with np.errstate(over="ignore"):
            return _update_small(state, rows, share=share)
    return _update_small(state, rows, share=share)


def _update_small(state: Exact, rows: Numbers, *, share: float) -> bool:
    n_rows, width = rows.shape
    distance = rows.astype(np.float64)
    distance -= state[0]
    weight = share / n_rows
    weights = _ones(n_rows) * weight
    second = weights.dot(distance * distance)
    # finds NaN, infinities and squares that overflow, before they meet in a sum and cancel
    if not second.dot(_ones(width)) < LARGEST**2 * weight:
        return False
    absorb(state, rest=1.0 - share, first=weights.dot(distance), second=second)
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
    score = rows.astype(np.float64)
    score -= state[0]
    scale = np.maximum(state[1], _floor(len(state[1]), epsilon))
    score /= np.sqrt(scale, out=scale)
    flat = score.reshape(-1)
    largest_square = flat.dot(flat)
    if not largest_square < _SAFE_SQUARE:
        torch.from_numpy(score).clamp_(-clip, clip).nan_to_num_(nan=0.0, posinf=clip, neginf=-clip)
    bounded = torch.from_numpy(score if dtype is np.float64 else score.astype(dtype))
    # no number is larger than the root of the sum of all squares
    is_bounded = largest_square <= clip * clip or abs(flat[idamax(flat)]) <= clip
    return bounded if is_bounded else bounded.clamp_(-clip, clip)


@np.errstate(over="ignore", invalid="ignore")
def divide(values: Numbers, divisor: float, *, clip: float) -> Tensor:
    """Quotients of numbers [...], bounded by `clip`, NaN as 0."""
    quotient = values / divisor
    bounded = torch.from_numpy(quotient).clamp_(-clip, clip)
    # bounded numbers cannot overflow a sum, so only a NaN shows in it
    flat = quotient.reshape(-1)
    if not abs(flat.dot(_single_ones(len(flat)) if flat.dtype == np.float32 else _ones(len(flat)))) < np.inf:
        bounded.nan_to_num_(nan=0.0, posinf=clip, neginf=-clip)
    return bounded
