"""A TorchRL environment behind our transform."""

import pytest
import torch
from tensordict import TensorDict

from accredit.errors import InvalidArgument
from accredit.normalize import RunningMeanStd

pytestmark = pytest.mark.filterwarnings("ignore")


def make(statistics: RunningMeanStd):
    from torchrl.envs import GymEnv, TransformedEnv

    from accredit.integrations.torchrl import NormalizeObservation

    return TransformedEnv(GymEnv("CartPole-v1"), NormalizeObservation(["observation"], [statistics]))


def test_a_rollout_is_normalized_and_taken_in_once() -> None:
    """[R17] Every observation counts once, the reset's too; the specification holds."""
    from torchrl.envs.utils import check_env_specs

    statistics = RunningMeanStd(4, clip=5.0)
    env = make(statistics)
    env.set_seed(0)
    rollout = env.rollout(12)
    assert int(statistics.count) == 1 + len(rollout)
    assert rollout["next", "observation"].abs().max() <= 5.0
    check_env_specs(env)


def test_frozen_statistics_do_not_move_in_a_rollout() -> None:
    """[R28]"""
    statistics = RunningMeanStd(4).freeze()
    make(statistics).rollout(5)
    assert int(statistics.count) == 0


def test_batches_nested_keys_and_missing_entries() -> None:
    """[R17] A module outside an environment only normalizes."""
    from accredit.integrations.torchrl import NormalizeObservation

    statistics = RunningMeanStd(1)
    transform = NormalizeObservation([("agent", "x"), "absent"], [statistics, RunningMeanStd(1)], ["y", "z"])
    data = TensorDict({"agent": {"x": torch.tensor([[2.0], [4.0]])}}, [2])
    assert transform.take_in(data)["y"].flatten().tolist() == [-1.0, 1.0]
    transform(data)
    assert int(statistics.count) == 2
    assert "z" not in data
    assert torch.equal(transform.state_dict()["statistics.0.moments"], statistics.moments)


def test_unequal_numbers_of_entries_are_refused() -> None:
    """[R21]"""
    from accredit.integrations.torchrl import NormalizeObservation

    with pytest.raises(
        InvalidArgument, match=r"`in_keys` are 2, but there are 1 statistics and 2 out_keys; pass one of"
    ):
        NormalizeObservation(["a", "b"], [RunningMeanStd(1)])
