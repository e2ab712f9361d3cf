"""What the tests of Stable-Baselines3 demand of its VecNormalize, asked of ours, where they state the truth.

The table in docs/normalization.md says which demand is held by which test, and which ones are refused.
"""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

sb3 = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed (extra sb3)")

from stable_baselines3 import HerReplayBuffer  # noqa: E402 - after the skip
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import (  # noqa: E402
    DummyVecEnv,
    VecFrameStack,
    sync_envs_normalization,
    unwrap_vec_normalize,
)
from stable_baselines3.common.vec_env import VecNormalize as TheirVecNormalize  # noqa: E402

from accredit.errors import InvalidArgument  # noqa: E402
from accredit.integrations.stable_baselines3 import VecNormalize, take_over_vec_normalize  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

PAY = (2.0, 5.0, 11.0)


class Scripted(gymnasium.Env):
    """Episodes of three steps with rewards 2, 5, 11, observed from a start of its own."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-100, 100, (1,))

    def __init__(self, start: float = 0.0) -> None:
        self.start = start

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.array([self.start], np.float32), {}

    def step(self, action):
        reward = PAY[self.steps]
        self.steps += 1
        return np.array([self.start + reward], np.float32), reward, self.steps == len(PAY), False, {}


class Random(gymnasium.Env):
    """Observes samples of a space; episodes of seven steps with normal rewards."""

    action_space = spaces.Box(-1, 1, (2,))

    def __init__(self, space: spaces.Space) -> None:
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def compute_reward(self, achieved_goal, desired_goal, info):
        return -np.linalg.norm(achieved_goal - desired_goal, axis=-1)

    def step(self, action):
        self.steps += 1
        return self.observation_space.sample(), float(self.np_random.normal()), False, self.steps == 7, {}


BOX = spaces.Box(-20, 20, (4,))
SPACES = {
    "box": BOX,
    "dictionary": spaces.Dict({"observation": BOX, "achieved_goal": BOX, "desired_goal": BOX}),
    "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
}
MIXED = spaces.Dict({"one": BOX, "place": spaces.Discrete(4), "two": BOX})


def plain(space: spaces.Space, n_envs: int = 1) -> DummyVecEnv:
    space.seed(0)
    venv = DummyVecEnv([lambda: Monitor(Random(space))] * n_envs)
    venv.seed(0)
    return venv


def warm(space: spaces.Space, n_steps: int = 60, **settings) -> VecNormalize:
    env = VecNormalize(plain(space), **settings)
    env.reset()
    for _ in range(n_steps):
        env.step(np.zeros((1, 2)))
    return env


def entries(observation) -> dict:
    return observation if isinstance(observation, dict) else {"": observation}


def assert_same(one, other) -> None:
    for name, value in entries(one).items():
        np.testing.assert_array_equal(value, entries(other)[name])


def statistics_of(env: VecNormalize) -> dict[str, torch.Tensor]:
    parts = {**entries(env.obs_rms), "return": env.ret_rms}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


def test_means_of_observations_and_returns_are_those_of_the_script() -> None:
    """[R22] After the reset, after one step, and after whole episodes; exactly, for no phantom sample is in them."""
    env = VecNormalize(DummyVecEnv([lambda: Scripted(0.0), lambda: Scripted(1.0)]))
    env.reset()
    assert env.obs_rms.mean.item() == 0.5
    assert (int(env.ret_rms.count), float(env.ret_rms.mean)) == (0, 0.0)
    env.step([0, 0])
    assert env.obs_rms.mean.item() == (0 + 1 + 2 + 3) / 4
    assert float(env.ret_rms.mean) == 2.0
    for _ in range(3 * 40 - 1):
        env.step([0, 0])
    returns = [2, 2 * 0.99 + 5, (2 * 0.99 + 5) * 0.99 + 11]
    assert float(env.ret_rms.mean) == pytest.approx(np.mean(returns), rel=1e-12)
    assert float(env.ret_rms.std) == pytest.approx(np.std(returns), rel=1e-12)
    assert env.returns.tolist() == [0.0, 0.0]
    # the last observation of an episode is not taken in there: 0 (once more at the start), 2, 5 per environment
    seen = np.array([0.0] + [2.0, 5.0, 0.0] * 40)
    assert env.obs_rms.mean.item() == pytest.approx(seen.mean() + 0.5, rel=1e-12)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_outputs_are_clipped_and_a_saved_wrapper_comes_back_whole(space: spaces.Space, tmp_path: Path) -> None:
    """[R17] [R26] Statistics bit-equal, and every setting."""
    settings = {"clip_obs": 0.5, "clip_reward": 0.7, "gamma": 0.8, "epsilon": 1e-3, "training": True}
    env = VecNormalize(plain(space, 3), **settings)
    env.reset()
    for _ in range(30):
        observations, rewards, *_ = env.step(np.zeros((3, 2)))
        assert max(np.abs(entry).max() for entry in entries(observations).values()) <= 0.5
        assert np.abs(rewards).max() <= 0.7
    env.save(tmp_path / "statistics.pt")
    again = VecNormalize.load(tmp_path / "statistics.pt", plain(space, 3))
    assert (again.observation_space, again.action_space) == (env.observation_space, env.action_space)
    for name in (*settings, "norm_obs", "norm_reward", "norm_obs_keys", "num_envs"):
        assert getattr(again, name) == getattr(env, name)
    for name, value in statistics_of(env).items():
        assert torch.equal(statistics_of(again)[name], value)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_originals_are_kept_and_normalize_to_what_came_out(space: spaces.Space) -> None:
    """[R17] Bit for bit; neither shape nor dtype of a reward changes."""
    env = warm(space)
    for _ in range(3):
        observations, rewards, *_ = env.step(np.zeros((1, 2)))
        original = env.get_original_obs()
        for name, entry in entries(original).items():
            assert entry.shape == entries(observations)[name].shape
            assert not np.array_equal(entry, entries(observations)[name])
        assert env.get_original_reward().dtype == rewards.dtype
        assert not np.array_equal(env.get_original_reward(), rewards)
        assert_same(env.normalize_obs(original), observations)
        np.testing.assert_array_equal(env.normalize_reward(env.get_original_reward()), rewards)
        np.testing.assert_allclose(env.unnormalize_reward(rewards), env.get_original_reward(), rtol=1e-6)
        for name, entry in entries(env.unnormalize_obs(observations)).items():
            np.testing.assert_allclose(entry, entries(original)[name], rtol=1e-5, atol=1e-3)


def test_rewards_from_elsewhere_are_scaled_in_any_number() -> None:
    """[R22] Returns of pay spread by more than 1, so that a reward of 1 shrinks."""
    env = VecNormalize(DummyVecEnv([Scripted]))
    env.reset()
    for _ in range(30):
        env.step([0])
    scaled = env.normalize_reward(np.array([1, 1, 1]))
    assert scaled.shape == (3,)
    assert (scaled < 1).all()


def test_what_comes_out_can_be_written_into() -> None:
    """[R37] Nothing that is kept is the same memory, with and without normalization."""
    for switch in (True, False):
        env = warm(BOX, norm_obs=switch, norm_reward=switch)
        observations, rewards, *_ = env.step(np.zeros((1, 2)))
        kept = env.get_original_obs(), env.get_original_reward()
        observations[:], rewards[:] = 77.0, 77.0
        assert_same(env.get_original_obs(), kept[0])
        assert_same(env.get_original_reward(), kept[1])
        original = env.get_original_reward()
        env.normalize_reward(original)[:] = 77.0
        assert_same(original, kept[1])


def test_entries_that_are_not_named_come_out_as_they_are() -> None:
    """[R37] Those of a mixed dictionary as well, which is refused otherwise."""
    env = warm(MIXED, norm_obs_keys=["one"])
    observations, *_ = env.step(np.zeros((1, 2)))
    original = env.get_original_obs()
    assert not np.array_equal(observations["one"], original["one"])
    for name in ("two", "place"):
        np.testing.assert_array_equal(observations[name], original[name])


def test_observations_without_a_mean_are_refused_unless_left_alone() -> None:
    """[R37] In Stable-Baselines3's own words."""
    with pytest.raises(ValueError, match="only supports"):
        warm(spaces.Discrete(48))
    warm(spaces.Discrete(48), n_steps=2, norm_obs=False)
    with pytest.raises(ValueError, match="is applicable only"):
        warm(BOX, norm_obs_keys=["key"])
    with pytest.raises(ValueError, match="explicitly pass the observation keys"):
        warm(MIXED)
    warm(MIXED, n_steps=2, norm_obs_keys=["one", "two"])
    warm(MIXED, n_steps=2, norm_obs=False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gamma": 2.0}, r"`gamma` is 2.0, but a discount lies in \[0, 1\]; pass"),
        ({"epsilon": 0.0}, r"`epsilon` is 0.0, but it is a floor on the variance; pass"),
        ({"clip_obs": -1.0}, r"`clip` is -1.0, but it bounds a magnitude; pass"),
        ({"clip_reward": 0.0}, r"`clip` is 0.0, but it bounds a magnitude; pass"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float], message: str) -> None:
    """[R37]"""
    with pytest.raises(InvalidArgument, match=message):
        VecNormalize(plain(BOX), **setting)


