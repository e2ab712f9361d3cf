"""What the page shows of a run, as data: numbers, choices, notices, and the state of the run."""

import json
import os
import socket
from pathlib import Path

import pytest
from watched_runs import HOSTILE, append, finished, started, step, story, update, write_run

from accredit.dashboard import WatchedRun
from accredit.dashboard.figures import _LIVE, Selection
from accredit.errors import FileDamaged, RunFolderError
from accredit.growth.hosts import Players

ENVIRONMENTS = ("train-0", "train-1")


def watched(folder: Path) -> WatchedRun:
    run = WatchedRun(folder, folder.name)
    while run.index.poll():
        pass
    return run


def charts(folder: Path, **selected: str) -> dict[str, dict]:
    answer = watched(folder).answer(Selection(**selected))
    json.dumps(answer, allow_nan=False)
    return {chart["id"]: chart for chart in answer["charts"]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "run", story(ENVIRONMENTS, 3, slots=("input", "hidden")))
    append(folder, finished(3))
    return folder


def test_every_figure_has_its_numbers(run: Path):
    found = charts(run)
    assert list(dict.fromkeys(chart["section"] for chart in found.values())) == [
        "Progress",
        "Hosts",
        "Grafts",
        "Policy",
        "Normalizers",
    ]
    assert all(series["y"] for chart in found.values() for series in chart["series"])
    entropy = found["entropy"]
    assert (entropy["x"]["title"], entropy["y"]["title"]) == ("PPO update (count)", "mean entropy of the policy (nat)")
    assert entropy["series"][0]["x"] == [1.0, 2.0, 3.0]
    assert entropy["series"][0]["y"] == pytest.approx([1.499, 1.498, 1.497])
    assert [series["name"] for series in found["decisions"]["series"]] == ["wait", "graft"]
    assert found["loss"]["title"] == "Log-loss: 2 environments"
    assert found["loss"]["series"][0]["y"] == [1.0, 1 / 2, 1 / 3, 1 / 4] * 3
    assert found["drift"]["y"]["logarithmic"] is True


def test_lines_have_bands_of_the_lowest_and_highest_unless_they_would_cover_each_other(run: Path):
    append(run, iter([step("train-0", 3, 1, log_loss=8.0), step("train-1", 3, 1, log_loss=4.0)]))
    found = charts(run)
    line = found["loss"]["series"][0]
    assert (line["lower"][-1], line["y"][-1], line["upper"][-1]) == (4.0, 6.0, 8.0)
    assert found["loss"]["note"] == "Line: the mean of each stretch; band: its lowest and highest."
    assert len(found["reward"]["series"]) == 4
    assert all("lower" not in series for series in found["reward"]["series"])
    assert found["reward"]["note"] == "Lines: the means of each stretch."


def test_the_outcome_has_student_t_intervals_over_hosts(run: Path):
    """0.80, 0.81, 0.82: mean 0.81, standard error 0.01 / sqrt(3), t(2) = 4.302653 (tables)."""
    series = charts(run)["outcome"]["series"][0]
    assert series["name"] == "learned"
    assert series["x"] == pytest.approx([810.0])
    assert series["upper"][0] - series["y"][0] == pytest.approx(4.302653 * 0.01 / 3**0.5)
    assert series["x_upper"][0] - series["x"][0] == pytest.approx(4.302653 * 10 / 3**0.5)


def test_one_environment_is_shown_alone(run: Path):
    found = charts(run, place="train-1")
    assert found["loss"]["title"] == "Log-loss: train-1"
    assert "lower" not in found["loss"]["series"][0]
    assert found["story"]["title"].endswith("train-1, episode 1")


def test_the_story_of_the_latest_whole_episode_has_intervals_and_stages(run: Path):
    """Lower is better, so the ends of raw values change sides: -0.1 in [-0.13, -0.08] earns 0.1 in [0.08, 0.13]."""
    found = charts(run)
    told = found["story"]
    assert told["title"] == "Contribution of each graft and its stages: train-0, episode 1"
    assert [series["name"] for series in told["series"]] == ["mlp at input", "mlp at hidden"]
    first = told["series"][0]
    assert first["x"] == [2.0, 3.0, 4.0]
    assert first["y"] == pytest.approx([0.1] * 3)
    assert first["lower"] == pytest.approx([0.08] * 3)
    assert first["upper"] == pytest.approx([0.13] * 3)
    lanes = [(band["lane"], band["label"], band["start"], band["end"]) for band in told["bands"]]
    assert lanes[:2] == [("mlp at input", "training", 0.0, 1.0), ("mlp at input", "committed", 1.0, 4.0)]
    latest = found["latest"]["series"][0]
    assert latest["x"] == ["input", "hidden"]
    assert latest["y"] == pytest.approx([0.1, 0.2])
    assert latest["upper"] == pytest.approx([0.13, 0.23])


