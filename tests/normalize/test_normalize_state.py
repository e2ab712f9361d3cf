"""Saving, moving, copying, exporting and compiling: continued statistics are the same bits."""

import copy
import io
import shutil
import threading

import pytest
import torch
from torch import nn

from accredit.normalize import RewardNormalizer, RolloutStatistics, RunningMeanStd, ValueNormalizer
from accredit.normalize.sync import synchronized_update

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on the CPU needs a C++ compiler")


def batches(n: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(16, 4, generator=generator) * 3 + 1000 for _ in range(n)]


def saved_and_loaded(policy: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(policy.state_dict(), file)
    file.seek(0)
    again = nn.Sequential(RunningMeanStd(4, horizon=200), nn.Linear(4, 2)).to(policy[1].weight.dtype)
    again.load_state_dict(torch.load(file, weights_only=True))
    return again


TRANSFERS = {
    "state_dict through torch.save, weights only": saved_and_loaded,
    "half": lambda policy: policy.half(),
    "bfloat16": lambda policy: policy.to(torch.bfloat16),
    "half and back": lambda policy: policy.half().float(),
    "to a device by name": lambda policy: policy.to("cpu"),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("transfer", TRANSFERS.values(), ids=TRANSFERS.keys())
def test_statistics_continue_bit_equal_after(transfer) -> None:
    """[R26] As a part of a policy, with a horizon."""
    stream = batches(12)
    straight = RunningMeanStd(4, horizon=200)
    policy = nn.Sequential(RunningMeanStd(4, horizon=200), nn.Linear(4, 2))
    for batch in stream[:6]:
        straight.update(batch)
        policy[0].update(batch)
    moved = transfer(policy)
    for batch in stream[6:]:
        straight.update(batch)
        moved[0].update(batch)
    assert moved[0].moments.dtype == torch.float64
    assert torch.equal(moved[0].moments, straight.moments)
    assert torch.equal(moved[0].tallies, straight.tallies)


def test_a_copy_does_not_share_its_state() -> None:
    """[R26]"""
    original = RunningMeanStd(4)
    original.update(batches(1)[0])
    twin = copy.deepcopy(original)
    twin.update(batches(1, seed=5)[0])
    assert int(original.count) == 16
    assert not torch.equal(original.moments, twin.moments)


def test_state_dict_holds_tensors_only() -> None:
    """[R26] So that safetensors and averaging over state dicts go on working."""
    for module in (RunningMeanStd(2), RewardNormalizer(2), ValueNormalizer(2)):
        assert all(torch.is_tensor(value) for value in module.state_dict().values())


def test_halving_a_reward_normalizer_keeps_returns_exact() -> None:
    """[R26]"""
    normalizer = RewardNormalizer(2).half()
    assert normalizer.returns.dtype == torch.float64
    normalizer.update_and_normalize(torch.tensor([1e5, 1e-9]), torch.zeros(2, dtype=torch.bool))
    assert normalizer.returns.tolist() == [torch.tensor(1e5).item(), torch.tensor(1e-9).item()]


def test_what_a_rollout_collected_is_in_its_state() -> None:
    """[R26] [R29] Stopped within a rollout and gone on."""
    target, other = RunningMeanStd(4), RunningMeanStd(4)
    one, two = RolloutStatistics({"x": target}), RolloutStatistics({"x": other})
    one.collect({"x": batches(1)[0]})
    two.load_state_dict(one.state_dict())
    two.commit()
    assert int(other.count) == 16
    assert int(target.count) == 0


def test_moving_to_another_device_moves_everything() -> None:
    """[R21] The meta device stands for one that this machine lacks."""
    for module in (RunningMeanStd(2), RewardNormalizer(2), ValueNormalizer(2)):
        assert {buffer.device.type for buffer in module.to("meta").buffers()} == {"meta"}


def test_many_threads_normalize_what_one_would() -> None:
    """[R28] The statement: any number may normalize at once while nothing updates."""
    statistics = RunningMeanStd(4)
    for batch in batches(3):
        statistics.update(batch)
    inputs = batches(50, seed=9)
    expected = [statistics(x) for x in inputs]
    wrong: list[int] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(20):
            wrong.extend(i for i, x in enumerate(inputs) if not torch.equal(statistics(x), expected[i]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class UpdatingPolicy(nn.Module):
    def __init__(self, horizon: float | None) -> None:
        super().__init__()
        self.observations = RunningMeanStd(4, horizon=horizon)
        self.rewards = RewardNormalizer(4)

    def forward(self, x: torch.Tensor, reward: torch.Tensor, done: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.observations.update(x)
        return self.observations(x), self.rewards.update_and_normalize(reward, done)


@needs_compiler
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("horizon", [pytest.param(None, marks=pytest.mark.long), 100.0])
def test_compiled_statistics_equal_eager_ones_without_recompiling(horizon: float | None) -> None:
    """[R19] fullgraph, NaN rows included; after the first call of every kind nothing is compiled again."""
    torch._dynamo.reset()
    eager, graph = UpdatingPolicy(horizon), UpdatingPolicy(horizon)
    compiled = torch.compile(graph, fullgraph=True)
    generator = torch.Generator().manual_seed(4)
    stream = batches(20)
    stream[7][3, 1] = float("nan")
    for step, x in enumerate(stream):
        reward, done = torch.randn(4, generator=generator), torch.rand(4, generator=generator) < 0.2
        if step == 3:
            torch._dynamo.config.error_on_recompile = True
        try:
            observed, scaled = compiled(x, reward, done)
        finally:
            torch._dynamo.config.error_on_recompile = False
        expected_observed, expected_scaled = eager(x, reward, done)
        torch.testing.assert_close(observed, expected_observed, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(scaled, expected_scaled, rtol=1e-5, atol=1e-5)
    for name, buffer in eager.named_buffers():
        torch.testing.assert_close(graph.get_buffer(name), buffer, rtol=1e-11, atol=1e-11)


@pytest.mark.filterwarnings("ignore")
def test_a_policy_with_frozen_normalizers_exports() -> None:
    """[R20] [R34] The exported program answers as the policy does, for any number of rows."""
    policy = nn.Sequential(RunningMeanStd(4), nn.Linear(4, 2)).eval()
    policy.train()[0].update(batches(1)[0])
    policy.eval()
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(policy, (batches(1)[0],), dynamic_shapes=({0: rows},))
    x = batches(1, seed=3)[0][:5]
    torch.testing.assert_close(program.module()(x), policy(x), rtol=1e-4, atol=1e-4)


def test_without_ranks_a_synchronized_update_is_an_update() -> None:
    """[R27]"""
    alone, synchronized = RunningMeanStd(4), RunningMeanStd(4)
    for batch in batches(4):
        alone.update(batch)
        synchronized_update(synchronized, batch)
    torch.testing.assert_close(synchronized.moments, alone.moments, rtol=1e-12, atol=1e-12)
    assert torch.equal(synchronized.tallies, alone.tallies)
    synchronized_update(synchronized.eval(), batches(1)[0])
    assert int(synchronized.count) == int(alone.count)
