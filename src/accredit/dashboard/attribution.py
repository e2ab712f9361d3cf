"""An attribution that is watched: how far it is, and what its coalitions tell so far."""

from __future__ import annotations

import errno
import json
import stat
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.storage import count_rows
from accredit.attribution.writing import is_being_written
from accredit.charts import Estimates, isolated
from accredit.dashboard.attribution_figures import attribution_figures
from accredit.dashboard.attribution_standing import Standing, standing_of
from accredit.dashboard.figures import Selection
from accredit.errors import AccreditError

Plain = dict[str, Any]

# The names are spelled here although `accredit.cli` and `accredit.report` know them, which stand above or beside.
MATRIX, TASK, RESULT = "matrix.accredit", "task.json", "result.json"
ROWS = 30
"""Coalitions that are listed at once."""
_MOST_BYTES = 1 << 30
_LONGEST_FILE = 1 << 23
_LONGEST_TEXT = 400
_MOST_LOOKS = 200
_REST = 4.0  # times as long as reading took, so that looking takes a fifth of a core at most
_PACE_S = 60.0  # over which the pace is measured

_ENDS = {
    "timeout_s": "stopped at the time limit",
    "failure": "stopped, for coalitions failed",
    "interrupt": "stopped by Ctrl-C",
}
"""Ends that leave something to go on with; every other one is what was asked for."""


class _Mark(NamedTuple):
    """What changes with the content of a file."""

    inode: int
    n_bytes: int
    time_ns: int


