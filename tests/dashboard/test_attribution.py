"""An attribution on the live page: its numbers are those of the matrix, whatever state the file is in."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from watched_attributions import OUTPUTS, PLAYERS, cut, write_attribution
from watched_runs import HOSTILE, asked, served, story, write_run

from accredit.attribution import CounterfactualMatrix, Output
from accredit.dashboard import WatchedAttribution, watched
from accredit.dashboard.attribution import ROWS
from accredit.dashboard.figures import Selection
from accredit.errors import RunFolderError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_attribution(tmp_path / "rings")
    return tmp_path / "rings"


def looked_at(folder: Path) -> WatchedAttribution:
    found = watched(folder, folder.name)
    assert isinstance(found, WatchedAttribution)
    assert not found.poll()
    return found


def charts(answer: dict) -> dict[str, dict]:
    json.dumps(answer, allow_nan=False)
    return {chart["title"]: chart for chart in answer["charts"]}


def test_contributions_and_interactions_have_the_numbers_and_intervals_of_the_matrix(folder: Path):
    """[R8] Positive helps: of an error, the ends of raw intervals change places."""
    matrix = CounterfactualMatrix.load(folder / "matrix.accredit")
    answer = looked_at(folder).answer(Selection())
    found = charts(answer)
    assert list(found) == [
        "Contributions to error",
        "Contributions to share",
        "Interactions: error",
        "error against the number of parts that are on",
    ]
    for output in ("error", "share"):
        (bars,) = found[f"Contributions to {output}"]["series"]
        result = matrix.shapley(output)
        assert dict(zip(bars["x"], bars["y"], strict=True)) == {name: result[name].contribution for name in PLAYERS}
        assert bars["y"] == sorted(bars["y"], reverse=True)
        # the gate and the value share what they earn together: half of 1, or of a half
        assert bars["y"][0] == pytest.approx(0.5 if output == "error" else 0.25)
        low, high = result["gate"].interval(0.95)
        at = bars["x"].index("gate")
        ends = (-high, -low) if output == "error" else (low, high)
        assert (bars["lower"][at], bars["upper"][at]) == pytest.approx(ends)
    (pairs,) = found["Interactions: error"]["series"]
    assert pairs["x"][0] == "gate + value"
    assert pairs["y"][0] == pytest.approx(1.0)
    assert answer["output"] == "error"


def test_the_output_that_is_selected_has_its_pairs_and_values_drawn(folder: Path):
    answer = looked_at(folder).answer(Selection(output="share"))
    assert answer["output"] == "share"
    assert {"Interactions: share", "share against the number of parts that are on"} <= set(charts(answer))
    assert looked_at(folder).answer(Selection(output="live/log_loss"))["output"] == "error"


def test_a_finished_one_says_what_it_cost(folder: Path):
    watching = looked_at(folder)
    answer = watching.answer(Selection())
    facts = dict(answer["facts"])
    assert (answer["state"], answer["done"], answer["notices"]) == ("finished", None, [])
    assert (facts["attributed"], facts["players"], facts["coalitions"]) == ("rings.py", "3", "8 of 8")
    assert facts["outputs"] == "error (nat), share (share)"
    assert facts["strategy"] == "full_factorial"
    assert {"time", "a coalition"} <= set(facts)
    assert watching.choices() == {"groups": {}, "environments": [], "outputs": ["error", "share"]}


def test_one_that_was_killed_shows_what_is_whole_and_how_far_it_was(folder: Path):
    """[R11] The last record is torn; a table that is not complete says what its intervals are not."""
    cut(folder / "matrix.accredit", 5, torn=11)  # begin, call and three times two coalitions
    (folder / "result.json").unlink()
    answer = looked_at(folder).answer(Selection())
    facts = dict(answer["facts"])
    assert facts["coalitions"] == "6 of 8"
    assert answer["done"] == 0.75
    assert answer["state"] == "stopped without an end, as by a kill; the same command goes on"
    assert answer["notices"][0] == (
        "6 of all 8 coalitions have values. Until the table is complete, intervals take them for a random draw, which "
        "they are not: small and large coalitions come first."
    )
    assert "attributed" not in facts
    assert "time" not in facts


def test_what_is_evaluated_meanwhile_is_seen_and_the_page_shows_how_estimates_settle(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    path = folder / "matrix.accredit"
    whole = cut(path, 5)
    watching = looked_at(folder)
    version = watching.version
    watching.poll()
    assert watching.version == version
    path.write_bytes(whole)
    assert watching.state() == "evaluating"  # the file has changed since it was read
    with monkeypatch.context() as patch:
        patch.setattr("accredit.dashboard.attribution.is_being_written", lambda _: True)
        watching._next_s = float("inf")
        watching.poll()
    assert watching.version > version
    facts = dict(watching.answer(Selection())["facts"])
    assert (facts["coalitions"], facts["drawn from"]) == ("8 of 8", "the first 6")
    watching.poll()
    answer = watching.answer(Selection())
    assert (answer["state"], dict(answer["facts"])["coalitions"]) == ("finished", "8 of 8")
    settling = charts(answer)["Contributions to error as coalitions came"]
    assert [series["x"] for series in settling["series"]] == [[6.0, 8.0]] * 3
    assert [series["name"] for series in settling["series"]] == list(PLAYERS)


def test_one_that_begins_anew_forgets_what_was_seen(folder: Path):
    path = folder / "matrix.accredit"
    watching = looked_at(folder)
    cut(path, 4)
    watching.poll()
    answer = watching.answer(Selection())
    assert dict(answer["facts"])["coalitions"] == "4 of 8"
    assert not any("as coalitions came" in title for title in charts(answer))


def test_before_the_first_coalition_there_is_nothing_to_draw(folder: Path):
    path = folder / "matrix.accredit"
    whole = path.read_bytes()
    path.unlink()
    watching = looked_at(folder)
    answer = watching.answer(Selection())
    assert (answer["state"], answer["charts"], answer["facts"]) == ("not begun", [], [])
    assert answer["notices"] == ["No coalition has been evaluated yet."]
    path.write_bytes(whole)
    watching.poll()
    assert watching.state() == "finished"
    cut(path, 2)
    watching.poll()
    answer = watching.answer(Selection())
    assert answer["done"] == 0.0
    assert any(each.startswith("Not known yet: ") for each in answer["notices"])


def test_an_ablation_shows_the_cost_of_leaving_one_out(tmp_path: Path):
    matrix = write_attribution(tmp_path / "a", strategy="ablation_only")
    found = charts(looked_at(tmp_path / "a").answer(Selection()))
    (bars,) = found["Cost of leaving one out: error"]["series"]
    removed = matrix.leave_one_out("error")
    assert dict(zip(bars["x"], bars["y"], strict=True)) == {name: removed[name].contribution for name in PLAYERS}
    assert not any(title.startswith("Interactions") for title in found)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
            "has another checksum than it was written with",
        ),
        (lambda data: data.replace(b"matrix 1", b"matrix 9", 1), "has format version 9, wanted at most 1"),
        (lambda _: b"", "begins with b''"),
        (lambda _: b"PK\x03\x04 something else", "begins with b'PK"),
    ],
)
def test_a_damaged_matrix_is_told_and_what_was_read_before_stays(folder: Path, damage, said: str):
    """[R11] [R30] The place of the folder is not told."""
    path = folder / "matrix.accredit"
    watching = looked_at(folder)
    path.write_bytes(damage(path.read_bytes()))
    watching.poll()
    answer = watching.answer(Selection())
    assert answer["notices"][0].startswith("matrix.accredit cannot be read: `matrix.accredit` ")
    assert said in answer["notices"][0]
    assert str(folder) not in json.dumps(answer)
    assert "Contributions to error" in charts(answer)
    fresh = looked_at(folder).answer(Selection())
    assert (fresh["charts"], fresh["state"]) == ([], "not begun")


def test_a_pipe_a_folder_or_a_file_beyond_all_measure_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    path = folder / "matrix.accredit"
    monkeypatch.setattr("accredit.dashboard.attribution._MOST_BYTES", 10)
    notice = looked_at(folder).answer(Selection())["notices"][0]
    assert notice.startswith("matrix.accredit has 0 MiB, which are too many to be read again and again;")
    path.unlink()
    os.mkfifo(path)
    assert looked_at(folder).answer(Selection())["notices"] == ["matrix.accredit: not a file."]
    path.unlink()
    path.mkdir()
    assert looked_at(folder).answer(Selection())["notices"] == ["matrix.accredit: not a file."]


def test_a_folder_that_goes_away_is_told(folder: Path):
    watching = looked_at(folder)
    folder.rename(folder.with_name("moved"))
    watching.poll()
    answer = watching.answer(Selection())
    assert answer["notices"] == ["The folder is gone."]
    assert len(answer["charts"]) == 4


def test_nothing_in_the_folder_is_changed(folder: Path):
    def content() -> dict[str, tuple[bytes, int]]:
        return {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in folder.iterdir()}

    before = content()
    watching = looked_at(folder)
    watching.answer(Selection())
    watching.log(before=100, place="")
    watching.save()
    assert content() == before


def test_reading_takes_a_fifth_of_the_time_at_most(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A matrix that takes seconds to derive does not keep a core busy that should evaluate."""
    clock = iter(np.arange(0.0, 1000.0, 10.0))
    monkeypatch.setattr("accredit.dashboard.attribution.time.monotonic", lambda: float(next(clock)))
    watching = looked_at(folder)
    assert watching._next_s >= 20.0 + 4 * 10.0


