"""Are planted grafts ranked rightly, and is a null graft called significant no more often than it should be?

    python -m benchmarks.growth_planted [--json FILE] [--quick] [--seed N] [--runs N]

Each run draws data, host and minibatches of its own: a host trains alone, then with three readers as candidates; the
mirror (null) and the turner (harmful) join in front of them, and one exact attribution on the reward split ranks all
five.  Then everything blends in, the host adapts, and the live game is measured.  All runs train side by side.

R runs, S = 5 slots, B examples.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from accredit.growth.hosts import Hosts, Players
from accredit.growth.stage import Stage
from accredit.telemetry import Origin
from accredit.training.credit import LOG_LOSS, Creditor
from accredit.training.data import Splits
from accredit.training.host_seeds import derived_seed
from accredit.training.planted import FEATURES, planted
from accredit.training.task import PLANTED, mlp_task

ORDER = ("mirror", "turner", "witness", "twin-first", "twin-second")
"""The mirror comes first, where it is null exactly; the readers come last and never write before it."""
FIRST_READER = 2
TASK = mlp_task(
    "planted-study", (FEATURES, 2), catalogue=PLANTED.catalogue, load=planted, slots_before=(0,) * len(ORDER)
)
ALONE, CANDIDATE, BLENDING = 36, 60, 12
"""Minibatches of 64: before any graft, with the readers in training, and after each half of the blend."""
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Game:
    """One game of all runs; slots in `ORDER`."""

    contributions: NDArray[np.float64]
    """Exact Shapley values of the log-loss on the reward split, nats, positive helps, [R, S]."""
    is_significant: NDArray[np.bool_]
    """Two-sided, at 95 %, one player at a time, [R, S]."""
    is_positive: NDArray[np.bool_]
    """What makes a commit legal: the interval lies above 0, [R, S]."""
    twins_interact: NDArray[np.float64]
    """Interaction index of the twins, in nats of log-loss; positive: together they save less than apart, [R]."""
    moved: NDArray[np.float64]
    """Mean absolute change of an example's log-loss where the mirror joins all others, nats, [R]."""

    @property
    def ranked_right(self) -> NDArray[np.bool_]:
        """Witness above both twins, both twins above the mirror, the mirror above the turner, [R]."""
        mirror, turner, witness, first, second = self.contributions.T
        right: NDArray[np.bool_] = (
            (witness > np.maximum(first, second)) & (np.minimum(first, second) > mirror) & (mirror > turner)
        )
        return right


@dataclass(frozen=True, kw_only=True)
class Study:
    """Both games of the same runs."""

    candidates: Game
    live: Game


def study(*, runs: int, seed: int) -> Study:
    """Plant, train, measure.

    Args:
        runs: R.
        seed: root of data, hosts and minibatches; nothing is shared between runs.
    """
    data = [planted(derived_seed(seed, 30, run)) for run in range(runs)]
    order = np.random.default_rng(derived_seed(seed, 31))
    hosts = TASK.make_hosts(runs, learning_rate=1e-2)
    for run in range(runs):
        hosts.reset(run, TASK.build_host(derived_seed(seed, 32, run)))
    train(hosts, data, order, minibatches=ALONE)
    stages, alphas = np.zeros((runs, len(ORDER)), dtype=np.int64), np.zeros((runs, len(ORDER)))
    for slots in (range(FIRST_READER, len(ORDER)), range(FIRST_READER)):
        for run in range(runs):
            for slot in slots:
                hosts.graft(run, slot, TASK.kind_names.index(ORDER[slot]), derived_seed(seed, 33, run, slot))
        stages[:, list(slots)] = Stage.TRAINING
        hosts.set_stages(stages, alphas)
        if FIRST_READER in slots:
            train(hosts, data, order, minibatches=CANDIDATE)
    candidates = measure(hosts, data, players=Players.CANDIDATES)
    for alpha, stage in ((0.5, Stage.BLENDING), (1.0, Stage.HOLDING)):
        hosts.set_stages(np.full_like(stages, stage), np.full_like(alphas, alpha))
        train(hosts, data, order, minibatches=BLENDING)
    return Study(candidates=candidates, live=measure(hosts, data, players=Players.LIVE))


