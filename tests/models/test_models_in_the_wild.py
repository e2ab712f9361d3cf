"""Models, batches and outputs as users have them: what is odd about them is evaluated rightly or refused in words."""

import dataclasses
import itertools
from collections import UserDict

import pytest
import torch
from torch import Tensor, nn

from accredit import Output
from accredit.errors import EvaluationError, InvalidArgument, OutOfMemory, StateMismatch
from accredit.models import Metric, ModelValue, SwitchableModel, accuracy, log_loss, token_log_loss
from accredit.models.component import Component

WAYS = ("loop", "replay", "graph", "stack", "auto")
X = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 1, 2, 0, 1])
BOTH = torch.tensor([[True, True], [True, False], [False, True], [False, False]])


class TwoLayers(nn.Module):
    """Layers a and c are players of most tests here."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.c, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.eval()

    def forward(self, x):
        return self.head(torch.tanh(self.c(torch.relu(self.a(x)))))


@dataclasses.dataclass(frozen=True)
class Record:
    """An output, or a batch, that torch's pytree does not know."""

    logits: Tensor
    other: Tensor | None = None


def zeroed(module, inputs, output):
    """Forward hook: off."""
    return torch.zeros_like(output)


def plain_losses(model, call, masks=BOTH, parts=("a", "c")):
    """Log-losses [M, B] of ordinary passes, with hooks that zero what is off."""
    rows = []
    for mask in masks.tolist():
        handles = [
            model.get_submodule(part).register_forward_hook(zeroed)
            for part, on in zip(parts, mask, strict=True)
            if not on
        ]
        with torch.no_grad():
            rows.append(nn.functional.cross_entropy(call().double(), Y, reduction="none"))
        for handle in handles:
            handle.remove()
    return torch.stack(rows)


def refusal_of(value, way):
    """Why one way cannot be had, which is said of a way by name; None where it can."""
    try:
        value(BOTH[:1])
    except InvalidArgument as error:
        return str(error) if f"`sharing` is '{way}'" in str(error) else None
    return None


def evaluated(model, batches, way, parts=("a", "c"), **arguments):
    """Log-losses by one way; None where it is refused by name, as a way may be, but "loop" and "auto" never."""
    forward = {"forward": arguments.pop("forward")} if "forward" in arguments else {}
    value = ModelValue(SwitchableModel(model, list(parts), **forward), batches, [log_loss()], sharing=way, **arguments)
    if way not in ("loop", "auto") and refusal_of(value, way):
        return None
    return value(BOTH)["loss"]


@pytest.mark.parametrize("way", WAYS)
def test_outputs_that_are_dataclasses_are_those_of_plain_passes(way):
    """[R2] Also where coalitions go side by side: each gets the rows of its own."""

    class Recording(TwoLayers):
        def forward(self, x):
            return Record(super().forward(x), x)

    model = Recording()
    truth = plain_losses(model, lambda: model(X).logits)
    rows = []

    def first_logits(output, target):
        rows.append(output.other.shape)
        return output.logits[:, 0]

    losses = evaluated(model, [(X, Y)], way)
    if losses is not None:
        torch.testing.assert_close(losses, truth, rtol=1e-6, atol=1e-6)
        # without a target nothing but the output itself tells how many examples there are
        value = ModelValue(
            SwitchableModel(model, ["a", "c"]), [X], [Metric(Output("m", "1", True), first_logits)], sharing=way
        )
        assert value(BOTH)["m"].shape == (4, 5)
        assert set(rows) == {(5, 6)}


def test_outputs_of_unknown_objects_are_not_cut_into_coalitions():
    """[R2]"""

    class Distribution(TwoLayers):
        def forward(self, x):
            return torch.distributions.Categorical(logits=super().forward(x), validate_args=False)

    value = ModelValue(SwitchableModel(Distribution(), ["a", "c"]), [(X, Y)], [log_loss()], sharing="stack")
    with pytest.raises(InvalidArgument, match="an output holds a Categorical, which cannot be taken apart into exam"):
        value(BOTH)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["dataclass", "UserDict", "mapping"])
