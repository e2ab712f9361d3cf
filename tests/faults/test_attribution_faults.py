"""What goes wrong while coalitions are evaluated, and that nothing finished is lost."""

import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from accredit.attribution import (
    CounterfactualConfig,
    CounterfactualEngine,
    CounterfactualMatrix,
    SingleCoalitions,
)
from accredit.attribution.coalition import coalition_texts, factorial_masks
from accredit.attribution.games import player_names, random_unanimity
from accredit.errors import EvaluationError, EvaluationInterrupted
from accredit.telemetry.event import CoalitionsEvaluated

GAME = random_unanimity(5, n_groups=8, seed=2)
NAMES = player_names(5)
BAD = "01101"  # {p1, p2, p4}
CONFIG = CounterfactualConfig(coalitions_per_call=6)


def at_bad(masks):
    """Rows of the coalition that goes wrong."""
    return torch.tensor([text == BAD for text in coalition_texts(masks.numpy())])


def raising(masks):
    if at_bad(masks).any():
        raise ZeroDivisionError("the model diverged")
    return GAME(masks)


def one_nan(masks):
    values = GAME(masks)["value"]
    return {"value": torch.where(at_bad(masks), torch.nan, values)}


def one_infinite_example(masks):
    values = GAME(masks)["value"][:, None].repeat(1, 4)
    values[at_bad(masks), 2] = -torch.inf
    return {"value": values}


def dying(masks):
    if at_bad(masks).any():
        signal.raise_signal(signal.SIGKILL)
    return GAME(masks)


def interrupting(masks):
    if at_bad(masks).any():
        raise KeyboardInterrupt
    return GAME(masks)


def check_and_finish(matrix):
    """What is there has its value, no coalition twice, and continuing evaluates only the rest to the exact answer."""
    texts = coalition_texts(matrix.masks.numpy())
    assert len(set(texts)) == len(texts)
    expected = GAME(matrix.masks)["value"].numpy()
    means = matrix.values("value").numpy()
    np.testing.assert_array_equal(means, expected)
    evaluated = []

    def counting(masks):
        evaluated.extend(coalition_texts(masks.numpy()))
        values = GAME(masks)
        return values if matrix.evaluations.examples[0] is None else {"value": values["value"][:, None].repeat(1, 4)}

    finished = CounterfactualEngine(CONFIG).compute_matrix(NAMES, counting, matrix=matrix)
    assert not set(evaluated) & set(texts)
    np.testing.assert_allclose(finished.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)
    assert finished.failures == ()
    return len(texts)


@pytest.mark.parametrize(
    "executor", [None, ThreadPoolExecutor(3), pytest.param(ProcessPoolExecutor(2), marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    ("value_function", "message"),
    [
        (raising, "ZeroDivisionError: the model diverged"),
        (one_nan, "returned value = nan, wanted finite numbers; nothing was put in their place"),
        (one_infinite_example, "returned value = -inf, wanted finite numbers"),
    ],
)
def test_a_failing_coalition_is_named_and_loses_nothing(executor, value_function, message):
    """[R11]"""
    engine = CounterfactualEngine(CONFIG)
    with pytest.raises(
        EvaluationError, match=r"`value_function` failed for 1 coalition\(s\), \{p1, p2, p4\}"
    ) as caught:
        engine.compute_matrix(NAMES, value_function, executor=executor)
    assert message in str(caught.value)
    matrix = caught.value.matrix
    assert [(failure.coalition, failure.players) for failure in matrix.failures] == [(BAD, "{p1, p2, p4}")]
    position = coalition_texts(factorial_masks(5)).index(BAD)
    assert check_and_finish(matrix) >= position


def test_the_cause_of_a_failure_is_kept():
    """[R11]"""
    with pytest.raises(EvaluationError) as caught:
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, raising)
    assert type(caught.value.__cause__) is ZeroDivisionError


def test_failures_are_in_the_events():
    """[R2] [R32] A missing measurement is null."""
    events = []
    with pytest.raises(EvaluationError):
        CounterfactualEngine(CONFIG, events.append).compute_matrix(NAMES, one_nan)
    (event,) = events
    assert isinstance(event, CoalitionsEvaluated)
    values = dict(zip(event.coalitions, event.values["value"], strict=True))
    assert values[BAD] is None
    assert list(event.failures) == [BAD]
    assert len(values) > 2


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda masks: torch.zeros(len(masks)), r"returned a Tensor, wanted a mapping from output to tensor"),
        (
            lambda masks: {"loss": torch.zeros(len(masks))},
            r"returned the outputs \['loss'\], wanted \['value'\] at every",
        ),
        (
            lambda masks: {**GAME(masks), "loss": GAME(masks)["value"]},
            r"the outputs \['loss', 'value'\], wanted \['value'\]",
        ),
        (lambda masks: {}, r"returned the outputs \[\], wanted \['value'\]"),
        (
            lambda masks: {"value": torch.zeros(len(masks) + 1)},
            r"returned 'value' of shape \(7,\).*wanted real numbers of s",
        ),
        (lambda masks: {"value": torch.zeros(())}, r"returned 'value' of shape \(\)"),
        (lambda masks: {"value": torch.zeros(len(masks), 0)}, r"returned 'value' of shape \(6, 0\)"),
        (lambda masks: {"value": torch.zeros(len(masks), 2, 2)}, r"returned 'value' of shape \(6, 2, 2\)"),
        (
            lambda masks: {"value": torch.zeros(len(masks)) * 1j},
            r"of shape \(6,\) and torch.complex64, wanted real numbers",
        ),
        (lambda masks: {"value": ["high"] * len(masks)}, r"returned a list for 'value', wanted a tensor of numbers"),
        (lambda masks: {"value": "high"}, r"returned a str for 'value', wanted a tensor of numbers"),
    ],
)
def test_what_is_no_value_is_refused(returned, message):
    """[R11]"""
    with pytest.raises(EvaluationError, match=message) as caught:
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, returned)
    assert len(caught.value.matrix.masks) == 0
    assert len(caught.value.matrix.failures) == 6


