"""Configurations: their record, their differences, and what is refused."""

import dataclasses
import json

import pytest

from accredit.errors import FileDamaged, InvalidArgument, RunFolderError, StateMismatch
from accredit.growth.blend import BlendSchedule
from accredit.training.config import EpisodeConfig, EvaluationConfig, TrainConfig
from accredit.training.config_record import differing_fields, from_plain, to_plain
from accredit.training.reward import RewardConfig
from accredit.training.run_folder import RunFolder, read_json, write_json

UNUSUAL = TrainConfig(
    seed=5,
    updates=7,
    episode=EpisodeConfig(steps=3, blend_schedule=BlendSchedule.COSINE, reward=RewardConfig(rent=0.5)),
    evaluation=EvaluationConfig(hosts=9),
)


def test_a_configuration_comes_back_equal_through_json():
    """[R29] Nested fields and enumerations included."""
    plain = json.loads(json.dumps(to_plain(UNUSUAL)))
    assert plain["episode"]["blend_schedule"] == "cosine"
    assert from_plain(TrainConfig, plain) == UNUSUAL
    assert from_plain(TrainConfig, to_plain(TrainConfig())) == TrainConfig()


def test_a_whole_number_is_a_number():
    """[R31] JSON writes 1.0 as 1 in other languages; a field of type float takes it."""
    plain = to_plain(UNUSUAL)
    plain["ppo"]["gamma"] = 1
    assert from_plain(TrainConfig, plain).ppo.gamma == 1.0
    assert type(from_plain(TrainConfig, plain).ppo.gamma) is float


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("seed",), "5", "`seed` of the configuration is '5', wanted int; restore the file that the run wrote"),
        (("seed",), True, "`seed` of the configuration is True, wanted int"),
        (("updates",), 1.5, "`updates` of the configuration is 1.5, wanted int"),
        (("ppo", "clip"), None, "`ppo.clip` of the configuration is None, wanted float"),
        (("episode",), 3, "`episode` of the configuration is 3, wanted EpisodeConfig"),
        (("episode", "blend_schedule"), "sudden", "`episode.blend_schedule` .* is 'sudden', wanted BlendSchedule"),
        (("episode", "reward", "rent"), "x", "`episode.reward.rent` of the configuration is 'x', wanted float"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_dotted_name(place, value, sentence: str):
    """[R31]"""
    plain = to_plain(UNUSUAL)
    holder = plain
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    with pytest.raises(StateMismatch, match=sentence):
        from_plain(TrainConfig, plain)


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_number_that_is_not_finite_is_refused_by_its_dotted_name(number: float):
    """[R31] It would pass comparisons with bounds, and JSON has no name for it."""
    plain = to_plain(UNUSUAL)
    plain["episode"]["reward"]["rent"] = number
    wanted = f"`episode.reward.rent` of the configuration is {number}, wanted a finite number; pass one"
    with pytest.raises(InvalidArgument, match=wanted):
        from_plain(TrainConfig, plain)


def test_fields_that_are_missing_or_unknown_are_named():
    """[R31]"""
    plain = to_plain(UNUSUAL)
    del plain["episode"]["steps"]
    plain["episode"]["strides"] = 3
    wanted = r"`config` differs from this version in the fields episode.steps, episode.strides, wanted exactly"
    with pytest.raises(StateMismatch, match=wanted):
        from_plain(TrainConfig, plain)


def test_differences_are_named_with_both_values():
    """[R31]"""
    other = dataclasses.replace(UNUSUAL, seed=6, episode=dataclasses.replace(UNUSUAL.episode, steps=4))
    assert differing_fields(to_plain(UNUSUAL), to_plain(other)) == ["seed: 5 -> 6", "episode.steps: 3 -> 4"]
    assert differing_fields(to_plain(UNUSUAL), to_plain(UNUSUAL)) == []
    assert differing_fields({"a": 1, "b": 2}, {"a": 1.0, "c": 3}) == ["a: 1 -> 1.0", "b: 2 -> None", "c: None -> 3"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TrainConfig(environments=0), "`environments` is 0, wanted a whole number of at least 1; correct"),
        (lambda: TrainConfig(updates=0), "`updates` is 0, wanted"),
        (lambda: TrainConfig(checkpoint_every=0), "`checkpoint_every` is 0, wanted"),
        (lambda: TrainConfig(checkpoints_kept=1), "`checkpoints_kept` is 1 and `seed` is 0, wanted at least 2 and"),
        (lambda: TrainConfig(seed=-1), "`seed` is -1, wanted at least 2 and 0 to"),
        (lambda: TrainConfig(seed=10**15), "`seed` is 1000000000000000, wanted at least 2 and 0 to"),
        (lambda: TrainConfig(episode=EpisodeConfig(host_seeds=10**6 + 1)), "`episode.host_seeds` is 1000001, but each"),
        (lambda: TrainConfig(evaluation=EvaluationConfig(hosts=10**6 + 1)), "`evaluation.hosts` is 1000001, but each"),
        (lambda: EpisodeConfig(steps=0), "`episode.steps` is 0, wanted a whole number of at least 1"),
        (lambda: EpisodeConfig(minibatches=0), "`episode.minibatches` is 0"),
        (lambda: EpisodeConfig(batch_size=0), "`episode.batch_size` is 0"),
        (lambda: EpisodeConfig(blend_steps=0), "`episode.blend_steps` is 0"),
        (lambda: EpisodeConfig(host_seeds=0), "`episode.host_seeds` is 0"),
        (lambda: EpisodeConfig(holding_steps=-1), "`episode` got holding_steps -1 and cooldown_steps 0, wanted whole"),
        (lambda: EpisodeConfig(cooldown_steps=-1), "`episode` got holding_steps 0 and cooldown_steps -1, wanted whole"),
        (lambda: EpisodeConfig(learning_rate=0.0), "`episode` got learning_rate 0.0 and confidence .*, wanted a pos"),
        (
            lambda: EpisodeConfig(confidence=1.0),
            r"`episode` got learning_rate .* and confidence 1.0, wanted a .*\(0, 1",
        ),
        (lambda: EvaluationConfig(hosts=1), "`evaluation` got 1 hosts and confidence .*, wanted at least 2 hosts for"),
        (lambda: EvaluationConfig(confidence=0.0), "`evaluation` got .* hosts and confidence 0.0, wanted at least 2"),
        (lambda: EvaluationConfig(calibration_episodes=0), "`evaluation.calibration_episodes` is 0, wanted a whole"),
    ],
)
def test_impossible_settings_are_refused_by_name(make, sentence: str):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=sentence):
        make()