def test_the_latest_window_is_the_last_100(tmp_path: Path):
    folder = write_run(tmp_path / "run", (update(number) for number in range(1, 301)))
    whole, recent = charts(folder)["entropy"], charts(folder, window="recent")["entropy"]
    assert recent["series"][0]["x"] == [float(number) for number in range(201, 301)]
    assert "The latest 100." in recent["note"]
    assert len(whole["series"][0]["x"]) <= 256
    assert whole["series"][0]["x"][0] < 3


def test_what_is_unknown_falls_back_to_the_first(run: Path):
    answer = watched(run).answer(Selection(place="nowhere", output="nothing"))
    assert (answer["place"], answer["output"]) == ("train-#", "live/log_loss")
    assert Players.LIVE.value == _LIVE.rstrip("/")


def test_an_answer_is_worked_out_once_until_something_changes(run: Path):
    watching = watched(run)
    first = watching.answer(Selection())
    assert watching.answer(Selection())["charts"] is first["charts"]
    append(run, iter([update(4)]))
    while watching.index.poll():
        pass
    assert watching.answer(Selection())["charts"] is not first["charts"]


def test_hostile_names_stay_what_they_are(tmp_path: Path):
    folder = write_run(tmp_path / "run", story(HOSTILE, 2, slots=HOSTILE), task=HOSTILE[0])
    watching = watched(folder)
    assert watching.choices()["environments"] == list(HOSTILE)
    answer = watching.answer(Selection(place=HOSTILE[1]))
    assert ("task", HOSTILE[0]) in answer["facts"]
    found = {chart["id"]: chart for chart in answer["charts"]}
    assert found["latest"]["series"][0]["x"] == list(HOSTILE)
    assert found["loss"]["title"] == f"Log-loss: {HOSTILE[1]}"


def test_a_run_without_events_has_no_figure_and_says_so(tmp_path: Path):
    folder = write_run(tmp_path / "run", iter([]))
    (folder / "events.jsonl").unlink()
    answer = watched(folder).answer(Selection())
    assert answer["charts"] == []
    assert answer["notices"] == ["No event has been written yet."]
    assert answer["state"] == "stopped"


def test_lines_that_were_left_out_are_told(run: Path):
    with (run / "events.jsonl").open("ab") as file:
        file.write(b"torn\n" * 2)
    notices = watched(run).answer(Selection())["notices"]
    assert notices == ["2 lines were left out of events.jsonl. Line 75 is no event as Accredit writes it."]


@pytest.mark.parametrize(
    ("owner", "state"),
    [
        ("", "stopped"),
        ("{", "stopped"),
        ("[]", "stopped"),
        ('{"pid": 999999999, "host": "HERE"}', "stopped"),
        ('{"pid": -1, "host": "HERE"}', "stopped"),
        ('{"pid": 1e400, "host": "HERE"}', "stopped"),
        ('{"pid": 1, "host": "elsewhere"}', "running (process 1 on elsewhere)"),
        ('{"pid": PID, "host": "HERE"}', "running (process PID on HERE)"),
    ],
)
def test_the_state_of_a_run_is_read_from_its_lock(tmp_path: Path, owner: str, state: str):
    folder = write_run(tmp_path / "run", iter([started(), step("e", 0, 1)]))

    def here(text: str) -> str:
        return text.replace("PID", str(os.getpid())).replace("HERE", socket.gethostname())

    (folder / "run.lock").write_text(here(owner))
    run = watched(folder)
    assert run.state() == here(state)
    append(folder, finished(1))
    while run.index.poll():
        pass
    assert run.state() == "finished"


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(RunFolderError) as caught:
        WatchedRun(tmp_path, "name")
    assert str(caught.value) == (
        f"`RUN` is {tmp_path}, which holds no run, wanted a folder with a config.json; name a folder that "
        "`accredit grow` has made, such as one under runs/."
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON (Expecting property name"),
        ("[" * 100_000, "cannot be read as JSON ("),
        ("\udcff", "cannot be read as JSON ("),
        ("[1]", "holds a list, wanted a JSON object; restore the file from a copy."),
    ],
)
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: str, said: str):
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(FileDamaged) as caught:
        WatchedRun(tmp_path, "name")
    assert str(caught.value).startswith(f"`{tmp_path / 'config.json'}` {said}")
    assert str(caught.value).endswith("restore the file from a copy.")
