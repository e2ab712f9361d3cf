"""A task is put together from parts: any host, kinds, data, metric and settings.

B examples.
"""

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_toys import TINY, TOY, toy_splits

from accredit.errors import InvalidArgument
from accredit.growth import VECTOR_CATALOGUE, Score, Slot
from accredit.growth.looped import LoopedHosts
from accredit.growth.stacked import StackedHosts
from accredit.training.config import EpisodeConfig, TrainConfig
from accredit.training.data import digits, digits_as_images
from accredit.training.environment import GrowthEnv, GrowthVectorEnv
from accredit.training.loop import resume, train
from accredit.training.task import CIFAR10, DIGITS, DIGITS_CONV, TASKS, TEXT, Task, find_task


def layers() -> list[nn.Module]:
    return [Slot("whole", 8), nn.Linear(8, 3)]


class Hinge:
    """Multi-class hinge loss: a metric that is no log-loss."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        wanted = outputs.gather(-1, labels.unsqueeze(-1))
        return (1 + outputs - wanted).clamp(min=0).sum(-1) - 1

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        loss = self.loss(outputs, labels.expand(outputs.shape[:-1]))
        return Score(log_loss=loss, is_correct=(outputs.argmax(-1) == labels).float())


OWN = Task(name="own", layers=layers, catalogue=VECTOR_CATALOGUE, load=toy_splits, metric=Hinge())


def test_hosts_lower_and_report_the_metric_of_their_task():
    """[R37] The loss of a minibatch and of the reward split, against PyTorch's own."""
    reward, hosts = OWN.splits.reward, OWN.make_hosts(1, learning_rate=1e-2)
    hosts.reset(0, OWN.build_host(3))
    linear = OWN.build_host(3).layers[1]
    with torch.no_grad():
        wanted = nn.functional.multi_margin_loss(linear(reward.inputs), reward.labels).item() * 3
    loss = hosts.train(reward.inputs.unsqueeze(0), reward.labels.unsqueeze(0)).item()
    assert loss == pytest.approx(wanted, abs=1e-5)
    for _ in range(60):
        loss = hosts.train(reward.inputs.unsqueeze(0), reward.labels.unsqueeze(0)).item()
    assert loss < wanted - 0.1


@pytest.mark.parametrize("task", [task for task in TASKS if task is not CIFAR10], ids=lambda task: task.name)
def test_every_task_gives_environments_that_learn(task: Task):
    """[R37] Stacked as the task says and one at a time; its episodes are those of the task, and hosts learn in them."""
    env = GrowthEnv(task=dataclasses.replace(task, episode=dataclasses.replace(task.episode, host_seeds=1)))
    assert env.config.batch_size == task.episode.batch_size
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    gains = [env.step(0)[4]["gain"] for _ in range(4)]
    assert sum(gains) > 0.02
    assert isinstance(task.make_hosts(1, learning_rate=1e-2), StackedHosts)


def test_a_task_travels_to_other_processes():
    """[R29] As plain data and functions by name; a widened one too where its data does."""
    for task in (DIGITS, DIGITS_CONV, TEXT, CIFAR10):
        copy = pickle.loads(pickle.dumps(task))
        assert copy.name == task.name
        assert copy.slot_names == task.slot_names
        assert copy.host_parameters == task.host_parameters


def test_images_of_digits_are_the_digits():
    """[R36] In the same splits, row by row."""
    for name in ("train", "reward", "test"):
        flat, images = vars(digits())[name], vars(digits_as_images())[name]
        assert torch.equal(flat.inputs[:, 8:16], images.inputs[:, 0, 1])
        assert torch.equal(flat.labels, images.labels)


def test_larger_hosts_have_the_places_of_the_small_ones():
    """[R35] And more parameters with every size."""
    for task in (DIGITS, DIGITS_CONV, TEXT, CIFAR10):
        sizes = [task.widened(width).host_parameters for width in task.large_widths]
        assert [task.host_parameters, *sizes] == sorted([task.host_parameters, *sizes])
        assert task.widened(task.large_widths[0]).slot_names == task.slot_names
    with pytest.raises(
        InvalidArgument, match=r"`wider` of task 'own' is None, wanted a function of a width that returns"
    ):
        OWN.widened(9)


class Doubling:
    """A kind of graft that no stack knows."""

    name, is_harmful = "doubling", False

    def build(self, features: int, generator: torch.Generator) -> nn.Module:
        del generator
        layer = nn.Linear(features, features)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer

    def parameter_count(self, features: int) -> int:
        return features * features + features

    def mac_count(self, features: int) -> int:
        return features * features


def test_kinds_that_cannot_be_stacked_are_refused_or_looped():
    """[R37]"""
    task = dataclasses.replace(OWN, catalogue=(*VECTOR_CATALOGUE, Doubling()))
    with pytest.raises(
        InvalidArgument, match=r"`catalogue` of task 'own' has doubling, wanted kinds of class VectorKind"
    ):
        task.make_hosts(2, learning_rate=1e-2)
    looped = dataclasses.replace(task, is_stacked=False)
    assert isinstance(looped.make_hosts(2, learning_rate=1e-2), LoopedHosts)
    env = GrowthVectorEnv(2, task=looped, config=TINY.episode)
    _, info = env.reset(seed=0)
    grafts = info["action_mask"].nonzero()[1]
    for _ in range(3):
        env.step(grafts[[0, -1]])


def test_a_run_on_a_task_of_ones_own_is_trained_and_resumed(tmp_path: Path):
    """[R29] [R37] The task is passed again, under the name that the run has."""
    config = dataclasses.replace(TINY, task="own", updates=1)
    first = train(config, tmp_path / "run", task=OWN)
    assert {row.policy for row in first.policies} >= {"learned", "no growth"}
    assert not first.sizes
    again = resume(tmp_path / "run", task=OWN)
    assert again.to_dict() == first.to_dict()
    wanted = "`task` is 'toy', but the configuration names 'own'; pass TrainConfig with task='toy'"
    with pytest.raises(InvalidArgument, match=wanted):
        resume(tmp_path / "run", task=TOY)
    with pytest.raises(InvalidArgument, match=wanted):
        train(config, tmp_path / "other", task=TOY)
    assert not (tmp_path / "other").exists()


def test_tasks_have_settings_of_their_own():
    """[R37] Digits have those of the class; text has others."""
    assert find_task("digits").episode == EpisodeConfig()
    assert find_task("text").episode.learning_rate == 2e-2
    assert find_task("text").run_config(seed=3) == TrainConfig(
        task="text", seed=3, episode=find_task("text").episode, updates=80
    )
    assert find_task("digits").run_config() == TrainConfig()
    assert find_task("digits-conv").episode.batch_size == 32


@pytest.mark.parametrize("name", ["digits", "digits-conv", "text", "cifar10"])
def test_fixed_networks_begin_with_the_size_of_the_hosts(name: str):
    """[R35] A host that never grows, at the best of three rates: what a rate brings is not what growth earns."""
    task = next(task for task in TASKS if task.name == name)
    smallest = task.widened(task.large_widths[0]).template
    assert smallest.parameter_count() == task.host_parameters
    assert list(task.large_widths) == sorted(task.large_widths)
