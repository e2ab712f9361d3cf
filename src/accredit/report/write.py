"""One HTML file that opens from disk and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import math
from html import escape
from pathlib import Path

from accredit import charts
from accredit.charts import Chart
from accredit.errors import RunFolderError
from accredit.report.page import Cell, Column, Interval, KeyFigure, ReportPage, Section, Table

_STYLE = Path(__file__).parent / "page.css"
_MISSING = '<span class="missing" title="not measured">&ndash;</span>'


def write_report(path: Path, page: ReportPage) -> Path:
    """Write `page` as one self-contained HTML file, in place of an older one only when it is complete.

    The page brings its style, its script and its data, and a policy that forbids the browser every request and every
    script but its own. Tables stand in plain HTML; without JavaScript only the pictures are missing, and the numbers
    of each are in a table below it.

    Args:
        path: The file; its folder is created if missing.
        page: What it says. Every text is escaped.

    Returns:
        `path`.

    Raises:
        RunFolderError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> page = ReportPage(title="A <b>run</b>", summary="None.", commands=("accredit grow",), facts=(), sections=())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = write_report(Path(folder) / "report.html", page).read_text()
        >>> "<title>A &lt;b&gt;run&lt;/b&gt;</title>" in text
        True
    """
    writing = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # half a surrogate pair is a legal str and no legal UTF-8
        writing.write_text(render(page), encoding="utf-8", errors="replace", newline="\n")
        writing.replace(path)
    except OSError as error:
        raise RunFolderError(
            f"`{path}` cannot be written: {error.strerror or error}; the report needs a folder that can be written, so "
            "make room or grant access and write the report again."
        ) from error
    return path


def render(page: ReportPage) -> str:
    """Return the HTML of `page`.

    Args:
        page: What it says.

    Returns:
        A whole document; the same page gives the same text.
    """
    drawn: list[tuple[str, Chart]] = []
    body = "".join(_section(section, drawn) for section in page.sections)
    style = charts.colours() + _STYLE.read_text(encoding="utf-8")
    scripts = charts.scripts() if drawn else []
    allowed = " ".join(map(_fingerprint, scripts)) or "'none'"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_fingerprint(style)}",
            f"script-src {allowed}",
            # the empty icon keeps a browser from asking a server for one
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f'<title>{escape(page.title)}</title><link rel="icon" href="data:,"><style>{style}</style></head>\n'
        f"<body><main>{_header(page)}{body}</main>\n{charts.data(drawn) if drawn else ''}"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body></html>\n"
    )


def _fingerprint(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _header(page: ReportPage) -> str:
    figures = "".join(map(_key_figure, page.key_figures))
    commands = "\n".join(map(escape, page.commands))
    facts = "".join(f'<div><dt dir="auto">{escape(n)}</dt><dd dir="auto">{escape(v)}</dd></div>' for n, v in page.facts)
    return (
        f'<header><h1 dir="auto">{escape(page.title)}</h1><p class="summary" dir="auto">{escape(page.summary)}</p>'
        + (f'<div class="figures">{figures}</div>' if figures else "")
        + '<section class="run" aria-label="What was run and how to repeat it">'
        + (f"<div><h2>Repeat it</h2><pre tabindex=0><code>{commands}</code></pre></div>" if commands else "")
        + (f"<div><h2>What was run</h2><dl>{facts}</dl></div>" if facts else "")
        + "</section></header>\n"
    )


def _key_figure(figure: KeyFigure) -> str:
    return (
        f'<div class="figure"><p class="label" dir="auto">{escape(figure.label)}</p>'
        f'<p class="value" dir="auto">{escape(figure.value)}</p>'
        f'<p class="note" dir="auto">{escape(figure.note)}</p></div>'
    )


def _section(section: Section, drawn: list[tuple[str, Chart]]) -> str:
    """Return a section; its charts are appended to `drawn` with the ids they were given."""
    parts = [f'<h2 dir="auto">{escape(section.title)}</h2>']
    parts += (f'<p dir="auto">{escape(paragraph)}</p>' for paragraph in section.paragraphs)
    for item in section.items:
        if isinstance(item, Chart):
            drawn.append((f"chart-{len(drawn) + 1}", item))
            parts.append(charts.figure(item, identifier=drawn[-1][0]))
        else:
            parts.append(_table(item))
    return f"<section>{''.join(parts)}</section>\n"


def _table(table: Table) -> str:
    numeric = [any(isinstance(row[i], (int, float, Interval)) for row in table.rows) for i in range(len(table.columns))]
    head = "".join(_heading(column, number) for column, number in zip(table.columns, numeric, strict=True))
    body = "".join(_row(table, index, numeric) for index in range(len(table.rows)))
    note = f'<p class="note" dir="auto">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="table"><h3 dir="auto">{escape(table.title)}</h3>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}</div>"
    )


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