def test_coalitions_are_listed_latest_first(folder: Path):
    found = looked_at(folder).log(before=10**15, place="")
    assert (found["first"], found["count"], len(found["rows"])) == (0, 8, 8)
    assert [row["line"] for row in found["rows"]] == [8, 7, 6, 5, 4, 3, 2, 1]
    first = found["rows"][-1]
    assert (first["event"], first["where"]) == ("coalition", "0 of 3 on")
    assert first["text"] == "error 2, share 0; on: nothing"
    assert found["rows"][-2]["text"] == "error 1, share 0.5; on: gate, value, noise"


def test_long_lists_come_a_few_at_a_time(tmp_path: Path):
    players = tuple(f"p{at}" for at in range(6))
    write_attribution(tmp_path / "a", players=players)
    watching = looked_at(tmp_path / "a")
    latest = watching.log(before=10**15, place="")
    assert (len(latest["rows"]), latest["first"]) == (ROWS, 64 - ROWS)
    rest = watching.log(before=latest["first"], place="x")
    assert rest["rows"][0]["line"] == 64 - ROWS


def test_many_outputs_and_players_leave_the_smaller_ones_out(tmp_path: Path):
    players = tuple(f"p{at}" for at in range(60))
    write_attribution(tmp_path / "a", players=players, max_evaluations=140)
    found = charts(looked_at(tmp_path / "a").answer(Selection()))
    bars = found["Contributions to error"]
    assert len(bars["series"][0]["x"]) == 40
    assert "20 smaller ones are not drawn." in bars["note"]
    assert len(found["Interactions: error"]["series"][0]["x"]) == 20


