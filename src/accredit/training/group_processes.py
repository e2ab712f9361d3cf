"""Groups of environments in processes of their own, one after the other in each.

A process is asked through a pipe and answers in the order of the questions.  It holds hosts that exist nowhere else:
where it ends, the run goes on from its last checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

import torch

from accredit.errors import InvalidArgument, TrainingFailed
from accredit.models.remote import TorchSettings
from accredit.telemetry.event import Event
from accredit.training.groups import Answer, EpisodeGroup, GroupSettings

_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads, and torch has some, may hang
_GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """What comes back."""

    answer: Any = None
    failure: str = ""
    """The traceback, where it failed."""
    events: tuple[Event, ...] = ()


class GroupProcess:
    """A process with groups in it.

    Args:
        settings: of its groups.
        on_event: gets the events of a group when its answer is waited for; None: nobody listens.

    Raises:
        InvalidArgument: the task cannot be sent to another process.
    """

    def __init__(self, settings: Sequence[GroupSettings], *, on_event: Callable[[Event], None] | None) -> None:
        self._on_event = on_event
        self._names = f"{settings[0].names[0]} to {settings[-1].names[-1]}"
        try:
            content = pickle.dumps((tuple(settings), on_event is not None))
        except Exception as error:
            raise InvalidArgument(
                f"`task` {settings[0].task.name!r} cannot be sent to another process ({error}), wanted functions that "
                "stand at the top of a module; write them there, or pass processes=1."
            ) from error
        self._connection, there = _SPAWN.Pipe()
        # daemonic: it ends with this process, in whatever way that does
        self.process = _SPAWN.Process(
            target=serve, args=(there, TorchSettings.now(n_threads=torch.get_num_threads())), daemon=True
        )
        with _interrupts_blocked():
            self.process.start()
        there.close()
        self._send(content)

    def groups(self, count: int) -> list[GroupThere]:
        """Return the groups to be asked."""
        return [GroupThere(self, at) for at in range(count)]

    def ask(self, at: int, call: Callable[[EpisodeGroup], Answer]) -> None:
        """Have something done to a group."""
        self._send(pickle.dumps((at, call)))

    def answer(self) -> Any:
        """Wait for the next answer, tell its events, and return it.

        Raises:
            TrainingFailed: what was asked for failed, or the process ended.
        """
        try:
            reply = cast("_Reply", pickle.loads(self._connection.recv_bytes()))
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if self._on_event is not None:
            for event in reply.events:
                self._on_event(event)
        if reply.failure:
            failed = TrainingFailed(
                f"`GrowthVectorEnv` has a process of environments {self._names} that failed with "
                f"{reply.failure.strip().splitlines()[-1]}, wanted an answer; see its traceback in the notes of this "
                "error, or pass processes=1 to meet it here."
            )
            failed.add_note(reply.failure)
            raise failed
        return reply.answer

    def close(self) -> None:
        """End the process."""
        self._connection.close()  # to which it ends by itself as soon as it waits for the next question
        self.process.join(_GRACE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _send(self, content: bytes) -> None:
        try:
            self._connection.send_bytes(content)
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> TrainingFailed:
        self.process.join(_GRACE_S)
        status = self.process.exitcode
        how = (
            f"by {signal.Signals(-status).name}" if status is not None and status < 0 else f"with exit status {status}"
        )
        return TrainingFailed(
            f"`GrowthVectorEnv` lost the process of environments {self._names}, which ended {how}, wanted an answer; "
            "its hosts are lost with it: resume the run from its last checkpoint (with fewer `processes` where memory "
            'ran out), and start processes of your own program under `if __name__ == "__main__":`.'
        )


@dataclass(frozen=True)
class GroupThere:
    """A group in another process."""

    process: GroupProcess
    at: int
    """Which of its groups."""

    def ask(self, call: Callable[[EpisodeGroup], Answer]) -> Callable[[], Answer]:
        """Send the question, and return what waits for the answer."""
        self.process.ask(self.at, call)
        return self.process.answer


def serve(connection: Connection[Any, Any], settings: TorchSettings) -> None:
    """What a process does: build its groups and answer questions about them, until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, which then decides about all
    settings.apply()
    events: list[Event] = []
    groups: list[EpisodeGroup] | None = None
    with suppress(EOFError, OSError):
        content = connection.recv_bytes()
        while True:
            at, call = pickle.loads(connection.recv_bytes())
            try:
                groups = groups or _built(content, events)
                reply = _Reply(answer=call(groups[at]), events=tuple(events))
            except Exception:
                reply = _Reply(failure=traceback.format_exc(), events=tuple(events))
            events.clear()
            connection.send_bytes(pickle.dumps(reply))
    os._exit(0)  # taking down an interpreter with torch in it costs seconds, and there is nothing left to save


def _built(content: bytes, events: list[Event]) -> list[EpisodeGroup]:
    settings, is_heard = pickle.loads(content)
    return [EpisodeGroup(each, on_event=events.append if is_heard else None) for each in settings]


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started: they inherit what is blocked."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
