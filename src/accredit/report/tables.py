"""Tables as HTML."""

from __future__ import annotations

import math
from html import escape

from accredit.report.page import Cell, Column, Interval, Table

_MISSING = '<span class="missing" title="not measured">&ndash;</span>'


def table_markup(table: Table) -> str:
    """Return a table with its title and its note; every text is escaped and isolated from its neighbours.

    Args:
        table: What it holds.

    Example:
        >>> table_markup(Table(title="t", columns=(Column(name="a<b"),), rows=((None,),))).count("a&lt;b")
        1
    """
    numeric = [any(isinstance(row[i], (int, float, Interval)) for row in table.rows) for i in range(len(table.columns))]
    head = "".join(_heading(column, number) for column, number in zip(table.columns, numeric, strict=True))
    body = "".join(_row(table, index, numeric) for index in range(len(table.rows)))
    note = f'<p class="note" dir="auto">{escape(table.note)}</p>' if table.note else ""
    grid = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )
    if table.is_folded:
        return f'<details class="table"><summary dir="auto">{escape(table.title)}</summary>{grid}</details>'
    return f'<div class="table"><h3 dir="auto">{escape(table.title)}</h3>{grid}</div>'


def _row(table: Table, index: int, numeric: list[bool]) -> str:
    emphasis = ' class="emphasized"' if index == table.emphasized else ""
    cells = zip(table.rows[index], table.columns, numeric, strict=True)
    return f"<tr{emphasis}>{''.join(_cell(cell, column, number) for cell, column, number in cells)}</tr>"


def _heading(column: Column, number: bool) -> str:
    unit = f' <span class="unit">({escape(column.unit)})</span>' if column.unit else ""
    return f'<th scope="col"{_alignment(number)}><bdi>{escape(column.name)}</bdi>{unit}</th>'


def _cell(cell: Cell, column: Column, number: bool) -> str:
    return f"<td{_alignment(number)}>{_content(cell, column.digits)}</td>"


def _alignment(number: bool) -> str:
    return ' class="number"' if number else ""


def _content(cell: Cell, digits: int) -> str:
    match cell:
        case None:
            return _MISSING
        case str():
            return f"<bdi>{escape(cell)}</bdi>"
        case Interval(value=value, lower=None) | Interval(value=value, upper=None):
            return f'{_number(value, digits)} <span class="interval">[unknown]</span>'
        case Interval():
            lower, upper = _number(cell.lower or 0.0, digits), _number(cell.upper or 0.0, digits)
            return f'{_number(cell.value, digits)} <span class="interval">[{lower}, {upper}]</span>'
        case _:
            return _number(cell, digits)


def _number(value: float, digits: int) -> str:
    """Write a number with a real minus sign and narrow spaces between thousands."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    text = f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}").replace(",", "\N{NARROW NO-BREAK SPACE}")
