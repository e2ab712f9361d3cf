"""Sinks of whole runs: they see everything, change nothing, and end as if nobody had interrupted."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_toys import SMALL, TINY, events_of, same

from accredit import checkpoint
from accredit.telemetry import CsvSink, Event, TensorBoardSink, UpdateCompleted, read_frame
from accredit.training import task as tasks
from accredit.training.loop import Stopped, Watcher, evaluate, resume, train

CONFIG = dataclasses.replace(TINY, task="small")


@pytest.fixture(scope="module", autouse=True)
def small_task() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "TASKS", (tasks.DIGITS, SMALL))
        yield


@pytest.fixture(scope="module")
def finished(small_task: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A run with every kind of sink; what the callable got."""
    folder, got = tmp_path_factory.mktemp("runs") / "finished", []
    sinks = [got.append, CsvSink(folder / "csv"), TensorBoardSink(folder / "tensorboard", images_every=2)]
    train(CONFIG, folder, sinks=sinks, watcher=Watcher(on_notice=pytest.fail))
    return folder, got


def tables(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "csv").iterdir()}


def final_state(folder: Path) -> object:
    return checkpoint.load_latest(folder / "checkpoints", on_damaged=pytest.fail)[0]["trainer"]


def test_a_callable_gets_every_event_of_the_file(finished):
    """[R32]"""
    assert finished[1] == events_of(finished[0])


def test_a_table_has_a_row_for_each_event(finished):
    """[R32]"""
    frame = read_frame(finished[0] / "events.jsonl", UpdateCompleted)
    assert frame["update"].tolist() == [1, 2, 3]
    assert len(tables(finished[0])["UpdateCompleted.csv"].splitlines()) == 4


def test_sinks_and_their_failures_change_nothing(finished, tmp_path: Path):
    """[R32] A sink that raises at its k-th event is told once; file, outcome and weights as with sound sinks."""
    notices: list[str] = []
    taken = 0

    def broken(_: Event) -> None:
        nonlocal taken
        taken += 1
        if taken >= 50:
            raise ConnectionError("no route")

    folder = tmp_path / "run"
    train(CONFIG, folder, sinks=[broken], watcher=Watcher(on_notice=notices.append))
    assert len(notices) == 1
    assert "broken>` failed on an event of kind" in notices[0]
    assert taken == len(finished[1])
    assert events_of(folder) == events_of(finished[0])
    assert (folder / "evaluation.json").read_text() == (finished[0] / "evaluation.json").read_text()
    assert same(final_state(folder), final_state(finished[0]))


def test_tables_of_a_run_that_was_stopped_and_resumed_are_those_of_one_that_was_not(finished, tmp_path: Path):
    """[R31] [R32] Byte by byte, also where the run began with other sinks."""
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(CONFIG, folder, watcher=Watcher(should_stop=lambda: True))
    assert not (folder / "csv").exists()
    got: list[Event] = []
    resume(folder, sinks=[CsvSink(folder / "csv"), got.append])
    assert tables(folder) == tables(finished[0])
    assert got == finished[1][-len(got) :]
    assert 0 < len(got) < len(finished[1])
    evaluate(folder, sinks=[CsvSink(folder / "csv")])
    assert tables(folder) == tables(finished[0])


def test_drift_and_worth_of_the_observation_statistics_are_those_of_the_normalizer(finished):
    """[R18] [R25] Without a horizon every sample counts; nothing was left out."""
    for event in finished[1]:
        if isinstance(event, UpdateCompleted):
            assert event.observation_effective_count == event.observation_count
            assert event.observation_dropped == 0
            assert event.observation_drift > 0
