"""However samples are spread over ranks and batches, and in whatever order these meet, the whole comes out."""

from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.normalize import RunningMeanStd
from accredit.normalize.batch import masked_moments
from accredit.normalize.sync import _merge

NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False)


def truth(rows: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, population variance, and what 1e-9 is relative to for the mean; in rational arithmetic, rounded once."""
    means, variances, sizes = [], [], []
    for column in zip(*rows, strict=True):
        numbers = [Fraction(float(number)) for number in column]
        mean = sum(numbers) / len(numbers)
        var = sum((number - mean) ** 2 for number in numbers) / len(numbers)
        means.append(float(mean))
        variances.append(float(var))
        sizes.append(max(abs(means[-1]), float(var) ** 0.5))
    return np.array(means), np.array(variances), np.array(sizes)


def assert_whole(statistics: RunningMeanStd, rows: list[tuple[float, float]]) -> None:
    """1e-9 relative; a variance far below the square of the mean has digits below what float64 rows resolve."""
    mean, var, size = truth(rows)
    assert (np.abs(statistics.mean.numpy() - mean) <= 1e-9 * size).all()
    assert (np.abs(statistics.var.numpy() - var) <= 1e-9 * var + 1e-20 * size**2).all()
    assert int(statistics.count) == len(rows)


@st.composite
def spread(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[list[list[tuple[float, float]]]]]:
    """Rows, and the batches of 1 to 8 ranks that they were dealt out to, empty ones included."""
    shift = draw(st.sampled_from([0.0, 1.0, 1e4, -1e6]))
    rows = draw(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=40))
    rows = [(one + shift, 3 * other) for one, other in rows]
    n_ranks = draw(st.integers(1, 8))
    ranks: list[list[list[tuple[float, float]]]] = [[[]] for _ in range(n_ranks)]
    for row in rows:
        batches = ranks[draw(st.integers(0, n_ranks - 1))]
        if draw(st.booleans()):
            batches.append([])
        batches[-1].append(row)
    return rows, ranks


def as_tensor(batch: list[tuple[float, float]]) -> torch.Tensor:
    return torch.tensor(batch, dtype=torch.float64).reshape(-1, 2)


@settings(max_examples=200, deadline=None)
@given(dealt=spread(), order=st.randoms(use_true_random=False))
def test_ranks_merged_in_any_tree_give_the_whole(dealt, order) -> None:
    """[R17] [R27] Every rank updates by its own batches; then any two meet until one is left."""
    rows, ranks = dealt
    parts = []
    for batches in ranks:
        part = RunningMeanStd(2)
        for batch in batches:
            part.update(as_tensor(batch))
        parts.append(part)
    while len(parts) > 1:
        order.shuffle(parts)
        parts[0].merge(parts.pop())
    assert_whole(parts[0], rows)


@settings(max_examples=200, deadline=None)
@given(dealt=spread(), bad=st.sampled_from([np.nan, np.inf, None]), order=st.randoms(use_true_random=False))
def test_synchronized_batches_give_the_whole_step_by_step(dealt, bad, order) -> None:
    """[R25] [R27] The arithmetic of the collective, in any order of ranks, with a bad row on each; all absorb it."""
    rows, ranks = dealt
    statistics = RunningMeanStd(2)
    order.shuffle(ranks)
    n_bad = 0
    for step in range(max(len(batches) for batches in ranks)):
        merged = None
        for batches in ranks:
            x = as_tensor(batches[step] if step < len(batches) else [])
            if bad is not None:
                x, n_bad = torch.cat([x, torch.tensor([[0.0, bad]], dtype=torch.float64)]), n_bad + 1
            moments = masked_moments(x, None)
            merged = moments if merged is None else _merge(merged, moments)
        statistics.absorb(merged)
    assert_whole(statistics, rows)
    assert int(statistics.dropped) == n_bad
