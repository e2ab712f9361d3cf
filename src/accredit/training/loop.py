"""A run from its first update to its comparison: read this first.

    create folder -> warm up -> (rollout, update, every few updates a checkpoint) ... -> compare on the test split

Every random number comes from the state that a checkpoint holds, and events are cut at the checkpoint when a run is
resumed: a run that was killed and resumed ends with the files of one that was not, but for times.
"""

from __future__ import annotations

import enum
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from accredit import checkpoint
from accredit.errors import InvalidArgument, RunFolderError, StateMismatch
from accredit.telemetry.event import Event, RunCompleted, RunStarted, UpdateCompleted
from accredit.telemetry.sinks.fan_out import Sink
from accredit.telemetry.sinks.jsonl import JsonlSink, cut, read
from accredit.telemetry.sinks.view import showing
from accredit.training.comparison import Comparison
from accredit.training.config import MAY_CHANGE_ON_RESUME, TrainConfig
from accredit.training.config_record import differing_fields, from_plain, to_plain
from accredit.training.episodes import Episodes
from accredit.training.evaluation import LEARNED, compare, grow_evaluation_hosts
from accredit.training.run_folder import RunFolder, read_json, write_json
from accredit.training.run_lock import locked
from accredit.training.task import Task, find_task
from accredit.training.trainer import Trainer


class Phase(enum.StrEnum):
    """What a run is doing."""

    WARMING_UP = "warming up"
    TRAINING = "training"
    COMPARING = "comparing"


@dataclass(frozen=True)
class Watcher:
    """What a caller wants to know while a run goes on, and how it asks for an early end."""

    on_progress: Callable[[Phase, int, int], None] = lambda *_: None
    """Called with the phase, and how many of its parts are done and planned."""
    on_notice: Callable[[str], None] = warnings.warn
    """Called with what the user should know, such as a damaged checkpoint that was passed over."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after every update and every part of the comparison; True ends the run, ready to be resumed."""


class Stopped(Exception):
    """The run ended early because `should_stop` said so; everything is in its checkpoint."""


def train(
    config: TrainConfig,
    folder: Path,
    *,
    task: Task | None = None,
    watcher: Watcher | None = None,
    sinks: Sequence[Sink] = (),
) -> Comparison:
    """Run from the beginning in a new folder.

    Args:
        config: everything that decides what happens.
        folder: must not exist.
        task: one of your own, whose name is `config.task`; None: the one of that name.
        watcher: who looks on.
        sinks: where events go beside the file of the folder: `CsvSink`, `TensorBoardSink`, or any callable of one
            event. One that fails is told to the watcher once and stops nothing.

    Returns:
        The comparison, which is in the folder too.

    Raises:
        UnknownName: no such task.
        RunFolderError: the folder exists or cannot be written.
        Stopped: `should_stop` said so.
    """
    task = _task_of(config, task)
    run = RunFolder(folder)
    run.create(to_plain(config))
    with locked(folder, argument="--out"):
        return _begin(run, task, config, _Listeners(watcher or Watcher(), sinks))


def resume(
    folder: Path,
    *,
    updates: int | None = None,
    processes: int | None = None,
    task: Task | None = None,
    watcher: Watcher | None = None,
    sinks: Sequence[Sink] = (),
) -> Comparison:
    """Go on after the last good checkpoint, as if nothing had happened.

    Args:
        folder: of a run.
        updates: a new number of updates, for more than was planned; None leaves it.
        processes: a new number of processes, which changes no result; None leaves it.
        task: as in `train`.
        watcher: who looks on.
        sinks: as in `train`; they need not be those that the run began with. A `View`, such as `CsvSink`, is shown the
            whole run; any other callable only what comes after the checkpoint.

    Raises:
        RunFolderError: the folder holds no run, or no checkpoint; or a living process is using it.
        FileDamaged: no checkpoint is intact.
        StateMismatch: the configuration differs from that of the checkpoint in a field that may not change.
        Stopped: `should_stop` said so.
    """
    listeners = _Listeners(watcher or Watcher(), sinks)
    with _locked_run(folder):
        run, config, state = _load(folder, listeners.watcher)
        before = config
        if updates is not None:
            done = state["trainer"]["update"] if state else 0
            if updates < done:
                raise InvalidArgument(
                    f"`updates` is {updates}, but the run has done {done}; pass {done} or more, or begin a new run."
                )
            config = replace(config, updates=updates)
        if processes is not None:
            config = replace(config, processes=processes)
        if config != before:
            write_json(run.config, to_plain(config))
        if state is None:
            return _begin(run, _task_of(config, task), config, listeners)
        return _continue(run, _task_of(config, task), config, state, listeners)


