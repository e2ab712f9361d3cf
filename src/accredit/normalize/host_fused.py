"""Updating by a large batch and normalizing it, in one go: what both need is made once.

Sums are about 0, as in `accredit.normalize.host_large`, and under the same condition on the means. With s the share of
the batch in the new weight, S1 = s E[x] and S2 = s E[x^2], Chan's merge is

    mean <- (1 - s) mean + S1,   var <- (1 - s) (var + mean^2) + S2 - (new mean)^2

in float64. Where a row is so wide that passes over one number per feature are what time goes to, what is added to the
float64 state is found in float32 instead (to about 1e-7 standard deviations, and 1e-6 of the variance):

    e = S1 - s mean,   mean <- mean + e,   var <- (1 - s) var + [S2 - mean (S1 + e) - e^2]

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

_NOTHING = torch.zeros(())

Merged: TypeAlias = tuple[Single, Callable[[], None]]
"""Mean and variance [2, D] that come out, in float32, and how to keep them."""


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
    singles, keep = (
        _merged_wide(state, sums, share=weight * n_rows)
        if is_wide
        else _merged(state, sums, square=square, share=weight * n_rows)
    )
    offset, scale = singles
    # a NaN or an infinity, in the batch or in the state, shows in this sum
    if not scale.dot(scale) < np.inf:
        return None
    if is_wide:
        _turn_wide(offset, scale, epsilon=epsilon)
    else:
        _turn(offset, scale, epsilon=epsilon)
    # of a wide state only some features were looked at before
    if is_wide and offset[isamax(offset)] ** 2 > 2.0 * nearest:
        return None
    keep()
    added, factor = scratch.side_by_side(singles, tiles) if tiles > 1 else map(torch.from_numpy, singles)
    score = torch.addcmul(added, torch.from_numpy(long), factor).clamp_(-clip, clip)
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
    return new.astype(np.float32), partial(np.copyto, state, new)


def _merged_wide(state: Exact, sums: Single, *, share: float) -> Merged:
    """Merge sums [2, D] in float32."""
    singles = state.astype(np.float32)
    mean, var, first, second = map(torch.from_numpy, (*singles, *sums))
    moved = torch.add(first, mean, alpha=-share)
    first.add_(moved)
    second.addcmul_(mean, first, value=-1).addcmul_(moved, moved, value=-1)
    mean.add_(moved)
    torch.add(second, var, alpha=1.0 - share, out=var)

    def keep() -> None:
        exact_mean, exact_var = state
        exact_mean += moved.numpy()
        exact = torch.from_numpy(exact_var)
        torch.add(second, exact, alpha=1.0 - share, out=exact)

    return singles, keep


def _turn(mean: Single, var: Single, *, epsilon: float) -> None:
    """Write to `var` by what numbers are multiplied for their scores, and to `mean` what is added then."""
    np.maximum(var, filled(len(var), epsilon), out=var)
    np.sqrt(var, out=var)
    np.reciprocal(var, out=var)
    mean *= var
    np.negative(mean, out=mean)


def _turn_wide(mean: Single, var: Single, *, epsilon: float) -> None:
    """The same in fewer passes."""
    offset, scale = torch.from_numpy(mean), torch.from_numpy(var)
    scale.clamp_min_(epsilon).rsqrt_()
    torch.addcmul(_NOTHING, offset, scale, value=-1, out=offset)
