"""Studies of growth: which configurations are trained, and one run of one of them.

A run trains a policy on one seed and then measures it, with or without the baselines, on 64 hosts that nothing else has
met.  The figures of every host are kept, so that runs of one seed can be compared host by host.

E environments, T steps an episode.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from accredit.cli.settings import quick as quickly
from accredit.cli.settings import with_settings
from accredit.errors import PolicyCollapsed, TrainingFailed
from accredit.telemetry.event import Event, HostGrown, UpdateCompleted
from accredit.training.config import TrainConfig
from accredit.training.config_record import to_plain
from accredit.training.evaluation import LEARNED, measure, measure_networks, rules
from accredit.training.fixed_network import FixedNetwork
from accredit.training.task import Task, find_task
from accredit.training.trainer import Trainer
from accredit.training.tuning import Plan, Tuned, tune

ROOT = Path(__file__).resolve().parent.parent
CURVE = ("update", "episode_return", "gain_over_control", "final_log_loss", "explained_variance", "entropy")
FIXED = "fixed network"
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One configuration, trained on every seed."""

    question: str
    task: str = "digits"
    settings: tuple[str, ...] = ()
    """What differs from the defaults, as `accredit grow --set` takes it."""
    has_baselines: bool = False
    """Whether the baselines are measured too; else the learned policy alone."""
    beside: str | None = None
    """The study whose learned policy it is compared with, seed by seed and host by host."""
    tuning_hosts: int = 128
    """Design hosts on which the baselines are tuned; a run takes 32."""
    loses_statistics: bool = False
    """Whether the run is resumed half way with normalizers that begin anew."""


STUDIES = {
    "digits": Study(question="the frontier on digits", has_baselines=True),
    "hidden kinds": Study(
        question="kinds are drawn and cannot be seen: contribution is the only clue",
        # Exploring costs more than waiting here: with half the updates or a third of the bonus some policies only wait.
        # Those that do are results, and counted.
        settings=(
            "episode.observe_kinds=false",
            "updates=80",
            "ppo.entropy_start=0.03",
            "ppo.entropy_end=0.003",
            "ppo.collapse_entropy=0",
        ),
        has_baselines=True,
    ),
    "all examples": Study(
        question="grafts measured on the whole reward split, in every step",
        settings=("episode.attribution.examples=400", "episode.attribution.examples_between=400"),
        has_baselines=True,
        beside="digits",
    ),
    "text": Study(
        question="the frontier on characters of text, a small transformer",
        task="text",
        has_baselines=True,
        tuning_hosts=32,  # its hosts take five times as long
    ),
    "no control variate": Study(
        question="the reward without what the ungrown host gains",
        settings=("episode.reward.control_variate=false",),
        beside="digits",
    ),
    "no observation normalizer": Study(
        question="observations as they are", settings=("ppo.normalize_observations=false",), beside="digits"
    ),
    "no reward normalizer": Study(
        question="rewards in nats", settings=("ppo.normalize_rewards=false",), beside="digits"
    ),
    "value normalizer": Study(
        question="a critic that learns at unit scale (PopArt)", settings=("ppo.normalize_values=true",), beside="digits"
    ),
    "commit rule any": Study(
        question="commits without proof of a contribution",
        settings=("episode.commit_rule=any",),
        has_baselines=True,
        beside="digits",
    ),
    "resume without statistics": Study(
        question="half way, normalizers begin anew", beside="digits", loses_statistics=True
    ),
}


def configuration(name: str, seed: int, *, quick: bool) -> TrainConfig:
    """Return the configuration of one run."""
    study = STUDIES[name]
    config = find_task(study.task).run_config(seed=seed)
    return with_settings(quickly(config) if quick else config, study.settings)


def work(job: Record) -> Record:
    """Do one job of the kind that it names; whatever is done is kept with its configuration and the code's version."""
    torch.set_num_threads(1)
    config, began = configuration(job["study"], job["seed"], quick=job["quick"]), time.process_time()
    does = {"tuning": tune_baselines, "baselines": measure_baselines, "policy": train_policy}[job["kind"]]
    found = does(job, config)
    record = {key: job[key] for key in ("kind", "study", "seed", "quick")}
    record |= {"config": to_plain(config), "code": code_version(), "duration_s": time.process_time() - began}
    return record | found


