"""A task that trains in milliseconds, and configurations for tests.

B examples, E environments.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accredit.growth.catalogue import VECTOR_CATALOGUE
from accredit.telemetry import Event, read
from accredit.training.config import EpisodeConfig, EvaluationConfig, TrainConfig
from accredit.training.data import Examples, Splits
from accredit.training.task import mlp_task


def toy_splits() -> Splits:
    """Eight features, three classes that depend on products of features; 120 / 80 / 60 examples."""
    inputs = torch.randn(260, 8, generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long() + (inputs[:, 2] > 0.5).long()
    parts = zip(inputs.split((120, 80, 60)), labels.split((120, 80, 60)), strict=True)
    train, reward, test = (Examples(inputs=x.clone(), labels=y.clone()) for x, y in parts)
    return Splits(train=train, reward=reward, test=test)


TOY = mlp_task("toy", (8, 6, 6, 3), catalogue=VECTOR_CATALOGUE, load=toy_splits)
HOST_PARAMETERS = 8 * 6 + 6 + 6 * 6 + 6 + 6 * 3 + 3
SHORT = EpisodeConfig(steps=6, minibatches=2, batch_size=16, host_seeds=4)
TINY = TrainConfig(
    environments=2,
    updates=3,
    checkpoint_every=1,
    episode=SHORT,
    evaluation=EvaluationConfig(hosts=2, calibration_episodes=1),
)
SMALL = mlp_task(  # two slots: fewer schedules compete at the end
    "small", (8, 6, 3), catalogue=VECTOR_CATALOGUE, load=toy_splits
)
KIND = {kind.name: row for row, kind in enumerate(VECTOR_CATALOGUE)}


def same(first: object, second: object) -> bool:
    """Compare nested states exactly; NaN equals NaN."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and np.array_equal(
            first.numpy(), second.numpy(), equal_nan=first.is_floating_point()
        )
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second


def events_of(folder: Path) -> list[Event]:
    """Return the events of a run without their times."""
    return list(read(folder / "events.jsonl"))
