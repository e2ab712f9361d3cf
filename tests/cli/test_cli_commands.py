"""The commands from outside: exit status, sentences, output.

Runs are tiny: two hosts, four steps an episode.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from accredit.cli import main
from accredit.growth.hosts import Players
from accredit.telemetry import HostGrown, Origin, StageChanged, UpdateCompleted, read
from accredit.training.loop import regrow
from accredit.training.run_lock import locked

TINY = [
    "--environments", "2", "--updates", "2", "--set", "episode.steps=4", "episode.minibatches=1",
    "episode.batch_size=16", "episode.host_seeds=2", "evaluation.hosts=2", "evaluation.calibration_episodes=1",
    "checkpoint_every=1", "ppo.epochs=2",
]  # fmt: skip
Captured = pytest.CaptureFixture[str]


def output(capsys: Captured) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["grow", "--out", str(folder), "--quiet", *TINY]) == 0
    return folder


def refused(arguments: list[str], capsys: Captured) -> str:
    """Return the sentence of a command that must end with exit status 2."""
    assert main(arguments) == 2
    out, err = output(capsys)
    assert out == ""
    assert err.startswith("accredit: `")
    assert err.rstrip().endswith((".", "?"))
    assert "Traceback" not in err
    return " ".join(err.split())


@pytest.mark.parametrize("command", [[], ["grow"], ["attribute"], ["resume"], ["evaluate"], ["report"]])
def test_every_command_has_help_with_an_example(command: list[str], capsys: Captured):
    """[R37]"""
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    out, _ = output(capsys)
    assert "accredit" in out
    if command:
        assert f"accredit {command[0]}" in " ".join(out.split())
        assert "Example:" in out
    else:
        assert all(name in out for name in ("grow", "attribute", "resume", "evaluate", "report"))


@pytest.mark.parametrize("arguments", [["grwo"], ["grow", "--updats", "3"], ["grow", "--updates", "many"], ["resume"]])
def test_mistyped_arguments_end_with_status_two(arguments: list[str], capsys: Captured):
    """[R37]"""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


def test_a_run_prints_progress_lines_both_tables_and_the_path_of_its_report(tmp_path: Path, capsys: Captured):
    """[R37] Plain lines, since a test is no terminal; folder of its own."""
    folder = tmp_path / "run"
    assert main(["grow", "digits", "--out", str(folder), *TINY]) == 0
    out, _ = output(capsys)
    assert "training 2/2" in out
    assert "warming up" in out
    assert "comparing" in out
    assert "\x1b" not in out
    for text in ("accuracy", "log-loss", "learned", "no growth", "random", "greedy", "schedule"):
        assert text in out
    assert f"report: {folder / 'report.html'}" in out
    assert (folder / "report.html").stat().st_size > 1000
    assert out.startswith(f"live: accredit watch {folder}\n")
    assert max(len(line) for line in out.splitlines() if not line.startswith(("report:", "live:"))) <= 80
    updates = [e for e in read(folder / "events.jsonl") if isinstance(e, UpdateCompleted)]
    share = sum(update.attribution_share for update in updates) / len(updates)
    assert 0 < share < 1
    assert f"Measuring grafts took {share:.1%} of the time of training." in out


def test_quiet_prints_the_outcome_alone(run: Path, tmp_path: Path, capsys: Captured):
    """[R37]"""
    shutil.copytree(run, tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "--quiet"]) == 0
    out, err = output(capsys)
    assert "comparing" not in out
    assert "training" not in out
    assert "Test split" in out
    assert err == ""


def test_without_a_folder_each_run_gets_one_of_its_own_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R37] Two that begin in the same second do not share one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *_: "20260101-120000")
    for _ in range(2):
        assert main(["grow", "--seed", "3", "--quiet", *TINY]) == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["digits-seed3-20260101-120000", "digits-seed3-20260101-120000-2"]
    first, second = ((tmp_path / "runs" / name / "evaluation.json").read_text() for name in names)
    assert first == second


def test_evaluate_and_report_repeat_what_grow_did(run: Path, tmp_path: Path, capsys: Captured):
    """[R35] The same numbers; the report comes back where it was lost."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    before = (folder / "evaluation.json").read_text()
    (folder / "report.html").unlink()
    (folder / "evaluation.json").unlink()
    assert main(["evaluate", str(folder), "--quiet"]) == 0
    assert (folder / "evaluation.json").read_text() == before
    assert (folder / "report.html").exists()
    (folder / "report.html").unlink()
    output(capsys)
    assert main(["report", str(folder)]) == 0
    assert output(capsys)[0] == f"report: {folder / 'report.html'}\n"
    assert (folder / "report.html").exists()


