"""The report of a run says what its files say, and of damaged, unfinished and foreign runs what is missing."""

import json
import math
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import report_pages
import report_runs
from report_reader import Reader
from scipy import stats

from accredit.charts import Chart, PairChart
from accredit.cli.settings import with_settings
from accredit.errors import FileDamaged, RunFolderError
from accredit.report import Group, ReportPage, Section, Table
from accredit.report.run_reading import read_run
from accredit.report.run_report import run_page, write_run_report
from accredit.telemetry import HostDiverged, Origin, PolicyRolledBack, StageChanged, StepCompleted
from accredit.training.config import TrainConfig
from accredit.training.config_record import to_plain
from accredit.training.run_lock import locked
from accredit.training.task import find_task


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_runs.write_run(
        tmp_path_factory.mktemp("runs") / "run", report_runs.events(), report_runs.comparison()
    )


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def page_of(folder: Path) -> ReportPage:
    return run_page(read_run(folder))


def section(page: ReportPage, title: str) -> Section:
    return next(part for part in page.sections if part.title == title)


def item(page: ReportPage, title: str) -> Table | Chart | PairChart:
    """The figure or table of this title."""
    items = [
        one
        for part in page.sections
        for item in part.items
        for one in (item.items if isinstance(item, Group) else [item])
    ]
    return next(one for one in items if one.title == title)


def test_a_finished_run_has_every_part_and_nothing_to_say_about_what_is_missing(finished: Path):
    page = page_of(finished)
    assert [part.title for part in page.sections] == [
        "Outcome",
        "What the grafts earn",
        "Grafts over time",
        "Learning",
        "Normalizers",
        "Cost",
        "Configuration",
    ]
    assert page.notices == ()
    assert dict(page.facts)["accredit"] == "0.1.0"
    assert dict(page.facts)["updates"] == "2 of 2"
    assert page.key_figures[0].value == "90.0%"
    assert page.key_figures[1].value == "\u22120.100 nat"


@pytest.mark.parametrize("task", ["digits", "text"])
@pytest.mark.parametrize("settings", [[], ["ppo.clip=0.1", "updates=7", "episode.learning_rate=0.01"]])
def test_the_command_begins_the_same_run_again(tmp_path: Path, task: str, settings: list[str]):
    """Tasks begin with settings of their own: 0.01 is the default of one and not of the other."""
    begun = find_task(task).run_config(seed=5)
    config = with_settings(begun, settings)
    folder = report_runs.write_run(tmp_path / "a run", [], None, config=to_plain(config))
    words = shlex.split(page_of(folder).commands[0])
    assert words[:5] == ["accredit", "grow", task, "--seed", "5"]
    assert set(words[5::2]) <= {"--set"}
    assert with_settings(begun, words[6::2]) == config
    assert shlex.split(page_of(folder).commands[1]) == ["accredit", "report", str(folder)]


def test_a_task_of_ones_own_has_no_command_and_data_has_a_folder(tmp_path: Path):
    plain = to_plain(TrainConfig(seed=3, updates=2))
    own = report_runs.write_run(tmp_path / "own", [], None, config=plain | {"task": "mine own"})
    assert page_of(own).commands[0].startswith("# mine own is no task of the command line; train it from Python")
    folder = report_runs.write_run(
        tmp_path / "cifar", [], None, config=plain | {"task": "cifar10", "data": "/data/cifar 10"}
    )
    assert page_of(folder).commands[0].startswith("accredit grow cifar10 --seed 3 --data '/data/cifar 10' --set ")


def test_policies_stand_in_a_table_and_the_learned_one_ahead_of_each(finished: Path):
    page = page_of(finished)
    table, ahead = item(page, "Policies"), item(page, "How far the learned policy is ahead")
    assert [row[0] for row in table.rows] == ["learned", "random", "no growth"]
    assert table.emphasized == 0
    (series,) = ahead.series
    assert series.x == ("random", "no growth")
    assert series.y == (0.15, 0.1)
    assert series.lower == pytest.approx((0.14, 0.09))
    assert series.upper == pytest.approx((0.16, 0.11))
    frontier = item(page, "Accuracy against parameters")
    assert frontier.series[-1].name == "fixed network, every size"
    assert frontier.series[-1].x == (900.0,)


