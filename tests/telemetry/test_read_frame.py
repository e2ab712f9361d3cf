"""Events as pandas frames."""

import math
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from accredit.errors import InvalidArgument, MissingExtra
from accredit.telemetry import (
    CoalitionsEvaluated,
    Event,
    JsonlSink,
    Origin,
    RunCompleted,
    StepCompleted,
    read_frame,
)


def step(number: int, *, environment: str = "x", log_loss: float | None = 0.5) -> StepCompleted:
    return StepCompleted(
        origin=Origin(environment=environment, episode=0, step=number),
        host_seed=2**53 + 1,
        action="wait",
        log_loss=log_loss,
        accuracy=0.1 + 0.2,
        graft_parameters=3,
        gain=0.0,
        control_gain=0.0,
        rent=0.0,
        graft_cost=0.0,
        reward=math.inf,
    )


def written(folder: Path, *events: Event) -> Path:
    with JsonlSink(folder / "events.jsonl") as sink:
        for event in events:
            sink(event)
    return folder / "events.jsonl"


def test_a_frame_has_a_row_per_event_of_its_kind_and_typed_columns(tmp_path: Path):
    """[R32] What is missing is NaN or NA, never 0; whole numbers stay exact."""
    before = time.time()
    path = written(tmp_path, step(1), RunCompleted(updates=1), step(2, log_loss=None))
    frame = read_frame(path, StepCompleted)
    assert list(frame.columns[:7]) == ["time", "environment", "episode", "step", "game", "host_seed", "action"]
    assert frame["step"].tolist() == [1, 2]
    assert frame["log_loss"].tolist()[0] == 0.5
    assert frame["log_loss"].isna().tolist() == [False, True]
    assert frame["reward"].tolist() == [math.inf] * 2
    assert (str(frame["log_loss"].dtype), str(frame["reward"].dtype)) == ("float64", "float64")
    assert frame["host_seed"].tolist() == [2**53 + 1] * 2
    assert (str(frame["episode"].dtype), str(frame["host_seed"].dtype)) == ("Int64", "int64")
    assert abs(frame["time"].iloc[0].timestamp() - before) < 60
    assert str(frame["time"].dt.tz) == "UTC"


def test_a_frame_is_filtered_by_origin_and_may_be_empty(tmp_path: Path):
    """[R32] The columns of an empty one have their types."""
    path = written(tmp_path, step(0), step(1, environment="y"))
    assert read_frame(path, StepCompleted, environment="y")["step"].tolist() == [1]
    assert read_frame(path, StepCompleted, step=0, episode=0)["environment"].tolist() == ["x"]
    empty = read_frame(path, RunCompleted)
    assert len(empty) == 0
    assert pd.api.types.is_integer_dtype(empty["updates"].dtype)


def test_lists_and_mappings_stay_as_they_are(tmp_path: Path):
    event = CoalitionsEvaluated(origin=Origin(), players=("a",), coalitions=("1",), values={"loss": (None,)})
    frame = read_frame(written(tmp_path, event), CoalitionsEvaluated)
    assert frame["players"].iloc[0] == ("a",)
    assert frame["values"].iloc[0] == {"loss": (None,)}


@pytest.mark.parametrize("kind", [Origin, "StepCompleted"])
def test_what_is_no_kind_is_refused(tmp_path: Path, kind: object):
    with pytest.raises(InvalidArgument, match=r"`kind` is .*, but a frame has the events of one kind; pass a class of"):
        read_frame(tmp_path / "events.jsonl", kind)


def test_without_pandas_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"`read_frame` got no pandas, wanted .* `pip install accredit\[report\]`"):
        read_frame(tmp_path / "events.jsonl", RunCompleted)
