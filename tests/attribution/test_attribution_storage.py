import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, CounterfactualMatrix, Output
from accredit.attribution.games import player_names, random_unanimity
from accredit.errors import EvaluationError, FileDamaged, InvalidArgument

OUTPUTS = (Output("loss", "nat", False), Output("accuracy", "fraction", True))
NAMES = player_names(9)
GAME = random_unanimity(9, n_groups=12, seed=1)
CONFIG = CounterfactualConfig(strategy="shapley", max_evaluations=60, coalitions_per_call=7, outputs=OUTPUTS, seed=3)


def two_outputs(masks):
    """One output per example, one averaged."""
    value = GAME(masks)["value"]
    return {"loss": value[:, None] * torch.linspace(0.0, 1.0, 5).double(), "accuracy": value.float()}


def same(first, second):
    """Everything but the seconds, bit for bit."""
    assert first.players == second.players
    assert first.config == second.config
    assert first.provenance == second.provenance
    assert first.failures == second.failures
    assert torch.equal(first.masks, second.masks)
    for output in ("loss", "accuracy"):
        assert torch.equal(first.values(output), second.values(output))
        one, other = first.shapley(output), second.shapley(output)
        assert one.value.tobytes() == other.value.tobytes()
        assert one.stderr.tobytes() == other.stderr.tobytes()
    assert torch.equal(first.example_values("loss"), second.example_values("loss"))
    return True


def test_a_saved_matrix_is_the_same_when_loaded(tmp_path):
    """[R3]"""
    matrix = CounterfactualEngine(CONFIG).compute_matrix(NAMES, two_outputs)
    matrix.save(tmp_path / "matrix.acc")
    loaded = CounterfactualMatrix.load(tmp_path / "matrix.acc")
    assert same(loaded, matrix)
    assert loaded.cost == matrix.cost
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.acc"]


def test_a_file_that_grew_equals_one_that_was_saved(tmp_path):
    """[R3] [R11]"""
    matrix = CounterfactualEngine(CONFIG).compute_matrix(NAMES, two_outputs, path=tmp_path / "grown")
    assert same(CounterfactualMatrix.load(tmp_path / "grown"), matrix)


def test_the_file_holds_what_was_finished_while_it_grows(tmp_path):
    """[R11] Read from inside the value function: every earlier call is there."""
    path, sizes = tmp_path / "grown", []

    def watching(masks):
        sizes.append(CounterfactualMatrix.load(path, recover=True).cost.n_evaluations)
        return two_outputs(masks)

    CounterfactualEngine(CONFIG).compute_matrix(NAMES, watching, path=path)
    assert sizes == sorted(sizes)
    assert sizes[:3] == [0, 7, 14]


@pytest.mark.parametrize("cut", [0.1, 0.35, 0.5, 0.72, 0.9, 0.999])
def test_a_file_cut_anywhere_is_continued_to_the_same_answer(tmp_path, cut):
    """[R11] [R29] Bit-identical to the uninterrupted run, and nothing whole is evaluated again."""
    whole = CounterfactualEngine(CONFIG).compute_matrix(NAMES, two_outputs, path=tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    start = data.index(b'"kind": "rows"')
    part = tmp_path / "part"
    part.write_bytes(data[: start + int(cut * (len(data) - start))])
    kept = CounterfactualMatrix.load(part, recover=True).cost.n_evaluations
    evaluated = []

    def counting(masks):
        evaluated.append(len(masks))
        return two_outputs(masks)

    continued = CounterfactualEngine(CONFIG).compute_matrix(NAMES, counting, path=part)
    assert same(continued, whole)
    assert same(CounterfactualMatrix.load(part), whole)
    assert sum(evaluated) == 60 - kept


def test_a_finished_file_is_continued_without_evaluating(tmp_path):
    """[R9] And with a larger budget only the rest is evaluated."""
    engine = CounterfactualEngine(CONFIG)
    whole = engine.compute_matrix(NAMES, two_outputs, path=tmp_path / "file")

    def never(masks):
        raise AssertionError("evaluated again")

    assert same(engine.compute_matrix(NAMES, never, path=tmp_path / "file"), whole)
    longer = CounterfactualEngine(replace(CONFIG, max_evaluations=80))
    extended = longer.compute_matrix(NAMES, two_outputs, path=tmp_path / "file")
    assert same(extended, longer.compute_matrix(NAMES, two_outputs))


def test_nothing_of_a_torn_record_stays_behind(tmp_path):
    """[R30] Continued with nothing left to evaluate, the file is shorter than it was when the process died."""
    path = tmp_path / "file"
    CounterfactualEngine(replace(CONFIG, coalitions_per_call=30)).compute_matrix(NAMES, two_outputs, path=path)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b'"kind": "end"') - 50])
    kept = CounterfactualMatrix.load(path, recover=True).cost.n_evaluations
    CounterfactualEngine(replace(CONFIG, max_evaluations=kept)).compute_matrix(NAMES, two_outputs, path=path)
    assert CounterfactualMatrix.load(path).cost.n_evaluations == kept


