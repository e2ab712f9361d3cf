"""The report of an attribution: what each part earns, what is uncertain about it and why, and what is missing."""

import json
from pathlib import Path

import pytest
import report_pages
import torch
from report_reader import Reader
from torch import Tensor

from accredit import CounterfactualConfig, CounterfactualEngine, CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.charts import Chart, PairChart
from accredit.errors import FileDamaged, RunFolderError
from accredit.report import Group, Interval, ReportPage, Table
from accredit.report.attribution_record import read_attribution
from accredit.report.attribution_report import attribution_page, write_attribution_report
from accredit.report.of_folder import write_report_of

LOSS, SHARE = Output("loss", "nat", False), Output("accuracy", "share", True)
PLAYERS = ("a", "b", "c")


def game(masks: Tensor) -> dict[str, Tensor]:
    """Loss per example: a brings 0.3, b and c bring 0.4 together alone, c costs 0.1; accuracy rises by half of that."""
    a, b, c = masks.double().T[:3]
    fall = 0.3 * a + 0.4 * b * c - 0.1 * c
    noise = torch.tensor([-0.02, 0.0, 0.01, 0.01], dtype=torch.float64)
    loss = (1.0 - fall)[:, None] + fall[:, None] * noise
    return {"loss": loss, "accuracy": (1.0 - loss) / 2}


