"""Tables of events, read back by Python's own reader and by pandas."""

import csv
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from accredit.telemetry import (
    EVENT_KINDS,
    CoalitionsEvaluated,
    CsvSink,
    Origin,
    RunCompleted,
    StageChanged,
    UpdateCompleted,
)
from accredit.telemetry.record import decode, encode
from accredit.telemetry.row import columns_of, row_of

NAME = 'a "quoted", name\nof two lines'
STAGE = StageChanged(
    origin=Origin(environment=NAME, episode=0, step=3), slot="", kind="mlp", operation="graft", source="a", target="b"
)


def test_a_row_has_the_origin_and_the_fields_and_names_come_back_as_they_were(tmp_path: Path):
    """[R32]"""
    with CsvSink(tmp_path) as sink:
        sink(STAGE)
        sink(replace(STAGE, slot="x", origin=Origin()))
    with (tmp_path / "StageChanged.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["environment", "episode", "step", "game", "slot", "kind", "operation", "source", "target"],
        [NAME, "0", "3", "", "", "mlp", "graft", "a", "b"],
        ["", "", "", "", "x", "mlp", "graft", "a", "b"],
    ]


def test_missing_is_empty_and_what_is_not_finite_is_spelled(tmp_path: Path):
    """[R32] A missing measurement is never 0; lists and mappings are JSON."""
    event = CoalitionsEvaluated(
        origin=Origin(step=0), players=("a", "b"), coalitions=("00",), values={"loss": (None, math.inf, 0.1 + 0.2)}
    )
    with CsvSink(tmp_path) as sink:
        sink(event)
    text = (tmp_path / "CoalitionsEvaluated.csv").read_text()
    assert text.splitlines()[1].startswith(",,0,,")
    row = next(csv.DictReader(text.splitlines()))
    assert json.loads(row["values"]) == {"loss": [None, "Infinity", 0.30000000000000004]}
    assert json.loads(row["players"]) == ["a", "b"]


def test_pandas_reads_numbers_back_exactly(tmp_path: Path):
    numbers = [0.1 + 0.2, 1e-300, math.inf, -math.inf, math.nan]
    hosts = [
        EVENT_KINDS["HostGrown"](
            origin=Origin(), policy="p", host_seed=2**53 + 1, log_loss=number, accuracy=0.5, parameters=7, committed=()
        )
        for number in numbers
    ]
    with CsvSink(tmp_path) as sink:
        for host in hosts:
            sink(host)
    frame = pd.read_csv(tmp_path / "HostGrown.csv")
    assert frame["log_loss"].tolist()[:4] == numbers[:4]
    assert math.isnan(frame["log_loss"].iloc[4])
    assert frame["host_seed"].tolist() == [2**53 + 1] * 5


def test_a_row_is_in_the_file_before_the_call_returns(tmp_path: Path):
    """[R32]"""
    with CsvSink(tmp_path / "deep" / "folder") as sink:
        for count in (1, 2):
            sink(RunCompleted(updates=count))
            lines = (tmp_path / "deep" / "folder" / "RunCompleted.csv").read_text().splitlines()
            assert lines == ["environment,episode,step,game,updates", *(f",,,,{done}" for done in range(1, count + 1))]


def test_beginning_removes_tables_of_events_and_nothing_else(tmp_path: Path):
    (tmp_path / "mine.csv").write_text("keep")
    (tmp_path / "StageChanged.csv").write_text("old")
    with CsvSink(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_row_that_does_not_fit_on_the_disk_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """[R32] Half of it is written before the disk is full; the next one stands behind the one before."""
    with CsvSink(tmp_path) as sink:
        sink(RunCompleted(updates=1))
        table = sink._tables[RunCompleted]
        real = table.file

        class Full:
            def write(self, data: memoryview) -> int:
                real.write(data[:2])
                raise OSError(28, os.strerror(28))

            def seek(self, place: int) -> int:
                return real.seek(place)

            def truncate(self) -> int:
                return real.truncate()

        table.file = Full()
        with pytest.raises(OSError, match="No space left"):
            sink(RunCompleted(updates=2))
        table.file = real
        sink(RunCompleted(updates=3))
    assert (tmp_path / "RunCompleted.csv").read_text().splitlines()[1:] == [",,,,1", ",,,,3"]


def test_what_a_clock_measured_is_in_no_table_and_in_no_comparison():
    """[R32] Two updates that differ in it are equal, and their rows have the same cells; a frame has the column."""
    lines = (Path(__file__).parents[1] / "golden" / "events.jsonl").read_text().splitlines()
    update = replace(decode(next(line for line in lines if "UpdateCompleted" in line)), final_log_loss=0.5)
    slow, fast = (replace(update, attribution_share=share) for share in (0.5, 0.125))
    assert slow == fast
    assert decode(encode(slow, time_s=0.0)).attribution_share == 0.5
    assert "attribution_share" in columns_of(UpdateCompleted)
    assert "attribution_share" not in columns_of(UpdateCompleted, times=False)
    assert row_of(slow, times=False) == row_of(fast, times=False)
    assert len(row_of(slow)) == len(columns_of(UpdateCompleted)) == len(row_of(slow, times=False)) + 1


def test_a_sink_says_where_it_writes():
    assert repr(CsvSink(Path("runs/a"))) == "CsvSink('runs/a')"


@pytest.mark.parametrize("kind", EVENT_KINDS.values(), ids=EVENT_KINDS)
def test_no_two_columns_share_a_name(kind: type):
    names = ("time", *columns_of(kind))
    assert len(set(names)) == len(names)
