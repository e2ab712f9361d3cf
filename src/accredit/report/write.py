"""One HTML file that opens from disk and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path

from accredit import charts
from accredit.charts import Chart, PairChart
from accredit.errors import RunFolderError
from accredit.report.page import Group, Item, KeyFigure, ReportPage, Section
from accredit.report.tables import table_markup

_STYLE = Path(__file__).parent / "page.css"


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
    drawn: list[tuple[str, Chart | PairChart]] = []
    body = "".join(_section(section, f"part-{at}", drawn) for at, section in enumerate(page.sections, start=1))
    figures = [(identifier, chart) for identifier, chart in drawn if isinstance(chart, Chart)]
    style = charts.colours() + _STYLE.read_text(encoding="utf-8")
    scripts = charts.scripts() if figures else []
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
        f"<body><main>{_header(page)}{_contents(page)}{body}</main>\n{charts.data(figures) if figures else ''}"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body></html>\n"
    )


def _fingerprint(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _header(page: ReportPage) -> str:
    figures = "".join(map(_key_figure, page.key_figures))
    notices = "".join(f'<li dir="auto">{escape(notice)}</li>' for notice in page.notices)
    commands = "\n".join(map(escape, page.commands))
    facts = "".join(f'<div><dt dir="auto">{escape(n)}</dt><dd dir="auto">{escape(v)}</dd></div>' for n, v in page.facts)
    return (
        f'<header><h1 dir="auto">{escape(page.title)}</h1><p class="summary" dir="auto">{escape(page.summary)}</p>'
        + (f'<ul class="notices" aria-label="Notices">{notices}</ul>' if notices else "")
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


def _contents(page: ReportPage) -> str:
    """Links to the parts of a report that is longer than a screen."""
    if len(page.sections) < 3:
        return ""
    links = "".join(
        f'<li><a href="#part-{at}" dir="auto">{escape(section.title)}</a></li>'
        for at, section in enumerate(page.sections, start=1)
    )
    return f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n'


def _section(section: Section, identifier: str, drawn: list[tuple[str, Chart | PairChart]]) -> str:
    """Return a section; its figures are appended to `drawn` with the ids they were given."""
    parts = [f'<h2 dir="auto">{escape(section.title)}</h2>']
    parts += (f'<p dir="auto">{escape(paragraph)}</p>' for paragraph in section.paragraphs)
    parts += (_item(item, drawn) for item in section.items)
    return f'<section id="{identifier}">{"".join(parts)}</section>\n'


def _item(item: Item, drawn: list[tuple[str, Chart | PairChart]]) -> str:
    match item:
        case Group():
            return f'<div class="group">{"".join(_item(one, drawn) for one in item.items)}</div>'
        case Chart():
            drawn.append((f"chart-{len(drawn) + 1}", item))
            return charts.figure(item, identifier=drawn[-1][0])
        case PairChart():
            drawn.append((f"pairs-{len(drawn) + 1}", item))
            return charts.pair_figure(item, identifier=drawn[-1][0])
        case _:
            return table_markup(item)
