"""Random lives of grafts never leave the stage table, and masks equal the scalar rule.

E environments, S slots.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from accredit.errors import InvalidArgument
from accredit.growth.blend import BlendSchedule, blend_weight
from accredit.growth.catalogue import VECTOR_CATALOGUE
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stage import SURGERY, Operation, Stage, is_legal, stage_table
from accredit.training.action import ActionTable

SLOTS = ("input", "hidden")
TABLE = ActionTable(SLOTS, ("affine", "mlp"))
ALLOWED = {(row.source, row.target) for row in SURGERY} | {(Stage.BLENDING, Stage.HOLDING)}
stages = st.sampled_from(Stage)
moves = st.tuples(
    st.sampled_from([*Operation, "alpha"]), st.sampled_from(SLOTS), st.sampled_from(VECTOR_CATALOGUE), st.floats(0, 1)
)


@given(
    st.lists(st.tuples(stages, st.integers(0, 8), st.integers(0, 8), st.booleans()), min_size=2, max_size=2),
    st.fixed_dictionaries({"holding_steps": st.integers(0, 3), "cooldown_steps": st.integers(0, 3)}),
    st.fixed_dictionaries({"commit_needs_proof": st.booleans(), "prune_committed": st.booleans()}),
)
def test_masks_equal_the_scalar_rule(
    slots: list[tuple[Stage, int, int, bool]], lengths: dict[str, int], switches: dict[str, bool]
):
    """[R37] Under every rule."""
    rules = stage_table(**lengths, **switches)
    table = ActionTable(SLOTS, ("affine", "mlp"), table=rules)
    current, ages, stays, proven = (np.array([[slot[at] for slot in slots]]) for at in range(4))
    legal = table.legal(current, ages=ages, stays=stays, proven=proven)[0]
    for index, action in enumerate(table.actions):
        stage, age, stay, is_proven = slots[action.slot or 0]
        assert bool(legal[index]) == is_legal(
            action.operation, stage, age=age, stay=stay, is_proven=is_proven, table=rules
        )


@given(st.integers(1, 5).flatmap(lambda rows: st.lists(stages, min_size=2 * rows, max_size=2 * rows)))
def test_rows_of_a_mask_are_independent(drawn: list[Stage]):
    """[R32]"""
    stages_now = np.array(drawn).reshape(-1, 2)

    def legal(some: np.ndarray) -> np.ndarray:
        ages, proven = np.full(some.shape, 3), np.ones(some.shape, dtype=bool)
        return TABLE.legal(some, ages=ages, stays=ages, proven=proven)

    together = legal(stages_now)
    apart = [legal(stages_now[[row]])[0] for row in range(len(stages_now))]
    assert np.array_equal(together, np.stack(apart))


def act(network: GrowingNetwork, move: tuple, optimizer: optim.Optimizer) -> None:
    operation, slot, kind, alpha = move
    match operation:
        case Operation.WAIT:
            return
        case Operation.GRAFT:
            network.graft(slot, kind, torch.Generator().manual_seed(0)).follow(optimizer)
        case Operation.BLEND:
            network.blend(slot).follow(optimizer)
        case Operation.COMMIT:
            network.commit(slot).follow(optimizer)
        case Operation.PRUNE:
            network.prune(slot).follow(optimizer)
        case _:
            network.set_alpha(slot, alpha)


@settings(deadline=None, max_examples=60)
@given(st.lists(moves, max_size=25))
def test_random_operations_never_leave_the_table(drawn: list[tuple]):
    """[R34] What is not in it raises and changes nothing; the optimizer always holds the network's parameters; a
    network whose grafts are not live computes what its host computes.
    """
    host = nn.Linear(3, 2)
    network = GrowingNetwork([Slot("input", 3), host, Slot("hidden", 2)])
    optimizer = optim.SGD(network.parameters(), lr=0.1)
    inputs = torch.tensor([[-0.0, 1.0, torch.inf], [2.0, -1.0, 0.5]])
    for move in drawn:
        before = [slot.stage for slot in network.slots]
        try:
            act(network, move, optimizer)
        except InvalidArgument:
            assert [slot.stage for slot in network.slots] == before
        changed = [(b, s.stage) for b, s in zip(before, network.slots, strict=True) if b != s.stage]
        assert len(changed) <= 1
        assert set(changed) <= ALLOWED
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in network.parameters()}
        for slot in network.slots:
            assert (slot.graft is None) == (slot.stage == Stage.EMPTY) == (slot.kind_name is None)
            assert 0.0 <= slot.alpha <= 1.0
            assert slot.alpha == 0.0 or slot.stage.is_live
            assert slot.stage not in (Stage.HOLDING, Stage.COMMITTED) or slot.alpha == 1.0
        if not any(slot.is_live for slot in network.slots):
            assert torch.equal(network(inputs).view(torch.int32), host(inputs).view(torch.int32))


@settings(deadline=None, max_examples=40)
@given(st.lists(moves, max_size=25))
def test_an_export_equals_its_network_at_any_moment(drawn: list[tuple]):
    """[R34]"""
    network = GrowingNetwork([Slot("input", 3), nn.Linear(3, 2), Slot("hidden", 2)])
    optimizer = optim.SGD(network.parameters(), lr=0.1)
    for move in drawn:
        try:
            act(network, move, optimizer)
        except InvalidArgument:
            continue
        with torch.no_grad():
            for slot in network.slots:
                for parameter in slot.parameters():
                    parameter.add_(0.25)
    inputs, plain = torch.linspace(-1, 1, 12).view(4, 3), network.export()
    assert torch.equal(plain(inputs), network(inputs))
    assert not any(isinstance(module, Slot) for module in plain.modules())


@given(st.sampled_from(BlendSchedule), st.integers(1, 40))
def test_blends_rise_from_zero_to_one(schedule: BlendSchedule, steps: int):
    """[R37]"""
    weights = [blend_weight(schedule, age, steps) for age in range(steps + 3)]
    assert weights[0] == 0.0
    assert weights[steps:] == [1.0] * 3
    assert all(0.0 <= weight <= 1.0 for weight in weights)
    assert weights == pytest.approx(sorted(weights))
    assert all(weight < 1.0 for weight in weights[:steps])
