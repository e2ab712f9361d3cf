"""The Gymnasium faces: the checker, autoreset, masks, exact continuation, divergence.

E environments, F fields, A actions, T steps.
"""

import dataclasses
import warnings
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from training_toys import HOST_PARAMETERS, KIND, SHORT, TOY, same

from accredit.growth.stage import Operation
from accredit.telemetry import Event, HostDiverged, StageChanged, StepCompleted
from accredit.training.config import EpisodeConfig
from accredit.training.environment import GrowthEnv, GrowthVectorEnv
from accredit.training.host_seeds import HostSeeds, Purpose
from accredit.training.task import Task

E = 3


def vector(count: int = E, *, config: EpisodeConfig = SHORT, on_event: Callable[[Event], None] | None = None):
    return GrowthVectorEnv(count, task=TOY, config=config, on_event=on_event)


def random_legal(masks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.where(masks, generator.random(masks.shape), -1.0).argmax(-1)


def play(env: GrowthVectorEnv, steps: int, seed: int = 0, *, masks: np.ndarray | None = None) -> list[tuple]:
    """Take random legal steps; return what each brought."""
    generator = np.random.default_rng(seed)
    masks = env.reset(seed=7)[1]["action_mask"] if masks is None else masks
    seen = []
    for _ in range(steps):
        outcome = env.step(random_legal(masks, generator))
        masks = outcome[4]["action_mask"]
        seen.append(outcome)
    return seen


def assert_same(first: tuple, second: tuple, *, rows: list[int] | slice = slice(None)) -> None:
    for one, other in zip(first[:4], second[:4], strict=True):
        assert np.array_equal(one[rows], other[rows])
    assert np.array_equal(first[4]["action_mask"][rows], second[4]["action_mask"][rows])


POISON = len(TOY.splits.train)


def with_poison() -> Task:
    """Return the toy task with one more training example, at POISON, that ruins whoever learns from it."""
    splits = TOY.splits
    inputs = torch.cat([splits.train.inputs, torch.full((1, 8), torch.inf)])
    labels = torch.cat([splits.train.labels, torch.zeros(1, dtype=torch.int64)])
    poisoned = dataclasses.replace(splits, train=dataclasses.replace(splits.train, inputs=inputs, labels=labels))
    return dataclasses.replace(TOY, load=lambda: poisoned)


def test_gymnasiums_checker_passes():
    """[R35] The one warning that is expected says that only a registered environment can be checked for rendering."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(GrowthEnv(task=TOY, config=SHORT), skip_render_check=True)
    matter = [str(w.message) for w in caught if "spec" not in str(w.message) and "registered" not in str(w.message)]
    assert matter == []


def test_observations_stay_in_their_space_through_random_episodes():
    """[R35]"""
    env = vector()
    observations, _ = env.reset(seed=0)
    assert env.observation_space.contains(observations)
    for observation, *_ in play(env, 3 * SHORT.steps):
        assert env.observation_space.contains(observation)
    assert env.single_action_space == gymnasium.spaces.Discrete(len(env.episodes.actions))


def test_an_ended_environment_begins_the_next_episode_in_the_same_step():
    """[R35] The last observation of the old episode is in `final_obs`; the horizon is terminal, nothing truncated."""
    env = vector()
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    seen = play(env, SHORT.steps)
    time = env.episodes.fields.index("time")
    for observation, _, terminated, truncated, info in seen[:-1]:
        assert not terminated.any()
        assert not truncated.any()
        assert "final_obs" not in info
        assert (observation[:, time] > 0).all()
    observation, _, terminated, truncated, info = seen[-1]
    assert terminated.all()
    assert not truncated.any()
    assert (observation[:, time] == 0).all()
    assert all(final[time] == 1.0 for final in info["final_obs"])
    assert info["_final_obs"].all()
    empty = [env.episodes.actions.find(Operation.GRAFT, slot, 0) for slot in range(3)]
    assert info["action_mask"][:, empty].all()
    assert np.allclose(info["final_gain_over_control"], [f[time + 5] for f in info["final_obs"]], atol=1e-5)


def test_rewards_are_the_sum_of_their_terms_and_of_what_the_observations_show():
    """[R35] Gain from the losses that the policy sees, rent from the share of parameters."""
    env = vector(1)
    first, _ = env.reset(seed=1)
    fields, table = env.episodes.fields, env.episodes.actions
    action = np.array([table.find(Operation.GRAFT, 0, KIND["mlp"])])
    then, reward, _, _, info = env.step(action)
    loss, control = fields.index("log_loss"), fields.index("control_log_loss")
    parameters = 8 * 16 + 16 + 16 * 8 + 8
    wanted = (first[0, loss] - then[0, loss]) - (first[0, control] - then[0, control])
    wanted -= SHORT.reward.rent * parameters / HOST_PARAMETERS / SHORT.steps + SHORT.reward.graft_cost
    assert float(reward[0]) == pytest.approx(float(wanted), abs=1e-5)
    assert float(reward[0]) == pytest.approx(
        float((info["gain"] - info["control_gain"] - info["rent"] - info["graft_cost"])[0])
    )
    assert then[0, fields.index("graft_share")] == pytest.approx(parameters / HOST_PARAMETERS, rel=1e-5)


def test_an_ungrown_host_earns_nothing():
    """[R35] It is its own control."""
    env = vector()
    env.reset(seed=3)
    for _ in range(SHORT.steps):
        _, reward, *_ = env.step(np.zeros(E, dtype=np.int64))
        assert np.abs(reward).max() < 1e-6


def test_an_illegal_action_counts_as_waiting():
    """[R35]"""
    waits, breaks = vector(), vector()
    waits.reset(seed=2)
    masks = breaks.reset(seed=2)[1]["action_mask"]
    illegal = np.array([int(np.flatnonzero(~mask)[-1]) for mask in masks])
    assert_same(waits.step(np.zeros(E, dtype=np.int64)), breaks.step(illegal))


def test_the_same_seed_gives_the_same_trajectory_and_another_one_another():
    """[R10]"""
    first, second = (play(vector(), 2 * SHORT.steps) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)
    env, other_env = vector(), vector()
    assert not np.array_equal(env.reset(seed=0)[0], other_env.reset(seed=1)[0])


def test_a_reset_without_a_seed_goes_on_in_the_order_of_hosts():
    """[R10] And the pool that was given is the one that is met."""
    seeds = HostSeeds(5, Purpose.DESIGN, count=4)
    env = GrowthVectorEnv(2, task=TOY, config=SHORT, host_seeds=HostSeeds(5, Purpose.DESIGN, count=4))
    met = []
    for _ in range(2):
        env.reset()
        met += env.episodes.seeds.tolist()
    assert met == [seeds.draw() for _ in range(4)]


def test_one_environment_of_a_vector_agrees_with_the_single_environment():
    """[R35] Stacked host against a plain growing network."""
    env, single = vector(1), GrowthEnv(task=TOY, config=SHORT)
    masks = env.reset(seed=4)[1]["action_mask"]
    alone, info = single.reset(seed=4)
    generator = np.random.default_rng(0)
    for step in range(SHORT.steps):
        assert np.array_equal(info["action_mask"], masks[0])
        action = random_legal(masks, generator)
        observation, reward, terminated, _, more = env.step(action)
        alone, alone_reward, alone_ended, _, info = single.step(action[0])
        assert alone_reward == pytest.approx(float(reward[0]), abs=1e-4)
        assert alone_ended == bool(terminated[0]) == (step == SHORT.steps - 1)
        assert np.allclose(more["final_obs"][0] if alone_ended else observation[0], alone, atol=1e-4)
        masks = more["action_mask"]


@pytest.mark.parametrize("at", [0, 2, SHORT.steps, SHORT.steps + 3])
def test_a_state_taken_in_the_middle_of_an_episode_continues_bit_equal(at: int):
    """[R29]"""
    whole, resumed = vector(), vector()
    play(whole, at)
    if at == 0:
        whole.reset(seed=7)
    state = whole.state_dict()
    resumed.load_state_dict(state)
    assert same(resumed.state_dict(), state)
    pair = (play(env, SHORT.steps + 2, seed=11, masks=env.action_masks()) for env in (whole, resumed))
    for one, other in zip(*pair, strict=True):
        assert_same(one, other)
    assert same(whole.state_dict(), resumed.state_dict())
    assert not same(state, resumed.state_dict()), "the state that was saved must not move with the environment"


def test_a_host_that_diverges_is_rolled_back_and_its_episode_ends_while_others_do_not_notice():
    """[R25] An example that is not finite is planted in the training data of one host, in the middle of its episode."""
    events: list[Event] = []
    sound, sick = vector(), vector(on_event=events.append)
    generator = np.random.default_rng(3)
    masks = sound.reset(seed=7)[1]["action_mask"]
    sick.reset(seed=7)
    for step in range(4):
        actions = random_legal(masks, generator)
        if step == 3:
            weights = sick.episodes.hosts.weights[1].clone()
            sick.episodes.task = with_poison()
            sick.episodes._indices[1, 3] = POISON  # seen by this host alone
        healthy, ill = sound.step(actions), sick.step(actions)
        masks = healthy[4]["action_mask"]
    assert_same(healthy, ill, rows=[0, 2])
    assert ill[2].tolist() == [False, True, False]
    assert np.isfinite(ill[1]).all()
    assert float(ill[4]["gain"][1]) < -0.1, "divergence costs the way to the cap"
    assert np.isfinite(ill[0]).all()
    assert np.isfinite(ill[4]["final_obs"][1]).all()
    assert sick.observation_space.contains(ill[0])
    assert sick.episodes.time.tolist() == [4, 0, 4]
    assert not torch.equal(sick.episodes.hosts.weights[1], weights), "the row holds its next host"
    assert bool(torch.isfinite(sick.episodes.hosts.weights).all())
    told = [event for event in events if isinstance(event, HostDiverged)]
    assert [(e.origin.environment, e.origin.episode, e.origin.step) for e in told] == [("env-001", 0, 4)]
    last = [e for e in events if isinstance(e, StepCompleted) and e.origin.environment == "env-001"][-1]
    assert last.log_loss is None


def test_a_diverged_host_stands_where_it_stood_before_the_step():
    """[R25] Weights and optimizer state, before anybody resets it; an evaluation goes on from there."""
    env = vector()
    env.reset(seed=7)
    episodes = env.episodes
    episodes.step(np.zeros(E, dtype=np.int64))
    before = episodes.hosts.state_dict()
    episodes.task = with_poison()
    episodes._indices[1, 1] = POISON
    outcome = episodes.step(np.zeros(E, dtype=np.int64))
    after = episodes.hosts.state_dict()
    assert outcome.diverged.tolist() == [False, True, False]
    for name in ("weights", "momentum", "square", "steps"):
        assert torch.equal(after[name][1], before[name][1])
        assert not torch.equal(after[name][0], before[name][0])


@pytest.mark.parametrize("rate", [1e4, 1e30])
def test_hosts_and_controls_that_all_diverge_leave_finite_rewards_and_observations(rate: float):
    """[R25] A learning rate that is far too large; infinite minus infinite must not become NaN."""
    env = vector(config=dataclasses.replace(SHORT, learning_rate=rate))
    observations, _ = env.reset(seed=0)
    graft = env.episodes.actions.find(Operation.GRAFT, 0, KIND["mlp"])
    for action in (graft, 0, 0, 0):
        observations, reward, terminated, _, info = env.step(np.full(E, action))
        assert np.isfinite(reward).all()
        assert np.isfinite(observations).all()
        for row in np.flatnonzero(terminated):
            assert np.isfinite(info["final_obs"][row]).all()


def test_stages_that_change_are_told_with_their_origin():
    """[R32] A graft by its whole life: graft, blend, the end of the blend, and the drop at the horizon."""
    events: list[Event] = []
    env = vector(1, on_event=events.append)
    table = env.episodes.actions
    env.reset(seed=0)
    for action in (table.find(Operation.GRAFT, 1, KIND["affine"]), 0, table.find(Operation.BLEND, 1), 0, 0, 0):
        env.step(np.array([action]))
    told = [e for e in events if isinstance(e, StageChanged)]
    assert [(e.operation, e.source, e.target, e.origin.step) for e in told] == [
        ("graft", "empty", "training", 0),
        ("blend", "training", "blending", 2),
        ("blended", "blending", "holding", 3),
        ("dropped", "holding", "empty", 6),
    ]
    assert {(e.slot, e.kind, e.origin.environment, e.origin.episode) for e in told} == {
        ("hidden1", "affine", "env-000", 0)
    }
    steps = [e for e in events if isinstance(e, StepCompleted)]
    assert [e.origin.step for e in steps] == [1, 2, 3, 4, 5, 6]
    assert [e.graft_parameters for e in steps] == [12, 12, 12, 12, 12, 0]
    assert all(e.reward == pytest.approx(e.gain - e.control_gain - e.rent - e.graft_cost) for e in steps)


def test_wrappers_of_gymnasium_for_vector_environments_take_it():
    """[R35] Returns and lengths of whole episodes, and infos cut into one for each environment."""
    env = RecordEpisodeStatistics(vector())
    masks, generator, returns = env.reset(seed=0)[1]["action_mask"], np.random.default_rng(0), np.zeros(E)
    for step in range(SHORT.steps):
        _, rewards, _, _, info = env.step(random_legal(masks, generator))
        masks, returns = info["action_mask"], returns + rewards
        assert ("episode" in info) == (step == SHORT.steps - 1)
    assert np.allclose(info["episode"]["r"], returns, atol=1e-6)
    assert info["episode"]["l"].tolist() == [SHORT.steps] * E
    listed = DictInfoToList(vector())
    _, infos = listed.reset(seed=0)
    assert [sorted(one) for one in infos] == [["action_mask"]] * E
    for _ in range(SHORT.steps):
        *_, infos = listed.step(np.zeros(E, dtype=np.int64))
    assert all(listed.single_observation_space.contains(one["final_obs"]) for one in infos)