def test_other_outputs_at_a_later_call_lose_nothing():
    """[R11]"""
    calls = []

    def changing(masks):
        calls.append(len(masks))
        return GAME(masks) if len(calls) < 3 else {"loss": torch.zeros(len(masks))}

    with pytest.raises(
        EvaluationError, match=r"returned the outputs \['loss'\], wanted \['value'\] at every call"
    ) as caught:
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, changing)
    assert len(caught.value.matrix.masks) == 12


def test_other_examples_at_a_later_call_lose_nothing():
    """[R7] [R11] Means over other examples could not be paired."""
    calls = []

    def changing(masks):
        calls.append(len(masks))
        return {"value": GAME(masks)["value"][:, None].repeat(1, 3 if len(calls) < 3 else 4)}

    with pytest.raises(
        EvaluationError, match=r"returned values over \[4\] examples, wanted \[3\] as at the calls"
    ) as caught:
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, changing)
    assert len(caught.value.matrix.masks) == 12


def test_examples_beyond_the_memory_bound_are_refused_at_the_first_call():
    """[R16] 32 coalitions x 100 examples x 8 bytes = 25600 bytes."""

    def many(masks):
        return {"value": GAME(masks)["value"][:, None].repeat(1, 100)}

    CounterfactualEngine(CounterfactualConfig(max_example_bytes=25_600)).compute_matrix(NAMES, many)
    with pytest.raises(
        EvaluationError, match=r"returned values over 100 examples of all outputs, wanted at most 99 for so"
    ):
        CounterfactualEngine(CounterfactualConfig(max_example_bytes=25_599)).compute_matrix(NAMES, many)


