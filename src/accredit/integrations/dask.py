"""A model evaluated by the workers of a Dask cluster, on one machine or on many.

The model is brought by a worker plugin: the scheduler hands it to every worker, also to one that comes later in place
of another. Data that is scattered instead would die with the worker that holds it.

Dask unpickles what its peers send, which can run any code: a cluster belongs on a network that is trusted, or behind
TLS. Needs the extra `dask`.
"""

from __future__ import annotations

import uuid
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, Self

from accredit.errors import InvalidArgument, MissingExtra
from accredit.models.remote import Parcel, RemoteValue, TorchSettings, hold, let_go, ways_used
from accredit.models.value import ModelValue

try:
    from distributed import Client, WorkerPlugin
except ImportError as error:
    raise MissingExtra(
        "`accredit.integrations.dask` needs the package distributed, which is not installed; install the extra `dask`: "
        "pip install 'accredit[dask]'."
    ) from error


class ModelPlugin(WorkerPlugin):
    """Brings a parcel to every worker that there is or will be.

    Args:
        parcel: the model value.
        settings: what decides how results round.
    """

    def __init__(self, parcel: Parcel, settings: TorchSettings) -> None:
        self.parcel, self.settings = parcel, settings

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Hold the parcel; called in the worker, before its first task."""
        self.settings.apply()
        hold(self.parcel)

    def teardown(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Hold it no longer."""
        let_go(self.parcel.key)


class DaskWorkers:
    """Workers of a Dask cluster that evaluate one model: its face to the engine, and the executor to go with it.

    The model travels once to every worker, and again only where it is another one when `compute_matrix` is called. What
    a worker had begun when it died is repeated by another one, at most as often as the scheduler allows
    (`distributed.scheduler.allowed-failures`, 3 unless configured otherwise). Also where all workers are replaced, the
    matrix is that of evaluation in one process, row for row, and bit for bit where machines and threads are alike.

    Args:
        value: model, batches and metrics; all of it picklable, and importable by the workers. `progress` is not called.
        client: a client of the cluster, or the address of its scheduler, such as "tcp://127.0.0.1:8786".
        threads: threads of torch in each worker; default: as the worker was started, where Dask's nanny says 1.
        retries: how often Dask repeats a call that raised, a broken connection for one, at least 0.

    Raises:
        InvalidArgument: a number below its least, or a part of the value that cannot be pickled.
        OSError: no scheduler at that address.

    Example:
        >>> from accredit.attribution.engine import CounterfactualEngine  # doctest: +SKIP
        >>> with DaskWorkers(value, "tcp://127.0.0.1:8786") as workers:  # doctest: +SKIP
        ...     engine.compute_matrix(players, workers.value, executor=workers.executor)
    """

    def __init__(
        self, value: ModelValue, client: Client | str, *, threads: int | None = None, retries: int = 3
    ) -> None:
        for name, number, least in (("threads", threads, 1), ("retries", retries, 0)):
            if number is not None and number < least:
                raise InvalidArgument(f"`{name}` is {number}, wanted at least {least}; pass a larger number.")
        self.value = RemoteValue(value, n_workers=self._n_workers, send=self._send, report=self._report)
        self.settings = TorchSettings.now(n_threads=threads)
        self._own_client = isinstance(client, str)
        self.client: Client = Client(client) if isinstance(client, str) else client
        # a call is known by a key of its own: Dask would else take one of another model with equal masks for it
        self.executor: Executor = self.client.get_executor(pure=False, retries=retries)
        self._name = f"accredit {uuid.uuid4().hex}"
        self._sent = False
        self._ways: dict[str, None] = {}

    def __enter__(self) -> Self:
        """Use the workers."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the model from the workers; where something went wrong, Ctrl-C for one, without waiting for calls."""
        try:
            self.executor.shutdown(wait=kind is None)
            if self._sent:
                self.client.unregister_worker_plugin(self._name)
        finally:
            if self._own_client:
                self.client.close()

    def _n_workers(self) -> int:
        """How many there are now."""
        return len(self.client.nthreads())

    def _send(self, parcel: Parcel) -> None:
        """Bring the model to all workers, in place of the one before."""
        self.client.register_plugin(ModelPlugin(parcel, self.settings), name=self._name)
        self._sent = True

    def _report(self, key: str) -> list[str]:
        """How the workers that are still there evaluated; what was heard before is kept."""
        try:
            for ways in self.client.run(ways_used, key, on_error="ignore").values():
                self._ways.update(dict.fromkeys(ways))
        except Exception:  # the cluster is foreign, and a finished matrix must not be lost with it
            return list(self._ways)
        return list(self._ways)
