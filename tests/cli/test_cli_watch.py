"""`accredit watch`: what it says when it can show a page, and when it cannot."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from accredit.cli import main
from accredit.cli.commands import Watch
from accredit.cli.watch import _names

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"task": "digits"}')
    return folder


def test_ctrl_c_ends_the_page_and_the_token_comes_from_the_environment(run: Path):
    command = [sys.executable, "-c", "import sys; from accredit.cli import main; sys.exit(main())"]
    process = subprocess.Popen(
        [*command, "watch", str(run), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"ACCREDIT_TOKEN": TOKEN},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("live page: http://127.0.0.1:")
    assert line.endswith(f"/?token={TOKEN}\n")
    assert process.stdout.readline() == "Ctrl-C ends it; the runs go on without it\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 0
    assert output == "the page has ended; the runs go on\n"
    assert errors == ""


def test_a_port_in_use_is_told_with_one_that_is_free(run: Path, capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["watch", str(run), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"accredit: `--port` is {port}, which cannot be had (Address already in use), wanted a free one;"
    )
    assert said.endswith(", which is free now, or --port 0 for any.\n")
    named = int(said.split("--port ")[1].split(",")[0])
    with socket.create_server(("127.0.0.1", named)):
        pass


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.0.2.1", "where this machine cannot listen (Cannot assign requested address), wanted one of its own"),
        ("no.such.name.invalid", "which is no known name ("),
    ],
)
def test_a_host_that_is_not_this_machine_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str], host: str, said: str
):
    assert main(["watch", str(run), "--host", host, "--token", TOKEN]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"accredit: `--host` is {host!r}, {said}")
    assert error.endswith("leave it out to take 127.0.0.1.\n")


def test_another_address_without_a_token_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ACCREDIT_TOKEN", raising=False)
    assert main(["watch", str(run), "--host", "0.0.0.0"]) == 2
    assert "wanted a token that keeps them out" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["watch", str(tmp_path)]) == 2
    assert f"`RUN` is {tmp_path}, which holds no run and no attribution, wanted" in capsys.readouterr().err


def test_at_least_one_run_is_needed(capsys: pytest.CaptureFixture[str]):
    assert main(["watch"]) == 2
    assert capsys.readouterr().err == (
        "accredit: `RUN` is missing, wanted the folder of at least one run or attribution; write for example "
        "accredit watch runs/first.\n"
    )


def test_a_missing_extra_is_named(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.startswith("accredit.dashboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["watch", str(run)]) == 2
    assert capsys.readouterr().err == (
        "accredit: `accredit watch` needs the package uvicorn, which is not installed; install the live page by pip "
        "install 'accredit[watch]'.\n"
    )


def test_runs_of_the_same_name_are_told_apart_by_their_path():
    assert _names((Path("a/run"), Path("b/run"), Path("c/other"))) == ["a/run", "b/run", "other"]
    assert Watch(run=(Path("a"),)).host == "127.0.0.1"