def evaluate(
    folder: Path, *, task: Task | None = None, watcher: Watcher | None = None, sinks: Sequence[Sink] = ()
) -> Comparison:
    """Compare the policies of a finished run again, by the code that ended it.

    Args:
        folder: of a run.
        task: as in `train`.
        watcher: who looks on.
        sinks: as in `resume`.

    Raises:
        RunFolderError: the folder holds no run, or training is not through; or a living process is using it.
        FileDamaged: no checkpoint is intact.
    """
    listeners = _Listeners(watcher or Watcher(), sinks)
    with _locked_run(folder):
        run, config, state = _load(folder, listeners.watcher)
        update = state["trainer"]["update"] if state else 0
        if state is None or update < config.updates:
            raise RunFolderError(
                f"`RUN` is {folder}, which stands at update {update} of {config.updates}, wanted a run whose training "
                f"is through; finish it by `accredit resume {folder}`."
            )
        return _continue(run, _task_of(config, task), config, state, listeners)


def regrow(folder: Path, *, watcher: Watcher | None = None) -> Episodes:
    """Grow the hosts of the final comparison once more with the learned policy of the last good checkpoint.

    They are those that the comparison measured, weight by weight; neither the test split nor the folder's files are
    touched.

    Args:
        folder: of a run.
        watcher: who looks on.

    Raises:
        RunFolderError: the folder holds no run, or no checkpoint yet.
        FileDamaged: no checkpoint is intact.
    """
    watcher = watcher or Watcher()
    _, config, state = _load(folder, watcher)
    if state is None:
        raise RunFolderError(
            f"`RUN` is {folder}, which has no checkpoint yet, wanted one with a policy; go on by "
            f"`accredit resume {folder}`."
        )
    done = state["trainer"]["update"]
    if done < config.updates:
        watcher.on_notice(f"{folder} stands at update {done} of {config.updates}: its policy is not fully trained")
    task = _task_of(config, None)
    with one_thread():
        trainer = Trainer(task, replace(config, processes=1), on_event=lambda _: None)
        trainer.load_state_dict(state["trainer"])
        return grow_evaluation_hosts(task, config, LEARNED, trainer.learned)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: the order of additions, and so every bit, depends on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Listeners:
    """Who is told what while a run goes on."""

    watcher: Watcher
    sinks: Sequence[Sink]


@dataclass(frozen=True)
class _Record:
    """The file of record, and the sinks beside it."""

    file: JsonlSink
    beside: Sink

    def __call__(self, event: Event) -> None:
        """Write one event to the file, which may stop the run, and show it to the others, which may not."""
        self.file(event)
        self.beside(event)


@contextmanager
def _recording(run: RunFolder, listeners: _Listeners) -> Iterator[_Record]:
    """Open the file of record as it stands, and show it to the sinks that keep a view of it."""
    with (
        JsonlSink(run.events) as file,
        showing(listeners.sinks, history=lambda: read(run.events), on_failure=listeners.watcher.on_notice) as beside,
    ):
        yield _Record(file, beside)


@contextmanager
def _locked_run(folder: Path) -> Iterator[None]:
    """Lock a folder that must hold a run."""
    RunFolder(folder).require()
    with locked(folder):
        yield


def _begin(run: RunFolder, task: Task, config: TrainConfig, listeners: _Listeners) -> Comparison:
    """Run from the beginning in a folder that has a configuration and no checkpoint yet."""
    if run.events.exists():
        cut(run.events, 0)
    with (
        one_thread(),
        _recording(run, listeners) as record,
        closing(Trainer(task, config, on_event=record)) as trainer,
    ):
        plain = json.dumps(to_plain(config))
        record(
            RunStarted(
                task=config.task,
                seed=config.seed,
                config=plain,
                code_version=version("accredit"),
                torch_version=torch.__version__,
            )
        )
        return _Run(run, task, trainer, record, listeners.watcher).go_on(is_warm=False)