def test_a_reset_begins_new_returns() -> None:
    """[R22] In the middle of an episode, too."""
    env = VecNormalize(DummyVecEnv([Scripted]))
    for _ in range(2):
        env.reset()
        env.step([0])
    assert env.returns.tolist() == [2.0]
    assert float(env.ret_rms.var) == 0.0


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "HER"])
def test_off_policy_algorithms_train_while_environments_are_swapped(algorithm: str) -> None:
    """[R37] And find the wrapper of the environment they have, replay of goals included."""
    space = SPACES["dictionary"] if algorithm == "HER" else BOX
    env = VecNormalize(plain(space))
    evaluation = VecNormalize(plain(space), training=False, norm_reward=False)
    make = sb3.TD3 if algorithm == "TD3" else sb3.SAC
    settings = {"learning_starts": 16, "buffer_size": 200, "policy_kwargs": {"net_arch": [8]}, "batch_size": 8}
    if algorithm == "HER":
        settings |= {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"n_sampled_goal": 2}}
    model = make("MultiInputPolicy" if algorithm == "HER" else "MlpPolicy", env, **settings)
    assert model.get_vec_normalize_env() is env
    model.set_env(evaluation)
    assert model.get_vec_normalize_env() is evaluation
    model.learn(10)
    model.set_env(env)
    model.learn(30)
    assert isinstance(model.get_vec_normalize_env(), VecNormalize)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    part = next(iter(entries(evaluation.obs_rms).values()))
    assert int(part.count) == 0


