"""A run that is watched: what it is, how it stands, and its figures."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from accredit.dashboard.episode import Episode, read_episode
from accredit.dashboard.figures import Figure, Selection, chosen_output, chosen_place, figures
from accredit.dashboard.index import RunIndex
from accredit.dashboard.log import Lines, read_log
from accredit.dashboard.story import story
from accredit.dashboard.tally import group_of
from accredit.errors import FileDamaged, RunFolderError

Plain = dict[str, Any]

_ANSWERS_KEPT = 16
_LONGEST_FILE = 1 << 20


class WatchedRun:
    """A run folder as the page sees it.

    Args:
        folder: of a run; it must have been begun.
        name: under which it is shown.

    Raises:
        RunFolderError: the folder holds no run.
        FileDamaged: its configuration cannot be read.
    """

    # The paths are spelled here although `accredit.training` knows them: importing that package takes 120 MB, and a
    # page that only reads should be small.
    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.config = _config(folder)
        self.index = RunIndex(folder)
        self._drawing = threading.Lock()
        self._answers: OrderedDict[tuple[int, Selection], Plain] = OrderedDict()

    @property
    def version(self) -> int:
        """Raised at every change."""
        return self.index.version

    def poll(self) -> bool:
        """Read on in the file of events; return whether there is more to read at once."""
        return self.index.poll()

    def progress(self) -> float:
        """Return the share of the events that was read."""
        return self.index.progress()

    def save(self) -> None:
        """Keep the index for the next start."""
        self.index.save()

    def answer(self, selection: Selection) -> Plain:
        """Return how the run stands and its figures, as plain values; worked out once while nothing changes."""
        key = (self.index.version, selection)
        with self._drawing:
            if key not in self._answers:
                self._answers[key] = self._drawn(selection)
                while len(self._answers) > _ANSWERS_KEPT:
                    self._answers.popitem(last=False)
            drawn = self._answers[key]
        # what may change without an event
        return drawn | {
            "name": self.name,
            "progress": self.index.progress(),
            "state": self.state(),
            "rows": "Events",
            "done": None,
        }

    def _drawn(self, selection: Selection) -> Plain:
        episode = self._episode(selection)
        with self.index.lock:
            tally = self.index.tally
            output = chosen_output(tally, selection)
            drawn: list[Figure] = figures(tally, selection)
            unit = tally.outputs[output][0] if output else "number"
            plain: Plain = {
                "place": chosen_place(tally, selection)[1],
                "output": output,
                "facts": self._facts(),
                "notices": self._notices(),
            }
        if episode is not None:
            drawn += story(episode, output, unit)
        plain["charts"] = [{"id": each.identifier, "section": each.section} | each.chart.to_dict() for each in drawn]
        return plain

    def choices(self) -> Plain:
        """Return what can be selected: groups of environments, environments and outputs."""
        with self.index.lock:
            tally = self.index.tally
            return {
                "groups": {name: place.members for name, place in tally.groups.items()},
                "environments": list(tally.environments),
                "outputs": list(tally.outputs),
            }

    def log(self, *, before: int, place: str) -> Plain:
        """Return the last events before a line, as `read_log` does."""
        with self.index.lock:
            tally = self.index.tally
            lines = Lines(self.index.path, tally.lines, tally.position, tally.marks[:])
        return read_log(lines, before=before, place=place)

    def state(self) -> str:
        """Return `finished`, `running (process ...)` or `stopped`, as far as its files tell."""
        if self.index.tally.is_completed:
            return "finished"
        return _holder(self.folder / "run.lock") or "stopped"

    def _episode(self, selection: Selection) -> Episode | None:
        """Read the latest whole episode of what is looked at; of a group, of its first environment."""
        with self.index.lock:
            tally = self.index.tally
            place, name = chosen_place(tally, selection)
            if place is not None and place.members:
                name = next((each for each in tally.environments if group_of(each) == name), "")
                place = tally.environments.get(name)
            if place is None or place.episode is None:
                return None
            span = place.finished or (place.episode, place.begin, tally.position)
        return read_episode(self.index.path, name, *span)

    def _facts(self) -> list[tuple[str, str]]:
        """Return name and value of what was run and how far it is."""
        tally, config = self.index.tally, self.config
        planned = config.get("updates")
        done = tally.updates.steps
        facts = [
            ("task", str(config.get("task", tally.started.get("task", "unknown")))),
            ("seed", str(config.get("seed", tally.started.get("seed", "unknown")))),
            ("updates", f"{done} of {planned}" if isinstance(planned, int) else str(done)),
            ("environments", str(config.get("environments", "unknown"))),
            ("events", f"{tally.lines:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")),
            ("accredit", str(tally.started.get("code_version", "unknown"))),
        ]
        if diverged := tally.kinds.get("HostDiverged"):
            facts.append(("diverged hosts", str(diverged)))
        return facts

    def _notices(self) -> list[str]:
        """Return what the reader should know before trusting the figures."""
        tally, notices = self.index.tally, []
        if self.index.problem:
            notices.append(self.index.problem)
        if tally.unreadable:
            lines = "1 line was" if tally.unreadable == 1 else f"{tally.unreadable} lines were"
            notices.append(f"{lines} left out of events.jsonl. {tally.first_unreadable}")
        more = len(tally.counters) - len(tally.environments)
        if more > 0:
            notices.append(f"{more} further environments are shown in their groups only.")
        return notices


def _config(folder: Path) -> Plain:
    path = folder / "config.json"
    if not path.is_file():
        raise RunFolderError(
            f"`RUN` is {folder}, which holds no run, wanted a folder with a config.json; name a folder that "
            "`accredit grow` has made, such as one under runs/."
        )
    try:
        with path.open("rb") as file:
            config: Any = json.loads(file.read(_LONGEST_FILE))
    except (OSError, ValueError, RecursionError) as error:
        raise FileDamaged(
            f"`{path}` cannot be read as JSON ({error}), wanted what accredit wrote; restore the file from a copy."
        ) from error
    if not isinstance(config, dict):
        raise FileDamaged(
            f"`{path}` holds a {type(config).__name__}, wanted a JSON object; restore the file from a copy."
        )
    return config


def _holder(path: Path) -> str:
    """Say which living process uses the run; empty where none does, or that cannot be told."""
    # taking the lock to see whether it is free would stop a run that begins in this moment
    try:
        with path.open("rb") as file:
            owner: Any = json.loads(file.read(4096))
        process, host = int(owner["pid"]), str(owner["host"])
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return ""
    return f"running (process {process} on {host})" if host != socket.gethostname() or _lives(process) else ""


def _lives(process: int) -> bool:
    if process <= 0:  # would mean a group of processes
        return False
    try:
        os.kill(process, 0)
    except PermissionError:  # it is somebody else's
        return True
    except (OSError, OverflowError):
        return False
    return True
