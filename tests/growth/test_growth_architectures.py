"""Hosts of every architecture: what they compute, and that a stack of them equals a loop.

E hosts, S slots, B examples, L positions, D features.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from growth_toys import KIND, RATE, same, same_bits
from torch import Tensor, nn

from accredit.errors import InvalidArgument
from accredit.growth.architectures import (
    CausalAttention,
    FeedForward,
    convolutional_layers,
    mlp_layers,
    normalised,
    transformer_layers,
)
from accredit.growth.catalogue import VECTOR_CATALOGUE
from accredit.growth.coalition_pass import run_branches
from accredit.growth.hosts import Hosts, Players
from accredit.growth.looped import LoopedHosts
from accredit.growth.metric import LogLoss
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stack_forms import form_of
from accredit.growth.stacked import StackedHosts
from accredit.growth.stage import Stage

E, B, L, TOKENS = 3, 6, 5, 7
Batch = tuple[Tensor, Tensor]


def images(generator: torch.Generator, *lead: int) -> Batch:
    return torch.randn(*lead, 1, 8, 8, generator=generator), torch.randint(0, 4, lead, generator=generator)


def sequences(generator: torch.Generator, *lead: int) -> Batch:
    tokens = torch.randint(0, TOKENS, (*lead, L + 1), generator=generator)
    return tokens[..., :-1], tokens[..., 1:]


def vectors(generator: torch.Generator, *lead: int) -> Batch:
    return torch.randn(*lead, 6, generator=generator), torch.randint(0, 4, lead, generator=generator)


def convolutional() -> list[nn.Module]:
    return convolutional_layers((1, 3, 4), size=8, classes=4)


def transformer() -> list[nn.Module]:
    return transformer_layers(tokens=TOKENS, context=L, inner=3, features=8, heads=2, width=4, blocks=1)


class Gated(nn.Module):
    """A layer that nobody here has heard of."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(6, 5, bias=False), nn.Parameter(torch.randn(5))
        self.frozen = nn.Parameter(torch.randn(5), requires_grad=False)
        self.register_buffer("shift", torch.full((5,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.value(x) * self.gate.sigmoid() + self.shift) * self.frozen


def own() -> list[nn.Module]:
    return [Slot("first", 6), Gated(), nn.Tanh(), Slot("second", 5), nn.Linear(5, 4)]


ARCHITECTURES = {
    "convolutional": (convolutional, images),
    "transformer": (transformer, sequences),
    "own": (own, vectors),
}
each = pytest.mark.parametrize(("layers", "draw"), ARCHITECTURES.values(), ids=ARCHITECTURES.keys())


def host(layers: Callable[[], list[nn.Module]], seed: int) -> GrowingNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GrowingNetwork(layers())


def pair_of(layers: Callable[[], list[nn.Module]]) -> tuple[Hosts, Hosts]:
    stack = StackedHosts(host(layers, 0), VECTOR_CATALOGUE, num_hosts=E, learning_rate=RATE)
    for row in range(E):
        stack.reset(row, host(layers, row))
    return stack, LoopedHosts([host(layers, row) for row in range(E)], VECTOR_CATALOGUE, learning_rate=RATE)


@each
def test_a_stack_equals_a_loop_whatever_hosts_are_made_of(
    layers: Callable[[], list[nn.Module]], draw: Callable[..., Batch]
):
    """[R34] Losses, weights and values of all coalitions, with grafts in training, blending and committed."""
    pair, generator = pair_of(layers), torch.Generator().manual_seed(0)
    slots = len(host(layers, 0).slots)
    stages, alphas = np.zeros((E, slots), dtype=np.int64), np.zeros((E, slots))
    unseen = draw(torch.Generator().manual_seed(1), 20)

    def compare(steps: int) -> None:
        for hosts in pair:
            hosts.set_stages(stages, alphas)
        for _ in range(steps):
            batch = draw(generator, E, B)
            first, second = (hosts.train(*batch) for hosts in pair)
            assert torch.allclose(first, second, atol=5e-5)
        for players in Players:
            one, other = (hosts.evaluate([2, 0, 1], *unseen, players=players) for hosts in pair)
            assert one.slots == other.slots
            assert one.log_loss.shape == other.log_loss.shape == (E, 2 ** len(one.slots), 20)
            assert torch.allclose(one.log_loss, other.log_loss, atol=5e-4)
            assert (one.is_correct - other.is_correct).abs().mean() < 0.02
        for row in range(E):
            one_row, other_row = (hosts.network(row, host(layers, 99)).state_dict() for hosts in pair)
            assert list(one_row) == list(other_row)
            assert all(torch.allclose(one_row[name], other_row[name], atol=5e-4) for name in one_row)

    compare(2)
    for row, slot, kind in ((0, 0, "mlp"), (0, 1, "bottleneck"), (1, 1, "affine"), (2, 0, "dropper")):
        for hosts in pair:
            hosts.graft(row, slot, KIND[kind], seed=row + 5)
        stages[row, slot] = Stage.TRAINING
    compare(3)
    stages[0, 0], alphas[0, 0] = Stage.BLENDING, 0.5
    stages[1, 1], alphas[1, 1] = Stage.COMMITTED, 1.0
    compare(3)
    assert pair[0].evaluate([0], *unseen, players=Players.LIVE).slots == (0,)
    trained = pair[0].network(1, host(layers, 99)).state_dict()
    assert not same(trained, host(layers, 1).state_dict())


@each
def test_an_exported_network_computes_what_the_network_computes(
    layers: Callable[[], list[nn.Module]], draw: Callable[..., Batch]
):
    """[R34] Bit for bit, with features along any axis; slots and candidates are gone."""
    network, (inputs, _) = host(layers, 0), draw(torch.Generator().manual_seed(0), B)
    plain = network(inputs)
    first, second = network.slots[:2]
    generator = torch.Generator().manual_seed(0)
    for slot in (first, second):
        network.graft(slot.name, VECTOR_CATALOGUE[KIND["mlp"]], generator)
        with torch.no_grad():
            for parameter in slot.parameters():
                parameter.normal_(0.0, 0.3, generator=generator)
    assert same_bits(network(inputs), plain)
    network.blend(first.name)
    network.set_alpha(first.name, 0.5)
    exported = network.export()
    assert same_bits(exported(inputs), network(inputs))
    assert not torch.equal(exported(inputs), plain)
    assert not any(isinstance(module, Slot) for module in exported.modules())
    grafts = sum(parameter.numel() for parameter in second.parameters())
    assert sum(parameter.numel() for parameter in exported.parameters()) == network.parameter_count() - grafts


def test_grafts_on_channels_are_convolutions_of_one_pixel():
    """[R34] h + alpha f(h) with features along axis 1, against conv2d."""
    slot = Slot("conv", 4, axis=1)
    network = GrowingNetwork([slot])
    generator = torch.Generator().manual_seed(0)
    network.graft("conv", VECTOR_CATALOGUE[KIND["low-rank"]], generator)
    with torch.no_grad():
        for parameter in slot.parameters():
            parameter.normal_(generator=generator)
    slot.stage, slot.alpha = Stage.BLENDING, 0.25
    hidden = torch.randn(2, 4, 3, 5, generator=generator)
    inner, outer = slot.graft.inner, slot.graft.outer
    wanted = hidden + 0.25 * F.conv2d(F.conv2d(hidden, inner.T[:, :, None, None]), outer.T[:, :, None, None])
    assert torch.allclose(network(hidden), wanted, atol=1e-5)


def test_a_position_sees_itself_and_those_before_it_only():
    """[R37] Outputs up to a place do not change when what follows does."""
    network = host(transformer, 0)
    tokens = torch.tensor([[0, 1, 2, 3, 4]])
    for place in range(1, L):
        other = tokens.clone()
        other[0, place] = 6
        changed = (network(other) != network(tokens)).any(-1)[0]
        assert changed.tolist() == [at >= place for at in range(L)]


def test_attention_is_that_of_pytorch_with_a_bias_by_distance():
    """[R37] Against scaled_dot_product_attention; slopes 1 and 1/4."""
    layer, hidden = CausalAttention(8, L, heads=2), torch.randn(2, L, 8, generator=torch.Generator().manual_seed(0))
    parts = layer.inside(hidden / (hidden.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    query, key, value = (part.view(2, L, 2, 4).transpose(1, 2) for part in parts.chunk(3, dim=-1))
    bias = torch.tensor(
        [[[-slope * (i - j) if j <= i else -math.inf for j in range(L)] for i in range(L)] for slope in (1.0, 0.25)]
    )
    gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).reshape(2, L, 8)
    assert torch.allclose(layer(hidden), hidden + layer.outside(gathered), atol=1e-5)


def test_normalised_vectors_have_a_mean_square_of_one():
    """[R37] And zeros stay zeros."""
    hidden = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)) * 100
    assert torch.allclose(normalised(hidden).square().mean(-1), torch.ones(4))
    assert torch.equal(normalised(torch.zeros(1, 8)), torch.zeros(1, 8))


def test_layers_and_slots_stand_as_described():
    """[R37] Names, features and axes; parameters counted by hand."""
    conv, text = host(convolutional, 0), host(transformer, 0)
    assert [(slot.name, slot.features, slot.axis) for slot in conv.slots] == [
        ("conv1", 3, 1),
        ("conv2", 4, 1),
        ("head", 16, -1),
    ]
    assert conv.parameter_count() == (9 * 3 + 3) + (27 * 4 + 4) + (16 * 4 + 4)
    assert [(slot.name, slot.features) for slot in text.slots] == [("embedding", 8), ("attention1", 8), ("block1", 8)]
    attention, feed = 8 * 24 + 8 * 8 + 8, 8 * 4 + 4 + 4 * 8 + 8
    assert text.parameter_count() == 7 * 3 + 3 * 8 + attention + feed + 8 * 7 + 7
    assert [slot.name for slot in mlp_layers((4, 3, 2), (0, 0, 1)) if isinstance(slot, Slot)] == [
        "input-1",
        "input-2",
        "hidden1",
    ]


@pytest.mark.parametrize("layer", [CausalAttention(8, L, heads=2), FeedForward(8, 4), nn.Linear(8, 5), nn.LayerNorm(8)])
def test_a_batched_layer_equals_the_layer_of_each_host(layer: nn.Module):
    """[R34] Two hosts with weights of their own; parameters travel there and back bit for bit."""
    form, other = form_of(layer), type(layer)(*ARGUMENTS[type(layer)])
    tensors = [torch.zeros(2, *shape) for shape in form.shapes]
    for row, source in enumerate((layer, other)):
        form.write(source, [tensor[row : row + 1] for tensor in tensors])
    hidden = torch.randn(2, 3, L, 8, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack([layer(hidden[0]), other(hidden[1])])
    assert torch.allclose(form.forward(tensors, hidden), wanted, atol=1e-5)
    fresh = type(layer)(*ARGUMENTS[type(layer)])
    form.read([tensor[1:] for tensor in tensors], fresh)
    assert same(dict(fresh.named_parameters()), dict(other.named_parameters()))


ARGUMENTS = {CausalAttention: (8, L, 2), FeedForward: (8, 4), nn.Linear: (8, 5), nn.LayerNorm: (8,)}


def test_what_is_not_learned_stays_as_it_is_in_a_stack():
    """[R34] Parameters without gradient do not move, the others do."""
    stack, _ = pair_of(own)
    stack.train(*vectors(torch.Generator().manual_seed(0), E, B))
    before, after = host(own, 1).state_dict(), stack.network(1, host(own, 99)).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"layers.1.gate", "layers.1.value.weight", "layers.4.weight", "layers.4.bias"}


def stack_of(*layers: nn.Module) -> StackedHosts:
    return StackedHosts(GrowingNetwork(layers), VECTOR_CATALOGUE, num_hosts=1, learning_rate=RATE)


def test_layers_that_cannot_be_stacked_are_refused():
    """[R37]"""
    wanted = "`network` has a Dropout, which draws random numbers, wanted layers whose values depend on"
    with pytest.raises(InvalidArgument, match=wanted):
        stack_of(Slot("s", 4), nn.Dropout(0.5))
    wanted = r"`network` has a BatchNorm1d, which keeps statistics of its batches, wanted .*; give the task is_stacked"
    with pytest.raises(InvalidArgument, match=wanted):
        stack_of(Slot("s", 4), nn.Sequential(nn.BatchNorm1d(4)))
    wanted = (
        r"`network` has the parameter 'weight' of Linear in torch.float64, wanted torch.float32 in a stack; convert"
    )
    with pytest.raises(InvalidArgument, match=wanted):
        stack_of(Slot("s", 4), nn.Linear(4, 4).double())
    tied = nn.Linear(4, 4)
    wanted = "`network` has 2 parameters that several layers share, wanted none in a stack; put what shares them into"
    with pytest.raises(InvalidArgument, match=wanted):
        stack_of(Slot("s", 4), tied, nn.ReLU(), nn.Sequential(tied))


def test_a_constant_that_differs_from_host_to_host_is_refused():
    """[R37] The stack would use that of the first."""
    stack, odd = stack_of(Slot("s", 6), Gated()), Gated()
    odd.shift += 1.0
    wanted = "`network` has a buffer 'shift' that differs from host to host, wanted constants in a stack; make it"
    with pytest.raises(InvalidArgument, match=wanted):
        stack.reset(0, GrowingNetwork([Slot("s", 6), odd]))


def test_an_evaluation_in_small_passes_equals_one_in_a_large_pass(monkeypatch: pytest.MonkeyPatch):
    """[R9] Memory is bounded by the widest tensor of a pass, and what is measured does not change."""
    stack, _ = pair_of(transformer)
    stack.graft(1, 0, KIND["mlp"], seed=0)
    unseen = sequences(torch.Generator().manual_seed(1), 11)
    whole = stack.evaluate(range(E), *unseen, players=Players.NOBODY)
    passes = []

    def counted(layout: object, weights: Tensor, inputs: Tensor, **keywords: object) -> Tensor:
        passes.append(inputs.shape)
        return run_branches(layout, weights, inputs, **keywords)

    monkeypatch.setattr("accredit.growth.stacked.run_branches", counted)
    # the widest tensor of an example is the residual stream, 5 positions of 8 features
    monkeypatch.setattr("accredit.growth.stacked.LARGEST_PASS", 4 * E * L * 8)
    pieces = stack.evaluate(range(E), *unseen, players=Players.NOBODY)
    assert [shape[1] for shape in passes] == [4, 4, 3]
    assert torch.allclose(whole.log_loss, pieces.log_loss, atol=1e-6)
    assert torch.equal(whole.is_correct, pieces.is_correct)


def test_of_classes_that_are_level_the_first_is_the_answer():
    """[R7] A head that starts at zero is no perfect classifier: it answers the first class."""
    level = LogLoss().score(torch.zeros(2, 4, TOKENS), torch.tensor([0, 0, 1, 2]))
    assert level.is_correct.tolist() == [[1.0, 1.0, 0.0, 0.0]] * 2
    sequences = LogLoss().score(torch.zeros(2, 2, 4, TOKENS), torch.tensor([[0, 0, 1, 2], [1, 1, 1, 1]]))
    assert sequences.is_correct.tolist() == [[0.5, 0.0]] * 2


def test_the_value_of_a_sequence_is_the_mean_over_its_positions():
    """[R7] Against cross_entropy, and counted by hand; for training and for evaluation alike."""
    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(2, B, L, TOKENS, generator=generator), torch.randint(0, TOKENS, (B, L))
    score = LogLoss().score(outputs, labels)
    for row in range(2):
        wanted = F.cross_entropy(outputs[row].flatten(0, 1), labels.flatten(), reduction="none").view(B, L).mean(1)
        assert torch.allclose(score.log_loss[row], wanted, atol=1e-6)
        assert torch.allclose(LogLoss().loss(outputs, labels.expand(2, B, L))[row], wanted, atol=1e-6)
        assert torch.allclose(score.is_correct[row], (outputs[row].argmax(-1) == labels).float().mean(1))


def test_a_summary_lists_layers_and_slots_with_their_costs():
    """[R37] Counted by hand: 27 weights at each place of the first convolution, 2 D R of the graft."""
    network = host(convolutional, 0)
    network.graft("conv1", VECTOR_CATALOGUE[KIND["mlp"]], torch.Generator())
    network.blend("conv1")
    network.set_alpha("conv1", 0.5)
    lines = [line.split() for line in network.summary().splitlines()]
    assert lines[0] == ["layer", "stage", "graft", "alpha", "parameters", "MACs"]
    assert lines[1] == ["Conv2d", "30", "27"]
    assert lines[3] == ["slot", "conv1", "blending", "mlp", "0.50", str(3 * 16 + 16 + 16 * 3 + 3), str(2 * 3 * 16)]
    assert lines[6] == ["slot", "conv2", "empty", "0", "0"]
    assert lines[-1] == ["sum", str(network.parameter_count()), str(27 + 96 + 108 + 64)]
    network.prune("conv1")
    assert network.summary().splitlines()[3].split() == ["slot", "conv1", "empty", "0", "0"]


def test_a_host_out_of_a_stack_has_the_summary_of_its_grafts():
    """[R37] The same as of one out of a loop."""
    tables = []
    for hosts in pair_of(transformer):
        hosts.graft(1, 0, KIND["affine"], seed=1)
        stages = np.zeros((E, 3), dtype=np.int64)
        stages[1, 0] = Stage.TRAINING
        hosts.set_stages(stages, np.zeros((E, 3)))
        tables.append(hosts.network(1, host(transformer, 9)).summary())
    assert tables[0] == tables[1]
    assert tables[0].splitlines()[2].split() == ["slot", "embedding", "training", "affine", "0.00", "16", "8"]
