"""The grafts of a stack: values and gradient against the formula, row by row, in float64.

W rows with an inner layer, A with a straight term, B examples, D features.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accredit.growth.catalogue import VECTOR_CATALOGUE, Activation, VectorKind
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stack_grafts import GraftRows, graft_rows, with_grafts
from accredit.growth.stack_layout import SlotPlace, StackLayout

B, D = 3, 4
ALL = VectorKind(name="all", width=2, activation=Activation.RELU, has_bias=True, has_scale=True, has_offset=True)
CATALOGUE = (*VECTOR_CATALOGUE, ALL)
HOSTS = np.array([0, 1, 2, 3, 4, 5, 6, 5, 0, 3])  # the last three are other rows of the same hosts
ALPHAS = np.array([0.5, 1.0, 0.25, 1.0, 0.5, 0.75, 1.0, 1.0, 0.0, 0.0])
KINDS = np.array([0, 1, 2, 3, 4, 5, -1])  # one of each kind, and a host without a graft


def place_at(axis: int = -1) -> SlotPlace:
    return StackLayout(GrowingNetwork([Slot("s", D, axis=axis), nn.Linear(D, 2)]), CATALOGUE).places[0]


def rows_at(place: SlotPlace) -> GraftRows:
    relu = [kind >= 0 and CATALOGUE[kind].activation == Activation.RELU for kind in KINDS.tolist()]
    floor = torch.where(torch.tensor(relu), 0.0, -torch.inf).double()
    return graft_rows(place, kinds=KINDS, floor=floor, hosts=HOSTS, alphas=ALPHAS)


def weights_of(place: SlotPlace, generator: torch.Generator) -> Tensor:
    """Return flat weights [7, P] in which a kind has the terms that it has, and 0 elsewhere."""
    flat = torch.zeros(len(KINDS), place.columns.stop, dtype=torch.float64)
    slots = place.views(flat[:, place.columns])
    for host, number in enumerate(KINDS.tolist()):
        if number < 0:
            continue
        kind = CATALOGUE[number]
        slots.inner[host, :, : kind.width] = torch.randn(D, kind.width, generator=generator)
        slots.outer[host, : kind.width] = torch.randn(kind.width, D, generator=generator)
        if kind.has_bias:
            slots.bias[host, : kind.width] = torch.randn(kind.width, generator=generator)
        if kind.has_scale or kind.has_fixed_scale:
            slots.scale[host] = torch.randn(D, generator=generator)
        if kind.has_offset:
            slots.offset[host] = torch.randn(D, generator=generator)
    return flat


def by_formula(place: SlotPlace, flat: Tensor, hidden: Tensor) -> Tensor:
    """h + alpha (act(h V + b) U + h * a + c), row by row."""
    slots = place.views(flat[:, place.columns])
    after = []
    for row, (host, alpha) in enumerate(zip(HOSTS.tolist(), ALPHAS.tolist(), strict=True)):
        inside = hidden[row] @ slots.inner[host] + slots.bias[host]
        if KINDS[host] >= 0 and CATALOGUE[KINDS[host]].activation == Activation.RELU:
            inside = inside.relu()
        change = inside @ slots.outer[host] + hidden[row] * slots.scale[host] + slots.offset[host]
        after.append(hidden[row] + alpha * change)
    return torch.stack(after)


def test_the_grafts_of_a_stack_equal_the_formula_in_value_and_gradient():
    """[R34] One of each kind, some with a part of their weight, hosts that have several rows: rounding of float64."""
    generator, place = torch.Generator().manual_seed(0), place_at()
    rows, flat = rows_at(place), weights_of(place_at(), generator)
    hidden = torch.randn(len(HOSTS), B, D, generator=generator, dtype=torch.float64).requires_grad_()
    wide, straight = (each.requires_grad_() for each in rows.weights(flat))
    mine = with_grafts(hidden, wide, straight, rows)
    reference = flat.clone().requires_grad_()
    wanted = by_formula(place, reference, hidden)
    assert torch.allclose(mine, wanted, atol=1e-13)
    slope = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
    hidden_slope, wide_slope, straight_slope = torch.autograd.grad(mine, (hidden, wide, straight), slope)
    wanted_slopes = torch.autograd.grad(wanted, (hidden, reference), slope)
    assert torch.allclose(hidden_slope, wanted_slopes[0], atol=1e-12)
    total = torch.zeros_like(flat)
    slot = total[:, place.columns]
    slot.index_add_(0, rows.wide_hosts, wide_slope)
    slot[:, -2 * D :].index_add_(0, rows.straight_hosts, straight_slope.flatten(1))
    # what no kind has is 0 here and is not learned there
    has = flat != 0
    assert torch.allclose(total[has], wanted_slopes[1][has], atol=1e-12)
    assert int(has.sum()) > 100


def test_the_gradient_at_the_corner_of_a_relu_is_zero_as_in_pytorch():
    """[R34] A hidden value of 0 with a bias of 0, as behind a layer whose units are all off."""
    place = place_at()
    rows = graft_rows(
        place, kinds=np.array([3]), floor=torch.zeros(1), hosts=np.zeros(1, dtype=np.int64), alphas=np.ones(1)
    )
    wide, straight = rows.weights(torch.ones(1, place.columns.stop))
    place.views(wide).bias.zero_()
    hidden = torch.zeros(1, B, D, requires_grad=True)
    wide.requires_grad_()
    slopes = torch.autograd.grad(with_grafts(hidden, wide, straight, rows).sum(), (hidden, wide))
    assert slopes[0].tolist() == torch.ones(1, B, D).tolist()
    assert place.views(slopes[1]).bias.tolist() == torch.zeros(1, 16).tolist()


@pytest.mark.parametrize("axis", [-1, -2, 1, 2])
def test_features_may_stand_along_any_axis(axis: int):
    """[R29] As the last axis does, for values of two axes beside that of the examples."""
    generator, place = torch.Generator().manual_seed(0), place_at(axis)
    flat = weights_of(place, generator)
    hidden = torch.randn(len(HOSTS), B, 2, D, generator=generator, dtype=torch.float64)
    at = axis if axis < 0 else axis + 1
    rows = rows_at(place)
    moved = hidden.movedim(-1, at)
    after = with_grafts(moved, *rows.weights(flat), rows).movedim(at, -1)
    wanted = by_formula(place, flat, hidden.flatten(1, -2)).view(hidden.shape)
    assert torch.allclose(after, wanted, atol=1e-13)


def test_a_pass_in_which_no_graft_is_on_returns_what_it_got():
    """[R34] The very tensor."""
    place = place_at()
    rows = graft_rows(place, kinds=KINDS, floor=torch.zeros(7), hosts=HOSTS, alphas=np.zeros(len(HOSTS)))
    hidden = torch.randn(len(HOSTS), B, D)
    assert with_grafts(hidden, *rows.weights(torch.zeros(7, place.columns.stop)), rows) is hidden
