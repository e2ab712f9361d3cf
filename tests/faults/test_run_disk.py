"""A disk that is full or read-only in the middle of a run, and files that were torn while they were written.

The disk is a small one in memory, so that it really is full; mounting it takes the rights of root.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_in_process import TINY, assert_equal_runs, end, signal_at, start, tables

from accredit import checkpoint

ROOM_FOR_EVENTS = 150_000
"""Bytes, more than the events between two checkpoints and less than a checkpoint."""


def mount(*arguments: str) -> bool:
    """Tell whether a file system could be mounted."""
    if shutil.which("mount") is None:
        return False
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a disk of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)):
        pytest.skip("a disk in memory takes the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Fill a disk that nobody writes to but for `leave` bytes and return the file that does it."""
    filler, free = disk / "filler", os.statvfs(disk)
    taken = free.f_bavail * free.f_bsize - leave
    with filler.open("wb") as file:
        if taken > 0:
            os.posix_fallocate(file.fileno(), 0, taken)
    return filler


def whole_bytes(reference: Path) -> int:
    return (reference / "events.jsonl").stat().st_size


def fails_and_is_resumed(disk: Path, reference: Path, *, share: float, leave: int) -> str:
    """Fill the disk when a share of the events is written; return what was said, make room, resume and compare."""
    folder, output = disk / "run", disk.parent / "output"
    process = start(["grow", "--out", str(folder), "--quiet", *TINY], output)
    signal_at(process, folder / "events.jsonl", int(share * whole_bytes(reference)), signal.SIGSTOP)
    filler = fill(disk, leave=leave)
    os.kill(process.pid, signal.SIGCONT)
    assert end(process) == 2
    said = " ".join(output.read_text().split())
    filler.unlink()
    checkpoint.load_latest(folder / "checkpoints", on_damaged=pytest.fail)
    assert not (folder / "evaluation.json").exists()
    assert end(start(["resume", str(folder), "--quiet"], output)) == 0
    assert tables(output) == tables(reference.with_name("output"))
    assert_equal_runs(folder, reference)
    return said


def first_checkpoint_share(reference: Path) -> float:
    state, _ = checkpoint.load_latest(reference / "checkpoints", on_damaged=pytest.fail)
    return 0.3 * state["events"] / whole_bytes(reference)


def test_a_disk_too_full_for_a_checkpoint_keeps_the_one_before_and_says_what_to_do(uninterrupted: Path, disk: Path):
    """[R30] [R29] Exit status 2; with room again the run ends like one that never lacked it."""
    share = first_checkpoint_share(uninterrupted)
    said = fails_and_is_resumed(disk, uninterrupted, share=share, leave=ROOM_FOR_EVENTS)
    assert "could not take the checkpoint of step" in said
    assert "No space left on device" in said
    assert "make room or grant access and resume (earlier checkpoints are untouched)" in said
    assert "Traceback" not in said


@pytest.mark.long
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_disk_too_full_for_an_event_keeps_the_last_checkpoint_and_says_what_to_do(
    uninterrupted: Path, disk: Path, share: float
):
    """[R30] [R32] In training and in the comparison; the torn last line is written again."""
    said = fails_and_is_resumed(disk, uninterrupted, share=share, leave=0)
    assert "No space left on device" in said
    assert "make room or grant access" in said
    assert "Traceback" not in said


def test_a_run_on_a_disk_that_is_read_only_is_refused_and_left_as_it_is(uninterrupted: Path, disk: Path):
    """[R30] Nothing is begun that could not be finished."""
    folder, output = disk / "run", disk.parent / "output"
    shutil.copytree(uninterrupted, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert mount("-o", "remount,ro", str(disk))
    assert end(start(["resume", str(folder), "--quiet"], output)) == 2
    said = " ".join(output.read_text().split())
    assert "cannot be locked (Read-only file system), wanted a folder that can be written and locked; change" in said
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.long
def test_checkpoints_that_become_read_only_in_the_middle_of_a_run_end_it_without_loss(uninterrupted: Path, disk: Path):
    """[R30] [R29] The last good one is resumed from once it can be written again."""
    folder, output = disk / "run", disk.parent / "output"
    process = start(["grow", "--out", str(folder), "--quiet", *TINY], output)
    at = int(first_checkpoint_share(uninterrupted) * whole_bytes(uninterrupted))
    signal_at(process, folder / "events.jsonl", at, signal.SIGSTOP)
    checkpoints = str(folder / "checkpoints")
    assert mount("--bind", checkpoints, checkpoints)
    assert mount("-o", "remount,bind,ro", checkpoints)
    os.kill(process.pid, signal.SIGCONT)
    assert end(process) == 2
    said = " ".join(output.read_text().split())
    assert "Read-only file system" in said
    assert "grant access and resume (earlier checkpoints are untouched)" in said
    subprocess.run(["umount", checkpoints], check=True)
    assert end(start(["resume", str(folder), "--quiet"], output)) == 0
    assert_equal_runs(folder, uninterrupted)


@pytest.mark.long
def test_files_torn_in_a_crash_lead_to_the_checkpoint_before_and_a_notice(uninterrupted: Path, tmp_path: Path):
    """[R30] [R32] As a power cut may leave them: half a checkpoint under its name, half a line of events."""
    folder, output = tmp_path / "run", tmp_path / "output"
    process = start(["grow", "--out", str(folder), "--quiet", *TINY], output)
    signal_at(process, folder / "events.jsonl", whole_bytes(uninterrupted) // 2, signal.SIGKILL)
    assert end(process) == -signal.SIGKILL
    newest = max(path for path in (folder / "checkpoints").iterdir() if not path.name.startswith("."))
    state = newest / "state.pt"
    os.truncate(state, state.stat().st_size // 2)
    os.truncate(folder / "events.jsonl", (folder / "events.jsonl").stat().st_size - 7)
    assert end(start(["resume", str(folder), "--quiet"], output)) == 0
    said = " ".join(output.read_text().split())
    assert f"`{newest}` is damaged" in said
    assert "it is passed over and the one before it is tried" in said
    assert_equal_runs(folder, uninterrupted)
