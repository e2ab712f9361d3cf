"""Rewards and partial resets behind our TorchRL transforms, and what TorchRL's own normalizers hold taken over."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torchrl.envs import Compose, GymWrapper, SerialEnv, TransformedEnv
from torchrl.envs.transforms import VecNorm, VecNormV2
from torchrl.envs.utils import check_env_specs

from accredit.errors import InvalidArgument
from accredit.integrations.torchrl import NormalizeObservation, NormalizeReward, take_over_vecnorm
from accredit.normalize import RewardNormalizer, RunningMeanStd

pytestmark = pytest.mark.filterwarnings("ignore")


class Counting(gymnasium.Env):
    """Episodes of a given length, of reward 1, that observe the step above a base."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)

    def __init__(self, length: int, base: float, truncates: bool = True) -> None:
        self.length, self.base, self.truncates = length, base, truncates

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.array([self.base]), {}

    def step(self, action):
        self.steps += 1
        ended = self.steps == self.length
        return np.array([self.base + self.steps]), 1.0, ended and not self.truncates, ended and self.truncates, {}


def unequal() -> SerialEnv:
    """Two environments whose episodes have three and five steps."""
    return SerialEnv(2, [lambda: GymWrapper(Counting(3, 10.0)), lambda: GymWrapper(Counting(5, 100.0))])


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_return_std_is_that_of_ten_step_episodes(truncates: bool, n_envs: int) -> None:
    """[R22] 2.732, by enumeration, single and several, terminated and truncated."""
    truth = np.array([sum(0.99**k for k in range(step + 1)) for step in range(10)]).std()
    assert truth == pytest.approx(2.732, abs=5e-4)
    normalizer = RewardNormalizer(n_envs)
    base = SerialEnv(n_envs, lambda: GymWrapper(Counting(10, 0.0, truncates)))
    env = TransformedEnv(base, NormalizeReward(normalizer))
    rewards = env.rollout(300, break_when_any_done=False)["next", "reward"]
    assert float(normalizer.statistics.std) == pytest.approx(truth, rel=1e-12)
    assert int(normalizer.statistics.count) == 300 * n_envs
    assert rewards[0, 0].item() == 1.0
    assert rewards[0, -1].item() == pytest.approx(1 / truth, rel=2e-3)


def test_every_observation_counts_once_where_environments_reset_at_different_times() -> None:
    """[R17] [R25] TorchRL hands the last observation of the others along with a reset; it is no new one."""
    statistics, normalizer = RunningMeanStd(1), RewardNormalizer(2, gamma=1.0)
    transforms = Compose(NormalizeObservation(["observation"], [statistics]), NormalizeReward(normalizer))
    TransformedEnv(unequal(), transforms).rollout(7, break_when_any_done=False)
    first = [10, 11, 12, 13, 10, 11, 12, 13, 10, 11]
    second = [100, 101, 102, 103, 104, 105, 100, 101, 102]
    truth = np.array(first + second)
    assert int(statistics.count) == len(truth)
    assert statistics.mean.item() == pytest.approx(truth.mean(), rel=1e-12)
    assert statistics.std.item() == pytest.approx(truth.std(), rel=1e-9)
    assert normalizer.returns.tolist() == [1.0, 2.0]


def test_an_environment_that_waits_for_the_others_counts_for_nothing() -> None:
    """[R22] [R25] The short one has three steps, the long one five."""
    statistics, normalizer = RunningMeanStd(1), RewardNormalizer(2, gamma=1.0)
    transforms = Compose(NormalizeObservation(["observation"], [statistics]), NormalizeReward(normalizer))
    env = TransformedEnv(unequal(), transforms)
    env.rollout(9, break_when_any_done=False, break_when_all_done=True)
    truth = np.array([10, 11, 12, 13, 100, 101, 102, 103, 104, 105])
    assert int(statistics.count) == len(truth)
    assert statistics.mean.item() == pytest.approx(truth.mean(), rel=1e-12)
    assert int(normalizer.statistics.count) == 3 + 5
    assert float(normalizer.statistics.mean) == pytest.approx((1 + 2 + 3 + 1 + 2 + 3 + 4 + 5) / 8, rel=1e-12)


def test_marks_reach_entries_with_more_batch_axes() -> None:
    """[R25] Two environments of three agents; the first sits out."""
    statistics = RunningMeanStd(1)
    transform = NormalizeObservation([("agents", "x")], [statistics])
    data = TensorDict({"agents": {"x": torch.arange(6.0).view(2, 3, 1)}}, [2])
    transform.take_in(data, torch.tensor([[False], [True]]))
    assert (int(statistics.count), statistics.mean.item(), int(statistics.masked)) == (3, 4.0, 3)


def test_state_of_both_transforms_is_in_the_state_of_the_environment() -> None:
    """[R26] Loaded into another one, statistics and returns go on bit-equal."""

    def make() -> TransformedEnv:
        transforms = Compose(
            NormalizeObservation(["observation"], [RunningMeanStd(1)]), NormalizeReward(RewardNormalizer(2))
        )
        return TransformedEnv(unequal(), transforms)

    one, two = make(), make()
    one.rollout(4, break_when_any_done=False)
    two.load_state_dict(one.state_dict())
    for first, second in zip(one.transform.buffers(), two.transform.buffers(), strict=True):
        assert torch.equal(first, second)
    assert two.transform[1].normalizer.returns.tolist() == one.transform[1].normalizer.returns.tolist() != [0.0, 0.0]
    assert int(two.transform[0].statistics[0].count) == 11


