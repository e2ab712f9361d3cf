"""The final comparison: every policy on the same fresh hosts, measured on the test split, which nothing else reads.

H hosts, S slots, B test examples.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accredit.growth.hosts import Players
from accredit.telemetry.event import Event, HostGrown, Origin
from accredit.training.baselines import Calibrator, Greedy, NoGrowth, Policy, RandomPolicy, Schedule, View
from accredit.training.comparison import Comparison, GraftRow, Interval, PolicyRow, SizeRow
from accredit.training.config import TrainConfig
from accredit.training.credit import ACCURACY, LOG_LOSS
from accredit.training.episodes import Episodes
from accredit.training.fixed_network import RATE_FACTORS, FixedNetwork, closest, trained, tuned_networks
from accredit.training.host_makers import stacked_hosts
from accredit.training.host_seeds import HostSeeds, Purpose, derived_seed
from accredit.training.task import Task

Progress = Callable[[int, int], None]
LEARNED, NO_GROWTH, FIXED_LARGE = "learned", "no growth", "fixed large"


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
class Contribution:
    """One committed graft of one host."""

    slot: str
    kind: str
    log_loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One policy on all hosts."""

    hosts: tuple[HostGrown, ...]
    contributions: tuple[Contribution, ...]


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


def compare(
    task: Task,
    config: TrainConfig,
    learned: Policy,
    *,
    on_event: Callable[[Event], None],
    progress: Progress | None = None,
) -> Comparison:
    """Grow the evaluation hosts with every policy and compare.

    Args:
        task: what is grown on what.
        config: of the run.
        learned: the policy that was trained.
        on_event: gets the events of all hosts.
        progress: called with steps done and planned.
    """
    tick = _ticker(task, config, progress)
    tuned = tune(task, config, tick)

    measured: dict[str, Measured] = {}
    for name, policy in {LEARNED: learned, **rules(task, config, tuned)}.items():
        measured[name] = measure(task, config, name, policy, on_event)
        tick()
    large = measure_networks(config, tuned.networks, tick)
    if tuned.networks:
        wanted = float(np.mean([host.parameters for host in measured[LEARNED].hosts]))
        measured[FIXED_LARGE] = large[closest(tuned.networks, wanted).width]
        for host in measured[FIXED_LARGE].hosts:
            on_event(host)
    measured[NO_GROWTH] = measured.pop(NO_GROWTH)  # the last row of the table
    confidence = config.evaluation.confidence
    return Comparison(
        policies=tuple(_row(name, measured, confidence) for name in measured),
        sizes=tuple(
            _size_row(network, large[network.width], measured[LEARNED], confidence) for network in tuned.networks
        ),
        grafts=_graft_rows(task, measured[LEARNED].contributions, confidence),
        hosts=config.evaluation.hosts,
        confidence=confidence,
        schedule=tuned.plan.describe(task),
        calibrated_kinds=tuple(task.kind_names[kind] for kind in tuned.kinds),
    )


def rules(task: Task, config: TrainConfig, tuned: Tuned) -> dict[str, Policy]:
    """Return the policies that do not learn, by name.

    Args:
        task: what is grown on what.
        config: of the run; its seed decides what they draw.
        tuned: what they chose.
    """
    view = _view(task, config)

    def generator(*parts: int) -> np.random.Generator:
        return np.random.default_rng(derived_seed(config.seed, 20, *parts))

    calibrated = {"greedy, calibrated": Greedy(view, generator(0), kinds=tuned.kinds)} if tuned.kinds else {}
    return {
        **calibrated,
        "greedy, random": Greedy(view, generator(1)),
        "best schedule": Schedule(view, tuned.plan.order, kinds=tuned.plan.kinds),
        "random": RandomPolicy(generator(2)),
        NO_GROWTH: NoGrowth(),
    }


def _ticker(task: Task, config: TrainConfig, progress: Progress | None) -> Callable[[], None]:
    """Return what is called after each part of a comparison; it counts, and knows how many there will be."""
    choosing, sizes = config.episode.observe_kinds, len(task.large_widths)
    tuning = len(list(_plans(task, (0,) if choosing else ()))) + sizes * len(RATE_FACTORS)
    tuning += config.evaluation.calibration_episodes * choosing
    measured = len((LEARNED, "greedy, random", "best schedule", "random", NO_GROWTH)) + choosing + sizes
    planned = measured + tuning
    done = itertools.count(1)
    return lambda: progress(next(done), planned) if progress is not None else None


