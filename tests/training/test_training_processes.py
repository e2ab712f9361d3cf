"""Environments in groups, in one process and in two: the same bits, and clear words where a process fails or ends.

E environments in three groups: the first is here, the others are in a second process.
"""

import dataclasses
import os
import signal
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from training_toys import SHORT, TINY, TOY, same

from accredit.errors import InvalidArgument, TrainingFailed
from accredit.telemetry import Event, StepCompleted
from accredit.training.config import MAY_CHANGE_ON_RESUME, TrainConfig
from accredit.training.environment import GrowthVectorEnv
from accredit.training.group_processes import GroupProcess
from accredit.training.groups import EpisodeGroup, GroupSettings
from accredit.training.trainer import Trainer

E, GROUPS = 5, 3


def play(env: GrowthVectorEnv, masks: np.ndarray, *, steps: int, seed: int) -> list[tuple]:
    """Take random legal steps; return what each brought."""
    generator, seen = np.random.default_rng(seed), []
    for _ in range(steps):
        seen.append(env.step(np.where(masks, generator.random(masks.shape), -1.0).argmax(-1)))
        masks = seen[-1][4]["action_mask"]
    return seen


def assert_same(first: list[tuple], second: list[tuple]) -> None:
    for one, other in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))
        assert one[4].keys() == other[4].keys()
        for name in one[4].keys() - {"final_obs"}:
            assert np.array_equal(one[4][name], other[4][name]), name


