"""What holds for every stream."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accredit.normalize import RunningMeanStd
from accredit.normalize.batch import masked_moments
from accredit.normalize.sync import _merge

ROWS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 60), st.just(3)),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False),
)


def pieces(rows: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    return np.split(rows, sorted(cut % (len(rows) + 1) for cut in cuts))


def close(statistics: RunningMeanStd, rows: np.ndarray, tolerance: float = 1e-9) -> None:
    size = np.abs(rows).max() + 1e-300
    np.testing.assert_allclose(statistics.mean, rows.mean(0), rtol=0, atol=tolerance * size)
    np.testing.assert_allclose(statistics.var, rows.var(0), rtol=tolerance, atol=1e-13 * size**2)
    assert int(statistics.count) == len(rows)


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, cuts=st.lists(st.integers(0, 10_000), max_size=7), shift=st.sampled_from([0.0, 1e6, -1e8]))
def test_any_partition_gives_the_statistics_of_the_whole(rows: np.ndarray, cuts: list[int], shift: float) -> None:
    """[R17]"""
    rows = rows + shift
    statistics = RunningMeanStd(3)
    for piece in pieces(rows, cuts):
        statistics.update(torch.from_numpy(piece))
    close(statistics, rows)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, cuts=st.lists(st.integers(0, 10_000), max_size=7), order=st.randoms(use_true_random=False))
def test_merging_in_any_order_gives_the_statistics_of_the_whole(rows, cuts, order) -> None:
    """[R17] One to eight normalizers, each with a piece of the stream."""
    parts = []
    for piece in pieces(rows, cuts):
        part = RunningMeanStd(3)
        part.update(torch.from_numpy(piece))
        parts.append(part)
    order.shuffle(parts)
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    close(whole, rows)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, cuts=st.lists(st.integers(0, 10_000), min_size=7, max_size=7))
def test_batches_of_eight_ranks_merge_to_the_whole(rows: np.ndarray, cuts: list[int]) -> None:
    """[R17] [R27] The arithmetic of the collective, empty ranks included."""
    batches = [masked_moments(torch.from_numpy(piece), None) for piece in pieces(rows, cuts)]
    merged = batches[0]
    for batch in batches[1:]:
        merged = _merge(merged, batch)
    statistics = RunningMeanStd(3)
    statistics.absorb(merged)
    close(statistics, rows)


@settings(max_examples=100, deadline=None)
@given(
    rows=hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(width=32)),
    clip=st.sampled_from([0.5, 10.0]),
)
def test_output_is_finite_and_bounded_whatever_comes_in(rows: np.ndarray, clip: float) -> None:
    """[R17] [R25] NaN and infinities included."""
    statistics = RunningMeanStd(3, clip=clip)
    statistics.update(torch.from_numpy(rows))
    assert statistics.mean.isfinite().all()
    assert (statistics.var >= 0).all()
    normalized = statistics(torch.from_numpy(rows))
    assert normalized.isfinite().all()
    assert normalized.abs().max() <= clip


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, bad=st.lists(st.tuples(st.integers(0, 59), st.sampled_from([np.nan, np.inf, -np.inf, 1e200]))))
def test_rows_that_are_not_finite_leave_the_same_bits_as_their_absence(rows: np.ndarray, bad: list) -> None:
    """[R25]"""
    first, dirty = rows[:1], rows.copy()
    places = sorted({row % len(rows) for row, _ in bad})
    for row, value in bad:
        dirty[row % len(rows), 1] = value
    alone, beside = RunningMeanStd(3), RunningMeanStd(3)
    for statistics, batch in ((alone, np.delete(rows, places, axis=0)), (beside, dirty)):
        statistics.update(torch.from_numpy(first))
        statistics.update(torch.from_numpy(batch))
    assert torch.equal(alone.moments, beside.moments)
    assert int(beside.dropped) == len(places)
    assert int(alone.count) == int(beside.count)


@settings(max_examples=60, deadline=None)
@given(horizon=st.floats(1.0, 500.0), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_forgetting_equals_the_weighted_moments_of_everything_seen(horizon: float, sizes: list[int]) -> None:
    """[R17] [R18] Weights written out sample by sample, as one weighted mean and variance."""
    rng = np.random.default_rng(len(sizes))
    batches = [rng.normal(step, 1 + step, (size, 2)) for step, size in enumerate(sizes)]
    statistics = RunningMeanStd(2, horizon=horizon)
    weights = np.zeros(0)
    for batch in batches:
        statistics.update(torch.from_numpy(batch))
        weights = np.concatenate([weights * (1 - 1 / horizon) ** len(batch), np.ones(len(batch))])
    rows = np.concatenate(batches)
    mean = np.average(rows, axis=0, weights=weights)
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        statistics.var, np.average((rows - mean) ** 2, axis=0, weights=weights), rtol=1e-9, atol=1e-12
    )
    assert np.isclose(float(statistics.effective_count), weights.sum() ** 2 / (weights**2).sum())
    assert int(statistics.count) == len(rows)
