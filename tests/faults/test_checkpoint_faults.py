"""Checkpoints under damage, full disks, folders without permission, and SIGKILL."""

import hashlib
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.checkpoint import load_latest, save
from accredit.errors import FileDamaged, RunFolderError


@pytest.fixture(scope="module")
def intact() -> Iterator[Path]:
    """A folder with two checkpoints; tests work on the bytes of the newer and put them back."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step in (1, 2):
            save(folder, {"weight": torch.arange(step * 40.0), "step": step}, step=step)
        yield folder


def newest(folder: Path) -> Path:
    return max(folder.iterdir())


def assert_falls_back(folder: Path, *, reason: str) -> None:
    sentences: list[str] = []
    state, step = load_latest(folder, on_damaged=sentences.append)
    assert (state["step"], step) == (1, 1)
    assert len(sentences) == 1
    assert re.search(rf"`{re.escape(str(newest(folder)))}` is damaged: .*{reason}", sentences[0])


def falls_back_with(path: Path, content: bytes, *, reason: str = "") -> None:
    original = path.read_bytes()
    try:
        path.write_bytes(content)
        assert_falls_back(path.parent.parent, reason=reason)
    finally:
        path.write_bytes(original)


@settings(deadline=None, max_examples=150)
@given(name=st.sampled_from(["state.pt", "manifest.json"]), where=st.floats(0, 1), bits=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_detected(intact: Path, name: str, where: float, bits: int):
    """[R30]"""
    path = newest(intact) / name
    content = bytearray(path.read_bytes())
    content[min(int(where * len(content)), len(content) - 1)] ^= bits
    falls_back_with(path, bytes(content))


def test_every_single_byte_of_the_manifest_is_guarded(intact: Path):
    """[R30] The case of a hexadecimal digit, a blank and the last newline among them."""
    path = newest(intact) / "manifest.json"
    content = path.read_bytes()
    for offset in range(len(content)):
        falls_back_with(path, content[:offset] + bytes([content[offset] ^ 32]) + content[offset + 1 :])


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(["state.pt", "manifest.json"]), where=st.floats(0, 1, exclude_max=True))
def test_a_torn_file_is_detected(intact: Path, name: str, where: float):
    """[R30]"""
    path = newest(intact) / name
    content = path.read_bytes()
    falls_back_with(path, content[: int(where * len(content))])


@pytest.mark.parametrize("name", ["state.pt", "manifest.json"])
def test_bytes_at_the_end_are_detected(intact: Path, name: str):
    """[R30]"""
    path = newest(intact) / name
    falls_back_with(path, path.read_bytes() + b"\n")


@pytest.mark.parametrize("name", ["state.pt", "manifest.json"])
def test_a_missing_file_is_detected(intact: Path, name: str):
    """[R30]"""
    path = newest(intact) / name
    aside = intact.parent / f"{intact.name}-{name}"
    path.rename(aside)
    try:
        assert_falls_back(intact, reason=f"`{name}` is missing")
    finally:
        aside.rename(path)


def test_an_extra_file_is_detected(intact: Path):
    """[R30]"""
    extra = newest(intact) / "more.pt"
    extra.write_bytes(b"")
    try:
        assert_falls_back(intact, reason="`more.pt` does not belong to it")
    finally:
        extra.unlink()


def test_the_files_of_one_checkpoint_do_not_pass_for_another(tmp_path: Path):
    """[R30] An old checkpoint copied or renamed to a newer name would set the run back unseen."""
    old = save(tmp_path, {"step": 1}, step=1)
    shutil.copytree(old, tmp_path / "000002-step-2")
    assert_falls_back(tmp_path, reason="the name of the folder differs")


def test_an_unreadable_checkpoint_is_passed_over(tmp_path: Path):
    """[R30] A read error of the disk is damage too; a folder in place of the file raises the same OSError."""
    save(tmp_path, {"step": 1}, step=1)
    newer = save(tmp_path, {"step": 2}, step=2)
    (newer / "state.pt").unlink()
    (newer / "state.pt").mkdir()
    assert_falls_back(tmp_path, reason="Is a directory")


def test_damage_in_all_checkpoints_is_an_error_after_naming_each(tmp_path: Path):
    """[R30]"""
    for step in (1, 2):
        (save(tmp_path, {"step": step}, step=step) / "state.pt").write_bytes(b"")
    sentences: list[str] = []
    with pytest.raises(FileDamaged, match="has 2 checkpoints and all are damaged; resuming needs an intact one"):
        load_latest(tmp_path, on_damaged=sentences.append)
    assert [re.search(r"step-\d", sentence)[0] for sentence in sentences] == ["step-2", "step-1"]


def forge(path: Path, content: bytes, *, head: str = '{"format": "accredit checkpoint", "version": 1, ') -> None:
    """Give foreign content a manifest whose sha256 sums are right."""
    digest = hashlib.sha256(content).hexdigest()
    line = (
        f'{head}"number": {int(path.name[:6])}, "step": {path.name[12:]}, '
        f'"files": {{"state.pt": {{"bytes": {len(content)}, "sha256": "{digest}"}}}}}}'
    ).encode()
    (path / "state.pt").write_bytes(content)
    (path / "manifest.json").write_bytes(line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n")


def test_a_forged_manifest_is_accepted_so_that_the_tests_below_mean_something(tmp_path: Path):
    path = save(tmp_path, {"step": 1}, step=1)
    forge(path, (path / "state.pt").read_bytes())
    assert load_latest(tmp_path, on_damaged=print)[1] == 1


class Trap:
    """Executes a command where pickle is allowed to."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("wrap", [False, True])
