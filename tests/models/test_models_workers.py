"""Processes that evaluate one model: the same matrix, whatever happens to them."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from worker_toys import (
    Watched,
    computed,
    lines,
    model_value,
    network,
    noted,
    remotely,
    same_matrix,
)

from accredit.errors import EvaluationError, InvalidArgument
from accredit.models.processes import WorkerProcesses, ended_how
from accredit.models.remote import TorchSettings
from accredit.models.workers import ProcessWorkers

N_BATCHES = 3


@pytest.fixture(autouse=True)
def as_many_threads_here_as_there():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, limit_s=30.0):
    """Whether all of them end within a time."""
    limit = time.monotonic() + limit_s
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.05)
    return not any(map(alive, pids))


def watched_network(folder):
    """A network whose first layer notes where it is unpickled."""
    model = network()
    layer = Watched(folder)
    layer.load_state_dict(model[0].state_dict())
    model[0] = layer
    return model.eval()


def test_a_killed_process_costs_its_call_and_the_matrix_is_that_of_one_process(tmp_path):
    """[R10] The same values whatever the number of workers; [R11] a worker that dies loses no finished evaluation."""
    alone = computed(model_value(noted(tmp_path)))
    folder = tmp_path / "together"
    folder.mkdir()
    value = model_value(noted(folder, at=10, times=1), model=watched_network(folder))
    with ProcessWorkers(value, 2, threads=1) as workers:
        together = remotely(value, workers)
        again = remotely(value, workers)
        pids = workers.executor.pids()
        assert len(pids) == 2
    assert same_matrix(together, alone)
    assert same_matrix(again, alone)
    assert gone(pids)
    # the process that was killed had begun 9 passes, of which those of its last call were done once more
    passes = sum(lines(folder, "passes")) - 2 * N_BATCHES * 2**5
    assert 0 <= passes <= 9
    assert (folder / "killed-0").exists()
    # the model was opened once by each process that evaluated, and never travelled with a call
    opened = lines(folder, "opened")
    assert set(opened) == {1}
    assert 2 <= len(opened) <= 3


@pytest.mark.long
def test_a_call_whose_processes_die_fails_and_what_is_finished_stays(tmp_path):
    """[R11] What failed is named, and the matrix so far can be continued."""
    value = model_value(noted(tmp_path, at=40, times=2), n_players=4)
    wanted = (
        r"`executor` lost 2 processes one after the other over one task \(the last one by SIGKILL\), wanted one that"
    )
    with (
        ProcessWorkers(value, 1, threads=1, retries=1) as workers,
        pytest.raises(EvaluationError, match=wanted) as caught,
    ):
        remotely(value, workers)
    matrix = caught.value.matrix
    assert 2 <= matrix.cost.n_evaluations < 2**4
    assert matrix.masks.sum(dim=1).tolist()[:2] == [0, 4]
    assert matrix.failures
    finished, alone = computed(value, matrix=matrix), computed(model_value(noted(tmp_path), n_players=4))
    for name in ("loss", "sum"):
        values = [
            dict(zip(map(tuple, m.masks.tolist()), m.values(name).tolist(), strict=True)) for m in (finished, alone)
        ]
        assert values[0] == values[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_workers": 0}, r"`n_workers` is 0, wanted at least 1; pass a larger number\."),
        ({"n_workers": 1, "threads": 0}, r"`threads` is 0, wanted at least 1"),
        ({"n_workers": 1, "retries": -1}, r"`retries` is -1, wanted at least 0"),
    ],
)
def test_numbers_below_their_least_are_refused(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        ProcessWorkers(model_value(), **arguments)


def test_what_cannot_be_pickled_is_refused_before_a_process_starts():
    with pytest.raises(InvalidArgument, match="`target` cannot be sent to workers"):
        ProcessWorkers(model_value(target=lambda batch: batch[1]), 1)


def test_nothing_is_taken_after_shutdown_and_what_waited_can_be_cancelled():
    executor = WorkerProcesses(1, settings=TorchSettings.now(n_threads=1), retries=0)
    slow, waiting = executor.submit(time.sleep, 60), executor.submit(time.sleep, 0)
    while not slow.running():
        time.sleep(0.01)
    executor.kill()
    assert waiting.cancelled()
    with pytest.raises(
        EvaluationError, match=r"`executor` was closed while a task was under way, wanted its end; submit"
    ):
        slow.result()
    with pytest.raises(RuntimeError, match="`submit` got a task after shutdown, wanted it before; make new workers"):
        executor.submit(time.sleep, 0)


def test_an_end_is_told_in_words():
    assert ended_how(None) == "the last one never began"
    assert ended_how(-9) == "the last one by SIGKILL"
    assert ended_how(3) == "the last one with exit code 3"


def test_threads_take_a_plain_model_value():
    value = model_value()
    with ThreadPoolExecutor(3) as pool:
        assert same_matrix(computed(value, executor=pool), computed(model_value()))


@pytest.mark.long
def test_a_pool_of_processes_takes_a_plain_model_value():
    value = model_value()
    with ProcessPoolExecutor(
        2, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        assert same_matrix(computed(value, executor=pool), computed(model_value()))


@pytest.mark.long
@pytest.mark.parametrize("n_workers", [1, 3])
def test_processes_that_are_killed_from_outside_are_replaced(n_workers):
    """[R10] The same matrix whatever happens to workers."""
    value = model_value(n_players=7)
    killed = []

    def kill_all(done, planned):
        if len(killed) < 2 * n_workers:
            for pid in workers.executor.pids():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with ProcessWorkers(value, n_workers, threads=1, retries=5) as workers:
        matrix = remotely(value, workers, progress=kill_all)
    assert len(killed) >= n_workers
    assert same_matrix(matrix, computed(model_value(n_players=7)))


PROGRAM = """
    import sys, time
    sys.path.insert(0, {toys!r})
    from worker_toys import batches, model_value, noted, remotely
    from accredit.models.workers import ProcessWorkers

    if __name__ == "__main__":
        value = model_value(noted({folder!r}), n_players=10, batches=batches() * 200)
        with ProcessWorkers(value, 2, threads=1) as workers:
            print(*workers.executor.pids(), flush=True)
            remotely(value, workers, progress=lambda done, planned: None)
"""


@pytest.mark.long
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_process_outlives_a_program_that_is_interrupted_or_killed(number, status, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM.format(toys=str(Path(__file__).parent), folder=str(tmp_path))))
    program = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while not lines(tmp_path, "passes"):
            assert program.poll() is None, program.stderr.read()
            time.sleep(0.05)
        children = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/stat")
            if alive(path.parent.name) and path.read_text().rpartition(")")[2].split()[1] == str(program.pid)
        ]
        assert len(children) >= 2
        if number is signal.SIGINT:
            os.killpg(program.pid, number)  # as the terminal does: every process of the group gets it
        else:
            program.send_signal(number)
        assert gone([program.pid, *children])
        errors = program.communicate(timeout=30)[1]
    finally:
        program.kill()
    assert program.returncode == status
    assert ("EvaluationInterrupted: `compute_matrix` got an interrupt after" in errors) == (number is signal.SIGINT)
    assert "SpawnProcess" not in errors  # the program tells of the interrupt, workers say nothing
