"""`accredit attribute`: what each component of a model earns.

task (a user's file, or a grown host) -> value function -> matrix, kept in a folder -> tables, pictures, JSON
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
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
from accredit.cli.interrupt import STOPPED, gentle_stop
from accredit.cli.progress import Display
from accredit.cli.stopping import stop_rule
from accredit.cli.user_file import DEFAULT_BUILDER, build_task, line_of, split_name, telling_lines
from accredit.errors import EvaluationError, EvaluationInterrupted, InvalidArgument
from accredit.models.task import AttributionTask, fingerprint
from accredit.models.value import ModelValue, SharingReport
from accredit.report.attribution_report import write_attribution_report

DONE, FAILED = 0, 1
_SHOW_EVERY_S = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What is evaluated how, and where it is kept."""

    value: ModelValue
    config: CounterfactualConfig
    folder: AttributionFolder
    progress: EvaluationProgress


def attribute(command: Attribute) -> int:
    """Evaluate, keep, print."""
    stdout = sys.stdout
    # the user's program may print too, and whoever asked for JSON wants to read nothing else
    with redirect_stdout(sys.stderr if command.json else sys.stdout):
        console = Console(stderr=command.json, highlight=False)
        display = Display(console, quiet=command.quiet)
        try:
            job = _prepare(command, display)
            matrix = _evaluate(command, job)
        except (EvaluationInterrupted, EvaluationError) as end:
            if end.matrix is None:
                raise
            display.close()
            return _ended_early(end, command, job.folder, display)
        except KeyboardInterrupt:
            display.close()
            display.say("stopped before this command evaluated anything")
            return STOPPED
        finally:
            display.close()
        return _finish(command, job, matrix, console=console, stdout=stdout)


def _prepare(command: Attribute, display: Display) -> Job:
    """From the command to a job; the folder is there afterwards."""
    check_workers(command)
    name, task = _task_of(command, display)
    progress = EvaluationProgress(display)
    with telling_lines(command.what):
        value = task.value(sharing=command.sharing, progress=progress.passed)
    progress.value = value
    config = CounterfactualConfig(
        strategy=command.strategy,
        max_evaluations=command.max_evaluations,
        timeout_s=command.seconds,
        stop=stop_rule(command.half_width, command.stop, value.outputs),
        confidence=command.confidence,
        outputs=value.outputs,
        seed=command.seed,
        **({} if command.max_example_bytes is None else {"max_example_bytes": command.max_example_bytes}),
    )
    folder = AttributionFolder(command.out) if command.out is not None else new_folder(name)
    with telling_lines(command.what):
        task_record = fingerprint(value)
    folder.begin(task_record)
    display.folder = folder.path
    return Job(value=value, config=config, folder=folder, progress=progress)


def _evaluate(command: Attribute, job: Job) -> CounterfactualMatrix:
    """The matrix, which is in the folder too."""
    # processes and clusters report too rarely to be asked to stop
    stop = gentle_stop(
        job.progress.display.say,
        where="after this pass, with everything that is finished",
        at_once=command.workers > 1 or command.dask is not None,
    )
    try:
        with (
            stop as job.progress.should_stop,
            telling_lines(command.what),
            workers(job.value, command) as (evaluation, executor),
        ):
            return CounterfactualEngine(job.config).compute_matrix(
                job.value.switchable.players,
                evaluation,
                path=job.folder.matrix,
                progress=job.progress.evaluated,
                executor=executor,
            )
    finally:
        job.folder.leave()


def _finish(command: Attribute, job: Job, matrix: CounterfactualMatrix, *, console: Console, stdout: TextIO) -> int:
    """Derive, keep and print everything."""
    try:
        sharing = dataclasses.asdict(job.value.report)
        versions = {name: version(name) for name in ("accredit", "torch")}
        given = command_line(command, job.folder.path)
        record = result_record(matrix, sharing=sharing, source=command.what, command=given, versions=versions)
        write_result(job.folder, record)
        if command.json:
            stdout.write(json.dumps(record, indent=1, allow_nan=False) + "\n")
        _print(matrix, job.value.report, job.folder, console)
    except KeyboardInterrupt:
        console.print(_go_on(matrix, command, job.folder), soft_wrap=True, markup=False)
        return STOPPED
    return DONE