def test_networks_are_counted(finished: Path):
    rows = item(page_of(finished), "What the learned policy built").rows
    assert rows == (("input:mlp, hidden:mlp", 2.0, 0.9, 700.0), ("input:mlp", 1.0, 0.9, 700.0))


def test_pairs_are_means_over_hosts_with_student_intervals(finished: Path):
    """A fall of the loss that only both together bring is the whole interaction, raw and so negative."""
    network = item(page_of(finished), "Interactions as a network")
    pairs = network.estimates.pairs
    assert pairs.names == ("input + hidden",)
    assert pairs.values == pytest.approx((-0.4,))
    assert pairs.contributions == pytest.approx((0.4,))
    assert pairs.half_widths == pytest.approx((stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3),))


def test_a_pair_of_three_is_averaged_over_the_third(tmp_path: Path):
    """v(1,2) = v(1,2,3) = 0.3 beyond the sum: the interaction of 1 and 2 is 0.3 with 3 off and on; others have none."""
    slots = ("a", "b", "c")
    told = [report_runs.estimated("learned-000-test", 8, None, slots, [0.1] * 3)]
    told += [report_runs.tested(at, slots, 0.3) for at in range(2)]
    folder = report_runs.write_run(tmp_path / "run", told, report_runs.comparison(slots))
    pairs = item(page_of(folder), "Interactions as a matrix").estimates.pairs
    assert dict(zip(pairs.names, pairs.values, strict=True)) == pytest.approx({"a + b": -0.3, "a + c": 0, "b + c": 0})


def test_pairs_that_no_single_host_has_all_of_are_shown(tmp_path: Path):
    """[R37] Who lacks a partner is left out by name, and not everybody with it."""
    slots = ("a", "b", "c")
    told = [report_runs.estimated("learned-000-test", 8, None, slots, [0.1] * 3)]
    parted = [report_runs.tested(at, pair, 0.3) for at, pair in enumerate((("a", "c"), ("a", "b"), ("b", "c")))]
    folder = report_runs.write_run(tmp_path / "parted", told + parted, report_runs.comparison(slots))
    network = item(page_of(folder), "Interactions as a network")
    assert set(network.estimates.pairs.names) == {"a + c", "a + b", "c + b"}
    assert "Left out" not in network.note
    whole = [report_runs.tested(0, ("a", "c"), 0.3), report_runs.tested(1, slots, 0.3)]
    folder = report_runs.write_run(tmp_path / "whole", told + whole, report_runs.comparison(slots))
    ordered = item(page_of(folder), "Interactions as a network").estimates
    assert ordered.players == slots  # as the host with most grafts has them
    lonely = [report_runs.tested(at, pair, 0.3) for at, pair in enumerate((("a", "c"), ("a", "b"), ("a", "b")))]
    folder = report_runs.write_run(tmp_path / "lonely", told + lonely, report_runs.comparison(slots))
    network = item(page_of(folder), "Interactions as a network")
    assert network.estimates.pairs.names == ("a + b",)
    assert network.note.endswith("Left out, since no host has it together with each of these: c.")


