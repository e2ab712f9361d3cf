"""E episodes side by side: decide, train, evaluate, credit, pay.  Read this to know what a step is.

E environments, F fields, A actions, T steps an episode.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from accredit.growth.hosts import Hosts, Players
from accredit.growth.metric import Score
from accredit.growth.stage import Operation, Stage, stage_table, transition
from accredit.telemetry.event import Event
from accredit.training.action import Action, ActionTable
from accredit.training.chronicle import Chronicle
from accredit.training.config import EpisodeConfig
from accredit.training.control import Controls, minibatch_indices, train_interval
from accredit.training.credit import Creditor
from accredit.training.host_seeds import derived_seed
from accredit.training.measurements import Measurements
from accredit.training.observation import ObservationTable, Situation
from accredit.training.proof import CommitRule
from accredit.training.reward import Reward, step_reward
from accredit.training.slot_states import SlotStates
from accredit.training.task import Task

GRAFT_WEIGHTS, GRAFT_KIND = 2, 3  # which of a host's random numbers are meant; 1 is its data order


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one step of all environments brought."""

    reward: Reward
    """Terms, [E] each."""
    ended: NDArray[np.bool_]
    """Episodes that are over; always terminal, since the horizon is in the observation, [E]."""
    diverged: NDArray[np.bool_]
    """Episodes that ended because training left weights that are not finite, [E]."""
    attribution_s: float
    """Seconds that measuring the grafts took, by a monotonic clock."""


