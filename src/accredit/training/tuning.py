"""Baselines at their best: kinds, schedule and learning rates, chosen on the reward split of design hosts.

S slots.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from accredit.training.baselines import Calibrator, Schedule
from accredit.training.config import TrainConfig
from accredit.training.fixed_network import RATE_FACTORS, FixedNetwork, tuned_networks
from accredit.training.host_seeds import HostSeeds, Purpose, derived_seed
from accredit.training.playing import fresh_episodes, layout, play
from accredit.training.task import Task


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a schedule fixes: slots in the order of grafting, and a row of the catalogue for each slot."""

    order: tuple[int, ...]
    kinds: tuple[int, ...]
    """Empty where kinds are drawn and not chosen."""

    def describe(self, task: Task) -> str:
        """Return the plan in words."""
        what = [f"{task.kind_names[kind]} at " for kind in self.kinds] or [""] * len(self.order)
        return ", then ".join(f"{what[slot]}{task.slot_names[slot]}" for slot in self.order)


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What the baselines chose, on the reward split of hosts that are used for nothing else."""

    kinds: tuple[int, ...]
    """Row of the catalogue that earned most in each slot; empty where kinds are drawn and not chosen."""
    plan: Plan
    """The best schedule."""
    networks: tuple[FixedNetwork, ...]
    """Fixed networks, each with its best learning rate."""


def tune(task: Task, config: TrainConfig, tick: Callable[[], None] = lambda: None) -> Tuned:
    """Tune the baselines on design hosts.

    Args:
        task: what is grown on what.
        config: of the run; its seed decides which hosts these are.
        tick: called after each part.
    """
    kinds = _calibrate(task, config, tick) if config.episode.observe_kinds else ()
    return Tuned(
        kinds=kinds,
        plan=_best_plan(task, config, kinds, tick),
        networks=tuned_networks(task, config.episode, _design_hosts(config, config.environments), tick),
    )


def count_parts(task: Task, config: TrainConfig) -> int:
    """Return how often `tune` will tick."""
    choosing = config.episode.observe_kinds
    plans, rates = len(list(_plans(task, (0,) if choosing else ()))), len(task.large_widths) * len(RATE_FACTORS)
    return plans + rates + config.evaluation.calibration_episodes * choosing


def _design_hosts(config: TrainConfig, count: int) -> list[int]:
    seeds = HostSeeds(config.seed, Purpose.DESIGN, count=count)
    return [seeds.draw() for _ in range(count)]


def _calibrate(task: Task, config: TrainConfig, tick: Callable[[], None]) -> tuple[int, ...]:
    """Return the kind that earned most in each slot, on the reward split of hosts that are used for design only."""
    names = [f"design-{row:03d}" for row in range(config.environments)]
    episodes = fresh_episodes(task, config, names)
    calibrator = Calibrator(layout(task, config), np.random.default_rng(derived_seed(config.seed, 21)))
    wanted = config.environments * config.evaluation.calibration_episodes
    seeds = _design_hosts(config, wanted)
    for at in range(0, wanted, config.environments):
        play(episodes, calibrator, seeds[at : at + config.environments])
        tick()
    return calibrator.best_kinds()


def _plans(task: Task, calibrated: tuple[int, ...]) -> Iterator[Plan]:
    """Yield the schedules that compete: orders of the slots, with calibrated kinds or one kind everywhere.

    Kinds that were planted to harm do not compete.  Where kinds are not chosen, orders compete alone.
    """
    orders = slot_orders(len(task.slot_names))
    if not calibrated:
        yield from (Plan(order=order, kinds=()) for order in orders)
        return
    useful = [row for row, kind in enumerate(task.catalogue) if not kind.is_harmful]
    uniform = [(kind,) * len(task.slot_names) for kind in useful]
    for kinds in (calibrated, uniform[0], uniform[-1]):
        yield from (Plan(order=order, kinds=kinds) for order in orders)


def slot_orders(slots: int) -> list[tuple[int, ...]]:
    """Return every order of up to three slots; of more, forwards, backwards and four that are drawn.

    Example:
        >>> slot_orders(2)
        [(0, 1), (1, 0)]
        >>> len(slot_orders(3)), len(slot_orders(8))
        (6, 6)
    """
    if slots <= 3:
        return list(itertools.permutations(range(slots)))
    generator, forwards = np.random.default_rng(slots), tuple(range(slots))
    drawn = [tuple(generator.permutation(slots).tolist()) for _ in range(4)]
    return [forwards, forwards[::-1], *drawn]


def _best_plan(task: Task, config: TrainConfig, calibrated: tuple[int, ...], tick: Callable[[], None]) -> Plan:
    """Return the schedule that reached the lowest mean log-loss on the reward split of design hosts."""
    names = [f"design-{row:03d}" for row in range(config.environments)]
    episodes, view = fresh_episodes(task, config, names), layout(task, config)
    seeds, plans, reached = _design_hosts(config, config.environments), list(_plans(task, calibrated)), []
    for plan in plans:
        play(episodes, Schedule(view, plan.order, kinds=plan.kinds), seeds)
        reached.append(float(np.minimum(episodes.loss, config.episode.reward.loss_cap).mean()))
        tick()
    return plans[int(np.argmin(reached))]
