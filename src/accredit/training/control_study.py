"""What removing a graft costs beside what growing it caused: the control run for contributions in growth.

Hosts are grown with one graft and nothing else, and each is compared twice on the reward split: with itself where the
graft is switched off (removal), and with an ungrown host of the same seed that was trained for the same time (cause).

T steps an episode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accredit.attribution.control import paired_control
from accredit.attribution.estimate import MarginalEstimate
from accredit.errors import UnknownName
from accredit.growth.hosts import Players
from accredit.growth.stage import Operation
from accredit.training.config import EpisodeConfig
from accredit.training.credit import LOG_LOSS
from accredit.training.episodes import Episodes
from accredit.training.host_makers import stacked_hosts
from accredit.training.proof import CommitRule
from accredit.training.task import Task


@dataclass(frozen=True, kw_only=True)
class ControlStudy:
    """Paired differences of the log-loss over the same hosts, in nats; a `contribution` is positive where it helps."""

    slot: str
    kind: str
    removal: MarginalEstimate
    """Loss as grown minus loss with the graft switched off."""
    cause: MarginalEstimate
    """Loss as grown minus loss of the host that was never grown."""


def control_study(
    task: Task,
    *,
    slot: str,
    kind: str,
    host_seeds: Sequence[int],
    training_steps: int = 2,
    config: EpisodeConfig | None = None,
) -> ControlStudy:
    """Grow hosts with one graft, committed without proof, and return what its removal costs and what it caused.

    The graft enters at the first step, blends at age `training_steps`, and is committed as soon as it holds.

    Args:
        task: what is grown.
        slot: where.
        kind: what is grafted.
        host_seeds: at least 2, none twice; twice as many trainings.
        training_steps: age at which the graft blends, >= 1.
        config: how hosts are trained; None: the task's own. Rules of proof and attribution in it are not used.

    Raises:
        UnknownName: no such slot or kind.
        InvalidArgument: fewer than two seeds, or one twice.
        EvaluationError: a host diverged.

    Example:
        >>> from accredit.training.task import DIGITS
        >>> study = control_study(DIGITS, slot="hidden2", kind="mlp", host_seeds=[0, 1],
        ...                       config=EpisodeConfig(steps=6, minibatches=2))
        >>> study.removal.n_evaluations, study.removal.contribution > 0
        (4, True)
    """
    if kind not in task.kind_names:
        raise UnknownName(
            f"`kind` is {kind!r}, but the catalogue of task {task.name!r} has {', '.join(task.kind_names)}; pass one "
            "of them."
        )
    if slot not in task.slot_names:
        raise UnknownName(
            f"`slot` is {slot!r}, but the slots of task {task.name!r} are {', '.join(task.slot_names)}; pass one of "
            "them."
        )
    config = dataclasses.replace(config or task.episode, commit_rule=CommitRule.ANY, observe_kinds=True)
    names = [f"control-{seed}" for seed in host_seeds]
    episodes = Episodes(task, config, make_hosts=stacked_hosts(task, config), names=names)
    episodes.begin(range(len(names)), host_seeds)
    at, table = task.slot_names.index(slot), episodes.actions
    graft = table.find(Operation.GRAFT, at, task.kind_names.index(kind))
    blend, commit = table.find(Operation.BLEND, at), table.find(Operation.COMMIT, at)
    for step in range(config.steps):
        wanted = graft if step == 0 else blend if step == training_steps else commit
        episodes.step(np.full(len(names), wanted))  # a commit before the graft holds is not legal, and waits
    reward = task.splits.reward
    outcome = episodes.hosts.evaluate(range(len(names)), reward.inputs, reward.labels, players=Players.LIVE)
    off, grown = outcome.log_loss.double().mean(2)[:, [0, -1]].T.tolist()
    row = {seed: place for place, seed in enumerate(host_seeds)}

    def estimate(without: Sequence[float]) -> MarginalEstimate:
        def loss(seed: int, is_on: bool) -> float:
            return grown[row[seed]] if is_on else without[row[seed]]

        return paired_control(loss, part=f"{kind} at {slot}", seeds=host_seeds, output=LOG_LOSS)

    cause = estimate(episodes.control_loss().tolist())
    return ControlStudy(slot=slot, kind=kind, removal=estimate(off), cause=cause)
