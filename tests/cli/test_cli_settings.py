"""`--set NAME=VALUE`: any field by its dotted name."""

import dataclasses
from pathlib import Path

import pytest

from accredit.cli import work
from accredit.cli.commands import Grow
from accredit.cli.settings import quick, with_settings
from accredit.errors import AccreditError, InvalidArgument, RunFolderError, StateMismatch, UnknownName
from accredit.growth.blend import BlendSchedule
from accredit.training.comparison import Comparison
from accredit.training.config import TrainConfig
from accredit.training.task import find_task


def test_settings_reach_fields_of_every_depth_and_type():
    """[R37]"""
    config = with_settings(
        TrainConfig(),
        ["seed=3", "ppo.clip=0.1", "ppo.gamma=1", "episode.reward.rent=0", "episode.blend_schedule=cosine", "seed=4"],
    )
    wanted = TrainConfig()
    wanted = dataclasses.replace(
        wanted,
        seed=4,
        ppo=dataclasses.replace(wanted.ppo, clip=0.1, gamma=1.0),
        episode=dataclasses.replace(
            wanted.episode,
            blend_schedule=BlendSchedule.COSINE,
            reward=dataclasses.replace(wanted.episode.reward, rent=0.0),
        ),
    )
    assert config == wanted


@pytest.mark.parametrize(
    ("setting", "error", "sentence"),
    [
        ("ppo.clop=1", UnknownName, r"`--set` got the field 'ppo.clop', wanted one of the \d+ fields .* 'ppo.clip'\?"),
        ("ppo=1", UnknownName, "`--set` got the field 'ppo', wanted one of"),
        ("seed", InvalidArgument, "`--set` got 'seed', wanted NAME=VALUE; write for example --set ppo.clip=0.1"),
        ("seed=x", StateMismatch, "`seed` .* is 'x', wanted int"),
        ("episode.steps=0", InvalidArgument, "`episode.steps` is 0, wanted a whole number of at least 1"),
        ("episode.steps=1.5", StateMismatch, "`episode.steps` .* is 1.5, wanted int"),
        ("ppo.clip=NaN", AccreditError, "`ppo.clip` .*is nan, wanted a finite number"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: str, error: type[Exception], sentence: str):
    """[R37]"""
    with pytest.raises(error, match=sentence):
        with_settings(TrainConfig(), [setting])


def test_quick_is_small_in_everything_that_costs_time():
    """[R37]"""
    small, whole = quick(TrainConfig(seed=9)), TrainConfig(seed=9)
    assert small.environment_steps * 10 < whole.environment_steps
    assert small.evaluation.hosts < whole.evaluation.hosts
    assert small.seed == 9
    assert small.ppo == whole.ppo


@pytest.mark.parametrize(("name", "updates"), [("text", 80), ("digits", 40)])
def test_grow_begins_with_what_the_task_says(name: str, updates: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """[R37] Training is stopped before it begins; what counts is the configuration that it was given."""
    given: list[TrainConfig] = []

    def train(config: TrainConfig, folder: Path, **others: object) -> Comparison:
        given.append(config)
        raise RunFolderError(f"`--out` is {folder}, wanted no run in this test ({len(others)} more); see the test.")

    monkeypatch.setattr(work, "train", train)
    with pytest.raises(RunFolderError):
        work.grow(Grow(task=name, seed=3, out=tmp_path / "run"))
    assert given == [find_task(name).run_config(seed=3)]
    assert given[0].updates == updates
