"""The graph gives what one pass after another gives, bit for bit, and computes nothing twice that it can keep."""

import itertools

import pytest
import torch
from model_zoo import CASES, Residual, mlp_block
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from accredit.models.batches import ForwardPass, default_forward
from accredit.models.compare import bit_equal
from accredit.models.graph import MOST_GRAPHS, Graph
from accredit.models.graph_capture import NotCapturable
from accredit.models.loop import OneAfterAnother
from accredit.models.switchable import SwitchableModel

PLENTY = 1 << 40
KINDS = ("zero", "identity", "mean", "resample", lambda given, output: 0.5 * output + output.mean())
CAPTURABLE = sorted(name for name, case in CASES.items() if "graph" in case.works or name in ("recurrent", "autocast"))


def coalitions_of(n_players):
    """Up to 32 coalitions of on and off, and four blends."""
    plain = sorted(itertools.product((0.0, 1.0), repeat=n_players), reverse=True)
    blends = [tuple(0.25 * ((3 * player + number) % 5) for player in range(n_players)) for number in range(4)]
    return plain[:: max(1, len(plain) // 32)] + blends


def copied(output):
    return pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, output)


def spoiled(output):
    """What a careless caller does to an output."""
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, torch.Tensor):
            leaf.zero_()


def assert_equals_loop(switchable, batch, *, max_bytes=PLENTY, forward=default_forward):
    """Compare all outputs with those of the plain loop; returns the graph."""
    graph = Graph(switchable, max_bytes=max_bytes)
    coalitions = coalitions_of(len(switchable.players))
    forward_pass = ForwardPass(switchable.model, forward, batch)
    with switchable.evaluating():
        wanted = [copied(output) for output in OneAfterAnother(switchable).outputs(forward_pass, coalitions)]
        for number, output in enumerate(graph.outputs(forward_pass, coalitions)):
            assert pytree.tree_structure(output) == pytree.tree_structure(wanted[number])
            assert bit_equal(output, wanted[number]), coalitions[number]
            spoiled(output)
    return graph


def residual(n_blocks=4):
    torch.manual_seed(0)
    return Residual(nn.Linear(6, 6), [mlp_block() for _ in range(n_blocks)], nn.Linear(6, 5)).eval()


@pytest.mark.parametrize("name", CAPTURABLE)
def test_every_output_of_a_graph_is_that_of_a_plain_pass_bit_for_bit(name):
    case = CASES[name]
    torch.manual_seed(0)
    switchable = SwitchableModel(case.build().eval(), case.components)
    enabled = case.autocast is not None
    with torch.autocast("cpu", dtype=case.autocast or torch.bfloat16, enabled=enabled):
        for batch in case.batches():
            graph = assert_equals_loop(switchable, batch)
    assert graph.segments_shared > 0


@pytest.mark.parametrize("off", KINDS, ids=["zero", "identity", "mean", "resample", "function"])
@pytest.mark.parametrize("max_bytes", [PLENTY, 1000])
def test_every_kind_of_off_is_that_of_a_plain_pass(off, max_bytes):
    batch = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    reference = [batch] if off == "mean" else None
    switchable = SwitchableModel(residual(), ["blocks.*", "blocks.1.1", "stem"], off=off, reference=reference)
    assert_equals_loop(switchable, batch, max_bytes=max_bytes)


class Autocast(nn.Module):
    """Opens contexts of autocast and of gradients around its players."""

    def __init__(self):
        super().__init__()
        self.blocks, self.head = nn.ModuleList(mlp_block() for _ in range(3)), nn.Linear(6, 2)

    def forward(self, inputs):
        stream = inputs
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for block in self.blocks:
                stream = stream + block(stream)
            with torch.autocast("cpu", enabled=False):
                head = self.head(stream.float())
        with torch.enable_grad():
            return head * 2.0


def test_contexts_that_a_model_opens_are_kept():
    torch.manual_seed(0)
    assert_equals_loop(SwitchableModel(Autocast().eval(), ["blocks.*"]), torch.randn(4, 6))


class WritesToOutput(nn.Module):
    """Adds in place to what comes out of a player, which others hold too."""

    def __init__(self):
        super().__init__()
        self.layers, self.norms = (
            nn.ModuleList(nn.Linear(6, 6) for _ in range(3)),
            nn.ModuleList(nn.BatchNorm1d(6) for _ in range(3)),
        )

    def forward(self, inputs):
        stream = inputs
        for layer, norm in zip(self.layers, self.norms, strict=True):
            change = norm(layer(stream))
            change += stream
            stream = functional.relu_(change)
        return stream


