"""A task whose grafts are planted: what each kind is worth is known before anything is measured.

A label depends on three pieces of evidence of equal weight.  One is visible; two hide in products of features, which
the host, a softmax regression, cannot read at any weights.  (A host with hidden features learns products by itself, and
then nobody knows any more what a graft that reads them is worth.)

    y = 1 with probability sigmoid(2 (e + a + b)),   e ~ N(0, 1),   a, b = +-1
    x = (e,   p1 p1' = a,   p2 p2' = b,   p3 p3' = b,   five features of noise)      (each pair in its signs)

| kind         | what it does                                | what it is worth                                        |
|--------------|---------------------------------------------|---------------------------------------------------------|
| witness      | reads a                                     | most: nobody else knows a                               |
| twin-first   | reads b from the first pair                 | helps, but shares b with its twin: an interaction       |
| twin-second  | reads b from the second pair                | the same                                                |
| mirror       | turns the sign of the noise                 | 0 exactly: noise is symmetric and independent of y, and |
|              |                                             | so (x, y) is distributed as before, whatever follows    |
| turner       | turns the sign of e                         | harms every host that has learned to read e             |

The mirror moves the logits of each example, and yet the expected loss of *any* network behind it stays as it was.  This
holds where it comes first (a graft before it may write where the noise is) and at alpha = 0 or 1 (between them it
weakens the noise).

B examples, D features.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray

from accredit.growth.catalogue import Activation, VectorKind
from accredit.training.data import SPLIT_SEED, Examples, Splits

VISIBLE = 0
PAIRS = ((1, 2), (3, 4), (5, 6))
"""Where a, b and b again hide."""
NOISE = (7, 8, 9, 10, 11)
FEATURES = 12
STRENGTH = 2.0
"""Log-odds of one piece of evidence."""
SIZES = (600, 1000, 1000)
"""Examples of train, reward, test."""


def planted(seed: int = SPLIT_SEED) -> Splits:
    """Return 600 train, 1,000 reward and 1,000 test examples of 12 features and two classes.

    Args:
        seed: of the examples; the default belongs to the task, others are for studies with fresh data.

    Example:
        >>> splits = planted()
        >>> splits.train.inputs.shape, len(splits.reward), len(splits.test)
        (torch.Size([600, 12]), 1000, 1000)
    """
    rng = np.random.default_rng(seed)
    count = sum(SIZES)
    first, second = rng.choice([-1.0, 1.0], size=(2, count))
    inputs = rng.standard_normal((count, FEATURES))
    for pair, truth in zip(PAIRS, (first, second, second), strict=True):
        inputs[:, pair] = hidden_in_a_product(truth, rng)
    odds = STRENGTH * (inputs[:, VISIBLE] + first + second)
    labels = rng.random(count) < 1.0 / (1.0 + np.exp(-odds))
    x, y = torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
    train, reward, test = (
        Examples(inputs=x[start:stop].clone(), labels=y[start:stop].clone())
        for start, stop in itertools.pairwise((0, *itertools.accumulate(SIZES)))
    )
    return Splits(train=train, reward=reward, test=test)


def hidden_in_a_product(truth: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return pairs [B, 2] whose product has the sign of `truth` [B]; each number alone says nothing about it."""
    signs = rng.choice([-1.0, 1.0], size=len(truth))
    sizes = rng.uniform(0.5, 1.5, size=(len(truth), 2))
    pairs: NDArray[np.float64] = sizes * np.stack([signs, signs * truth], axis=1)
    return pairs


def reader(name: str, pair: tuple[int, int]) -> VectorKind:
    """Return a kind that reads what hides in a pair and learns where to write it.

    |p + p'| - |p - p'| = 2 min(|p|, |p'|) sign(p p'), so that V holds the four rows of signs and U is learned from 0.

    Args:
        name: of the kind.
        pair: the two features.
    """
    rows = [[0.0] * 4 for _ in range(FEATURES)]
    rows[pair[0]], rows[pair[1]] = [1.0, -1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]
    return VectorKind(name=name, width=4, activation=Activation.RELU, planted_inner=tuple(tuple(row) for row in rows))


def turning(name: str, features: tuple[int, ...]) -> VectorKind:
    """Return a kind that turns the sign of some features (a = -2 there: h - 2 h = -h) and learns nothing."""
    return VectorKind(name=name, planted_scale=tuple(-2.0 if at in features else 0.0 for at in range(FEATURES)))


PLANTED_CATALOGUE = (
    reader("witness", PAIRS[0]),
    turning("mirror", NOISE),
    turning("turner", (VISIBLE,)),
    reader("twin-first", PAIRS[1]),
    reader("twin-second", PAIRS[2]),
)
"""Helpful, useless, harmful, and a redundant pair."""
