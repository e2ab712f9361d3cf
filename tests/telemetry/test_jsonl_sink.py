"""The file of events: complete after SIGKILL, continued exactly, filtered by origin."""

import json
import math
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accredit.errors import FileDamaged, RunFolderError
from accredit.telemetry import CoalitionsEvaluated, ContributionsEstimated, JsonlSink, Origin, cut, read


def event(step: int, *, environment: str = "host-0", episode: int = 0, size: int = 1) -> CoalitionsEvaluated:
    return CoalitionsEvaluated(
        origin=Origin(environment=environment, episode=episode, step=step),
        players=("a",),
        coalitions=("1",) * size,
        values={"loss": (step / 7,) * size},
    )


def write(path: Path, *events: CoalitionsEvaluated) -> None:
    with JsonlSink(path) as sink:
        for each in events:
            sink(each)


def test_events_come_back_equal_and_in_order(tmp_path: Path):
    """[R32] The folder is made where it is missing."""
    path = tmp_path / "run" / "events.jsonl"
    events = [event(step) for step in range(5)]
    write(path, *events)
    assert list(read(path)) == events


def test_every_event_is_in_the_file_before_the_call_returns(tmp_path: Path):
    """[R32]"""
    path = tmp_path / "events.jsonl"
    with JsonlSink(path) as sink:
        for step in range(3):
            sink(event(step))
            assert [each.origin.step for each in read(path)] == list(range(step + 1))