def test_environment_steps_are_decisions_of_a_whole_run():
    """[R35]"""
    assert TrainConfig(environments=3, updates=5, episode=EpisodeConfig(steps=7)).environment_steps == 105


def test_json_is_written_whole_or_not_at_all(tmp_path):
    """[R30]"""
    path = tmp_path / "file.json"
    write_json(path, {"a": [1, None], "b": "ü"})
    assert read_json(path) == {"a": [1, None], "b": "ü"}
    assert [file.name for file in tmp_path.iterdir()] == ["file.json"]
    with pytest.raises(
        RunFolderError, match=r"`.*x.json` cannot be written \(No such file or directory\), wanted room"
    ):
        write_json(tmp_path / "missing" / "x.json", {})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b"{",
            r"`.*file.json` cannot be read as JSON \(.*\), wanted what accredit wrote; restore the file from a copy",
        ),
        (b"\xff\xfe", "cannot be read as JSON"),
        (None, "cannot be read as JSON .*No such file"),
        (b"[1]", "`.*file.json` holds a list, wanted a JSON object; restore the file from a copy"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_refused(tmp_path, content, sentence: str):
    """[R30]"""
    if content is not None:
        (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(FileDamaged, match=sentence):
        read_json(tmp_path / "file.json")


def test_an_unused_name_is_found_beside_those_that_exist(tmp_path):
    """[R37]"""
    folder = RunFolder(tmp_path / "run")
    assert folder.unused_name() == folder
    folder.path.mkdir()
    (tmp_path / "run-2").mkdir()
    assert folder.unused_name().path == tmp_path / "run-3"
