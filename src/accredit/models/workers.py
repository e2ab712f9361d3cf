"""A model evaluated by several processes of this machine."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from accredit.errors import InvalidArgument
from accredit.models.processes import WorkerProcesses
from accredit.models.remote import Parcel, RemoteValue, TorchSettings
from accredit.models.value import ModelValue


class ProcessWorkers:
    """Processes of this machine that evaluate one model: its face to the engine, and the executor to go with it.

    The model travels once to every process, and again only where it is another one when `compute_matrix` is called. A
    process that dies costs the call that it had begun. The matrix is that of evaluation in one process, row for row,
    and bit for bit where that uses as many threads; see `docs/scaling.md`.

    In a script it belongs below `if __name__ == "__main__":`, for the processes import the script.

    Args:
        value: model, batches and metrics; all of it picklable. `progress` is not called by the processes.
        n_workers: processes, at least 1.
        threads: threads of torch in each process; default: the cores of this machine shared out. Sums may round
            differently with another number.
        retries: how often a call is repeated whose process died, at least 0.

    Raises:
        InvalidArgument: a number below its least, or a part of the value that cannot be pickled.

    Example:
        >>> from accredit.attribution.engine import CounterfactualEngine  # doctest: +SKIP
        >>> with ProcessWorkers(value, n_workers=2) as workers:  # doctest: +SKIP
        ...     engine.compute_matrix(players, workers.value, executor=workers.executor)
    """

    def __init__(self, value: ModelValue, n_workers: int, *, threads: int | None = None, retries: int = 3) -> None:
        threads = max(1, (os.cpu_count() or 1) // max(1, n_workers)) if threads is None else threads
        for name, number, least in (("n_workers", n_workers, 1), ("threads", threads, 1), ("retries", retries, 0)):
            if number < least:
                raise InvalidArgument(f"`{name}` is {number}, wanted at least {least}; pass a larger number.")
        self.value = RemoteValue(value, n_workers=lambda: n_workers, send=self._send, report=self._ways)
        self.executor = WorkerProcesses(n_workers, settings=TorchSettings.now(n_threads=threads), retries=retries)

    def __enter__(self) -> Self:
        """Use the workers."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the processes; where something went wrong, Ctrl-C for one, without waiting for what they do."""
        if kind is None:
            self.executor.shutdown()
        else:
            self.executor.kill()

    def _send(self, parcel: Parcel) -> None:
        """Each process gets it with its next task."""
        self.executor.parcel = parcel

    def _ways(self, key: str) -> list[str]:  # noqa: ARG002 - processes hold one model at a time
        """How the processes evaluated so far."""
        return list(self.executor.ways)