def play(episodes: Episodes, policy: Policy, host_seeds: Sequence[int]) -> None:
    """Grow every host to its end.  A host that diverges is rolled back and goes on without further decisions."""
    episodes.begin(range(episodes.num_environments), host_seeds)
    stopped = np.zeros(episodes.num_environments, dtype=bool)
    for _ in range(episodes.config.steps):
        choices = policy.act(episodes.observations(), episodes.legal())
        stopped |= episodes.step(np.where(stopped, 0, choices)).diverged


def grow_evaluation_hosts(
    task: Task,
    config: TrainConfig,
    name: str,
    policy: Policy,
    on_event: Callable[[Event], None] | None = None,
) -> Episodes:
    """Grow the hosts of the final comparison with one policy; the same hosts at every call, and no test split.

    Args:
        task: what is grown on what.
        config: of the run.
        name: of the policy, for the environment ids.
        policy: decides.
        on_event: gets the events of all hosts.
    """
    count, prefix = config.evaluation.hosts, name.replace(", ", "-").replace(" ", "-")
    episodes = _episodes(task, config, [f"{prefix}-{row:03d}" for row in range(count)], on_event)
    play(episodes, policy, _evaluation_hosts(config))
    return episodes


def _evaluation_hosts(config: TrainConfig) -> list[int]:
    seeds = HostSeeds(config.seed, Purpose.EVALUATION, count=config.evaluation.hosts)
    return [seeds.draw() for _ in range(config.evaluation.hosts)]


def _view(task: Task, config: TrainConfig) -> View:
    episodes = _episodes(task, config, ["layout"])
    return View(episodes.actions, episodes.fields)


def _episodes(
    task: Task, config: TrainConfig, names: Sequence[str], on_event: Callable[[Event], None] | None = None
) -> Episodes:
    make_hosts = stacked_hosts(task, config.episode)
    return Episodes(task, config.episode, make_hosts=make_hosts, names=names, on_event=on_event)


def _design_hosts(config: TrainConfig, count: int) -> list[int]:
    seeds = HostSeeds(config.seed, Purpose.DESIGN, count=count)
    return [seeds.draw() for _ in range(count)]


def _calibrate(task: Task, config: TrainConfig, tick: Callable[[], None]) -> tuple[int, ...]:
    """Return the kind that earned most in each slot, on the reward split of hosts that are used for design only."""
    names = [f"design-{row:03d}" for row in range(config.environments)]
    episodes = _episodes(task, config, names)
    calibrator = Calibrator(_view(task, config), np.random.default_rng(derived_seed(config.seed, 21)))
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
    episodes, view = _episodes(task, config, names), _view(task, config)
    seeds, plans, reached = _design_hosts(config, config.environments), list(_plans(task, calibrated)), []
    for plan in plans:
        play(episodes, Schedule(view, plan.order, kinds=plan.kinds), seeds)
        reached.append(float(np.minimum(episodes.loss, config.episode.reward.loss_cap).mean()))
        tick()
    return plans[int(np.argmin(reached))]


def measure(task: Task, config: TrainConfig, name: str, policy: Policy, on_event: Callable[[Event], None]) -> Measured:
    """Grow all evaluation hosts with one policy, then read the test split.

    Args:
        task: what is grown on what.
        config: of the run.
        name: of the policy, for events.
        policy: decides.
        on_event: gets the events of all hosts.
    """
    episodes = grow_evaluation_hosts(task, config, name, policy, on_event)
    test = task.splits.test
    hosts, contributions = [], []
    for row in range(episodes.num_environments):
        # One host at a time: all coalitions of all hosts over the test split would be the largest tensor of the run.
        outcome = episodes.hosts.evaluate([row], test.inputs, test.labels, players=Players.LIVE)
        committed = [int(slot) for slot in np.flatnonzero(episodes.slots.alphas[row] > 0)]
        kinds = [task.kind_names[episodes.slots.kinds[row, slot]] for slot in committed]
        origin = Origin(environment=f"{episodes.chronicle.names[row]}-test", episode=0, step=config.episode.steps)
        if committed:
            matrix = episodes.creditor.matrix(outcome, 0, tuple(committed), origin)
            losses, accuracies = matrix.shapley(LOG_LOSS.name), matrix.shapley(ACCURACY.name)
            for slot, kind in zip((task.slot_names[slot] for slot in committed), kinds, strict=True):
                contributions.append(
                    Contribution(
                        slot=slot,
                        kind=kind,
                        log_loss=losses[slot].contribution,
                        accuracy=accuracies[slot].contribution,
                    )
                )
        grown = HostGrown(
            origin=origin,
            policy=name,
            host_seed=int(episodes.seeds[row]),
            log_loss=float(outcome.log_loss[0, -1].double().mean()),
            accuracy=float(outcome.is_correct[0, -1].double().mean()),
            parameters=task.host_parameters + int(episodes.hosts.graft_parameter_counts()[row].sum()),
            committed=tuple(f"{task.slot_names[slot]}:{kind}" for slot, kind in zip(committed, kinds, strict=True)),
        )
        on_event(grown)
        hosts.append(grown)
    return Measured(hosts=tuple(hosts), contributions=tuple(contributions))


