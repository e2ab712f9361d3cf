"""The 21 streams on which running statistics are judged: float64 truth in two passes, far from the code under test."""

import numpy as np
import pytest
import torch
from running_streams import Stream, streams

from accredit.normalize import RunningMeanStd


def cast(stream: Stream, batch: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(batch)
    return tensor.bfloat16() if stream.cast == "bfloat16" else tensor


def errors(stream: Stream, statistics: RunningMeanStd) -> tuple[float, float]:
    """Largest error of the mean in sigma and of the variance, relative; absolute where the truth has no variance."""
    mean, var = stream.truth(lambda x: cast(stream, x).double().numpy())
    unit = np.where(var > 0, np.sqrt(var), 1.0)
    mean_error = np.abs(statistics.mean.numpy() - mean) / unit
    var_error = np.abs(statistics.var.numpy() - var) / np.where(var > 0, var, 1.0)
    return float(mean_error.max()), float(var_error.max())


@pytest.mark.parametrize("stream", streams(), ids=lambda stream: stream.name)
def test_statistics_of_a_hard_stream_are_right(stream: Stream) -> None:
    """[R16] [R17] Mean within 2e-5 sigma, variance within 1e-5, nothing non-finite, counts exact."""
    if stream.resume is None:
        statistics = RunningMeanStd(8)
    else:
        mean, var, count = stream.resume
        statistics = RunningMeanStd.from_moments(torch.full((8,), mean), torch.full((8,), var), count)
    n_rows = 0 if stream.resume is None else int(stream.resume[2])
    last = None
    for batch in stream.batches():
        last = cast(stream, batch)
        statistics.update(last)
        n_rows += len(batch)
    mean_error, var_error = errors(stream, statistics)
    assert mean_error < 2e-5
    assert var_error < 1e-5
    assert int(statistics.count) == n_rows
    normalized = statistics(last)
    assert normalized.isfinite().all()
    assert normalized.abs().max() <= 10.0


def test_large_batches_in_float32_are_right_too() -> None:
    """[R16] The path for large batches, which the streams above meet rarely, at a mean of a million."""
    rng = np.random.default_rng(5)
    batches = [(1e6 + rng.standard_normal((1024, 48))).astype(np.float32) for _ in range(50)]
    statistics = RunningMeanStd(48)
    for batch in batches:
        statistics.update(torch.from_numpy(batch))
    truth = np.concatenate(batches).astype(np.float64) - 1e6
    assert np.abs(statistics.mean.numpy() - 1e6 - truth.mean(0)).max() < 1e-6
    assert np.abs(statistics.var.numpy() / truth.var(0) - 1).max() < 1e-6
