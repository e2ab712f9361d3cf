import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from worker_toys import (
    WIDTH,
    ByPickle,
    batches,
    computed,
    model_value,
    network,
    raise_odd,
    raise_value_error,
    same_matrix,
)

from accredit.attribution.output import Output
from accredit.errors import EvaluationError, InvalidArgument, StateMismatch
from accredit.models.metrics import Metric
from accredit.models.remote import (
    HeldValue,
    Parcel,
    RemoteValue,
    TorchSettings,
    cut_apart,
    held,
    hold,
    let_go,
    packed,
    ways_used,
)
from accredit.models.switchable import SwitchableModel


class Here:
    """Workers that are this process, but for the pickling."""

    def __init__(self, value, n_workers=2):
        self.sent = []
        self.executor = ByPickle()
        self.value = RemoteValue(value, n_workers=lambda: n_workers, send=self.send, report=ways_used)

    def send(self, parcel):
        for each in self.sent:
            let_go(each.key)
        self.sent.append(parcel)
        hold(parcel)


def matrix_here(value, workers=None, **settings):
    workers = Here(value) if workers is None else workers
    names = value.switchable.players
    return computed(workers.value, players=names, outputs=value.outputs, executor=workers.executor, **settings)


@pytest.mark.parametrize("sharing", ["auto", "loop", "replay", "graph"])
def test_values_from_elsewhere_equal_those_of_this_process_bit_for_bit_and_row_for_row(sharing):
    """[R10] The same values whatever the number of workers."""
    value = model_value(sharing=sharing)
    assert same_matrix(matrix_here(value), computed(model_value(sharing=sharing)))


def test_a_call_carries_the_key_and_not_the_model():
    value = model_value()
    workers = Here(value)
    matrix_here(value, workers)
    assert len(workers.sent[0].content) > 4 * sum(
        parameter.numel() for parameter in value.switchable.model.parameters()
    )
    assert max(workers.executor.sizes) < 2000
    assert pickle.loads(pickle.dumps(workers.value)) == HeldValue(workers.sent[0].key)


def test_a_model_is_sent_again_only_where_it_has_changed():
    value = model_value()
    workers = Here(value)
    matrix_here(value, workers)
    matrix_here(value, workers)
    assert len(workers.sent) == 1
    with torch.no_grad():
        value.switchable.model[0].weight.mul_(2.0)
    changed = network()
    with torch.no_grad():
        changed[0].weight.mul_(2.0)
    assert same_matrix(matrix_here(value, workers), computed(model_value(model=changed)))
    assert len(workers.sent) == 2


def test_the_size_of_stacks_is_decided_here_and_travels():
    value = model_value(sharing="stack")
    matrix = matrix_here(value)
    assert matrix.provenance.numerics == "stack of 16"
    assert matrix.provenance.mechanism == "stack"
    alone = computed(model_value(sharing="stack"))
    assert torch.equal(matrix.masks, alone.masks)
    torch.testing.assert_close(matrix.values("loss"), alone.values("loss"), rtol=1e-6, atol=0.0)


def test_an_exact_matrix_is_continued_exactly_by_workers_of_a_model_that_would_be_stacked():
    exact = computed(model_value(sharing="loop"))
    value = model_value(sharing="auto")
    value.choice.stack_size = 16  # as if an earlier matrix had been begun so
    part = matrix_here(value, matrix=exact)
    assert part.provenance.numerics == "exact"
    assert same_matrix(part, exact)


class Drawing(nn.Module):
    """Adds noise, also in eval mode."""

    def forward(self, inputs):
        return inputs + torch.randn_like(inputs)


def test_a_model_that_draws_gives_everywhere_the_same_values():
    def drawing():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(WIDTH, WIDTH), Drawing(), nn.Linear(WIDTH, WIDTH), Drawing(), nn.Linear(WIDTH, 4)
        )

    value = model_value(n_players=2, model=drawing().eval())
    torch.manual_seed(9)
    alone = computed(value)
    value = model_value(n_players=2, model=drawing().eval())
    workers = Here(value)
    torch.manual_seed(9)
    value.begin(None)
    torch.manual_seed(1234)  # as in a worker, whose generators are in another state
    together = matrix_here(value, workers)
    assert same_matrix(together, alone)
    assert not torch.equal(alone.values("loss"), computed(model_value(n_players=2)).values("loss"))


def test_a_call_of_a_value_that_was_not_sent_here_names_the_executor_to_pass():
    with pytest.raises(
        StateMismatch, match=r"`value` stands for the model 12345678, but this process holds .*executor"
    ):
        held("1234567890")


def test_a_parcel_is_opened_at_its_first_call_and_let_go_of():
    parcel = packed(model_value())
    hold(parcel)
    assert held(parcel.key) is held(parcel.key)
    let_go(parcel.key)
    with pytest.raises(StateMismatch):
        held(parcel.key)


