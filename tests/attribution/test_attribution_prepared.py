"""Value functions that choose the order of coalitions and say how their values round."""

import hashlib
import json
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from accredit.attribution import (
    CounterfactualConfig,
    CounterfactualEngine,
    CounterfactualHelper,
    CounterfactualMatrix,
    PreparedEvaluation,
    attribute,
    session,
)
from accredit.attribution.coalition import coalition_texts
from accredit.attribution.design import ComplementPairDesign
from accredit.attribution.games import player_names, random_unanimity
from accredit.errors import EvaluationError, EvaluationInterrupted, StateMismatch

N_PLAYERS = 6
GAME = random_unanimity(N_PLAYERS, n_groups=12, seed=1)
NAMES = player_names(N_PLAYERS)
ENDS = ["000000", "111111"]


class Sorted(PreparedEvaluation):
    """A game with interactions that wants its coalitions sorted downwards; remembers what it was asked."""

    def __init__(self, numerics="exact", how="replay"):
        self.numerics, self.how, self.begun, self.rounds, self.asked = numerics, how, [], [], []

    def __call__(self, masks):
        self.asked.append(list(coalition_texts(masks.numpy())))
        return GAME(masks)

    def begin(self, numerics):
        self.begun.append((numerics, len(self.asked)))
        return self.numerics

    def mechanism(self):
        return self.how

    def calls(self, masks, most):
        self.rounds.append(len(masks))
        texts = coalition_texts(masks)
        ordered = masks[sorted(range(len(masks)), key=texts.__getitem__, reverse=True)]
        # a cut of its own below `most`: after five, whatever `most` allows
        size = min(most, 5)
        return [ordered[at : at + size] for at in range(0, len(ordered), size)]

    @property
    def rows(self):
        return [text for call in self.asked for text in call]


class Interrupted(Sorted):
    """Ctrl-C or a failure at the third call."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def __call__(self, masks):
        if len(self.asked) >= 2:
            raise self.error
        return super().__call__(masks)


def compute(value_function, matrix=None, *, executor=None, path=None, **fields):
    engine = CounterfactualEngine(CounterfactualConfig(**fields))
    return engine.compute_matrix(NAMES, value_function, matrix=matrix, executor=executor, path=path)


def texts_of(matrix):
    return list(coalition_texts(matrix.masks.numpy()))


def downwards(texts):
    return sorted(set(texts) - set(ENDS), reverse=True)


SAMPLED = {"strategy": "shapley", "max_evaluations": 40, "seed": 5}


def test_rows_stand_in_the_order_of_calls_with_none_and_all_in_front():
    """[R10] [R38] The answer is that of the closed form, whatever the order."""
    value = Sorted()
    matrix = attribute(value, NAMES)
    every = [f"{number:06b}" for number in range(64)]
    assert texts_of(matrix) == value.rows == ENDS + downwards(every)
    assert value.asked[0] == ENDS
    assert max(map(len, value.asked)) == 5
    np.testing.assert_allclose(matrix.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)


def test_every_round_of_a_sampled_design_is_ordered_by_itself():
    """[R9] A look after a round must have all of its coalitions, so that no call reaches into the next round."""
    value = Sorted()
    matrix = compute(value, **SAMPLED)
    design = list(coalition_texts(ComplementPairDesign()(N_PLAYERS, 40, seed=5)))
    # rounds end after 4 N and at the total
    assert texts_of(matrix) == ENDS + downwards(design[:24]) + downwards(design[24:])
    assert value.rounds == [22, 16]
    plain = compute(GAME, **SAMPLED)
    assert texts_of(plain) == design
    assert matrix.shapley("value").value.tobytes() == plain.shapley("value").value.tobytes()


@pytest.mark.parametrize("workers", [ThreadPoolExecutor, ProcessPoolExecutor])
@pytest.mark.parametrize("coalitions_per_call", [1, 3, 256])
def test_an_executor_gives_the_same_matrix_row_for_row(workers, coalitions_per_call):
    """[R10] Also whatever the size of calls."""
    expected = compute(Sorted(), **SAMPLED)
    with workers(2) as executor:
        matrix = compute(Sorted(), executor=executor, coalitions_per_call=coalitions_per_call, **SAMPLED)
    assert texts_of(matrix) == texts_of(expected)
    assert torch.equal(matrix.values("value"), expected.values("value"))
    assert matrix.provenance == expected.provenance


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(2)])
def test_under_a_timeout_the_order_of_the_plan_is_kept(executor):
    """[R9] What a cut leaves must be a prefix of the design."""
    value = Sorted()
    matrix = compute(value, executor=executor, timeout_s=3600.0, **SAMPLED)
    assert texts_of(matrix) == list(coalition_texts(ComplementPairDesign()(N_PLAYERS, 40, seed=5)))
    assert value.rounds == []


class Clock:
    """Time that passes only while coalitions are evaluated."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(session, "time", SimpleNamespace(perf_counter=lambda: self.now))