def train_policy(job: Record, config: TrainConfig) -> Record:
    """Train a policy, then measure it on the evaluation hosts of its seed: curve, and what every host reached."""
    events: list[Event] = []
    try:
        trainer = trained(config, events, loses_statistics=STUDIES[job["study"]].loses_statistics)
    except (PolicyCollapsed, TrainingFailed) as failure:  # what a configuration can do to a policy is a result
        return {"failure": str(failure), "curve": curve(events)}
    measure(find_task(config.task), config, LEARNED, trainer.learned, events.append)
    return {"curve": curve(events), "policies": policies(events)}


def tune_baselines(job: Record, config: TrainConfig) -> Record:
    """Tune the baselines of a study; all seeds share the outcome.

    They do not depend on the seed of the policy, and the hosts that they are compared on are others.
    """
    hosts = config.environments if job["quick"] else STUDIES[job["study"]].tuning_hosts
    tuned = tune(find_task(config.task), replace(config, environments=hosts))
    return {
        "tuned": {
            "kinds": list(tuned.kinds),
            "order": list(tuned.plan.order),
            "plan_kinds": list(tuned.plan.kinds),
            "learning_rates": {str(network.width): network.config.learning_rate for network in tuned.networks},
        }
    }


def measure_baselines(job: Record, config: TrainConfig) -> Record:
    """Measure the baselines on the evaluation hosts of a seed."""
    task, events = find_task(config.task), list[Event]()
    tuned = tuned_from(job["tuning"], task, config)
    for name, policy in rules(task, config, tuned).items():
        measure(task, config, name, policy, events.append)
    sizes = {
        fixed_name(width): hosts_of(measured.hosts)
        for width, measured in measure_networks(config, tuned.networks).items()
    }
    return {"policies": policies(events) | sizes}


def fixed_name(width: int) -> str:
    """Return the name of a fixed network of one size."""
    return f"{FIXED}, {width} wide"


def widths_of(names: Iterable[str]) -> set[int]:
    """Return the widths of the fixed networks among the names of policies."""
    return {int(name.split()[2]) for name in names if name.startswith(f"{FIXED},")}


def tuned_from(found: Record, task: Task, config: TrainConfig) -> Tuned:
    """Return the baselines that `tune_baselines` found."""
    return Tuned(
        kinds=tuple(found["kinds"]),
        plan=Plan(order=tuple(found["order"]), kinds=tuple(found["plan_kinds"])),
        networks=tuple(
            FixedNetwork(
                task=task.widened(int(width)), width=int(width), config=replace(config.episode, learning_rate=rate)
            )
            for width, rate in found["learning_rates"].items()
        ),
    )


def trained(config: TrainConfig, events: list[Event], *, loses_statistics: bool) -> Trainer:
    """Train a policy to its end; what a listener needs to keep goes to `events`."""

    def keep(event: Event) -> None:
        if isinstance(event, UpdateCompleted):
            events.append(event)

    trainer = Trainer(find_task(config.task), config, on_event=keep)
    trainer.warm_up()
    while trainer.update < config.updates:
        if loses_statistics and trainer.update == config.updates // 2:
            forget_statistics(trainer)
        trainer.learn()
    return trainer


def forget_statistics(trainer: Trainer) -> None:
    """Leave the normalizers as a program finds them that did not put them into its checkpoint."""
    fresh = Trainer(find_task(trainer.config.task), trainer.config, on_event=lambda _: None)
    trainer.observation_normalizer.load_state_dict(fresh.observation_normalizer.state_dict())
    trainer.reward_normalizer.load_state_dict(fresh.reward_normalizer.state_dict())


def curve(events: list[Event]) -> dict[str, list[float | None]]:
    """Return the learning curve, update by update."""
    updates = [event for event in events if isinstance(event, UpdateCompleted)]
    return {name: [getattr(update, name) for update in updates] for name in CURVE}


def policies(events: list[Event]) -> dict[str, dict[str, list[float]]]:
    """Return what every host reached on the test split, per policy, in the order of the hosts."""
    grown = [event for event in events if isinstance(event, HostGrown)]
    names = dict.fromkeys(host.policy for host in grown)
    return {name: hosts_of([host for host in grown if host.policy == name]) for name in names}


def hosts_of(grown: Sequence[HostGrown]) -> dict[str, list[float]]:
    """Return what hosts reached, field by field."""
    return {
        field: [getattr(host, field) for host in grown] for field in ("host_seed", "log_loss", "accuracy", "parameters")
    }


def code_version() -> str:
    """Return the commit that runs, with a mark where the working tree differs from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=9", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