def test_batches_of_records_are_evaluated_and_held_to_what_they_were(kind, way):
    """[R10] What a tokenizer or a dataclass gives; contents that change between passes are noticed inside it."""
    model = TwoLayers()
    shift = [0.0]

    def batches():
        x = X + shift[0]
        return [
            {"dataclass": Record(x, Y), "UserDict": UserDict(x=x, labels=Y), "mapping": {"x": x, "labels": Y}}[kind]
        ]

    arguments = {}
    if kind == "dataclass":
        arguments = {"forward": lambda model, batch: model(batch.logits), "target": lambda batch: batch.other}
    losses = evaluated(model, batches, way, **arguments)
    if losses is None:
        assert (way, kind) == ("graph", "dataclass")
        return
    torch.testing.assert_close(losses, plain_losses(model, lambda: model(X)), rtol=1e-6, atol=1e-6)
    forward = {"forward": arguments.pop("forward")} if arguments else {}
    value = ModelValue(
        SwitchableModel(model, ["a", "c"], **forward), batches, [log_loss()], sharing="loop", **arguments
    )
    value(BOTH)
    shift[0] = 1.0
    with pytest.raises(StateMismatch, match="`batches` gave batch 0 with other contents than in the first pass"):
        value(BOTH)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("amount", [0.0, 1.0])
def test_a_model_that_writes_into_its_input_is_evaluated_and_the_data_stay(way, amount):
    """[R14] Every pass gets a copy: with a clamp, which is the same twice, and with a sum, which is not."""

    class Writing(TwoLayers):
        def forward(self, x):
            x.clamp_(-0.5, 0.5)
            x += amount
            return super().forward(x)

    model, x = Writing(), X.clone()
    losses = evaluated(model, [(x, Y)], way)
    assert losses is not None
    torch.testing.assert_close(losses, plain_losses(model, lambda: model(X.clone())), rtol=1e-6, atol=1e-6)
    assert torch.equal(x, X)


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_that_cannot_be_stacked_is_evaluated_otherwise(way):
    """[R2] An adjacency matrix has examples along both of its axes."""

    class Graph(TwoLayers):
        def forward(self, adjacency, x):
            return super().forward(adjacency @ x)

    model, adjacency = Graph(), torch.ones(5, 5) / 5
    losses = evaluated(model, [(adjacency, X, Y)], way)
    assert way != "stack" or losses is None
    if losses is not None:
        assert torch.equal(losses, plain_losses(model, lambda: model(adjacency, X)))


@pytest.mark.parametrize("way", WAYS)
def test_sparse_tensors_in_model_batch_and_forward_are_evaluated(way):
    """[R2] Where the graph and replay cannot have them, they say so."""

    class Sparse(TwoLayers):
        def __init__(self):
            super().__init__()
            self.register_buffer("mixing", (torch.eye(6) * 2).to_sparse())

        def forward(self, adjacency, x):
            x = torch.sparse.mm(adjacency, torch.sparse.mm(self.mixing, self.a(x).T).T)
            return self.head(self.c(x * torch.eye(6).to_sparse().to_dense().sum(0)))

    model, adjacency = Sparse(), (torch.eye(5) * 3).to_sparse()
    truth = plain_losses(model, lambda: model(adjacency, X))
    losses = evaluated(model, [(adjacency, X, Y)], way)
    assert (losses is None) == (way not in ("loop", "auto"))
    if losses is not None:
        assert torch.equal(losses, truth)


def test_a_buffer_that_a_later_batch_writes_to_is_put_back():
    """[R14] The first batch leaves it as it is, so the first passes do not show it."""

    class Scratch(TwoLayers):
        def __init__(self):
            super().__init__()
            self.register_buffer("scratch", X.mean(0))

        def forward(self, x):
            self.scratch.copy_(x.mean(0))
            return super().forward(x) + self.scratch.sum()

    model = Scratch()
    assert evaluated(model, [(X, Y), (X + 1, Y)], "loop") is not None
    assert torch.equal(model.scratch, X.mean(0))


def test_a_model_that_writes_to_its_weights_is_refused():
    """[R14] Also through `.data`, which leaves no version behind."""

    class Clipping(TwoLayers):
        def forward(self, x):
            self.a.weight.data.clamp_(-0.1, 0.1)
            return super().forward(x)

    with pytest.raises(InvalidArgument, match=r"`model` writes to its parameters in forward \(a.weight\), wanted weig"):
        evaluated(Clipping(), [(X, Y)], "loop")


