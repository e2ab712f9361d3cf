"""`accredit attribute`: what each component of a model earns.

task (a user's file, or a grown host) -> value function -> matrix, kept in a folder -> tables, pictures, JSON
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console

from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.prepared import PreparedEvaluation
from accredit.cli.attribution_folder import AttributionFolder, new_folder, pictures_note, result_record, write_result
from accredit.cli.commands import Attribute
from accredit.cli.contributions import outcome
from accredit.cli.progress import Display
from accredit.cli.stopping import stop_rule
from accredit.cli.user_file import DEFAULT_BUILDER, build_task, line_of, split_name
from accredit.errors import EvaluationError, EvaluationInterrupted, InvalidArgument
from accredit.models.task import AttributionTask, fingerprint
from accredit.models.value import ModelValue, SharingReport

DONE, FAILED, STOPPED = 0, 1, 130
_SHOW_EVERY_S = 0.1


def attribute(command: Attribute) -> int:
    """Evaluate, keep, print."""
    result = sys.stdout
    # the user's program may print too, and whoever asked for JSON wants to read nothing else
    with redirect_stdout(sys.stderr if command.json else sys.stdout):
        console = Console(stderr=command.json, highlight=False)
        display = Display(console, quiet=command.quiet)
        try:
            return _attribute(command, display, console, result)
        except KeyboardInterrupt:
            display.close()
            display.say("stopped before anything was evaluated")
            return STOPPED
        finally:
            display.close()


def _attribute(command: Attribute, display: Display, console: Console, result: TextIO) -> int:
    """The steps, one after the other."""
    name, task = _task_of(command, display)
    progress = EvaluationProgress(display)
    value = task.value(sharing=command.sharing, progress=None if command.quiet else progress.passed)
    progress.value = value
    config = CounterfactualConfig(
        strategy=command.strategy,
        max_evaluations=command.max_evaluations,
        timeout_s=command.seconds,
        stop=stop_rule(command.half_width, command.stop, value.outputs),
        outputs=value.outputs,
        seed=command.seed,
    )
    folder = AttributionFolder(command.out) if command.out is not None else new_folder(name)
    folder.begin(fingerprint(value))
    try:
        with workers(value, command) as (evaluation, executor):
            matrix = CounterfactualEngine(config).compute_matrix(
                value.switchable.players,
                evaluation,
                path=folder.matrix,
                progress=progress.evaluated,
                executor=executor,
            )
    except (EvaluationInterrupted, EvaluationError) as end:
        display.close()
        return _ended_early(end, folder, command, display)
    finally:
        folder.leave()
    display.close()
    record = result_record(matrix, sharing=dataclasses.asdict(value.report), source=command.what)
    write_result(folder, record)
    if command.json:
        result.write(json.dumps(record, indent=1, allow_nan=False) + "\n")
    _print(matrix, value.report, folder, console, draw=True)
    return DONE


def _print(
    matrix: CounterfactualMatrix, report: SharingReport, folder: AttributionFolder, console: Console, *, draw: bool
) -> None:
    """Tables, and where everything is."""
    for part in outcome(matrix):
        console.print(part, soft_wrap=isinstance(part, str), markup=False)
    console.print(sharing_line(matrix, report), soft_wrap=True, markup=False)
    if draw:
        note = pictures_note(matrix, folder)
        if note:
            console.print(note, soft_wrap=True, markup=False)
    console.print(f"everything: {folder.path}", soft_wrap=True, markup=False)


def _task_of(command: Attribute, display: Display) -> tuple[str, AttributionTask]:
    """What is attributed, with a name for its folder."""
    named = split_name(command.what)
    if named is not None:
        path, builder = named
        name = path.stem if builder == DEFAULT_BUILDER else f"{path.stem}-{builder}"
        return name, build_task(path, builder)
    # imported late: the training system needs the extra `grow`, a file does not
    from accredit.cli.grown import grown_task

    display.show("growing the host again", 0, 1)
    return f"{Path(command.what).name}-host{command.host}", grown_task(Path(command.what), command.host, display.say)


@dataclass
class EvaluationProgress:
    """Joins both reports of progress: coalitions after every call, passes within a call."""

    display: Display
    value: ModelValue | None = None
    done: int = 0
    planned: int = 0
    shown_s: float = -_SHOW_EVERY_S

    def evaluated(self, done: int, planned: int) -> None:
        """Coalitions that have a value."""
        self.done, self.planned = done, planned
        self.display.show("evaluating", done, planned)

    def passed(self, done: int, total: int) -> None:
        """Passes of the call that goes on; a coalition is done with its last batch."""
        now_s = time.monotonic()
        if now_s - self.shown_s < _SHOW_EVERY_S:
            return
        self.shown_s = now_s
        n_batches = len(self.value.batches.sums) if self.value is not None else 0
        if self.planned and n_batches:
            self.display.show("evaluating", min(self.done + done // n_batches, self.planned), self.planned)
        else:
            self.display.show("first passes", done, total)


@contextmanager
def workers(value: ModelValue, command: Attribute) -> Iterator[tuple[PreparedEvaluation, Executor | None]]:
    """What evaluates: this process, several, or those of a Dask cluster.

    Raises:
        InvalidArgument: no number of processes, or both ways at once.
    """
    if command.workers < 1 or (command.workers > 1 and command.dask is not None):
        raise InvalidArgument(
            f"`--workers` is {command.workers} and `--dask` is {command.dask}, wanted at least 1 process, or the "
            "address of a scheduler; pass one of both."
        )
    if command.dask is not None:
        from accredit.integrations.dask import DaskWorkers

        with DaskWorkers(value, command.dask) as cluster:
            yield cluster.value, cluster.executor
    elif command.workers > 1:
        from accredit.models.workers import ProcessWorkers

        with ProcessWorkers(value, n_workers=command.workers) as processes:
            yield processes.value, processes.executor
    else:
        yield value, None


def _ended_early(
    end: EvaluationInterrupted | EvaluationError, folder: AttributionFolder, command: Attribute, display: Display
) -> int:
    """Say what is kept and how to go on."""
    kept = 0 if end.matrix is None else end.matrix.cost.n_evaluations
    go_on = f"{kept} finished coalitions are kept in {folder.path}. Go on by: {command_line(command, folder.path)}"
    if isinstance(end, EvaluationInterrupted):
        display.say(f"stopped; {go_on}")
        return STOPPED
    failures = () if end.matrix is None else end.matrix.failures
    if failures:
        named = split_name(command.what)
        line = "" if named is None or end.__cause__ is None else line_of(end.__cause__, named[0])
        end_text = (
            f"the evaluation failed for {len(failures)} coalition(s), first {failures[0].players}{line}: "
            f"{failures[0].message}"
        )
    display.say(f"accredit: {end_text if failures else end}")
    display.say(f"{go_on} (once it is mended)")
    return FAILED


def command_line(command: Attribute, folder: Path) -> str:
    """The command that goes on in a folder.

    Example:
        >>> command_line(Attribute("heads.py", seed=1, stop="signs"), Path("runs/heads"))
        'accredit attribute heads.py --out runs/heads --stop signs --seed 1'
    """
    words = ["accredit", "attribute", command.what, "--out", str(folder)]
    for field in dataclasses.fields(command):
        setting = getattr(command, field.name)
        if field.name in ("what", "out") or setting == field.default or setting == ():
            continue
        words.append("--" + field.name.replace("_", "-"))
        if not isinstance(setting, bool):
            words += list(setting) if isinstance(setting, tuple) else [str(setting)]
    return shlex.join(words)


def sharing_line(matrix: CounterfactualMatrix, report: SharingReport) -> str:
    """How coalitions shared work, and what it brought."""
    mechanism = matrix.provenance.mechanism or "nothing new"
    reason = report.reason or "all was evaluated before another way could have paid"
    kept = f"; at most {report.peak_bytes / 1e6:.1f} MB kept for use again" if report.peak_bytes else ""
    return f"evaluated by {mechanism}: {reason}{kept}; {matrix.cost.duration_s:.1f} s in all"
