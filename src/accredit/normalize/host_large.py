"""Updating and normalizing by large batches on the CPU outside compiled regions: float32 passes, float64 state.

The merge is that of `accredit.normalize.host`; here passes over memory are what time goes to, and fresh pages cost more
than the arithmetic on them. So distances go to one scratch array per thread, and where the mean is near 0 the
normalizing step is one product and one sum. Narrow rows are laid side by side, T to a long row, because vectorised
loops pay per row. Sums are BLAS products with ones, good to about 1e-7.

Axes: B rows of a batch, D features, T tiles.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.normalize.host import Exact

Single: TypeAlias = NDArray[np.float32]

BLOCK = 1 << 18
"""Numbers that are worked on at a time: a megabyte of scratch per thread, about what the cache of a core holds."""

_LONG = 1024
"""Numbers from which on a row is long enough for vectorised loops."""

_NEAR_ZERO = 16.0
"""Means of up to this many standard deviations cost x * scale - mean * scale less than 1e-6."""

_SMALLEST_EPSILON = 1e-30
"""Floors on the variance below this one leave float32."""


class _Scratch(threading.local):
    """Memory that a thread uses again."""

    def __init__(self) -> None:
        self.numbers: Single = np.empty(0, np.float32)

    def take(self, n_rows: int, width: int) -> Single:
        size = n_rows * width
        if size > len(self.numbers):
            self.numbers = np.empty(size, np.float32)
        return self.numbers[:size].reshape(n_rows, width)


_scratch = _Scratch()


@lru_cache(maxsize=256)
def _filled(size: int, value: float) -> Single:
    return np.full(size, value, np.float32)


@lru_cache(maxsize=256)
def _tiles(n_rows: int, width: int) -> int:
    """How many rows to lay side by side: a power of two that divides their number."""
    tiles = n_rows & -n_rows
    while tiles > 1 and tiles * width > _LONG:
        tiles //= 2
    return tiles


def _tiled(values: Single, tiles: int) -> Tensor:
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


def _block_sums(rows: Tensor, shift: Tensor) -> Single:
    """Sums [2, T D] of the distances of rows [B/T, T D] from the shift, and of their squares."""
    n_rows, width = rows.shape
    distance = _scratch.take(n_rows, width)
    work = torch.from_numpy(distance)
    torch.sub(rows, shift, out=work)
    ones = _filled(n_rows, 1.0)
    sums: Single = np.empty((2, width), np.float32)
    ones.dot(distance, out=sums[0])
    work.square_()
    ones.dot(distance, out=sums[1])
    return sums


def _sums(rows: Tensor, near: Single) -> Single:
    """Sums [2, D] of the distances of rows [B, D] from `near` [D], and of their squares."""
    n_rows, width = rows.shape
    tiles = _tiles(n_rows, width)
    shift = _tiled(near, tiles)
    long = rows.reshape(-1, tiles * width) if tiles > 1 else rows
    if rows.numel() <= BLOCK:
        sums = _block_sums(long, shift)
    else:
        blocks = [_block_sums(block, shift) for block in torch.split(long, max(1, BLOCK // (tiles * width)))]
        sums = np.add.reduce(blocks)
    if tiles > 1:
        ones = _filled(tiles, 1.0)
        sums = np.array([ones.dot(row) for row in sums.reshape(2, tiles, width)])
    return sums


@np.errstate(over="ignore", invalid="ignore")
def update_large(state: Exact, rows: Tensor, *, share: float) -> bool:
    """Merge a large batch into `state` [2, D]; False, and nothing done, where float32 cannot hold the squares."""
    mean, var = state
    n_rows = rows.shape[0]
    near = mean.astype(np.float32)
    sums = _sums(rows, near)
    first, second = sums
    if not second.dot(second) < np.inf:
        return False
    sums *= share / n_rows
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
    fits = near.dot(near) + scale.dot(scale) < np.inf and epsilon >= _SMALLEST_EPSILON
    if rows.dtype == torch.float64 or not fits:
        return _standardize_exactly(rows, state, epsilon=epsilon, clip=clip)
    n_rows, width = rows.shape
    np.maximum(scale, _filled(width, epsilon), out=scale)
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)
    tiles = _tiles(n_rows, width)
    long = rows.reshape(-1, tiles * width) if tiles > 1 else rows
    offset = near * scale
    if rows.dtype == torch.float32 and (offset.dot(offset) <= _NEAR_ZERO**2 or np.abs(offset).max() <= _NEAR_ZERO):
        np.negative(offset, out=offset)
        score = torch.addcmul(_tiled(offset, tiles), long, _tiled(scale, tiles))
    else:
        np.multiply(_beyond(near, state[0]), scale, out=offset)
        score = long - _tiled(near, tiles)
        torch.addcmul(_tiled(offset, tiles), score, _tiled(scale, tiles), out=score)
    score.clamp_(-clip, clip)
    sums = _filled(len(score), 1.0).dot(score.numpy())
    # bounded numbers cannot overflow a sum, so only a NaN shows in it
    if not sums.dot(sums) < np.inf:
        score.nan_to_num_(nan=0.0, posinf=clip, neginf=-clip)
    return score.view(n_rows, width) if tiles > 1 else score


def _standardize_exactly(rows: Tensor, state: Exact, *, epsilon: float, clip: float) -> Tensor:
    mean, var = torch.from_numpy(state)
    score = rows.double().sub(mean).div_(var.clamp(min=epsilon).sqrt_()).clamp_(-clip, clip)
    return score.nan_to_num_(nan=0.0, posinf=clip, neginf=-clip)
