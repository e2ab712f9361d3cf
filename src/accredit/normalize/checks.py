"""What the normalizers accept, and the sentences that say what they do not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from accredit.errors import InvalidArgument

REAL = frozenset(
    (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
    )
)
"""What statistics are taken of."""


def fits(x: Tensor, buffer: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether data has the features, dtype and device that statistics need; quick, because every call asks."""
    return x.shape[x.dim() - len(shape) :] == shape and x.dtype in REAL and x.device == buffer.device


def explain(x: Tensor, device: torch.device, shape: tuple[int, ...], name: str) -> None:
    """Raise what is wrong where `fits` says no."""
    check_numbers(x, name)
    check_features(x, shape, name)
    check_device(x, device, name)


def check_numbers(x: Tensor, name: str) -> None:
    """Refuse data that has no mean on the real line."""
    if x.dtype not in REAL:
        raise InvalidArgument(
            f"`{name}` has dtype {x.dtype}, but statistics need real numbers; convert it, for example with .float()."
        )


def check_device(x: Tensor, device: torch.device, name: str) -> None:
    """Refuse data on another device: moving the statistics silently would break compiled graphs."""
    if x.device != device:
        raise InvalidArgument(
            f"`{name}` is on {x.device}, but the statistics are on {device}; move one of them with .to(device)."
        )


def check_features(x: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Refuse data whose last axes are not the features."""
    if x.shape[x.dim() - len(shape) :] != shape:
        raise InvalidArgument(
            f"`{name}` has shape {tuple(x.shape)}, but the features have shape {shape}; pass (..., *{shape})."
        )


def check_batch(x: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Refuse data that is not a batch of feature vectors."""
    check_features(x, shape, name)
    if x.dim() == len(shape):
        raise InvalidArgument(
            f"`{name}` has shape {tuple(x.shape)}, which is one sample, but an update takes a batch; pass {name}[None]."
        )


def check_mask(mask: Tensor, batch_shape: tuple[int, ...]) -> None:
    """Refuse a mask that does not say yes or no to each row."""
    if mask.dtype != torch.bool or mask.shape != batch_shape:
        raise InvalidArgument(
            f"`mask` has dtype {mask.dtype} and shape {tuple(mask.shape)}, but the batch has shape {batch_shape}; pass "
            "a bool tensor of that shape, True where a row counts."
        )


def check_settings(*, horizon: float | None, clip: float, epsilon: float) -> None:
    """Refuse a horizon, clip or epsilon out of range."""
    if horizon is not None and not (1.0 <= horizon < math.inf):
        raise InvalidArgument(
            f"`horizon` is {horizon}, but it counts samples; pass a finite number of at least 1, or None to forget "
            "nothing."
        )
    if not clip > 0.0:
        raise InvalidArgument(
            f"`clip` is {clip}, but it bounds a magnitude; pass a number above 0, or math.inf for none."
        )
    if not 0.0 < epsilon < math.inf:
        raise InvalidArgument(
            f"`epsilon` is {epsilon}, but it is a floor on the variance; pass a finite number above 0."
        )


def check_gamma(gamma: float) -> None:
    """Refuse a discount out of range."""
    if not 0.0 <= gamma <= 1.0:
        raise InvalidArgument(f"`gamma` is {gamma}, but a discount lies in [0, 1]; pass for example 0.99.")