@pytest.mark.parametrize("players", [["layers.*"], ["norms.*"], ["layers.*", "norms.*"]])
def test_writes_in_place_reach_nothing_that_is_kept(players):
    torch.manual_seed(0)
    assert_equals_loop(SwitchableModel(WritesToOutput().eval(), players), torch.randn(5, 6))


class WritesToViews(nn.Module):
    """Writes to parts of tensors whose other parts come from other players."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, inputs):
        left = self.first(inputs).clone()
        left[:, 0] = 1.5
        left[:, 1:3].mul_(2.0)
        right = self.second(left) * 1.0
        rows = right.view(-1, 2, 3)
        right[:, 2] += left[:, 3]
        rows[:, 1].add_(left[:, :3])
        return right, rows.sum(dim=1), left


def test_writes_to_views_are_seen_through_the_other_views():
    torch.manual_seed(0)
    assert_equals_loop(SwitchableModel(WritesToViews().eval(), ["first", "second"]), torch.randn(5, 6))


class Structured(nn.Module):
    """Returns a mapping with constants, and an input as it came."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.register_buffer("scale", torch.arange(6.0))
        self.plain = torch.arange(6.0)

    def forward(self, inputs):
        hidden = self.first(inputs) * self.scale
        return {
            "hidden": hidden,
            "views": [hidden.T, inputs],
            "number": 3,
            "none": None,
            "out": self.second(hidden + self.plain),
        }


def test_outputs_keep_their_structure_and_are_nobody_elses_memory():
    torch.manual_seed(0)
    model, batch = Structured().eval(), torch.randn(5, 6)
    before = batch.clone()
    assert_equals_loop(SwitchableModel(model, ["first", "second"]), batch.clone())
    switchable = SwitchableModel(model, ["first", "second"])
    with switchable.evaluating():
        for output in Graph(switchable, max_bytes=PLENTY).outputs(
            ForwardPass(model, default_forward, batch), [(1.0, 1.0), (1.0, 0.0)]
        ):
            spoiled(output)
    assert torch.equal(batch, before)
    assert torch.equal(model.scale, torch.arange(6.0))


def test_attention_keeps_knowing_that_its_inputs_are_one_tensor():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, inputs):
            return self.attention(inputs, inputs, inputs)

    assert_equals_loop(SwitchableModel(Attend().eval(), ["attention"]), torch.randn(3, 5, 8))


class Storages(TorchDispatchMode):
    """Bytes of all tensors that operations made and that still live, at most."""

    def __init__(self, ignored):
        super().__init__()
        self.alive, self.most = {}, 0
        self.ignored = {tensor.untyped_storage()._cdata for tensor in ignored}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.ignored:
                self.alive[storage._cdata] = (
                    StorageWeakRef(storage),
                    storage.nbytes(),
                )
        self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return result


def test_memory_stays_within_the_bound_and_what_was_let_go_is_computed_again():
    batch = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    model = residual(6)
    switchable = SwitchableModel(model, ["blocks.*"])
    coalitions = sorted(itertools.product((0.0, 1.0), repeat=6), reverse=True)
    forward_pass = ForwardPass(model, default_forward, batch)
    runs, most = [], []
    one = 64 * 6 * 4
    for max_bytes in (PLENTY, 10 * one):
        graph = Graph(switchable, max_bytes=max_bytes)
        with switchable.evaluating():
            list(graph.outputs(forward_pass, coalitions[:1]))
            graph.segments_run = graph.peak_bytes = 0
            with Storages([batch, *model.parameters()]) as storages:
                outputs = iter(graph.outputs(forward_pass, coalitions))
                while next(outputs, None) is not None:
                    pass
        runs.append(graph.segments_run)
        most.append(storages.most)
        assert storages.most <= graph.peak_bytes
    assert most[0] > 12 * one
    assert graph.peak_bytes <= 10 * one
    assert runs[1] > runs[0]


