"""A model evaluated by a Dask cluster: the same matrix, also where every worker is replaced."""

import builtins
import importlib
import os
import pickle
import signal
import sys
from pathlib import Path

import pytest
import torch

from accredit.errors import InvalidArgument, MissingExtra

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from distributed import Client, LocalCluster
from worker_toys import computed, lines, model_value, noted, remotely, same_matrix

from accredit.integrations.dask import DaskWorkers, ModelPlugin


@pytest.fixture(autouse=True)
def as_many_threads_here_as_there():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def near(tmp_path):
    """A client of a scheduler and two workers that are threads of this process."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            dashboard_address=None,
            host="127.0.0.1",
            local_directory=str(tmp_path),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_a_cluster_gives_the_matrix_of_one_process_and_gives_the_model_back(near):
    """[R10] The same matrix whatever the number of workers."""
    value = model_value()
    alone = computed(model_value())
    with DaskWorkers(value, near, threads=1) as workers:
        assert same_matrix(remotely(value, workers), alone)
        assert same_matrix(remotely(value, workers), alone)
        call = pickle.dumps(workers.value)
        assert len(call) < 300
        assert workers.value.mechanism() != ""
    masks = torch.ones(1, 5, dtype=torch.bool)
    with pytest.raises(Exception, match="but this process holds"):
        pickle.loads(call)(masks)
    assert near.status == "running"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"threads": 0}, r"`threads` is 0, wanted at least 1"), ({"retries": -1}, r"`retries` is -1, wanted at least 0")],
)
def test_numbers_below_their_least_are_refused(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        DaskWorkers(model_value(), "tcp://127.0.0.1:1", **arguments)


def test_what_cannot_be_pickled_is_refused_before_a_scheduler_is_asked():
    with pytest.raises(InvalidArgument, match="`target` cannot be sent to workers"):
        DaskWorkers(model_value(target=lambda batch: batch[1]), "tcp://127.0.0.1:1")


def test_a_missing_extra_is_named(monkeypatch):
    imported = builtins.__import__

    def without_distributed(name, *args, **kwargs):
        if name.startswith("distributed"):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_distributed)
    module = sys.modules.pop("accredit.integrations.dask")
    try:
        with pytest.raises(
            MissingExtra, match=r"needs the package distributed.*`dask`: pip install 'accredit\[dask\]'"
        ):
            importlib.import_module("accredit.integrations.dask")
    finally:
        sys.modules["accredit.integrations.dask"] = module
    assert ModelPlugin is module.ModelPlugin


@pytest.mark.long
def test_where_all_workers_of_a_cluster_are_killed_and_replaced_the_matrix_is_the_same(tmp_path):
    """[R10] The same matrix whatever happens to workers."""
    watched = tmp_path / "passes"
    watched.mkdir()
    value = model_value(noted(watched), n_players=7)
    killed = []

    def kill_all(done, planned):
        if not killed:
            for pid in client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            host="127.0.0.1",
            local_directory=str(tmp_path / "dask"),
        ) as cluster,
        Client(cluster) as client,
        DaskWorkers(value, cluster.scheduler_address) as workers,
    ):
        together = remotely(value, workers, progress=kill_all)
    assert len(killed) == 2
    assert len(lines(watched, "passes")) > 2
    assert same_matrix(together, computed(model_value(noted(watched), n_players=7)))