@pytest.mark.parametrize("name", ["box", "dictionary"])
def test_statistics_are_copied_to_an_evaluation_environment(name: str) -> None:
    """[R26] Through a frame stack too; the settings of each stay its own."""
    base = plain(SPACES[name])
    assert unwrap_vec_normalize(base) is None
    ours = VecNormalize(base, clip_obs=100.0, clip_reward=100.0)
    theirs = VecNormalize(plain(SPACES[name]), training=False, clip_obs=1.5, clip_reward=0.125)
    env, evaluation = (VecFrameStack(ours, 1), VecFrameStack(theirs, 1)) if name == "box" else (ours, theirs)
    assert unwrap_vec_normalize(env) is ours
    env.reset()
    for _ in range(40):
        env.step(np.zeros((1, 2)))
    observations = entries(env.reset())
    original = ours.get_original_obs()
    before = entries(theirs.normalize_obs(original))
    sync_envs_normalization(env, evaluation)
    after = entries(theirs.normalize_obs(original))
    for key, entry in observations.items():
        assert not np.array_equal(after[key], before[key])
        np.testing.assert_array_equal(after[key], np.clip(entry, -1.5, 1.5))
    rewards = np.linspace(-0.1, 9, 12)
    np.testing.assert_array_equal(theirs.normalize_reward(rewards), np.clip(ours.normalize_reward(rewards), -1, 0.125))
    # the copy stands by itself, and fits another number of environments
    moments = theirs.ret_rms.moments.clone()
    env.step(np.zeros((1, 2)))
    assert torch.equal(theirs.ret_rms.moments, moments)


def test_return_statistics_alone_are_copied_too() -> None:
    """[R26] Where no observation is normalized; from two environments to three, that train on."""
    env = VecNormalize(plain(BOX, 2), norm_obs=False)
    evaluation = VecNormalize(plain(BOX, 3), norm_obs=False)
    env.reset()
    env.step(np.zeros((2, 2)))
    assert float(env.ret_rms.mean) != float(evaluation.ret_rms.mean)
    sync_envs_normalization(env, evaluation)
    assert torch.equal(evaluation.ret_rms.moments, env.ret_rms.moments)
    evaluation.reset()
    evaluation.step(np.zeros((3, 2)))
    assert int(evaluation.ret_rms.count) == 2 + 3


def test_settings_can_be_changed_on_the_wrapper() -> None:
    """[R37] As in theirs, whose outputs are made from them at every call; the file has what holds now."""
    env = warm(BOX, clip_obs=10.0)
    env.clip_obs, env.clip_reward, env.gamma = 0.1, 0.2, 0.0
    observations, rewards, *_ = env.step(np.zeros((1, 2)))
    assert np.abs(observations).max() <= 0.1
    assert np.abs(rewards).max() <= 0.2
    assert env.returns.tolist() == pytest.approx(env.get_original_reward().tolist(), rel=1e-6)
    env.training, count = False, int(env.obs_rms.count)
    env.step(np.zeros((1, 2)))
    assert int(env.obs_rms.count) == count


