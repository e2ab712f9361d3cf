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
from accredit.training.planted import FEATURES, PLANTED_CATALOGUE, planted


@dataclass(frozen=True, kw_only=True)
class Task:
    """A family of hosts that differ by their seed alone, and the data that they learn."""

    name: str
    sizes: tuple[int, ...]
    """Features of the input, of each hidden layer, and classes: an MLP with slots before its linear layers."""
    catalogue: tuple[VectorKind, ...]
    """Kinds of graft that may be chosen."""
    load: Callable[[], Splits]
    """Where the data comes from."""
    slots_before: tuple[int, ...] = ()
    """Index of the linear layer before which each slot stands, ascending; empty: one slot before each."""

    @cached_property
    def splits(self) -> Splits:
        """The data, loaded at the first use."""
        return self.load()

    @property
    def slot_names(self) -> tuple[str, ...]:
        """`input`, `hidden1`, ... by the layer that a slot stands before; `input-1`, `input-2` where two share one."""
        names = ["input", *(f"hidden{layer}" for layer in range(1, len(self.sizes) - 1))]
        before = self.slots_before or tuple(range(len(names)))
        return tuple(
            f"{names[layer]}-{before[: slot + 1].count(layer)}" if before.count(layer) > 1 else names[layer]
            for slot, layer in enumerate(before)
        )

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
        before = self.slots_before or tuple(range(len(self.sizes) - 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer, (inputs, outputs) in enumerate(itertools.pairwise(self.sizes)):
                names = (name for name, at in zip(self.slot_names, before, strict=True) if at == layer)
                layers += [*(Slot(name, inputs) for name in names), nn.Linear(inputs, outputs), nn.ReLU()]
        return GrowingNetwork(layers[:-1])


DIGITS = Task(name="digits", sizes=(64, 8, 8, 10), catalogue=VECTOR_CATALOGUE, load=digits)
PLANTED = Task(name="planted", sizes=(FEATURES, 2), catalogue=PLANTED_CATALOGUE, load=planted, slots_before=(0, 0, 0))

TASKS = (DIGITS, PLANTED)


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