def matrix_of(players: tuple[str, ...] = PLAYERS, path: Path | None = None, **settings: object) -> CounterfactualMatrix:
    config = CounterfactualConfig(outputs=(LOSS, SHARE), **settings)
    return CounterfactualEngine(config).compute_matrix(players, game, path=path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `accredit attribute` leaves it."""
    folder = tmp_path_factory.mktemp("attribution")
    matrix_of(path=folder / "matrix.accredit")
    (folder / "task.json").write_text(json.dumps({"weights": "0123456789abcdef", "players": "a, b, c"}))
    details = {
        "source": "heads.py",
        "command": "accredit attribute heads.py --out runs/heads",
        "versions": {"accredit": "0.1.0", "torch": "2.13.0"},
        "sharing": {"reason": "so short a job pays for no other way", "peak_bytes": 2_500_000},
    }
    (folder / "result.json").write_text(json.dumps(details))
    return folder


def page_of(folder: Path) -> ReportPage:
    return attribution_page(read_attribution(folder))


def item(page: ReportPage, title: str) -> Table | Chart | PairChart:
    items = [
        one
        for part in page.sections
        for each in part.items
        for one in (each.items if isinstance(each, Group) else [each])
    ]
    return next(one for one in items if one.title == title)


def test_what_was_run_and_how_to_repeat_it_stand_first(folder: Path):
    page = page_of(folder)
    assert page.title == "What each part of heads.py earns"
    assert page.commands == ("accredit attribute heads.py --out runs/heads", f"accredit report {folder}")
    facts = dict(page.facts)
    assert (facts["accredit"], facts["torch"], facts["weights, digest"]) == ("0.1.0", "2.13.0", "0123456789ab")
    assert facts["coalitions"] == "8 of at most 1024"
    assert page.notices == ()
    assert [part.title for part in page.sections] == [
        "Contributions",
        "Interactions",
        "Other indices",
        "Values",
        "Cost",
        "Configuration",
    ]


def test_contributions_have_the_sign_that_helps_whatever_the_output(folder: Path):
    """[R7] By hand: a earns 0.3; b and c share 0.4, and c pays 0.1. A complete table leaves the examples alone."""
    page = page_of(folder)
    (series,) = item(page, "Contributions to loss").series
    assert series.x == ("a", "b", "c")
    assert series.y == pytest.approx((0.3, 0.2, 0.1))
    assert all(low < y < high for low, y, high in zip(series.lower, series.y, series.upper, strict=True))
    assert item(page, "Contributions to accuracy").series[0].y == pytest.approx((0.15, 0.1, 0.05))
    rows = item(page, "Shapley values of loss").rows
    assert [row[2] for row in rows] == [0.0, 0.0, 0.0]
    assert all(row[3] > 0 for row in rows)
    assert "draw of validation examples alone" in page.sections[0].paragraphs[1]
    titles = [one.title for one in page.sections[0].items]
    assert "Where the uncertainty about loss comes from" not in titles


def test_both_parts_of_the_uncertainty_of_a_sample_are_drawn(tmp_path: Path):
    """[R7]"""
    players = tuple(f"p{at}" for at in range(8))
    matrix = matrix_of(players, strategy="shapley", max_evaluations=120)
    page = attribution_page(read_attribution(tmp_path, matrix))
    chart = item(page, "Where the uncertainty about loss comes from")
    result = matrix.shapley("loss")
    for series, part in zip(chart.series, (result.stderr_sampling, result.stderr_data), strict=True):
        at = [players.index(name) for name in series.x]
        assert series.y == pytest.approx(part[at].tolist())
    assert [series.name for series in chart.series] == ["which coalitions were drawn", "which examples were drawn"]
    assert "which coalitions were drawn, and which validation examples" in page.sections[0].paragraphs[1]


def test_interactions_are_drawn_as_a_network_and_as_a_matrix_for_each_output(folder: Path):
    """[R12] Only b and c earn together: 0.4."""
    page = page_of(folder)
    for title in ("Network: loss", "Matrix: loss"):
        pairs = item(page, title).estimates.pairs
        assert dict(zip(pairs.names, pairs.contributions, strict=True)) == pytest.approx(
            {"a + b": 0, "a + c": 0, "b + c": 0.4}, abs=1e-9
        )
    assert item(page, "Network: accuracy").estimates.pairs.contributions[2] == pytest.approx(0.2)


def test_other_indices_stand_beside_shapley_values(folder: Path):
    """By hand: without a, b or c alone the loss is 0.3, 0.4 and 0.3 higher; Banzhaf values equal Shapley's here."""
    rows = {row[0]: row[1:] for row in item(page_of(folder), "Indices of loss").rows}
    assert [cell.value for cell in rows["a"]] == pytest.approx([0.3, 0.3, 0.3])
    assert [cell.value for cell in rows["b"]] == pytest.approx([0.2, 0.4, 0.2])
    assert [cell.value for cell in rows["c"]] == pytest.approx([0.1, 0.3, 0.1])
    assert all(cell.lower < cell.value < cell.upper for cell in rows["b"])


def test_an_ablation_has_the_cost_of_leaving_each_out_and_dashes_for_the_rest(tmp_path: Path):
    page = attribution_page(read_attribution(tmp_path, matrix_of(strategy="ablation_only")))
    (series,) = item(page, "Cost of leaving one out: loss").series
    assert series.x == ("b", "a", "c")
    assert series.y == pytest.approx((0.4, 0.3, 0.3))
    row = item(page, "Indices of loss").rows[0]
    assert (row[1], row[3]) == (None, None)
    assert isinstance(row[2], Interval)
    assert "Caution: " in item(page, "Network: loss").note, "so few coalitions tell next to nothing of pairs"


def test_averages_without_examples_have_unknown_intervals(tmp_path: Path):
    """[R5] Never 0."""
    engine = CounterfactualEngine(CounterfactualConfig(outputs=(LOSS,)))
    matrix = engine.compute_matrix(PLAYERS, lambda masks: {"loss": game(masks)["loss"].mean(dim=1)})
    page = attribution_page(read_attribution(tmp_path, matrix))
    assert set(item(page, "Contributions to loss").series[0].lower) == {None}
    assert item(page, "Shapley values of loss").rows[0][3] is None
    assert "Only averages over the examples are known" in page.sections[0].paragraphs[1]
    assert page.key_figures[1].note.endswith("interval unknown")


def test_coalitions_that_failed_are_told_first_and_listed(tmp_path: Path):
    """[R11]"""

    def failing(masks: Tensor) -> dict[str, Tensor]:
        if masks[:, 0].any() and not masks[:, 1].all():
            raise ValueError("out of luck")
        return game(masks)

    config = CounterfactualConfig(outputs=(LOSS, SHARE), coalitions_per_call=1)
    with pytest.raises(Exception, match="out of luck"):
        CounterfactualEngine(config).compute_matrix(PLAYERS, failing, path=tmp_path / "matrix.accredit")
    page = page_of(tmp_path)
    assert "coalitions failed and have no value" in " ".join(page.notices)
    assert "out of luck" in item(page, "Coalitions that failed").rows[0][1]
    assert write_attribution_report(tmp_path).exists()


def test_what_was_stopped_or_goes_on_has_a_report_that_says_so(folder: Path, tmp_path: Path):
    """A file whose end is missing, as SIGKILL leaves it."""
    whole = (folder / "matrix.accredit").read_bytes()
    (tmp_path / "matrix.accredit").write_bytes(whole[:-40])
    notices = page_of(tmp_path).notices
    assert notices[0].startswith("Evaluating goes on, or was killed: there are ")
    assert notices[1:] == (
        "result.json is missing, which says how to repeat it.",
        "task.json is missing, which says what was attributed.",
    )
    assert page_of(tmp_path).commands[0].startswith("accredit attribute FILE.py --out ")


def test_damaged_details_are_told_and_the_matrix_is_shown(folder: Path, tmp_path: Path):
    (tmp_path / "matrix.accredit").write_bytes((folder / "matrix.accredit").read_bytes())
    (tmp_path / "result.json").write_text("{")
    (tmp_path / "task.json").write_text("[]")
    page = page_of(tmp_path)
    assert page.notices[0].startswith("result.json cannot be read (")
    assert page.notices[1] == "task.json holds no JSON object, but a list; it says what was attributed."
    assert item(page, "Contributions to loss").series[0].x == ("a", "b", "c")


def test_the_command_is_pieced_together_where_nobody_kept_it(tmp_path: Path):
    matrix = matrix_of(strategy="ablation_only", max_evaluations=9, seed=4)
    page = attribution_page(read_attribution(tmp_path, matrix))
    assert page.commands[0] == (
        f"accredit attribute FILE.py --out {tmp_path} --strategy ablation_only --max-evaluations 9 --seed 4"
    )


def test_a_folder_that_holds_neither_or_an_altered_matrix_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises(
        RunFolderError, match=r"`RUN` is .*, which holds no matrix.accredit, wanted the folder of an att"
    ):
        read_attribution(tmp_path)
    rest = (
        "wanted one with a config.json or a matrix.accredit; name a folder that `accredit grow` or `accredit "
        "attribute` has made, such as one under runs/."
    )
    for place, what in ((tmp_path, "which holds no run and no attribution"), (tmp_path / "no", "which is no folder")):
        with pytest.raises(RunFolderError) as error:
            write_report_of(place)
        assert str(error.value) == f"`RUN` is {place}, {what}, {rest}"
    (tmp_path / "task.json").write_text("{}")
    with pytest.raises(RunFolderError, match="an attribution of which no coalition has been evaluated yet, wanted one"):
        write_report_of(tmp_path)
    content = bytearray((folder / "matrix.accredit").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "matrix.accredit").write_bytes(content)
    with pytest.raises(FileDamaged):
        write_report_of(tmp_path)


def test_either_kind_of_folder_gets_its_report(folder: Path):
    path = write_report_of(folder)
    assert path == folder / "report.html"
    assert "What each part of heads.py earns" in path.read_text()


def test_hostile_names_of_players_and_outputs_are_texts_and_add_no_element(folder: Path, tmp_path: Path):
    players = tuple(name for name in report_pages.HOSTILE if name)[:5]
    config = CounterfactualConfig(outputs=(Output(report_pages.HOSTILE[0], "</td><b>", True),), max_evaluations=32)
    evil = CounterfactualEngine(config).compute_matrix(
        players, lambda masks: {report_pages.HOSTILE[0]: game(masks)["accuracy"]}
    )
    hostile = Reader(write_attribution_report(tmp_path, evil).read_text(encoding="utf-8"))
    plain = Reader(write_attribution_report(folder).read_text(encoding="utf-8"))
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in plain.elements} | {"line", "ul", "li"}
    assert [tag for tag, _ in hostile.elements].count("script") == 4
    for name in players:
        assert any(name in text for text in hostile.texts), name
    assert any("</td><b>" in text for text in hostile.texts)
