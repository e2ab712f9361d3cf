"""The index follows its file through growth, cuts, damage and restarts, and is always that of the file as it is."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from watched_runs import append, finished, started, step, story, update, write_run

from accredit.dashboard.index import RunIndex
from accredit.dashboard.tally import MOST_ENVIRONMENTS
from accredit.telemetry import HostDiverged, Origin
from accredit.telemetry.sinks.jsonl import JsonlSink

ENVIRONMENTS = ("train-0", "train-1")


def followed(folder: Path) -> RunIndex:
    index = RunIndex(folder)
    read(index)
    return index


def read(index: RunIndex) -> None:
    while index.poll():
        pass


def plain(index: RunIndex) -> dict[str, object]:
    return json.loads(json.dumps(index.tally.to_plain()))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", story(ENVIRONMENTS, 3))


def test_every_event_is_counted_where_it_belongs(run: Path):
    append(run, iter([HostDiverged(origin=Origin(environment="train-0"))]))
    append(run, finished(3))
    tally = followed(run).tally
    # 3 episodes of 4 steps of 2 environments, 2 stages each, 3 estimates each
    assert tally.kinds == {
        "RunStarted": 1,
        "StageChanged": 12,
        "StepCompleted": 24,
        "ContributionsEstimated": 18,
        "UpdateCompleted": 3,
        "HostDiverged": 1,
        "HostGrown": 3,
        "RunCompleted": 1,
    }
    assert tally.lines == sum(tally.kinds.values())
    assert tally.position == (run / "events.jsonl").stat().st_size
    assert tally.unreadable == 0
    assert tally.is_completed
    assert tally.policies == {"learned": [[0.8, 0.81, 0.82], [800.0, 810.0, 820.0]]}
    assert tally.environments["train-0"].traces["log_loss"].whole.points().mean == (1.0, 1 / 2, 1 / 3, 1 / 4) * 3
    assert tally.environments["train-0"].steps == 12
    assert tally.groups["train-#"].members == 2
    assert tally.groups["train-#"].traces["log_loss"].whole.points().count == (2,) * 12
    assert tally.updates.traces["observation_drift"].whole.points().mean == (1.0, 1 / 2, 1 / 3)
    assert tally.updates.traces["action\0graft"].whole.points().mean == (0.25,) * 3


def test_an_operation_that_was_not_chosen_has_a_share_of_0(tmp_path: Path):
    second = replace(update(2), action_frequencies={"wait": 1.0})
    tally = followed(write_run(tmp_path / "run", iter([started(), update(1), second]))).tally
    assert tally.updates.traces["action\0graft"].whole.points().mean == (0.25, 0.0)


def test_a_measurement_that_is_missing_leaves_a_gap(tmp_path: Path):
    events = [started(), step("e", 0, 1), step("e", 0, 2, log_loss=None), step("e", 0, 3)]
    tally = followed(write_run(tmp_path / "run", iter(events))).tally
    assert tally.environments["e"].traces["log_loss"].whole.points().x == (1.0, 3.0)
    assert tally.environments["e"].traces["accuracy"].whole.points().x == (1.0, 2.0, 3.0)


def test_following_line_by_line_equals_reading_at_once(run: Path, tmp_path: Path):
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    slow = tmp_path / "slow"
    slow.mkdir()
    index = RunIndex(slow)
    read(index)
    assert index.problem == "No event has been written yet."
    with (slow / "events.jsonl").open("ab") as file:
        for line in lines:
            file.write(line[:20])
            file.flush()
            read(index)
            file.write(line[20:])
            file.flush()
            read(index)
    assert index.problem == ""
    assert plain(index) == plain(followed(run))


def test_progress_is_the_share_of_the_file_that_was_read(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("accredit.dashboard.index._CHUNK", 5000)
    index = RunIndex(run)
    seen = [index.progress()]
    while index.poll():
        seen.append(index.progress())
    seen.append(index.progress())
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert seen == sorted(set(seen))
    assert len(seen) > 4
    empty = RunIndex(run / "nowhere")
    empty.poll()
    assert empty.progress() == 1.0


def test_a_torn_last_line_is_not_read_until_it_is_whole(run: Path):
    whole = followed(run)
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "RunComp')
    assert plain(followed(run)) == plain(whole)


def test_a_run_that_was_cut_and_written_again_is_read_again(run: Path):
    """On a resume, and so quickly that the file is longer than before when the index looks next."""
    index = followed(run)
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join(lines[:30]))
    append(run, (event for number in range(4, 12) for event in story(ENVIRONMENTS, number) if number > 0))
    read(index)
    assert plain(index) == plain(followed(run))
    assert index.tally.lines > len(lines)


def test_a_run_that_was_cut_only_is_read_again(run: Path):
    index = followed(run)
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join(lines[:30]))
    read(index)
    assert index.tally.lines == 30


def test_another_file_in_its_place_is_read_anew(run: Path, tmp_path: Path):
    index = followed(run)
    other = write_run(tmp_path / "other", story(("else-0",), 3))
    (other / "events.jsonl").replace(run / "events.jsonl")
    read(index)
    assert list(index.tally.environments) == ["else-0"]


def test_a_file_that_vanishes_is_said_and_its_return_noticed(run: Path):
    index, before = RunIndex(run), plain(followed(run))
    read(index)
    (run / "events.jsonl").rename(run / "away")
    version = index.version
    read(index)
    assert index.problem == "No event has been written yet."
    assert index.version > version
    assert index.tally.lines == 0
    (run / "away").rename(run / "events.jsonl")
    read(index)
    assert plain(index) == before


def test_a_saved_index_is_gone_on_from(run: Path):
    index = followed(run)
    index.save()
    append(run, finished(3))
    again = RunIndex(run)
    with pytest.MonkeyPatch.context() as patch:
        lines: list[bytes] = []
        take = type(again.tally).take
        patch.setattr(type(again.tally), "take", lambda tally, line: (lines.append(line), take(tally, line)))
        read(again)
    assert len(lines) == 4
    assert plain(again) == plain(followed(run))
    assert again.tally.policies["learned"][0] == [0.8, 0.81, 0.82]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-10],
        lambda content: content.replace(b'"lines": ', b'"lines":1', 1),
        lambda content: b"",
        lambda content: b"\n" * 5,
        lambda content: b"[]\n" + content,
        lambda content: content.replace(b'"version": ', b'"version": 9', 1),
        lambda content: b"\xff\x00" * 100,
    ],
)
def test_a_saved_index_that_is_damaged_or_of_another_version_is_built_anew(run: Path, damage):
    index = followed(run)
    index.save()
    index.saved.write_bytes(damage(index.saved.read_bytes()))
    assert plain(followed(run)) == plain(index)


def test_a_saved_index_of_a_run_that_was_cut_since_is_built_anew(run: Path):
    followed(run).save()
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join(lines[:30]))
    assert followed(run).tally.lines == 30


def test_a_folder_that_cannot_be_written_is_watched_from_memory(run: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    index = followed(run)
    index.save()
    assert not index.saved.exists()
    assert index.tally.lines == 58


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"not an event\n", "is no event as Accredit writes it"),
        (b"\x00\xff\xfe\n", "is no event as Accredit writes it"),
        (b"\n", "is no event as Accredit writes it"),
        (
            b'{"event": "StepCompleted", "version": 2, "time": 1.0}\n',
            "has version 2, but this Accredit reads version 1",
        ),
        (b'{"event": "StepCompleted", "version": 1, "time": 1.0}\n', "lacks the field 'origin'"),
        (b'{"event": "StepCompleted", "version": 1, "tim\n', "is a damaged StepCompleted"),
        (b'{"event": "StepCompleted", "version": 1, "time": "x", "origin": {}}\n', "is a damaged StepCompleted"),
        (b'{"event": "UpdateCompleted", "version": 1, "time": 1, "origin": {}, "update": -5}\n', "is a damaged Up"),
        (
            b'{"event": "UpdateCompleted", "version": 1, "time": 1' + b"0" * 5000 + b', "origin": {}}\n',
            "is a damaged Up",
        ),
        (b'{"event": "RunStarted", "version": 1, "time": 1, "origin": ' + b"[" * 100_000 + b"\n", "is a damaged RunS"),
        (
            b'{"event": "StepCompleted", "version": 1, "time": 1, "origin": {"environment": "'
            + b"x" * 501
            + b'", "episode": 0}}\n',
            "is a damaged StepCompleted",
        ),
    ],
)
def test_a_line_that_is_no_event_is_counted_and_told_and_costs_no_other(run: Path, line: bytes, said: str):
    before = followed(run).tally
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join([*lines[:10], line, *lines[10:]]))
    tally = followed(run).tally
    assert tally.unreadable == 1
    assert tally.first_unreadable.startswith(f"Line 11 {said}")
    assert tally.lines == before.lines + 1
    assert tally.groups["train-#"].to_plain()[:4] == before.groups["train-#"].to_plain()[:4]


def test_a_file_without_line_ends_is_passed_over_in_bounded_memory(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("accredit.dashboard.index._CHUNK", 1000)
    monkeypatch.setattr("accredit.dashboard.index._LONGEST_LINE", 5000)
    before = followed(run).tally.lines
    with (run / "events.jsonl").open("ab") as file:
        file.write(b"x" * 12_000 + b"\n")
    with JsonlSink(run / "events.jsonl") as sink:
        sink(update(4))
    tally = followed(run).tally
    assert tally.lines - tally.unreadable == before + 1


def test_an_event_from_a_newer_accredit_is_counted(run: Path):
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "FutureEvent", "version": 1, "time": 1.0, "origin": {}}\n')
    tally = followed(run).tally
    assert tally.kinds["FutureEvent"] == 1
    assert tally.unreadable == 0


def test_very_many_environments_are_kept_together_only(tmp_path: Path):
    events = (step(f"train-{number}", 0, 1) for number in range(MOST_ENVIRONMENTS + 10))
    tally = followed(write_run(tmp_path / "run", events)).tally
    assert len(tally.environments) == MOST_ENVIRONMENTS
    assert tally.groups["train-#"].members == MOST_ENVIRONMENTS + 10
    assert tally.groups["train-#"].traces["accuracy"].whole.points().count == (MOST_ENVIRONMENTS + 10,)


def test_a_folder_in_the_place_of_the_file_is_said(tmp_path: Path):
    (tmp_path / "events.jsonl").mkdir()
    assert followed(tmp_path).problem == "events.jsonl: not a file."


def test_a_pipe_in_the_place_of_the_file_holds_up_nobody(tmp_path: Path):
    os.mkfifo(tmp_path / "events.jsonl")
    assert followed(tmp_path).problem == "events.jsonl: not a file."