def test_a_graft_has_its_stages_as_bands_and_a_second_one_in_its_slot_a_line_of_its_own(finished: Path):
    chart = item(page_of(finished), "Contribution of each graft and its stages")
    assert [(band.lane, band.label, band.start, band.end) for band in chart.bands] == [
        ("mlp at input", "training", 0.0, 2.0),
        ("mlp at input", "blending", 2.0, 3.0),
        ("mlp at input", "holding", 3.0, 4.0),
        ("mlp at input, no. 2", "training", 5.0, 8.0),
        ("norm at hidden", "training", 6.0, 8.0),
    ]
    assert [band.strength for band in chart.bands] == [0.25, 0.5, 0.75, 0.25, 0.25]
    first = chart.series[0]
    assert first.name == "mlp at input"
    assert dict(zip(first.x, first.y, strict=True))[3.0] == pytest.approx(0.15)
    # raw ends -0.17 and -0.12 of a loss are 0.12 and 0.17 of a contribution
    assert (first.lower[3], first.upper[3]) == pytest.approx((0.12, 0.17))
    assert set(chart.series[2].y) == {None}, "never 0 where nothing was measured"
    waiting = item(page_of(finished), "What insertion would bring")
    assert waiting.series[1].y[6] == pytest.approx(0.02)
    assert waiting.series[0].y[6] is None, "measured after the first graft had gone"


def test_before_the_comparison_the_last_episode_of_training_is_told(tmp_path: Path):
    """Two episodes of one environment are not one host."""
    told = []
    for episode, slot in ((0, "input"), (1, "hidden")):
        origin = Origin(environment="train-000", episode=episode, step=0)
        told.append(
            StageChanged(origin=origin, slot=slot, kind="mlp", operation="graft", source="empty", target="training")
        )
        told += [
            replace(event, origin=replace(origin, step=event.origin.step))
            for event in report_runs.events()
            if isinstance(event, StepCompleted)
        ]
    page = page_of(report_runs.write_run(tmp_path / "run", told, None))
    assert (
        "the last episode of the first training environment (train-000)"
        in section(page, "Grafts over time").paragraphs[0]
    )
    chart = item(page, "Contribution of each graft and its stages")
    assert "Nothing was earned: no graft reached the output." in chart.note
    bands = chart.bands
    assert [(band.lane, band.start, band.end) for band in bands] == [("mlp at hidden", 0.0, 8.0)]
    assert len(item(page, "The host while it grew").series[0].y) == 8


def test_contributions_while_the_policy_learned_are_means_of_each_update(finished: Path):
    chart = item(page_of(finished), "Contribution by slot while the policy learned")
    assert {series.name: series.y for series in chart.series} == {"input": (0.1, 0.2), "hidden": (0.2, 0.4)}


def test_of_very_many_matrices_one_in_so_many_is_read_and_the_note_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("accredit.report.run_reading._MOST_BYTES", (folder / "events.jsonl").stat().st_size)
    chart = item(page_of(folder), "Contribution by slot while the policy learned")
    assert {series.name: series.y for series in chart.series} == {"input": (None, 0.2), "hidden": (None, 0.4)}
    assert "Mean over one in 2 of all hosts and steps" in chart.note


def test_coalitions_are_counted_by_what_they_answer(tmp_path: Path):
    told = report_runs.events()
    told += [replace(report_runs.tested(9, ("a",), 0.0), origin=Origin(environment="train-000", game="live"))] * 3
    folder = report_runs.write_run(tmp_path / "run", told, report_runs.comparison())
    assert read_run(folder).coalitions == {"": 12, "live": 6}
    assert item(page_of(folder), "Coalitions evaluated").rows[1][1] == 6.0


def test_diagnostics_are_the_fields_of_the_updates(finished: Path):
    """[R32] A missing measurement is a gap."""
    page = page_of(finished)
    assert item(page, "Return and gain over no growth").series[1].y == (None, 0.04)
    assert item(page, "Divergence from the policy that acted").series[1].y == (0.03, 0.03)
    assert item(page, "Entropy of the policy").series[0].y == (2.0, 1.0)
    assert {one.name: one.y for one in item(page, "What the policy decided").series}["graft"] == (0.25, 0.25)
    assert item(page, "Drift of the observations").series[0].y == (0.5, 0.25)
    assert "there were none" in section(page, "Normalizers").paragraphs[0]