@pytest.mark.parametrize("single", [True, False])
def test_an_interrupt_passes_through_and_loses_nothing(single):
    """[R11]"""
    function = (
        SingleCoalitions(lambda mask: {"value": interrupting(mask[None])["value"][0]}) if single else interrupting
    )
    with pytest.raises(
        EvaluationInterrupted, match=r"`compute_matrix` got an interrupt after \d+ coalitions, wanted 32"
    ) as caught:
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, function)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert not isinstance(caught.value, Exception)
    position = coalition_texts(factorial_masks(5)).index(BAD)
    finished = check_and_finish(caught.value.matrix)
    assert finished == (position if single else position // 6 * 6)


def test_a_buffer_that_the_value_function_uses_again_is_copied():
    """[R11] What was finished stays as it was returned."""
    buffer = torch.zeros(6, 3, dtype=torch.float64)

    def reusing(masks):
        buffer[: len(masks)] = GAME(masks)["value"][:, None]
        return {"value": buffer[: len(masks)]}

    matrix = CounterfactualEngine(CONFIG).compute_matrix(NAMES, reusing)
    np.testing.assert_array_equal(matrix.example_values("value")[:, 0], GAME(matrix.masks)["value"])


def test_an_interrupt_keeps_calls_that_finished_out_of_order():
    """[R11] The first call takes long; when it is taken and Ctrl-C comes, the others are done but not yet asked for."""

    def slow_first(mask):
        time.sleep(0.0 if mask.any() else 0.5)
        return {"value": GAME(mask[None])["value"][0]}

    def interrupt(done, planned):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(4) as executor, pytest.raises(EvaluationInterrupted) as caught:
        CounterfactualEngine(CONFIG).compute_matrix(
            NAMES, SingleCoalitions(slow_first), progress=interrupt, executor=executor
        )
    assert check_and_finish(caught.value.matrix) == 32


def test_an_interrupt_of_the_waiting_thread_keeps_what_workers_finished():
    """[R11] Ctrl-C reaches the main thread, here from the progress callback, while others work."""

    def interrupt_later(done, planned):
        if done >= 8:
            raise KeyboardInterrupt

    function = SingleCoalitions(lambda mask: {"value": GAME(mask[None])["value"][0]})
    with ThreadPoolExecutor(2) as executor, pytest.raises(EvaluationInterrupted) as caught:
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, function, progress=interrupt_later, executor=executor)
    assert check_and_finish(caught.value.matrix) >= 8


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, pytest.param(ProcessPoolExecutor, marks=pytest.mark.long)])
def test_an_interrupt_that_reaches_a_worker_passes_through(kind):
    """[R11] A terminal sends Ctrl-C to worker processes too."""
    with kind(2) as executor, pytest.raises(EvaluationInterrupted) as caught:
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, interrupting, executor=executor)
    position = coalition_texts(factorial_masks(5)).index(BAD)
    assert check_and_finish(caught.value.matrix) >= position // 6 * 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64, torch.bool])
def test_any_real_dtype_is_kept_as_float64(dtype):
    """[R16]"""
    matrix = CounterfactualEngine(CONFIG).compute_matrix(
        NAMES, lambda masks: {"value": (masks.sum(dim=1) > 2).to(dtype).requires_grad_(dtype.is_floating_point)}
    )
    assert matrix.values("value").dtype == torch.float64
    assert set(matrix.values("value").tolist()) == {0.0, 1.0}


def test_a_worker_that_dies_is_a_failure_of_its_coalitions():
    """[R11]"""
    with (
        ProcessPoolExecutor(1) as executor,
        pytest.raises(
            EvaluationError, match=r"BrokenProcessPool: .*finished coalitions are in `matrix` of this"
        ) as caught,
    ):
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, dying, executor=executor)
    position = coalition_texts(factorial_masks(5)).index(BAD)
    assert len(caught.value.matrix.masks) == position // 6 * 6


PROGRAM = """
import sys, time
from accredit.attribution import CounterfactualConfig, CounterfactualEngine, SingleCoalitions, Output
from accredit.attribution.games import player_names, random_unanimity
import torch

game = random_unanimity(9, n_groups=12, seed=4)
loss = Output("loss", "nat", False)

def value(mask):
    time.sleep(float(sys.argv[2]))
    return {"loss": game(mask[None])["value"][0] + torch.linspace(-1, 1, 9).double() * mask.sum()}

config = CounterfactualConfig(strategy="shapley", max_evaluations=200, target_half_width=0.2, outputs=(loss,))
matrix = CounterfactualEngine(config).compute_matrix(player_names(9), SingleCoalitions(value), path=sys.argv[1])
print(matrix.provenance, matrix.shapley("loss").value.tobytes().hex(), matrix.shapley("loss").stderr.tobytes().hex())
"""


def run(path, seconds):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "moments", [pytest.param((45,), marks=pytest.mark.long), pytest.param((20, 50, 90), marks=pytest.mark.long)]
)
def test_a_run_killed_and_continued_gives_the_same_bits(tmp_path, moments):
    """[R11] [R29] SIGKILL; the last start finishes with the answer of a run that was left alone."""
    expected, errors = run(tmp_path / "whole", 0).communicate()
    assert expected, errors
    path, seen = tmp_path / "killed", 0
    for at_least in moments:
        process = run(path, 0.01)
        deadline = time.monotonic() + 60
        while seen < at_least and time.monotonic() < deadline:
            time.sleep(0.02)
            seen = CounterfactualMatrix.load(path, recover=True).cost.n_evaluations if path.exists() else 0
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert moments[-1] <= CounterfactualMatrix.load(path, recover=True).cost.n_evaluations < 200
    continued, errors = run(path, 0).communicate()
    assert continued == expected, errors