class Episodes:
    """The state of E environments and the one function that moves them on.

    Args:
        task: what is learned.
        config: how.
        make_hosts: returns fresh hosts, as many as asked for.
        names: E names, the environment ids of all events.
        on_event: gets every event; None: nobody listens.
    """

    def __init__(
        self,
        task: Task,
        config: EpisodeConfig,
        *,
        make_hosts: Callable[[int], Hosts],
        names: Sequence[str],
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.task, self.config = task, config
        self.hosts = make_hosts(len(names))
        self.table = stage_table(
            holding_steps=config.holding_steps,
            cooldown_steps=config.cooldown_steps,
            commit_needs_proof=config.commit_rule != CommitRule.ANY,
            prune_committed=config.prune_committed,
        )
        self.actions = ActionTable(
            task.slot_names, task.kind_names, choose_kinds=config.observe_kinds, table=self.table
        )
        self.fields = ObservationTable(
            task.slot_names,
            task.kind_names,
            steps=config.steps,
            observe_kinds=config.observe_kinds,
            observe_stays=any(row.minimum_stay > 0 for row in self.table),
        )
        self.chronicle = Chronicle(names, slot_names=task.slot_names, kind_names=task.kind_names, on_event=on_event)
        self.creditor = Creditor(
            task.slot_names,
            confidence=config.confidence,
            rule=config.commit_rule,
            attribution=config.attribution,
            on_event=on_event,
        )
        self._minibatches = functools.partial(
            minibatch_indices,
            examples=len(task.splits.train),
            steps=config.steps,
            minibatches=config.minibatches,
            batch_size=config.batch_size,
        )
        self.controls = Controls(task, make_hosts, self._minibatches)
        self.slots = SlotStates(len(names), len(task.slot_names))
        self.measurements = Measurements(
            self.hosts, self.slots, creditor=self.creditor, actions=self.actions, examples=task.splits.reward
        )
        self.seeds = np.zeros(len(names), dtype=np.int64)
        self.loss, self.accuracy, self.last_gain = np.zeros((3, len(names)))
        self._indices = torch.zeros(len(names), config.steps, config.minibatches, config.batch_size, dtype=torch.int64)
        self._control = np.zeros((len(names), config.steps + 1))

    @property
    def num_environments(self) -> int:
        """E."""
        return len(self.seeds)

    @property
    def time(self) -> NDArray[np.int64]:
        """Steps of the episode that are over, [E]."""
        return self.chronicle.time

    def begin(self, rows: Sequence[int], host_seeds: Sequence[int]) -> None:
        """Start new episodes in `rows`, each with the host of its seed."""
        for row, seed in zip(rows, host_seeds, strict=True):
            self.hosts.reset(row, self.task.build_host(seed))
            self.seeds[row] = seed
            self.chronicle.episode[row] += 1
            self.time[row] = 0
            self.last_gain[row] = 0.0
            self.slots.clear(row)
        self._follow_seeds(rows)
        self.hosts.set_stages(self.slots.stages, self.slots.alphas)
        self._evaluate(rows)

    def observations(self) -> NDArray[np.float32]:
        """Return what a policy sees, [E, F]."""
        slots = self.slots
        return self.fields.encode(
            Situation(
                time=self.time / self.config.steps,
                log_loss=self.loss,
                accuracy=self.accuracy,
                last_gain=self.last_gain,
                control_log_loss=self.control_loss(),
                graft_share=self.graft_share(),
                stages=slots.stages,
                kinds=slots.kinds,
                alphas=slots.alphas,
                ages=slots.ages,
                stays=slots.stays,
                credit=slots.credit,
            )
        )

    def legal(self) -> NDArray[np.bool_]:
        """Return which actions are legal, [E, A]."""
        slots = self.slots
        return self.actions.legal(slots.stages, ages=slots.ages, stays=slots.stays, proven=slots.proven)

    def graft_share(self) -> NDArray[np.float64]:
        """Return the parameters of all grafts over those of the host, [E]."""
        share: NDArray[np.float64] = self.hosts.graft_parameter_counts().sum(1) / self.task.host_parameters
        return share

    def control_loss(self) -> NDArray[np.float64]:
        """Return the log-loss of the ungrown hosts at the same time, nats, [E]."""
        losses: NDArray[np.float64] = self._control[np.arange(self.num_environments), self.time]
        return losses

    def step(self, choices: NDArray[np.int64]) -> Outcome:
        """Apply one action per environment, train an interval, evaluate, credit and pay.

        An action that is not legal counts as waiting.

        Args:
            choices: index of an action, [E].
        """
        rows = np.arange(self.num_environments)
        chosen = np.where(self.legal()[rows, choices], choices, 0)
        before, measured_before_s = (self.loss.copy(), self.control_loss()), self.measurements.seconds
        actions = [self.actions.actions[choice] for choice in chosen]
        for at, action in enumerate(actions):
            self._apply(at, action)
        for at, slot in self.slots.grow_older(self.config.blend_schedule, self.config.blend_steps):
            self._tell(at, slot, "blended", Stage.BLENDING, Stage.HOLDING)
        diverged = self._train()
        self.chronicle.time += 1
        over = self.time >= self.config.steps
        for at in np.flatnonzero(over).tolist():
            self._drop_undecided(at)
        self.hosts.set_stages(self.slots.stages, self.slots.alphas)
        self._evaluate(rows.tolist())
        # A host that diverged was rolled back, but its step is paid as what it was.
        self.loss[diverged] = np.inf
        reward = step_reward(
            self.config.reward,
            losses=(before[0], self.loss),
            control_losses=(before[1], self.control_loss()),
            graft_share=self.graft_share(),
            grafted=np.array([action.operation == Operation.GRAFT for action in actions]),
            steps=self.config.steps,
        )
        self.last_gain = reward.gain.copy()  # a new episode in a row writes here, and must not reach into the reward
        self.chronicle.step_completed(
            seeds=self.seeds,
            actions=[self.actions.label(int(choice)) for choice in chosen],
            measured=(self.loss, self.accuracy),
            parameters=self.hosts.graft_parameter_counts().sum(1),
            reward=reward,
            diverged=diverged,
        )
        attribution_s = self.measurements.seconds - measured_before_s
        return Outcome(reward=reward, ended=over | diverged, diverged=diverged, attribution_s=attribution_s)

    def state_dict(self) -> dict[str, object]:
        """Return everything that is needed to continue at this very step."""
        counters = {"seeds": self.seeds, "episode": self.chronicle.episode, "time": self.time}
        measured = {"loss": self.loss, "accuracy": self.accuracy, "last_gain": self.last_gain}
        return {
            "environments": {name: torch.from_numpy(array.copy()) for name, array in (counters | measured).items()},
            "slots": self.slots.state_dict(),
            "hosts": self.hosts.state_dict(),
            "controls": self.controls.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same layout."""
        saved = {name: tensor.numpy() for name, tensor in state["environments"].items()}
        self.seeds[...], self.time[...] = saved["seeds"], saved["time"]
        self.chronicle.episode[...] = saved["episode"]
        self.loss, self.accuracy = saved["loss"].copy(), saved["accuracy"].copy()
        self.last_gain = saved["last_gain"].copy()
        self.slots.load_state_dict(state["slots"])
        self.hosts.load_state_dict(state["hosts"])
        self.controls.load_state_dict(state["controls"])
        self._follow_seeds(range(self.num_environments))

    def _follow_seeds(self, rows: Sequence[int]) -> None:
        """Bring data order and control of `rows` in line with their host seeds."""
        seeds = [int(self.seeds[row]) for row in rows]
        for row, seed, control in zip(rows, seeds, self.controls.losses(seeds), strict=True):
            self._indices[row] = self._minibatches(seed)
            self._control[row] = control

    def _apply(self, row: int, action: Action) -> None:
        """Carry out a legal action."""
        slot = action.slot
        if slot is None:
            return
        source = Stage(int(self.slots.stages[row, slot]))
        rule = transition(action.operation, source, self.table)
        if rule is None:
            return
        if action.operation == Operation.GRAFT:
            kind = self._drawn_kind(row, slot) if action.kind is None else action.kind
            self.hosts.graft(row, slot, kind, self._seed(row, slot, GRAFT_WEIGHTS))
            self.slots.kinds[row, slot] = kind
        self._tell(row, slot, str(action.operation), source, rule.target)
        if rule.target == Stage.EMPTY:
            self.hosts.prune(row, slot)
        self.slots.enter(row, slot, rule.target)

    def _drawn_kind(self, row: int, slot: int) -> int:
        """Return a kind drawn uniformly; seed, time and slot decide, so that paired hosts draw the same."""
        return int(np.random.default_rng(self._seed(row, slot, GRAFT_KIND)).integers(len(self.task.kind_names)))

    def _seed(self, row: int, slot: int, purpose: int) -> int:
        return derived_seed(int(self.seeds[row]), int(self.time[row]), slot, purpose)

    def _tell(self, row: int, slot: int, operation: str, source: Stage, target: Stage) -> None:
        kind = int(self.slots.kinds[row, slot])
        self.chronicle.stage_changed(row, slot, kind, operation=operation, source=source, target=target)

    def _train(self) -> NDArray[np.bool_]:
        """Train all hosts for an interval; return which diverged, rolled back with their optimizer state, [E]."""
        self.hosts.set_stages(self.slots.stages, self.slots.alphas)
        self.hosts.remember()
        rows = torch.arange(self.num_environments)
        train_interval(self.hosts, self.task.splits.train, self._indices[rows, torch.from_numpy(self.time)])
        diverged = ~self.hosts.finite_rows()
        if diverged.any():
            self.hosts.roll_back(np.flatnonzero(diverged).tolist())
        return diverged

    def _drop_undecided(self, row: int) -> None:
        for slot, number in enumerate(self.slots.stages[row].tolist()):
            stage = Stage(number)
            if stage.is_removable:
                self._tell(row, slot, "dropped", stage, Stage.EMPTY)
                self.hosts.prune(row, slot)
                self.slots.enter(row, slot, Stage.EMPTY)

    def _evaluate(self, rows: Sequence[int]) -> None:
        """Evaluate `rows` on the reward split, then measure their grafts there."""
        reward = self.task.splits.reward
        outcome = self.hosts.evaluate(rows, reward.inputs, reward.labels, players=Players.NOBODY)
        live = Score(log_loss=outcome.log_loss[:, -1], is_correct=outcome.is_correct[:, -1])
        losses = live.log_loss.double().mean(1).numpy()
        self.loss[rows] = np.where(np.isfinite(losses), losses, np.inf)
        self.accuracy[rows] = live.is_correct.double().mean(1).numpy()
        at_end = self.time >= self.config.steps
        self.measurements.update(np.asarray(rows), live, at_end=at_end, origin=self.chronicle.origin)