def test_the_table_shows_the_numbers_of_the_events(run: Path, tmp_path: Path, capsys: Captured):
    """[R35]"""
    shutil.copytree(run, tmp_path / "run")
    main(["evaluate", str(tmp_path / "run"), "--quiet"])
    out, _ = output(capsys)
    grown = [e for e in read(run / "events.jsonl") if isinstance(e, HostGrown) and e.policy == "no growth"]
    line = next(line for line in out.splitlines() if line.split()[:2] == ["no", "growth"])
    accuracy, loss = (sum(vars(e)[name] for e in grown) / 2 for name in ("accuracy", "log_loss"))
    assert line.split()[2:5] == [f"{accuracy:.3f}", f"{loss:.3f}", "682"]


def test_settings_reach_the_run(run: Path):
    """[R29] The folder keeps the whole configuration."""
    config = json.loads((run / "config.json").read_text())
    assert (config["environments"], config["updates"], config["episode"]["steps"]) == (2, 2, 4)
    steps = {e.origin.step for e in read(run / "events.jsonl") if isinstance(e, StageChanged)}
    assert steps <= {0, 1, 2, 3, 4}


def test_unknown_tasks_are_answered_with_the_nearest_name(tmp_path: Path, capsys: Captured):
    """[R37]"""
    sentence = refused(["grow", "digist", "--out", str(tmp_path / "run")], capsys)
    assert "`task` is 'digist'" in sentence
    assert "did you mean 'digits'?" in sentence
    assert not (tmp_path / "run").exists()


def test_a_folder_that_exists_is_refused_with_the_way_to_resume_it(run: Path, capsys: Captured):
    """[R30]"""
    before = sorted((path.name, path.stat().st_mtime_ns) for path in run.iterdir())
    sentence = refused(["grow", "--out", str(run), *TINY], capsys)
    assert (
        f"`--out` is {run}, which exists, wanted a new folder; go on with that run by `accredit resume {run}`"
        in sentence
    )
    assert sorted((path.name, path.stat().st_mtime_ns) for path in run.iterdir()) == before


