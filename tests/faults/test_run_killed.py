"""A run that is killed or stopped at any moment and resumed ends with the files of one that was not."""

import json
import random
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from run_in_process import end, signal_at, start

from accredit import checkpoint
from accredit.telemetry import read

TINY = [
    "--environments", "2", "--updates", "3", "--set", "episode.steps=6", "episode.minibatches=2",
    "episode.batch_size=16", "episode.host_seeds=4", "evaluation.hosts=2", "evaluation.calibration_episodes=1",
    "checkpoint_every=1", "ppo.epochs=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert end(start(["grow", "--out", str(folder), "--quiet", *TINY], folder.with_name("output"))) == 0
    return folder


def tables(output: Path) -> list[str]:
    """Return what a quiet command printed, but for the path of the report."""
    return [line for line in output.read_text().splitlines() if not re.match("report: |accredit: |`.*damaged", line)]


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first.nan_to_num(nan=-77.0), second.nan_to_num(nan=-77.0))
    if isinstance(first, dict) and isinstance(second, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second


def assert_equal_runs(folder: Path, reference: Path) -> None:
    """Events but for times, comparison, final weights and everything else of the last checkpoint; tolerance 0."""
    assert list(read(folder / "events.jsonl")) == list(read(reference / "events.jsonl"))
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(
        (reference / "evaluation.json").read_text()
    )
    states = [checkpoint.load_latest(f / "checkpoints", on_damaged=pytest.fail) for f in (folder, reference)]
    assert states[0][1] == states[1][1] == 3
    assert same(states[0][0]["trainer"], states[1][0]["trainer"])


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
