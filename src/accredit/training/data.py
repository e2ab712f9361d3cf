"""Data in three splits; which one reads what is fixed here and nowhere else.

train: hosts and grafts learn from it.  reward: evaluation during training, rewards, contributions, design choices.
test: read by the final evaluation alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Inputs [B, ...] of any type with labels [B], or [B, L] where an example is a sequence of L."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The three splits, without an example in common."""

    train: Examples
    reward: Examples
    test: Examples


SPLIT_SEED = (
    20240229  # the split belongs to the task, so that every run and every seed is measured on the same test set
)


def digits() -> Splits:
    """Return scikit-learn's 1,797 embedded digits: 900 train, 400 reward, 497 test.

    The 8 x 8 pixels are scaled to [0, 1] and centred by their means over the train split.
    """
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    inputs = torch.from_numpy((pixels[order] / 16.0).astype(np.float32))
    inputs -= inputs[:900].mean(0)
    targets = torch.from_numpy(labels[order].astype(np.int64))
    ends = (0, 900, 1300, len(labels))
    train, reward, test = (
        Examples(inputs=inputs[start:stop].clone(), labels=targets[start:stop].clone())
        for start, stop in itertools.pairwise(ends)
    )
    return Splits(train=train, reward=reward, test=test)


def digits_as_images() -> Splits:
    """Return `digits` in the same splits as images [B, 1, 8, 8]."""
    flat = digits()
    parts = {field.name: getattr(flat, field.name) for field in fields(flat)}
    return Splits(
        **{name: Examples(inputs=part.inputs.view(-1, 1, 8, 8), labels=part.labels) for name, part in parts.items()}
    )