def test_the_time_is_that_of_the_call(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    before = time.time()
    write(path, event(0))
    assert before - 0.001 <= json.loads(path.read_text())["time"] <= time.time() + 0.001


def test_only_the_time_differs_between_two_equal_runs(tmp_path: Path):
    """[R32]"""
    for name in ("first", "second"):
        write(tmp_path / name, event(0), event(1))
        time.sleep(0.002)
    first, second = ((tmp_path / name).read_text() for name in ("first", "second"))
    assert first != second
    assert re.sub(r'"time": [\d.]+', "", first) == re.sub(r'"time": [\d.]+', "", second)


def test_events_are_filtered_by_environment_episode_and_step(tmp_path: Path):
    """[R32] Also by 0, which is not "no filter"."""
    path = tmp_path / "events.jsonl"
    events = [event(s, environment=e, episode=n) for e in ("x", "y") for n in (0, 1) for s in (0, 1)]
    write(path, *events, CoalitionsEvaluated(origin=Origin(), players=(), coalitions=(), values={}))
    assert list(read(path, environment="y")) == events[4:]
    assert list(read(path, episode=0)) == events[:2] + events[4:6]
    assert list(read(path, step=0)) == events[::2]
    assert list(read(path, environment="x", episode=1, step=0)) == [events[2]]
    assert len(list(read(path))) == 9


def test_events_are_filtered_by_kind_without_a_look_at_others(tmp_path: Path):
    """[R32] Also a kind whose name begins like another."""
    path = tmp_path / "events.jsonl"
    estimated = ContributionsEstimated(
        origin=Origin(step=1, environment="NaN"),
        output="loss",
        unit="nats",
        higher_is_better=False,
        players=("a",),
        values=(math.inf,),
        contributions=(-math.inf,),
        stderr=(None,),
        lower=(None,),
        upper=(None,),
        level=0.95,
        value_all=1.0,
        value_none=2.0,
        estimator="exact",
        n_evaluations=2,
    )
    with JsonlSink(path) as sink:
        for each in (event(0), estimated, event(1)):
            sink(each)
    with path.open("ab") as file:
        file.write(b'{"event": "CoalitionsEvaluatedTwice", "nothing": "else"}\n')
    assert list(read(path, kinds=[CoalitionsEvaluated])) == [event(0), event(1)]
    assert list(read(path, kinds=[ContributionsEstimated])) == [estimated]
    assert list(read(path, kinds=[CoalitionsEvaluated, ContributionsEstimated], step=1)) == [estimated, event(1)]
    assert list(read(path, kinds=[])) == []


def test_an_existing_file_is_continued(tmp_path: Path):
    """[R32]"""
    path = tmp_path / "events.jsonl"
    write(path, event(0))
    write(path, event(1))
    assert [each.origin.step for each in read(path)] == [0, 1]


@pytest.mark.parametrize("size", [1, 5000])
def test_a_torn_last_line_is_left_out_and_trimmed(tmp_path: Path, size: int):
    """[R32] Also one longer than what is read at a time."""
    path = tmp_path / "events.jsonl"
    write(path, event(0, size=size), event(1, size=size))
    content = path.read_bytes()
    second = content.index(b"\n") + 1
    assert (len(content) - second > 65536) == (size == 5000)
    for end in (second + 1, (second + len(content)) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        assert [each.origin.step for each in read(path)] == [0]
        write(path, event(2))
        assert [each.origin.step for each in read(path)] == [0, 2]


def test_a_file_that_is_one_torn_line_becomes_empty(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "Coal')
    assert list(read(path)) == []
    write(path)
    assert path.read_bytes() == b""


def test_cutting_at_a_position_and_writing_again_gives_the_uninterrupted_file(tmp_path: Path):
    """[R32]"""
    path, whole = tmp_path / "events.jsonl", tmp_path / "whole.jsonl"
    with JsonlSink(path) as sink:
        assert sink.position() == 0
        sink(event(0))
        sink(event(1))
        position = sink.position()
        sink(event(2, size=99))
    with path.open("ab") as file:
        file.write(b'{"event": "torn')
    cut(path, position)
    with JsonlSink(path) as sink:
        assert sink.position() == position
        sink(event(2))
    write(whole, event(0), event(1), event(2))
    assert list(read(path)) == list(read(whole))


def test_cutting_at_zero_empties_the_file(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    write(path, event(0))
    cut(path, 0)
    assert path.read_bytes() == b""


def test_a_position_is_on_the_disk_when_it_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """[R32] A checkpoint that survives a power cut must not point behind the end of the events."""
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    with JsonlSink(tmp_path / "events.jsonl") as sink:
        sink(event(0))
        assert synced == []
        sink.position()
        assert len(synced) == 1


def test_a_file_that_lost_events_is_refused(tmp_path: Path):
    """[R32]"""
    path = tmp_path / "events.jsonl"
    write(path, event(0))
    size = path.stat().st_size
    with pytest.raises(FileDamaged, match=f"has {size} bytes, but the checkpoint was taken at byte {size + 1}; events"):
        cut(path, size + 1)
    assert path.stat().st_size == size


def test_a_position_inside_a_line_is_refused(tmp_path: Path):
    """[R32]"""
    path = tmp_path / "events.jsonl"
    write(path, event(0))
    content = path.read_bytes()
    with pytest.raises(FileDamaged, match="has no end of line before byte 9, but the checkpoint was taken there"):
        cut(path, 9)
    assert path.read_bytes() == content


def test_a_damaged_line_is_named_by_its_number(tmp_path: Path):
    """[R32]"""
    path = tmp_path / "events.jsonl"
    write(path, event(0), event(1), event(2))
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (lines[1][:40] + b"\n", b"\xff\n", b"\n"):
        path.write_bytes(lines[0] + damage + lines[2])
        events = read(path)
        assert next(events).origin.step == 0
        with pytest.raises(FileDamaged, match=r"line 2 .*; every line must be an event as it was written"):
            next(events)


def test_files_that_cannot_be_used_are_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot be written: .*exist.*; every event must be kept"):
        JsonlSink(tmp_path / "file" / "events.jsonl")
    with pytest.raises(RunFolderError, match="cannot be read: No such file or directory; a run keeps its events there"):
        list(read(tmp_path / "absent"))
    with pytest.raises(RunFolderError, match="cannot be written: No such file or directory"):
        cut(tmp_path / "absent", 0)


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path):
    """[R32] An event that is not kept must not pass unseen."""
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    sink(event(0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(RunFolderError, match=r"cannot be written: File too large; .* so make room"):
            sink(event(1))
        with pytest.raises(RunFolderError, match="cannot be written: File too large"):
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(read(path)) == [event(0)]


def test_a_failing_disk_is_an_error_at_the_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with JsonlSink(tmp_path / "events.jsonl") as sink:
        monkeypatch.setattr("os.fsync", fail)
        with pytest.raises(RunFolderError, match="cannot be written: Input/output error"):
            sink.position()


WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from accredit.telemetry import CoalitionsEvaluated, ContributionsEstimated, JsonlSink, Origin
sink = JsonlSink(Path(sys.argv[1]))
for step in itertools.count():
    sink(CoalitionsEvaluated(origin=Origin(step=step), players=("a",), coalitions=("1",), values={"loss": (step / 7,)}))
    print(step, flush=True)
"""


def test_sigkill_loses_no_event_whose_call_had_returned(tmp_path: Path):
    """[R32]"""
    path = tmp_path / "events.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        process.kill()
        printed = [line for line in process.stdout.read().split("\n") if line]
    steps = [each.origin.step for each in read(path)]
    assert steps == list(range(len(steps)))
    # the last line of the pipe may be torn as well; the one before it is whole
    assert len(steps) >= int(printed[-2])
