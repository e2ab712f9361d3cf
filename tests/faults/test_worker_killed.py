"""A run in two processes whose worker is killed, or that is stopped by Ctrl-C, goes on like one that was not."""

import os
import signal
import time
from pathlib import Path

import pytest
from run_in_process import UPDATES, assert_equal_runs, end, signal_at, start

from accredit.telemetry import RunStarted, read

TINY = [
    "--environments", "4", "--updates", str(UPDATES), "--set", "groups=2", "episode.steps=6", "episode.minibatches=2",
    "episode.batch_size=16", "episode.host_seeds=4", "evaluation.hosts=2", "evaluation.calibration_episodes=1",
    "checkpoint_every=1", "ppo.epochs=2",
]  # fmt: skip


def worker_of(pid: int) -> int | None:
    """Return the process that serves environments to process `pid`; None: it has none (yet)."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same groups in one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert end(start(["grow", "--out", str(folder), "--quiet", *TINY], folder.with_name("output"))) == 0
    return folder


@pytest.mark.long
def test_a_run_whose_worker_was_killed_says_so_and_goes_on_to_the_bits_of_one_process(alone: Path, tmp_path: Path):
    """[R29] [R30] Exit status 1, and the whole outcome after it; only the line of the configuration differs."""
    folder, output = tmp_path / "run", tmp_path / "output"
    process = start(["grow", "--out", str(folder), "--quiet", *TINY, "processes=2"], output)
    limit = time.monotonic() + 120
    while not any(folder.glob("checkpoints/*step-1")) and time.monotonic() < limit:
        time.sleep(0.01)
    worker = worker_of(process.pid)
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    assert end(process) == 1
    said = " ".join(output.read_text().split())
    assert "lost the process of environments train-002 to train-003, which ended by SIGKILL" in said
    assert "resume the run from its last checkpoint" in said
    assert end(start(["resume", str(folder), "--quiet"], output)) == 0
    first = next(event for event in read(folder / "events.jsonl") if isinstance(event, RunStarted))
    assert '"processes": 2' in first.config
    (folder / "events.jsonl").write_text(
        (folder / "events.jsonl").read_text().replace('\\"processes\\": 2', '\\"processes\\": 1', 1)
    )
    assert_equal_runs(folder, alone)


@pytest.mark.long
def test_ctrl_c_ends_the_processes_of_a_run_without_a_word_of_theirs(tmp_path: Path):
    """[R29] To the whole group of processes, as a terminal sends it; exit status 130 and no traceback."""
    folder, output = tmp_path / "run", tmp_path / "output"
    process = start(["grow", "--out", str(folder), "--quiet", *TINY, "processes=2"], output)
    limit = time.monotonic() + 120
    worker = None
    while worker is None and time.monotonic() < limit:
        worker = worker_of(process.pid)
    assert worker is not None
    os.kill(worker, signal.SIGINT)
    signal_at(process, folder / "events.jsonl", 2000, signal.SIGINT)
    assert end(process) == 130
    assert "Traceback" not in output.read_text()
    assert f"accredit resume {folder}" in " ".join(output.read_text().split())
    assert not Path(f"/proc/{worker}").exists()
