"""Events are found by their line, whatever the size of the file, latest first."""

import json
from pathlib import Path

import pytest
from watched_runs import started, step, update, write_run

from accredit.dashboard import WatchedRun
from accredit.dashboard.log import ROWS


def watched(folder: Path) -> WatchedRun:
    run = WatchedRun(folder, folder.name)
    while run.index.poll():
        pass
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    """1 + 1300 events: the steps of one environment, every tenth of another."""
    names = ("train-1" if number % 10 == 0 else "train-0" for number in range(1300))
    events = (step(name, 0, number) for number, name in enumerate(names))
    folder = write_run(
        tmp_path_factory.mktemp("log") / "run", (event for part in ([started()], events) for event in part)
    )
    return watched(folder)


@pytest.mark.parametrize("before", [1301, 10**15, 1300, 1030, 1025, 1024, 513, 512, 511, 30])
def test_the_lines_before_one_are_the_lines_before_one(run: WatchedRun, before: int):
    found = run.log(before=before, place="")
    last = min(before, 1301)
    assert [row["line"] for row in found["rows"]] == list(range(last, last - ROWS, -1))
    assert found["first"] == last - ROWS
    steps = [f"episode 0, step {line - 2}" for line in range(last, last - ROWS, -1) if line > 1]
    assert [row["where"] for row in found["rows"] if row["line"] > 1] == steps


def test_going_back_ends_at_the_first_line(run: WatchedRun):
    seen, before = [], 10**15
    while before:
        found = run.log(before=before, place="")
        seen += [row["line"] for row in found["rows"]]
        before = found["first"]
    assert seen == list(range(1301, 0, -1))
    assert run.log(before=0, place="") == {"rows": [], "first": 0, "count": 1301}


def test_one_environment_is_found_among_others(run: WatchedRun):
    seen, before = [], 10**15
    while before:
        found = run.log(before=before, place="train-1")
        seen += [row["line"] for row in found["rows"]]
        before = found["first"]
    assert seen == [number + 2 for number in range(1290, -1, -10)]
    assert len(run.log(before=10**15, place="train-#")["rows"]) == ROWS


def test_a_place_that_is_nowhere_is_given_up_after_some_blocks(run: WatchedRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("accredit.dashboard.log._MOST_BLOCKS", 1)
    assert run.log(before=10**15, place="nowhere") == {"rows": [], "first": 1024, "count": 1301}


def test_a_row_says_what_happened(tmp_path: Path):
    folder = write_run(tmp_path / "run", iter([update(1)]))
    row = watched(folder).log(before=1, place="")["rows"][0]
    assert row["event"] == "UpdateCompleted"
    assert row["text"].startswith("update 1, environment_steps 4, episode_return 0.84147, gain_over_control 0.5, ")
    assert len(row["text"]) <= 401


@pytest.mark.parametrize("line", [b"torn", b"{}", b"[1]", b'{"origin": 3, "time": 1}', b"[" * 100_000, b"\xff"])
def test_a_line_that_is_no_event_is_shown_as_such(tmp_path: Path, line: bytes):
    folder = write_run(tmp_path / "run", iter([update(1)]))
    with (folder / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    rows = watched(folder).log(before=9, place="")["rows"]
    assert [row["event"] for row in rows] == ["unreadable", "UpdateCompleted"]


def test_a_time_that_is_not_finite_is_none(tmp_path: Path):
    folder = write_run(tmp_path / "run", iter([]))
    (folder / "events.jsonl").write_text(
        '{"event": "X", "version": 1, "time": 1e999, "origin": {"environment": "e"}}\n'
    )
    json.dumps(watched(folder).log(before=9, place=""), allow_nan=False)


def test_a_file_that_has_vanished_gives_no_rows(tmp_path: Path):
    folder = write_run(tmp_path / "run", iter([update(1)]))
    run = watched(folder)
    (folder / "events.jsonl").unlink()
    assert run.log(before=9, place="")["rows"] == []
