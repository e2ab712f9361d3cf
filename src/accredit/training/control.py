"""The control: what an ungrown host of the same seed would have reached at the same time.

T steps an episode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.growth.hosts import Hosts, Players
from accredit.training.data import Examples
from accredit.training.task import Task


def minibatch_indices(host_seed: int, *, examples: int, steps: int, minibatches: int, batch_size: int) -> Tensor:
    """Return the training examples that a host sees, [steps, minibatches, batch_size] int64.

    Shuffled passes over the split, one after the other, cut into minibatches; a function of the seed alone, so that a
    restart needs no cursor and the control sees what the grown host sees.
    """
    wanted = steps * minibatches * batch_size
    generator = np.random.default_rng(np.random.SeedSequence([host_seed, 1]))
    passes = [generator.permutation(examples) for _ in range(-(-wanted // examples))]
    return torch.from_numpy(np.concatenate(passes)[:wanted].reshape(steps, minibatches, batch_size))


def train_interval(hosts: Hosts, examples: Examples, indices: Tensor) -> None:
    """Train every host on its minibatches of one step, indices [E, minibatches, batch_size]."""
    for at in range(indices.shape[1]):
        chosen = indices[:, at]
        # several times as fast as indexing by `chosen`
        inputs, labels = (
            each.index_select(0, chosen.flatten()).view(*chosen.shape, *each.shape[1:])
            for each in (examples.inputs, examples.labels)
        )
        hosts.train(inputs, labels)


class Controls:
    """Log-loss of ungrown hosts on the reward split over time, trained once per seed and remembered.

    Memory: T + 1 numbers per seed met; the pool of host seeds bounds it.

    Args:
        task: what is learned.
        make_hosts: returns fresh hosts, as many as asked for.
        indices_of: host seed -> the minibatches of an episode.
    """

    def __init__(self, task: Task, make_hosts: Callable[[int], Hosts], indices_of: Callable[[int], Tensor]) -> None:
        self._task = task
        self._make_hosts = make_hosts
        self._indices_of = indices_of
        self._losses: dict[int, list[float]] = {}

    def prepare(self, host_seeds: Iterable[int]) -> None:
        """Train the controls of all seeds that are not known yet, side by side."""
        missing = [seed for seed in dict.fromkeys(host_seeds) if seed not in self._losses]
        if missing:
            for seed, losses in zip(missing, self._train(missing).T.tolist(), strict=True):
                self._losses[seed] = losses

    def losses(self, host_seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return log-losses after 0 .. T steps, [len(host_seeds), T + 1], nats.

        A host that diverges reads infinite from then on; the reward caps it.
        """
        self.prepare(host_seeds)
        return np.array([self._losses[seed] for seed in host_seeds])

    @property
    def known(self) -> Mapping[int, Sequence[float]]:
        """What was trained or told: seed -> log-losses."""
        return self._losses

    def remember(self, losses: Mapping[int, Sequence[float]]) -> None:
        """Take over controls that were trained elsewhere."""
        self._losses.update({seed: list(values) for seed, values in losses.items()})

    def state_dict(self) -> dict[str, object]:
        """Return all that is known, seed -> losses."""
        return {"losses": {str(seed): list(losses) for seed, losses in self._losses.items()}}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from a state."""
        losses = state["losses"]
        assert isinstance(losses, dict)
        self._losses = {int(seed): list(values) for seed, values in losses.items()}

    def _train(self, seeds: list[int]) -> NDArray[np.float64]:
        hosts, reward = self._make_hosts(len(seeds)), self._task.splits.reward
        for row, seed in enumerate(seeds):
            hosts.reset(row, self._task.build_host(seed))
        indices = torch.stack([self._indices_of(seed) for seed in seeds])
        rows = range(len(seeds))

        def measured() -> NDArray[np.float64]:
            outcome = hosts.evaluate(rows, reward.inputs, reward.labels, players=Players.NOBODY)
            losses: NDArray[np.float64] = outcome.log_loss[:, 0].double().mean(1).numpy()
            return np.where(np.isfinite(losses), losses, np.inf)

        over_time = [measured()]
        for step in range(indices.shape[1]):
            train_interval(hosts, self._task.splits.train, indices[:, step])
            over_time.append(measured())
        return np.stack(over_time)
