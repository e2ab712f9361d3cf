"""Grafting keeps the function bit for bit; surgery, shadow pass and export do what they say."""

import pytest
import torch
from growth_toys import SLOTS, build, examples, same_bits
from torch import nn, optim

from accredit.errors import InvalidArgument, UnknownName
from accredit.growth.catalogue import VECTOR_CATALOGUE, kind_named
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stage import Stage
from accredit.growth.surgery import Surgery

# 0x7fc00123 is a NaN with a payload, 1 the smallest denormal
ODD = torch.tensor([-0.0, 0.0, torch.inf, -torch.inf, torch.nan, 1.5, -1e-30, 3e38]).repeat(2, 1)
ODD[1, 4] = torch.tensor(0x7FC00123, dtype=torch.int32).view(torch.float32)
ODD[1, 5] = torch.tensor(1, dtype=torch.int32).view(torch.float32)
MLP = kind_named(VECTOR_CATALOGUE, "mlp")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disturbed(network: GrowingNetwork) -> GrowingNetwork:
    """Give every parameter of the grafts a value that would show."""
    with torch.no_grad():
        for slot in network.slots:
            for parameter in slot.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator(5)))
    return network


@pytest.mark.parametrize("kind", VECTOR_CATALOGUE, ids=lambda kind: kind.name)
def test_a_slot_hands_on_odd_numbers_bit_for_bit_at_alpha_zero(kind):
    """[R34] -0.0, Inf, NaN with its payload and denormals, in training and at the start of a blend."""
    network = GrowingNetwork([Slot("only", 8), nn.Identity()])
    network.graft("only", kind, generator())
    disturbed(network)
    assert same_bits(network(ODD), ODD)
    network.blend("only")
    assert same_bits(network(ODD), ODD)
    network.set_alpha("only", 0.0)
    assert same_bits(network(ODD), ODD)
    network.set_alpha("only", 0.5)
    assert not same_bits(network(ODD), ODD)


def test_grafts_everywhere_leave_the_output_of_a_host_bit_equal():
    """[R34]"""
    network, inputs = build(0), examples(20)[0]
    before = network(inputs)
    for name in SLOTS:
        network.graft(name, MLP, generator())
    disturbed(network)
    assert same_bits(network(inputs), before)


def test_a_live_graft_adds_its_blended_change():
    """[R34] h + alpha f(h) with the offset alone: f(h) = 2."""
    network = GrowingNetwork([Slot("only", 2), nn.Identity()])
    network.graft("only", kind_named(VECTOR_CATALOGUE, "affine"), generator())
    network.slot("only").graft.offset.data.fill_(2.0)
    network.blend("only")
    network.set_alpha("only", 0.25)
    assert torch.equal(network(torch.tensor([[1.0, -1.0]])), torch.tensor([[1.5, -0.5]]))
    network.set_alpha("only", 1.0)
    assert torch.equal(network(torch.tensor([[1.0, -1.0]])), torch.tensor([[3.0, 1.0]]))
    assert network.slot("only").stage == Stage.HOLDING
    network.commit("only")
    assert network.slot("only").stage == Stage.COMMITTED


def test_the_shadow_pass_gives_training_grafts_a_gradient_and_nothing_in_front_of_them():
    """[R34] The graft stands at alpha = 1 on a detached h."""
    network, inputs = build(0), examples(20)[0]
    network.graft("hidden1", MLP, generator())
    disturbed(network)
    learning = network.training_parameters()
    assert {id(p) for p in learning} == {id(p) for p in network.slot("hidden1").parameters()}
    gradients = torch.autograd.grad(network.shadow(inputs).pow(2).sum(), learning)
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)
    network.shadow(inputs).pow(2).sum().backward()
    first_linear = network.layers[1]
    assert first_linear.weight.grad is None
    hidden = network.layers[2](first_linear(inputs))
    rest = nn.Sequential(*[layer for layer in network.layers if isinstance(layer, nn.Linear | nn.ReLU)][2:])
    wanted = rest(hidden + network.slot("hidden1").graft(hidden))
    assert torch.allclose(network.shadow(inputs), wanted, rtol=0, atol=0)


def test_the_shadow_pass_of_a_network_without_a_graft_in_training_tracks_nothing():
    """[R34]"""
    network = build(0)
    assert network.training_parameters() == []
    assert not network.shadow(examples(3)[0]).requires_grad


def test_a_new_graft_takes_over_the_mode_of_the_network():
    """[R14]"""
    network = build(0).eval()
    network.graft("input", MLP, generator())
    assert not network.slot("input").graft.training