class Slow(Sorted):
    """Takes so many seconds of a clock for every coalition, in calls as long as may be."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def __call__(self, masks):
        self.clock.now += self.seconds[min(len(self.asked), len(self.seconds) - 1)] * len(masks)
        return super().__call__(masks)

    def calls(self, masks, most):
        return [np.concatenate(super().calls(masks, most))]


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        ((0.0,), [2, 62]),
        ((0.25,), [2, 20, 20, 20, 2]),
        ((60.0,), [2] + [1] * 62),
        # a slow start, such as a compilation, does not keep later calls short
        ((60.0, 0.1), [2, 1, 50, 11]),
    ],
)
def test_a_call_takes_about_five_seconds_at_most(monkeypatch, seconds, sizes):
    """[R11] So much can be lost by Ctrl-C; the rows do not depend on the clock [R10]."""
    value = Slow(Clock(monkeypatch), seconds)
    matrix = compute(value)
    assert list(map(len, value.asked)) == sizes
    assert texts_of(matrix) == ENDS + downwards(f"{number:06b}" for number in range(64))


def test_a_continued_matrix_begins_with_a_short_call_too(monkeypatch):
    """[R11] Nothing is known of the pace before the first call."""
    value = Slow(Clock(monkeypatch), (1.0,))
    compute(value, compute(GAME, strategy="ablation_only"))
    assert list(map(len, value.asked))[:3] == [2, 5, 5]


def test_a_plain_value_function_gets_calls_as_long_as_ever(monkeypatch):
    """Only `coalitions_per_call` bounds them."""
    clock, sizes = Clock(monkeypatch), []

    def slow(masks):
        clock.now += 60.0
        sizes.append(len(masks))
        return GAME(masks)

    compute(slow, coalitions_per_call=30)
    assert sizes == [30, 30, 4]


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(1)])
@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyboardInterrupt(), EvaluationInterrupted), (ZeroDivisionError("diverged"), EvaluationError)],
)
def test_a_matrix_that_broke_off_is_continued_to_the_same_rows(executor, error, raised):
    """[R11] None and all are there after any failure."""
    with pytest.raises(raised) as broken:
        compute(Interrupted(error), executor=executor)
    matrix = broken.value.matrix
    assert texts_of(matrix)[:2] == ENDS
    assert 2 < len(matrix.masks) < 64
    finished, whole = compute(Sorted(), matrix), compute(Sorted())
    assert texts_of(finished) == texts_of(whole)
    assert torch.equal(finished.values("value"), whole.values("value"))


def test_begin_is_called_once_and_before_anything_is_evaluated():
    value = Sorted()
    matrix = compute(value, strategy="ablation_only")
    assert value.begun == [(None, 0)]
    compute(value, matrix, strategy="ablation_only")
    assert value.begun == [(None, 0), ("exact", len(value.asked))]


def test_begin_learns_the_numerics_of_what_is_continued(tmp_path):
    """[R10] From a matrix and from a file; of a plain function there is nothing to learn."""
    stacked, plain = compute(Sorted("stack of 16"), strategy="ablation_only"), compute(GAME, strategy="ablation_only")
    compute(Sorted("stack of 16"), strategy="ablation_only", path=tmp_path / "stacked")
    values = Sorted("stack of 16"), Sorted("stack of 16"), Sorted()
    compute(values[0], stacked)
    compute(values[1], path=tmp_path / "stacked")
    compute(values[2], plain)
    assert [value.begun for value in values] == [[("stack of 16", 0)], [("stack of 16", 0)], [(None, 0)]]


def test_a_value_function_that_cannot_go_on_says_so_before_the_file_is_touched(tmp_path):
    class Unable(Sorted):
        def begin(self, numerics):
            raise StateMismatch(f"no {numerics} here")

    path, other = tmp_path / "matrix", tmp_path / "other"
    compute(Sorted(), strategy="ablation_only", path=path)
    before = path.read_bytes()
    with pytest.raises(StateMismatch, match="no exact here"):
        compute(Unable(), path=path)
    assert path.read_bytes() == before
    with pytest.raises(StateMismatch, match="no None here"):
        compute(Unable(), path=other)
    assert not other.exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [("exact", "stack of 16"), ("stack of 16", "exact"), ("stack of 16", "stack of 8"), ("", "stack of 16")],
)
def test_values_of_different_numerics_are_never_in_one_matrix(first, second, tmp_path):
    """[R10] Neither continued, nor from a file, nor merged."""
    path = tmp_path / "matrix"
    one = compute(Sorted(first) if first else GAME, strategy="ablation_only", path=path)
    other = Sorted(second)
    named = (
        rf"has values of the numerics '{second}', wanted '{first or 'unknown'}' as in the matrix, for the two differ "
        "in rounding; evaluate all coalitions of one matrix in the same way, or begin a new matrix"
    )
    with pytest.raises(StateMismatch, match=f"`value_function` {named}"):
        compute(other, one)
    with pytest.raises(StateMismatch, match=f"`value_function` {named}"):
        compute(other, path=path)
    assert other.asked == []
    with pytest.raises(StateMismatch, match=f"`other` {named}"):
        one.merge(compute(other))


def test_what_rounds_differently_is_not_continued_by_a_plain_function_nor_extended():
    """[R10]"""
    stacked = compute(Sorted("stack of 16"), strategy="ablation_only")
    with pytest.raises(StateMismatch, match=r"`value_function` has values of the numerics 'unknown', wanted 'stack of"):
        compute(GAME, stacked)
    masks = torch.tensor([[True, False] * 3])
    with pytest.raises(StateMismatch, match=r"`values` has values of the numerics 'unknown', wanted 'stack of 16' as"):
        stacked.extend(masks, GAME(masks))
    assert compute(Sorted(), strategy="ablation_only").extend(masks, GAME(masks)).provenance.numerics == "exact"


@pytest.mark.parametrize("first", [GAME, Sorted("exact")])
@pytest.mark.parametrize("second", [GAME, Sorted("exact")])
def test_plain_values_and_exact_ones_go_together(first, second):
    """[R10] A plain function evaluates one coalition after another."""
    one, other = compute(first, strategy="ablation_only"), compute(second)
    numerics = "" if first is second is GAME else "exact"
    for matrix in (compute(second, one), one.merge(other), other.merge(one)):
        assert matrix.provenance.numerics == numerics
        np.testing.assert_allclose(matrix.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)


def test_numerics_of_a_matrix_without_rows_bind_nobody():
    """[R11] Nothing was evaluated, so there is nothing that could be mixed."""

    class Broken(Sorted):
        def __call__(self, masks):
            raise ZeroDivisionError("diverged")

    with pytest.raises(EvaluationError) as broken:
        compute(Broken("stack of 16"))
    empty = broken.value.matrix
    assert len(empty.masks) == 0
    value, whole = Sorted(), compute(Sorted())
    assert compute(value, empty).provenance.numerics == "exact"
    assert value.begun == [(None, 0)]
    assert empty.merge(whole).provenance.numerics == whole.merge(empty).provenance.numerics == "exact"
    assert empty.extend(whole.masks, {"value": whole.values("value")}).provenance.numerics == ""


def test_mechanism_and_numerics_are_kept_with_the_matrix(tmp_path):
    """[R3] In the result, in its file and in what is exported; unknown for a plain function."""
    path = tmp_path / "matrix"
    matrix = compute(Sorted(how="graph"), path=path)
    saved = tmp_path / "saved"
    matrix.save(saved)
    for one in (matrix, CounterfactualMatrix.load(path), CounterfactualMatrix.load(saved)):
        assert (one.provenance.mechanism, one.provenance.numerics) == ("graph", "exact")
    exported = json.loads(json.dumps(matrix.to_dict()))["provenance"]
    assert (exported["mechanism"], exported["numerics"]) == ("graph", "exact")
    plain = compute(GAME).provenance
    assert (plain.mechanism, plain.numerics) == ("", "")


def test_every_mechanism_that_gave_rows_is_named_once():
    """[R3] One that found nothing left to evaluate gave none."""
    small = {"strategy": "ablation_only"}
    matrix = compute(Sorted(how="loop"), **small)
    assert compute(Sorted(how="graph"), matrix, **small).provenance.mechanism == "loop"
    assert compute(GAME, matrix).provenance.mechanism == "loop"
    both = compute(Sorted(how="graph"), matrix)
    assert both.provenance.mechanism == "loop, graph"
    assert both.merge(matrix).provenance.mechanism == "loop, graph"
    assert matrix.merge(compute(Sorted(how="graph"))).provenance.mechanism == "loop, graph"


def test_mechanism_is_asked_when_the_matrix_is_made():
    """It may be chosen during the first passes."""
    value = Sorted(how="")
    engine = CounterfactualEngine(CounterfactualConfig())
    matrix = engine.compute_matrix(NAMES, value, progress=lambda done, planned: setattr(value, "how", "stack"))
    assert matrix.provenance.mechanism == "stack"


def test_a_file_of_a_killed_process_still_has_its_numerics(tmp_path):
    """[R11] Copied while it grows, as a kill would leave it; rows of other numerics are refused there too."""
    path, killed = tmp_path / "whole", tmp_path / "killed"

    class Watched(Sorted):
        def __call__(self, masks):
            if len(self.asked) == 4:
                shutil.copy(path, killed)
            return super().__call__(masks)

    compute(Sorted("stack of 16", how="first"), strategy="ablation_only", path=path)
    compute(Watched("stack of 16", how="second"), path=path)
    matrix = CounterfactualMatrix.load(killed)
    assert matrix.provenance.stop_reason == "killed"
    assert (matrix.provenance.mechanism, matrix.provenance.numerics) == ("first", "stack of 16")
    with pytest.raises(StateMismatch, match=r"has values of the numerics 'exact', wanted 'stack of 16'"):
        compute(Sorted(), path=killed)
    value = Sorted("stack of 16", how="third")
    assert compute(value, path=killed).provenance.mechanism == "first, third"
    assert value.begun == [("stack of 16", 0)]


@pytest.mark.parametrize("saved", [True, False])
def test_a_file_that_lost_its_end_still_has_its_numerics(tmp_path, saved):
    """[R11] One that was saved, and one whose first call was killed at the very last moment."""
    path = tmp_path / "matrix"
    matrix = compute(Sorted("stack of 16"), path=None if saved else path)
    if saved:
        matrix.save(path)
    path.write_bytes(path.read_bytes()[:-1])
    torn = CounterfactualMatrix.load(path, recover=True)
    assert torn.provenance.stop_reason == "killed"
    assert (torn.provenance.mechanism, torn.provenance.numerics) == ("", "stack of 16")
    assert torch.equal(torn.values("value"), matrix.values("value"))


def rewrite(path, change):
    """Every record through `change`, with new checksums, by the description of the format."""
    data = path.read_bytes()
    first, _, rest = data.partition(b"\n")
    written, digest = first + b"\n", hashlib.sha256(first + b"\n").digest()
    while rest:
        length = int.from_bytes(rest[:8], "big")
        line, _, body = rest[8 : 8 + length].partition(b"\n")
        payload = json.dumps(change(json.loads(line))).encode() + b"\n" + body
        digest = hashlib.sha256(digest + payload).digest()
        written += len(payload).to_bytes(8, "big") + payload + digest
        rest = rest[8 + length + 32 :]
    path.write_bytes(written)


@pytest.mark.parametrize("ended", [True, False])
def test_files_from_before_numerics_were_kept_still_load(tmp_path, ended):
    """[R3] As a file whose rows nobody described."""
    path = tmp_path / "matrix"
    matrix = compute(GAME, strategy="ablation_only", path=path)

    def older(head):
        head.pop("numerics", None)
        for name in ("mechanism", "numerics"):
            head.get("provenance", {}).pop(name, None)
        return head if ended or head["kind"] != "end" else {"kind": "later"}

    rewrite(path, older)
    assert b"numerics" not in path.read_bytes()
    loaded = CounterfactualMatrix.load(path)
    assert (loaded.provenance.mechanism, loaded.provenance.numerics) == ("", "")
    assert torch.equal(loaded.values("value"), matrix.values("value"))
    assert compute(Sorted(), path=path).provenance.numerics == "exact"


class WithCalls(Sorted):
    """Cuts the coalitions of a round wrongly."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def calls(self, masks, most):
        return self.wrong(masks)