def test_a_matrix_that_is_continued_into_a_new_file_is_whole_there(tmp_path):
    """[R3]"""
    first = CounterfactualEngine(replace(CONFIG, max_evaluations=30)).compute_matrix(NAMES, two_outputs)
    CounterfactualEngine(CONFIG).compute_matrix(NAMES, two_outputs, matrix=first, path=tmp_path / "file")
    assert CounterfactualMatrix.load(tmp_path / "file").cost.n_evaluations == 60
    with pytest.raises(InvalidArgument, match=r"`path` is .*file', where a matrix is stored, but `matrix` has 30 coal"):
        CounterfactualEngine(CONFIG).compute_matrix(NAMES, two_outputs, matrix=first, path=tmp_path / "file")


def test_failures_are_stored_and_forgotten_once_mended(tmp_path):
    """[R11]"""

    def failing(masks):
        values = two_outputs(masks)
        values["loss"][masks.all(dim=1)] = float("nan")
        return values

    engine = CounterfactualEngine(CONFIG)
    with pytest.raises(EvaluationError):
        engine.compute_matrix(NAMES, failing, path=tmp_path / "file")
    stored = CounterfactualMatrix.load(tmp_path / "file")
    assert [failure.coalition for failure in stored.failures] == ["1" * 9]
    assert stored.provenance.stop_reason == "failure"
    mended = engine.compute_matrix(NAMES, two_outputs, path=tmp_path / "file")
    assert mended.failures == ()
    assert CounterfactualMatrix.load(tmp_path / "file").failures == ()


def test_every_flipped_byte_is_detected(tmp_path):
    """[R30]"""
    path = tmp_path / "file"
    CounterfactualEngine(replace(CONFIG, max_evaluations=20)).compute_matrix(NAMES, two_outputs).save(path)
    data = path.read_bytes()
    for at in range(0, len(data), 23):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(FileDamaged):
            CounterfactualMatrix.load(path)


def test_a_torn_file_says_so_and_how_to_keep_the_rest(tmp_path):
    """[R30]"""
    path = tmp_path / "file"
    CounterfactualEngine(CONFIG).compute_matrix(NAMES, two_outputs, path=path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(
        FileDamaged, match=r"ends inside record \d+ \(at byte \d+\), wanted a whole record; load it with `recover"
    ):
        CounterfactualMatrix.load(path)
    recovered = CounterfactualMatrix.load(path, recover=True)
    assert recovered.provenance.stop_reason == "killed"
    assert 0 < recovered.cost.n_evaluations <= 60


def test_an_altered_file_is_refused_also_in_recovery(tmp_path):
    """[R30]"""
    path = tmp_path / "file"
    CounterfactualEngine(CONFIG).compute_matrix(NAMES, two_outputs, path=path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(
        FileDamaged, match=r"has another checksum than it was written with in record \d+ \(from byte \d+\)"
    ):
        CounterfactualMatrix.load(path, recover=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 an archive", pickle.dumps({"a": 1}), b"accredit matrix x\n"])
def test_a_file_that_is_not_ours_is_refused(tmp_path, content):
    """[R30] Nothing in it is executed."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FileDamaged, match=r"begins with .*, wanted 'accredit matrix ' and a version; pass a file that"):
        CounterfactualMatrix.load(path)


def test_a_newer_version_is_refused(tmp_path):
    """[R30]"""
    path = tmp_path / "file"
    path.write_bytes(b"accredit matrix 7\n")
    with pytest.raises(
        FileDamaged, match=r"has format version 7, wanted at most 1; read it with the version of accredit"
    ):
        CounterfactualMatrix.load(path)


def test_a_file_without_a_beginning_is_refused(tmp_path):
    """[R30] Whole records in which no evaluation was begun."""
    path, first = tmp_path / "file", b"accredit matrix 1\n"
    payload = b'{"kind": "begin", "players": [], "outputs": []}\n'
    digest = hashlib.sha256(hashlib.sha256(first).digest() + payload).digest()
    path.write_bytes(first + len(payload).to_bytes(8, "big") + payload + digest)
    with pytest.raises(
        FileDamaged, match=r"has 1 records and no evaluation was begun in it, wanted at least players and"
    ):
        CounterfactualMatrix.load(path)


def test_doubles_survive_bit_for_bit(tmp_path):
    """[R10] Also those that have no short decimal form, -0.0 and subnormal ones."""
    special = torch.tensor([1 / 3, -0.0, 5e-324, 1e308], dtype=torch.float64)
    config = CounterfactualConfig()
    matrix = CounterfactualEngine(config).compute_matrix(["a", "b"], lambda masks: {"value": special[: len(masks)]})
    matrix.save(tmp_path / "file")
    loaded = CounterfactualMatrix.load(tmp_path / "file").values("value").numpy()
    assert np.array_equal(loaded.view(np.int64), special.numpy().view(np.int64))
