"""The stage table and the blend schedules against tables written out here."""

import math

import pytest

from accredit.errors import InvalidArgument
from accredit.growth.blend import BlendSchedule, blend_weight
from accredit.growth.stage import SURGERY, TRANSITIONS, Operation, Stage, after_blend, is_legal, stage_table, transition

OLD = 10**6
# operation, source -> target, smallest age, whether a proof is wanted; whatever is not here does not exist
RULES = {
    (Operation.GRAFT, Stage.EMPTY): (Stage.TRAINING, 0, False),
    (Operation.BLEND, Stage.TRAINING): (Stage.BLENDING, 1, False),
    (Operation.COMMIT, Stage.HOLDING): (Stage.COMMITTED, 0, True),
    (Operation.PRUNE, Stage.TRAINING): (Stage.EMPTY, 3, False),
    (Operation.PRUNE, Stage.BLENDING): (Stage.EMPTY, 3, False),
    (Operation.PRUNE, Stage.HOLDING): (Stage.EMPTY, 3, False),
}
DECISIONS = [operation for operation in Operation if operation != Operation.WAIT]


@pytest.mark.parametrize("operation", DECISIONS)
@pytest.mark.parametrize("source", Stage)
def test_every_operation_leads_where_the_table_says_or_nowhere(operation: Operation, source: Stage):
    """[R37]"""
    row = transition(operation, source)
    if (operation, source) in RULES:
        assert row is not None
        assert row.target == RULES[operation, source][0]
    else:
        assert row is None
        assert not is_legal(operation, source, age=OLD, stay=OLD, is_proven=True)


@pytest.mark.parametrize(("operation", "source"), RULES)
def test_an_operation_is_legal_from_its_age_on_and_with_the_proof_it_needs(operation: Operation, source: Stage):
    """[R37]"""
    _, age, proof = RULES[operation, source]
    assert is_legal(operation, source, age=age, stay=0, is_proven=True)
    assert not is_legal(operation, source, age=age - 1, stay=OLD, is_proven=True)
    assert is_legal(operation, source, age=OLD, stay=0, is_proven=False) == (not proof)


def test_the_table_has_each_pair_once():
    """[R37] `transition` takes the first row that fits, so that a second one would be dead."""
    pairs = [(row.operation, row.source) for row in TRANSITIONS]
    assert len(set(pairs)) == len(pairs) == len(RULES)


def test_each_rule_changes_the_rows_that_it_names_and_no_other():
    """[R37] Against the table without rules; a slot pruned at one decision is empty for a step at the next."""

    def changed(**rules: bool | int) -> set[tuple[Operation, Stage, int, bool]]:
        rows = set(stage_table(**rules)) - set(TRANSITIONS)
        assert len(stage_table(**rules)) == len(TRANSITIONS) + bool(rules.get("prune_committed"))
        return {(row.operation, row.source, row.minimum_stay, row.needs_proof) for row in rows}

    assert changed() == set()
    assert changed(holding_steps=2) == {(Operation.COMMIT, Stage.HOLDING, 2, True)}
    assert changed(cooldown_steps=2) == {(Operation.GRAFT, Stage.EMPTY, 3, False)}
    assert changed(commit_needs_proof=False) == {(Operation.COMMIT, Stage.HOLDING, 0, False)}
    assert changed(prune_committed=True) == {(Operation.PRUNE, Stage.COMMITTED, 3, False)}
    assert set(SURGERY) == set(stage_table(prune_committed=True))


def test_a_stay_that_is_asked_for_is_waited_for():
    """[R37] Counted from the entry into the stage, whatever the age of the graft."""
    table = stage_table(holding_steps=2)
    for stay in range(4):
        legal = is_legal(Operation.COMMIT, Stage.HOLDING, age=OLD, stay=stay, is_proven=True, table=table)
        assert legal == (stay >= 2)


@pytest.mark.parametrize("source", Stage)
def test_waiting_is_always_legal_and_moves_nothing(source: Stage):
    """[R37]"""
    assert is_legal(Operation.WAIT, source, age=0, stay=0, is_proven=False)
    assert transition(Operation.WAIT, source) is None


def test_live_and_removable_stages_are_these():
    """[R34] A graft in training does not reach the output; a committed one is never dropped."""
    assert [stage.name for stage in Stage if stage.is_live] == ["BLENDING", "HOLDING", "COMMITTED"]
    assert [stage.name for stage in Stage if stage.is_removable] == ["TRAINING", "BLENDING", "HOLDING"]


@pytest.mark.parametrize("stage", Stage)
def test_only_a_blend_that_has_reached_one_moves_on_by_itself(stage: Stage):
    """[R37]"""
    assert after_blend(stage, 0.999) == stage
    assert after_blend(stage, 1.0) == (Stage.HOLDING if stage == Stage.BLENDING else stage)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (BlendSchedule.LINEAR, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]),
        (BlendSchedule.COSINE, [0.0, (1 - math.sqrt(0.5)) / 2, 0.5, (1 + math.sqrt(0.5)) / 2, 1.0, 1.0]),
        (BlendSchedule.STEP, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]),
    ],
)
def test_blend_schedules_equal_hand_computed_weights(schedule: BlendSchedule, expected: list[float]):
    """[R37]"""
    weights = [blend_weight(schedule, age, 4) for age in range(6)]
    assert weights == pytest.approx(expected, abs=1e-15)
    assert weights[0] == 0.0
    assert weights[4] == 1.0


@pytest.mark.parametrize(("age", "steps"), [(0, 0), (-1, 2)])
def test_a_blend_without_steps_or_with_a_negative_age_is_refused(age: int, steps: int):
    """[R37]"""
    wanted = f"`blend_weight` got age {age} of {steps} steps, wanted age >= 0 and steps >= 1; set the length"
    with pytest.raises(InvalidArgument, match=wanted):
        blend_weight(BlendSchedule.LINEAR, age, steps)
