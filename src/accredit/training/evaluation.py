"""The final comparison: every policy on the same fresh hosts, measured on the test split, which nothing else reads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accredit.attribution.matrix import CounterfactualMatrix
from accredit.growth.hosts import HostEvaluation, Players
from accredit.telemetry.event import Event, HostGrown, Origin
from accredit.training.baselines import Greedy, NoGrowth, Policy, RandomPolicy, Schedule
from accredit.training.comparison import Comparison, GraftRow, Interval, PolicyRow, SizeRow
from accredit.training.config import TrainConfig
from accredit.training.credit import ACCURACY, LOG_LOSS
from accredit.training.episodes import Episodes
from accredit.training.fixed_network import FixedNetwork, closest, trained
from accredit.training.host_seeds import HostSeeds, Purpose, derived_seed
from accredit.training.playing import fresh_episodes, layout, play
from accredit.training.task import Task
from accredit.training.tuning import Tuned, count_parts, tune

Progress = Callable[[int, int], None]
LEARNED, NO_GROWTH, FIXED_LARGE = "learned", "no growth", "fixed large"


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
    view = layout(task, config)

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
    rows = len((LEARNED, "greedy, random", "best schedule", "random", NO_GROWTH)) + config.episode.observe_kinds
    planned = count_parts(task, config) + rows + len(task.large_widths)
    done = itertools.count(1)
    return lambda: progress(next(done), planned) if progress is not None else None


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
    episodes = fresh_episodes(task, config, [f"{prefix}-{row:03d}" for row in range(count)], on_event)
    play(episodes, policy, _evaluation_hosts(config))
    return episodes


def _evaluation_hosts(config: TrainConfig) -> list[int]:
    seeds = HostSeeds(config.seed, Purpose.EVALUATION, count=config.evaluation.hosts)
    return [seeds.draw() for _ in range(config.evaluation.hosts)]


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
    hosts, contributions = [], []
    for row in range(episodes.num_environments):
        committed = np.flatnonzero(episodes.slots.alphas[row] > 0).tolist()
        kinds = [task.kind_names[episodes.slots.kinds[row, slot]] for slot in committed]
        origin = Origin(environment=f"{episodes.chronicle.names[row]}-test", episode=0, step=config.episode.steps)
        outcome, matrix = _tested(episodes, row, tuple(committed), origin)
        if matrix is not None:
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


def _tested(
    episodes: Episodes, row: int, committed: tuple[int, ...], origin: Origin
) -> tuple[HostEvaluation, CounterfactualMatrix | None]:
    """Return what a host does on the test split, and the matrix of its grafts: exact where the budget allows it.

    One host at a time: all coalitions of all hosts over the test split would be the largest tensor of the run.
    """
    test, creditor, hosts = episodes.task.splits.test, episodes.creditor, episodes.hosts
    is_exact = creditor.fits_a_table(len(committed))
    players = Players.LIVE if is_exact else Players.NOBODY
    outcome = hosts.evaluate([row], test.inputs, test.labels, players=players)
    if not committed:
        return outcome, None
    if is_exact:
        return outcome, creditor.matrix(outcome, 0, committed, origin)
    matrix = creditor.matrix_of_host(hosts, row, committed, test, players=Players.LIVE, origin=origin)
    creditor.tell()
    return outcome, matrix


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
