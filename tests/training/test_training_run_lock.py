"""One process at a time in a run folder."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accredit.errors import RunFolderError
from accredit.training.run_lock import locked

HOLD = """
import sys
from pathlib import Path
from accredit.training.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_run_that_a_living_process_uses_is_refused_with_its_process_id(tmp_path: Path):
    """[R30] And is free once that process ends, however it ends: SIGKILL leaves its file behind."""
    with held_elsewhere(tmp_path) as process:
        wanted = (
            rf"`RUN` is {tmp_path}, which process {process.pid} on {socket.gethostname()} \(since .* UTC\) is using, "
            r"wanted a run that no living process uses; wait for it to end, stop it by Ctrl-C \(SIGINT\), or begin"
        )
        with pytest.raises(RunFolderError, match=wanted), locked(tmp_path):
            pytest.fail("two processes in one folder")
        process.kill()
        process.wait()
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == process.pid
        with locked(tmp_path):
            assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_a_stale_file_with_the_id_of_a_living_process_stops_nobody(tmp_path: Path):
    """Ids are given again: only the system knows who holds a lock."""
    (tmp_path / "run.lock").write_text(json.dumps({"pid": 1, "host": socket.gethostname(), "since": "long ago"}))
    with locked(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_two_at_once_in_one_process_are_refused_too(tmp_path: Path):
    wanted = f"`--out` is .*, which process {os.getpid()} on"
    with locked(tmp_path), pytest.raises(RunFolderError, match=wanted), locked(tmp_path, argument="--out"):
        pytest.fail("two in one folder")


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, ValueError])
def test_the_lock_is_given_back_however_the_work_ends(tmp_path: Path, end: type[BaseException] | None):
    for _ in range(2):
        try:
            with locked(tmp_path):
                if end is not None:
                    raise end
        except (KeyboardInterrupt, ValueError):
            pass
        assert (tmp_path / "run.lock").read_text() == ""


@pytest.mark.parametrize("left", ["", "{", '{"pid": null, "host": "x", "since": "y"}', "[]"])
def test_a_holder_that_has_not_yet_said_who_it_is_is_refused_in_general(tmp_path: Path, left: str):
    path = tmp_path / "run.lock"
    with path.open("w+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(left)
        file.flush()
        with pytest.raises(RunFolderError, match="which a process that has just begun is using"), locked(tmp_path):
            pytest.fail("two in one folder")


def test_a_folder_that_cannot_be_locked_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = r"run.lock` cannot be locked \(No such file or directory\), wanted a folder that can be written and locked"
    with pytest.raises(RunFolderError, match=wanted), locked(tmp_path / "missing"):
        pytest.fail("no folder")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    wanted = r"run.lock` cannot be locked \(No locks available\), .*, or keep the run on a disk of this machine"
    with pytest.raises(RunFolderError, match=wanted), locked(tmp_path):
        pytest.fail("no locks")