def test_a_part_that_leaves_something_in_an_attribute_is_refused_where_it_is_read_while_off():
    """[R10] Its value would depend on which coalition came before; a part that is computed while off is right."""

    class Routed(nn.Linear):
        def forward(self, x):
            self.load = x.square().mean()
            return super().forward(x)

    class Mixture(TwoLayers):
        def __init__(self):
            super().__init__()
            self.c = Routed(6, 6)
            self.c.load = torch.zeros(())
            self.eval()

        def forward(self, x):
            return super().forward(x) + self.c.load

    model = Mixture()
    with pytest.raises(InvalidArgument, match=r"reads what an earlier pass left in an attribute \(Routed.load\) while"):
        evaluated(model, [(X, Y)], "auto")
    assert model.c.load == 0
    truth = plain_losses(model, lambda: model(X))
    switchable = SwitchableModel(model, ["a", "c"], off=lambda given, output: output * 0)
    for way in ("loop", "replay"):
        assert torch.equal(ModelValue(switchable, [(X, Y)], [log_loss()], sharing=way)(BOTH)["loss"], truth)


def test_a_model_that_differentiates_inside_is_not_replayed():
    """[R2] What replay keeps has no history."""

    class Score(TwoLayers):
        def forward(self, x):
            with torch.enable_grad():
                given = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self.head(torch.tanh(self.a(given))).sum(), given)
            return super().forward(x - slope)

    switchable = SwitchableModel(Score(), ["a", "c"], off=lambda given, output: output * 0.5)
    value = ModelValue(switchable, [(X, Y)], [log_loss()], sharing="replay")
    with pytest.raises(InvalidArgument, match="does not work here: `forward` turns gradients on"):
        value(BOTH)


def test_a_model_whose_examples_meet_in_a_range_is_not_stacked():
    """[R2] A resampled part keeps its numbers, so that only a blend shows that they are scaled by the whole batch."""

    class Ranged(TwoLayers):
        def forward(self, x):
            hidden = self.c(self.a(x))
            return self.head((hidden / hidden.abs().max() * 7).round() / 7)

    switchable = SwitchableModel(Ranged(), ["a", "c"], off="resample")
    value = ModelValue(switchable, [(X, Y)], [log_loss()], sharing="stack")
    with pytest.raises(InvalidArgument, match="stacked outputs differ from single ones by"):
        value(BOTH)


def test_parts_of_a_script_are_refused_with_the_reason():
    """[R2]"""
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        scripted = torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3)).eval())
    value = ModelValue(SwitchableModel(scripted, ["0"]), [(X, Y)], [log_loss()])
    with pytest.raises(
        InvalidArgument, match=r"`components` has '0' \(0\) inside a torch.jit script, which runs as one"
    ):
        value(torch.ones(1, 1, dtype=torch.bool))


def test_no_memory_on_the_cpu_is_told_in_words():
    """[R9]"""

    class Huge(TwoLayers):
        def forward(self, x):
            return super().forward(x) + torch.empty(1 << 50).sum()

    with pytest.raises(OutOfMemory, match="`batches` gave a batch that does not fit into memory beside the model"):
        evaluated(Huge(), [(X, Y)], "loop")


@pytest.mark.parametrize(
    ("components", "sentence"),
    [
        (None, "`components` is a NoneType, wanted a list of paths, or a mapping from names to paths"),
        ([0], "`components` has a int, wanted the path of a module; pass a path such as 'blocks.0', or a Component"),
        ({"x": [0]}, r"`paths` of 'x' is \(0,\), wanted the paths of modules as texts in a tuple"),
        ({"x": None}, "`components` has a NoneType, wanted the path of a module"),
    ],
)
def test_components_that_are_no_paths_are_refused(components, sentence):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=sentence):
        SwitchableModel(TwoLayers(), components)


def test_a_module_in_the_place_of_its_path_is_told_its_path():
    """[R37] It could be called, and would be taken for a function that sets a weight."""
    model = TwoLayers()
    for components in ([model.c], {"x": model.c}):
        with pytest.raises(InvalidArgument, match="`components` has a Linear, wanted the path of a module; pass 'c'"):
            SwitchableModel(model, components)
    with pytest.raises(InvalidArgument, match=r"`model` is a function, wanted an nn\.Module"):
        SwitchableModel(lambda x: x, ["a"])
    with pytest.raises(InvalidArgument, match="`paths` of 'x' is 'head', wanted the paths of modules as texts"):
        Component(name="x", paths="head")


