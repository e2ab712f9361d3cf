"""Statistics over the ranks of torch.distributed, in processes of their own."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from accredit.errors import UnknownName
from accredit.normalize import RolloutStatistics, RunningMeanStd, synchronized_update
from accredit.normalize.sync import gather

MEAN = 1e6
STEPS = 4


def batch_of(rank: int, step: int) -> torch.Tensor:
    """Unequal ranks, one empty in turn, one with a NaN row; the first batch is far from 0."""
    size = 0 if rank == step % 2 else 3 + 5 * rank + step
    batch = MEAN + torch.randn(size, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(10 * rank + step))
    if size and rank == 1:
        batch[0, 2] = math.nan
    return batch


def work(rank: int, n_ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=n_ranks)
    calls = 0
    original = dist.all_gather

    def counted(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        return original(*arguments, **named)

    dist.all_gather = counted
    statistics, collected, forgetting = RunningMeanStd(3), RunningMeanStd(3), RunningMeanStd(3, horizon=50)
    for step in range(STEPS):
        synchronized_update(statistics, batch_of(rank, step))
        synchronized_update(forgetting, batch_of(rank, step))
    assert calls == 2 * STEPS
    rollout = RolloutStatistics({"a": collected, "b": RunningMeanStd(3)})
    for step in range(STEPS):
        rollout.collect({"a": batch_of(rank, step), "b": batch_of(rank, step)})
    rollout.commit()
    assert calls == 2 * STEPS + 1
    torch.save(
        {name: one.state_dict() for name, one in (("each", statistics), ("rollout", collected), ("old", forgetting))},
        f"{folder}/{rank}.pt",
    )
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("n_ranks", [2, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore")
def test_ranks_hold_the_same_bits_and_the_statistics_of_the_whole(n_ranks: int, tmp_path: Path) -> None:
    """[R27] One collective per update or rollout; unequal, empty and NaN-bearing ranks, first batch included."""
    mp.spawn(work, args=(n_ranks, str(tmp_path)), nprocs=n_ranks)
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(n_ranks)]
    rows = torch.cat([batch_of(rank, step) for step in range(STEPS) for rank in range(n_ranks)])
    good = rows[rows.isfinite().all(1)]
    centred = good - MEAN
    for name in ("each", "rollout"):
        state = states[0][name]
        assert (state["moments"][0] - MEAN - centred.mean(0)).abs().max() < 1e-12 * MEAN
        assert (state["moments"][1] / centred.var(0, correction=0) - 1).abs().max() < 1e-9
        assert state["tallies"].tolist()[2:] == [len(good), len(rows) - len(good), 0]
    for other in states[1:]:
        for name, state in states[0].items():
            assert torch.equal(other[name]["moments"], state["moments"])
            assert torch.equal(other[name]["tallies"], state["tallies"])
    assert not torch.equal(states[0]["old"]["moments"], states[0]["each"]["moments"])


def test_nothing_to_gather_is_nothing() -> None:
    """[R27]"""
    assert gather([]) == []


def test_a_rollout_leaves_normalizers_alone_until_it_is_committed() -> None:
    """[R28] What waits for a frozen normalizer waits on; eval mode of the policy does not stop the collecting."""
    target = RunningMeanStd(1).eval()
    rollout = RolloutStatistics({"x": target})
    rollout.collect({"x": torch.tensor([[1.0], [3.0]])})
    rollout.commit()
    assert int(target.count) == 0
    target.train().freeze()
    rollout.commit()
    assert int(target.count) == 0
    target.freeze(False)
    rollout.commit()
    rollout.commit()
    assert (int(target.count), target.mean.item()) == (2, 2.0)


def test_a_name_without_a_normalizer_is_refused() -> None:
    """[R21]"""
    with pytest.raises(UnknownName, match=r"`y` has no normalizer, but batches are collected for x; pass one of those"):
        RolloutStatistics({"x": RunningMeanStd(1)}).collect({"y": torch.ones(1, 1)})
