"""Updating and normalizing by large batches on the CPU outside compiled regions: float32 passes, float64 state.

The merge is that of `accredit.normalize.host`; here passes over memory are what time goes to, and fresh pages cost more
than the arithmetic on them. So distances go to one scratch array per thread; where no mean is beyond a few standard
deviations, the numbers themselves are the distances (from 0), and where means are near 0 by a wider measure the
normalizing step is one product and one sum. Narrow rows are laid side by side, T to a long row, because vectorised
loops pay per row. Sums are BLAS products with ones, good to about 1e-7.

Axes: B rows of a batch, D features, T tiles.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.normalize.host import Exact

Single: TypeAlias = NDArray[np.float32]
Rows = TypeVar("Rows", Single, Tensor)

BLOCK = 1 << 18
"""Numbers that are worked on at a time: a megabyte of scratch per thread, about what the cache of a core holds."""

_TALLEST = 1024
"""Rows that float32 sums reach over: BLAS adds one to the next, and what it rounds off grows with their number."""

_LONG = 1024
"""Numbers from which on a row is long enough for vectorised loops."""

_NEAR_ZERO = 16.0
"""Means of up to this many standard deviations cost x * scale - mean * scale less than 1e-6."""

_NEAREST, _NEAR_ROWS = 32.0, 512
"""Squares of means of up to min(32, 512 / rows) variances: sums about 0 then lose about 1e-6 of the variance."""

SMALLEST_EPSILON = 1e-30
"""Floors on the variance below this one leave float32."""


class _Scratch(threading.local):
    """Memory that a thread uses again."""

    def __init__(self) -> None:
        self.numbers: Single = np.empty(0, np.float32)
        self.taken: dict[tuple[int, int], Single] = {}
        self.spread: dict[tuple[int, int], tuple[Single, Tensor, Tensor]] = {}

    def take(self, n_rows: int, width: int) -> Single:
        """Numbers [B, D], whatever they are."""
        found = self.taken.get((n_rows, width))
        if found is None:
            size = n_rows * width
            if size > len(self.numbers):
                self.numbers = np.empty(size, np.float32)
                self.taken.clear()
            found = _remember(self.taken, (n_rows, width), self.numbers[:size].reshape(n_rows, width))
        return found

    def side_by_side(self, singles: Single, tiles: int) -> tuple[Tensor, Tensor]:
        """Both rows of [2, D], each T times one after the other; good until the next call."""
        key = tiles, singles.shape[1]
        found = self.spread.get(key)
        if found is None:
            numbers: Single = np.empty((2, *key), np.float32)
            both = torch.from_numpy(numbers).reshape(2, -1)
            found = _remember(self.spread, key, (numbers, both[0], both[1]))
        numbers, first, second = found
        numbers[...] = singles[:, None]
        return first, second


Kept = TypeVar("Kept")


def _remember(kept: dict[tuple[int, int], Kept], key: tuple[int, int], value: Kept) -> Kept:
    """Keep a value for its shape; few shapes come again and again, and others need no memory."""
    if len(kept) >= 16:
        kept.clear()
    kept[key] = value
    return value


scratch = _Scratch()


@lru_cache(maxsize=256)
def filled(size: int, value: float) -> Single:
    """One value many times; made once, not to be written to."""
    return np.full(size, value, np.float32)


@lru_cache(maxsize=256)
def tiles_of(n_rows: int, width: int) -> int:
    """How many rows to lay side by side: a power of two that divides their number."""
    tiles = n_rows & -n_rows
    while tiles > 1 and tiles * width > _LONG:
        tiles //= 2
    return tiles


def nearest_square(n_rows: int, tiles: int) -> float:
    """Square of the mean, in variances, up to which sums about 0 are good enough."""
    return min(_NEAREST, _NEAR_ROWS * tiles / n_rows)


def _repeated(values: Single, tiles: int) -> Tensor:
    """Features [D], T times one after the other."""
    if tiles > 1:
        repeated: Single = np.empty((tiles, len(values)), np.float32)
        repeated[...] = values
        values = repeated.reshape(-1)
    return torch.from_numpy(values)


def _beyond(near: Single, exact: Exact) -> Single:
    """By how much numbers were rounded up on their way to float32."""
    difference = near.astype(np.float64)
    difference -= exact
    return difference.astype(np.float32)


def _weighted_sums(numbers: Single, squares: Single, weight: float) -> Single:
    """Weighted sums [2, D] of numbers [B, D] and of their squares, which `squares` is memory for."""
    sums: Single = np.empty((2, numbers.shape[1]), np.float32)
    weights: Single = np.full(len(numbers), weight, np.float32)
    weights.dot(numbers, out=sums[0])
    np.multiply(numbers, numbers, out=squares)
    weights.dot(squares, out=sums[1])
    return sums


def sums_about_zero(rows: Single, weight: float) -> Single:
    """Weighted sums [2, D] of rows [B, D] and of their squares."""
    return _weighted_sums(rows, scratch.take(*rows.shape), weight)


def _sums_about(shift: Tensor, rows: Tensor, weight: float) -> Single:
    """Weighted sums [2, D] of the distances of rows [B, D] from the shift [D], and of their squares."""
    distance = scratch.take(*rows.shape)
    torch.sub(rows, shift, out=torch.from_numpy(distance))
    return _weighted_sums(distance, distance, weight)


def blocks(rows: Rows, sums: Callable[[Rows], Single]) -> Single:
    """Add what `sums` finds in blocks of rows [B, D]."""
    n_rows, width = rows.shape
    n_in_block = min(max(1, BLOCK // width), _TALLEST)
    if n_rows <= n_in_block:
        return sums(rows)
    total: Single = np.add.reduce([sums(rows[start : start + n_in_block]) for start in range(0, n_rows, n_in_block)])
    return total


def fold(sums: Single, tiles: int) -> Single:
    """Sums [2, D] from those of T tiles [2, T D]."""
    if tiles == 1:
        return sums
    folded: Single = filled(tiles, 1.0) @ sums.reshape(2, tiles, -1)
    return folded


@np.errstate(over="ignore", invalid="ignore")
def update_large(state: Exact, rows: Tensor, *, share: float) -> bool:
    """Merge a large batch into `state` [2, D]; False, and nothing done, where float32 cannot hold the squares."""
    n_rows, width = rows.shape
    tiles = tiles_of(n_rows, width)
    # a weight that float32 holds, so that it is the same in the sums and in the merge
    weight = float(np.float32(share / n_rows))
    share = weight * n_rows
    mean, var = state
    if rows.dtype == torch.float32 and rows.is_contiguous():
        # a NaN in the state takes the other way
        square = mean * mean
        if (square <= var * nearest_square(n_rows, tiles)).all():
            long = rows.numpy().reshape(-1, tiles * width)
            sums = blocks(long, partial(sums_about_zero, weight=weight))
            return _merge_about_zero(state, fold(sums, tiles), square=square, share=share)
    near = mean.astype(np.float32)
    distances = partial(_sums_about, _repeated(near, tiles), weight=weight)
    sums = blocks(rows.reshape(-1, tiles * width), distances)
    return _merge_about(near, state, fold(sums, tiles), share=share)


def _merge_about_zero(state: Exact, sums: Single, *, square: Exact, share: float) -> bool:
    """Merge sums [2, D] of numbers and of their squares; `square` is that of the mean, and overwritten."""
    second = sums[1]
    if not second.dot(second) < np.inf:
        return False
    mean, var = state
    var += square
    state *= 1.0 - share
    state += sums
    var -= np.multiply(mean, mean, out=square)
    return True


def _merge_about(near: Single, state: Exact, sums: Single, *, share: float) -> bool:
    """Merge sums [2, D] of distances from `near` [D], the rounded mean, and of their squares."""
    first, second = sums
    if not second.dot(second) < np.inf:
        return False
    mean, var = state
    # the sums are about the rounded mean: move them to the mean
    beyond = _beyond(near, mean)
    moved = beyond * np.float32(share)
    moved += first
    first += moved
    first *= beyond
    second += first
    np.multiply(moved, moved, out=first)
    second -= first
    mean += moved
    var *= 1.0 - share
    var += second
    return True


@np.errstate(over="ignore", invalid="ignore")
def standardize_large(rows: Tensor, state: Exact, *, epsilon: float, clip: float) -> Tensor:
    """`accredit.normalize.host.standardize_small` for many rows: float64 stays float64, all else becomes float32."""
    near, scale = state.astype(np.float32)
    # means and variances that only float64 holds overflow these products
    fits = near.dot(near) + scale.dot(scale) < np.inf and epsilon >= SMALLEST_EPSILON
    if rows.dtype == torch.float64 or not fits:
        return _standardize_exactly(rows, state, epsilon=epsilon, clip=clip)
    n_rows, width = rows.shape
    np.maximum(scale, filled(width, epsilon), out=scale)
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)
    tiles = tiles_of(n_rows, width)
    long = rows.reshape(-1, tiles * width) if tiles > 1 else rows
    offset = near * scale
    if rows.dtype == torch.float32 and (offset.dot(offset) <= _NEAR_ZERO**2 or np.abs(offset).max() <= _NEAR_ZERO):
        np.negative(offset, out=offset)
        score = torch.addcmul(_repeated(offset, tiles), long, _repeated(scale, tiles))
    else:
        np.multiply(_beyond(near, state[0]), scale, out=offset)
        score = long - _repeated(near, tiles)
        torch.addcmul(_repeated(offset, tiles), score, _repeated(scale, tiles), out=score)
    flat = score.numpy().reshape(-1)
    # looking for the largest writes nothing, and few batches have anything to bound; a NaN is no number in bounds
    if not (np.maximum.reduce(flat) <= clip and np.minimum.reduce(flat) >= -clip):
        score.nan_to_num_(nan=0.0, posinf=clip, neginf=-clip).clamp_(-clip, clip)
    return score.view(n_rows, width) if tiles > 1 else score


def _standardize_exactly(rows: Tensor, state: Exact, *, epsilon: float, clip: float) -> Tensor:
    mean, var = torch.from_numpy(state)
    score = rows.double().sub(mean).div_(var.clamp(min=epsilon).sqrt_()).clamp_(-clip, clip)
    return score.nan_to_num_(nan=0.0, posinf=clip, neginf=-clip)
