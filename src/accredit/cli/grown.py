"""A host that was grown here, with its grafts as players."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from accredit.errors import InvalidArgument
from accredit.growth.metric import Metric as GrowthMetric
from accredit.models.component import Component
from accredit.models.metrics import Metric
from accredit.models.task import AttributionTask
from accredit.training.credit import ACCURACY, LOG_LOSS
from accredit.training.episodes import Episodes
from accredit.training.loop import Watcher, regrow


def grown_task(folder: Path, host: int, notice: Callable[[str], None]) -> AttributionTask:
    """Grow a host of the final comparison once more; its live grafts are the players, on the reward split.

    The test split is read by the final comparison alone, so that what is chosen by these numbers stays testable.

    Args:
        folder: of a run.
        host: which one, from 0.
        notice: gets what the user should know.

    Raises:
        RunFolderError: the folder holds no run, or no checkpoint yet.
        InvalidArgument: there is no such host, or it has no graft.
    """
    episodes = regrow(folder, watcher=replace(Watcher(), on_notice=notice))
    _check_host(episodes, host)
    network = episodes.hosts.network(host, episodes.task.build_host(int(episodes.seeds[host]))).eval()
    players = [
        Component(name=f"{slot.name}: {slot.kind_name}", paths=(f"layers.{at}",))
        for at, slot in enumerate(network.layers)
        if slot in network.slots and slot.is_live
    ]
    reward = episodes.task.splits.reward
    # a slot that is off hands on what it got, as a slot without a graft does
    score = episodes.task.metric
    metrics = [Metric(LOG_LOSS, partial(_log_loss, score)), Metric(ACCURACY, partial(_accuracy, score))]
    return AttributionTask(network, players, [(reward.inputs, reward.labels)], metrics, off="identity")


def _log_loss(metric: GrowthMetric, output: Tensor, labels: Tensor) -> Tensor:
    return metric.score(output.double(), labels).log_loss


def _accuracy(metric: GrowthMetric, output: Tensor, labels: Tensor) -> Tensor:
    return metric.score(output.double(), labels).is_correct


def _check_host(episodes: Episodes, host: int) -> None:
    """Refuse a host that is not there or has nothing to be attributed."""
    grown = np.flatnonzero((episodes.slots.alphas > 0).any(axis=1)).tolist()
    if not 0 <= host < episodes.num_environments:
        raise InvalidArgument(
            f"`--host` is {host}, wanted one of the {episodes.num_environments} hosts of the final comparison; pass 0 "
            f"to {episodes.num_environments - 1}."
        )
    if host not in grown:
        others = f"pass --host {grown[0]}" if grown else "grow with more updates"
        raise InvalidArgument(f"`--host` is {host}, where no graft was committed, wanted a grown host; {others}.")
