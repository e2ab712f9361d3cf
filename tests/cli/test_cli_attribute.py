"""`accredit attribute` on a file: three layers that double, of which each off one is left out.

With k of three layers on, 1 becomes 2^k, and the squared error to 8 is 49, 36, 16 or 0. By symmetry each layer earns
a third of 49. Two of them together: mean over the third of v(both) - v(one) - v(other) + v(none), which is
((16 - 36 - 36 + 49) + (0 - 16 - 16 + 36)) / 2 = -1.5 raw, so that together they help 1.5 more than apart.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from accredit import CounterfactualMatrix
from accredit.cli import main

DOUBLING = """
import os, sys, time
import torch
from torch import nn
from accredit.models import AttributionTask, Metric, absolute_error, squared_error

print("a line of the user's own")

class Double(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.last = last
        self.register_buffer("factor", torch.tensor(float(os.environ.get("FACTOR", "2"))))

    def forward(self, x):
        time.sleep(float(os.environ.get("SLOW", "0")))
        if os.environ.get("FAILS") and self.last and (x.max() < 1.5 or os.environ["FAILS"] == "at once"):
            raise RuntimeError("too small")
        return x * self.factor

def build():
    n = int(os.environ.get("LAYERS", "3"))
    model = nn.Sequential(*[Double(at == n - 1) for at in range(n)]).eval()
    batches = [(torch.ones(3, 1), torch.full((3, 1), 2.0 ** n)), (torch.ones(2, 1), torch.full((2, 1), 2.0 ** n))]
    names = {f"layer {at}": str(at) for at in range(n)}
    return AttributionTask(model, names, batches, [squared_error("error"), absolute_error("distance")], off="identity")

def wrong():
    return {"model": None}

def raises():
    raise ValueError("no data here")

def lost():
    task = build()
    return AttributionTask(task.model, ["2.x"], task.batches, task.metrics)
"""
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, in a folder that is also the working directory; what a user's file does to the process is undone."""
    path = tmp_path / "doubling.py"
    path.write_text(DOUBLING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("SLOW", "FACTOR", "FAILS", "LAYERS"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest."""
    monkeypatch.setattr("accredit.cli.attribution_folder.write_pictures", lambda *_: [Path("drawn.png")])


def refused(arguments: list[str], capsys: Captured, *, status: int = 2) -> str:
    """The sentence of a command that must end so."""
    assert main(["attribute", *arguments]) == status
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert err.startswith("accredit: ")
    assert err.rstrip().endswith((".", "?", "(once it is mended)"))
    return " ".join(err.split())


def test_a_file_is_attributed_into_tables_pictures_and_files(file: Path, tmp_path: Path, capsys: Captured):
    """[R3] Exact values that are known by hand, their interaction, how work was shared, where everything is."""
    pytest.importorskip("matplotlib")
    assert main(["attribute", str(file), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "evaluating 8/8" in out
    assert out.count("+16.3333 ±0.0000") == 3
    assert "exact, 8 coalitions: all 8 coalitions were evaluated" in out
    assert "error: 49 with all off, 0 with all on [1]" in out
    assert "layer 0 + layer 1 +1.5000 ±0.0000" in " ".join(out.split())
    assert "what removal would cost" in out
    assert "evaluated by loop: " in out
    assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line and "evaluated by" not in line) <= 80
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "task.json", "matrix.accredit", "result.json", "report.html", "contributions-error.png",
        "contributions-distance.png", "waterfall-error.png", "interactions-error.png",
    }  # fmt: skip
    matrix = CounterfactualMatrix.load(tmp_path / "out" / "matrix.accredit")
    assert matrix.players == ("layer 0", "layer 1", "layer 2")
    assert matrix.shapley("error")["layer 1"].contribution == pytest.approx(49 / 3)


def test_json_is_the_only_thing_on_stdout(file: Path, tmp_path: Path, no_pictures: None, capsys: Captured):
    """[R37] Also where the user's file prints; progress goes to stderr."""
    assert main(["attribute", str(file), "--json", "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert [row["contribution"] for row in result["shapley"]["error"]["players"]] == pytest.approx([49 / 3] * 3)
    pairs = result["interactions"]["error"]
    assert [(pair["players"], pair["contribution"]) for pair in pairs[:1]] == [(["layer 0", "layer 1"], 1.5)]
    assert result["sharing"]["mechanism"] == "loop"
    assert result["source"] == str(file)
    assert result == json.loads((tmp_path / "out" / "result.json").read_text())
    assert "a line of the user's own" in err
    assert "evaluating 8/8" in err


def test_level_and_memory_are_those_of_the_command(file: Path, tmp_path: Path, no_pictures: None, capsys: Captured):
    """[R8] [R16] In the tables, in the JSON, in the command that goes on; too little memory is told."""
    arguments = [str(file), "--out", str(tmp_path / "out"), "--confidence", "0.8", "--max-example-bytes", "1000"]
    assert main(["attribute", *arguments, "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "Shapley values with 80% intervals" in err
    result = json.loads(out)
    assert "--confidence 0.8 --max-example-bytes 1000" in result["command"]
    assert "`confidence` is 1.0, wanted a level between 0 and 1" in refused([str(file), "--confidence", "1"], capsys)
    # 8 bytes for each of 8 coalitions, 2 outputs and 5 examples are 640
    sentence = refused(
        [str(file), "--out", str(tmp_path / "small"), "--max-example-bytes", "639", "--quiet"], capsys, status=1
    )
    assert "returned values over 10 examples of all outputs, wanted at most 9 for so many coalitions; raise" in sentence


def test_quiet_prints_the_outcome_alone(file: Path, tmp_path: Path, no_pictures: None, capsys: Captured):
    """[R37]"""
    assert main(["attribute", str(file), "--quiet", "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "evaluating" not in out
    assert "+16.3333" in out
    assert err == ""


def test_without_a_folder_each_attribution_gets_one_of_its_own_under_runs(
    file: Path, tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch
):
    """[R37] Two that begin in the same second do not share one; the builder is part of the name."""
    monkeypatch.setattr("time.strftime", lambda *_: "20260101-120000")
    file.write_text(DOUBLING + "\ndef small():\n    return build()\n")
    for what in ("doubling.py", "doubling.py", "doubling.py:small"):
        assert main(["attribute", what, "--quiet"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "attribute-doubling-20260101-120000",
        "attribute-doubling-20260101-120000-2",
        "attribute-doubling-small-20260101-120000",
    ]


def test_the_same_folder_again_continues_with_what_is_missing(
    file: Path, tmp_path: Path, no_pictures: None, capsys: Captured
):
    """[R11] An ablation first, then the other coalitions: the matrix is that of one command."""
    folder = tmp_path / "out"
    assert main(["attribute", str(file), "--out", str(folder), "--strategy", "ablation_only", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Leave-one-out" in out
    assert "+16.0000" in out
    assert len(CounterfactualMatrix.load(folder / "matrix.accredit").masks) == 5
    assert main(["attribute", str(file), "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "+16.3333" in out
    assert "evaluating 5/8" not in out.split("evaluating 8/8")[1]
    assert main(["attribute", str(file), "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "+16.3333" in out
    assert "evaluating" not in out, "nothing is left"
    assert "evaluated by loop; " in out


def test_another_model_in_the_same_folder_is_refused(
    file: Path, tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R11] A matrix never mixes two games."""
    folder = tmp_path / "out"
    assert main(["attribute", str(file), "--out", str(folder), "--quiet"]) == 0
    before = (folder / "matrix.accredit").read_bytes()
    monkeypatch.setenv("FACTOR", "3")
    capsys.readouterr()
    assert (
        f"`--out` is {folder}, which was begun with other weights, wanted the same in all of a matrix; name another "
        "folder" in refused([str(file), "--out", str(folder), "--quiet"], capsys)
    )
    monkeypatch.setenv("FACTOR", "2")
    monkeypatch.setenv("LAYERS", "2")
    assert "begun with other weights and other batches and other players, wanted" in refused(
        [str(file), "--out", str(folder), "--quiet"], capsys
    )
    assert (folder / "matrix.accredit").read_bytes() == before


def test_a_folder_of_something_else_is_refused_and_left_alone(file: Path, tmp_path: Path, capsys: Captured):
    """[R30]"""
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    assert f"`--out` is {other}, which holds other files and no task.json, wanted a new folder" in refused(
        [str(file), "--out", str(other), "--quiet"], capsys
    )
    assert f"`--out` is {file}, which cannot be made (" in refused([str(file), "--out", str(file), "--quiet"], capsys)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    (other / "task.json").write_text("{")
    assert "task.json` cannot be read as JSON (" in refused([str(file), "--out", str(other), "--quiet"], capsys)


def test_a_result_that_cannot_be_written_is_told(file: Path, tmp_path: Path, no_pictures: None, capsys: Captured):
    """[R30] What was evaluated is in the matrix already."""
    (tmp_path / "out").mkdir()
    assert main(["attribute", str(file), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    (tmp_path / "out" / "result.json").unlink()
    (tmp_path / "out" / "result.json").mkdir()
    capsys.readouterr()
    sentence = refused([str(file), "--out", str(tmp_path / "out"), "--quiet"], capsys)
    assert f"`{tmp_path / 'out' / 'result.json'}` cannot be written (" in sentence


def test_a_failing_model_keeps_what_is_finished_and_says_how_to_go_on(
    file: Path, tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R11] The coalition and the line are named; the command that is shown finishes the work once it is mended."""
    monkeypatch.setenv("FAILS", "1")
    folder = tmp_path / "with space"
    sentence = refused([str(file), "--out", str(folder), "--quiet", "--seed", "3"], capsys, status=1)
    line = DOUBLING.splitlines().index('            raise RuntimeError("too small")') + 1
    assert f"failed for 1 coalition(s), first {{layer 2}} at line {line}: RuntimeError: too small" in sentence
    assert f"finished coalitions are kept in {folder}. Go on by: " in sentence
    command = sentence.split("Go on by: ")[1].removesuffix(" (once it is mended)")
    assert shlex.split(command)[:3] == ["accredit", "attribute", str(file)]
    monkeypatch.delenv("FAILS")
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out.count("+16.3333") == 3


def test_a_model_that_fails_before_the_first_evaluation_is_told_with_its_line(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R11]"""
    monkeypatch.setenv("FAILS", "at once")
    sentence = refused([str(file), "--out", str(tmp_path / "out"), "--quiet"], capsys, status=1)
    assert f"`{file}` raised RuntimeError at line" in sentence
    assert "(too small), wanted a model that can be evaluated on its batches; mend the file." in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_ctrl_c_keeps_what_is_finished_and_the_shown_command_ends_with_the_same_matrix(
    file: Path, tmp_path: Path, no_pictures: None, capsys: Captured
):
    """[R11] From outside, with a signal, as a terminal sends it."""
    command = [
        sys.executable, "-c", "from accredit.cli import main; raise SystemExit(main())",
        "attribute", str(file), "--out", str(tmp_path / "cut"),
    ]  # fmt: skip
    environment = {**os.environ, "SLOW": "0.3", "LAYERS": "6"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        while "evaluating 2/64" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        # once: one that Python dropped inside a destructor would be lost
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after this pass, with everything that is finished; Ctrl-C again stops at once" in err
    assert "Traceback" not in err
    # on a machine with much to do the signal may come a call later
    finished = re.search(r"stopped; (\d+) finished coalitions are kept in", err)
    assert finished is not None
    assert 2 <= int(finished[1]) < 64
    shown = shlex.split(err.split("Go on by: ")[1])
    os.environ["LAYERS"] = "6"
    try:
        assert main(shown[1:]) == 0
        assert main(["attribute", str(file), "--out", str(tmp_path / "whole"), "--quiet"]) == 0
    finally:
        del os.environ["LAYERS"]
    cut, whole = (CounterfactualMatrix.load(tmp_path / name / "matrix.accredit") for name in ("cut", "whole"))
    assert torch.equal(cut.masks, whole.masks)
    assert torch.equal(cut.values("error"), whole.values("error"))


def test_ctrl_c_before_anything_was_evaluated_leaves_no_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R11]"""
    file.write_text("def build():\n    raise KeyboardInterrupt\n")
    assert main(["attribute", str(file), "--out", str(tmp_path / "out")]) == 130
    assert "stopped before this command evaluated anything" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_processes_give_the_same_result(file: Path, tmp_path: Path, no_pictures: None, capsys: Captured):
    """[R10] With a module that the file itself defines."""
    path = shutil.copy(file, tmp_path / "doubling_in_processes.py")
    assert main(["attribute", str(path), "--workers", "2", "--out", str(tmp_path / "two"), "--quiet"]) == 0
    assert main(["attribute", str(path), "--out", str(tmp_path / "one"), "--quiet"]) == 0
    two, one = (CounterfactualMatrix.load(tmp_path / name / "matrix.accredit") for name in ("two", "one"))
    assert torch.equal(two.masks, one.masks)
    assert torch.equal(two.example_values("error"), one.example_values("error"))


def test_a_builder_is_refused_by_what_is_wrong_with_it(file: Path, capsys: Captured):
    """[R37] No such function (the nearest is named), a wrong return, an exception, a path that leads nowhere."""
    line = DOUBLING[: DOUBLING.index("no data here")].count("\n") + 1
    for builder, wanted in {
        "biuld": f"has no function 'biuld', wanted one that builds an AttributionTask; did you mean {file}:build?",
        "wrong": f"`wrong` of {file} returned 'dict', wanted an AttributionTask; end it by",
        "raises": f"`raises` of {file} raised ValueError at line {line} (no data here), wanted an AttributionTask",
        "lost": "`components` has '2.x', wanted the path of a module or a glob that matches some; did you mean '2'",
    }.items():
        assert wanted in refused([f"{file}:{builder}", "--quiet"], capsys)


def test_a_file_that_is_not_there_or_no_python_is_refused(file: Path, tmp_path: Path, capsys: Captured):
    """[R37]"""
    assert f"`FILE` is {tmp_path / 'dubling.py'}, which does not exist, wanted a Python file; did you mean {file}?" in (
        refused([str(tmp_path / "dubling.py")], capsys)
    )
    torn = tmp_path / "torn.py"
    torn.write_text("x = 1\ndef build(:\n")
    assert f"`{torn}` raised SyntaxError at line 2 (invalid syntax" in refused([str(torn)], capsys)
    torn.write_text("import sys\nsys.exit(3)\n")
    assert f"`{torn}` raised SystemExit at line 2 (3), wanted" in refused([str(torn)], capsys)
    torn.write_text("x = 1\n")
    assert "has no function 'build', wanted one that builds an AttributionTask; define one" in refused(
        [str(torn)], capsys
    )
    assert f"`RUN` is {tmp_path}, which holds no run, wanted" in refused([str(tmp_path)], capsys)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--max-evaluations", "2"], "`max_evaluations` is 2, wanted at least"),
        (["--seconds", "0"], "`timeout_s` is 0"),
        (["--workers", "0"], "`--workers` is 0 and `--dask` is None, wanted at least 1 process"),
        (["--workers", "2", "--dask", "x"], "`--workers` is 2 and `--dask` is x, wanted"),
        (["--stop", "best"], "`--stop` is 'best', wanted signs or top=K"),
        (["--stop", "top=0"], "`--stop` is 'top=0', wanted signs or top=K"),
        (
            ["--half-width", "eror=1"],
            "`--half-width` got the output 'eror', wanted one of error, distance; did you mean",
        ),
        (["--half-width", "error=much"], "`--half-width` got 'error=much', wanted a number above 0"),
        (["--half-width", "0"], "`--half-width` got '0', wanted a number above 0"),
    ],
)
def test_impossible_options_are_refused_and_leave_no_folder(
    arguments: list[str], wanted: str, file: Path, tmp_path: Path, capsys: Captured
):
    """[R37]"""
    assert wanted in refused([str(file), "--out", str(tmp_path / "out"), "--quiet", *arguments], capsys)
    assert not (tmp_path / "out").exists()


def test_sampling_ends_when_the_half_width_or_the_signs_are_reached(
    file: Path, tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R9] Seven players, 128 coalitions in all: an easy target is reached before the budget of 100."""
    monkeypatch.setenv("LAYERS", "7")
    for name, arguments in {"wide": ["--half-width", "error=1e6"], "never": ["--half-width", "1e-30"]}.items():
        options = ["--max-evaluations", "100", "--out", str(tmp_path / name), "--json", "--quiet", *arguments]
        assert main(["attribute", str(file), *options]) == 0
    reached, never = (json.loads(line) for line in _objects(capsys.readouterr().out))
    assert (reached["provenance"]["stop_reason"], never["provenance"]["stop_reason"]) == ("stop", "max_evaluations")
    assert reached["cost"]["n_evaluations"] < 100 == never["cost"]["n_evaluations"]
    assert reached["config"]["stop"] == "HalfWidthsReached(targets=((0, 1000000.0),))"


def test_the_help_fits_a_screen_and_has_an_example(monkeypatch: pytest.MonkeyPatch, capsys: Captured):
    """[R37] 80 columns, 40 rows, long lines counted as the terminal folds them."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["attribute", "--help"])
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert sum(max(1, -(-len(line) // 80)) for line in lines) <= 39, "one row is left for the prompt"
    assert any(line.startswith("Example: accredit attribute") for line in lines)


@pytest.mark.long
def test_a_file_needs_no_package_of_the_training_system(file: Path, tmp_path: Path):
    """[R37] The extra `cli` is enough."""
    program = textwrap.dedent("""
        import sys
        for name in ("torchrl", "tensordict", "gymnasium", "sklearn", "matplotlib", "pandas"):
            sys.modules[name] = None
        from accredit.cli import main
        raise SystemExit(main())
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, "attribute", str(file), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no pictures, for matplotlib is not installed: pip install 'accredit[report]'" in done.stdout
    done = subprocess.run(
        [sys.executable, "-c", program, "attribute", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'accredit[grow]'" in done.stderr


def _objects(text: str) -> list[str]:
    """JSON objects that stand one after the other, each ending with a closing brace at the beginning of a line."""
    return [part + "}" for part in text.split("\n}")[:-1]]


def processes_of_group(group: int) -> list[int]:
    """Processes that are alive in a process group; a zombie is none."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(folder.name))
    return found


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_ctrl_c_with_two_processes_leaves_none_behind_and_the_shown_command_ends_with_the_same_matrix(
    file: Path, tmp_path: Path, no_pictures: None
):
    """[R11] A terminal sends the signal to all processes of the command at once."""
    file = Path(shutil.copy(file, tmp_path / "doubling_stopped.py"))
    command = [
        sys.executable, "-c", "from accredit.cli import main; raise SystemExit(main())",
        "attribute", str(file), "--out", str(tmp_path / "cut"), "--workers", "2", "--max-evaluations", "64",
    ]  # fmt: skip
    environment = {**os.environ, "SLOW": "0.04", "LAYERS": "6"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("evaluating ") or "evaluating 0/" in line:
            assert process.poll() is None, process.stderr.read()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    # a process of Python's own that tidies up ends a moment after all others have
    limit = time.monotonic() + 10
    while processes_of_group(process.pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert processes_of_group(process.pid) == []
    assert "Traceback" not in err
    assert "finished coalitions are kept in" in err
    shown = shlex.split(err.split("Go on by: ")[1])
    before = CounterfactualMatrix.load(tmp_path / "cut" / "matrix.accredit")
    assert 0 < len(before.masks) < 64
    os.environ["LAYERS"] = "6"
    try:
        assert main(shown[1:]) == 0
        assert main(["attribute", str(file), "--out", str(tmp_path / "whole"), "--quiet"]) == 0
    finally:
        del os.environ["LAYERS"]
    cut, whole = (CounterfactualMatrix.load(tmp_path / name / "matrix.accredit") for name in ("cut", "whole"))
    assert torch.equal(cut.masks, whole.masks)
    assert torch.equal(cut.example_values("error"), whole.example_values("error"))


@pytest.mark.long
def test_a_dask_cluster_gives_the_same_result(file: Path, tmp_path: Path, no_pictures: None, capsys: Captured):
    """[R10] A scheduler and a worker as the page on scaling starts them, on the loopback interface."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = Path(shutil.copy(file, tmp_path / "doubling_by_dask.py"))
    address, dask = f"tcp://127.0.0.1:{port}", [sys.executable, "-m", "dask"]
    # the file's own classes must be found where it is evaluated
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path, "env": environment}
    programs = [
        subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **quiet),
        subprocess.Popen([*dask, "worker", address, "--no-dashboard", "--no-nanny", "--nthreads", "1"], **quiet),
    ]
    try:
        assert main(["attribute", str(file), "--dask", address, "--out", str(tmp_path / "far"), "--quiet"]) == 0
    finally:
        for program in programs:
            program.terminate()
            program.wait(timeout=30)
    assert main(["attribute", str(file), "--out", str(tmp_path / "near"), "--quiet"]) == 0
    far, near = (CounterfactualMatrix.load(tmp_path / name / "matrix.accredit") for name in ("far", "near"))
    assert torch.equal(far.masks, near.masks)
    assert torch.equal(far.example_values("error"), near.example_values("error"))


def test_an_address_without_a_scheduler_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R37]"""
    dask = pytest.importorskip("dask")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        sentence = refused([str(file), "--dask", address, "--out", str(tmp_path / "out"), "--quiet"], capsys)
    assert f"`--dask` is '{address}', where no scheduler answers (" in sentence