def train(hosts: Hosts, data: list[Splits], order: np.random.Generator, *, minibatches: int) -> None:
    """Train each host on minibatches of its own train split."""
    for _ in range(minibatches):
        chosen = torch.from_numpy(order.integers(len(data[0].train), size=(len(data), 64)))
        batches = [(one.train.inputs[at], one.train.labels[at]) for one, at in zip(data, chosen, strict=True)]
        hosts.train(torch.stack([x for x, _ in batches]), torch.stack([y for _, y in batches]))


def measure(hosts: Hosts, data: list[Splits], *, players: Players) -> Game:
    """Attribute every host on its own reward split, by the code that credits grafts in training."""
    creditor, slots = Creditor(TASK.slot_names, confidence=LEVEL), tuple(range(len(ORDER)))
    columns: dict[str, list[Any]] = {
        name: [] for name in ("contributions", "is_significant", "is_positive", "twins_interact", "moved")
    }
    for run, splits in enumerate(data):
        outcome = hosts.evaluate([run], splits.reward.inputs, splits.reward.labels, players=players)
        origin = Origin(environment=f"run-{run:04d}", episode=0, step=0, game=players.value)
        matrix = creditor.matrix(outcome, 0, slots, origin)
        shapley = matrix.shapley(LOG_LOSS.name)
        columns["contributions"].append(shapley.contributions)
        columns["is_significant"].append([shapley[name].is_significant(LEVEL) for name in TASK.slot_names])
        credit = creditor.measure(
            hosts, [run], splits.reward, players=players, plays=np.ones((1, len(ORDER)), dtype=bool), origins=[origin]
        )
        columns["is_positive"].append(credit.is_positive[0])
        pair = matrix.interactions(LOG_LOSS.name)[TASK.slot_names[3], TASK.slot_names[4]]
        columns["twins_interact"].append(pair.value)
        columns["moved"].append(mirror_moves(outcome.log_loss[0]))
    return Game(**{name: np.array(column) for name, column in columns.items()})


def mirror_moves(log_loss: Tensor) -> float:
    """Return the mean absolute change of the log-loss [C, B] from all without the mirror (bit 0) to all."""
    return float((log_loss[-1] - log_loss[-2]).abs().mean())


def share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a share of the runs with its exact (Clopper-Pearson) 95 % interval."""
    interval = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95)
    return {"count": int(hits.sum()), "runs": len(hits), "lower": interval.low, "upper": interval.high}


def summarize(result: Study) -> dict[str, Any]:
    """Return the figures of the study."""
    games: dict[str, Any] = {}
    for name, game in (("candidates", result.candidates), ("live", result.live)):
        games[name] = {
            "contribution_mean": dict(zip(ORDER, game.contributions.mean(0).tolist(), strict=True)),
            "contribution_sd": dict(zip(ORDER, game.contributions.std(0, ddof=1).tolist(), strict=True)),
            "called_significant": {kind: share(game.is_significant[:, at]) for at, kind in enumerate(ORDER)},
            "called_positive": {kind: share(game.is_positive[:, at]) for at, kind in enumerate(ORDER)},
            "twins_interaction_mean": float(game.twins_interact.mean()),
            "twins_interaction_positive": share(game.twins_interact > 0),
            "null_moves_log_loss_by": float(game.moved.mean()),
            "ranked_right": share(game.ranked_right),
        }
    return {
        "planted_ranked_right": games["candidates"]["ranked_right"],
        "null_called_significant": games["live"]["called_significant"]["mirror"],
        "games": games,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--quick", action="store_true", help="20 runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, help="100, or 20 with --quick")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    runs = options.runs or (20 if options.quick else 100)
    figures = summarize(study(runs=runs, seed=options.seed))
    figures["seconds_per_run"] = (time.process_time() - started) / runs
    figures["seed"] = options.seed
    text = json.dumps(figures, indent=1)
    sys.stdout.write(text + "\n")
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
