"""What the commands do."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from accredit.cli.commands import Evaluate, Grow, Resume
from accredit.cli.interrupt import STOPPED, gentle_stop
from accredit.cli.progress import Display
from accredit.cli.settings import quick, with_settings
from accredit.cli.sinks import sinks_of
from accredit.cli.tables import graft_table, policy_table, size_table
from accredit.report.run_report import write_run_report
from accredit.telemetry import UpdateCompleted, read
from accredit.training.comparison import Comparison
from accredit.training.loop import Stopped, Watcher, evaluate, resume, train
from accredit.training.run_folder import RunFolder
from accredit.training.task import find_task

DONE = 0


def grow(command: Grow) -> int:
    """Train, compare, report."""
    task = find_task(command.task, data=command.data)
    config = task.run_config(seed=command.seed, data=command.data)
    if command.quick:
        config = quick(config)
    config = replace(
        config,
        updates=config.updates if command.updates is None else command.updates,
        environments=config.environments if command.environments is None else command.environments,
    )
    config = with_settings(config, command.set)
    name = f"{config.task}-seed{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = RunFolder(command.out) if command.out else RunFolder(Path("runs") / name).unused_name()
    sinks = sinks_of(folder.path, command.sink)
    return _watched(lambda watcher: train(config, folder.path, watcher=watcher, sinks=sinks), folder, command)


def resume_run(command: Resume) -> int:
    """Go on, compare, report."""
    sinks = sinks_of(command.run, command.sink or None)
    return _watched(
        lambda watcher: resume(command.run, updates=command.updates, watcher=watcher, sinks=sinks),
        RunFolder(command.run),
        command,
    )


def evaluate_run(command: Evaluate) -> int:
    """Compare and report."""
    sinks = sinks_of(command.run, None)
    return _watched(
        lambda watcher: evaluate(command.run, watcher=watcher, sinks=sinks), RunFolder(command.run), command
    )


def _watched(work: Callable[[Watcher], Comparison], folder: RunFolder, command: Grow | Resume | Evaluate) -> int:
    """Do the work under a progress display; print the outcome, write the report."""
    console = Console(stderr=command.json, highlight=False)
    display = Display(console, quiet=command.quiet)
    if isinstance(command, Grow):
        display.folder = folder.path
    try:
        with gentle_stop(display.say, where="where the run can be resumed without loss") as should_stop:
            comparison = work(
                replace(Watcher(), on_progress=display.show, on_notice=display.say, should_stop=should_stop)
            )
    except (Stopped, KeyboardInterrupt):
        display.close()
        display.say(_go_on(folder))
        return STOPPED
    finally:
        display.close()
    try:
        _show(comparison, folder, console, as_json=command.json)
        share = attribution_share(folder.events)
        if share is not None and not command.quiet:
            console.print(f"Measuring grafts took {share:.1%} of the time of training.")
    except KeyboardInterrupt:
        path = shlex.quote(str(folder.path))
        display.say(f"stopped; the comparison is kept in {folder.evaluation}. Go on by: accredit report {path}")
        return STOPPED
    return DONE


def _show(comparison: Comparison, folder: RunFolder, console: Console, *, as_json: bool) -> None:
    """Tables for readers, JSON for programs, and the report."""
    console.print(policy_table(comparison))
    console.print(size_table(comparison))
    if comparison.grafts:
        console.print(graft_table(comparison))
    else:
        console.print("The learned policy committed no graft.")
    report = write_run_report(folder.path)
    console.print(f"report: {report}", soft_wrap=True, markup=False)
    if as_json:
        record = {"run": str(folder.path), "report": str(report), **comparison.to_dict()}
        print(json.dumps(record, indent=1, allow_nan=False))


def attribution_share(events: Path) -> float | None:
    """Return which share of the time of training attribution took, the mean over updates; None where not measured."""
    updates = (event for event in read(events, kinds=(UpdateCompleted,)) if isinstance(event, UpdateCompleted))
    shares = [update.attribution_share for update in updates if update.attribution_share is not None]
    return sum(shares) / len(shares) if shares else None


def _go_on(folder: RunFolder) -> str:
    """What is kept of a run that was stopped, and the command that goes on."""
    if not folder.config.exists():
        return "stopped before the run began; nothing was written"
    return (
        f"stopped; nothing that a checkpoint holds is lost. Go on by: accredit resume {shlex.quote(str(folder.path))}"
    )
