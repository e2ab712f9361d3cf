"""An executor of several processes on this machine, which may die.

Every process has a thread here that hands it one task after the other and waits. Where the process ends before it
answers, that thread starts another one and repeats the task, so that a death costs what it had begun and nothing else.
`concurrent.futures.ProcessPoolExecutor` would give up every task of every process instead.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, ParamSpec, TypeVar

from accredit.errors import EvaluationError
from accredit.models.remote import Parcel, TorchSettings, hold, let_go, ways_used

_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads, and torch has some, may hang
_LOOK_S = 1.0  # a death that no closed pipe tells of is seen after so long: a grandchild may hold the pipe open

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """A call on its way to a process."""

    call: bytes
    """Function and arguments, pickled."""
    parcel: Parcel | None
    """What the process must hold; the one that was sent last when the task was submitted."""
    future: Future[Any] = field(default_factory=Future)


class _ProcessEnded(Exception):
    """The process at the other end is gone."""


class WorkerProcesses(Executor):
    """An executor whose processes may die: what they had begun is repeated by new ones.

    Args:
        n_workers: processes, each evaluating one call at a time.
        settings: threads of each process, and what else decides how results round.
        retries: how often a task is repeated whose process ended; then its future fails, and others go on.
    """

    def __init__(self, n_workers: int, *, settings: TorchSettings, retries: int) -> None:
        self.retries, self.settings = retries, settings
        self.parcel: Parcel | None = None
        self.ways: dict[str, None] = {}
        """How the processes said that they evaluated, in the order in which it was heard."""
        self.tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.closed = self.killed = False
        self.seats = [_Seat(self) for _ in range(n_workers)]
        # processes are joined by multiprocessing when the program ends; these would wait for tasks for ever
        atexit.register(self.kill)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call `fn` in one of the processes; function, arguments and result are pickled."""
        task = _Task(call=pickle.dumps((fn, args, kwargs)), parcel=self.parcel)
        with self.lock:
            if self.closed:
                raise RuntimeError("`submit` got a task after shutdown, wanted it before; make new workers.")
            self.tasks.put(task)
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes when everything submitted is done, or cancelled."""
        with self.lock:
            if not self.closed:
                self.closed = True
                for _ in self.seats:
                    self.tasks.put(None)
        if cancel_futures:
            self._cancel()
        if wait:
            for seat in self.seats:
                seat.thread.join()
        atexit.unregister(self.kill)

    def kill(self) -> None:
        """End the processes at once; calls that were under way fail."""
        with self.lock:
            self.killed = True
            for seat in self.seats:
                seat.kill()
        self.shutdown(wait=True, cancel_futures=True)

    def pids(self) -> list[int]:
        """Process ids of the processes that run."""
        with self.lock:
            return [pid for seat in self.seats if seat.process is not None and (pid := seat.process.pid) is not None]

    def _cancel(self) -> None:
        """Cancel what no process has begun."""
        kept = 0
        while True:
            try:
                task = self.tasks.get_nowait()
            except queue.Empty:
                break
            if task is None:
                kept += 1
            else:
                task.future.cancel()
        for _ in range(kept):
            self.tasks.put(None)


class _Seat:
    """The place of one process: a thread, and whichever process serves it now."""

    def __init__(self, executor: WorkerProcesses) -> None:
        self.executor = executor
        self.process: SpawnProcess | None = None
        self.connection: Connection[Any, Any] | None = None
        self.held = ""
        self.thread = threading.Thread(target=self.run, name="accredit worker", daemon=True)
        self.thread.start()

    def run(self) -> None:
        """Start a process, and hand it task after task."""
        if sys.platform != "win32":
            # processes inherit it: Ctrl-C is for this process alone, which then decides about the others
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self.begin()
        while (task := self.executor.tasks.get()) is not None:
            if task.future.set_running_or_notify_cancel():
                self.finish(task)
        self.end()

    def begin(self) -> None:
        """Start a process that holds nothing yet."""
        here, there = _SPAWN.Pipe()
        process = _SPAWN.Process(target=serve, args=(there, self.executor.settings), name="accredit worker")
        # no room for another process counts as one that ended at once
        with self.executor.lock, suppress(OSError):
            if not self.executor.killed:
                process.start()
                self.process, self.connection, self.held = process, here, ""
        there.close()

    def finish(self, task: _Task) -> None:
        """Have a task done, by as many processes as it takes."""
        status: int | None = None
        for _ in range(self.executor.retries + 1):
            try:
                done, result = self.answer(task)
            except _ProcessEnded:
                status = self.end(grace_s=_LOOK_S)
                self.begin()
            except Exception as error:  # an answer that cannot be read: foreign code, whose failure the caller records
                task.future.set_exception(error)
                return
            else:
                task.future.set_result(result) if done else task.future.set_exception(result)
                return
        task.future.set_exception(self.loss(status))

    def answer(self, task: _Task) -> tuple[bool, Any]:
        """Whether a task succeeded, and its result or error.

        Raises:
            _ProcessEnded: there is no process, or it ended before it answered.
        """
        if self.connection is None:
            raise _ProcessEnded
        try:
            if task.parcel is not None and task.parcel.key != self.held:
                self.connection.send_bytes(task.parcel.key.encode())
                self.connection.send_bytes(task.parcel.content)
                self.held = task.parcel.key
            self.connection.send_bytes(b"")
            self.connection.send_bytes(task.call)
            answer = self.received()
        except (EOFError, OSError) as error:
            raise _ProcessEnded from error
        done, result, ways = pickle.loads(answer)
        self.executor.ways.update(dict.fromkeys(ways))
        return done, result

    def received(self) -> bytes:
        """What the process sends next."""
        assert self.connection is not None
        assert self.process is not None
        while not wait([self.connection, self.process.sentinel], _LOOK_S):
            if self.process.exitcode is not None:
                break
        if not self.connection.poll():
            raise EOFError
        return self.connection.recv_bytes()

    def loss(self, status: int | None) -> EvaluationError:
        """What is said of a task whose processes ended."""
        if self.executor.killed:
            return EvaluationError("`executor` was closed while a task was under way, wanted its end; submit it again.")
        return EvaluationError(
            f"`executor` lost {self.executor.retries + 1} processes one after the other over one task "
            f"({ended_how(status)}), wanted one that finishes it; see what the workers wrote, use smaller batches or "
            "fewer workers where memory ran out, or raise `retries`."
        )

    def kill(self) -> None:
        """End the process at once."""
        if self.process is not None:
            self.process.kill()

    def end(self, *, grace_s: float = 0.0) -> int | None:
        """End the process, unless it ends by itself; its exit status, negative: the signal that ended it."""
        process, connection = self.process, self.connection
        with self.executor.lock:
            self.process = self.connection = None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        process.join(grace_s)
        process.kill()
        process.join()
        status = process.exitcode
        process.close()
        return status


def ended_how(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "the last one never began"
    return f"the last one by {signal.Signals(-status).name}" if status < 0 else f"the last one with exit code {status}"


def serve(connection: Connection[Any, Any], settings: TorchSettings) -> None:
    """What a process does: hold parcels and answer calls, until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    settings.apply()
    last = ""
    try:
        while True:
            key, body = connection.recv_bytes().decode(), connection.recv_bytes()
            if key:
                let_go(last)  # the model of another time
                hold(Parcel(key=key, content=body))
                last = key
            else:
                connection.send_bytes(_answer(body, last))
    except (EOFError, OSError):
        return


def _answer(call: bytes, key: str) -> bytes:
    """Whether a call succeeded, its result or error, and how coalitions were evaluated so far; pickled."""
    try:
        function, args, kwargs = pickle.loads(call)
        return pickle.dumps((True, function(*args, **kwargs), ways_used(key)))
    except Exception as error:
        try:
            return pickle.dumps((False, error, ways_used(key)))
        except Exception:
            return pickle.dumps((False, EvaluationError(f"{type(error).__name__}: {error}"), ways_used(key)))


def _leave_with_parent() -> None:
    """End this process when its parent has ended, however that came about; nobody waits for the answer any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