class WatchedAttribution:
    """The folder of `accredit attribute` as the page sees it; nothing in it is changed.

    The file of the matrix grows with every finished call and may be read at any moment. Its coalitions are counted at
    every look. Estimates are derived anew where it has changed, but for a fifth of the time at most while it grows.

    Args:
        folder: of the attribution; its matrix may not be there yet.
        name: under which it is shown.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.version = 0
        self.path = folder / MATRIX
        self._lock = threading.Lock()
        self._standing: Standing | None = None
        self._looks: list[tuple[int, Mapping[str, Estimates]]] = []
        self._pace: deque[tuple[float, int]] = deque()
        self._problem = ""
        self._is_begun = False
        self._n_coalitions = 0
        self._counted: _Mark | None = None
        self._seen: _Mark | None = None
        self._next_s = 0.0

    def poll(self) -> bool:
        """Read the matrix again where it has changed; there is never more to read at once."""
        try:
            seen = _mark(self.path)
            begin_s = time.monotonic()
            if seen != self._counted:
                self._counted = seen
                self._count(begin_s)
            # where nobody evaluates any more there is nobody to leave the core to
            if seen != self._seen and (begin_s >= self._next_s or not is_being_written(self.path)):
                # as it was before reading: what is appended meanwhile is read the next time
                self._seen = seen
                self._read(seen.n_bytes)
                self._next_s = time.monotonic() + _REST * (time.monotonic() - begin_s)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                self._seen = self._counted = None
                self._say("No coalition has been evaluated yet." if self.folder.is_dir() else "The folder is gone.")
            else:
                self._say(f"{MATRIX}: {error.strerror}.")
        self._is_begun = True
        return False

    def progress(self) -> float:
        """Return whether the matrix was read, as a share."""
        return float(self._is_begun)

    def save(self) -> None:
        """Keep nothing: the matrix is its own index."""

    def state(self) -> str:
        """Return `finished`, `evaluating`, or why it stopped."""
        standing = self._standing
        # what was read may be of a moment ago: the end may stand in the file already
        if is_being_written(self.path) or (standing is not None and self._is_behind()):
            return "evaluating"
        if standing is None:
            return "not begun" if self._problem else "being read"
        if not standing.has_ended:
            return "stopped without an end, as by a kill; the same command goes on"
        reason = standing.provenance.stop_reason
        return f"{_ENDS[reason]}; the same command goes on" if reason in _ENDS else "finished"

    def choices(self) -> Plain:
        """Return the outputs; an attribution has no environments."""
        standing = self._standing
        outputs = [] if standing is None else [output.name for output in standing.outputs]
        return {"groups": {}, "environments": [], "outputs": outputs}

    def answer(self, selection: Selection) -> Plain:
        """Return how the attribution stands and its figures, as plain values."""
        with self._lock:
            standing, looks, problem = self._standing, list(self._looks), self._problem
        state = self.state()
        plain: Plain = {
            "name": self.name,
            "progress": self.progress(),
            "state": state,
            "place": "",
            "output": "",
            "rows": "Coalitions",
            "done": None,
            "facts": [],
            "notices": [problem] if problem else [],
            "charts": [],
        }
        if standing is None:
            return plain
        names = [output.name for output in standing.outputs]
        plain["output"] = selection.output if selection.output in names else names[0]
        plain["facts"] = self._facts(standing)
        plain["notices"] += standing.notices
        if not standing.has_ended:
            plain["done"] = min(1.0, self._n_coalitions / standing.planned)
        drawn = attribution_figures(standing, looks, plain["output"])
        plain["charts"] = [{"id": each.identifier, "section": each.section} | each.chart.to_dict() for each in drawn]
        return plain

    def log(self, *, before: int, place: str) -> Plain:
        """Return the coalitions that were evaluated before one of them, latest first; they have no places."""
        del place
        standing = self._standing
        count = 0 if standing is None else standing.count
        before = max(0, min(before, count))
        first = max(0, before - ROWS)
        rows = [] if standing is None else [_row(standing, at) for at in reversed(range(first, before))]
        return {"rows": rows, "first": first, "count": count}

    def _count(self, now_s: float) -> None:
        """Count the coalitions, and keep what tells the pace."""
        count = count_rows(self.path)
        with self._lock:
            if self._pace and count < self._pace[-1][1]:
                self._pace.clear()
            self._pace.append((now_s, count))
            while len(self._pace) > 2 and now_s - self._pace[0][0] > _PACE_S:
                self._pace.popleft()
            self._n_coalitions = count
            self.version += 1

    def _read(self, size: int) -> None:
        """Read the matrix, or say why that cannot be; what was read before then stays."""
        if size > _MOST_BYTES:
            self._say(f"{MATRIX} has {size >> 20} MiB, which are too many to be read again and again; see the report.")
            return
        try:
            standing = standing_of(CounterfactualMatrix.load(self.path, recover=True))
        except (AccreditError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
            reason = str(error) if isinstance(error, AccreditError) else f"is damaged ({type(error).__name__})"
            # its place in the file system is nobody's business
            self._say(f"{MATRIX} cannot be read: {reason.replace(str(self.path), MATRIX)}")
            return
        with self._lock:
            if self._looks and standing.count < self._looks[-1][0]:
                self._looks.clear()
            if self._looks and standing.count == self._looks[-1][0]:
                self._looks.pop()
            # estimates alone: the coalitions of hundreds of looks would fill the memory
            self._looks.append((standing.count, standing.contributions if standing.is_shapley else {}))
            if len(self._looks) > _MOST_LOOKS:
                del self._looks[1:-1:2]
            self._standing, self._problem = standing, ""
            self.version += 1

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            with self._lock:
                self._problem = problem
                self.version += 1

    def _is_behind(self) -> bool:
        """Whether the file has changed since it was read."""
        try:
            return _mark(self.path) != self._seen
        except OSError:
            return False

    def _facts(self, standing: Standing) -> list[tuple[str, str]]:
        """Return name and value of what is attributed, how, and how far it is."""
        provenance, sampled = standing.provenance, standing.provenance.strategy == "shapley"
        source, count = _source(self.folder), self._n_coalitions
        facts = [("attributed", source)] if source else []
        facts += [
            ("players", str(len(standing.players))),
            ("outputs", ", ".join(f"{isolated(each.name)} ({isolated(each.unit)})" for each in standing.outputs)),
            ("coalitions", f"{max(count, standing.count)} of {'at most ' if sampled else ''}{standing.planned}"),
            ("strategy", provenance.strategy),
        ]
        if standing.duration_s is not None:
            each_s = standing.duration_s / max(1, standing.count)
            facts += [("time", _spelled(standing.duration_s)), ("a coalition", _spelled(each_s))]
        elif (pace := self._per_second()) > 0:
            left_s = max(0, standing.planned - count) / pace
            facts += [("pace", f"{pace:.3g} coalitions/s"), ("time left", f"about {_spelled(left_s)}")]
        if count > standing.count:
            facts.append(("drawn from", f"the first {standing.count}"))
        if provenance.mechanism:
            facts.append(("evaluated by", provenance.mechanism))
        return [*facts, ("seed", str(standing.seed))]

    def _per_second(self) -> float:
        """Coalitions in a second, as far as this page has seen; 0 where it has not seen two moments."""
        with self._lock:
            if not self._pace:
                return 0.0
            (first_s, first), (last_s, last) = self._pace[0], self._pace[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


def _mark(path: Path) -> _Mark:
    """Look at a file; whatever is no file is an error, for opening a pipe would wait for whoever writes to it."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "not a file")
    return _Mark(status.st_ino, status.st_size, status.st_mtime_ns)


def _row(standing: Standing, at: int) -> Plain:
    """One coalition as texts, in the form of an event."""
    on = [player for player, is_on in zip(standing.players, standing.masks[at], strict=True) if is_on]
    values = [f"{output.name} {means[at]:.5g}" for output, means in zip(standing.outputs, standing.means, strict=True)]
    text = f"{', '.join(values)}; on: {', '.join(on) or 'nothing'}"
    return {
        "line": at + 1,
        "time": None,
        "event": "coalition",
        "environment": "",
        "where": f"{len(on)} of {len(standing.players)} on",
        "text": text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…",
    }


def _source(folder: Path) -> str:
    """Return what was attributed; empty before the result is there, which says so."""
    try:
        with (folder / RESULT).open("rb") as file:
            found: Any = json.loads(file.read(_LONGEST_FILE))
        return str(found["source"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _spelled(seconds: float) -> str:
    """Write a duration.

    Example:
        >>> _spelled(0.0123), _spelled(7.0), _spelled(75.0), _spelled(7260.0)
        ('12.3 ms', '7.0 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
