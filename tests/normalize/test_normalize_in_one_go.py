"""`update_and_normalize` is the two calls: the same statistics and scores, whichever way a batch takes."""

import math

import numpy as np
import pytest
import torch

from accredit.errors import InvalidArgument
from accredit.normalize import ChannelNormalizer, NestedNormalizer, RunningMeanStd

WIDE = 9000


def rows(n_rows: int, width: int, *, mean: float = 0.0, seed: int = 0) -> torch.Tensor:
    return mean + torch.randn(n_rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mean", [0.0, 0.9, 3.0, 1e4])
@pytest.mark.parametrize(
    ("n_rows", "width"),
    [(5, 3), (1024, 48), (4095, 3), (64, 1024), (8, WIDE), (9, 30_000)],
    ids=["small", "tiled", "odd", "long rows", "wide", "over one block"],
)
def test_statistics_and_scores_are_those_of_float64(n_rows: int, width: int, mean: float) -> None:
    """[R16] [R17] Truth from NumPy; means of 0 to 3 take the sums about 0, those of 1e4 do not."""
    batches = [rows(n_rows, width, mean=mean, seed=seed) for seed in range(4)]
    statistics = RunningMeanStd(width, clip=4.0)
    for batch in batches:
        scores = statistics.update_and_normalize(batch)
    exact = np.concatenate([batch.double().numpy() for batch in batches])
    np.testing.assert_allclose(statistics.mean, exact.mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(statistics.var, exact.var(0), rtol=4e-6)
    truth = ((batches[-1].double().numpy() - exact.mean(0)) / exact.std(0)).clip(-4, 4)
    np.testing.assert_allclose(scores, truth, rtol=0, atol=6e-6)
    assert int(statistics.count) == 4 * n_rows


@pytest.mark.parametrize("width", [48, WIDE], ids=["narrow", "wide"])
def test_many_updates_do_not_add_up_their_rounding(width: int) -> None:
    """[R16] 300 batches against float64: what is added to the float64 state may be float32, the state is not."""
    statistics, seen = RunningMeanStd(width), []
    for seed in range(300):
        batch = rows(6000 // width + 1, width, mean=2.0, seed=seed)
        statistics.update_and_normalize(batch)
        seen.append(batch.double().numpy())
    exact = np.concatenate(seen)
    np.testing.assert_allclose(statistics.mean, exact.mean(0), rtol=0, atol=2e-6)
    np.testing.assert_allclose(statistics.var, exact.var(0), rtol=1e-5)


@pytest.mark.parametrize("width", [48, WIDE], ids=["narrow", "wide"])
def test_forgetting_is_that_of_update(width: int) -> None:
    """[R17] [R18]."""
    together, apart = (RunningMeanStd(width, horizon=2000.0) for _ in range(2))
    for seed in range(6):
        batch = rows(100, width, mean=0.3 * seed, seed=seed)
        scores = together.update_and_normalize(batch)
        apart.update(batch)
        torch.testing.assert_close(scores, apart.normalize(batch), rtol=0, atol=5e-6)
    torch.testing.assert_close(together.mean, apart.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(together.var, apart.var, rtol=3e-6, atol=0)
    assert torch.equal(together.tallies, apart.tallies)


@pytest.mark.parametrize("width", [48, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e25], ids=["nan", "inf", "too large to square"])
def test_a_row_that_float32_cannot_hold_takes_the_other_way(width: int, bad: float) -> None:
    """[R25] The statistics and the other rows are those of `update` and `normalize`, bit for bit."""
    together, apart = (RunningMeanStd(width) for _ in range(2))
    clean, dirty = rows(100, width), rows(100, width, seed=1)
    dirty[7, 1] = bad
    for each in (together, apart):
        each.update(clean)
    scores = together.update_and_normalize(dirty)
    apart.update(dirty)
    assert torch.equal(together.moments, apart.moments)
    assert torch.equal(together.tallies, apart.tallies)
    assert torch.equal(scores, apart.normalize(dirty))
    assert bool(scores.isfinite().all())


@pytest.mark.parametrize("width", [200, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("far", [0, 1], ids=["looked at before", "found afterwards"])
def test_one_mean_far_from_zero_keeps_all_sums_from_being_about_zero(width: int, far: int) -> None:
    """[R17] 3,000 standard deviations from 0 in one feature: sums about 0 would lose seven digits of its variance."""
    statistics, batches = RunningMeanStd(width), [rows(100, width, seed=seed) for seed in range(5)]
    for batch in batches:
        batch[:, far] += 3e3
        statistics.update_and_normalize(batch)
    exact = np.concatenate([batch.double().numpy() for batch in batches])
    np.testing.assert_allclose(statistics.mean, exact.mean(0), rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(statistics.var, exact.var(0), rtol=4e-6)


@pytest.mark.parametrize("spike", [0.0, 5.0, 6.5, 30.0, -30.0])
@pytest.mark.parametrize("n_rows", [1, 8, 18])
def test_scores_of_wide_rows_are_bounded_whatever_stands_in_one_feature(n_rows: int, spike: float) -> None:
    """[R17] One number in 9,000 features decides whether all scores have to be bounded."""
    statistics = RunningMeanStd(WIDE, clip=6.0)
    batches = [rows(100, WIDE, seed=1), rows(n_rows, WIDE, seed=2)]
    batches[1][n_rows // 2, 4321] += spike
    for batch in batches:
        scores = statistics.update_and_normalize(batch)
    exact = np.concatenate([batch.double().numpy() for batch in batches])
    truth = (batches[1].double().numpy() - exact.mean(0)) / exact.std(0)
    assert float(scores.abs().max()) <= 6.0
    np.testing.assert_allclose(scores, truth.clip(-6, 6), rtol=0, atol=6e-6)


@pytest.mark.parametrize("stop", ["eval", "freeze"])
def test_frozen_statistics_only_normalize(stop: str) -> None:
    """[R28]."""
    statistics, x = RunningMeanStd(48), rows(1024, 48)
    statistics.update(x)
    before = statistics.state_dict()["moments"].clone()
    getattr(statistics, stop)()
    assert torch.equal(statistics.update_and_normalize(x + 1), statistics.normalize(x + 1))
    assert torch.equal(statistics.moments, before)


def test_masks_gradients_and_other_types_are_those_of_the_two_calls() -> None:
    """[R20] [R25]."""
    x, mask = rows(1024, 48), torch.arange(1024) % 3 > 0
    for given, of in (
        (x, mask),
        (x.double(), None),
        (x.half(), None),
        ((10 * x).int(), None),
        (x.T.reshape(48, 1024).T, None),
    ):
        together, apart = (RunningMeanStd(48) for _ in range(2))
        for each in (together, apart):
            each.update(x)
        scores = together.update_and_normalize(given, of)
        apart.update(given, of)
        torch.testing.assert_close(scores, apart.normalize(given), rtol=0, atol=5e-6)
        torch.testing.assert_close(together.moments, apart.moments, rtol=1e-6, atol=1e-7)
    learned = x.clone().requires_grad_()
    together.update_and_normalize(learned).sum().backward()
    assert learned.grad is not None
    assert bool((learned.grad > 0).all())


def test_shapes_of_images_and_of_no_rows_come_back() -> None:
    """[R25]."""
    statistics, x = RunningMeanStd((4, 5, 6)), rows(80, 120).view(8, 10, 4, 5, 6)
    for _ in range(2):
        assert statistics.update_and_normalize(x).shape == x.shape
    assert statistics.update_and_normalize(x[:0]).shape == (0, 10, 4, 5, 6)
    assert int(statistics.count) == 160


def test_a_single_sample_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="`x`"):
        RunningMeanStd(3).update_and_normalize(torch.zeros(3))


def test_parts_and_channels_do_both_too() -> None:
    """Nested observations and images, against their two calls."""
    images = torch.randint(0, 256, (8, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = {"speed": rows(8, 2), "camera": images, "gear": torch.arange(8)}
    mask = torch.arange(8) > 2
    together, apart = (NestedNormalizer({"speed": RunningMeanStd(2), "camera": ChannelNormalizer(3)}) for _ in range(2))
    scores = together.update_and_normalize(seen, mask)
    apart.update(seen, mask)
    for name, expected in apart.normalize(seen).items():
        assert torch.equal(scores[name], expected)