def _print(matrix: CounterfactualMatrix, report: SharingReport, folder: AttributionFolder, console: Console) -> None:
    """Tables, and where everything is."""
    for part in outcome(matrix):
        console.print(part, soft_wrap=isinstance(part, str), markup=False)
    console.print(sharing_line(matrix, report), soft_wrap=True, markup=False)
    console.print(pictures_note(matrix, folder), soft_wrap=True, markup=False)
    console.print(f"report: {write_attribution_report(folder.path, matrix)}", soft_wrap=True, markup=False)
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
    """Joins both reports of progress: coalitions after every call, passes within a call; ends both after Ctrl-C."""

    display: Display
    value: ModelValue | None = None
    done: int = 0
    planned: int = 0
    shown_s: float = -_SHOW_EVERY_S
    should_stop: Callable[[], bool] = lambda: False

    def evaluated(self, done: int, planned: int) -> None:
        """Coalitions that have a value."""
        self._end_if_asked()
        self.done, self.planned = done, planned
        self.display.show("evaluating", done, planned)

    def passed(self, done: int, total: int) -> None:
        """Passes of the call that goes on; a coalition is done with its last batch."""
        self._end_if_asked()
        now_s = time.monotonic()
        if now_s - self.shown_s < _SHOW_EVERY_S:
            return
        self.shown_s = now_s
        n_batches = len(self.value.batches.sums) if self.value is not None else 0
        if self.planned and n_batches:
            self.display.show("evaluating", min(self.done + done // n_batches, self.planned), self.planned)
        else:
            self.display.show("first passes", done, total)

    def _end_if_asked(self) -> None:
        if self.should_stop():
            raise KeyboardInterrupt


def check_workers(command: Attribute) -> None:
    """Refuse, before anything is built, what cannot evaluate.

    Raises:
        InvalidArgument: no number of processes, or both ways at once.
    """
    if command.workers < 1 or (command.workers > 1 and command.dask is not None):
        raise InvalidArgument(
            f"`--workers` is {command.workers} and `--dask` is {command.dask}, wanted at least 1 process, or the "
            "address of a scheduler; pass one of both."
        )


@contextmanager
def workers(value: ModelValue, command: Attribute) -> Iterator[tuple[PreparedEvaluation, Executor | None]]:
    """What evaluates: this process, several, or those of a Dask cluster.

    Raises:
        InvalidArgument: no scheduler answers.
        MissingExtra: Dask is not installed.
    """
    if command.dask is not None:
        from accredit.integrations.dask import DaskWorkers

        try:
            cluster = DaskWorkers(value, command.dask)
        except OSError as error:
            raise InvalidArgument(
                f"`--dask` is {command.dask!r}, where no scheduler answers ({error}), wanted its address; start one by "
                "`dask scheduler` and pass the address that it prints."
            ) from error
        with cluster:
            yield cluster.value, cluster.executor
    elif command.workers > 1:
        from accredit.models.workers import ProcessWorkers

        with ProcessWorkers(value, n_workers=command.workers) as processes:
            yield processes.value, processes.executor
    else:
        yield value, None


def _ended_early(
    end: EvaluationInterrupted | EvaluationError, command: Attribute, folder: AttributionFolder, display: Display
) -> int:
    """Say what is kept and how to go on."""
    go_on = _go_on(end.matrix, command, folder)
    if isinstance(end, EvaluationInterrupted):
        display.say(f"stopped; {go_on}")
        return STOPPED
    failures, said = end.matrix.failures, str(end)
    if failures:
        named = split_name(command.what)
        line = "" if named is None or end.__cause__ is None else line_of(end.__cause__, named[0])
        said = f"it failed for {len(failures)} coalition(s), first {failures[0].players}{line}: {failures[0].message}"
    display.say(f"accredit: {said}")
    display.say(f"{go_on} (once it is mended)")
    return FAILED


def _go_on(matrix: CounterfactualMatrix, command: Attribute, folder: AttributionFolder) -> str:
    """What is kept, and the command that goes on."""
    kept = f"{matrix.cost.n_evaluations} finished coalitions are kept in {folder.path}"
    return f"{kept}. Go on by: {command_line(command, folder.path)}"


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
    how = f"evaluated by {matrix.provenance.mechanism}"
    # processes, and an earlier command, keep their reasons to themselves
    if report.mechanism:
        how += f": {report.reason or 'it was done before another way could have paid'}"
    kept = f"; at most {report.peak_bytes / 1e6:.1f} MB kept for use again" if report.peak_bytes else ""
    return f"{how}{kept}; {matrix.cost.duration_s:.1f} s in all"
