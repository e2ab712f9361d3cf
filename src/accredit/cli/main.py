"""The commands.  Exit status: 0 done, 1 training failed, 2 bad input, 130 stopped by Ctrl-C and ready to be resumed."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import tyro
from rich.console import Console

from accredit.cli.progress import Display
from accredit.cli.settings import quick, with_settings
from accredit.cli.tables import graft_table, policy_table
from accredit.errors import AccreditError, TrainingFailed
from accredit.report.run_report import write_run_report
from accredit.training.config import TrainConfig
from accredit.training.evaluation import Comparison
from accredit.training.loop import Stopped, Watcher, evaluate, resume, train
from accredit.training.run_folder import RunFolder
from accredit.training.task import find_task

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130
Run = Annotated[Path, tyro.conf.arg(metavar="RUN", help="Folder of a run, such as one under runs/.")]
Quiet = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="No progress; only the outcome.")]


@dataclass(frozen=True)
class Grow:
    """Train the policy that grows a host on TASK, compare it with the baselines, and write a report.

    Example: accredit grow digits --seed 1 --set ppo.clip=0.1
    """

    task: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="TASK")]] = "digits"
    """What is grown."""
    seed: int = 0
    """Root of every random number."""
    out: Path | None = None
    """Folder of the run, which must not exist; default: a new one under runs/."""
    updates: int | None = None
    """PPO updates; default: 40, or 4 with --quick."""
    environments: int | None = None
    """Hosts trained side by side; default: 32, or 8 with --quick."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = field(default=())
    """Any other field of the configuration by its dotted name."""
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Everything in seconds: too short to learn, long enough to see."""
    quiet: Quiet = False


@dataclass(frozen=True)
class Resume:
    """Go on after a crash or Ctrl-C, exactly, from the last good checkpoint.

    Example: accredit resume runs/digits-seed0
    """

    run: tyro.conf.Positional[Run]
    updates: int | None = None
    """More updates than were planned."""
    quiet: Quiet = False


@dataclass(frozen=True)
class Evaluate:
    """Compare the policies of a finished run on the test split again, and rewrite its report.

    Example: accredit evaluate runs/digits-seed0
    """

    run: tyro.conf.Positional[Run]
    quiet: Quiet = False


@dataclass(frozen=True)
class Report:
    """Write the report of a finished run again: one HTML file that opens from disk.

    Example: accredit report runs/digits-seed0
    """

    run: tyro.conf.Positional[Run]


Command = Grow | Resume | Evaluate | Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    command = tyro.cli(
        Command,
        prog="accredit",
        description="What every switchable part of a network earns, and networks grown by it.",
        args=arguments,
    )
    try:
        return _run(command)
    except TrainingFailed as error:
        _complain(error)
        return FAILED
    except AccreditError as error:
        _complain(error)
        return BAD_INPUT


def _run(command: Command) -> int:
    match command:
        case Grow():
            return _grow(command)
        case Resume(run=folder, updates=updates, quiet=quiet):
            return _watched(
                lambda watcher: resume(folder, updates=updates, watcher=watcher), RunFolder(folder), quiet=quiet
            )
        case Evaluate(run=folder, quiet=quiet):
            return _watched(lambda watcher: evaluate(folder, watcher=watcher), RunFolder(folder), quiet=quiet)
        case Report(run=folder):
            print(f"report: {write_run_report(folder)}")
            return DONE


def _grow(command: Grow) -> int:
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
    return _watched(lambda watcher: train(config, folder.path, watcher=watcher), folder, quiet=command.quiet)


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
        say("stopping after this update, with a checkpoint; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _complain(error: AccreditError) -> None:
    print(f"accredit: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
