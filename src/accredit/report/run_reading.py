"""Reads the files of a run's folder in one pass.

A run that goes on, was killed, or is damaged in parts gives what there is, and notices of what there is not.
"""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from accredit.errors import FileDamaged, RunFolderError
from accredit.growth.hosts import Players
from accredit.report.run_record import Plain, RunRecord, Story
from accredit.telemetry.event import (
    CoalitionsEvaluated,
    ContributionsEstimated,
    HostDiverged,
    HostGrown,
    PolicyRolledBack,
    RunCompleted,
    RunStarted,
    StageChanged,
    StepCompleted,
    UpdateCompleted,
)
from accredit.telemetry.record import UnreadableLineError, decode_timed, head_of
from accredit.training.comparison import GraftRow, PolicyRow
from accredit.training.evaluation import LEARNED, NO_GROWTH
from accredit.training.run_folder import RunFolder, read_json
from accredit.training.run_lock import user_of

_COMPARED = ("policies", "grafts", "hosts", "confidence", "schedule", "calibrated_kinds")
_MOST_BYTES = 160_000_000
"""Of events whose matrices of training are all decoded, some 40,000; of more, one in so many."""
_TOLD = (StageChanged, StepCompleted, ContributionsEstimated)
_RARE = (RunStarted, UpdateCompleted, PolicyRolledBack, HostGrown, RunCompleted)


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder.

    Args:
        folder: of a run: finished, going on, or killed.

    Raises:
        RunFolderError: there is no run in it, or its files may not be read.
        FileDamaged: the configuration is not JSON.
    """
    run = RunFolder(folder)
    run.require()
    notices: list[str] = []
    comparison = None
    if run.evaluation.is_file():
        try:
            comparison = _known(read_json(run.evaluation))
        except FileDamaged as error:
            notices.append(f"The comparison is missing: {error}")
    record = RunRecord(run=run, config=read_json(run.config), comparison=comparison, notices=notices)
    if run.events.is_file():
        _read_events(record)
    else:
        notices.append(f"There are no events: {run.events.name} is missing; what happened in training is not known.")
    notices += _standing(record)
    return record


def _known(comparison: Plain) -> Plain:
    """The comparison, whose fields must be those that the report reads; it may have more.

    Raises:
        FileDamaged: one is missing.
    """
    missing = [name for name in _COMPARED if name not in comparison]
    for table, kind in (("policies", PolicyRow), ("grafts", GraftRow)):
        wanted = {field.name for field in fields(kind)}
        rows = comparison.get(table, [])
        missing += [f"{table}.{name}" for row in rows for name in sorted(wanted - set(row))]
    names = {row.get("policy") for row in comparison.get("policies", [])}
    missing += [f"the policy {name!r}" for name in (LEARNED, NO_GROWTH) if name not in names]
    if missing:
        raise FileDamaged(
            f"`evaluation.json` is of another version, or altered: it lacks {', '.join(missing[:3])}, wanted what this "
            "version writes; compare again by `accredit evaluate`."
        )
    return comparison


def _standing(record: RunRecord) -> list[str]:
    """What the reader must know before the numbers."""
    said, planned, done = [], record.config.get("updates", "unknown"), len(record.updates)
    user = user_of(record.run.path)
    if user is not None:
        said.append(f"The run goes on: {user} is using it. It stands at update {done} of {planned}.")
    elif record.comparison is None:
        said.append(
            f"The run is not finished: it stands at update {done} of {planned}. Go on by "
            f"`accredit resume {record.run.path}`."
        )
    wrote, reads = None if record.started is None else record.started.code_version, version("accredit")
    if wrote not in (None, reads):
        said.append(f"The run was made by accredit {wrote}, this report by {reads}.")
    if record.diverged:
        said.append(f"{record.diverged} hosts diverged and were rolled back; their episodes ended there.")
    if record.rolled_back:
        first = record.rolled_back[0]
        said.append(
            f"{len(record.rolled_back)} updates of the policy were taken back, first update {first.update}: "
            f"{first.reason}"
        )
    return said


def _read_events(record: RunRecord) -> None:
    """Go through the file of events once, decoding only what is told."""
    reading = _Reading(record)
    damaged: list[str] = []
    try:
        with record.run.events.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break  # it is being written, or its writer was killed
                try:
                    reading.line(line)
                except (UnreadableLineError, UnicodeDecodeError) as error:
                    damaged.append(f"line {number} {error}")
    except OSError as error:
        raise RunFolderError(
            f"`{record.run.events}` cannot be read: {error.strerror or error}; a report needs the events of the run, "
            "so grant access to the file."
        ) from error
    if damaged:
        more = f", and {len(damaged) - 1} more" if damaged[1:] else ""
        record.notices.append(f"{record.run.events.name} is damaged: {damaged[0]}{more}. The rest is in this report.")


class _Reading:
    """Decides from the bytes of a line whether it is worth decoding: a long run has millions.

    Args:
        record: gets the events.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.rare = tuple(head_of(kind).encode("ascii") for kind in _RARE)
        self.told = tuple(head_of(kind).encode("ascii") for kind in _TOLD)
        self.diverged = head_of(HostDiverged).encode("ascii")
        self.evaluated = head_of(CoalitionsEvaluated).encode("ascii")
        self.estimated = head_of(ContributionsEstimated).encode("ascii")
        self.stories = {f'"environment": "{story.environment}",'.encode(): story for story in _stories(record)}
        self.live = f'"game": "{Players.LIVE.value}"'.encode()
        self.seen = 0
        record.stride = 1 + record.run.events.stat().st_size // _MOST_BYTES

    def line(self, line: bytes) -> None:
        """Take what the line says, if it is told."""
        if line.startswith(self.evaluated):
            self._coalitions(line)
        elif line.startswith(self.diverged):
            self.record.diverged += 1
        elif line.startswith(self.rare):
            self.record.take(*decode_timed(line.decode("ascii")))
        elif line.startswith(self.told):
            if not self.record.directions and line.startswith(self.estimated):
                self.record.describe(decode_timed(line.decode("ascii"))[1])
            # quotes inside a JSON text are escaped, so that no name can look like one of these fields
            for needle, story in self.stories.items():
                if needle in line:
                    story.take(decode_timed(line.decode("ascii"))[1])
            if line.startswith(self.estimated) and b'"environment": "train-' in line and self.live in line:
                self.seen += 1
                if self.seen % self.record.stride == 0:
                    self.record.take(*decode_timed(line.decode("ascii")))

    def _coalitions(self, line: bytes) -> None:
        begin = line.find(b'"coalitions": [')
        count = line.count(b'"', begin + 15, line.find(b"]", begin)) // 2
        game = next(
            (game for game in (Players.LIVE.value, Players.CANDIDATES.value) if f'"game": "{game}"'.encode() in line),
            "",
        )
        self.record.coalitions[game] += count
        if not game and b'"environment": "learned-' in line:
            self.record.take(*decode_timed(line.decode("ascii")))


def _stories(record: RunRecord) -> tuple[Story, Story]:
    return record.story, record.early
