"""The report as text: escaped, complete without JavaScript, and asking nobody for anything."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import report_pages
from report_reader import Reader

from accredit import charts
from accredit.errors import InvalidArgument, RunFolderError
from accredit.report import Column, Interval, ReportPage, Section, Table, render, write_report


def empty(**changes: object) -> ReportPage:
    return replace(ReportPage(title="t", summary="s", commands=(), facts=(), sections=()), **changes)


def table_of(*cells: object, digits: int = 0) -> str:
    table = Table(title="t", columns=(Column(name="c", digits=digits),) * len(cells), rows=(cells,))
    page = render(empty(sections=(Section(title="s", items=(table,)),)))
    return re.search(r"<tbody>(.*?)</tbody>", page)[1]


def test_hostile_names_add_no_element_to_the_page():
    """A user chooses the names of tasks, slots, grafts and folders."""
    hostile, plain = Reader(render(report_pages.hostile())), Reader(render(report_pages.plausible()))
    scripts = [attributes for tag, attributes in hostile.elements if tag == "script"]
    assert scripts == [attributes for tag, attributes in plain.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "charts"}, {}, {}, {}]
    assert not {tag for tag, _ in hostile.elements} - {tag for tag, _ in plain.elements}
    names = {name for _, attributes in plain.elements for name in attributes}
    assert not {name for _, attributes in hostile.elements for name in attributes} - names
    assert not {name for name in names if name.startswith("on") or name in ("src", "style")}


def test_hostile_names_are_shown_as_they_are():
    texts = Reader(render(report_pages.hostile())).texts
    for name in report_pages.HOSTILE:
        assert any(name in text for text in texts), name


def test_the_data_of_the_charts_is_what_was_given():
    raw = dict(Reader(render(report_pages.hostile())).raw)
    bars, lines, _ = json.loads(raw["application/json"])
    names = [name for name in report_pages.HOSTILE if name]
    assert bars["title"] == report_pages.HOSTILE[0]
    assert bars["series"][0]["x"] == names
    assert bars["series"][0]["y"][0] is None
    assert [series["name"] for series in lines["series"]] == names
    assert not re.search("[<>&\u2028\u2029]", raw["application/json"])


def test_every_id_is_unique_even_where_a_chart_is_shown_twice():
    page = report_pages.plausible()
    twice = replace(page, sections=page.sections + page.sections)
    found = [attributes["id"] for _, attributes in Reader(render(twice)).elements if "id" in attributes]
    assert len(found) == len(set(found))
    assert len([identifier for identifier in found if re.fullmatch(r"chart-\d+", identifier)]) == 6


def test_the_policy_allows_this_style_and_these_scripts_and_nothing_else():
    """The report opens from disk and asks nobody for anything."""
    page = render(report_pages.plausible())
    reader = Reader(page)
    policy = next(a["content"] for t, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def fingerprints(kind: str) -> set[str]:
        digests = [hashlib.sha256(text.encode()).digest() for name, text in reader.raw if name == kind]
        return {f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests}

    assert allowed["default-src"] == "'none'"
    assert set(allowed["style-src"].split()) == fingerprints("style")
    assert set(allowed["script-src"].split()) == fingerprints("script")
    assert len(fingerprints("script")) == 3
    assert allowed["img-src"] == "data:"
    assert allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert "sourceMappingURL" not in page
    assert not [
        a for _, a in reader.elements if re.match(r"\w+:|//", str(a.get("href") or "")) and a["href"] != "data:,"
    ]


def test_a_report_without_charts_has_no_script():
    page = render(empty())
    assert "<script" not in page
    assert "script-src 'none'" in page


def test_the_numbers_of_every_chart_stand_in_a_table():
    """For those who cannot see a canvas, and without JavaScript."""
    page = render(report_pages.plausible())
    figures = re.findall(r"<figure.*?</figure>", page)
    assert all("<details><summary>The numbers</summary>" in figure for figure in figures)
    charts = [figure for figure in figures if "<canvas" in figure]
    assert (len(charts), len(figures)) == (3, 5)
    for chart in charts:
        assert re.search(r'<canvas id="chart-\d" role="img" aria-label="[^"]{40,}"', chart)
    assert "slot-3:noise</bdi></td>" in charts[1]
    assert '<td class="number">&minus;0.14</td><td class="number">&minus;0.19</td>' in charts[1]
    assert charts[2].count("&ndash;") == 2 + 2 * 30, "two gaps, and a series without intervals"


def test_cells_are_written_for_readers():
    assert table_of("a<b") == "<tr><td><bdi>a&lt;b</bdi></td></tr>"
    assert table_of(1234567.0) == '<tr><td class="number">1\u202f234\u202f567</td></tr>'
    assert table_of(-0.5, digits=2) == '<tr><td class="number">\u22120.50</td></tr>'
    assert "[0.10, 0.90]" in table_of(Interval(value=0.5, lower=0.1, upper=0.9), digits=2)
    assert "[0, 1]" in table_of(Interval(value=0.5, lower=0.0, upper=1.0))
    assert "[unknown]" in table_of(Interval(value=0.5, lower=None, upper=0.9))
    assert "NaN" in table_of(float("nan"))
    assert "\u2212\N{INFINITY}" in table_of(float("-inf"))


def test_a_missing_measurement_is_a_dash_and_never_a_number():
    """[R32]"""
    cell = table_of(None)
    assert "not measured" in cell
    assert not re.search(r"\d", cell)


def test_the_row_that_the_report_is_about_is_emphasized():
    page = render(report_pages.plausible())
    assert page.count('<tr class="emphasized">') == 1
    assert '<tr class="emphasized"><td><bdi>learned</bdi></td>' in page


def test_a_row_that_does_not_fill_the_head_is_refused():
    with pytest.raises(
        InvalidArgument, match=r"`rows\[1\]` of the table 't' has 2 cells, but the table has 1 columns; pass one cell"
    ):
        Table(title="t", columns=(Column(name="c"),), rows=(("x",), ("x", "y")))


def test_the_same_page_gives_the_same_text():
    assert render(report_pages.plausible()) == render(report_pages.plausible())


def test_a_report_is_written_into_a_new_folder_and_replaces_an_older_one(tmp_path: Path):
    path = tmp_path / "run" / "report.html"
    assert write_report(path, empty(title="first")) == path
    write_report(path, empty(title="second"))
    assert "<title>second</title>" in path.read_text(encoding="utf-8")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_a_report_that_cannot_be_written_says_what_to_do(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"report.html` cannot be written: .*; the report needs a folder that can"):
        write_report(tmp_path / "file" / "report.html", empty())


def test_half_a_surrogate_pair_does_not_stop_the_report(tmp_path: Path):
    text = write_report(tmp_path / "report.html", empty(title="half \ud83d")).read_text(encoding="utf-8")
    assert '<h1 dir="auto">half ?</h1>' in text


def luminance(colour: str) -> float:
    """Relative luminance; source: Web Content Accessibility Guidelines 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_and_colours_can_be_told_from_what_is_behind_them(scheme: int):
    """4.5 for texts, 3 for what is drawn, as the guidelines want it for everybody."""
    blocks = re.findall(r":root \{(.*?)\}", charts.colours(), re.DOTALL)
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme]))
    assert contrast("#ffffff", "#000000") == pytest.approx(21.0)
    for behind in ("page", "surface", "tint"):
        for text in ("text", "soft", "accent"):
            assert contrast(colour[text], colour[behind]) >= 4.5, (text, behind)
        for at in range(8):
            assert contrast(colour[f"series-{at}"], colour[behind]) >= 3.0, (at, behind)


def test_a_part_has_a_link_to_it_in_a_long_report_alone():
    parts = tuple(Section(title=title) for title in ("one", "<two>", "three"))
    page = render(empty(sections=parts))
    assert re.findall(r'<a href="#([^"]+)" dir="auto">([^<]*)</a>', page) == [
        ("part-1", "one"),
        ("part-2", "&lt;two&gt;"),
        ("part-3", "three"),
    ]
    assert re.findall(r'<section id="([^"]+)"><h2 dir="auto">([^<]*)<', page)[1] == ("part-2", "&lt;two&gt;")
    assert "<nav" not in render(empty(sections=parts[:2]))


def test_a_folded_table_opens_on_demand():
    table = Table(title="Every field", columns=(Column(name="c"),), rows=(("x",),), is_folded=True)
    page = render(empty(sections=(Section(title="s", items=(table,)),)))
    assert '<details class="table"><summary dir="auto">Every field</summary>' in page


def test_a_report_without_data_is_small(tmp_path: Path):
    """A megabyte without data was the bound; style and scripts of the figures are most of it."""
    assert write_report(tmp_path / "report.html", report_pages.edges()).stat().st_size < 300_000