def diverge(masks):
    raise ZeroDivisionError("no order")


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(1)])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda masks: [], r"returned 0 coalitions in calls of \[\], wanted each of the 62 of the round once in"),
        (lambda masks: [masks[:20], masks[20:-1]], r"returned 61 coalitions in calls of \[20, 41\], wanted each"),
        (lambda masks: [masks, masks[:1]], r"returned 63 coalitions in calls of \[1, 62\]"),
        (lambda masks: [np.concatenate([masks[:1], masks[:-1]])], r"returned 62 coalitions in calls of \[62\]"),
        (lambda masks: [np.pad(masks, ((0, 0), (0, 1)))], r"returned 62 coalitions in calls of \[62\]"),
        (lambda masks: [masks[:, :5]], r"returned 62 coalitions in calls of \[62\]"),
        (
            lambda masks: [masks, masks[:0]],
            r"returned 62 coalitions .* wanted .* in calls of 1 to 62; cut up the masks",
        ),
        (lambda masks: [masks[masks.sum(axis=1) < 3]], r"returned 21 coalitions"),
        (diverge, r"raised ZeroDivisionError: no order, wanted the 62 coalitions of the round in calls; mend it\."),
    ],
)
def test_wrong_calls_are_refused_and_lose_nothing(executor, wrong, message):
    """[R11] A coalition left out would end a round early and unseen."""
    with pytest.raises(EvaluationError, match=rf"`calls` of the value function {message}") as broken:
        compute(WithCalls(wrong), executor=executor, coalitions_per_call=62)
    assert "2 finished coalitions are in `matrix` of this error; pass it as `matrix=` to go on." in str(broken.value)
    assert broken.value.matrix.provenance.stop_reason == "failure"
    assert texts_of(broken.value.matrix) == ENDS


