"""Large batches on the CPU: float32 passes must give the float64 statistics, whatever the layout; and kept views."""

import copy
import math

import numpy as np
import pytest
import torch

from accredit.normalize import RewardNormalizer, RunningMeanStd
from accredit.normalize.host_large import BLOCK


def rows(n_rows: int, width: int, *, mean: float = 0.0, seed: int = 0) -> torch.Tensor:
    return mean + torch.randn(n_rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("n_rows", "width"),
    [(4096, 48), (4095, 3), (4098, 3), (300, 1500), (BLOCK // 48 + 1, 48), (3, BLOCK)],
    ids=["tiled", "odd", "two a row", "wide", "over one block", "row of a block"],
)
@pytest.mark.parametrize("mean", [0.0, 0.9, 3.0, 1e4])
def test_large_batches_give_the_statistics_and_scores_of_float64(n_rows: int, width: int, mean: float) -> None:
    """[R16] [R17] Truth from NumPy in float64; sums about 0 for 0 and 0.9; scores by differences for 1e4."""
    batches = [rows(n_rows, width, mean=mean, seed=seed) for seed in range(3)]
    statistics = RunningMeanStd(width, clip=4.0)
    for batch in batches:
        statistics.update(batch)
    exact = np.concatenate([batch.double().numpy() for batch in batches])
    np.testing.assert_allclose(statistics.mean, exact.mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(statistics.var, exact.var(0), rtol=2e-6)
    truth = ((batches[0].double().numpy() - exact.mean(0)) / exact.std(0)).clip(-4, 4)
    np.testing.assert_allclose(statistics(batches[0]), truth, rtol=0, atol=4e-6)


def test_rows_that_are_not_contiguous_are_taken_as_they_are() -> None:
    """[R17] A transposed view: laying rows side by side must not mix features."""
    x = rows(48, 4096).T * torch.arange(1.0, 49.0)
    statistics = RunningMeanStd(48)
    for _ in range(2):
        statistics.update(x)
    np.testing.assert_allclose(statistics.var, x.double().numpy().var(0), rtol=2e-6)
    np.testing.assert_allclose(statistics(x).double().numpy().std(0), np.ones(48), rtol=1e-5)


def test_a_floor_below_float32_is_kept() -> None:
    """[R24] A variance of 1e-44 is above the floor of 1e-60 and is used as it is."""
    x = 1e-22 * rows(2048, 4)
    statistics = RunningMeanStd(4, epsilon=1e-60)
    for _ in range(2):
        statistics.update(x.double())
    np.testing.assert_allclose(statistics(x).double().numpy().std(0), np.ones(4), rtol=1e-4)


def moved_to_shared_memory(statistics: RunningMeanStd) -> RunningMeanStd:
    statistics.moments.share_memory_()
    statistics.tallies.share_memory_()
    return statistics


def loaded_by_assignment(statistics: RunningMeanStd) -> RunningMeanStd:
    state = {name: value.clone() for name, value in statistics.state_dict().items()}
    statistics.load_state_dict(state, assign=True)
    return statistics


@pytest.mark.parametrize(
    "move",
    [
        moved_to_shared_memory,
        loaded_by_assignment,
        copy.deepcopy,
        copy.copy,
        lambda statistics: statistics.double(),
    ],
)
def test_statistics_go_on_where_their_memory_went(move) -> None:
    """[R26] Updates reach the buffers that are read, whatever happened to them between two updates."""
    batches = [rows(8, 3, seed=seed) for seed in range(4)]
    straight, moving = RunningMeanStd(3), RunningMeanStd(3)
    for batch in batches[:2]:
        straight.update(batch)
        moving.update(batch)
    moved = move(moving)
    for batch in batches[2:]:
        straight.update(batch)
        moved.update(batch)
    assert torch.equal(moved.moments, straight.moments)
    assert torch.equal(moved.tallies, straight.tallies)
    assert torch.equal(moved(batches[0]), straight(batches[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_rewards_of_every_dtype_are_scaled_alike(dtype: torch.dtype) -> None:
    """[R22] Small integers are exact in all of them."""
    generator = torch.Generator().manual_seed(3)
    reference, other = RewardNormalizer(64), RewardNormalizer(64)
    for _ in range(5):
        reward = torch.randint(-9, 9, (64,), generator=generator)
        done = torch.rand(64, generator=generator) < 0.2
        expected = reference.update_and_normalize(reward.double(), done)
        got = other.update_and_normalize(reward.to(dtype), done)
        assert torch.equal(reference.returns, other.returns)
        torch.testing.assert_close(got.double(), expected, rtol=1e-2, atol=1e-2)


def test_rewards_that_are_huge_or_not_finite_come_out_bounded() -> None:
    """[R22] [R25] And leave the returns of the other environments alone."""
    normalizer, alone = RewardNormalizer(3), RewardNormalizer(3)
    go_on = torch.zeros(3, dtype=torch.bool)
    scaled = normalizer.update_and_normalize(torch.tensor([math.nan, 3e38, 1.0]), go_on)
    alone.update_and_normalize(torch.tensor([0.0, 0.0, 1.0]), go_on)
    assert scaled.tolist() == [0.0, 10.0, 1.0]
    assert normalizer.returns[0].item() == 0.0
    assert normalizer.returns[2].item() == alone.returns[2].item()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_scores_beyond_one_bound_only_are_bounded(sign: float) -> None:
    """[R24] One number of 196608 is beyond the bound, on one side."""
    x = rows(4096, 48)
    statistics = RunningMeanStd.from_moments(torch.zeros(48), torch.ones(48), 1000)
    x[17, 5] = sign * 30.0
    scores = statistics(x)
    assert float(scores[17, 5]) == sign * 10.0
    assert float(scores.abs().max()) == 10.0


def test_what_sums_round_off_does_not_grow_with_the_number_of_rows() -> None:
    """[R17] 65535 rows that cannot be laid side by side: one float32 sum over them is four times less exact."""
    batches = [rows(65535, 3, seed=seed) for seed in range(3)]
    statistics = RunningMeanStd(3)
    for batch in batches:
        statistics.update(batch)
    exact = np.concatenate([batch.double().numpy() for batch in batches])
    np.testing.assert_allclose(statistics.var, exact.var(0), rtol=3e-7)
