"""Policies at play: hosts that a policy grows to their end.

H hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from accredit.telemetry.event import Event
from accredit.training.baselines import Policy, View
from accredit.training.config import TrainConfig
from accredit.training.episodes import Episodes
from accredit.training.host_makers import stacked_hosts
from accredit.training.task import Task


def play(episodes: Episodes, policy: Policy, host_seeds: Sequence[int]) -> None:
    """Grow every host to its end.  A host that diverges is rolled back and goes on without further decisions."""
    episodes.begin(range(episodes.num_environments), host_seeds)
    stopped = np.zeros(episodes.num_environments, dtype=bool)
    for _ in range(episodes.config.steps):
        choices = policy.act(episodes.observations(), episodes.legal())
        stopped |= episodes.step(np.where(stopped, 0, choices)).diverged


def fresh_episodes(
    task: Task, config: TrainConfig, names: Sequence[str], on_event: Callable[[Event], None] | None = None
) -> Episodes:
    """Return episodes of one environment a name, none of them begun."""
    make_hosts = stacked_hosts(task, config.episode)
    return Episodes(task, config.episode, make_hosts=make_hosts, names=names, on_event=on_event)


def layout(task: Task, config: TrainConfig) -> View:
    """Return how to read what is seen and what can be done."""
    episodes = fresh_episodes(task, config, ["layout"])
    return View(episodes.actions, episodes.fields)
