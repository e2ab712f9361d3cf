"""Small hosts, data and comparisons for the tests of growth.

E hosts, S slots, B examples, D features.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from accredit.growth.catalogue import VECTOR_CATALOGUE
from accredit.growth.looped import LoopedHosts
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stacked import StackedHosts

SIZES = (8, 6, 6, 3)
SLOTS = ("input", "hidden1", "hidden2")
KIND = {kind.name: row for row, kind in enumerate(VECTOR_CATALOGUE)}
RATE = 1e-2


def build(seed: int) -> GrowingNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for name, inputs, outputs in zip(SLOTS, SIZES[:-1], SIZES[1:], strict=True):
            layers += [Slot(name, inputs), nn.Linear(inputs, outputs), nn.ReLU()]
    return GrowingNetwork(layers[:-1])


def stacked(count: int) -> StackedHosts:
    hosts = StackedHosts(build(0), VECTOR_CATALOGUE, num_hosts=count, learning_rate=RATE)
    for row in range(count):
        hosts.reset(row, build(row))
    return hosts


def looped(count: int) -> LoopedHosts:
    return LoopedHosts([build(row) for row in range(count)], VECTOR_CATALOGUE, learning_rate=RATE)


MAKERS = {"stacked": stacked, "looped": looped}


def examples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return inputs [B, 8] and labels [B] whose rule needs products of features, which a small relu host lacks."""
    inputs = torch.randn(count, SIZES[0], generator=torch.Generator().manual_seed(seed))
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long() + (inputs[:, 2] * inputs[:, 3] > 0.5).long()
    return inputs, labels


def minibatch(hosts: int, step: int, size: int = 16) -> tuple[Tensor, Tensor]:
    """Return the minibatches of all hosts in one step, [E, B, 8] and [E, B]."""
    pairs = [examples(size, seed=1000 * step + row) for row in range(hosts)]
    return torch.stack([inputs for inputs, _ in pairs]), torch.stack([labels for _, labels in pairs])


def stages_of(count: int, **of_slot: tuple[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return stages and blend weights [E, S], all rows alike; slots that are not named are empty."""
    stages, alphas = np.zeros((count, len(SLOTS)), dtype=np.int64), np.zeros((count, len(SLOTS)))
    for name, (stage, alpha) in of_slot.items():
        stages[:, SLOTS.index(name)], alphas[:, SLOTS.index(name)] = stage, alpha
    return stages, alphas


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Tell whether two float32 tensors are the same bit for bit, the sign of zero and NaN included."""
    return first.shape == second.shape and torch.equal(first.view(torch.int32), second.view(torch.int32))


def same(first: object, second: object) -> bool:
    """Compare nested states exactly."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second
