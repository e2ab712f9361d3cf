"""Every normalizer over the ranks of torch.distributed, from the first batch on, against statistics of the whole."""

import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from accredit.normalize import (
    RewardNormalizer,
    RolloutStatistics,
    RunningMeanStd,
    ValueNormalizer,
    synchronized_update,
)
from accredit.normalize.batch import masked_moments
from accredit.normalize.sync import _merge, _pack, _unpack

MEAN = 1e6
STEPS = 3


def observations(rank: int, step: int, n_ranks: int) -> torch.Tensor:
    """Unequal; the last rank has none at first; every other rank has a row that is not finite."""
    size = 0 if (rank + step) % n_ranks == n_ranks - 1 else 2 + 3 * rank + step
    generator = torch.Generator().manual_seed(100 * rank + step)
    rows = MEAN + torch.randn(size, 2, dtype=torch.float64, generator=generator)
    if size and rank % 2:
        rows[-1, 0] = (math.nan, math.inf)[step % 2]
    return rows


def rewards(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Twenty steps of two environments, and where episodes end."""
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(20, 2, generator=generator), torch.rand(20, 2, generator=generator) < 0.2


def head() -> nn.Linear:
    torch.manual_seed(7)
    return nn.Linear(3, 2).double()


def work(rank: int, n_ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=n_ranks)
    each, value, reward = RunningMeanStd(2), ValueNormalizer(2), RewardNormalizer(2)
    linear = head()
    after = []
    for step in range(STEPS):
        x = observations(rank, step, n_ranks)
        synchronized_update(each, x)
        value.move(lambda statistics, x=x: synchronized_update(statistics, x), head=linear)
        after.append(each.moments.clone())
    rollout = RolloutStatistics({"reward": reward.statistics})
    for one, done in zip(*rewards(rank), strict=True):
        rollout.collect({"reward": reward.advance(one, done)})
        assert int(reward.statistics.count) == 0
    rollout.commit()
    torch.save(
        {
            "after": torch.stack(after),
            "tallies": each.tallies,
            "reward": reward.statistics.moments,
            "scale": reward.scale,
            "value": value.statistics.moments,
            "weight": linear.weight.detach(),
            "bias": linear.bias.detach(),
        },
        f"{folder}/{rank}.pt",
    )
    dist.barrier()
    dist.destroy_process_group()


def exact(rows: torch.Tensor, origin: float = MEAN) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean less an origin (which costs no digit) and population variance, in rational arithmetic, rounded once."""
    means, variances = [], []
    for column in rows.t().tolist():
        numbers = [Fraction(number) - Fraction(origin) for number in column]
        mean = sum(numbers) / len(numbers)
        means.append(float(mean))
        variances.append(float(sum((number - mean) ** 2 for number in numbers) / len(numbers)))
    return torch.tensor(means, dtype=torch.float64), torch.tensor(variances, dtype=torch.float64)


@pytest.mark.parametrize("n_ranks", [2, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore")
def test_all_normalizers_are_those_of_the_whole_from_the_first_batch_on(n_ranks: int, tmp_path: Path) -> None:
    """[R23] [R27] Within 1e-12 |mean| / sigma, the same bits on every rank; the value head's outputs stay."""
    mp.spawn(work, args=(n_ranks, str(tmp_path)), nprocs=n_ranks)
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(n_ranks)]
    for other in states[1:]:
        for name, value in states[0].items():
            assert torch.equal(other[name], value), name
    state = states[0]
    for step in range(STEPS):
        rows = torch.cat([observations(rank, past, n_ranks) for past in range(step + 1) for rank in range(n_ranks)])
        good = rows[rows.isfinite().all(1)]
        mean, var = exact(good)
        assert ((state["after"][step][0] - MEAN - mean).abs() / var.sqrt()).max() <= 1e-12 * MEAN
        assert (state["after"][step][1] / var - 1).abs().max() <= 1e-9
    assert state["tallies"].tolist()[2:] == [len(good), len(rows) - len(good), 0]

    single = RewardNormalizer(2 * n_ranks)
    pairs = [rewards(rank) for rank in range(n_ranks)]
    for one, done in zip(torch.cat([p[0] for p in pairs], 1), torch.cat([p[1] for p in pairs], 1), strict=True):
        single.update_and_normalize(one, done)
    torch.testing.assert_close(state["reward"], single.statistics.moments, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(state["scale"], single.scale, rtol=1e-12, atol=0)

    features = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    outputs = features @ state["weight"].t() + state["bias"]
    restored = outputs * state["value"][1].sqrt() + state["value"][0]
    assert (restored - head()(features)).abs().max() <= 1e-12 * MEAN


@pytest.mark.parametrize("mean", [0.0, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("n_ranks", [2, 4, 8])
def test_error_of_the_collective_stays_below_1e_12_of_mean_over_sigma(n_ranks: int, mean: float) -> None:
    """[R27] The arithmetic of the gathered ranks, in rank order, after every step; sigma is 1."""
    statistics, seen = RunningMeanStd(2), []
    for step in range(5):
        batches = [observations(rank, step, n_ranks) - MEAN + mean for rank in range(n_ranks)]
        seen += batches
        sent = [_unpack(_pack(masked_moments(batch, None))) for batch in batches]
        merged = sent[0]
        for batch in sent[1:]:
            merged = _merge(merged, batch)
        statistics.absorb(merged)
        rows = torch.cat(seen)
        centre, var = exact(rows[rows.isfinite().all(1)], origin=mean)
        error = (statistics.mean - mean - centre).abs() / var.sqrt()
        assert error.max() <= 1e-12 * max(1.0, mean)
        assert (statistics.var / var - 1).abs().max() <= 1e-12 * max(1.0, mean)


def test_returns_advance_as_those_of_an_update() -> None:
    """[R22] [R25] Where a reward is missing or an environment took no step, too; statistics wait."""
    updating, advancing = RewardNormalizer(2), RewardNormalizer(2)
    rollout = RolloutStatistics({"reward": advancing.statistics})
    generator = torch.Generator().manual_seed(5)
    for step in range(30):
        reward, done = torch.randn(2, generator=generator), torch.rand(2, generator=generator) < 0.2
        if step == 7:
            reward[0] = math.nan
        mask = torch.tensor([True, step % 3 > 0])
        updating.update_and_normalize(reward, done, mask=mask)
        rollout.collect({"reward": advancing.advance(reward, done, mask=mask)}, mask)
        assert torch.equal(advancing.returns, updating.returns)
        assert advancing.normalize(2.5) == 2.5
    rollout.commit()
    torch.testing.assert_close(advancing.statistics.moments, updating.statistics.moments, rtol=1e-12, atol=0)
    assert torch.equal(advancing.statistics.tallies[2:], updating.statistics.tallies[2:])
    assert int(advancing.statistics.dropped) == 1
    assert int(advancing.statistics.masked) == 10


def test_returns_stand_still_where_nothing_moves() -> None:
    """[R28]"""
    normalizer = RewardNormalizer(2)
    go_on = torch.zeros(2, dtype=torch.bool)
    normalizer.advance(torch.ones(2), go_on)
    for still in (normalizer.eval(), normalizer.train().freeze()):
        assert still.advance(torch.ones(2), go_on).tolist() == [1.0, 1.0]
        assert still.returns.tolist() == [1.0, 1.0]


def test_a_rejected_head_leaves_statistics_alone() -> None:
    """[R21] The change is not even called."""
    calls = []
    with pytest.raises(ValueError, match=r"`head` has 3 outputs, but the normalizer has 2 values; build both for"):
        ValueNormalizer(2).move(calls.append, head=nn.Linear(4, 3))
    assert not calls
