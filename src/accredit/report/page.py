"""What a report says, as data."""

from __future__ import annotations

from dataclasses import dataclass

from accredit.charts import Chart, PairChart
from accredit.errors import InvalidArgument


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number with its interval, as one cell of a table."""

    value: float
    lower: float | None
    """None where the uncertainty is unknown."""
    upper: float | None


Cell = str | float | Interval | None
"""Text, a number, a number with its interval, or None where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """The head of a column."""

    name: str
    unit: str | None = None
    """Unit of its numbers, or None for text."""
    digits: int = 0
    """Digits after the point, 0 or more."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a head."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What a reader needs to know: what the intervals are, over how many repetitions."""
    emphasized: int | None = None
    """Index of the row that the report is about, or None."""
    is_folded: bool = False
    """Whether it opens on demand: for what few readers look up."""

    def __post_init__(self) -> None:
        """Check that every row fills the head."""
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise InvalidArgument(
                    f"`rows[{index}]` of the table {self.title!r} has {len(row)} cells, but the table has "
                    f"{len(self.columns)} columns; pass one cell per column, None where nothing was measured."
                )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Figures that stand side by side where there is room."""

    items: tuple[Chart | PairChart, ...]


Item = Table | Chart | PairChart | Group


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report under its own title."""

    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """A number to see first."""

    label: str
    value: str
    """The number as text, with its unit."""
    note: str = ""
    """Its interval, or what it is compared to."""


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """A whole report. Every text is shown as it is; nothing in it is markup."""

    title: str
    summary: str
    """One or two sentences: what was done and what came out."""
    commands: tuple[str, ...]
    """What to type to get the same again."""
    facts: tuple[tuple[str, str], ...]
    """Name and value of what was run: task, seed, sizes, versions."""
    sections: tuple[Section, ...]
    key_figures: tuple[KeyFigure, ...] = ()
    notices: tuple[str, ...] = ()
    """What is missing, or not as it should be; shown before anything else."""
