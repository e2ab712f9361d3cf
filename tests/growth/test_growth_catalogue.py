"""Kinds of graft: what they cost, that they begin as nothing, and what is refused."""

import pytest
import torch

from accredit.errors import InvalidArgument, UnknownName
from accredit.growth.catalogue import VECTOR_CATALOGUE, Activation, VectorKind, kind_named

D = 8
USEFUL = [kind for kind in VECTOR_CATALOGUE if not kind.dropped]
# parameters and multiply-accumulates at 8 features, counted by hand: terms of f(h) = act(h V + b) U + h * a + c
COSTS = {
    "affine": (8 + 8, 8),
    "low-rank": (8 * 2 + 2 * 8, 32),
    "bottleneck": (8 * 4 + 4 + 4 * 8 + 8, 64),
    "mlp": (8 * 16 + 16 + 16 * 8 + 8, 256),
    "dropper": (0, 8),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hidden(rows: int = 5) -> torch.Tensor:
    return torch.randn(rows, D, generator=generator(9))


@pytest.mark.parametrize("kind", VECTOR_CATALOGUE, ids=lambda kind: kind.name)
def test_costs_equal_counts_by_hand_and_by_torch(kind: VectorKind):
    """[R37]"""
    assert (kind.parameter_count(D), kind.mac_count(D)) == COSTS[kind.name]
    assert sum(parameter.numel() for parameter in kind.build(D, generator()).parameters()) == COSTS[kind.name][0]


@pytest.mark.parametrize("kind", USEFUL, ids=lambda kind: kind.name)
def test_a_new_graft_changes_nothing_even_at_full_weight_and_yet_has_a_gradient(kind: VectorKind):
    """[R34] Zero-initialised ends."""
    graft = kind.build(D, generator())
    change = graft(hidden())
    assert torch.equal(change, torch.zeros(5, D))
    change.pow(2).sum().backward()
    graft.zero_grad()
    (graft(hidden()) * hidden()).sum().backward()
    assert sum(float(parameter.grad.abs().sum()) for parameter in graft.parameters()) > 0.1


def test_the_formula_of_a_full_kind_equals_its_terms():
    """[R37] act(h V + b) U + h * a + c, evaluated by hand with numbers."""
    kind = VectorKind(name="all", width=1, activation=Activation.RELU, has_bias=True, has_scale=True, has_offset=True)
    graft = kind.build(2, generator())
    values = {
        "inner": [[1.0], [2.0]],
        "outer": [[3.0, -1.0]],
        "bias": [-1.0],
        "scale": [0.5, 2.0],
        "offset": [1.0, 0.0],
    }
    graft.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    # h = (1, 1): inner 1 + 2 - 1 = 2, so 2 * (3, -1) + (0.5, 2) + (1, 0); h = (-1, 0): inner -2, cut to 0
    expected = torch.tensor([[7.5, 0.0], [0.5, 0.0]])
    assert torch.equal(graft(torch.tensor([[1.0, 1.0], [-1.0, 0.0]])), expected)


def test_the_dropper_zeroes_half_of_the_features_for_good():
    """[R33] The planted harm is really one."""
    graft = kind_named(VECTOR_CATALOGUE, "dropper").build(D, generator(3))
    left = hidden() + graft(hidden())
    zeroed = (left == 0).all(0)
    assert int(zeroed.sum()) == D // 2
    assert torch.equal(left[:, ~zeroed], hidden()[:, ~zeroed])
    assert list(graft.parameters()) == []


def test_initial_weights_depend_on_the_generator_alone():
    """[R10]"""
    before = torch.get_rng_state()
    kind = kind_named(VECTOR_CATALOGUE, "mlp")
    first, second, third = (kind.build(D, generator(seed)).inner for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_kinds_and_impossible_kinds_are_refused():
    """[R37]"""
    with pytest.raises(UnknownName, match=r"`name` is 'mpl', but the catalogue has affine, .*dropper; choose one"):
        kind_named(VECTOR_CATALOGUE, "mpl")
    with pytest.raises(InvalidArgument, match=r"`VectorKind` 'x' got width -1 and dropped 0.0, wanted width >= 0 and"):
        VectorKind(name="x", width=-1)
    with pytest.raises(InvalidArgument, match=r"got width 0 and dropped 1.5, wanted .*\[0, 1\]; correct the catalogue"):
        VectorKind(name="x", dropped=1.5)
    with pytest.raises(InvalidArgument, match=r"got dropped 0.5 and a learned scale, but both are the term a; give"):
        VectorKind(name="x", dropped=0.5, has_scale=True)
