"""Saving and loading checkpoints when nothing goes wrong, and refusing what cannot be saved."""

import math
import random
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.checkpoint import load_latest, save
from accredit.errors import InvalidArgument, RunFolderError

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(-(2**40), 2**40), inner, max_size=4)
    ),
    max_leaves=20,
)


def fail(sentence: str) -> None:
    raise AssertionError(sentence)


def there_and_back(folder: Path, state: dict[str, object]) -> dict[str, object]:
    save(folder, state, step=0)
    return load_latest(folder, on_damaged=fail)[0]


def kinds(value: object) -> object:
    """The types of a nested value, which `==` does not tell apart (1 == True == 1.0)."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [kinds(item) for item in value]
    return type(value)


@settings(deadline=None, max_examples=60)
@given(state=st.dictionaries(st.text(), plain, max_size=4))
def test_plain_values_come_back_equal_and_of_the_same_type(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, object]
):
    """[R29]"""
    loaded = there_and_back(tmp_path_factory.mktemp("run"), state)
    assert loaded == state
    assert kinds(loaded) == kinds(state)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.int64,
        torch.uint8,
        torch.bool,
        torch.complex64,
    ],
)
def test_tensors_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype):
    """[R29]"""
    original = torch.tensor([-0.0, 1.5, 3e-5, 7.0]).to(dtype).reshape(2, 2)
    loaded = there_and_back(tmp_path, {"tensor": original, "empty": original[:0], "scalar": original[0, 0]})
    for name, expected in [("tensor", original), ("empty", original[:0]), ("scalar", original[0, 0])]:
        tensor = loaded[name]
        assert isinstance(tensor, torch.Tensor)
        assert (tensor.dtype, tensor.shape) == (dtype, expected.shape)
        assert torch.equal(tensor.reshape(-1).view(torch.uint8), expected.reshape(-1).view(torch.uint8))


def test_numbers_that_are_not_finite_come_back(tmp_path: Path):
    """[R29]"""
    loaded = there_and_back(tmp_path, {"nan": math.nan, "inf": -math.inf, "zero": -0.0})
    assert math.isnan(loaded["nan"])
    assert loaded["inf"] == -math.inf
    assert math.copysign(1.0, loaded["zero"]) == -1.0


def test_random_generators_continue_as_if_never_saved(tmp_path: Path):
    """[R29] numpy's PCG64 keeps 128-bit integers, torch a uint8 tensor, Python a tuple of 625 integers."""
    numpy_generator = np.random.default_rng(5)
    torch_generator = torch.Generator().manual_seed(5)
    python_generator = random.Random(5)
    numpy_generator.normal(size=3), torch.randn(3, generator=torch_generator), python_generator.random()
    state = {
        "numpy": dict(numpy_generator.bit_generator.state),
        "torch": torch_generator.get_state(),
        "python": python_generator.getstate(),
    }
    expected = (
        numpy_generator.normal(size=4).tolist(),
        torch.randn(4, generator=torch_generator).tolist(),
        python_generator.random(),
    )
    assert state["numpy"]["state"]["state"] > 2**64

    loaded = there_and_back(tmp_path, state)
    other_numpy = np.random.default_rng(0)
    other_numpy.bit_generator.state = loaded["numpy"]
    other_torch = torch.Generator()
    other_torch.set_state(loaded["torch"])
    other_python = random.Random(0)
    other_python.setstate(loaded["python"])
    assert expected == (
        other_numpy.normal(size=4).tolist(),
        torch.randn(4, generator=other_torch).tolist(),
        other_python.random(),
    )


