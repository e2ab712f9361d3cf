"""The commands and their options, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

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
class Attribute:
    """Say what each component of a model earns: of one that a Python FILE builds, or of a host grown in RUN.

    FILE.py is run, as by python FILE.py; its function `build` (or FILE.py:NAME) returns an AttributionTask.
    Example: accredit attribute heads.py --max-evaluations 256 --out runs/heads
    """

    what: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="FILE.py[:BUILDER]|RUN")]]
    """Your program, or the folder of a run."""
    strategy: Literal["auto", "full_factorial", "shapley", "ablation_only"] = "auto"
    """Which coalitions; auto: all where the budget allows, else sampled."""
    max_evaluations: int = 1024
    """Most coalitions."""
    seconds: float | None = None
    """Begin no further evaluation after so long."""
    half_width: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WIDTH|NAME=WIDTH ...")] = field(default=())
    """Stop when intervals of the first output, or of NAME, are as narrow."""
    stop: Annotated[str | None, tyro.conf.arg(metavar="signs|top=K")] = None
    """Stop when every sign, or the K best, are decided."""
    seed: int = 0
    """Which coalitions are sampled."""
    sharing: Literal["auto", "loop", "replay", "graph", "stack"] | None = None
    """How coalitions share work; default: as FILE says."""
    workers: int = 1
    """Processes that evaluate."""
    dask: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Scheduler of Dask whose workers evaluate."""
    host: int = 0
    """Which host of RUN's final comparison."""
    out: Path | None = None
    """Folder; an existing one is continued. Default: a new one under runs/."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result as JSON, and nothing else to stdout."""
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


Command = Grow | Attribute | Resume | Evaluate | Report
