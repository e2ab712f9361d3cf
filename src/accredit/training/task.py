"""What is grown on what: a host architecture, a catalogue of grafts, and data."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from accredit.errors import UnknownName
from accredit.growth.catalogue import VECTOR_CATALOGUE, VectorKind
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.training.data import Splits, digits


@dataclass(frozen=True, kw_only=True)
class Task:
    """A family of hosts that differ by their seed alone, and the data that they learn."""

    name: str
    sizes: tuple[int, ...]
    """Features of the input, of each hidden layer, and classes: an MLP with a slot before each linear layer."""
    catalogue: tuple[VectorKind, ...]
    """Kinds of graft that may be chosen."""
    load: Callable[[], Splits]
    """Where the data comes from."""

    @cached_property
    def splits(self) -> Splits:
        """The data, loaded at the first use."""
        return self.load()

    @property
    def slot_names(self) -> tuple[str, ...]:
        """`input`, `hidden1`, `hidden2`, ...: one slot before each linear layer."""
        return ("input", *(f"hidden{layer}" for layer in range(1, len(self.sizes) - 1)))

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Names of the catalogue, in order."""
        return tuple(kind.name for kind in self.catalogue)

    @property
    def host_parameters(self) -> int:
        """Parameters of a host without grafts."""
        return sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(self.sizes))

    def build_host(self, seed: int) -> GrowingNetwork:
        """Return a fresh host: PyTorch's own initialisation under `seed`, which touches no other random state."""
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, (inputs, outputs) in zip(self.slot_names, itertools.pairwise(self.sizes), strict=True):
                layers += [Slot(name, inputs), nn.Linear(inputs, outputs), nn.ReLU()]
        return GrowingNetwork(layers[:-1])


DIGITS = Task(name="digits", sizes=(64, 8, 8, 10), catalogue=VECTOR_CATALOGUE, load=digits)

TASKS = (DIGITS,)


def find_task(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        UnknownName: there is none; the nearest name is suggested.

    Example:
        >>> find_task("digits").slot_names
        ('input', 'hidden1', 'hidden2')
    """
    for task in TASKS:
        if task.name == name:
            return task
    names = [task.name for task in TASKS]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    raise UnknownName(f"`task` is {name!r}, but the tasks are {', '.join(names)}; did you mean {near[0]!r}?")