def test_calls_that_go_wrong_later_keep_the_rounds_before():
    """[R11] And the cause of the error."""
    wrong = WithCalls(lambda masks: [masks] if len(masks) == 22 else diverge(masks))
    with pytest.raises(EvaluationError, match=r"24 finished coalitions are in `matrix` of this error") as broken:
        compute(wrong, **SAMPLED)
    assert isinstance(broken.value.__cause__, ZeroDivisionError)
    finished = compute(Sorted(), broken.value.matrix, **SAMPLED)
    assert set(texts_of(finished)) == set(texts_of(compute(GAME, **SAMPLED)))


def test_calls_longer_than_asked_for_are_refused():
    with pytest.raises(
        EvaluationError, match=r"in calls of \[62\], wanted each of the 62 of the round once in calls of"
    ):
        compute(WithCalls(lambda masks: [masks]), coalitions_per_call=61)


def test_calls_may_write_to_their_masks():
    """[R2] The plan's are shared between calls of `compute_matrix`."""

    def writing(masks):
        kept = masks.copy()
        masks[:] = False
        return [kept]

    expected = texts_of(compute(GAME))
    compute(WithCalls(writing))
    assert texts_of(compute(GAME)) == expected


def test_the_helper_of_a_training_loop_takes_it_too():
    """[R13]"""
    helper = CounterfactualHelper(CounterfactualConfig())
    matrix = helper.compute_contributions(NAMES, Sorted(), environment="host-0", step=1)
    assert (matrix.provenance.mechanism, matrix.provenance.numerics) == ("replay", "exact")
    np.testing.assert_allclose(matrix.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)
