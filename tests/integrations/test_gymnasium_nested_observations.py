"""Dict and Tuple observations behind the Gymnasium wrappers."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn

from accredit.errors import InvalidArgument
from accredit.integrations.gymnasium import NormalizeObservation, NormalizeVectorObservation
from accredit.normalize import ChannelNormalizer, NestedNormalizer, RunningMeanStd

LENGTH = 4
JOINTS = spaces.Box(-np.inf, np.inf, (2,), np.float64)
SPACE = spaces.Dict(
    {
        "observation.state": spaces.Tuple([JOINTS, spaces.Discrete(9)]),
        "camera": spaces.Box(0, 255, (3, 2, 2), np.uint8),
        "gear": spaces.Discrete(5),
    }
)


class Robot(gymnasium.Env):
    """Episodes of four steps; joints read the step at a large mean, the camera ten times it."""

    observation_space = SPACE
    action_space = spaces.Discrete(2)

    def _observe(self):
        joints = np.array([self.steps, 1e6 - self.steps], np.float64)
        camera = np.full((3, 2, 2), 10 * self.steps, np.uint8)
        return {"observation.state": (joints, np.int64(self.steps)), "camera": camera, "gear": np.int64(3)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        return self._observe(), 1.0, self.steps == LENGTH, False, {}


STEPS = np.arange(LENGTH + 1.0)


def test_every_box_of_a_nested_observation_is_normalized_by_itself() -> None:
    """[R17] One episode: steps 0 to 4, mean 2; what has no mean passes through."""
    env = NormalizeObservation(Robot())
    observation, _ = env.reset()
    for _ in range(LENGTH):
        assert env.observation_space.contains(observation)
        observation, *_ = env.step(0)
    joints, place = observation["observation.state"]
    expected = (4 - STEPS.mean()) / STEPS.std()
    np.testing.assert_allclose(joints, [expected, -expected], rtol=1e-6)
    np.testing.assert_allclose(observation["camera"], expected, rtol=1e-6)
    assert (int(place), int(observation["gear"])) == (4, 3)
    statistics = env.statistics.part("observation.state").part("0")
    assert statistics.mean.tolist() == [2.0, 1e6 - 2.0]
    assert env.obs_rms is env.statistics


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_nested_observations_of_vector_environments_in_both_autoreset_modes(mode: AutoresetMode) -> None:
    """[R17] The last observation of an episode counts once in either mode, and is normalized too."""
    env = NormalizeVectorObservation(SyncVectorEnv([Robot] * 3, autoreset_mode=mode))
    observations, _ = env.reset()
    for _ in range(LENGTH):
        assert env.observation_space.contains(observations)
        observations, *_, info = env.step(np.zeros(3, np.int64))
    camera = env.statistics.part("camera")
    seen = np.concatenate([STEPS, [0.0]]) if mode == AutoresetMode.SAME_STEP else STEPS
    assert int(camera.count) == 3 * len(seen)
    np.testing.assert_allclose(camera.mean, 10 * seen.mean(), rtol=1e-12)
    assert observations["gear"].tolist() == [3, 3, 3]
    if mode == AutoresetMode.SAME_STEP:
        joints, place = info["final_obs"][1]["observation.state"]
        np.testing.assert_allclose(joints[0], (4 - seen.mean()) / seen.std(), rtol=0.2)
        assert int(place) == 4


def test_a_partial_reset_takes_in_what_was_reset_only() -> None:
    """[R25] The mask reaches every part."""
    env = NormalizeVectorObservation(SyncVectorEnv([Robot] * 3, autoreset_mode=AutoresetMode.DISABLED))
    env.reset()
    env.reset(options={"reset_mask": np.array([True, False, False])})
    assert int(env.statistics.part("camera").count) == 4
    assert int(env.statistics.part("observation.state").part("0").count) == 4


def test_statistics_of_the_policy_are_used_and_saved_with_it() -> None:
    """[R26] Per channel where the policy says so; nothing for what it leaves out."""
    policy = nn.ModuleDict({"normalizer": NestedNormalizer({"camera": ChannelNormalizer(3)}), "head": nn.Linear(2, 1)})
    env = NormalizeObservation(Robot(), statistics=policy["normalizer"])
    env.reset()
    observation, *_ = env.step(0)
    assert env.observation_space["camera"].dtype == np.float32
    assert env.observation_space["observation.state"] == SPACE["observation.state"]
    assert observation["camera"].dtype == np.float32
    assert observation["observation.state"][0].tolist() == [1.0, 1e6 - 1.0]
    saved = {name: value for name, value in policy.state_dict().items() if name.endswith("tallies")}
    assert {name: int(value[2]) for name, value in saved.items()} == {"normalizer.parts.camera.statistics.tallies": 8}


def test_frozen_nested_statistics_stand_still() -> None:
    """[R28]"""
    env = NormalizeObservation(Robot())
    env.update_running_mean = False
    env.reset()
    env.step(0)
    assert int(env.statistics.part("camera").count) == 0


class Places(Robot):
    observation_space = spaces.Tuple([JOINTS, spaces.Text(3)])


class Words(Robot):
    observation_space = spaces.Dict({"word": spaces.Text(3), "pair": spaces.Tuple([spaces.Discrete(2)])})


REFUSALS = [
    (Words, None, r"`env` has observations in Dict\(.*, but only a Box has a mean; leave them as they are, or"),
    (Robot, RunningMeanStd(2), r"`statistics` are a RunningMeanStd, but observations lie in Dict\(.*; pass a Running"),
    (Robot, NestedNormalizer([RunningMeanStd(2)]), r"`statistics` are a NestedNormalizer by places, but .* for a Dict"),
    (Places, NestedNormalizer({"a": RunningMeanStd(2)}), r"`statistics` are a NestedNormalizer by names, but .* Tuple"),
    (
        Robot,
        NestedNormalizer({"speed": RunningMeanStd(2)}),
        r"`statistics` normalize speed, but observations have .*camera.*; build them for those entries",
    ),
    (
        Robot,
        NestedNormalizer({"camera": ChannelNormalizer(4)}),
        r"`statistics` have shape \(4,\), but observations\[camera\] have shape \(3,\); build",
    ),
    (
        Robot,
        NestedNormalizer({"gear": RunningMeanStd(())}),
        r"`statistics` are a RunningMeanStd, but observations\[gear\] lie in Discrete\(5\); pass",
    ),
]


@pytest.mark.parametrize(("env", "statistics", "message"), REFUSALS)
def test_statistics_for_other_observations_are_refused_with_their_place(env, statistics, message: str) -> None:
    """[R21] [R37]"""
    with pytest.raises(InvalidArgument, match=message):
        NormalizeObservation(env(), statistics=statistics)


def test_a_tuple_is_normalized_by_place() -> None:
    """[R17]"""
    env = NormalizeObservation(Places())
    assert env.observation_space[0].dtype == np.float32
    assert env.observation_space[1] == spaces.Text(3)
    assert torch.equal(env.statistics.part("0").mean, torch.zeros(2, dtype=torch.float64))