def test_a_module_and_its_optimizer_come_back(tmp_path: Path):
    """[R29] `state_dict` returns an OrderedDict, an optimizer has integer keys."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    loaded = there_and_back(tmp_path, {"module": module.state_dict(), "optimizer": optimizer.state_dict()})

    other = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    other_optimizer = torch.optim.AdamW(other.parameters())
    other.load_state_dict(loaded["module"])
    other_optimizer.load_state_dict(loaded["optimizer"])
    for mine, theirs in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    before, after = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key]["exp_avg_sq"], after[key]["exp_avg_sq"]) for key in before)


def test_a_view_is_saved_without_the_rest_of_its_storage(tmp_path: Path):
    large = torch.zeros(1_000_000)
    path = save(tmp_path, {"row": large[10:20], "turned": large[:6].reshape(2, 3).T}, step=1)
    assert (path / "state.pt").stat().st_size < 10_000
    assert load_latest(tmp_path, on_damaged=fail)[0]["turned"].shape == (3, 2)


def test_parameters_of_a_graph_come_back_detached(tmp_path: Path):
    weight = torch.ones(2, requires_grad=True)
    loaded = there_and_back(tmp_path, {"product": weight * 2})
    assert not loaded["product"].requires_grad


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.float64(1.0), r"`state\['hosts'\]\[1\]\['x'\]` is a numpy.float64, but a checkpoint holds only"),
        (np.zeros(2), r"`state\['hosts'\]\[1\]\['x'\]` is a numpy.ndarray"),
        ({1, 2}, r"`state\['hosts'\]\[1\]\['x'\]` is a builtins.set"),
        (Path("x"), r"`state\['hosts'\]\[1\]\['x'\]` is a pathlib.PosixPath"),
        (torch.nn.Parameter(torch.ones(1)), r"is a torch.nn.parameter.Parameter"),
        (torch.Size([2]), r"is a torch.Size"),
        (2**3000, r"is a builtins.int, but .* int \(up to 2039 bits\)"),
        (lambda: None, r"is a builtins.function"),
        ({1.5: "x"}, r"`state\['hosts'\]\[1\]\['x'\]` has the key 1.5 of type float, but keys are str or int"),
        ({True: "x"}, r"has the key True of type bool"),
        (torch.eye(2).to_sparse(), r"layout torch.sparse_coo on cpu, but a checkpoint holds dense"),
        (torch.ones(2, device="meta"), r"layout torch.strided on meta"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_place(tmp_path: Path, value: object, sentence: str):
    """[R29] Refused before anything is written."""
    state = {"hosts": ({}, OrderedDict(x=value))}
    with pytest.raises(InvalidArgument, match=sentence):
        save(tmp_path / "run", state, step=0)
    assert not (tmp_path / "run").exists()


def test_the_largest_integer_that_is_accepted_comes_back(tmp_path: Path):
    largest = 2**2039 - 1
    assert there_and_back(tmp_path, {"high": largest, "low": -largest}) == {"high": largest, "low": -largest}


@pytest.mark.parametrize(("step", "keep", "name"), [(-1, 3, "step"), (0, 0, "keep")])
def test_step_and_keep_out_of_range_are_refused(tmp_path: Path, step: int, keep: int, name: str):
    with pytest.raises(InvalidArgument, match=rf"`{name}` is {min(step, keep)}, but must be at least"):
        save(tmp_path, {}, step=step, keep=keep)


def test_the_last_checkpoints_are_kept_and_the_newest_is_loaded(tmp_path: Path):
    """[R30]"""
    for step in range(10, 60, 10):
        save(tmp_path, {"step": step}, step=step, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000004-step-40", "000005-step-50"]
    assert load_latest(tmp_path, on_damaged=fail) == ({"step": 50}, 50)


def test_the_newest_is_the_last_written_even_at_an_earlier_or_equal_step(tmp_path: Path):
    """[R30] A run that fell back to an earlier checkpoint writes the later steps again."""
    for content, step in [("first", 90), ("lost", 100), ("again", 95), ("equal", 95)]:
        save(tmp_path, {"content": content}, step=step)
    assert load_latest(tmp_path, on_damaged=fail) == ({"content": "equal"}, 95)


def test_a_folder_without_checkpoints_says_so(tmp_path: Path):
    """[R30]"""
    (tmp_path / "notes").mkdir()
    for folder in [tmp_path, tmp_path / "absent"]:
        with pytest.raises(RunFolderError, match="holds no checkpoint; resuming needs at least one"):
            load_latest(folder, on_damaged=fail)
