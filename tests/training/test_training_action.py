"""One table of actions.

S slots, A actions.
"""

import numpy as np

from accredit.growth.stage import Operation, Stage
from accredit.training.action import ActionTable

TABLE = ActionTable(("input", "hidden1"), ("affine", "mlp"))
NAMES = [
    "wait",
    "graft affine at input",
    "graft mlp at input",
    "graft affine at hidden1",
    "graft mlp at hidden1",
    "blend at input",
    "blend at hidden1",
    "commit at input",
    "commit at hidden1",
    "prune at input",
    "prune at hidden1",
]


def legal(stages: list[int], ages: list[int], proven: list[bool]) -> list[str]:
    old = np.array([ages])
    row = TABLE.legal(np.array([stages]), ages=old, stays=old, proven=np.array([proven]))[0]
    return [TABLE.label(index) for index in np.flatnonzero(row)]


def test_the_table_has_every_decision_once_in_a_fixed_order():
    """[R31] The order is the meaning of a saved policy's outputs."""
    assert [TABLE.label(index) for index in range(len(TABLE))] == NAMES
    assert all(TABLE.find(a.operation, a.slot, a.kind) == index for index, a in enumerate(TABLE.actions))


def test_legal_actions_of_situations_written_by_hand():
    """[R37]"""
    assert legal([Stage.EMPTY, Stage.EMPTY], [0, 0], [False, False]) == NAMES[:5]
    assert legal([Stage.TRAINING, Stage.COMMITTED], [0, 9], [False, True]) == ["wait"]
    assert legal([Stage.TRAINING, Stage.COMMITTED], [1, 9], [False, True]) == ["wait", "blend at input"]
    assert legal([Stage.TRAINING, Stage.EMPTY], [3, 0], [False, False]) == [
        "wait", "graft affine at hidden1", "graft mlp at hidden1", "blend at input", "prune at input",
    ]  # fmt: skip
    assert legal([Stage.HOLDING, Stage.BLENDING], [3, 2], [True, True]) == ["wait", "commit at input", "prune at input"]
    assert legal([Stage.HOLDING, Stage.BLENDING], [2, 3], [False, False]) == ["wait", "prune at hidden1"]


def test_waiting_needs_no_operation_on_a_slot():
    """[R37]"""
    assert TABLE.find(Operation.WAIT) == 0
    assert TABLE.actions[0].slot is None


def test_where_kinds_are_drawn_an_action_names_the_slot_alone():
    """[R37] A policy that asks for a kind, such as a schedule, gets the graft that is drawn."""
    table = ActionTable(("input", "hidden1"), ("affine", "mlp"), choose_kinds=False)
    assert [table.label(index) for index in range(len(table))] == [
        "wait", "graft at input", "graft at hidden1", *NAMES[5:],
    ]  # fmt: skip
    assert table.find(Operation.GRAFT, 1, 0) == table.find(Operation.GRAFT, 1, 1) == table.find(Operation.GRAFT, 1) == 2
    assert table.actions[2].kind is None
