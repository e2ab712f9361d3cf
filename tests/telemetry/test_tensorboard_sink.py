"""What TensorBoard's own reader finds in the files."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.errors import InvalidArgument, MissingExtra
from accredit.telemetry import (
    EVENT_KINDS,
    ContributionsEstimated,
    Event,
    HostDiverged,
    HostGrown,
    Origin,
    RunCompleted,
    RunStarted,
    StageChanged,
    StepCompleted,
    TensorBoardSink,
    UpdateCompleted,
)
from accredit.telemetry.sinks.pictures import append_thinned

ORIGIN = Origin(environment="train-000", episode=1, step=1, game="candidates")


def update(number: int, **changes: object) -> UpdateCompleted:
    hints = {field: 0.25 for field in UpdateCompleted.__dataclass_fields__ if field != "origin"}
    return UpdateCompleted(**hints | {"update": number, "action_frequencies": {"wait": 0.75}} | changes)


def step(reward: float, log_loss: float | None = 0.5) -> StepCompleted:
    names = ("gain", "control_gain", "rent", "graft_cost", "accuracy")
    return StepCompleted(
        origin=ORIGIN, host_seed=1, action="wait", graft_parameters=3, log_loss=log_loss, reward=reward,
        **dict.fromkeys(names, 0.0),
    )  # fmt: skip


def contributions(*values: float, players: tuple[str, ...] = ("a", "b")) -> ContributionsEstimated:
    unknown = (None,) * len(players)
    return ContributionsEstimated(
        origin=ORIGIN, output="log_loss", unit="nat", higher_is_better=False, players=players,
        values=tuple(-value for value in values), contributions=values, stderr=unknown, lower=unknown, upper=unknown,
        level=0.95, value_all=0.0, value_none=0.0, estimator="exact", n_evaluations=4,
    )  # fmt: skip


def read(folder: Path) -> Any:
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "histograms": 0})
    return found.Reload()


def scalar(found: Any, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in found.Scalars(tag)]


def shown(folder: Path, *events: Event, **settings: int) -> Any:
    with TensorBoardSink(folder, **settings) as sink:
        for event in events:
            sink(event)
    return read(folder)


def test_numbers_of_an_update_are_scalars_and_missing_ones_are_left_out(tmp_path: Path):
    """[R32] A gap, never 0."""
    found = shown(tmp_path, update(1, entropy=1.5), update(2, entropy=1.25, episode_return=None))
    assert scalar(found, "update/entropy") == [(1, 1.5), (2, 1.25)]
    assert scalar(found, "update/episode_return") == [(1, 0.25)]
    assert scalar(found, "update/action_frequencies/wait") == [(1, 0.75), (2, 0.75)]
    assert "update/update" not in found.Tags()["scalars"]


def test_steps_and_contributions_between_two_updates_are_histograms_means_and_counts(tmp_path: Path):
    """[R32] Each event counts in one update."""
    graft = StageChanged(origin=ORIGIN, slot="a", kind="mlp", operation="graft", source="empty", target="training")
    found = shown(
        tmp_path,
        *(step(1.0), step(3.0, None), graft, HostDiverged(origin=ORIGIN), contributions(1.0, -0.5)),
        *(contributions(2.0, players=("a",)), update(1), step(7.0), update(2)),
    )
    assert scalar(found, "stages/graft") == [(1, 1.0)]
    assert scalar(found, "update/hosts_diverged") == [(1, 1.0), (2, 0.0)]
    assert scalar(found, "contribution/candidates/log_loss/a") == [(1, 1.5)]
    assert scalar(found, "contribution/candidates/log_loss/b") == [(1, -0.5)]
    rewards = [(each.step, each.histogram_value) for each in found.Histograms("step/reward")]
    assert [(at, each.num, each.sum) for at, each in rewards] == [(1, 2.0, 4.0), (2, 1.0, 7.0)]
    assert [each.histogram_value.num for each in found.Histograms("step/log_loss")] == [1.0, 1.0]
    assert found.Histograms("contributions/candidates/log_loss/a")[0].histogram_value.num == 2.0


def test_pictures_come_as_often_as_asked_for(tmp_path: Path):
    events = [each for number in range(1, 5) for each in (contributions(0.5, 0.25), update(number))]
    tag = "contributions/candidates/log_loss"
    found = shown(tmp_path / "two", *events, RunCompleted(updates=4), images_every=2)
    assert [image.step for image in found.Images(tag)] == [2, 4]
    assert found.Images(tag)[0].encoded_image_string.startswith(b"\x89PNG")
    found = shown(tmp_path / "three", *events, RunCompleted(updates=4), images_every=3)
    assert [image.step for image in found.Images(tag)] == [3, 4]
    assert shown(tmp_path / "none", *events, RunCompleted(updates=4), images_every=0).Tags()["images"] == []


def host_events(episode: int, environment: str = "train-000") -> list[Event]:
    """An episode in which a graft is trained, committed, and earns."""
    places = [Origin(environment=environment, episode=episode, step=at, game=None) for at in range(3)]
    stages = [("graft", "empty", "training"), ("commit", "training", "committed")]
    events: list[Event] = [
        StageChanged(origin=origin, slot="a", kind="mlp", operation=operation, source=source, target=target)
        for origin, (operation, source, target) in zip(places, stages, strict=False)
    ]
    live = replace(contributions(0.5, 0.25), origin=replace(places[2], game="live"))
    return [*events, replace(step(1.0), origin=places[2]), live]


def test_learning_ppo_and_one_host_are_drawn_with_the_contributions(tmp_path: Path):
    """[R32] What the report draws from the same events, at every picture."""
    events = [each for number in (1, 2) for each in (*host_events(number), update(number))]
    found = shown(tmp_path, *events, images_every=1)
    wanted = {"learning/returns", "learning/decisions", "ppo/entropy", "ppo/divergence", "ppo/shares", "grafts/story"}
    assert set(found.Tags()["images"]) == wanted | {"contributions/live/log_loss"}
    for tag in wanted:
        assert [image.step for image in found.Images(tag)] == [1, 2]
        assert found.Images(tag)[0].encoded_image_string.startswith(b"\x89PNG")


def test_the_comparison_is_drawn_in_the_end_alone(tmp_path: Path):
    grown = [
        HostGrown(origin=ORIGIN, policy=policy, host_seed=seed, log_loss=0.5, accuracy=0.5, parameters=9, committed=())
        for policy in ("learned", "random")
        for seed in (1, 2)
    ]
    found = shown(tmp_path / "some", update(1), *grown, RunCompleted(updates=1), images_every=1)
    tags = {"comparison/log_loss", "comparison/accuracy", "comparison/accuracy_against_parameters"}
    assert tags <= set(found.Tags()["images"])
    assert all(len(found.Images(tag)) == 1 for tag in tags)
    found = shown(tmp_path / "none", update(1), *grown, RunCompleted(updates=1), images_every=0)
    assert found.Tags()["images"] == []


def test_the_comparison_and_the_configuration_are_there_in_the_end(tmp_path: Path):
    grown = [
        HostGrown(origin=ORIGIN, policy="learned", host_seed=1, log_loss=loss, accuracy=0.5, parameters=9, committed=())
        for loss in (0.25, 0.75)
    ]
    started = RunStarted(task="digits", seed=0, config='{"a": 1}', code_version="0", torch_version="0")
    found = shown(tmp_path, started, update(1), *grown, RunCompleted(updates=1))
    assert scalar(found, "comparison/learned/log_loss") == [(1, 0.5)]
    assert found.Histograms("comparison/learned/log_loss")[0].histogram_value.num == 2.0
    assert found.Tensors("config/text_summary")[0].tensor_proto.string_val == [b'    {"a": 1}']


def test_everything_up_to_an_update_is_in_the_file_before_the_call_returns(tmp_path: Path):
    """[R32] A killed run loses no update."""
    with TensorBoardSink(tmp_path) as sink:
        for number in (1, 2):
            sink(update(number))
            assert [at for at, _ in scalar(read(tmp_path), "update/entropy")] == list(range(1, number + 1))


def test_beginning_again_removes_what_was_shown_before_and_nothing_else(tmp_path: Path):
    (tmp_path / "mine").write_text("keep")
    shown(tmp_path, update(1), update(2))
    found = shown(tmp_path, update(1))
    assert scalar(found, "update/entropy") == [(1, 0.25)]
    assert (tmp_path / "mine").read_text() == "keep"


def test_a_curve_keeps_a_bounded_number_of_points(tmp_path: Path):
    """[R16] With both of its ends."""
    with TensorBoardSink(tmp_path, images_every=0) as sink:
        for number in range(1, 1001):
            sink._window.take(contributions(1.0, 2.0))
            means = sink._window.contributions["candidates/log_loss"].means()
            append_thinned(sink._history["x"], (number, means))
        times = [time for time, _ in sink._history["x"]]
    assert len(times) <= 200
    assert (times[0], times[-1]) == (1, 1000)
    assert times == sorted(set(times))


def test_numbers_that_are_not_finite_leave_the_others_shown(tmp_path: Path):
    found = shown(tmp_path, step(float("nan")), step(2.0), update(1))
    assert found.Histograms("step/reward")[0].histogram_value.num == 1.0


def test_every_kind_is_taken(tmp_path: Path):
    """[R32] Also those that nothing is drawn from."""
    assert set(EVENT_KINDS) >= {"CoalitionsEvaluated"}
    coalitions = EVENT_KINDS["CoalitionsEvaluated"](origin=ORIGIN, players=(), coalitions=(), values={})
    assert shown(tmp_path, coalitions).Tags()["scalars"] == []


@pytest.mark.parametrize(
    ("package", "named"), [("tensorboard", "tensorboard"), ("matplotlib.backends.backend_agg", "matplotlib")]
)
def test_a_missing_package_is_named_with_the_extra(
    package: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """[R37]"""
    for name in ("torch.utils.tensorboard", "torch.utils.tensorboard.writer"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    wanted = rf"`TensorBoardSink` got no {named}, wanted it installed; run `pip install accredit\[tensorboard\]`"
    with pytest.raises(MissingExtra, match=wanted):
        TensorBoardSink(tmp_path)


def test_a_negative_distance_of_pictures_is_refused(tmp_path: Path):
    """[R37]"""
    with pytest.raises(InvalidArgument, match="`images_every` is -1, wanted 0 or more; pass 0 for no pictures"):
        TensorBoardSink(tmp_path, images_every=-1)


def test_a_sink_says_where_it_writes():
    assert repr(TensorBoardSink(Path("runs/a"))) == "TensorBoardSink('runs/a')"
