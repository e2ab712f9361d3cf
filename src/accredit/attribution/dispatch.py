"""Handing coalitions to a value function: in this thread, or through any `concurrent.futures.Executor`.

Both give results in the order of the masks, so that neither the executor nor the number of its workers can change a
matrix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass
from typing import Protocol

from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.evaluation import CallResult, ValueFunction, call, calls_of, failed_call
from accredit.attribution.output import Output
from accredit.attribution.prepared import PreparedEvaluation, cut, ordered_calls
from accredit.attribution.protocols import MaskArray

_IN_FLIGHT = 64  # calls handed to an executor at once: enough for any machine, few enough to stop soon


@dataclass(frozen=True, kw_only=True)
class Task:
    """One call of the value function; picklable where the value function is, so that a process can take it."""

    value_function: ValueFunction
    players: tuple[str, ...]
    outputs: tuple[Output, ...]

    def __call__(self, masks: MaskArray) -> CallResult:
        """Evaluate masks [M, N]."""
        return call(self.value_function, masks, players=self.players, outputs=self.outputs)


class Dispatch(Protocol):
    """Coalitions on their way to a value function."""

    def next(self, most: int) -> CallResult | None:
        """The next result, over at most `most` coalitions where that can still be chosen; None when all are done."""
        ...

    def stop(self, *, wait: bool) -> Iterator[CallResult]:
        """Begin nothing more; results of calls that had begun, waiting for them where asked to."""
        ...


class InTurn:
    """Call by call in this thread."""

    def __init__(self, task: Task, chunks: Iterable[MaskArray]) -> None:
        """Begin at the first of the chunks, masks [m, N] that may go together; each is asked for when it is needed."""
        self.task, self.chunks = task, iter(chunks)
        self.chunk: MaskArray | None = None

    def next(self, most: int) -> CallResult | None:
        """Call the value function on the next coalitions."""
        if self.chunk is None:
            self.chunk = next(self.chunks, None)
        if self.chunk is None:
            return None
        result = self.task(self.chunk[:most])
        self.chunk = self.chunk[most:] if len(self.chunk) > most else None
        return result

    def stop(self, *, wait: bool) -> Iterator[CallResult]:  # noqa: ARG002 - the protocol's: nothing runs between calls
        """Nothing is ever under way between two calls."""
        self.chunks, self.chunk = iter(()), None
        return iter(())


class InFlight:
    """Calls under way in an executor, the oldest first."""

    def __init__(self, task: Task, chunks: Iterable[MaskArray], *, executor: Executor) -> None:
        """Begin at the first of the chunks, masks [m, N] of one call each; none is handed over yet."""
        self.task, self.executor, self.chunks = task, executor, iter(chunks)
        self.waiting: deque[tuple[MaskArray, Future[CallResult]]] = deque()

    def next(self, most: int) -> CallResult | None:  # noqa: ARG002 - the protocol's; the cuts were made at the start
        """Keep the executor busy and wait for the oldest call."""
        while len(self.waiting) < _IN_FLIGHT and (chunk := next(self.chunks, None)) is not None:
            self.waiting.append((chunk, self.executor.submit(self.task, chunk)))
        if not self.waiting:
            return None
        result = self._result(*self.waiting[0])  # it stays in the queue until it is here: an interrupt must not lose it
        self.waiting.popleft()
        return result

    def stop(self, *, wait: bool) -> Iterator[CallResult]:
        """Cancel what has not begun; results of the rest, where asked to wait also of calls that still run.

        A call leaves the queue only with its result, so that an interrupt while waiting can ask again for what is done.
        """
        self.chunks = iter(())
        self.waiting = deque((chunk, future) for chunk, future in self.waiting if not future.cancel())
        while self.waiting:
            chunk, future = self.waiting[0]
            result = None
            if wait or future.done():
                try:
                    result = self._result(chunk, future)
                except KeyboardInterrupt:
                    if not future.done():
                        raise
                    # Ctrl-C reached the worker and ended its call: there is no result that could be lost
            self.waiting.popleft()
            if result is not None:
                yield result

    def _result(self, chunk: MaskArray, future: Future[CallResult]) -> CallResult:
        """What a call came to; a worker that died or could not be reached is a failure of its coalitions."""
        try:
            return future.result()
        except (Exception, CancelledError) as error:
            message = f"{type(error).__name__}: {error}"
            return failed_call(chunk, message, players=self.task.players, n_outputs=len(self.task.outputs), cause=error)


def dispatch(
    task: Task, masks: MaskArray, *, config: CounterfactualConfig, n_first: int, executor: Executor | None
) -> Dispatch:
    """Calls for the masks [M, N] of a round, in this thread or in the executor; their order is that of the rows.

    Args:
        task: what a call does.
        masks: what is missing of the round.
        config: for the most coalitions in a call.
        n_first: how many of the first masks, which are none and all, are to be evaluated before the others.
        executor: None for this thread.
    """
    most = calls_of(task.value_function, config.coalitions_per_call)
    chunks: Iterable[MaskArray] = cut(masks, most)
    # under a timeout any call may be the last one, and what is evaluated then must be a prefix of the design
    if isinstance(task.value_function, PreparedEvaluation) and config.timeout_s is None:
        chunks = ordered_calls(task.value_function, masks, n_first=n_first, most=most)
    return InTurn(task, chunks) if executor is None else InFlight(task, chunks, executor=executor)
