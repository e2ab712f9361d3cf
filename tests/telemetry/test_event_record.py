"""Events as lines of JSON, and back."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Literal, get_type_hints

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accredit.errors import InvalidArgument
from accredit.telemetry import EVENT_KINDS, CoalitionsEvaluated, ContributionsEstimated, Origin, UnknownEvent, record
from accredit.telemetry.record import UnreadableLineError, decode, encode

ORIGIN = Origin(environment='host "0"\u2028', episode=3, step=7)


def coalitions(**changes: object) -> CoalitionsEvaluated:
    given_fields = {
        "origin": ORIGIN,
        "players": ("a", "b"),
        "coalitions": ("00", "11"),
        "values": {"loss": (0.1 + 0.2, None)},
        "failures": {"11": "raised ValueError"},
    }
    return CoalitionsEvaluated(**(given_fields | changes))


def test_a_line_has_event_version_time_and_the_fields_in_their_order():
    """[R32]"""
    line = encode(coalitions(), time_s=12.5)
    entries = json.loads(line)
    origin = entries.pop("origin")
    assert (origin["environment"], origin["episode"], origin["step"]) == ('host "0"\u2028', 3, 7)
    assert entries == {
        "event": "CoalitionsEvaluated",
        "version": 1,
        "time": 12.5,
        "players": ["a", "b"],
        "coalitions": ["00", "11"],
        "values": {"loss": [0.30000000000000004, None]},
        "failures": {"11": "raised ValueError"},
    }
    assert line.index('"time"') < line.index('"origin"') < line.index('"players"')
    assert "\n" not in line
    assert line.isascii()


@pytest.mark.parametrize("kind", EVENT_KINDS.values(), ids=EVENT_KINDS)
def test_every_kind_comes_back_equal(kind: type):
    """[R32] Over values that hypothesis draws from the annotations."""
    st.register_type_strategy(float, st.floats(allow_nan=False))
    st.register_type_strategy(Mapping, lambda hint: st.dictionaries(*map(st.from_type, hint.__args__), max_size=3))

    # a busy machine is no fault of the strategy
    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(event=st.builds(kind))
    def check(event: object) -> None:
        assert decode(encode(event, time_s=1.0)) == event

    check()


def test_the_kinds_include_those_of_attribution_and_no_part_of_them():
    """[R32] A typed table is only useful if it is complete."""
    assert {"CoalitionsEvaluated", "ContributionsEstimated"} <= EVENT_KINDS.keys()
    assert "Origin" not in EVENT_KINDS
    assert all(is_dataclass(kind) for kind in EVENT_KINDS.values())


@pytest.mark.parametrize("kind", EVENT_KINDS.values(), ids=EVENT_KINDS)
def test_no_field_hides_an_entry_of_the_line(kind: type):
    names = {field.name for field in fields(kind)}
    assert not names & {"event", "version", "time"}
    assert get_type_hints(kind)["origin"] is Origin


def test_missing_is_null_and_numbers_that_are_not_finite_are_spelled():
    """[R32] A diverged loss is a measurement; standard JSON has no NaN."""
    event = coalitions(values={"loss": (math.nan, math.inf, -math.inf, None, -0.0)})
    line = encode(event, time_s=0.0)
    assert json.loads(line)["values"]["loss"] == ["NaN", "Infinity", "-Infinity", None, -0.0]
    nan, *others = decode(line).values["loss"]
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf, None, -0.0]
    assert decode(line).origin == ORIGIN
    assert decode(line).failures == event.failures


def test_a_name_spelled_nan_stays_a_name():
    event = coalitions(players=("NaN", "Infinity"), values={"NaN": (1.0,)})
    assert decode(encode(event, time_s=0.0)) == event


def test_a_mapping_that_is_no_dict_is_written_as_one():
    event = coalitions(values=MappingProxyType({"loss": (1.0, math.inf)}))
    assert decode(encode(event, time_s=0.0)).values == {"loss": (1.0, math.inf)}


def test_an_integer_in_a_field_of_numbers_comes_back_equal():
    assert decode(encode(coalitions(values={"loss": (1, 2.5)}), time_s=0.0)).values == {"loss": (1.0, 2.5)}


@dataclass(frozen=True, kw_only=True)
class Stranger:
    """Not an event of this package."""

    origin: Origin


def test_an_object_without_a_kind_is_refused():
    with pytest.raises(InvalidArgument, match="`event` is a Stranger, but events are instances of the classes in"):
        encode(Stranger(origin=ORIGIN), time_s=0.0)


def test_an_impostor_with_the_name_of_a_kind_is_refused():
    impostor = dataclass(frozen=True)(type("ContributionsEstimated", (), {"__annotations__": {"origin": Origin}}))
    assert impostor.__name__ == ContributionsEstimated.__name__
    with pytest.raises(InvalidArgument, match="`event` is a ContributionsEstimated, but"):
        encode(impostor(ORIGIN), time_s=0.0)


@pytest.mark.parametrize("first", [1.0, math.nan])
def test_a_tensor_in_an_event_is_refused(first: float):
    event = coalitions(values={"loss": (first, torch.ones(1))})
    with pytest.raises(InvalidArgument, match=r"of kind CoalitionsEvaluated holds what JSON cannot \(a Tensor\), but"):
        encode(event, time_s=0.0)


def altered(**changes: object) -> str:
    entries = json.loads(encode(coalitions(), time_s=0.0)) | changes
    return json.dumps({name: value for name, value in entries.items() if value != "gone"})


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", r"is not JSON \("),
        ('{"event": NaN}', r"is not JSON \(NaN is no JSON number\)"),
        ("[]", "is not an event, whose entries are event, version, time, origin and more"),
        (altered(origin="gone"), "is not an event"),
        (altered(version=2), "has version 2, but this Accredit reads version 1"),
        (altered(time="noon"), "has the time 'noon' instead of a number"),
        (altered(players="gone"), "lacks the field 'players' of a CoalitionsEvaluated"),
        (altered(more=1), "has the field 'more', which a CoalitionsEvaluated lacks"),
        (altered(players="ab"), "has 'ab' instead of a list in a field of a CoalitionsEvaluated"),
        (altered(players=[1]), "has 1 instead of a str"),
        (altered(values={"loss": [True]}), "has True instead of a number"),
        (altered(values={"loss": ["nan"]}), "has 'nan' instead of a number"),
        (altered(values=[]), r"has \[\] instead of a dict"),
        (altered(origin={"step": 1.5}), "has 1.5 instead of a int in a field of a Origin"),
        (altered(origin=4), "has 4 where the fields of a Origin belong"),
    ],
)
def test_a_line_that_is_no_event_says_why(line: str, sentence: str):
    """[R32]"""
    with pytest.raises(UnreadableLineError, match=sentence):
        decode(line)


def test_a_kind_of_a_newer_accredit_comes_as_an_unknown_event():
    """[R32] Its origin is known, so that it is filtered like all others."""
    event = decode(altered(event="Dreamt", players="gone", coalitions="gone", failures="gone"))
    assert event == UnknownEvent(origin=ORIGIN, kind="Dreamt", fields={"values": {"loss": [0.30000000000000004, None]}})


def test_a_field_with_a_default_may_be_lacking():
    """An event gains a field without a new version of the format."""
    assert decode(altered(failures="gone")).failures == {}


def test_fields_may_be_choices_and_records(monkeypatch: pytest.MonkeyPatch):
    kind = dataclass(frozen=True)(
        type("Chosen", (), {"__annotations__": {"origin": Origin, "choice": Literal["grow", "wait"]}})
    )
    monkeypatch.setitem(record.EVENT_KINDS, "Chosen", kind)
    line = encode(kind(ORIGIN, "wait"), time_s=0.0)
    assert decode(line) == kind(ORIGIN, "wait")
    with pytest.raises(UnreadableLineError, match=r"has 'rest' instead of one of \('grow', 'wait'\)"):
        decode(line.replace("wait", "rest"))


def test_a_field_that_json_cannot_give_back_is_refused(monkeypatch: pytest.MonkeyPatch):
    kind = dataclass(frozen=True)(type("Bytes", (), {"__annotations__": {"origin": Origin, "raw": bytes}}))
    monkeypatch.setitem(record.EVENT_KINDS, "Bytes", kind)
    with pytest.raises(InvalidArgument, match="<class 'bytes'>` is the type of a field of an event, but fields are"):
        decode('{"event": "Bytes", "version": 1, "time": 0, "origin": {}, "raw": ""}')
