"""docs/metrics.md defines every field of every kind of event, and nothing else."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from accredit.telemetry import EVENT_KINDS, Origin

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def sections() -> dict[str, list[list[str]]]:
    """Heading -> cells of the rows whose first cell is a name in backticks."""
    parts = re.split(r"^## (\w+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {
        name: [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| `.*$", text, re.MULTILINE)]
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_kind_of_event_has_a_section():
    """[R32]"""
    assert set(sections()) == {"Origin", *EVENT_KINDS}


@pytest.mark.parametrize("kind", [Origin, *EVENT_KINDS.values()], ids=["Origin", *EVENT_KINDS])
def test_every_field_has_unit_and_meaning(kind: type):
    """[R32] In the order of the event."""
    rows = sections()[kind.__name__]
    assert [row[0].strip("`") for row in rows] == [field.name for field in fields(kind) if field.name != "origin"]
    assert all(len(row) == 3 and row[1] and len(row[2]) > 7 for row in rows)
