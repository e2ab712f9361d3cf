"""From the arguments to a command.

Exit status: 0 done, 1 training failed, 2 bad input, 130 stopped by Ctrl-C and ready to be resumed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from accredit.cli.commands import Command, Evaluate, Grow, Report, Resume
from accredit.errors import AccreditError, TrainingFailed

FAILED, BAD_INPUT = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    command = tyro.cli(
        Command,
        prog="accredit",
        description="What every switchable part of a network earns, and networks grown by it.",
        args=arguments,
    )
    # Imported late, so that help and mistyped options do not wait for the training system.
    from accredit.cli.work import evaluate_run, grow, report_run, resume_run

    try:
        match command:
            case Grow():
                return grow(command)
            case Resume():
                return resume_run(command)
            case Evaluate():
                return evaluate_run(command)
            case Report():
                return report_run(command)
    except AccreditError as error:
        print(f"accredit: {error}", file=sys.stderr)
        return FAILED if isinstance(error, TrainingFailed) else BAD_INPUT