def test_specifications_hold_and_frozen_normalizers_stand_still() -> None:
    """[R28] Evaluation: no statistic and no return moves, resets included."""
    normalizer = RewardNormalizer(2, clip=3.0)
    env = TransformedEnv(unequal(), NormalizeReward(normalizer, out_key="scaled"))
    check_env_specs(env)
    env.rollout(2)
    normalizer.freeze()
    before = {name: value.clone() for name, value in normalizer.named_buffers()}
    rollout = env.rollout(8, break_when_any_done=False)
    assert all(torch.equal(before[name], value) for name, value in normalizer.named_buffers())
    assert rollout["next", "reward"].unique().tolist() == [1.0]
    assert rollout["next", "scaled"].abs().max() <= 3.0


def test_a_replay_buffer_scales_and_takes_nothing_in() -> None:
    """[R22] A sample without a reward passes."""
    normalizer = RewardNormalizer(4, gamma=0.0)
    for reward in torch.randn(10, 4, generator=torch.Generator().manual_seed(0)):
        normalizer.update_and_normalize(reward, torch.zeros(4, dtype=torch.bool))
    count, scale = int(normalizer.statistics.count), float(normalizer.scale)
    transform = NormalizeReward(normalizer)
    scaled = transform(TensorDict({"reward": torch.full((9, 1), scale)}, [9]))["reward"]
    torch.testing.assert_close(scaled, torch.ones(9, 1))
    assert "reward" not in transform(TensorDict({}, [9]))
    assert int(normalizer.statistics.count) == count


def test_another_number_of_environments_is_refused() -> None:
    """[R21]"""
    data = TensorDict({"reward": torch.ones(3, 1), "done": torch.zeros(3, 1, dtype=torch.bool)}, [3])
    with pytest.raises(InvalidArgument, match=r"`reward` has shape \(3,\), but there are 2 environments; pass shape"):
        NormalizeReward(RewardNormalizer(2)).take_in(data)


def fed(transform, rows: torch.Tensor):
    for part in rows.split(10):
        data = TensorDict({"x": part.clone()}, [10])
        transform._step(data, data)
    return transform


ROWS = 3 + 2 * torch.randn(50, 2, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    "make", [lambda **s: VecNorm(new_api=False, **s), lambda **s: VecNormV2(reduce_batch_dims=True, **s)]
)
def test_statistics_of_a_live_vecnorm_are_taken_over(make) -> None:
    """[R17] Without decay: those of the rows, to what float32 sums of squares have kept; both versions."""
    ours = take_over_vecnorm(fed(make(in_keys=["x"], decay=1.0), ROWS), "x", clip=4.0)
    np.testing.assert_allclose(ours.mean, ROWS.double().mean(0), rtol=1e-5)
    np.testing.assert_allclose(ours.var, ROWS.double().var(0, correction=0), rtol=1e-4)
    assert (int(ours.count), ours.clip) == (50, 4.0)


def test_statistics_of_a_decaying_vecnorm_are_taken_over_without_its_bias() -> None:
    """[R17] Weights written out: per call for the first version, per sample for the second."""
    per_call = np.repeat(0.5 ** np.arange(4, -1, -1.0), 10)
    ours = take_over_vecnorm(fed(VecNorm(in_keys=["x"], decay=0.5, new_api=False), ROWS), "x", horizon=20.0)
    np.testing.assert_allclose(ours.mean, np.average(ROWS.numpy(), axis=0, weights=per_call), rtol=1e-5)
    # a batch counts as one piece there, so that its rows share one weight
    per_batch = np.repeat((1 - 0.99**10) / 10 * (0.99**10) ** np.arange(4, -1, -1.0), 10)
    theirs = fed(VecNormV2(in_keys=["x"], decay=0.99, reduce_batch_dims=True), ROWS)
    ours = take_over_vecnorm(theirs, "x", horizon=100.0)
    mean = np.average(ROWS.numpy(), axis=0, weights=per_batch)
    np.testing.assert_allclose(ours.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(ours.var, np.average((ROWS.numpy() - mean) ** 2, axis=0, weights=per_batch), rtol=1e-4)
    assert (int(ours.count), ours.horizon) == (50, 100.0)


def test_entries_within_entries_are_taken_over() -> None:
    """[R37]"""
    theirs = VecNorm(in_keys=[("agent", "x")], decay=1.0, new_api=False)
    theirs._call(TensorDict({"agent": {"x": torch.tensor([[1.0], [3.0]])}}, [2]))
    assert take_over_vecnorm(theirs, ("agent", "x")).mean.item() == 2.0


@pytest.mark.parametrize("make", [lambda: VecNorm(in_keys=["x"], new_api=False), lambda: VecNormV2(in_keys=["x"])])
def test_nothing_is_taken_over_from_a_vecnorm_that_has_seen_nothing(make) -> None:
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`theirs` is a VecNorm(V2)? that has seen nothing, but .*; build new"):
        take_over_vecnorm(make(), "x")
