"""From the arguments to a command.

Exit statuses stand in `accredit.cli`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from accredit.cli.commands import Attribute, Command, Evaluate, Grow, Report, Resume, Watch
from accredit.errors import AccreditError, EvaluationError, OutOfMemory, TrainingFailed

FAILED, BAD_INPUT = 1, 2


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
    except AccreditError as error:
        print(f"accredit: {error}", file=sys.stderr)
        return FAILED if isinstance(error, TrainingFailed | EvaluationError | OutOfMemory) else BAD_INPUT


def _run(command: Command) -> int:
    """Do what the command says."""
    # Imported late: help and mistyped options do not wait, and to attribute a file, or to report on that, takes
    # the extra `cli` alone.
    if isinstance(command, Attribute):
        from accredit.cli.attribute import attribute

        return attribute(command)
    if isinstance(command, Watch):
        from accredit.cli.watch import watch_runs

        return watch_runs(command)
    if isinstance(command, Report):
        from accredit.cli.report import report_run

        return report_run(command)
    from accredit.cli.work import evaluate_run, grow, resume_run

    match command:
        case Grow():
            return grow(command)
        case Resume():
            return resume_run(command)
        case Evaluate():
            return evaluate_run(command)
