"""The report of a training run, from the files of its folder alone: finished, going on, or killed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accredit.charts import isolated
from accredit.report.page import Column, ReportPage, Section, Table
from accredit.report.run_cost import cost
from accredit.report.run_earnings import earnings
from accredit.report.run_learning import learning, normalizers
from accredit.report.run_outcome import key_figures, outcome
from accredit.report.run_reading import read_run
from accredit.report.run_record import Plain, RunRecord
from accredit.report.run_story import growth
from accredit.report.wording import moment, percent
from accredit.report.write import write_report
from accredit.training.config import TrainConfig
from accredit.training.config_record import to_plain
from accredit.training.task import TASKS

_OPTIONS = ("task", "seed", "data")
"""Fields that the command line sets by options of their own."""


def write_run_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a run.

    A run that is not finished, is in use by a living process, or whose events are damaged in places gives a report of
    what there is, which says at its top what there is not.

    Args:
        folder: of a run.

    Returns:
        The path of the report.

    Raises:
        RunFolderError: the folder holds no run, or cannot be read or written.
        FileDamaged: the configuration cannot be read, or the comparison is that of another version.
    """
    record = read_run(folder)
    return write_report(record.run.report, run_page(record))


def run_page(record: RunRecord) -> ReportPage:
    """Return what the report of a run says.

    Args:
        record: What its files say.
    """
    task = str(record.config.get("task", "unknown"))
    return ReportPage(
        title=f"Growth on {isolated(task)}",
        summary=_summary(record),
        commands=(_command(record.config), f"accredit report {shlex.quote(str(record.run.path))}"),
        facts=_facts(record, task),
        key_figures=key_figures(record),
        notices=tuple(record.notices),
        sections=(
            outcome(record),
            earnings(record),
            growth(record),
            learning(record),
            normalizers(record),
            cost(record),
            _configuration(record.config),
        ),
    )


def _summary(record: RunRecord) -> str:
    done, planned, comparison = len(record.updates), record.config.get("updates", "unknown"), record.comparison
    if comparison is None:
        return (
            f"A PPO policy is to learn over {planned} updates to grow hosts, paid by measured contribution; {done} are "
            "done. Figures of training are from the reward split."
        )
    return (
        f"A PPO policy learned over {planned} updates to grow hosts, paid by measured contribution. It was then "
        f"compared with {len(comparison['policies']) - 1} others on the same {comparison['hosts']} fresh hosts; "
        f"its figures are from the test split, with {percent(comparison['confidence'])} intervals over hosts."
    )


def _facts(record: RunRecord, task: str) -> tuple[tuple[str, str], ...]:
    config, started = record.config, record.started
    return (
        ("task", task),
        ("seed", str(config.get("seed", "unknown"))),
        ("environments", str(config.get("environments", "unknown"))),
        ("steps of an episode", str(config.get("episode", {}).get("steps", "unknown"))),
        ("updates", f"{len(record.updates)} of {config.get('updates', 'unknown')}"),
        ("began", moment(record.started_s)),
        ("ended", moment(record.completed_s)),
        ("accredit", started.code_version if started else "unknown"),
        ("torch", started.torch_version if started else "unknown"),
        ("folder", str(record.run.path)),
    )


def _command(config: Plain) -> str:
    """Return the command that begins the same run again: every field that differs from what the task begins with."""
    name = str(config.get("task", ""))
    default = _defaults(name)
    if default is None:
        return f"# {name} is no task of the command line; train it from Python with the configuration below"
    words = ["accredit", "grow", name, "--seed", str(config.get("seed", 0))]
    if config.get("data"):
        words += ["--data", str(config["data"])]
    for field, value in _leaves(config, ""):
        if field not in _OPTIONS and default.get(field) != value:
            words += ["--set", f"{field}={_written(value)}"]
    return shlex.join(words)


def _defaults(name: str) -> Plain | None:
    """Return what `accredit grow` begins a task with, by dotted names; None for a task that it does not know."""
    task = next((task for task in TASKS if task.name == name), None)
    return None if task is None else dict(_leaves(to_plain(task.run_config()), ""))


def _leaves(plain: Plain, place: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values."""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", value


def _configuration(config: Plain) -> Section:
    """Return every field, what differs from its default marked."""
    default = _defaults(str(config.get("task", ""))) or dict(_leaves(to_plain(TrainConfig()), ""))
    rows = tuple(
        (name, _written(value), _written(default[name]) if name in default else "not a field of this version")
        for name, value in _leaves(config, "")
    )
    table = Table(
        title="Every field of the configuration",
        columns=(Column(name="field"), Column(name="value"), Column(name="default")),
        rows=rows,
        is_folded=True,
    )
    return Section(title="Configuration", items=(table,))


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