def measure_networks(
    config: TrainConfig, networks: Sequence[FixedNetwork], tick: Callable[[], None] = lambda: None
) -> dict[int, Measured]:
    """Train the evaluation hosts in every size, then read the test split; by width.

    Args:
        config: of the run; its seed decides which hosts these are.
        networks: the sizes, with their learning rates.
        tick: called after each size.
    """
    seeds, measured = _evaluation_hosts(config), {}
    for network in networks:
        test, hosts = network.task.splits.test, trained(network.task, network.config, seeds)
        grown = []
        for row, seed in enumerate(seeds):
            outcome = hosts.evaluate([row], test.inputs, test.labels, players=Players.NOBODY)
            origin = Origin(environment=f"fixed-large-{row:03d}-test", episode=0, step=config.episode.steps)
            grown.append(
                HostGrown(
                    origin=origin,
                    policy=FIXED_LARGE,
                    host_seed=seed,
                    log_loss=float(outcome.log_loss[0, -1].double().mean()),
                    accuracy=float(outcome.is_correct[0, -1].double().mean()),
                    parameters=network.task.host_parameters,
                    committed=(),
                )
            )
        measured[network.width] = Measured(hosts=tuple(grown), contributions=())
        tick()
    return measured


def _row(name: str, measured: dict[str, Measured], confidence: float) -> PolicyRow:
    def losses(policy: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([host.log_loss for host in measured[policy].hosts])

    hosts = measured[name].hosts
    return PolicyRow(
        policy=name,
        accuracy=Interval.of([host.accuracy for host in hosts], confidence),
        log_loss=Interval.of(losses(name).tolist(), confidence),
        parameters=Interval.of([float(host.parameters) for host in hosts], confidence),
        minus_no_growth=(
            None if name == NO_GROWTH else Interval.of((losses(name) - losses(NO_GROWTH)).tolist(), confidence)
        ),
        learned_minus=None if name == LEARNED else Interval.of((losses(LEARNED) - losses(name)).tolist(), confidence),
    )


def _size_row(network: FixedNetwork, measured: Measured, learned: Measured, confidence: float) -> SizeRow:
    pairs = zip(learned.hosts, measured.hosts, strict=True)
    return SizeRow(
        width=network.width,
        learning_rate=network.config.learning_rate,
        parameters=network.task.host_parameters,
        accuracy=Interval.of([host.accuracy for host in measured.hosts], confidence),
        log_loss=Interval.of([host.log_loss for host in measured.hosts], confidence),
        learned_minus=Interval.of([mine.log_loss - its.log_loss for mine, its in pairs], confidence),
    )


def _graft_rows(task: Task, contributions: Sequence[Contribution], confidence: float) -> tuple[GraftRow, ...]:
    rows = []
    for slot, kind in itertools.product(task.slot_names, task.kind_names):
        chosen = [item for item in contributions if (item.slot, item.kind) == (slot, kind)]
        if chosen:
            rows.append(
                GraftRow(
                    slot=slot,
                    kind=kind,
                    log_loss=Interval.of([item.log_loss for item in chosen], confidence),
                    accuracy=Interval.of([item.accuracy for item in chosen], confidence),
                )
            )
    return tuple(rows)
