"""Updating by a large batch and normalizing it, in one go: what both need is made once.

Sums are about 0, as in `accredit.normalize.host_large`, and under the same condition on the means. With s the share of
the batch in the new weight, S1 = s E[x] and S2 = s E[x^2], Chan's merge is

    mean <- (1 - s) mean + S1,   var <- (1 - s) (var + mean^2) + S2 - (new mean)^2

in float64. Where a row is so wide that passes over one number per feature are what time goes to, what is added to the
float64 state is found in float32 instead (to about 1e-7 standard deviations, and 1e-6 of the variance):

    e = S1 - s mean,   q = S2 - mean S1 - e (mean + e),   mean <- mean + e,   var <- var + [q - s var]

There a look at q, one number per feature, may also spare the pass that bounds all scores: with m and v of the batch and
d = m - mean before, q is s (v + (1 - s) d^2), and the squared distances of the B rows from the new mean add up to
B (v + (1 - s)^2 d^2), which is no more than q B / s. So no squared score is above q B / (s var).

Axes: B rows of a batch, D features, T tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from scipy.linalg.blas import isamax
from torch import Tensor

from accredit.normalize.host import Exact
from accredit.normalize.host_large import (
    SMALLEST_EPSILON,
    Single,
    blocks,
    filled,
    fold,
    nearest_square,
    scratch,
    sums_about_zero,
    tiles_of,
)

LARGEST_SHARE = 0.5
"""Share of a batch in the new weight up to which what was near 0 stays so: a mean of up to a standard deviations is one
of up to a sqrt(2) afterwards, whatever the batch holds."""

_WIDE = 8192
"""Features from which on float32 passes are worth their own merge."""

_LOOKED_AT = 64
"""About how many features are looked at to tell whether means are near 0."""

_IN_BOUNDS = 0.99
"""Share of the squared bound up to which no rounding takes a score beyond it."""

_NOTHING = torch.zeros(())

Merged: TypeAlias = tuple[Single, Single | None, Callable[[], None]]
"""Mean and variance [2, D] that come out, in float32, q [D] of a wide row, and how to keep them."""


@np.errstate(over="ignore", invalid="ignore")
def update_and_standardize(state: Exact, rows: Tensor, *, share: float, epsilon: float, clip: float) -> Tensor | None:
    """Merge float32 rows into `state` [2, D] and return their standard scores [B, D], bounded by `clip`.

    None, and nothing done, where sums about 0 would lose digits or float32 cannot hold the numbers.
    """
    if share > LARGEST_SHARE or epsilon < SMALLEST_EPSILON or not rows.is_contiguous():
        return None
    n_rows, width = rows.shape
    tiles = tiles_of(n_rows, width)
    is_wide = width >= _WIDE
    nearest = nearest_square(n_rows, tiles)
    mean, var = state[:, :: width // _LOOKED_AT] if is_wide else state
    square = mean * mean
    if np.count_nonzero(square > var * nearest):
        return None
    long = rows.numpy().reshape(-1, tiles * width)
    # a weight that float32 holds, so that it is the same in the sums and in the merge
    weight = float(np.float32(share / n_rows))
    sums = fold(blocks(long, partial(sums_about_zero, weight=weight)), tiles)
    singles, second, keep = (
        _merged_wide(state, sums, share=weight * n_rows)
        if is_wide
        else _merged(state, sums, square=square, share=weight * n_rows)
    )
    offset, scale = singles
    # a NaN or an infinity, in the batch or in the state, shows in this sum
    if not scale.dot(scale) < np.inf:
        return None
    is_bounded = False
    if second is None:
        _turn(offset, scale, epsilon=epsilon)
    else:
        torch.from_numpy(scale).clamp_min_(epsilon)
        # squares of a feature add up to about the number of rows: of more rows they say nothing
        is_bounded = 2 * n_rows < clip**2 and _largest_ratio(second, scale) < _IN_BOUNDS * weight * clip**2
        _turn_wide(offset, scale)
        # of a wide state only some features were looked at before
        if offset[isamax(offset)] ** 2 > 2.0 * nearest:
            return None
    keep()
    added, factor = scratch.side_by_side(singles, tiles) if tiles > 1 else map(torch.from_numpy, singles)
    score = torch.addcmul(added, torch.from_numpy(long), factor)
    if not is_bounded:
        score.clamp_(-clip, clip)
    return score.view(n_rows, width) if tiles > 1 else score


def _merged(state: Exact, sums: Single, *, square: Exact, share: float) -> Merged:
    """Merge sums [2, D] in float64; `square` is that of the mean, and overwritten."""
    new = state * (1.0 - share)
    new += sums
    mean, var = new
    square *= 1.0 - share
    var += square
    np.multiply(mean, mean, out=square)
    var -= square
    return new.astype(np.float32), None, partial(np.copyto, state, new)


def _merged_wide(state: Exact, sums: Single, *, share: float) -> Merged:
    """Merge sums [2, D] in float32; what is added to the state is found first, so that few passes touch float64."""
    singles: Single = state.astype(np.float32)
    added: Single = np.empty_like(singles)
    mean, var, first, second, moved, widened = map(torch.from_numpy, (*singles, *sums, *added))
    torch.add(first, mean, alpha=-share, out=moved)
    second.addcmul_(mean, first, value=-1)
    second.addcmul_(mean.add_(moved), moved, value=-1)
    torch.add(second, var, alpha=-share, out=widened)
    var.add_(widened)
    return singles, sums[1], partial(np.add, state, added, out=state)


def _largest_ratio(numbers: Single, divisors: Single) -> float:
    """Return the largest of numbers [D] over positive divisors [D], by size."""
    ratios = numbers / divisors
    return abs(float(ratios[isamax(ratios)]))


def _turn(mean: Single, var: Single, *, epsilon: float) -> None:
    """Write to `var` by what numbers are multiplied for their scores, and to `mean` what is added then."""
    np.maximum(var, filled(len(var), epsilon), out=var)
    np.sqrt(var, out=var)
    np.reciprocal(var, out=var)
    mean *= var
    np.negative(mean, out=mean)


def _turn_wide(mean: Single, var: Single) -> None:
    """The same in fewer passes, of a variance that is not below epsilon."""
    offset, scale = torch.from_numpy(mean), torch.from_numpy(var)
    scale.rsqrt_()
    torch.addcmul(_NOTHING, offset, scale, value=-1, out=offset)