def test_a_changed_wrapper_can_be_saved_and_loaded(tmp_path: Path) -> None:
    """[R26]"""
    env = warm(BOX)
    env.clip_obs, env.clip_reward, env.epsilon = 0.1, 0.2, 1e-3
    env.save(tmp_path / "statistics.pt")
    again = VecNormalize.load(tmp_path / "statistics.pt", plain(BOX))
    assert (again.clip_obs, again.clip_reward, again.epsilon) == (0.1, 0.2, 1e-3)
    assert torch.equal(again.obs_rms.moments, env.obs_rms.moments)


def test_epsilon_is_a_floor_on_the_variance_of_observations() -> None:
    """[R24] By position, as theirs: eighth."""
    env = VecNormalize(plain(BOX), True, True, True, 10.0, 10.0, 0.99, 4.0)
    assert env.epsilon == 4.0
    # nothing seen: variance 1, raised to 4
    np.testing.assert_allclose(env.normalize_obs(np.full((1, 4), 3.0)), 1.5)


def test_evaluation_and_checkpoint_callbacks_take_the_statistics_along(tmp_path: Path) -> None:
    """[R26] The evaluation sees those of training; a model and its statistics, saved and loaded, act as before."""
    env, evaluation = VecNormalize(plain(BOX, 2)), VecNormalize(plain(BOX), training=False, norm_reward=False)
    model = sb3.PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, policy_kwargs={"net_arch": [8]})
    evaluate = EvalCallback(evaluation, eval_freq=8, n_eval_episodes=1, best_model_save_path=str(tmp_path), verbose=0)
    save = CheckpointCallback(16, str(tmp_path), save_vecnormalize=True)
    model.learn(32, callback=[evaluate, save])
    assert int(evaluation.obs_rms.count) == int(env.obs_rms.count) == 34
    (written,) = tmp_path.glob("*vecnormalize*")
    torch.load(written, weights_only=True)
    again = VecNormalize.load(written, plain(BOX))
    assert torch.equal(again.obs_rms.moments, env.obs_rms.moments)
    model.save(tmp_path / "policy.zip")
    policy = sb3.PPO.load(tmp_path / "policy.zip")
    observation = np.full((1, 4), 3.0, np.float32)
    actions = [
        actor.predict(wrapper.normalize_obs(observation), deterministic=True)[0]
        for actor, wrapper in ((model, env), (policy, again))
    ]
    np.testing.assert_array_equal(*actions)


@pytest.mark.parametrize("name", ["box", "dictionary"])
def test_a_live_wrapper_of_theirs_is_taken_over(name: str) -> None:
    """[R18] Statistics without the phantom sample, settings and returns; both go on to the same outputs."""
    theirs = TheirVecNormalize(plain(SPACES[name], 2), clip_obs=3.0, clip_reward=4.0, gamma=0.9, epsilon=1e-6)
    theirs.reset()
    for _ in range(50):
        theirs.step(np.zeros((2, 2)))
    ours = take_over_vec_normalize(theirs)
    original = theirs.get_original_obs()
    for key, entry in entries(ours.normalize_obs(original)).items():
        np.testing.assert_allclose(entry, entries(theirs.normalize_obs(original))[key], rtol=1e-3, atol=1e-3)
    # 100 returns: theirs divides by the population's deviation, ours by the sample's, less a phantom
    rewards = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(
        ours.normalize_reward(rewards), theirs.normalize_reward(rewards) * np.sqrt(99 / 100), rtol=1e-4
    )
    assert (ours.clip_obs, ours.clip_reward, ours.gamma, ours.epsilon) == (3.0, 4.0, 0.9, 1e-6)
    assert ours.returns.tolist() == theirs.returns.tolist()
    assert int(ours.ret_rms.count) == 100
    ours.step(np.zeros((2, 2)))
    assert int(ours.ret_rms.count) == 102


def test_a_wrapper_of_theirs_that_leaves_observations_alone_is_taken_over() -> None:
    """[R37]"""
    ours = take_over_vec_normalize(TheirVecNormalize(plain(spaces.Discrete(4)), norm_obs=False))
    assert ours.reset().shape == (1,)
    assert int(ours.ret_rms.count) == 0
