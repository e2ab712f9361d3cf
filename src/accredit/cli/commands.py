"""The commands and their options, as data.

Help fits a screen of 80 columns; the first line of a command is at most 62 characters long, for it stands in a list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro


def _described(metavar: str, text: str) -> object:
    """An option whose default needs no words beyond its help."""
    return tyro.conf.arg(metavar=metavar, help=text, help_behavior_hint="")


def _flag(text: str) -> object:
    """An option without a value."""
    return tyro.conf.arg(help=text, help_behavior_hint="")


SinkName = Literal["csv", "tensorboard"]
Strategy = Literal["auto", "full_factorial", "shapley", "ablation_only"]
Sharing = Literal["auto", "loop", "replay", "graph", "stack"]

Run = Annotated[Path, _described("RUN", "Folder of a run, such as one under runs/.")]
Quiet = Annotated[bool, tyro.conf.FlagCreatePairsOff, _flag("No progress; only the outcome.")]
Json = Annotated[bool, tyro.conf.FlagCreatePairsOff, _flag("Print the outcome as JSON, and nothing else to stdout.")]


@dataclass(frozen=True)
class Grow:
    """Train the policy that grows a host on TASK, compare, report.

    Example: accredit grow digits --seed 1 --set ppo.clip=0.1
    """

    task: tyro.conf.Positional[Annotated[str, _described("TASK", "What is grown; default digits.")]] = "digits"
    seed: Annotated[int, _described("N", "Root of every random number; default 0.")] = 0
    data: Annotated[str, _described("FOLDER", "Files of a task that needs any, such as cifar10.")] = ""
    out: Annotated[
        Path | None,
        _described("FOLDER", "Folder of the run, which must not exist; default: a new one under runs/."),
    ] = None
    updates: Annotated[
        int | None, _described("N", "PPO updates; default: as the task says (digits 40), or 4 with --quick.")
    ] = None
    environments: Annotated[
        int | None, _described("N", "Hosts trained side by side; default: 32, or 8 with --quick.")
    ] = None
    set: Annotated[
        tuple[str, ...],
        _described("NAME=VALUE ...", "Any other field of the configuration by its dotted name."),
    ] = field(default=())
    sink: Annotated[
        tuple[SinkName, ...],
        tyro.conf.UseAppendAction,
        _described(
            "NAME",
            "Keep the events for csv (tables in RUN/csv) or tensorboard (RUN/tensorboard), too; may be given twice.",
        ),
    ] = field(default=())
    quick: Annotated[
        bool,
        tyro.conf.FlagCreatePairsOff,
        _flag("Everything in seconds: too short to learn, long enough to see."),
    ] = False
    json: Json = False
    quiet: Quiet = False


@dataclass(frozen=True)
class Attribute:
    """What each part earns: of FILE.py's model, or of a host of RUN.

    Example: accredit attribute heads.py --max-evaluations 256
    """

    what: tyro.conf.Positional[
        Annotated[
            str,
            _described(
                "FILE.py[:NAME]|RUN",
                "Your program, which is run: its build, or NAME, returns an AttributionTask. Or the folder of a run.",
            ),
        ]
    ]
    strategy: Annotated[
        Strategy,
        _described("WAY", "auto, full_factorial, shapley (sampled) or ablation_only."),
    ] = "auto"
    max_evaluations: Annotated[int, _described("N", "Most coalitions; default 1024.")] = 1024
    seconds: Annotated[float | None, _described("S", "Begin no further evaluation after so long.")] = None
    half_width: Annotated[
        tuple[str, ...],
        _described("[OUTPUT=]WIDTH ...", "Stop when intervals of an output (the first) are so narrow."),
    ] = field(default=())
    stop: Annotated[str | None, _described("signs|top=K", "Stop when every sign, or the K best, are decided.")] = None
    confidence: Annotated[float, _described("C", "Level of intervals; default 0.95.")] = 0.95
    seed: Annotated[int, _described("N", "Which coalitions are sampled; default 0.")] = 0
    sharing: Annotated[
        Sharing | None,
        _described("WAY", "auto, loop, replay, graph or stack; default: as FILE.py says."),
    ] = None
    max_example_bytes: Annotated[
        int | None, _described("N", "Most memory for values per example; default 268435456.")
    ] = None
    workers: Annotated[int, _described("N", "Processes that evaluate; default 1.")] = 1
    dask: Annotated[str | None, _described("ADDRESS", "Scheduler of Dask, whose workers evaluate.")] = None
    host: Annotated[int, _described("N", "Which host of RUN's final comparison; default 0.")] = 0
    out: Annotated[
        Path | None,
        _described("FOLDER", "Where results go; one that exists is continued; default: new under runs/."),
    ] = None
    json: Json = False
    quiet: Quiet = False


@dataclass(frozen=True)
class Resume:
    """Go on after a crash or Ctrl-C, exactly, from the checkpoint.

    Example: accredit resume runs/digits-seed0
    """

    run: tyro.conf.Positional[Run]
    updates: Annotated[int | None, _described("N", "More updates than were planned.")] = None
    sink: Annotated[
        tuple[SinkName, ...],
        tyro.conf.UseAppendAction,
        _described(
            "NAME", "csv or tensorboard, as in grow, from the run's beginning; default: those that the run has."
        ),
    ] = field(default=())
    json: Json = False
    quiet: Quiet = False


@dataclass(frozen=True)
class Evaluate:
    """Compare the policies of a finished run again on the test split.

    Example: accredit evaluate runs/digits-seed0
    """

    run: tyro.conf.Positional[Run]
    json: Json = False
    quiet: Quiet = False


@dataclass(frozen=True)
class Report:
    """Write the report of a run or an attribution: one HTML file.

    Example: accredit report runs/digits-seed0
    """

    run: tyro.conf.Positional[
        Annotated[
            Path,
            _described(
                "RUN|FOLDER",
                "Folder of an attribution, or of a run: finished, going on, or stopped; the report says what is "
                "missing.",
            ),
        ]
    ]


@dataclass(frozen=True)
class Watch:
    """Show runs and attributions in the browser, finished or not; changes nothing.

    Example: accredit watch runs/digits-seed0 runs/attribute-rings
    """

    run: tyro.conf.Positional[Annotated[tuple[Path, ...], _described("RUN...", "Folders of runs or attributions.")]]
    host: Annotated[
        str, _described("IP", "Where to listen; default 127.0.0.1: this machine only; another needs a token.")
    ] = "127.0.0.1"
    port: Annotated[int, _described("N", "Default 8777; 0: any that is free.")] = 8777
    token: Annotated[
        str | None,
        _described(
            "T", "What a browser must show; others see it in the list of processes, ACCREDIT_TOKEN they do not."
        ),
    ] = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff, _flag("No progress; only the address.")] = False


Command = Grow | Attribute | Resume | Evaluate | Report | Watch
