"""One process at a time writes the file of a matrix, and readers can tell."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, CounterfactualMatrix
from accredit.attribution.games import player_names, random_unanimity
from accredit.attribution.storage import count_rows, create, publish, read, reopen
from accredit.attribution.writing import is_being_written
from accredit.errors import RunFolderError

GAME, NAMES = random_unanimity(4, n_groups=6, seed=1), player_names(4)
CONFIG = CounterfactualConfig(coalitions_per_call=4)
WRITER = """
import pathlib, time
from accredit.attribution import CounterfactualConfig, CounterfactualEngine
from accredit.attribution.games import player_names, random_unanimity
folder = pathlib.Path({folder!r})
game = random_unanimity(4, n_groups=6, seed=1)
calls = []
def value(masks):
    calls.append(len(masks))
    while len(calls) == 3 and not (folder / "go").exists():
        (folder / "waiting").touch()
        time.sleep(0.01)
    return game(masks)
CounterfactualEngine(CounterfactualConfig(coalitions_per_call=4)).compute_matrix(
    player_names(4), value, path=folder / "m"
)
"""


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that has evaluated a part and waits for the file `go`."""
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER.format(folder=str(tmp_path)))])
    until(lambda: (tmp_path / "waiting").exists() or process.poll() is not None)
    yield process
    process.kill()
    process.wait()


def compute(path: Path) -> CounterfactualMatrix:
    return CounterfactualEngine(CONFIG).compute_matrix(NAMES, GAME, path=path)


def test_a_second_process_is_kept_out_and_the_first_one_loses_nothing(writer: subprocess.Popen, tmp_path: Path):
    """[R11] Two writers would cut each other's rows."""
    path = tmp_path / "m"
    assert is_being_written(path)
    with pytest.raises(RunFolderError) as error:
        compute(path)
    assert str(error.value) == (
        f"`path` is {path}, which another process is writing, wanted a matrix that no living process writes; wait for "
        "it to end, stop it by Ctrl-C (SIGINT), or name another place."
    )
    (tmp_path / "go").touch()
    assert writer.wait(60) == 0
    assert not is_being_written(path)
    assert torch.equal(compute(path).values("value"), compute(tmp_path / "other").values("value"))


def test_a_killed_process_holds_nobody_up(writer: subprocess.Popen, tmp_path: Path):
    """[R11]"""
    writer.kill()
    writer.wait()
    assert not is_being_written(tmp_path / "m")
    assert compute(tmp_path / "m").cost.n_evaluations == 16


def test_reading_while_another_process_writes_is_allowed(writer: subprocess.Popen, tmp_path: Path):
    matrix = CounterfactualMatrix.load(tmp_path / "m", recover=True)
    assert 0 < matrix.cost.n_evaluations < 16
    assert writer.poll() is None


def test_what_was_written_between_reading_and_appending_is_not_cut_off(tmp_path: Path):
    """[R11] Preparing a value function may take long, and another command may end meanwhile."""
    path = tmp_path / "m"
    compute(path)
    stored = read(path, recover=True)
    compute(path)
    with pytest.raises(RunFolderError) as error:
        reopen(path, stored)
    assert str(error.value) == (
        f"`path` is {path}, which another process has written since it was read, wanted it as it was; run the same "
        "command again, which goes on from all of it."
    )
    assert CounterfactualMatrix.load(path).cost.n_evaluations == 16


def test_a_matrix_that_appears_while_one_is_begun_stays(tmp_path: Path):
    """[R11]"""
    path = tmp_path / "m"
    begun = {"strategy": "shapley", "reason": "", "numerics": "", "estimators": (None, None)}
    journal = create(path, players=NAMES, config=CONFIG, **begun)
    path.write_bytes(b"another")
    with pytest.raises(RunFolderError, match="which another process is writing"):
        publish(path, replaces=False)
    journal.close()
    assert path.read_bytes() == b"another"
    assert [each.name for each in tmp_path.iterdir()] == ["m"]


def test_saving_replaces_what_was_there(tmp_path: Path):
    first, other = compute(tmp_path / "m"), compute(tmp_path / "n")
    other.save(tmp_path / "m")
    assert torch.equal(CounterfactualMatrix.load(tmp_path / "m").masks, first.masks)


def test_nobody_writes_what_is_not_there(tmp_path: Path):
    assert not is_being_written(tmp_path / "none")
    (tmp_path / "m").write_bytes(b"")
    assert not is_being_written(tmp_path / "m")


def test_coalitions_of_a_growing_file_are_counted_without_reading_it(writer: subprocess.Popen, tmp_path: Path):
    path = tmp_path / "m"
    assert count_rows(path) == CounterfactualMatrix.load(path, recover=True).cost.n_evaluations > 0
    (tmp_path / "go").touch()
    assert writer.wait(60) == 0
    assert count_rows(path) == 16
    data = path.read_bytes()
    for broken, counted in ((data[:-1], 16), (data[:-200], None), (b"", 0), (b"PK\x03\x04" * 100, 0), (data[:40], 0)):
        path.write_bytes(broken)
        count = count_rows(path)
        assert count == counted if counted is not None else 0 <= count <= 16
