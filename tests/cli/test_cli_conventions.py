"""What all commands have in common: help on one screen, JSON, exit statuses, Ctrl-C, completion."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from accredit.cli import interrupt, main
from accredit.cli import main as command_line
from accredit.cli.attribute import EvaluationProgress
from accredit.cli.interrupt import gentle_stop
from accredit.cli.progress import Display
from accredit.training.loop import Stopped

ROOT = Path(__file__).parents[2]
COMMANDS = ("grow", "attribute", "resume", "evaluate", "report", "watch")
TINY = [
    "--environments", "2", "--updates", "1", "--set", "episode.steps=4", "episode.minibatches=1",
    "episode.batch_size=16", "episode.host_seeds=2", "evaluation.hosts=2", "evaluation.calibration_episodes=1",
    "ppo.epochs=2",
]  # fmt: skip
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run, and what `--json` printed to stdout."""
    folder, out = tmp_path_factory.mktemp("conventions") / "run", io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["grow", "--out", str(folder), "--json", *TINY]) == 0
    return folder, out.getvalue()


@pytest.fixture
def run(grown: tuple[Path, str]) -> Path:
    return grown[0]


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=lambda words: " ".join(words) or "all")
def test_help_fits_a_screen_and_shows_an_example(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R37] 80 columns, and 40 rows with the prompt."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 39
    shown = re.findall(r"Example: accredit (\w+)", "\n".join(lines))
    assert shown == list(command or COMMANDS)


def test_a_run_as_json_is_all_of_stdout_and_what_its_folder_keeps(grown: tuple[Path, str]):
    """[R37]"""
    run, out = grown
    outcome = json.loads(out)
    assert (outcome.pop("run"), outcome.pop("report")) == (str(run), str(run / "report.html"))
    assert outcome == json.loads((run / "evaluation.json").read_text())
    assert {"learned", "no growth"} <= {row["policy"] for row in outcome["policies"]}


@pytest.mark.parametrize("command", ["evaluate", "resume"])
def test_json_of_a_run_leaves_tables_and_progress_to_stderr(command: str, grown: tuple[Path, str], capsys: Captured):
    """[R37] A program reads one stream, and a person the other."""
    run, out = grown
    capsys.readouterr()
    assert main([command, str(run), "--json"]) == 0
    again, err = capsys.readouterr()
    assert json.loads(again) == json.loads(out)
    assert "Test split, 2 paired hosts" in err
    assert "comparing" in err
    assert max(map(len, (line for line in err.splitlines() if "report: " not in line))) <= 80


def test_ctrl_c_before_a_run_began_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured):
    """[R29] There is nothing to be resumed, and no sentence that says so."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("accredit.cli.work.train", interrupted)
    assert main(["grow", "--out", str(tmp_path / "run"), "--quiet"]) == 130
    assert " ".join(capsys.readouterr().err.split()) == "stopped before the run began; nothing was written"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_stopped_says_how_to_go_on_whatever_its_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R29] The command that is printed can be pasted."""
    folder = tmp_path / "with space"

    def stopped(*_: object, **__: object) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise Stopped

    monkeypatch.setattr("accredit.cli.work.train", stopped)
    assert main(["grow", "--out", str(folder), "--quiet"]) == 130
    said = " ".join(capsys.readouterr().err.split())
    assert said == f"stopped; nothing that a checkpoint holds is lost. Go on by: accredit resume '{folder}'"


def test_ctrl_c_while_the_report_is_written_keeps_the_comparison(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R29] And says what is left to do."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("accredit.cli.work.write_run_report", interrupted)
    capsys.readouterr()
    assert main(["resume", str(run), "--quiet"]) == 130
    said = " ".join(capsys.readouterr().err.split())
    assert said == f"stopped; the comparison is kept in {run / 'evaluation.json'}. Go on by: accredit report {run}"


def test_ctrl_c_between_two_things_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Captured):
    """[R37] Such as while packages are loaded."""

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("accredit.cli.program.main", interrupted)
    assert command_line(["report", "x"]) == 130
    assert capsys.readouterr().err == "accredit: stopped while nothing was under way; give the same command again.\n"


def test_the_first_ctrl_c_asks_and_the_second_one_ends():
    """[R29] Also where Python dropped the first one: the question stays."""
    said: list[str] = []
    with gentle_stop(said.append, where="soon") as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()
        assert said == ["stopping soon; Ctrl-C again stops at once"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.STOPPED == 130


def test_work_that_rarely_asks_ends_at_the_first_ctrl_c_and_still_knows_where_python_drops_it():
    """[R29] A destructor that is interrupted swallows the exception, not the question."""
    dropped: list[object] = []

    class Interrupted:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    hook, sys.unraisablehook = sys.unraisablehook, dropped.append
    try:
        with gentle_stop(pytest.fail, where="soon", at_once=True) as should_stop:
            gone = Interrupted()
            del gone
            assert should_stop()
    finally:
        sys.unraisablehook = hook
    assert len(dropped) == 1
    with pytest.raises(KeyboardInterrupt), gentle_stop(pytest.fail, where="soon", at_once=True):
        os.kill(os.getpid(), signal.SIGINT)


def test_printing_that_cannot_begin_again_does_not_end_a_run():
    """[R29] Ctrl-C in the middle of a line of output: Python refuses to print in between."""

    def refuse(_: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

    with gentle_stop(refuse, where="soon") as should_stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()


def test_the_exit_statuses_are_those_of_the_documentation():
    """[R37] The page, the docstring and the code name the same four."""
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    table = page.split("## Exit statuses")[1].split("##")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "1", "2", "130"]
    import accredit.cli as package

    assert re.findall(r"\b(\d+) \w+", package.__doc__ or "") == ["0", "1", "2", "130"]


def test_bash_completes_commands_and_options_from_the_printed_script(tmp_path: Path, capsys: Captured):
    """[R37] In a real bash."""
    script = tmp_path / "completion"
    with pytest.raises(SystemExit) as end:
        main(["--tyro-print-completion", "bash"])
    assert not end.value.code
    script.write_text(capsys.readouterr().out)
    ask = 'source "$0"; f=$(complete -p accredit | sed "s/.*-F \\([^ ]*\\).*/\\1/"); '
    for words, wanted in {
        ("accredit", "gr"): {"grow"},
        ("accredit", "attribute", "--max-e"): {"--max-evaluations", "--max-example-bytes"},
    }.items():
        line = f"{ask} COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; $f accredit '{words[-1]}' x; "
        completed = subprocess.run(
            ["bash", "-c", line + 'echo "${COMPREPLY[@]}"', str(script)], capture_output=True, text=True, check=True
        )
        assert set(completed.stdout.split()) == wanted


@pytest.mark.parametrize("report", ["evaluated", "passed"])
def test_an_attribution_asks_at_every_report_of_progress_whether_to_end(report: str):
    """[R11] Quiet or not: a question that Python dropped once is answered at the next pass."""
    progress = EvaluationProgress(Display(Console(), quiet=True))
    getattr(progress, report)(1, 2)
    progress.should_stop = lambda: True
    with pytest.raises(KeyboardInterrupt):
        getattr(progress, report)(2, 2)