class Counted(nn.Module):
    """A block that says how often it was computed, by an operation of its own."""

    def __init__(self, number):
        super().__init__()
        self.number, self.layer = number, nn.Linear(6, 6)

    def forward(self, inputs):
        return torch.ops.accredit_tests.counted(self.layer(inputs), self.number)


RUNS: list[int] = []


@torch.library.custom_op("accredit_tests::counted", mutates_args=())
def counted(tensor: torch.Tensor, number: int) -> torch.Tensor:
    """Note the number."""
    RUNS.append(number)
    return tensor.clone()


@counted.register_fake
def _(tensor: torch.Tensor, number: int) -> torch.Tensor:
    return torch.empty_like(tensor)


def test_a_block_is_computed_once_for_all_coalitions_that_agree_on_what_is_before_it():
    torch.manual_seed(0)
    model = Residual(nn.Linear(6, 6), [Counted(number) for number in range(4)], nn.Linear(6, 5)).eval()
    switchable = SwitchableModel(model, ["blocks.*"])
    forward_pass = ForwardPass(model, default_forward, torch.randn(3, 6))
    coalitions = sorted(itertools.product((0.0, 1.0), repeat=4), reverse=True)
    graph = Graph(switchable, max_bytes=PLENTY)
    with switchable.evaluating():
        graph.outputs(forward_pass, coalitions)
        RUNS.clear()
        assert len(list(graph.outputs(forward_pass, coalitions))) == 16
    # block b is on behind each of the 2^b choices before it
    assert [RUNS.count(number) for number in range(4)] == [1, 2, 4, 8]


def test_what_is_inside_a_player_that_is_off_is_not_computed():
    torch.manual_seed(0)
    inner = nn.Sequential(Counted(1), Counted(2))
    model = Residual(nn.Linear(6, 6), [inner, Counted(0)], nn.Linear(6, 5)).eval()
    switchable = SwitchableModel(model, ["blocks.0", "blocks.0.1", "blocks.1"])
    forward_pass = ForwardPass(model, default_forward, torch.randn(3, 6))
    graph = Graph(switchable, max_bytes=PLENTY)
    with switchable.evaluating():
        RUNS.clear()
        list(graph.outputs(forward_pass, [(0.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)]))
    assert RUNS == [0]


def test_weights_and_attributes_changed_between_calls_are_seen():
    torch.manual_seed(0)

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.alpha, self.options = nn.Linear(6, 6), 0.5, {"shift": 1.0}
            self.plain = torch.ones(6)

        def forward(self, inputs):
            return self.alpha * self.layer(inputs) * self.plain + self.options["shift"]

    model = Scaled().eval()
    switchable = SwitchableModel(model, ["layer"])
    graph = Graph(switchable, max_bytes=PLENTY)
    forward_pass = ForwardPass(model, default_forward, torch.randn(4, 6))

    def check():
        with switchable.evaluating():
            coalitions = coalitions_of(1)
            pairs = zip(
                graph.outputs(forward_pass, coalitions),
                OneAfterAnother(switchable).outputs(forward_pass, coalitions),
                strict=True,
            )
            assert all(bit_equal(first, second) for first, second in pairs)

    check()
    with torch.no_grad():
        model.layer.weight.add_(1.0)
    check()
    model.layer.weight = nn.Parameter(torch.randn(6, 6))
    check()
    model.plain = torch.full((6,), 3.0)
    check()
    model.alpha = 0.25
    check()
    model.options["shift"] = 2.0
    check()
    model.layer = nn.Linear(6, 6)
    switchable = SwitchableModel(model, ["layer"])
    graph = Graph(switchable, max_bytes=PLENTY)
    check()


def test_capturing_and_running_change_nothing_of_the_model():
    """[R14] Weights, buffers, mode, attributes, generators and gradients are as they were after a graph was used."""
    model = CASES["convolutional"].build().train()
    model(CASES["convolutional"].batches()[0][0]).sum().backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    attributes = {module: dict(module.__dict__) for module in model.modules()}
    generator = torch.get_rng_state()
    switchable = SwitchableModel(model, ["blocks.*"])
    with pytest.warns(UserWarning, match="is in train mode"):
        assert_equals_loop(switchable, CASES["convolutional"].batches()[0])
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(map(torch.equal, gradients, (parameter.grad for parameter in model.parameters())))
    assert torch.equal(generator, torch.get_rng_state())
    for module, before in attributes.items():
        assert module.training
        assert module.__dict__.keys() == before.keys()
        assert all(module.__dict__[name] is value for name, value in before.items())


