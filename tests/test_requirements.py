"""The table of requirements is true of the tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent
TABLE = ROOT.parent / "docs" / "requirements.md"


def rows() -> dict[int, list[str]]:
    lines = [line.split("|") for line in TABLE.read_text().splitlines() if re.match(r"\| R\d+ ", line)]
    return {int(cells[1].strip()[1:]): [cells[3].strip(), cells[4].strip()] for cells in lines}


def test_every_requirement_has_a_test_or_says_what_is_open() -> None:
    assert sorted(rows()) == list(range(1, 39))
    assert [number for number, (tests, still_open) in rows().items() if not tests and not still_open] == []


def test_every_test_named_in_the_table_exists_and_names_its_requirement() -> None:
    for number, (tests, _) in rows().items():
        for part in filter(None, tests.split("; ")):
            path, names = part.split(": ", 1)
            source = (ROOT / path.strip("`")).read_text()
            for name in re.findall(r"`(test_\w+)`", names):
                found = re.search(rf"def {name}\(.*?(?=\ndef |\Z)", source, re.DOTALL)
                assert found, f"{path} has no {name}"
                assert re.search(rf"R{number}\b", found.group()), f"{name} does not name R{number}"
