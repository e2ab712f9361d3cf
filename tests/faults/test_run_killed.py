"""A run that is killed or stopped at any moment and resumed ends with the files of one that was not."""

import random
import shutil
import signal
from pathlib import Path

import pytest
from run_in_process import TINY, assert_equal_runs, end, signal_at, start, tables

from accredit import checkpoint


def killed_and_resumed(tmp_path: Path, reference: Path, shares: list[float]) -> None:
    """Kill a run with SIGKILL at each share of its events in turn, resume after each, and compare at the end."""
    folder, output = tmp_path / "run", tmp_path / "output"
    whole = (reference / "events.jsonl").stat().st_size
    arguments = ["grow", "--out", str(folder), "--quiet", *TINY]
    for share in shares:
        process = start(arguments, output)
        signal_at(process, folder / "events.jsonl", int(share * whole), signal.SIGKILL)
        assert end(process) == -signal.SIGKILL
        arguments = ["resume", str(folder), "--quiet"]
    assert end(start(arguments, output)) == 0
    assert tables(output) == tables(reference.with_name("output"))
    assert_equal_runs(folder, reference)


def test_a_run_killed_at_three_random_moments_ends_like_one_that_was_not(uninterrupted: Path, tmp_path: Path):
    """[R29] [R32] One moment in each third, so that warm-up or training and comparison are met; tolerance 0."""
    random_share = random.Random(20260101).uniform
    killed_and_resumed(tmp_path, uninterrupted, [random_share(third / 3, (third + 0.95) / 3) for third in range(3)])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_a_run_killed_at_any_moment_ends_like_one_that_was_not(uninterrupted: Path, tmp_path: Path, seed: int):
    """[R29] Twenty moments, spread evenly and then moved at random."""
    killed_and_resumed(tmp_path, uninterrupted, [(seed + random.Random(seed).random()) / 21])


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(uninterrupted: Path, tmp_path: Path):
    """[R29] Exit status 130; the run that is resumed equals one that was not stopped."""
    folder, output = tmp_path / "run", tmp_path / "output"
    process = start(["grow", "--out", str(folder), "--quiet", *TINY], output)
    signal_at(process, folder / "events.jsonl", 2000, signal.SIGINT)
    assert end(process) == 130
    said = " ".join(output.read_text().split())
    assert "Ctrl-C again stops at once" in said
    assert f"Go on by: accredit resume {folder}" in said
    assert "Traceback" not in said
    _, step = checkpoint.load_latest(folder / "checkpoints", on_damaged=pytest.fail)
    assert step < 3
    assert not (folder / "evaluation.json").exists()
    assert end(start(["resume", str(folder), "--quiet"], output)) == 0
    assert tables(output) == tables(uninterrupted.with_name("output"))
    assert_equal_runs(folder, uninterrupted)


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_stops_a_comparison_too(uninterrupted: Path, tmp_path: Path, signals: int):
    """[R29] Once or twice: nothing that a checkpoint holds is lost."""
    folder, output = tmp_path / "run", tmp_path / "output"
    shutil.copytree(uninterrupted, folder)
    (folder / "evaluation.json").unlink()
    whole = (uninterrupted / "events.jsonl").stat().st_size
    state, _ = checkpoint.load_latest(folder / "checkpoints", on_damaged=pytest.fail)
    with (folder / "events.jsonl").open("r+b") as file:
        file.truncate(state["events"])
    process = start(["resume", str(folder), "--quiet"], output)
    signal_at(process, folder / "events.jsonl", state["events"] + (whole - state["events"]) // 4, signal.SIGINT)
    # the second one only when the first was heard: two that wait at the same time are one
    if signals == 2:
        signal_at(process, output, len("stopping"), signal.SIGINT)
    assert end(process) == 130
    assert "Traceback" not in output.read_text()
    assert not (folder / "evaluation.json").exists()
    assert end(start(["resume", str(folder), "--quiet"], output)) == 0
    assert_equal_runs(folder, uninterrupted)