def _load(folder: Path, watcher: Watcher) -> tuple[RunFolder, TrainConfig, dict[str, Any] | None]:
    """Return folder, configuration and the last good state; None where the run was killed before its first one."""
    run = RunFolder(folder)
    run.require()
    config = from_plain(TrainConfig, read_json(run.config))
    if _has_just_begun(run):
        return run, config, None
    state, _ = checkpoint.load_latest(run.checkpoints, on_damaged=watcher.on_notice)
    saved = cast("dict[str, Any]", state["config"])
    differing = [
        line for line in differing_fields(saved, to_plain(config)) if line.split(":")[0] not in MAY_CHANGE_ON_RESUME
    ]
    if differing:
        raise StateMismatch(
            f"`{run.config}` differs from the checkpoint in {'; '.join(differing)}, wanted the same configuration "
            f"(only {', '.join(MAY_CHANGE_ON_RESUME)} may change); restore these fields, or begin a new run."
        )
    return run, config, state


def _has_just_begun(run: RunFolder) -> bool:
    """Tell whether a run was killed before its first checkpoint; one that has learned must have had one."""
    if any(not path.name.startswith(".") for path in run.checkpoints.glob("*")):
        return False
    return not run.events.exists() or next(read(run.events, kinds=(UpdateCompleted,)), None) is None


def _task_of(config: TrainConfig, task: Task | None) -> Task:
    """Return the task of a run, with its data read, so that files that are wrong are told before a folder is made."""
    if task is None:
        task = find_task(config.task, data=config.data)
    elif task.name != config.task:
        raise InvalidArgument(
            f"`task` is {task.name!r}, but the configuration names {config.task!r}; pass TrainConfig with task="
            f"{task.name!r}."
        )
    _ = task.splits
    return task


def _continue(
    run: RunFolder, task: Task, config: TrainConfig, state: dict[str, Any], listeners: _Listeners
) -> Comparison:
    cut(run.events, state["events"])
    with (
        one_thread(),
        _recording(run, listeners) as record,
        closing(Trainer(task, config, on_event=record)) as trainer,
    ):
        trainer.load_state_dict(state["trainer"])
        return _Run(run, task, trainer, record, listeners.watcher).go_on(is_warm=True)


@dataclass
class _Run:
    """A run that is going on."""

    folder: RunFolder
    task: Task
    trainer: Trainer
    record: _Record
    watcher: Watcher

    def go_on(self, *, is_warm: bool) -> Comparison:
        """Bring the run to its end from wherever it stands."""
        config, on_progress = self.trainer.config, self.watcher.on_progress
        if not is_warm:
            on_progress(Phase.WARMING_UP, 0, 1)
            self.trainer.warm_up()
            self._save()
        on_progress(Phase.TRAINING, self.trainer.update, config.updates)
        while self.trainer.update < config.updates:
            self.trainer.learn()
            update = self.trainer.update
            stops = self.watcher.should_stop()
            if stops or update % config.checkpoint_every == 0 or update == config.updates:
                self._save()
            on_progress(Phase.TRAINING, update, config.updates)
            if stops:
                raise Stopped
        comparison = compare(
            self.task,
            config,
            self.trainer.learned,
            on_event=self.record,
            progress=self._compared,
        )
        self.record(RunCompleted(updates=self.trainer.update))
        write_json(self.folder.evaluation, comparison.to_dict())
        return comparison

    def _compared(self, done: int, planned: int) -> None:
        self.watcher.on_progress(Phase.COMPARING, done, planned)
        if self.watcher.should_stop():
            raise Stopped

    def _save(self) -> None:
        config = self.trainer.config
        state = {
            "trainer": self.trainer.state_dict(),
            "events": self.record.file.position(),
            "config": to_plain(config),
            "code_version": version("accredit"),
        }
        checkpoint.save(self.folder.checkpoints, state, step=self.trainer.update, keep=config.checkpoints_kept)