def test_the_share_of_attribution_is_told_where_it_was_measured(tmp_path: Path):
    told = [report_runs.update(at, attribution_share=share) for at, share in ((1, None), (2, 0.1), (3, 0.3))]
    page = page_of(report_runs.write_run(tmp_path / "run", told, None))
    assert item(page, "Attribution in the time of an update").series[0].y == (None, 0.1, 0.3)
    assert ("attribution, share of the time of training", "20.0%") in item(page, "Time").rows
    page = page_of(report_runs.write_run(tmp_path / "other", [report_runs.update(1)], None))
    assert [row[0] for row in item(page, "Time").rows] == [
        "training",
        "comparison on the test split",
        "an update, median",
        "decisions",
        "decisions in a second",
    ]


def test_rows_that_were_left_out_are_drawn(tmp_path: Path):
    told = [report_runs.update(1), report_runs.update(2, observation_dropped=5)]
    page = page_of(report_runs.write_run(tmp_path / "run", told, None))
    assert item(page, "Rows left out").series[0].y == (0.0, 5.0)
    assert "see below how many" in section(page, "Normalizers").paragraphs[0]
    told = [report_runs.update(1, observation_dropped=None)]
    page = page_of(report_runs.write_run(tmp_path / "other", told, None))
    assert "was not measured" in section(page, "Normalizers").paragraphs[0]


def test_an_unfinished_run_says_where_it_stands_and_how_to_go_on(folder: Path):
    (folder / "evaluation.json").unlink()
    page = page_of(folder)
    assert page.notices == (
        f"The run is not finished: it stands at update 2 of 2. Go on by `accredit resume {folder}`.",
    )
    assert "have not been compared" in section(page, "Outcome").paragraphs[0]
    assert [figure.value for figure in page.key_figures] == ["2", "+0.040 nat", "80.0%"]


def test_a_run_that_has_just_begun_has_a_report(tmp_path: Path):
    folder = report_runs.write_run(tmp_path / "run", [], None)
    (folder / "events.jsonl").unlink()
    page = page_of(folder)
    assert page.notices[0] == "There are no events: events.jsonl is missing; what happened in training is not known."
    assert "not finished: it stands at update 0 of 2" in page.notices[1]
    assert write_run_report(folder).stat().st_size > 1000


def test_a_run_in_use_is_named_with_who_uses_it_and_left_alone(folder: Path):
    with locked(folder):
        before = (folder / "run.lock").read_text()
        assert "The run goes on: process " in page_of(folder).notices[0]
        assert "is using it. It stands at update 2 of 2." in page_of(folder).notices[0]
        assert (folder / "run.lock").read_text() == before
    assert page_of(folder).notices == ()


def test_damaged_lines_are_told_and_the_rest_is_in_the_report(folder: Path):
    path = folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    broken = [at for at, line in enumerate(lines) if line.startswith(b'{"event": "UpdateCompleted"')]
    lines[broken[0]] = lines[broken[0]][:60] + b"\n"
    lines.insert(1, b'{"event": "RunStarted", "version": 99, "time": 1.0}\n')
    path.write_bytes(b"".join(lines) + b'{"event": "RunCompleted", "version": 1, "ti')
    page = page_of(folder)
    assert page.notices[0].startswith("events.jsonl is damaged: line 2 ")
    assert page.notices[0].endswith(", and 1 more. The rest is in this report.")
    assert dict(page.facts)["updates"] == "1 of 2"
    assert write_run_report(folder).exists()


def test_a_damaged_comparison_is_told_and_the_rest_is_in_the_report(folder: Path):
    (folder / "evaluation.json").write_text('{"policies": [')
    page = page_of(folder)
    assert page.notices[0].startswith(
        f"The comparison is missing: `{folder / 'evaluation.json'}` cannot be read as JSON"
    )
    assert len(item(page, "Return and gain over no growth").series[0].y) == 2


