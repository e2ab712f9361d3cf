"""Whole runs: the same twice, exact after a stop, refused with another configuration.

E environments, T steps, F fields.
"""

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_toys import SMALL, TINY, events_of, same

from accredit import checkpoint
from accredit.errors import FileDamaged, RunFolderError, StateMismatch, UnknownName
from accredit.telemetry import (
    ContributionsEstimated,
    HostGrown,
    RunCompleted,
    RunStarted,
    StepCompleted,
    UpdateCompleted,
    read,
)
from accredit.training import task as tasks
from accredit.training.comparison import Comparison, Interval
from accredit.training.config_record import to_plain
from accredit.training.loop import Phase, Stopped, Watcher, evaluate, one_thread, resume, train
from accredit.training.tuning import slot_orders

CONFIG = dataclasses.replace(TINY, task="small")


@pytest.fixture(scope="module", autouse=True)
def small_task() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "TASKS", (tasks.DIGITS, SMALL))
        yield


@pytest.fixture(scope="module")
def finished(small_task: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    """A run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return folder, train(CONFIG, folder)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that was asked to stop after its first update."""
    with pytest.raises(Stopped):
        train(CONFIG, tmp_path / "stopped", watcher=Watcher(should_stop=lambda: True))
    return tmp_path / "stopped"


def updates_of(folder: Path) -> Iterator[UpdateCompleted]:
    return (event for event in events_of(folder) if isinstance(event, UpdateCompleted))


def final_state(folder: Path) -> object:
    state, step = checkpoint.load_latest(folder / "checkpoints", on_damaged=pytest.fail)
    assert step == CONFIG.updates
    return state["trainer"]


def outcome(folder: Path) -> object:
    return json.loads((folder / "evaluation.json").read_text())


def test_two_runs_of_one_seed_are_equal_but_for_times_and_of_two_seeds_are_not(finished, tmp_path: Path):
    """[R10] Events, comparison and final weights, tolerance 0."""
    first, comparison = finished
    second = tmp_path / "second"
    assert train(CONFIG, second) == comparison
    assert events_of(first) == events_of(second)
    assert outcome(first) == outcome(second) == json.loads(json.dumps(comparison.to_dict()))
    assert same(final_state(first), final_state(second))
    with pytest.raises(Stopped):
        train(dataclasses.replace(CONFIG, seed=1), tmp_path / "other", watcher=Watcher(should_stop=lambda: True))
    assert next(updates_of(first)) != next(updates_of(tmp_path / "other"))


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(finished, stopped: Path):
    """[R29] Tolerance 0."""
    assert not (stopped / "evaluation.json").exists()
    assert resume(stopped) == finished[1]
    assert events_of(stopped) == events_of(finished[0])
    assert outcome(stopped) == outcome(finished[0])
    assert same(final_state(stopped), final_state(finished[0]))


def test_events_after_the_checkpoint_are_written_again_and_not_twice(finished, tmp_path: Path):
    """[R32] Also where the run was through: its comparison is made again from the last checkpoint."""
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    shutil.rmtree(max((folder / "checkpoints").iterdir()))
    resume(folder)
    assert events_of(folder) == events_of(finished[0])
    evaluate(folder)
    assert events_of(folder) == events_of(finished[0])


@pytest.mark.parametrize("left", ["nothing", "unfinished"])
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(finished, tmp_path: Path, left: str):
    """[R29] [R30] With some events of the warm-up, and without or with a checkpoint that was being written."""
    folder = tmp_path / "killed"
    folder.mkdir()
    shutil.copy(finished[0] / "config.json", folder)
    lines = (finished[0] / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "events.jsonl").write_text("".join(lines[:20]))
    if left == "unfinished":
        (folder / "checkpoints" / ".writing-000001-step-0").mkdir(parents=True)
    assert resume(folder) == finished[1]
    assert events_of(folder) == events_of(finished[0])


def test_a_run_whose_checkpoints_were_deleted_is_not_begun_again_behind_the_users_back(stopped: Path):
    """[R30] Its events say that it had learned, and would be lost."""
    before = events_of(stopped)
    shutil.rmtree(stopped / "checkpoints")
    with pytest.raises(RunFolderError, match="holds no checkpoint"):
        resume(stopped)
    assert events_of(stopped) == before


def test_a_run_begins_and_ends_with_its_events_and_reports_every_step(finished):
    """[R32] The configuration is in the file; no step is missing."""
    events = events_of(finished[0])
    assert isinstance(events[0], RunStarted)
    assert json.loads(events[0].config) == to_plain(CONFIG)
    assert events[-1] == RunCompleted(updates=3)
    updates = [event for event in events if isinstance(event, UpdateCompleted)]
    decisions = CONFIG.environments * CONFIG.episode.steps
    assert [event.update for event in updates] == [1, 2, 3]
    assert [event.environment_steps for event in updates] == [decisions, 2 * decisions, 3 * decisions]
    steps = Counter(e.origin.environment for e in events if isinstance(e, StepCompleted))
    # one random episode to warm up, then three rollouts of one episode each
    assert {name: n for name, n in steps.items() if name.startswith("train")} == {"train-000": 24, "train-001": 24}


def test_statistics_are_frozen_in_a_rollout_and_take_each_observation_once(finished):
    """[R35] The warm-up gives T + 1 observations an environment, each update T."""
    counts = [event.observation_count for event in updates_of(finished[0])]
    steps, environments = CONFIG.episode.steps, CONFIG.environments
    assert counts == [environments * (steps + 1 + update * steps) for update in (1, 2, 3)]


def test_returns_in_the_events_are_sums_of_the_rewards_that_were_paid(finished):
    """[R32] Episode by episode, from the steps of the same file: raw, not scaled."""
    steps = CONFIG.episode.steps
    for update, told in enumerate(updates_of(finished[0]), start=1):
        paid = 0.0
        for name in ("train-000", "train-001"):
            events = (e for e in read(finished[0] / "events.jsonl", environment=name) if isinstance(e, StepCompleted))
            rewards = [event.reward for event in events]  # a random episode, then one episode an update
            paid += sum(rewards[steps * update : steps * (update + 1)])
        assert told.episode_return == pytest.approx(paid / CONFIG.environments, abs=1e-9)
        assert sum(told.action_frequencies.values()) == pytest.approx(1.0)


def where(event: StepCompleted) -> tuple[str | None, int | None]:
    return event.origin.environment, event.origin.episode


def test_attribution_events_are_read_back_with_their_origin_and_are_efficient(finished):
    """[R13] [R32] [R4] Through the reader's filters; every value says environment, episode and step."""
    path = finished[0] / "events.jsonl"
    some = [e for e in read(path) if isinstance(e, ContributionsEstimated)]
    assert len(some) > 10
    for event in some:
        assert None not in (event.origin.environment, event.origin.episode, event.origin.step)
        assert sum(event.values) == pytest.approx(event.value_all - event.value_none, abs=1e-6)
    origin = some[0].origin
    found = read(path, environment=origin.environment, episode=origin.episode, step=origin.step)
    assert some[0] in list(found)


def test_every_policy_grows_the_same_hosts_which_training_never_met(finished):
    """[R35] [R36] Paired by host seed; means of the table are those of the events."""
    folder, comparison = finished
    grown = [e for e in events_of(folder) if isinstance(e, HostGrown)]
    met = {e.host_seed for e in events_of(folder) if isinstance(e, StepCompleted) and where(e)[0].startswith("train")}
    policies = [row.policy for row in comparison.policies]
    seeds = [[e.host_seed for e in grown if e.policy == policy] for policy in policies]
    assert (policies[0], policies[-1]) == ("learned", "no growth")
    assert set(policies) == {e.policy for e in grown}
    assert len(policies) >= 6
    assert all(one == seeds[0] for one in seeds)
    assert len(set(seeds[0])) == CONFIG.evaluation.hosts
    assert not set(seeds[0]) & met
    losses = {policy: [e.log_loss for e in grown if e.policy == policy] for policy in policies}
    for row in comparison.policies:
        mine, plain, learned = losses[row.policy], losses["no growth"], losses["learned"]
        assert row.log_loss.mean == pytest.approx(sum(mine) / 2)
        if row.minus_no_growth is not None:
            assert row.minus_no_growth.mean == pytest.approx((sum(mine) - sum(plain)) / 2)
        if row.learned_minus is not None:
            assert row.learned_minus.mean == pytest.approx((sum(learned) - sum(mine)) / 2)
    nothing = comparison.policies[-1]
    assert nothing.parameters.mean == SMALL.host_parameters
    assert nothing.minus_no_growth is None
    assert comparison.policies[0].learned_minus is None


def test_the_fixed_large_row_is_the_size_that_is_no_smaller_than_the_learned_hosts(finished):
    """[R35] Every size is told; the row of the table is one of them, on the same hosts."""
    comparison = finished[1]
    rows = {row.policy: row for row in comparison.policies}
    assert [row.width for row in comparison.sizes] == list(SMALL.large_widths)
    parameters = [row.parameters for row in comparison.sizes]
    assert parameters == sorted(parameters) == [SMALL.widened(width).host_parameters for width in SMALL.large_widths]
    chosen = next(row for row in comparison.sizes if row.parameters >= rows["learned"].parameters.mean)
    assert rows["fixed large"].log_loss == chosen.log_loss
    assert rows["fixed large"].parameters.mean == chosen.parameters
    assert rows["fixed large"].learned_minus == chosen.learned_minus
    assert chosen.learned_minus.mean == pytest.approx(rows["learned"].log_loss.mean - chosen.log_loss.mean)


def test_where_kinds_are_drawn_only_orders_compete_and_nothing_is_calibrated(tmp_path: Path):
    """[R35] Progress still counts to its end; events of all policies are there."""
    told: list[tuple[int, int]] = []
    config = dataclasses.replace(CONFIG, updates=1, episode=dataclasses.replace(CONFIG.episode, observe_kinds=False))
    watcher = Watcher(on_progress=lambda phase, *report: told.append(report) if phase == Phase.COMPARING else None)
    comparison = train(config, tmp_path / "run", watcher=watcher)
    assert "greedy, calibrated" not in {row.policy for row in comparison.policies}
    assert comparison.calibrated_kinds == ()
    assert comparison.schedule in ("input, then hidden1", "hidden1, then input")
    assert told[-1][0] == told[-1][1] == len(told)


@pytest.mark.parametrize("slots", [4, 7])
def test_orders_of_many_slots_are_few_and_each_has_every_slot_once(slots: int):
    """[R35] All orders of seven slots would be 5,040 schedules to try."""
    orders = slot_orders(slots)
    assert orders[0] == tuple(range(slots)) == orders[1][::-1]
    assert len(orders) == 6
    assert all(sorted(order) == list(range(slots)) for order in orders)


def test_an_interval_is_that_of_student():
    """[R8] 1, 2, 3, 4: variance 5/3, standard error .6455, t(.975, 3) = 3.18245 from a table; one value: unknown."""
    interval = Interval.of([1.0, 2.0, 3.0, 4.0], 0.95)
    assert interval.mean == 2.5
    assert (interval.lower, interval.upper) == pytest.approx((2.5 - 2.05426, 2.5 + 2.05426), abs=1e-4)
    assert Interval.of([3.0], 0.95) == Interval(mean=3.0, lower=None, upper=None, count=1)


def test_checkpoints_come_as_often_as_configured_and_old_ones_go(finished):
    """[R29]"""
    names = sorted(path.name for path in (finished[0] / "checkpoints").iterdir())
    assert [int(name.split("-step-")[1]) for name in names] == [1, 2, 3]


def test_the_checkpoint_holds_code_version_and_configuration(finished):
    """[R29]"""
    state, _ = checkpoint.load_latest(finished[0] / "checkpoints", on_damaged=pytest.fail)
    assert state["config"] == to_plain(CONFIG)
    assert isinstance(state["code_version"], str)


def test_a_resumed_run_may_have_more_updates(stopped: Path):
    """[R31] It trains on; the folder says so."""
    resume(stopped, updates=4)
    assert [event.update for event in updates_of(stopped)] == [1, 2, 3, 4]
    assert json.loads((stopped / "config.json").read_text())["updates"] == 4


def test_another_configuration_is_refused_by_field(stopped: Path):
    """[R31] What may change is listed; what is refused is named with both values."""
    path = stopped / "config.json"
    plain = json.loads(path.read_text())
    plain["checkpoint_every"] = 2
    plain["episode"]["steps"] = 7
    plain["ppo"]["clip"] = 0.3
    path.write_text(json.dumps(plain))
    wanted = r"differs from the checkpoint in episode.steps: 6 -> 7; ppo.clip: 0.2 -> 0.3, wanted .*\(only updates, ch"
    with pytest.raises(StateMismatch, match=wanted):
        resume(stopped)
    assert [event.update for event in updates_of(stopped)] == [1]


def test_only_a_run_whose_training_is_through_is_evaluated_again(finished, stopped: Path, tmp_path: Path):
    """[R35]"""
    with pytest.raises(RunFolderError, match=r"`RUN` is .*, which stands at update 1 of 3, wanted .* `accredit resume"):
        evaluate(stopped)
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    assert evaluate(folder) == finished[1]


def test_folders_that_exist_and_folders_without_a_run_are_refused(finished, tmp_path: Path):
    """[R30]"""
    with pytest.raises(
        RunFolderError, match=r"`--out` is .*finished, which exists, wanted .* `accredit resume .*finish"
    ):
        train(CONFIG, finished[0])
    with pytest.raises(
        RunFolderError, match=r"`RUN` is .*, which holds no run, wanted a folder with a config.json; name"
    ):
        resume(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunFolderError, match=r"`--out` is .*, which cannot be made \(Not a directory\), wanted a folder"
    ):
        train(CONFIG, tmp_path / "file" / "run")


def test_an_unknown_task_makes_no_folder(tmp_path: Path):
    """[R37]"""
    with pytest.raises(UnknownName, match="`task` is 'samll', but the tasks are digits, small; did you mean 'small'"):
        train(dataclasses.replace(CONFIG, task="samll"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_phase_by_phase_to_its_end(tmp_path: Path):
    """[R37]"""
    told: list[tuple[Phase, int, int]] = []
    train(CONFIG, tmp_path / "run", watcher=Watcher(on_progress=lambda *report: told.append(report)))
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == list(Phase)
    assert [done for phase, done, _ in told if phase == Phase.TRAINING] == [0, 1, 2, 3]
    comparing = [(done, planned) for phase, done, planned in told if phase == Phase.COMPARING]
    assert [done for done, _ in comparing] == list(range(1, len(comparing) + 1))
    assert comparing[-1][0] == comparing[-1][1]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_leads_to_the_previous_checkpoint_and_a_notice(finished, tmp_path: Path):
    """[R30] The outcome is that of a run without damage."""
    folder, notices = tmp_path / "damaged", []
    shutil.copytree(finished[0], folder)
    newest = max((folder / "checkpoints").iterdir())
    damage(newest / "state.pt")
    assert resume(folder, watcher=Watcher(on_notice=notices.append)) == finished[1]
    assert len(notices) == 1
    assert f"`{newest}` is damaged" in notices[0]
    assert events_of(folder) == events_of(finished[0])
    assert outcome(folder) == outcome(finished[0])


def test_a_run_without_an_intact_checkpoint_is_refused(finished, tmp_path: Path):
    """[R30] Every damaged one is named; the events stay."""
    folder, notices = tmp_path / "damaged", []
    shutil.copytree(finished[0], folder)
    for path in (folder / "checkpoints").iterdir():
        damage(path / "state.pt")
    with pytest.raises(FileDamaged, match="has 3 checkpoints and all are damaged"):
        resume(folder, watcher=Watcher(on_notice=notices.append))
    assert len(notices) == 3
    assert events_of(folder) == events_of(finished[0])


def test_a_run_computes_on_one_thread_and_gives_the_threads_back():
    """[R29] The number of threads decides the order of additions."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
