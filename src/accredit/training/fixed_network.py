"""The baseline that never grows: a host made larger from the start, trained on the same minibatches.

E hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from accredit.growth.hosts import Hosts, Players
from accredit.training.config import EpisodeConfig
from accredit.training.control import minibatch_indices, train_interval
from accredit.training.host_makers import stacked_hosts
from accredit.training.task import Task

RATE_FACTORS = (0.3, 1.0, 3.0)
"""Learning rates that are tried for every size, in units of the hosts' own: larger networks often want smaller ones."""


@dataclass(frozen=True, kw_only=True)
class FixedNetwork:
    """A size with the learning rate that suits it best."""

    task: Task
    """Its hosts are those of this size."""
    width: int
    config: EpisodeConfig
    """With that learning rate."""


def tuned_networks(
    task: Task, config: EpisodeConfig, host_seeds: Sequence[int], tick: Callable[[], None]
) -> tuple[FixedNetwork, ...]:
    """Return every size that the task offers with its best learning rate, by mean log-loss on the reward split.

    Args:
        task: what is learned; `task.large_widths` are the sizes.
        config: of the hosts that grow; minibatches, batch size and number of steps are the same here.
        host_seeds: hosts that are used for design only.
        tick: called after each training.
    """
    networks = []
    for width in task.large_widths:
        larger, losses = task.widened(width), []
        candidates = [replace(config, learning_rate=factor * config.learning_rate) for factor in RATE_FACTORS]
        for candidate in candidates:
            hosts = trained(larger, candidate, host_seeds)
            losses.append(_reward_loss(larger, candidate, hosts))
            tick()
        networks.append(FixedNetwork(task=larger, width=width, config=candidates[int(np.argmin(losses))]))
    return tuple(networks)


def trained(task: Task, config: EpisodeConfig, host_seeds: Sequence[int]) -> Hosts:
    """Return ungrown hosts after a whole episode, [E]; each sees the minibatches that the grown host of its seed sees.

    A host that diverges is rolled back to its last finite weights and goes on, as in growth.
    """
    hosts = stacked_hosts(task, config)(len(host_seeds))
    for row, seed in enumerate(host_seeds):
        hosts.reset(row, task.build_host(seed))
    indices = torch.stack(
        [
            minibatch_indices(
                seed,
                examples=len(task.splits.train),
                steps=config.steps,
                minibatches=config.minibatches,
                batch_size=config.batch_size,
            )
            for seed in host_seeds
        ]
    )
    for step in range(config.steps):
        hosts.remember()
        train_interval(hosts, task.splits.train, indices[:, step])
        diverged = np.flatnonzero(~hosts.finite_rows())
        if len(diverged):
            hosts.roll_back(diverged.tolist())
    return hosts


def closest(networks: Sequence[FixedNetwork], parameters: float) -> FixedNetwork:
    """Return the smallest network with at least so many parameters, or the largest where none has as many."""
    ascending = sorted(networks, key=lambda network: network.task.host_parameters)
    return next((network for network in ascending if network.task.host_parameters >= parameters), ascending[-1])


def _reward_loss(task: Task, config: EpisodeConfig, hosts: Hosts) -> float:
    reward = task.splits.reward
    outcome = hosts.evaluate(range(hosts.num_hosts), reward.inputs, reward.labels, players=Players.NOBODY)
    losses = outcome.log_loss[:, 0].double().mean(1).numpy()
    return float(np.minimum(np.nan_to_num(losses, nan=np.inf), config.reward.loss_cap).mean())
