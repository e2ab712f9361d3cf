"""Links, files and tests that the pages name exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from pages import PAGES, ROOT

# tests/test_requirements.py compares the table of requirements with the tests themselves
NAMED = [page for page in PAGES if page.name != "requirements.md"]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_CODE = re.compile(r"^```.*?^```$|<!--.*?-->", re.DOTALL | re.MULTILINE)


@cache
def anchors_of(page: Path) -> set[str]:
    """What `#...` can name on a page."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_to_a_page_and_a_heading(page: Path):
    """[R37] Within the documentation; what is outside of it is not ours to keep."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), target


@pytest.mark.parametrize("page", NAMED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path):
    """[R37] `tests/faults/test_run_killed.py` and the like."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:src|tests|docs|benchmarks|examples)/[\w/.-]+)`", text):
        assert (ROOT / name).exists(), name


def test_every_test_that_a_page_names_exists():
    """[R37] The tables of what neighbours demand, and of requirements, lead to tests."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    known |= {path.stem for path in (ROOT / "tests").rglob("*.py")}
    for page in NAMED:
        for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")):
            assert name in known, f"{page.name}: {name}"


def test_every_page_is_in_a_table_of_contents():
    """[R37] Otherwise nobody finds it."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    entries = re.findall(r"^([\w/*]+)$", index, re.MULTILINE)
    for page in PAGES[1:]:
        name = str(page.relative_to(ROOT / "docs").with_suffix(""))
        assert name == "index" or any(Path(name).match(entry) for entry in entries), name
