"""The page as a web application: what is answered to which request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from accredit import charts
from accredit.dashboard.figures import Selection
from accredit.dashboard.stream import Announcer
from accredit.dashboard.watched import Watched

Plain = dict[str, Any]

_HERE = Path(__file__).parent
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0072b2"/>'
    '<path d="M3 12l3-5 3 3 4-7" fill="none" stroke="#fff" stroke-width="2"/></svg>'
)
_LONGEST_VALUE = 1200
_FAR = 10**15


def application(runs: Sequence[Watched], announcer: Announcer) -> Starlette:
    """Return the application that shows `runs`; it does not decide who may ask (see `guard`).

    Args:
        runs: what is watched.
        announcer: tells browsers that something has changed.
    """

    async def data(request: Request) -> Response:
        values = _values(request, {"place", "window", "output"})
        if values is None or values.get("window", "whole") not in ("whole", "recent"):
            return _refused("This address has no such parameters.")
        selection = Selection(
            place=values.get("place", ""),
            window="recent" if values.get("window") == "recent" else "whole",
            output=values.get("output", ""),
        )
        return _json(await run_in_threadpool(_answer, runs, selection))

    async def events(request: Request) -> Response:
        values = _values(request, {"run", "before", "place"})
        run, before = _count(values, "run", 0), _count(values, "before", _FAR)
        if values is None or run is None or run >= len(runs) or before is None:
            return _refused("This address has no such parameters.")
        return _json(await run_in_threadpool(runs[run].log, before=before, place=values.get("place", "")))

    static = {
        "/": ("text/html", (_HERE / "page.html").read_text(encoding="utf-8")),
        "/page.css": ("text/css", charts.colours() + (_HERE / "page.css").read_text(encoding="utf-8")),
        "/page.js": ("text/javascript", (_HERE / "page.js").read_text(encoding="utf-8")),
        "/charts.js": ("text/javascript", ";\n".join(charts.scripts())),
        "/favicon.svg": ("image/svg+xml", _ICON),
        "/favicon.ico": ("image/svg+xml", _ICON),
    }
    return Starlette(
        routes=[
            *(Route(path, _constant(*content), methods=["GET"]) for path, content in static.items()),
            Route("/data", data, methods=["GET"]),
            Route("/events", events, methods=["GET"]),
            Route("/stream", announcer),
        ]
    )


def _constant(media_type: str, content: str) -> Any:
    body = content.encode()

    async def answer(request: Request) -> Response:
        if request.url.query:
            return _refused("This address has no parameters.")
        return Response(body, media_type=media_type)

    return answer


def _values(request: Request, names: set[str]) -> dict[str, str] | None:
    """Return what is asked for, or None where the question makes no sense."""
    asked = request.query_params.multi_items()
    values = dict(asked)
    if len(values) < len(asked) or values.keys() - names or any(len(each) > _LONGEST_VALUE for each in values.values()):
        return None
    return values


def _count(values: dict[str, str] | None, name: str, default: int) -> int | None:
    """Return a number of the address, or None where it is none."""
    text = (values or {}).get(name, str(default))
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(_FAR)) else None


def _refused(text: str) -> Response:
    return Response(f"{text}\n", 400, media_type="text/plain")


def _json(content: Plain) -> Response:
    return Response(json.dumps(content, allow_nan=False).encode("ascii"), media_type="application/json")


def _answer(runs: Sequence[Watched], selection: Selection) -> Plain:
    groups: dict[str, int] = {}
    environments: dict[str, None] = {}
    outputs: dict[str, None] = {}
    for run in runs:
        choices = run.choices()
        groups |= choices["groups"]
        environments |= dict.fromkeys(choices["environments"])
        outputs |= dict.fromkeys(choices["outputs"])
    return {
        "runs": [run.answer(selection) for run in runs],
        "groups": groups,
        "environments": list(environments),
        "outputs": list(outputs),
    }
