"""The commands and their options, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

Run = Annotated[Path, tyro.conf.arg(metavar="RUN", help="Folder of a run, such as one under runs/.")]
Quiet = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="No progress; only the outcome.")]

SinkName = Literal["csv", "tensorboard"]


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
    sink: Annotated[tuple[SinkName, ...], tyro.conf.UseAppendAction] = field(default=())
    """Keep the events as tables (RUN/csv) or for TensorBoard (RUN/tensorboard), too; may be given twice."""
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Everything in seconds: too short to learn, long enough to see."""
    quiet: Quiet = False


def _described(metavar: str, text: str) -> object:
    """An option whose default needs no words beyond its help."""
    return tyro.conf.arg(metavar=metavar, help=text, help_behavior_hint="")


Strategy = Literal["auto", "full_factorial", "shapley", "ablation_only"]
Sharing = Literal["auto", "loop", "replay", "graph", "stack"]


@dataclass(frozen=True)
class Attribute:
    """What each component earns: of a model that FILE.py builds, or of a host of RUN.

    FILE.py is run as your own program; its build, or NAME, returns an AttributionTask.

    Example: accredit attribute heads.py --max-evaluations 256 --out runs/heads
    """

    what: tyro.conf.Positional[
        Annotated[str, _described("FILE.py[:NAME]|RUN", "Your program, or the folder of a run.")]
    ]
    strategy: Annotated[
        Strategy,
        _described(
            "STRATEGY",
            "auto (all, or sampled where the budget is too small), full_factorial, shapley (sampled) or ablation_only.",
        ),
    ] = "auto"
    max_evaluations: Annotated[int, _described("N", "Most coalitions; default 1024.")] = 1024
    seconds: Annotated[float | None, _described("S", "Begin no further evaluation after so long.")] = None
    half_width: Annotated[
        tuple[str, ...],
        _described(
            "WIDTH|OUTPUT=WIDTH ...", "Stop when the intervals of the first output, or of OUTPUT, are so narrow."
        ),
    ] = field(default=())
    stop: Annotated[str | None, _described("signs|top=K", "Stop when every sign, or the K best, are decided.")] = None
    seed: Annotated[int, _described("N", "Which coalitions are sampled; default 0.")] = 0
    sharing: Annotated[
        Sharing | None,
        _described("WAY", "auto, loop, replay, graph or stack: how coalitions share work; default: as FILE.py says."),
    ] = None
    workers: Annotated[int, _described("N", "Processes that evaluate; default 1.")] = 1
    dask: Annotated[str | None, _described("ADDRESS", "Scheduler of Dask, whose workers evaluate.")] = None
    host: Annotated[int, _described("N", "Which host of RUN's final comparison; default 0.")] = 0
    out: Annotated[
        Path | None,
        _described("FOLDER", "Where results go; one that exists is continued. Default: a new one under runs/."),
    ] = None
    json: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, _described("", "Print the result as JSON, and nothing else to stdout.")
    ] = False
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff, _described("", "No progress; only the outcome.")] = False


@dataclass(frozen=True)
class Resume:
    """Go on after a crash or Ctrl-C, exactly, from the last good checkpoint.

    Example: accredit resume runs/digits-seed0
    """

    run: tyro.conf.Positional[Run]
    updates: int | None = None
    """More updates than were planned."""
    sink: Annotated[tuple[SinkName, ...], tyro.conf.UseAppendAction] = field(default=())
    """As in grow, from the run's beginning; default: those that the run has."""
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
    """Write the report of a run, or of an attribution, again: one HTML file that opens from disk.

    A run that goes on, or was stopped, has a report, too, which says what is missing.

    Example: accredit report runs/digits-seed0
    """

    run: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="RUN|FOLDER", help="Folder of a run, or of an attribution.")]
    ]


@dataclass(frozen=True)
class Watch:
    """Show runs in the browser, in progress or finished, side by side; nothing in them is changed.

    The page is for this machine only, unless --host and a token say otherwise.

    Example: accredit watch runs/digits-seed0 runs/digits-seed1
    """

    run: tyro.conf.Positional[
        Annotated[
            tuple[Path, ...], tyro.conf.arg(metavar="RUN [RUN ...]", help="Folders of runs.", help_behavior_hint="")
        ]
    ]
    host: Annotated[
        str, _described("ADDRESS", "Where to listen; default 127.0.0.1, which only this machine reaches.")
    ] = "127.0.0.1"
    port: Annotated[int, _described("N", "Default 8777; 0: any that is free.")] = 8777
    token: Annotated[
        str | None,
        _described(
            "WORD", "What a browser must show; others see it in the list of processes, ACCREDIT_TOKEN they do not."
        ),
    ] = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff, _described("", "No progress; only the address.")] = False


Command = Grow | Attribute | Resume | Evaluate | Report | Watch