def test_loading_executes_nothing(tmp_path: Path, wrap: bool):
    """[R30] Even where the attacker made the manifest fit."""
    folder, sprung = tmp_path / "run", tmp_path / "sprung"
    save(folder, {"step": 1}, step=1)
    path = save(folder, {"step": 2}, step=2)
    if wrap:
        torch.save({"step": Trap(sprung)}, tmp_path / "trap.pt")
        forge(path, (tmp_path / "trap.pt").read_bytes())
    else:
        forge(path, pickle.dumps({"step": Trap(sprung)}, protocol=2))
    assert_falls_back(folder, reason="holds more than tensors and plain values")
    assert not sprung.exists()


def test_a_checkpoint_of_a_newer_version_is_refused_not_passed_over(tmp_path: Path):
    """[R31] Falling back would silently lose progress that a newer Accredit can read."""
    save(tmp_path, {"step": 1}, step=1)
    path = save(tmp_path, {"step": 2}, step=2)
    forge(path, b"whatever the future holds", head='{"format": "accredit checkpoint", "version": 2, "more": 1, ')
    with pytest.raises(FileDamaged, match=r"is a checkpoint of version 2, but .* up to 1; update Accredit"):
        load_latest(tmp_path, on_damaged=print)


def test_a_manifest_of_another_program_is_not_ours(tmp_path: Path):
    """[R30]"""
    save(tmp_path, {"step": 1}, step=1)
    path = save(tmp_path, {"step": 2}, step=2)
    forge(path, (path / "state.pt").read_bytes(), head='{"format": "other", "version": 1, ')
    assert_falls_back(tmp_path, reason="is not that of an accredit checkpoint")


def test_a_full_disk_leaves_the_earlier_checkpoint_and_says_what_to_do(tmp_path: Path):
    """[R30] A limit on the size of files stands for the full disk: both fail in the middle of a write."""
    save(tmp_path, {"step": 1}, step=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(RunFolderError, match=r"could not take the checkpoint of step 2: .*make room") as caught:
            save(tmp_path, {"step": 2, "weight": torch.randn(100_000)}, step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert isinstance(caught.value.__cause__, OSError)
    assert [path.name for path in tmp_path.iterdir()] == ["000001-step-1"]
    assert load_latest(tmp_path, on_damaged=print)[1] == 1


def test_a_read_only_folder_leaves_the_earlier_checkpoint_and_says_what_to_do():
    """[R30]"""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        save(folder, {"step": 1}, step=1)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # permissions do not hold root back
        try:
            with pytest.raises(RunFolderError, match=r"could not take .*Permission denied; .*grant access"):
                save(folder, {"step": 2}, step=2)
            assert load_latest(folder, on_damaged=print)[1] == 1
        finally:
            if user == 0:
                os.seteuid(0)
            folder.chmod(0o755)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path):
    """[R30]"""
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(RunFolderError, match=re.escape(f"`{tmp_path / 'run'}` could not take")):
        save(tmp_path / "run", {}, step=1)


def test_what_a_killed_process_left_is_no_checkpoint_and_is_swept(tmp_path: Path):
    """[R30]"""
    path = save(tmp_path, {"step": 1}, step=1)
    shutil.copytree(path, tmp_path / ".writing-000002-step-2")
    shutil.copytree(path, tmp_path / ".pruned-000000-step-0")
    assert load_latest(tmp_path, on_damaged=pytest.fail)[1] == 1
    save(tmp_path, {"step": 2}, step=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001-step-1", "000002-step-2"]


SAVE_FOR_EVER = """
import itertools, sys, torch
from pathlib import Path
from accredit.checkpoint import load_latest, save
folder = Path(sys.argv[1])
start = load_latest(folder, on_damaged=sys.exit)[1] + 1
for step in itertools.count(start):
    save(folder, {"weight": torch.full((200_000,), float(step)), "step": step}, step=step, keep=2)
    print(step, flush=True)
"""


@pytest.mark.long
def test_a_process_killed_while_saving_leaves_every_finished_checkpoint_intact(tmp_path: Path):
    """[R30] SIGKILL at 12 moments spread over the period of a save."""
    save(tmp_path, {"step": 0}, step=0)
    for delay_ms in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay_ms * 0.0013)
            process.kill()
            printed = process.stdout.read().split()
        state, step = load_latest(tmp_path, on_damaged=pytest.fail)
        assert step >= (int(printed[-1]) if printed else 0)
        assert torch.equal(state["weight"], torch.full((200_000,), float(step)))


def test_the_kernel_is_asked_to_make_files_and_folders_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """[R30] Power loss cannot be tried here; the order of fsync and rename can."""
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def record_fsync(descriptor: int) -> None:
        calls.append("fsync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def record_rename(path: Path, target: Path) -> Path:
        calls.append(f"rename {path.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", record_rename)
    save(tmp_path / "run", {}, step=5)
    writing = ".writing-000001-step-5"
    assert calls == [
        f"fsync {tmp_path.name}",
        "fsync state.pt",
        "fsync manifest.json",
        f"fsync {writing}",
        f"rename {writing}",
        "fsync run",
    ]
    save(tmp_path / "run", {}, step=6, keep=1)
    assert calls[-2:] == ["fsync run", "rename 000001-step-5"], "deleted in place, half of it could look damaged"
