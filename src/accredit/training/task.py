"""What is grown on what: a host architecture, a catalogue of grafts, data, a metric, and how hosts are trained."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import torch
from torch import nn

from accredit.errors import InvalidArgument, UnknownName
from accredit.growth.architectures import Centred, convolutional_layers, mlp_layers, transformer_layers
from accredit.growth.catalogue import VECTOR_CATALOGUE, Kind, VectorKind
from accredit.growth.hosts import Hosts
from accredit.growth.looped import LoopedHosts
from accredit.growth.metric import LogLoss, Metric
from accredit.growth.network import GrowingNetwork
from accredit.growth.stacked import StackedHosts
from accredit.training.cifar10 import CLASSES, SIZE, cifar10
from accredit.training.config import EpisodeConfig, TrainConfig
from accredit.training.data import Splits, digits, digits_as_images
from accredit.training.planted import FEATURES, PLANTED_CATALOGUE, planted
from accredit.training.proof import CommitRule
from accredit.training.reward import RewardConfig
from accredit.training.text import ALPHABET, CONTEXT, text

Layers = Sequence[nn.Module]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A family of hosts that differ by their seed alone, and the data that they learn.

    Everything is passed in, so that a host and data of your own make a task of your own.  Functions at the top of a
    module (and `functools.partial` of them) let a task travel to other processes; a lambda does not.
    """

    name: str
    layers: Callable[[], Layers]
    """Returns the layers of a fresh host with a `Slot` wherever something may be grafted; called under the host's seed,
    so that it just builds modules."""
    catalogue: tuple[Kind, ...]
    """Kinds of graft that may be chosen."""
    load: Callable[[], Splits]
    """The data: inputs of any shape and type that the first layer takes, labels that `metric` takes."""
    load_from: Callable[[Path], Splits] | None = None
    """Reads the data from a folder that the user names, and `load` is not asked; None: the task brings its own."""
    metric: Metric = field(default_factory=LogLoss)
    """What hosts lower and are measured by."""
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    """How hosts of this task are trained and grown unless a run says otherwise."""
    updates: int = 40
    """PPO updates in which a policy learns this task unless a run says otherwise, >= 1."""
    is_stacked: bool = True
    """Whether many hosts are one batched network, which takes `VectorKind` grafts and layers without dropout or batch
    statistics; else they are trained one after the other, whatever they are made of."""
    wider: Callable[[int], Layers] | None = None
    """Returns the layers of a host with so many features inside, for the fixed large network that growth is compared
    with; None: no such comparison."""
    large_widths: tuple[int, ...] = ()
    """Sizes of that network, as `wider` takes them, ascending; the first may be that of the hosts, since each size has
    the best of three learning rates, and hosts that grow have one."""

    @cached_property
    def splits(self) -> Splits:
        """The data, loaded at the first use."""
        return self.load()

    @cached_property
    def template(self) -> GrowingNetwork:
        """A host that nobody trains: what all others look like."""
        return self.build_host(0)

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of the slots in the order of execution."""
        return tuple(slot.name for slot in self.template.slots)

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Names of the catalogue, in order."""
        return tuple(kind.name for kind in self.catalogue)

    @property
    def host_parameters(self) -> int:
        """Parameters of a host without grafts."""
        return self.template.parameter_count()

    def run_config(self, *, seed: int = 0, data: str = "") -> TrainConfig:
        """Return how a run of this task goes unless it says otherwise.

        Args:
            seed: root of every random number of the run.
            data: folder with the files of a task that needs any.

        Example:
            >>> TEXT.run_config(seed=1).updates
            80
        """
        return TrainConfig(task=self.name, data=data, seed=seed, episode=self.episode, updates=self.updates)

    def build_host(self, seed: int) -> GrowingNetwork:
        """Return a fresh host: PyTorch's own initialisation under `seed`, which touches no other random state."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every other device, too
            return GrowingNetwork(self.layers())

    def make_hosts(self, count: int, *, learning_rate: float) -> Hosts:
        """Return `count` hosts that train side by side, the fastest way that the task allows.

        Args:
            count: E.
            learning_rate: of Adam, for hosts and grafts alike.

        Raises:
            InvalidArgument: `is_stacked`, but the host or the catalogue cannot be stacked.
        """
        if not self.is_stacked:
            return self.looped_hosts(count, learning_rate=learning_rate)
        others = [kind.name for kind in self.catalogue if not isinstance(kind, VectorKind)]
        if others:
            raise InvalidArgument(
                f"`catalogue` of task {self.name!r} has {', '.join(others)}, wanted kinds of class VectorKind in a "
                "stack; use these, or give the task is_stacked=False."
            )
        return StackedHosts(
            self.template,
            cast("tuple[VectorKind, ...]", self.catalogue),
            num_hosts=count,
            learning_rate=learning_rate,
            metric=self.metric,
        )

    def looped_hosts(self, count: int, *, learning_rate: float) -> LoopedHosts:
        """Return `count` hosts that are plain growing networks, trained one after the other."""
        hosts = [self.build_host(0) for _ in range(count)]
        return LoopedHosts(hosts, self.catalogue, learning_rate=learning_rate, metric=self.metric)

    def reading(self, folder: str) -> Task:
        """Return the task with the data of `folder`; an empty name where the task brings its own.

        Raises:
            InvalidArgument: the task needs a folder, or takes none.
        """
        if (self.load_from is None) != (not folder):
            why = "brings its own; leave it out" if folder else "reads files of yours; name their folder by --data"
            raise InvalidArgument(f"`data` is {folder!r}, but the task {self.name!r} {why}.")
        if self.load_from is None:
            return self
        return replace(self, load=partial(self.load_from, Path(folder)), load_from=None)

    def widened(self, width: int) -> Task:
        """Return a task with the same data whose hosts have `width` features inside.

        Raises:
            InvalidArgument: the task does not say how, by `wider`.
        """
        if self.wider is None:
            raise InvalidArgument(
                f"`wider` of task {self.name!r} is None, wanted a function of a width that returns layers; give the "
                "task one, or no `large_widths`."
            )
        return replace(self, layers=partial(self.wider, width), load=lambda: self.splits)


def mlp_task(
    name: str,
    sizes: tuple[int, ...],
    *,
    catalogue: tuple[Kind, ...],
    load: Callable[[], Splits],
    slots_before: tuple[int, ...] = (),
    large_widths: tuple[int, ...] = (16, 24, 32, 48, 64),
) -> Task:
    """Return a task whose hosts are perceptrons; the wider ones have at least one hidden layer.

    Args:
        name: of the task.
        sizes: features of the input, of each hidden layer, and classes.
        catalogue: kinds of graft that may be chosen.
        load: where the data comes from.
        slots_before: index of the linear layer before which each slot stands, ascending; empty: one before each.
        large_widths: sizes of the fixed large network, in features of each hidden layer.
    """
    return Task(
        name=name,
        layers=partial(mlp_layers, sizes, slots_before),
        catalogue=catalogue,
        load=load,
        wider=partial(_wider_mlp, sizes, slots_before),
        large_widths=large_widths,
    )


def _wider_mlp(sizes: tuple[int, ...], slots_before: tuple[int, ...], width: int) -> Layers:
    return mlp_layers((sizes[0], *(width,) * max(1, len(sizes) - 2), sizes[-1]), slots_before)


def _digits_conv_layers(channels: int) -> Layers:
    return convolutional_layers((1, channels, 2 * channels), size=8, classes=10)


def _cifar10_layers(channels: int) -> Layers:
    return [Centred(), *convolutional_layers((3, channels, 2 * channels, 2 * channels), size=SIZE, classes=CLASSES)]


def _no_data() -> Splits:
    raise InvalidArgument(
        "`data` is '', but the task 'cifar10' reads files of yours; take it by find_task('cifar10', data=FOLDER)."
    )


def _text_layers(features: int) -> Layers:
    """Return a transformer whose narrow places grow with the residual stream: 16 has 3 numbers a character, and 4."""
    return transformer_layers(
        tokens=len(ALPHABET),
        context=CONTEXT,
        inner=max(1, 3 * features // 16),
        features=features,
        heads=2,
        width=features // 4,
        blocks=1,
    )


DIGITS = mlp_task(
    "digits",
    (64, 8, 8, 10),
    catalogue=VECTOR_CATALOGUE,
    load=digits,
    large_widths=(8, 9, 10, 12, 16, 24, 32, 48),
)
PLANTED = mlp_task("planted", (FEATURES, 2), catalogue=PLANTED_CATALOGUE, load=planted, slots_before=(0, 0, 0))

DIGITS_CONV = Task(
    name="digits-conv",
    layers=partial(_digits_conv_layers, 2),
    catalogue=VECTOR_CATALOGUE,
    load=digits_as_images,
    episode=EpisodeConfig(batch_size=32),
    wider=_digits_conv_layers,
    large_widths=(2, 3, 4, 6, 8),
)
"""Two convolutions of 2 and 4 channels, 266 parameters."""

TEXT = Task(
    name="text",
    layers=partial(_text_layers, 16),
    catalogue=VECTOR_CATALOGUE,
    load=text,
    # The rate suits hosts that never grow: at a lower one growth seems to earn what a higher one brings for nothing.
    # At this one a young graft does not yet help where the host has not adapted to it, so that no proof is asked for.
    # A guess among 32 characters costs 3.47 nats; grafts earn a third of what they do on digits, and cost less, too.
    episode=EpisodeConfig(
        batch_size=16,
        learning_rate=2e-2,
        commit_rule=CommitRule.ANY,
        reward=RewardConfig(loss_cap=3.6, rent=0.01, graft_cost=0.002),
    ),
    # after 40 updates a policy still chooses among several things
    updates=80,
    wider=_text_layers,
    large_widths=(16, 20, 24, 32),
)
"""Tight hosts of 1,876 parameters: a character is three numbers, and the feed-forward part is four wide."""

CIFAR10 = Task(
    name="cifar10",
    layers=partial(_cifar10_layers, 6),
    catalogue=VECTOR_CATALOGUE,
    load=_no_data,
    load_from=cifar10,
    wider=_cifar10_layers,
    large_widths=(6, 8, 12),
)
"""Three convolutions of 6, 12 and 12 channels on 32 x 32 pixels."""

TASKS = (DIGITS, DIGITS_CONV, PLANTED, TEXT, CIFAR10)


def find_task(name: str, *, data: str = "") -> Task:
    """Return the task called `name`.

    Args:
        name: of one of `TASKS`.
        data: folder with the files of a task that needs any.

    Raises:
        UnknownName: there is none; the nearest name is suggested.
        InvalidArgument: the task needs a folder of data and got none, or the other way round.

    Example:
        >>> find_task("digits").slot_names
        ('input', 'hidden1', 'hidden2')
    """
    for task in TASKS:
        if task.name == name:
            return task.reading(data)
    names = [task.name for task in TASKS]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    raise UnknownName(f"`task` is {name!r}, but the tasks are {', '.join(names)}; did you mean {near[0]!r}?")
