"""What the commands do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console

from accredit.cli.commands import Evaluate, Grow, Resume
from accredit.cli.progress import Display
from accredit.cli.settings import quick, with_settings
from accredit.cli.sinks import sinks_of
from accredit.cli.tables import graft_table, policy_table, size_table
from accredit.report.run_report import write_run_report
from accredit.training.comparison import Comparison
from accredit.training.config import TrainConfig
from accredit.training.loop import Stopped, Watcher, evaluate, resume, train
from accredit.training.run_folder import RunFolder
from accredit.training.task import find_task

DONE, STOPPED = 0, 130


def grow(command: Grow) -> int:
    """Train, compare, report."""
    find_task(command.task)
    config = TrainConfig(task=command.task, seed=command.seed)
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
    return _watched(
        lambda watcher: train(config, folder.path, watcher=watcher, sinks=sinks), folder, quiet=command.quiet
    )


def resume_run(command: Resume) -> int:
    """Go on, compare, report."""
    sinks = sinks_of(command.run, command.sink or None)
    return _watched(
        lambda watcher: resume(command.run, updates=command.updates, watcher=watcher, sinks=sinks),
        RunFolder(command.run),
        quiet=command.quiet,
    )


def evaluate_run(command: Evaluate) -> int:
    """Compare and report."""
    sinks = sinks_of(command.run, None)
    return _watched(
        lambda watcher: evaluate(command.run, watcher=watcher, sinks=sinks), RunFolder(command.run), quiet=command.quiet
    )


def _watched(work: Callable[[Watcher], Comparison], folder: RunFolder, *, quiet: bool) -> int:
    """Do the work under a progress display; print the outcome, write the report."""
    console = Console(highlight=False)
    display = Display(console, quiet=quiet)
    try:
        with _gentle_stop(display.say) as should_stop:
            comparison = work(
                replace(Watcher(), on_progress=display.show, on_notice=display.say, should_stop=should_stop)
            )
    except (Stopped, KeyboardInterrupt):
        display.close()
        display.say(f"stopped; nothing that a checkpoint holds is lost. Go on by: accredit resume {folder.path}")
        return STOPPED
    finally:
        display.close()
    console.print(policy_table(comparison))
    console.print(size_table(comparison))
    if comparison.grafts:
        console.print(graft_table(comparison))
    else:
        console.print("The learned policy committed no graft.")
    console.print(f"report: {write_run_report(folder.path)}", soft_wrap=True)
    return DONE


@contextmanager
def _gentle_stop(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end the run after its update and with a checkpoint, the second one at once."""
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping where the run can be resumed without loss; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