@pytest.mark.parametrize(
    ("measure", "sentence"),
    [
        (
            lambda o, t: float(o.mean()),
            "metric 'm' returned a float for {a, c}, wanted a tensor of real numbers, or Wei",
        ),
        (lambda o, t: o[:, 0].numpy(), "metric 'm' returned a ndarray for {a, c}, wanted a tensor of real numbers"),
        (lambda o, t: o[:, 0] * 1j, "metric 'm' returned torch.complex64 for {a, c}, wanted a tensor of real numbers"),
        (lambda o, t: o[:3, 0], "metric 'm' returned 3 numbers for {a, c}, wanted 5, one per example of the batch"),
    ],
)
def test_metrics_that_do_not_measure_every_example_are_refused(measure, sentence):
    """[R11]"""
    value = ModelValue(SwitchableModel(TwoLayers(), ["a", "c"]), [(X, Y)], [Metric(Output("m", "1", True), measure)])
    with pytest.raises(EvaluationError) as caught:
        value(BOTH)
    assert sentence in str(caught.value)


def test_a_metric_of_another_length_under_another_coalition_is_refused():
    """[R11] A single number would otherwise be spread over all examples."""
    lengths = itertools.chain([5], itertools.repeat(1))
    metric = Metric(Output("m", "1", True), lambda output, target: output[: next(lengths), 0])
    value = ModelValue(SwitchableModel(TwoLayers(), ["a", "c"]), [X], [metric], sharing="loop")
    with pytest.raises(EvaluationError, match="metric 1 of 1 returned 1 numbers, wanted 5 as for the coalition before"):
        value(BOTH)


@pytest.mark.parametrize(
    ("metric", "target", "sentence"),
    [
        (log_loss(), torch.rand(5), r"`log_loss` got a target of shape \(5,\) and torch.float32 for logits of shape"),
        (log_loss(), Y[:, None], r"`log_loss` got a target of shape \(5, 1\) and torch.int64 .* of shape \(5,\)"),
        (log_loss(), Y + 7, "`log_loss` got the class 7 for logits of 3 classes, wanted 0 to 2"),
        (accuracy(), Y[:3], r"`accuracy` got a target of shape \(3,\)"),
        (token_log_loss(), Y, r"`token_log_loss` got logits of shape \(5, 3\), wanted \(examples, tokens, classes\)"),
    ],
)
def test_targets_that_do_not_fit_the_logits_are_refused(metric, target, sentence):
    """[R37]"""
    value = ModelValue(SwitchableModel(TwoLayers(), ["a", "c"]), [(X, target)], [metric])
    with pytest.raises(InvalidArgument, match=sentence):
        value(BOTH)


def test_arguments_of_other_kinds_are_refused():
    """[R37] Batches that cannot be gone through, metrics that are none, masks that are no tensor or empty."""
    switchable = SwitchableModel(TwoLayers(), ["a", "c"])
    with pytest.raises(InvalidArgument, match="`batches` is a int, wanted batches to go through"):
        ModelValue(switchable, 5, [log_loss()])(BOTH)
    with pytest.raises(InvalidArgument, match="`batches` returned a NoneType, wanted batches to go through"):
        ModelValue(switchable, lambda: None, [log_loss()])(BOTH)
    for metrics in (log_loss(), [log_loss]):
        with pytest.raises(InvalidArgument, match=r"`metrics` is .*, wanted a list of metrics; pass for example"):
            ModelValue(switchable, [(X, Y)], metrics)
    value = ModelValue(switchable, [(X, Y)], [log_loss()])
    with pytest.raises(InvalidArgument, match="`masks` is a ndarray, wanted bool, or weights"):
        value(BOTH.numpy())
    with pytest.raises(InvalidArgument, match=r"`masks` has the shape \(0, 2\)"):
        value(BOTH[:0])


def test_a_reference_of_another_length_than_the_batches_is_refused():
    """[R37] The mean of a module has the shape of its output."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)).eval()
    switchable = SwitchableModel(model, ["0"], off="mean", reference=[torch.ones(2, 3, dtype=torch.int64)])
    batches = [(torch.ones(2, 4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.int64))]
    with pytest.raises(InvalidArgument, match=r"`off='mean'` of '0' got an output of shape \(2, 4, 4\), but the mean"):
        ModelValue(switchable, batches, [token_log_loss()])(torch.zeros(1, 1, dtype=torch.bool))


@pytest.mark.parametrize("way", ["loop", "stack"])
def test_a_batch_without_examples_counts_for_nothing(way):
    """[R37]"""
    model = TwoLayers()
    losses = evaluated(model, [(X, Y), (X[:0], Y[:0])], way)
    torch.testing.assert_close(losses, plain_losses(model, lambda: model(X)), rtol=1e-6, atol=1e-6)