def refusal(model, components, batch, **options):
    """The reason why there is no graph."""
    switchable = SwitchableModel(model.eval(), components, **options)
    weights = (1.0,) * len(switchable.players)
    with switchable.evaluating(), pytest.raises(NotCapturable) as caught:
        list(Graph(switchable, max_bytes=PLENTY).outputs(ForwardPass(model, default_forward, batch), [weights]))
    return str(caught.value)


class Does(nn.Module):
    """A layer and then whatever a function does."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.relu, self.count = nn.Linear(6, 6), nn.ReLU(inplace=True), 0
        self.register_buffer("seen", torch.zeros(6))
        self.function = function

    def forward(self, inputs):
        return self.function(self, self.layer(inputs), inputs)


def counts(model, hidden, inputs):
    model.count += 1
    return hidden


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda model, hidden, inputs: hidden if hidden.sum() > 0 else -hidden, "tracing it failed"),
        (lambda model, hidden, inputs: functional.dropout(hidden, 0.5), "dropout draws random numbers"),
        (lambda model, hidden, inputs: hidden + torch.rand(6), "rand draws random numbers"),
        (lambda model, hidden, inputs: hidden + inputs.add_(1.0), "writes to the batch"),
        (lambda model, hidden, inputs: hidden + model.seen.add_(1.0), "writes to the batch, a parameter or a buffer"),
        (
            lambda model, hidden, inputs: model.relu(hidden) + hidden,
            "goes into or comes out of a player and is used again",
        ),
        (lambda model, hidden, inputs: (hidden, object()), "it returns a object"),
        (lambda model, hidden, inputs: hidden[hidden[:, 0] > 0], "depends on the numbers"),
        (counts, "a pass changes attributes: Does.count"),
    ],
)
def test_what_a_graph_could_get_wrong_is_refused_with_the_reason(function, reason):
    model = Does(function)
    assert reason in refusal(model, ["layer", "relu"], torch.randn(4, 6))
    assert model.count == 0


def test_players_that_are_functions_hooks_and_compiled_parts_are_refused():
    batch = torch.randn(4, 6)
    assert "sets a weight" in refusal(residual(), {"a": "blocks.0", "b": lambda weight: None}, batch)
    hooked = residual()
    hooked.head.register_forward_hook(lambda *_: None)
    assert "a Linear has forward hooks" in refusal(hooked, ["blocks.*"], batch)
    assert "compiled" in refusal(CASES["compiled part"].build(), ["blocks.0"], batch)


def test_batches_of_too_many_forms_or_unknown_contents_are_refused():
    model = residual()
    switchable = SwitchableModel(model, ["blocks.*"])
    graph = Graph(switchable, max_bytes=PLENTY)
    with switchable.evaluating():
        for size in range(2, MOST_GRAPHS + 2):
            graph.outputs(ForwardPass(model, default_forward, torch.randn(size, 6)), [(1.0,) * 4])
        with pytest.raises(NotCapturable, match="batches come in more than 8 forms"):
            graph.outputs(ForwardPass(model, default_forward, torch.randn(99, 6)), [(1.0,) * 4])
    assert "the batch holds a object" in refusal(model, ["blocks.*"], (torch.randn(4, 6), object()))


def test_an_operation_that_fails_while_the_graph_runs_is_told_as_no_graph():
    model = residual()
    switchable = SwitchableModel(model, ["blocks.*"])
    batch = torch.randn(4, 6)
    graph = Graph(switchable, max_bytes=PLENTY)
    with switchable.evaluating():
        outputs = graph.outputs(ForwardPass(model, default_forward, batch), [(1.0,) * 4])
        batch.resize_(4, 7)
        with pytest.raises(NotCapturable, match="running its graph failed"):
            next(outputs)


class Twice(nn.Module):
    """Two outputs, each of a player of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, inputs):
        return self.first(inputs), self.second(inputs)


@pytest.mark.parametrize("max_bytes", [0, 200, PLENTY])
def test_several_outputs_that_were_let_go_are_there_together(max_bytes):
    torch.manual_seed(0)
    assert_equals_loop(SwitchableModel(Twice().eval(), ["first", "second"]), torch.randn(3, 6), max_bytes=max_bytes)
