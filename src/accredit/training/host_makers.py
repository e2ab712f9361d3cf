"""Where the hosts of a set of environments come from."""

from __future__ import annotations

from collections.abc import Callable

from accredit.growth.hosts import Hosts
from accredit.training.config import EpisodeConfig
from accredit.training.task import Task


def stacked_hosts(task: Task, config: EpisodeConfig) -> Callable[[int], Hosts]:
    """Return a maker of hosts that train side by side as the task says, as one batched network where it can be."""
    return lambda count: task.make_hosts(count, learning_rate=config.learning_rate)


def looped_hosts(task: Task, config: EpisodeConfig) -> Callable[[int], Hosts]:
    """Return a maker of hosts that are plain growing networks, trained one after the other."""
    return lambda count: task.looped_hosts(count, learning_rate=config.learning_rate)