def test_what_cannot_be_opened_fails_the_call_with_its_reason():
    hold(Parcel(key="broken", content=b"no pickle"))
    with pytest.raises(pickle.UnpicklingError):
        HeldValue("broken")(torch.ones(1, 2, dtype=torch.bool))
    let_go("broken")


def lambda_in(part):
    """A value with something in one of its parts that cannot be pickled."""
    local = lambda *arguments: arguments[0]  # noqa: E731 - the point of it
    if part == "batches":
        return model_value(batches=lambda: batches())
    if part == "target":
        return model_value(target=lambda batch: batch[1])
    if part == "metrics":
        return model_value(Metric(Output("own", "1", True), local))
    model = network()
    settings = {}
    if part == "model":
        model.own = local
    if part == "forward":
        settings["forward"] = lambda model, batch: model(batch[0])
    components = {"first": local} if part == "components" else ["0", "2"]
    value = model_value()
    value.switchable = SwitchableModel(model, components, **settings)
    return value


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("batches", "batches"),
        ("target", "target"),
        ("metrics", r"metrics\['own'\]"),
        ("model", "model"),
        ("forward", "forward"),
        ("components", r"components\['first'\]"),
    ],
)
def test_what_cannot_be_pickled_is_named(part, named):
    wanted = rf"`{named}` cannot be sent to workers \(.*lambda.*\), wanted something that can be pickled; use functions"
    with pytest.raises(InvalidArgument, match=wanted):
        packed(lambda_in(part))


class OtherGenerators(ByPickle):
    """As in another process, where generators are in another state."""

    def submit(self, fn, /, *args, **kwargs):
        torch.manual_seed(len(self.sizes))
        return super().submit(fn, *args, **kwargs)


def test_batches_that_are_shuffled_otherwise_in_a_worker_are_refused():
    inputs = torch.arange(40.0)[:, None].expand(40, WIDTH)
    shuffled = DataLoader(TensorDataset(inputs, torch.zeros(40, dtype=torch.long)), batch_size=8, shuffle=True)
    value = model_value(batches=shuffled)
    workers = Here(value)
    workers.executor = OtherGenerators()
    with pytest.raises(EvaluationError, match="with other contents than in the first pass"):
        matrix_here(value, workers)


@pytest.mark.parametrize(
    ("measure", "message"), [(raise_odd, "layer: it diverged"), (raise_value_error, "it diverged")]
)
def test_an_error_in_a_worker_comes_back_with_the_place_where_it_was_raised(measure, message):
    value = model_value(Metric(Output("own", "1", True), measure))
    with pytest.raises(EvaluationError, match=message) as caught:
        matrix_here(value)
    notes = "".join(caught.value.__cause__.__notes__)
    assert "in a worker:" in notes
    assert measure.__name__ in notes


def test_calls_are_cut_where_neighbours_share_least():
    masks = np.array(list(itertools.product([True, False], repeat=4)))
    assert [len(call) for call in cut_apart(masks, n_calls=4, most=100, order=(0, 1, 2, 3))] == [4, 4, 4, 4]
    # rather a call more than a cut after 6, where neighbours agree on the first two of four players
    assert [len(call) for call in cut_apart(masks, n_calls=3, most=100, order=(0, 1, 2, 3))] == [4, 4, 4, 4]
    assert [len(call) for call in cut_apart(masks, n_calls=1, most=3, order=(0, 1, 2, 3))] == [2, 2, 2, 2, 2, 2, 2, 2]
    np.testing.assert_array_equal(np.concatenate(cut_apart(masks, n_calls=5, most=100, order=(3, 2, 1, 0))), masks)
    assert cut_apart(masks[:0], n_calls=3, most=4, order=(0, 1, 2, 3)) == []


def test_the_order_of_rows_does_not_follow_from_the_number_of_workers():
    """[R10] The same coalitions whatever the number of workers."""
    value = model_value()
    one, many = (matrix_here(value, Here(value, n_workers=number)) for number in (1, 7))
    assert same_matrix(one, many)


def test_settings_that_decide_rounding_travel():
    before = TorchSettings.now()
    threads = torch.get_num_threads()
    try:
        torch.set_float32_matmul_precision("medium")
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        wanted = pickle.loads(pickle.dumps(TorchSettings.now(n_threads=2)))
        before.apply()
        wanted.apply()
        assert TorchSettings.now(n_threads=2) == wanted
        assert torch.get_num_threads() == 2
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.get_default_dtype() == torch.float64
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        before.apply()
        torch.set_num_threads(threads)


def test_without_an_executor_the_value_is_computed_here():
    value = model_value()
    workers = Here(value)
    matrix = computed(workers.value, players=value.switchable.players, outputs=value.outputs)
    assert same_matrix(matrix, computed(model_value()))


def test_any_executor_takes_a_plain_model_value():
    value = model_value(progress=print)  # a callback stays in its process
    assert same_matrix(computed(value, executor=ByPickle()), computed(model_value()))
