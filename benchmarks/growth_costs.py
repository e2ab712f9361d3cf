"""What growth costs: steps a second, the share of attribution, what sharing and stacking save, memory, exactness.

Times are processor times of one thread, what is compared is measured in turns in one process, and the median counts;
only `two_process_share` is by the clock, and wants two free cores.

E environments, T steps an episode, S slots.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accredit.growth.hosts import Hosts, Players
from accredit.growth.stage import Stage
from accredit.telemetry.sinks.jsonl import JsonlSink
from accredit.training.baselines import RandomPolicy
from accredit.training.config import EpisodeConfig, TrainConfig
from accredit.training.environment import GrowthVectorEnv
from accredit.training.episodes import Episodes
from accredit.training.host_makers import looped_hosts, stacked_hosts
from accredit.training.playing import play
from accredit.training.task import Task, find_task
from accredit.training.trainer import Trainer

ENVIRONMENTS = 32
LONG_RUN_EPISODES = 2000
Figures = dict[str, Any]


def costs(*, quick: bool) -> Figures:
    """Return all figures of this file."""
    torch.set_num_threads(1)
    rounds = 1 if quick else 5
    return {
        **training_speed(updates=2 if quick else 10),
        "two_process_share": two_process_share(rounds=rounds),
        "stacked_over_looped": {
            name: stacked_over_looped(find_task(name), rounds=rounds) for name in ("digits", "text")
        },
        "attribution_without_sharing": attribution_without_sharing(rounds=4 * rounds),
        "resume_bit_equal": resume_is_bit_equal(),
        "long_run": in_a_process(long_run, 5 * ENVIRONMENTS if quick else LONG_RUN_EPISODES),
    }


def training_speed(*, updates: int) -> Figures:
    """Return environment steps a second of whole training (rollouts, credit, PPO), and what part of it credit took."""
    trainer = Trainer(find_task("digits"), TrainConfig(), on_event=lambda _: None)
    trainer.warm_up()
    trainer.learn()
    measurements, seconds, shares = trainer.environments.episodes.measurements, [], []
    for _ in range(updates):
        began, clock, measured = time.process_time(), time.perf_counter(), measurements.seconds
        trainer.learn()
        seconds.append(time.process_time() - began)
        shares.append((measurements.seconds - measured) / (time.perf_counter() - clock))
    steps = ENVIRONMENTS * trainer.config.episode.steps
    return {"env_steps_per_s": steps / float(np.median(seconds)), "attribution_share": float(np.median(shares))}


def two_process_share(*, rounds: int) -> float:
    """Return what two processes get done in a second over twice what one does: 64 hosts in two groups, random actions.

    The same groups give the same bits in one process and in two.  By the clock, in turns.
    """
    seconds: dict[int, list[float]] = {1: [], 2: []}
    environments = {
        processes: GrowthVectorEnv(2 * ENVIRONMENTS, groups=2, processes=processes) for processes in seconds
    }
    try:
        for turn in range(rounds + 1):
            for processes, environment in environments.items():
                policy, (seen, info) = RandomPolicy(np.random.default_rng(turn)), environment.reset(seed=turn // 2)
                began = time.perf_counter()
                for _ in range(environment.config.steps):
                    seen, *_, info = environment.step(policy.act(seen, info["action_mask"]))
                if turn:
                    seconds[processes].append(time.perf_counter() - began)
    finally:
        for environment in environments.values():
            environment.close()
    return float(np.median(seconds[1]) / np.median(seconds[2]) / 2)


def stacked_over_looped(task: Task, *, rounds: int) -> Figures:
    """Return how many times the steps a second of looped hosts stacked ones make, under one random policy."""
    config = task.episode
    makers: dict[str, Callable[[int], Hosts]] = {
        "stacked": stacked_hosts(task, config),
        "looped": looped_hosts(task, config),
    }
    names = [f"env-{row:03d}" for row in range(ENVIRONMENTS)]
    kinds = {name: Episodes(task, config, make_hosts=make, names=names) for name, make in makers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(rounds + 1):
        for name, episodes in kinds.items():
            began = time.process_time()
            play(episodes, RandomPolicy(np.random.default_rng(turn)), range(ENVIRONMENTS))
            # the first turn trains the controls, too
            if turn:
                seconds[name].append(time.process_time() - began)
    steps = ENVIRONMENTS * config.steps
    speeds = {name: steps / float(np.median(times)) for name, times in seconds.items()}
    return {**{f"{name}_steps_per_s": speed for name, speed in speeds.items()}} | {
        "ratio": speeds["stacked"] / speeds["looped"]
    }


def attribution_without_sharing(*, rounds: int) -> Figures:
    """Return what the coalitions of E hosts cost one after the other, over what they cost together.

    Three live grafts a host, so eight coalitions on the whole reward split.
    """
    task, config = find_task("digits"), EpisodeConfig()
    hosts, reward = stacked_hosts(task, config)(ENVIRONMENTS), task.splits.reward
    shape = (ENVIRONMENTS, len(task.slot_names))
    for row in range(ENVIRONMENTS):
        hosts.reset(row, task.build_host(row))
        for slot in range(shape[1]):
            hosts.graft(row, slot, (row + slot) % len(task.catalogue), seed=row)
    stages, alphas = np.full(shape, Stage.HOLDING, dtype=np.int64), np.ones(shape)
    rows = range(ENVIRONMENTS)

    def together() -> None:
        hosts.set_stages(stages, alphas)
        hosts.evaluate(rows, reward.inputs, reward.labels, players=Players.LIVE)

    def one_by_one() -> None:
        for coalition in range(2 ** shape[1]):
            on = np.array([bool(coalition >> slot & 1) for slot in range(shape[1])])
            hosts.set_stages(stages, alphas * on)
            hosts.evaluate(rows, reward.inputs, reward.labels, players=Players.NOBODY)

    seconds: dict[str, list[float]] = {"together": [], "one_by_one": []}
    for turn in range(rounds + 1):
        for name, work in (("together", together), ("one_by_one", one_by_one)):
            began = time.process_time()
            work()
            if turn:
                seconds[name].append(time.process_time() - began)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    return {**{f"{name}_s": value for name, value in medians.items()}} | {
        "ratio": medians["one_by_one"] / medians["together"]
    }


def resume_is_bit_equal() -> bool:
    """Tell whether four updates equal two, a saved and loaded state, and two more: every tensor, bit for bit."""
    config = replace(TrainConfig(), environments=4, updates=4, episode=EpisodeConfig(host_seeds=8))
    task = find_task(config.task)
    whole = Trainer(task, config, on_event=lambda _: None)
    whole.warm_up()
    for _ in range(2):
        whole.learn()
    with tempfile.TemporaryDirectory() as folder:
        torch.save(whole.state_dict(), Path(folder) / "state.pt")
        state = torch.load(Path(folder) / "state.pt", weights_only=True)
    resumed = Trainer(task, config, on_event=lambda _: None)
    resumed.load_state_dict(state)
    for trainer in (whole, resumed):
        for _ in range(2):
            trainer.learn()
    return is_same(whole.state_dict(), resumed.state_dict())


def is_same(first: Any, second: Any) -> bool:
    """Compare nested states bit by bit."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first.nan_to_num(nan=-77.0), second.nan_to_num(nan=-77.0))
    if isinstance(first, dict):
        return list(first) == list(second) and all(is_same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(is_same(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second)


def long_run(episodes: int) -> Figures:
    """Train for so many episodes, events written to a file, and return the resident memory over time."""
    torch.set_num_threads(1)
    updates = -(-episodes // ENVIRONMENTS)
    config = replace(TrainConfig(), updates=updates)
    resident: list[float] = []
    with tempfile.TemporaryDirectory() as folder, JsonlSink(Path(folder) / "events.jsonl") as sink:
        trainer = Trainer(find_task(config.task), config, on_event=sink)
        trainer.warm_up()
        for _ in range(updates):
            trainer.learn()
            resident.append(resident_mb())
    quarter, last = resident[len(resident) // 4 :], resident[-1]
    slope = float(np.polyfit(range(len(quarter)), quarter, 1)[0]) if len(quarter) > 1 else 0.0
    return {
        "episodes": updates * ENVIRONMENTS,
        "resident_mb_after_quarter": quarter[0],
        "resident_mb_at_end": last,
        "mb_per_100_episodes": slope * 100 / ENVIRONMENTS,
        "resident_mb": resident,
    }


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def in_a_process(work: Callable[..., Figures], *arguments: object) -> Figures:
    """Do the work in a fresh process, so that what came before does not count."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)
