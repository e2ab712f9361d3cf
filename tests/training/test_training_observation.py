"""What a policy sees.

E environments, S slots, F fields.
"""

import dataclasses

import numpy as np
import pytest

from accredit.training.observation import LARGEST_LOSS, ObservationTable, Situation

TABLE = ObservationTable(("input", "hidden1"), ("affine", "mlp"), steps=8)


def credit(*of_input: float) -> np.ndarray:
    """Return credit [4, 1, 2] of one environment whose second slot is unknown."""
    return np.array([[[number, np.nan]] for number in of_input])


def situation() -> Situation:
    return Situation(
        time=np.array([0.25]),
        log_loss=np.array([1.5]),
        accuracy=np.array([0.75]),
        last_gain=np.array([-0.5]),
        control_log_loss=np.array([2.0]),
        graft_share=np.array([1.25]),
        stages=np.array([[3, 0]]),
        kinds=np.array([[1, -1]]),
        alphas=np.array([[1.0, 0.0]]),
        ages=np.array([[4, 0]]),
        stays=np.array([[2, 10**6]]),
        credit=credit(0.125, 0.0625, -0.25, 0.5),
    )


def encoded(**changes) -> dict[str, float]:
    row = TABLE.encode(dataclasses.replace(situation(), **changes))[0]
    return {field.name: float(value) for field, value in zip(TABLE.fields, row, strict=True)}


def test_every_field_holds_what_its_name_says():
    """[R31] Written by hand; no field is left over."""
    zeros = dict.fromkeys((field.name for field in TABLE.fields), 0.0)
    assert encoded() == zeros | {
        "time": 0.25, "log_loss": 1.5, "accuracy": 0.75, "last_gain": -0.5, "control_log_loss": 2.0,
        "gain_over_control": 0.5, "graft_share": 1.25, "live_share": 0.5,
        "input.is_holding": 1.0, "input.kind_mlp": 1.0, "input.alpha": 1.0, "input.age": 0.5,
        "input.contribution": 0.125, "input.contribution_error": 0.0625,
        "input.accuracy_contribution": -0.25, "input.accuracy_error": 0.5, "input.unknown": 0.0,
        "hidden1.is_empty": 1.0, "hidden1.unknown": 1.0,
    }  # fmt: skip


def test_names_are_unique_and_lead_to_their_column():
    """[R31]"""
    names = [field.name for field in TABLE.fields]
    assert len(set(names)) == len(names) == len(TABLE.low) == len(TABLE.high)
    assert [TABLE.index(name) for name in names] == list(range(len(names)))


def test_an_unknown_contribution_is_marked_and_a_measured_zero_is_not():
    """[R5] Never a plain 0."""
    nothing = encoded(credit=credit(np.nan, np.nan, np.nan, np.nan))
    assert (nothing["input.unknown"], nothing["input.contribution"], nothing["input.contribution_error"]) == (1, 0, 0)
    zero = encoded(credit=credit(0.0, 0.1, 0.0, 0.1))
    assert (zero["input.unknown"], zero["input.contribution"]) == (0, 0)


def test_hidden_kinds_leave_no_trace_in_any_field():
    """[R31] Two situations that differ in kinds, and so in parameters, look the same; all else is as it was."""
    hidden = ObservationTable(("input", "hidden1"), ("affine", "mlp"), steps=8, observe_kinds=False)
    now = situation()
    other = dataclasses.replace(now, kinds=np.array([[0, -1]]), graft_share=np.array([7.0]))
    seen = hidden.encode(now)[0]
    assert np.array_equal(seen, hidden.encode(other)[0])
    assert not np.array_equal(TABLE.encode(now), TABLE.encode(other))
    changed = {TABLE.fields[at].name for at in np.flatnonzero(seen != TABLE.encode(now)[0])}
    assert changed == {"graft_share", "input.kind_mlp"}


def test_the_stay_is_a_field_only_where_a_rule_looks_at_it():
    """[R31] In steps over those of an episode, cut where nothing was ever in the slot."""
    table = ObservationTable(("input", "hidden1"), ("affine", "mlp"), steps=8, observe_stays=True)
    row = table.encode(situation())[0]
    assert (row[table.index("input.stay")], row[table.index("hidden1.stay")]) == (0.25, 1.125)
    names = [field.name for field in table.fields]
    assert [name for name in names if not name.endswith(".stay")] == [field.name for field in TABLE.fields]


@pytest.mark.parametrize("number", [np.inf, 1e9, -1e9])
def test_fields_are_cut_to_their_range(number: float):
    """[R25] A diverged host must not blow up what the policy sees."""
    changes = {name: np.array([number]) for name in ("log_loss", "last_gain", "graft_share")}
    changes["credit"] = credit(*[1e9 if np.isinf(number) else number] * 4)
    row = TABLE.encode(dataclasses.replace(situation(), **changes))[0]
    assert np.isfinite(row).all()
    assert ((row >= TABLE.low) & (row <= TABLE.high)).all()
    assert float(row[TABLE.index("last_gain")]) == (LARGEST_LOSS if number > 0 else -LARGEST_LOSS)