@pytest.mark.parametrize("place", ["below a file", "/proc"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, place: str, capsys: Captured):
    """[R30]"""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run" if place == "below a file" else Path("/proc/run")
    assert f"`--out` is {folder}, which cannot be made (" in refused(["grow", "--out", str(folder), *TINY], capsys)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--environments", "0"], "`environments` is 0, wanted a whole number of at least 1"),
        (["--updates", "0"], "`updates` is 0, wanted"),
        (["--seed", "-1"], "`seed` is -1, wanted"),
        (["--set", "episode.steps=0"], "`episode.steps` is 0, wanted"),
        (["--set", "evaluation.hosts=1"], "`evaluation` got 1 hosts"),
        (["--set", "episode.stesp=3"], "`--set` got the field 'episode.stesp', wanted one of the"),
        (["--set", "episode.stesp=3"], "did you mean 'episode.steps'?"),
        (["--set", "ppo.clip"], "`--set` got 'ppo.clip', wanted NAME=VALUE"),
    ],
)
def test_impossible_sizes_and_unknown_fields_are_refused_before_a_folder_is_made(
    arguments: list[str], wanted: str, tmp_path: Path, capsys: Captured
):
    """[R37]"""
    assert wanted in refused(["grow", "--out", str(tmp_path / "run"), *arguments], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "setting",
    [
        "episode.reward.rent=NaN",
        "episode.reward.loss_cap=NaN",
        "episode.learning_rate=Infinity",
        "ppo.entropy_start=NaN",
        "ppo.learning_rate=Infinity",
        "seed=99999999999999",
        "episode.host_seeds=2000000",
        "evaluation.hosts=2000000",
    ],
)
def test_numbers_that_are_not_finite_or_beyond_all_bounds_are_refused(setting: str, tmp_path: Path, capsys: Captured):
    """[R37] Before anything is written; pools of hosts would otherwise overlap."""
    sentence = refused(["grow", "--out", str(tmp_path / "run"), "--set", setting], capsys)
    assert setting.split("=")[0].split(".")[-1] in sentence
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_may_not_have_fewer_updates_than_it_has_done(run: Path, tmp_path: Path, capsys: Captured):
    """[R31]"""
    shutil.copytree(run, tmp_path / "run")
    assert "`updates` is 1, but the run has done 2; pass" in refused(
        ["resume", str(tmp_path / "run"), "--updates", "1"], capsys
    )
    assert json.loads((tmp_path / "run" / "config.json").read_text())["updates"] == 2


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_folder_without_a_run_is_refused(command: str, tmp_path: Path, capsys: Captured):
    """[R30]"""
    for folder in (tmp_path, tmp_path / "missing"):
        sentence = refused([command, str(folder)], capsys)
        assert f"`RUN` is {folder}, which holds no run, wanted a folder with a config.json; name a folder" in sentence


def test_a_report_of_a_folder_with_neither_is_refused(tmp_path: Path, capsys: Captured):
    """[R30]"""
    sentence = refused(["report", str(tmp_path)], capsys)
    assert f"`RUN` is {tmp_path}, which holds no run and no attribution, wanted one with a config.json" in sentence


def test_a_report_of_an_unfinished_run_says_what_is_missing(run: Path, tmp_path: Path, capsys: Captured):
    """[R37]"""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "evaluation.json").unlink()
    assert main(["report", str(folder)]) == 0
    assert "The run is not finished" in (folder / "report.html").read_text()


def test_a_changed_configuration_is_refused_by_field(run: Path, tmp_path: Path, capsys: Captured):
    """[R31]"""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    config = json.loads((folder / "config.json").read_text())
    config["episode"]["batch_size"], config["seed"] = 32, 1
    (folder / "config.json").write_text(json.dumps(config))
    sentence = refused(["resume", str(folder)], capsys)
    assert "differs from the checkpoint in seed: 0 -> 1; episode.batch_size: 16 -> 32, wanted the same" in sentence


def test_a_configuration_that_is_no_json_is_refused(run: Path, tmp_path: Path, capsys: Captured):
    """[R30]"""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "config.json").write_text('{"task": ')
    assert "config.json` cannot be read as JSON" in refused(["resume", str(folder)], capsys)


