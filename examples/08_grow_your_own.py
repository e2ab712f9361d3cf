"""A host, data and a measure of your own, grown by a policy that learns when to graft what.

A task is put together from parts: a function that returns layers with a `Slot` wherever something may be grafted, the
kinds of graft, data in three splits, and a metric. Nothing needs to be derived from anything. Here:

- the host predicts the next value of a signal from its last 16: a `Filter`, a layer of this page, then a linear layer.
  The signal is a product of two waves, which a linear filter as narrow as this one cannot follow;
- the metric is no classification: the log-loss of a normal distribution around the prediction, in nats, and whether
  the prediction lies within half of its standard deviation;
- many hosts are one batched network, though nobody told the library how a `Filter` is batched.

It prints

1. what a host is made of, with one graft in it, and what that graft costs;
2. hosts with and without grafts that stand from the beginning, at equal minibatches: is there anything to gain?
3. the comparison that ends a run of `train`: the policy that it learned, the baselines, and no growth, on a test split
   that nothing else has read. With --quick the policy has learned next to nothing.

    python examples/08_grow_your_own.py            a few minutes on one core
    python examples/08_grow_your_own.py --quick    some seconds: 2 updates, 2 hosts side by side
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from accredit import GrowingNetwork, Slot
from accredit.growth import VECTOR_CATALOGUE, Players, Score, Stage
from accredit.training import EpisodeConfig, EvaluationConfig, Examples, Splits, Task, TrainConfig, train

PAST, NOISE = 16, 0.1


class Filter(nn.Module):
    """The answers of a few filters to the past, squashed."""

    def __init__(self, past: int, filters: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.randn(past, filters) / math.sqrt(past))
        self.level = nn.Parameter(torch.zeros(filters))

    def forward(self, values: Tensor) -> Tensor:
        return (values @ self.taps + self.level).tanh()


def layers() -> list[nn.Module]:
    """Return a fresh host; the seed is set by whoever calls."""
    return [Slot("past", PAST), Filter(PAST, 3), Slot("filtered", 3), nn.Linear(3, 1)]


def load() -> Splits:
    """Return pieces of one long signal, each split from a stretch of its own."""
    time = torch.arange(4000.0)
    generator = torch.Generator().manual_seed(0)
    signal = (0.21 * time).sin() * (0.034 * time).sin() + NOISE * torch.randn(len(time), generator=generator)
    pieces = signal.unfold(0, PAST + 1, 1)

    def stretch(start: int, stop: int, step: int) -> Examples:
        chosen = pieces[start : stop - PAST : step]
        return Examples(inputs=chosen[:, :-1].clone(), labels=chosen[:, -1].clone())

    return Splits(train=stretch(0, 2400, 1), reward=stretch(2400, 3200, 2), test=stretch(3200, 4000, 2))


class NormalLoss:
    """-log N(label; output, sigma) in nats, with sigma twice the noise of the signal."""

    sigma = 2 * NOISE

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        distance = (outputs.squeeze(-1) - labels) / self.sigma
        return distance.square() / 2 + math.log(self.sigma * math.sqrt(2 * math.pi))

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        distance = (outputs.squeeze(-1) - labels).abs()
        return Score(log_loss=self.loss(outputs, labels), is_correct=(distance < self.sigma / 2).float())


TASK = Task(name="waves", layers=layers, catalogue=VECTOR_CATALOGUE, load=load, metric=NormalLoss())


def reached(config: EpisodeConfig, kind: int | None) -> float:
    """Return the mean log-loss of 8 hosts on the reward split after an episode, with a graft in every slot or none."""
    hosts, generator = TASK.make_hosts(8, learning_rate=config.learning_rate), torch.Generator().manual_seed(0)
    for row in range(8):
        hosts.reset(row, TASK.build_host(seed=row))
    if kind is not None:
        shape = (8, len(TASK.slot_names))
        for row, slot in np.ndindex(shape):
            hosts.graft(row, slot, kind, seed=row)
        hosts.set_stages(np.full(shape, Stage.COMMITTED.value), np.ones(shape))
    examples = TASK.splits.train
    for _ in range(config.steps * config.minibatches):
        batch = torch.randint(len(examples), (8, config.batch_size), generator=generator)
        hosts.train(examples.inputs[batch], examples.labels[batch])
    reward = TASK.splits.reward
    return float(hosts.evaluate(range(8), reward.inputs, reward.labels, players=Players.NOBODY).log_loss.mean())


def main() -> None:
    """Print what the docstring says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    quick = parser.parse_args().quick

    host: GrowingNetwork = TASK.build_host(seed=0)
    host.graft("past", VECTOR_CATALOGUE[2], torch.Generator().manual_seed(0))
    print(host.summary())

    episode = EpisodeConfig(steps=6 if quick else 16, host_seeds=4 if quick else 128)
    print(f"\nlog-loss after {episode.steps * episode.minibatches} minibatches, with the same graft in every slot:")
    for name, kind in (("none", None), *((kind.name, row) for row, kind in enumerate(VECTOR_CATALOGUE))):
        print(f"{name:12} {reached(episode, kind):.3f} nat")

    config = TrainConfig(
        task=TASK.name,
        environments=2 if quick else 32,
        updates=2 if quick else 30,
        episode=episode,
        evaluation=EvaluationConfig(hosts=2 if quick else 64, calibration_episodes=1),
    )
    with tempfile.TemporaryDirectory() as folder:
        comparison = train(config, Path(folder) / "run", task=TASK)
    print(f"\n{'policy':20} {'log-loss':>8} {'parameters':>10}")
    for row in comparison.policies:
        print(f"{row.policy:20} {row.log_loss.mean:8.3f} {row.parameters.mean:10.0f}")


if __name__ == "__main__":
    main()