def test_surgery_names_exactly_the_parameters_that_came_and_went():
    """[R37]"""
    network = build(0)
    before = {id(p) for p in network.parameters()}
    added = network.graft("input", MLP, generator())
    assert {id(p) for p in network.parameters()} - before == {id(p) for p in added.added}
    assert added.removed == ()
    assert network.parameter_count() == sum(p.numel() for p in build(0).parameters()) + MLP.parameter_count(8)
    removed = network.prune("input")
    assert [id(p) for p in removed.removed] == [id(p) for p in added.added]
    assert {id(p) for p in network.parameters()} == before


def test_optimizer_state_follows_surgery_and_no_momentum_of_a_pruned_graft_lives_on():
    """[R34]"""
    network, (inputs, labels) = build(0), examples(20)
    optimizer = optim.Adam(network.parameters(), lr=0.01)

    def learn() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network.shadow(inputs), labels).backward()
        optimizer.step()

    network.graft("input", MLP, generator()).follow(optimizer)
    learn()
    learn()
    host = [p for layer in network.layers if isinstance(layer, nn.Linear) for p in layer.parameters()]
    ages = {id(p): float(optimizer.state[p]["step"]) for p in host if p in optimizer.state}
    surgery = network.prune("input")
    surgery.follow(optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in host}
    assert all(parameter not in optimizer.state for parameter in surgery.removed)
    assert {id(p): float(optimizer.state[p]["step"]) for p in host if p in optimizer.state} == ages
    again = network.graft("input", MLP, generator())
    again.follow(optimizer)
    assert all(parameter not in optimizer.state for parameter in again.added)
    learn()
    # the first step of Adam has the size of the learning rate wherever there is a gradient
    assert torch.allclose(network.slot("input").graft.outer.abs().max(), torch.tensor(0.01), rtol=1e-4)


def test_surgery_leaves_no_empty_group_in_the_optimizer():
    """[R34]"""
    parameter = nn.Parameter(torch.zeros(2))
    other = nn.Parameter(torch.zeros(2))
    optimizer = optim.SGD([{"params": [parameter]}, {"params": [other]}], lr=0.1)
    Surgery(slot="x", removed=(other,)).follow(optimizer)
    assert [group["params"] for group in optimizer.param_groups] == [[parameter]]


def test_an_export_is_a_plain_sequential_that_computes_the_same_and_shares_nothing():
    """[R34] Committed, holding and blending grafts stay; slots and grafts in training vanish."""
    network, inputs = build(0), examples(20)[0]
    for name in SLOTS:
        network.graft(name, MLP, generator())
    disturbed(network)
    for name, alpha in (("input", 1.0), ("hidden1", 0.25)):
        network.blend(name)
        network.set_alpha(name, alpha)
    network.commit("input")
    plain = network.export()
    wanted = network(inputs).detach()
    assert type(plain) is nn.Sequential
    assert not any(isinstance(module, Slot) for module in plain.modules())
    assert same_bits(plain(inputs).detach(), wanted)
    grafts = 2 * MLP.parameter_count(8) - (MLP.parameter_count(8) - MLP.parameter_count(6))
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in build(0).parameters()) + grafts
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert same_bits(plain(inputs).detach(), wanted)


@pytest.mark.parametrize("layers", [[nn.Linear(2, 2)], [Slot("twice", 2), Slot("twice", 2)]], ids=["none", "twice"])
def test_a_network_needs_slots_with_names_of_their_own(layers):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`layers` has slots named \[.*\], wanted at least one slot and no name"):
        GrowingNetwork(layers)


def test_unknown_slots_are_named_with_those_that_exist():
    """[R37]"""
    with pytest.raises(UnknownName, match="`slot` is 'inptu', but the network has input, hidden1, hidden2; name one"):
        build(0).graft("inptu", MLP, generator())


def test_operations_in_the_wrong_stage_are_refused():
    """[R37]"""
    network = build(0)
    for operation in (network.blend, network.commit, network.prune):
        with pytest.raises(InvalidArgument, match="got slot 'input' in stage empty, where it is not possible; see"):
            operation("input")
    network.graft("input", MLP, generator())
    with pytest.raises(InvalidArgument, match="`graft` got slot 'input' in stage training"):
        network.graft("input", MLP, generator())
    with pytest.raises(InvalidArgument, match=r"`alpha` of slot 'input' got 0.5 in stage training, wanted .*; call"):
        network.set_alpha("input", 0.5)
    network.blend("input")
    with pytest.raises(InvalidArgument, match=r"`alpha` of slot 'input' got 1.5 in stage blending, wanted a number in"):
        network.set_alpha("input", 1.5)