def environments(*, processes: int = 1, groups: int = GROUPS, events: list[Event] | None = None) -> GrowthVectorEnv:
    hear = None if events is None else events.append
    return GrowthVectorEnv(E, task=TOY, config=SHORT, groups=groups, processes=processes, on_event=hear)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[GrowthVectorEnv, list[Event]]]:
    """Environments in two processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    events: list[Event] = []
    env = environments(processes=2, events=events)
    yield env, events
    env.close()
    torch.set_num_threads(threads)


def test_two_processes_give_the_bits_of_one(shared):
    """[R10] Observations, rewards, masks, results, events in their order, and the state at the end; tolerance 0."""
    env, events = shared
    alone: list[Event] = []
    other = environments(events=alone)
    outcomes = [
        play(each, each.reset(seed=7)[1]["action_mask"], steps=2 * SHORT.steps + 2, seed=1) for each in (env, other)
    ]
    assert_same(*outcomes)
    assert events == alone
    assert [e.origin.environment for e in events if isinstance(e, StepCompleted)][:E] == [
        f"env-00{at}" for at in range(E)
    ]
    assert same(env.state_dict(), other.state_dict())
    assert np.array_equal(env.observations(), other.observations())
    assert np.array_equal(env.action_masks(), other.action_masks())


def test_a_state_goes_on_in_any_number_of_processes(shared):
    """[R29] [R31] Taken in two and loaded in one, and the other way round, in the middle of an episode."""
    env, _ = shared
    play(env, env.reset(seed=3)[1]["action_mask"], steps=3, seed=2)
    state, here = env.state_dict(), environments()
    here.load_state_dict(state)
    first = play(here, here.action_masks(), steps=SHORT.steps, seed=4)
    assert_same(first, play(env, env.action_masks(), steps=SHORT.steps, seed=4))
    later = here.state_dict()
    assert same(env.state_dict(), later)
    env.load_state_dict(state)
    assert_same(first, play(env, env.action_masks(), steps=SHORT.steps, seed=4))
    assert same(env.state_dict(), later)


def test_what_fails_in_another_process_is_said_here_and_the_process_goes_on(shared):
    """[R11] With its environments, the error, and its traceback in the notes."""
    process = shared[0]._processes[0]
    process.ask(1, partial(EpisodeGroup.step, actions="nonsense"))
    with pytest.raises(
        TrainingFailed,
        match=r"`GrowthVectorEnv` has a process of environments env-001 to env-004 that failed with \w*Error: .*, "
        r"wanted an answer; see its traceback .* or pass processes=1",
    ) as failure:
        process.answer()
    assert "Traceback" in failure.value.__notes__[0]
    process.ask(1, partial(EpisodeGroup.view))
    assert process.answer().observations.shape == shared[0].observations()[3:].shape


def test_a_process_that_was_killed_is_said_and_so_is_everything_asked_after_it(shared):
    """[R29] The run goes on from its last checkpoint; this one is the last test of these environments."""
    env, _ = shared
    pid = env._processes[0].process.pid
    os.kill(pid, signal.SIGKILL)
    said = (
        r"`GrowthVectorEnv` lost the process of environments env-001 to env-004, which ended by SIGKILL, wanted an "
        r"answer; its hosts are lost .* resume the run from its last checkpoint"
    )
    for _ in range(2):
        with pytest.raises(TrainingFailed, match=said):
            env.step(np.zeros(E, dtype=np.int64))


def test_groups_share_the_controls_that_one_of_them_has_trained():
    """[R29] In the second pass over the hosts nobody trains one; a state that was loaded knows them too."""
    env = environments()
    for _ in range(4):
        env.reset()
    told = [sorted(group.group.episodes.controls.known) for group in env._groups]
    assert set().union(*told) == set(env._controls)
    assert len(env._controls) == SHORT.host_seeds
    trained: list[int] = []
    for group in env._groups:
        group.group.episodes.controls._train = lambda seeds: trained.extend(seeds)
    for _ in range(4):
        env.reset()
    assert trained == []
    resumed = environments()
    resumed.load_state_dict(env.state_dict())
    assert resumed._controls == env._controls


def test_one_group_is_what_all_environments_are_in_unless_it_is_said_otherwise():
    """[R10] `episodes` looks inside it; of several it is refused."""
    assert len(environments(groups=1).episodes.seeds) == E
    with pytest.raises(InvalidArgument, match=r"`episodes` was asked of 3 groups, wanted one .* or pass groups=1"):
        _ = environments().episodes


def test_groups_are_of_almost_equal_size_and_hosts_are_drawn_in_the_order_of_environments():
    """[R10] Which hosts are met depends on neither groups nor processes."""
    env, whole = environments(), environments(groups=1)
    env.reset(seed=2)
    whole.reset(seed=2)
    assert [len(group.group.episodes.seeds) for group in env._groups] == [1, 2, 2]
    met = np.concatenate([group.group.episodes.seeds for group in env._groups])
    assert np.array_equal(met, whole.episodes.seeds)


@pytest.mark.parametrize(
    ("groups", "processes", "sentence"),
    [
        (0, 1, "`groups` is 0, but the environments are 5; pass 1 to 5 groups"),
        (6, 1, "`groups` is 6, but the environments are 5; pass 1 to 5 groups"),
        (2, 0, "`processes` is 0, but environments are in 2 groups, and .*; pass 1 to 2 processes, or more groups"),
        (2, 3, "`processes` is 3, but environments are in 2 groups, and .*; pass 1 to 2 processes, or more groups"),
    ],
)
def test_splits_that_cannot_be_are_refused(groups: int, processes: int, sentence: str):
    """[R37] By the environments and by the configuration of a run."""
    with pytest.raises(InvalidArgument, match=sentence):
        environments(groups=groups, processes=processes)
    with pytest.raises(InvalidArgument, match=sentence):
        TrainConfig(environments=E, groups=groups, processes=processes)


def test_a_task_that_cannot_travel_is_refused_before_a_process_is_started():
    """[R37]"""
    task = dataclasses.replace(TOY, load=lambda: TOY.splits)
    with pytest.raises(InvalidArgument, match=r"`task` 'toy' cannot be sent to another process \(.*\), .* processes=1"):
        GroupProcess([GroupSettings(task=task, config=SHORT, names=("env-000",))], on_event=None)


def test_a_run_may_change_its_processes_but_not_its_groups():
    """[R31]"""
    assert "processes" in MAY_CHANGE_ON_RESUME
    assert "groups" not in MAY_CHANGE_ON_RESUME


@pytest.mark.long
def test_training_in_two_processes_equals_training_in_one():
    """[R29] State and events after three updates; tolerance 0."""
    states, heard = [], []
    for processes in (1, 2):
        config = dataclasses.replace(TINY, environments=4, groups=2, processes=processes)
        events: list[Event] = []
        trainer = Trainer(TOY, config, on_event=events.append)
        trainer.warm_up()
        for _ in range(3):
            trainer.learn()
        states.append(trainer.state_dict())
        heard.append(events)
        trainer.close()
    assert same(*states)
    assert heard[0] == heard[1]