def test_one_flipped_byte_is_told_and_the_outcome_is_the_same(run: Path, tmp_path: Path, capsys: Captured):
    """[R30] The previous checkpoint is used, also with --quiet; with none left the command fails."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    newest = max((folder / "checkpoints").iterdir())
    for path in [newest / "state.pt"]:
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
    assert main(["resume", str(folder), "--quiet"]) == 0
    _, err = output(capsys)
    assert f"`{newest}` is damaged" in err
    assert (folder / "evaluation.json").read_text() == (run / "evaluation.json").read_text()
    assert list(read(folder / "events.jsonl")) == list(read(run / "events.jsonl"))
    for path in (folder / "checkpoints").iterdir():
        (path / "manifest.json").write_bytes(b"x")
    assert main(["resume", str(folder), "--quiet"]) == 2
    assert "and all are damaged; resuming needs an intact one" in output(capsys)[1]


def test_training_that_fails_ends_with_status_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured):
    """[R35] Loudly, and what a checkpoint holds stays."""
    folder = tmp_path / "run"
    assert main(["grow", "--out", str(folder), "--quiet", *TINY, "ppo.learning_rate=1e20", "ppo.rollbacks=0"]) == 1
    err = output(capsys)[1]
    assert "accredit: `train` took back 1 updates" in err
    assert (folder / "checkpoints").is_dir()


def test_the_grafts_of_a_grown_host_are_attributed_on_the_reward_split(tmp_path: Path, capsys: Captured):
    """[R36] The same host weight by weight as in the comparison, against the credit that its hosts give themselves."""
    folder = tmp_path / "run"
    longer = ["episode.steps=12", "episode.minibatches=4", "episode.commit_rule=any"]
    assert main(["grow", "--out", str(folder), "--quiet", *TINY, *longer, "evaluation.hosts=6"]) == 0
    grown = [e for e in read(folder / "events.jsonl") if isinstance(e, HostGrown) and e.policy == "learned"]
    episodes = regrow(folder)
    host = next(at for at, event in enumerate(grown) if event.committed)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    output(capsys)
    arguments = ["--host", str(host), "--out", str(tmp_path / "out"), "--json", "--quiet"]
    assert main(["attribute", str(folder), *arguments]) == 0
    result = json.loads(output(capsys)[0])
    assert result["players"] == [committed.replace(":", ": ") for committed in grown[host].committed]
    reward = episodes.task.splits.reward
    outcome = episodes.hosts.evaluate([host], reward.inputs, reward.labels, players=Players.LIVE)
    expected = episodes.creditor.matrix(outcome, 0, outcome.slots, Origin()).shapley("log_loss")
    found = [row["value"] for row in result["shapley"]["log_loss"]["players"]]
    assert found == pytest.approx(expected.value.tolist(), abs=1e-6)
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
    assert "`--host` is 6, wanted one of the 6 hosts of the final comparison" in refused(
        ["attribute", str(folder), "--host", "6", "--quiet"], capsys
    )


def test_sinks_are_kept_beside_the_file_and_go_on_with_the_run(tmp_path: Path, capsys: Captured):
    """[R31] [R32] They are chosen by name; resume and evaluate keep those that the run has, and may add one."""
    folder = tmp_path / "run"
    assert main(["grow", "--out", str(folder), "--quiet", "--sink", "csv", *TINY]) == 0
    table = folder / "csv" / "UpdateCompleted.csv"
    before = table.read_text()
    assert len(before.splitlines()) == 3
    table.unlink()
    assert main(["evaluate", str(folder), "--quiet"]) == 0
    assert table.read_text() == before
    assert not (folder / "tensorboard").exists()
    more = ["--sink", "csv", "--sink", "tensorboard"]
    assert main(["resume", str(folder), "--quiet", "--updates", "3", *more]) == 0
    assert table.read_text().startswith(before)
    assert len(table.read_text().splitlines()) == 4
    assert len(list((folder / "tensorboard").glob("events.out.tfevents.*"))) == 1
    assert output(capsys)[1] == ""


def test_a_sink_without_its_packages_is_refused_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
):
    """[R37]"""
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    sentence = refused(["grow", "--out", str(tmp_path / "run"), "--sink", "tensorboard", *TINY], capsys)
    assert (
        "`TensorBoardSink` got no matplotlib, wanted it installed; run `pip install accredit[tensorboard]`" in sentence
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_run_in_use_is_refused_and_stays_as_it_is(command: str, run: Path, tmp_path: Path, capsys: Captured):
    """[R30] With the process that uses it and what to do."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "run.lock"}
    with locked(folder):
        sentence = refused([command, str(folder)], capsys)
    assert f"`RUN` is {folder}, which process {os.getpid()} on" in sentence
    assert "is using, wanted a run that no living process uses; wait for it to end, stop it by Ctrl-C" in sentence
    for path, content in before.items():
        assert path.read_bytes() == content