def test_a_comparison_of_another_version_is_told(folder: Path):
    (folder / "evaluation.json").write_text('{"policies": [{"policy": "learned"}], "hosts": 3}')
    page = page_of(folder)
    assert "The comparison is missing: `evaluation.json` is of another version" in page.notices[0]
    assert write_run_report(folder).exists()


def test_what_another_version_wrote_is_shown_with_its_version(tmp_path: Path):
    told = [replace(report_runs.events()[0], code_version="0.0.9"), *report_runs.events()[1:]]
    config = to_plain(TrainConfig(seed=3)) | {"colour": "blue"}
    page = page_of(report_runs.write_run(tmp_path / "run", told, report_runs.comparison(), config=config))
    assert page.notices == ("The run was made by accredit 0.0.9, this report by 0.1.0.",)
    assert ("colour", "blue", "not a field of this version") in item(page, "Every field of the configuration").rows


def test_what_went_wrong_in_training_is_told_first(tmp_path: Path):
    told = [
        *report_runs.events(),
        HostDiverged(origin=Origin(environment="train-000")),
        PolicyRolledBack(update=1, in_a_row=1, reason="the loss was NaN"),
    ]
    page = page_of(report_runs.write_run(tmp_path / "run", told, report_runs.comparison()))
    assert page.notices == (
        "1 hosts diverged and were rolled back; their episodes ended there.",
        "1 updates of the policy were taken back, first update 1: the loss was NaN",
    )


def test_a_folder_without_a_run_or_with_a_damaged_configuration_is_refused(tmp_path: Path, folder: Path):
    with pytest.raises(RunFolderError, match=r"which holds no run, wanted a folder with a config.json; name a folder"):
        write_run_report(tmp_path / "nothing")
    (folder / "config.json").write_text("{")
    with pytest.raises(FileDamaged, match=r"config.json` cannot be read as JSON"):
        write_run_report(folder)


def test_events_that_may_not_be_read_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    opened = Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "events.jsonl":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunFolderError, match="cannot be read: Permission denied; a report needs the events of the run"):
        read_run(folder)


def test_a_long_run_has_a_report_of_the_size_of_a_short_one(tmp_path: Path):
    """A spike among 3000 updates stays where it was."""
    told = [report_runs.update(at, approximate_kl=9.0 if at == 1234 else 0.01) for at in range(1, 3001)]
    folder = report_runs.write_run(tmp_path / "run", told, None)
    chart = item(page_of(folder), "Divergence from the policy that acted")
    assert len(chart.series[0].y) <= 240
    assert dict(zip(chart.series[0].x, chart.series[0].y, strict=True))[1234.0] == 9.0
    assert "at most 240 are kept" in chart.note
    assert write_run_report(folder).stat().st_size < 1_000_000


def test_hostile_names_of_a_run_are_texts_and_add_no_element(finished: Path, tmp_path: Path):
    """Slots, kinds, policies and the folder are named by users."""
    slots = (report_pages.HOSTILE[0], report_pages.HOSTILE[2])
    kind, policy = report_pages.HOSTILE[4], report_pages.HOSTILE[6]
    told = report_runs.events(slots, kind, policy)
    folder = report_runs.write_run(
        tmp_path / "<img src=x onerror=alert(1)>", told, report_runs.comparison(slots, kind, policy)
    )
    hostile = Reader(write_run_report(folder).read_text(encoding="utf-8"))
    plain = Reader(write_run_report(finished).read_text(encoding="utf-8"))
    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in plain.elements}
    assert [tag for tag, _ in hostile.elements].count("script") == [tag for tag, _ in plain.elements].count("script")
    for name in (*slots, kind, policy, folder.name):
        assert any(name in text for text in hostile.texts), name
    data = json.loads(dict(hostile.raw)["application/json"])
    assert any(f"\u2068{kind}\u2069 at {slots[0]}" in series["x"] for chart in data for series in chart["series"])
