"""The commands and their options, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

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
