"""Which host is met next, and which random numbers belong to which purpose."""

from __future__ import annotations

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """Pools of host seeds that have no seed in common."""

    TRAINING = 0
    """Met by the policy while it learns."""
    DESIGN = 1
    """Choices of the baselines: calibration, schedules."""
    EVALUATION = 2
    """The final comparison, and nothing else."""


POOL = 1_000_000  # seeds a pool: far more than any run meets


class HostSeeds:
    """An endless order of host seeds: passes over a pool, each shuffled.

    Args:
        run_seed: root of the run; different runs meet different hosts.
        purpose: which pool.
        count: size of the pool.

    Example:
        >>> seeds = HostSeeds(0, Purpose.EVALUATION, count=3)
        >>> sorted(seeds.draw() for _ in range(3))
        [2000000, 2000001, 2000002]
    """

    def __init__(self, run_seed: int, purpose: Purpose, *, count: int) -> None:
        self.run_seed = run_seed
        self.purpose = purpose
        self.count = count
        self.drawn = 0

    def draw(self) -> int:
        """Return the next host seed."""
        turn, at = divmod(self.drawn, self.count)
        self.drawn += 1
        order = np.random.default_rng([self.run_seed, self.purpose, turn]).permutation(self.count)
        return (3 * self.run_seed + self.purpose) * POOL + int(order[at])


def derived_seed(*parts: int) -> int:
    """Return a seed in [0, 2^63) that depends on all of the parts, none negative.

    Example:
        >>> len({derived_seed(1, 2), derived_seed(2, 1), derived_seed(1, 2, 0)})
        3
    """
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0] >> np.uint64(1))