def test_hostile_names_are_texts_that_turn_nothing_but_themselves(tmp_path: Path):
    outputs = (Output(HOSTILE[0], HOSTILE[3], False), Output(HOSTILE[3], "x", True))
    write_attribution(tmp_path / "a", players=HOSTILE, outputs=outputs)
    answer = looked_at(tmp_path / "a").answer(Selection())
    found = charts(answer)
    assert f"Contributions to \N{FIRST STRONG ISOLATE}{HOSTILE[3]}\N{POP DIRECTIONAL ISOLATE}" in found
    assert set(found[f"Contributions to {HOSTILE[0]}"]["series"][0]["x"]) == set(HOSTILE)
    assert all(chart["id"].replace("-", "").isalnum() for chart in answer["charts"])


def test_a_folder_with_neither_is_refused(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for name, what in (("empty", "which holds no run and no attribution"), ("none", "which is no folder")):
        with pytest.raises(RunFolderError) as error:
            watched(tmp_path / name, name)
        assert str(error.value) == (
            f"`RUN` is {tmp_path / name}, {what}, wanted one with a config.json or a matrix.accredit; name a folder "
            "that `accredit grow` or `accredit attribute` has made, such as one under runs/."
        )


def test_a_run_and_an_attribution_stand_side_by_side(folder: Path, tmp_path: Path):
    run = write_run(tmp_path / "run", story(("train-0",), 2))
    with served(run, folder) as url:
        wanted, by = ["live/log_loss", *(output.name for output in OUTPUTS)], time.monotonic() + 20
        answer = json.loads(asked(url, "/data")[2])
        # each folder is followed on its own, and read for the first time when a busy machine gets to it
        while answer["outputs"] != wanted and time.monotonic() < by:
            time.sleep(0.05)
            answer = json.loads(asked(url, "/data")[2])
        assert [each["name"] for each in answer["runs"]] == ["run", "rings"]
        assert [each["rows"] for each in answer["runs"]] == ["Events", "Coalitions"]
        assert answer["outputs"] == wanted
        status, _, body = asked(url, "/events?run=1")
        assert status == 200
        assert json.loads(body)["count"] == 8
        for path in ("/task.json", "/matrix.accredit", "/../rings/task.json", "/%2e%2e/task.json"):
            assert asked(url, path)[0] == 404


def test_values_per_example_do_not_stay_in_memory(folder: Path):
    """[R16] They would fill it: a page may be open for weeks."""
    standing = looked_at(folder)._standing
    assert standing is not None
    arrays = [each for each in vars(standing).values() if isinstance(each, np.ndarray | torch.Tensor)]
    assert sorted(each.size for each in arrays) == [16, 24]
    assert all(each.base is None for each in arrays)
