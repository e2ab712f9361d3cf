"""E episodes side by side: decide, train, evaluate, credit, pay.  Read this to know what a step is.

E environments, S slots, A actions, B examples of the reward split, T steps an episode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.growth.blend import blend_weight
from accredit.growth.hosts import HostEvaluation, Hosts, Players
from accredit.growth.stage import Operation, Stage, after_blend, transition
from accredit.telemetry.event import Event, HostDiverged, Origin, StageChanged, StepCompleted
from accredit.training.action import Action, ActionTable
from accredit.training.config import EpisodeConfig
from accredit.training.control import Controls, minibatch_indices, train_interval
from accredit.training.credit import Creditor
from accredit.training.host_seeds import derived_seed
from accredit.training.observation import ObservationTable, Situation
from accredit.training.reward import Reward, step_reward
from accredit.training.task import Task

EMPTY = -1
STATE_ARRAYS = (
    "seeds", "episode", "time", "stages", "kinds", "ages", "blend_ages", "alphas", "loss", "accuracy", "last_gain",
    "credit", "proven", "welcome",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one step of all environments brought."""

    reward: Reward
    """Terms, [E] each."""
    ended: NDArray[np.bool_]
    """Episodes that are over; always terminal, since the horizon is in the observation, [E]."""
    diverged: NDArray[np.bool_]
    """Episodes that ended because training left weights that are not finite, [E]."""


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
        self.task, self.config, self.names = task, config, tuple(names)
        self.hosts = make_hosts(len(self.names))
        self.controls = Controls(task, make_hosts, self._indices_of)
        self.actions = ActionTable(task.slot_names, task.kind_names)
        self.fields = ObservationTable(task.slot_names, task.kind_names, steps=config.steps)
        self.on_event = on_event
        self.creditor = Creditor(task.slot_names, confidence=config.confidence, on_event=on_event)
        environments, slots = len(self.names), len(task.slot_names)
        self.seeds = np.zeros(environments, dtype=np.int64)
        self.episode = np.full(environments, EMPTY)
        self.time = np.zeros(environments, dtype=np.int64)
        self.stages = np.zeros((environments, slots), dtype=np.int64)
        self.kinds = np.full((environments, slots), EMPTY)
        self.ages = np.zeros((environments, slots), dtype=np.int64)
        self.blend_ages = np.zeros((environments, slots), dtype=np.int64)
        self.alphas = np.zeros((environments, slots))
        self.loss, self.accuracy, self.last_gain = np.zeros((3, environments))
        self.credit = np.full((4, environments, slots), np.nan)
        self.proven = np.zeros((environments, slots), dtype=bool)
        self.welcome = np.zeros((environments, slots), dtype=bool)  # positive when last measured as a candidate
        self._indices = torch.zeros(
            environments, config.steps, config.minibatches, config.batch_size, dtype=torch.int64
        )
        self._control = np.zeros((environments, config.steps + 1))

    @property
    def num_environments(self) -> int:
        """E."""
        return len(self.names)

    def begin(self, rows: Sequence[int], host_seeds: Sequence[int]) -> None:
        """Start new episodes in `rows`, each with the host of its seed."""
        for row, seed in zip(rows, host_seeds, strict=True):
            self.hosts.reset(row, self.task.build_host(seed))
            self.seeds[row] = seed
            self.episode[row] += 1
            self.time[row] = 0
            self.last_gain[row] = 0.0
            for slot in range(self.stages.shape[1]):
                self._vacate(row, slot)
        self._follow_seeds(rows)
        self.hosts.set_stages(self.stages, self.alphas)
        self._evaluate(rows)

    def observations(self) -> NDArray[np.float32]:
        """Return what a policy sees, [E, F]."""
        return self.fields.encode(
            Situation(
                time=self.time / self.config.steps,
                log_loss=self.loss,
                accuracy=self.accuracy,
                last_gain=self.last_gain,
                control_log_loss=self._control[np.arange(self.num_environments), self.time],
                graft_share=self.graft_share(),
                stages=self.stages,
                kinds=self.kinds,
                alphas=self.alphas,
                ages=self.ages,
                contribution=self.credit[0],
                contribution_error=self.credit[1],
                accuracy_contribution=self.credit[2],
                accuracy_error=self.credit[3],
            )
        )

    def legal(self) -> NDArray[np.bool_]:
        """Return which actions are legal, [E, A]."""
        return self.actions.legal(self.stages, self.ages, self.proven)

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
        before = (self.loss.copy(), self.control_loss())
        actions = [self.actions.actions[choice] for choice in chosen]
        for at, action in enumerate(actions):
            self._apply(at, action)
        self._tick()
        diverged = self._train()
        self.time += 1
        over = self.time >= self.config.steps
        for row in np.flatnonzero(over):
            self._drop_undecided(int(row))
        graft_share = self.graft_share()
        self.hosts.set_stages(self.stages, self.alphas)
        self._evaluate(rows.tolist())
        # A host that diverged was rolled back; what it earned by the step is what divergence costs.
        self.loss[diverged] = np.inf
        reward = step_reward(
            self.config.reward,
            losses=(before[0], self.loss),
            control_losses=(before[1], self.control_loss()),
            graft_share=graft_share,
            grafted=np.array([action.operation == Operation.GRAFT for action in actions]),
            steps=self.config.steps,
        )
        self.last_gain = reward.gain
        self._report(chosen, reward, diverged)
        return Outcome(reward=reward, ended=over | diverged, diverged=diverged)

    def state_dict(self) -> dict[str, object]:
        """Return everything that is needed to continue at this very step."""
        arrays: dict[str, object] = {name: torch.from_numpy(self._array(name).copy()) for name in STATE_ARRAYS}
        return arrays | {"hosts": self.hosts.state_dict(), "controls": self.controls.state_dict()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state of the same layout."""
        for name in STATE_ARRAYS:
            saved = state[name]
            assert isinstance(saved, Tensor)
            self._array(name)[...] = saved.numpy()
        hosts, controls = state["hosts"], state["controls"]
        assert isinstance(hosts, dict)
        assert isinstance(controls, dict)
        self.hosts.load_state_dict(hosts)
        self.controls.load_state_dict(controls)
        self._follow_seeds(range(self.num_environments))

    def _array(self, name: str) -> NDArray[np.generic]:
        array: NDArray[np.generic] = vars(self)[name]
        return array

    def _indices_of(self, host_seed: int) -> Tensor:
        return minibatch_indices(
            host_seed,
            examples=len(self.task.splits.train),
            steps=self.config.steps,
            minibatches=self.config.minibatches,
            batch_size=self.config.batch_size,
        )

    def _follow_seeds(self, rows: Sequence[int]) -> None:
        """Bring data order and control of `rows` in line with their host seeds."""
        seeds = [int(self.seeds[row]) for row in rows]
        for row, seed, control in zip(rows, seeds, self.controls.losses(seeds), strict=True):
            self._indices[row] = self._indices_of(seed)
            self._control[row] = control

    def _apply(self, row: int, action: Action) -> None:
        slot = action.slot
        if slot is None:
            return
        source = Stage(int(self.stages[row, slot]))
        rule = transition(action.operation, source)
        assert rule is not None
        if action.kind is not None:
            seed = derived_seed(int(self.seeds[row]), int(self.time[row]), slot, 2)
            self.hosts.graft(row, slot, action.kind, seed)
            self.kinds[row, slot] = action.kind
        self._changed(row, slot, str(action.operation), rule.target)
        if rule.target == Stage.EMPTY:
            self.hosts.prune(row, slot)
            self._vacate(row, slot)
        self.stages[row, slot] = rule.target

    def _tick(self) -> None:
        """Let every graft grow older by a step and every blend go on."""
        self.ages[self.stages != Stage.EMPTY] += 1
        for row, slot in np.argwhere(self.stages == Stage.BLENDING).tolist():
            self.blend_ages[row, slot] += 1
            alpha = blend_weight(self.config.blend_schedule, int(self.blend_ages[row, slot]), self.config.blend_steps)
            self.alphas[row, slot] = alpha
            target = after_blend(Stage.BLENDING, alpha)
            if target != Stage.BLENDING:
                self._changed(row, slot, "blended", target)
                self.stages[row, slot] = target

    def _train(self) -> NDArray[np.bool_]:
        """Train all hosts for an interval; return which diverged, rolled back with their optimizer state, [E]."""
        self.hosts.set_stages(self.stages, self.alphas)
        self.hosts.remember()
        rows = torch.arange(self.num_environments)
        train_interval(self.hosts, self.task.splits.train, self._indices[rows, torch.from_numpy(self.time)])
        diverged = ~self.hosts.finite_rows()
        if diverged.any():
            self.hosts.roll_back(np.flatnonzero(diverged).tolist())
        return diverged

    def _drop_undecided(self, row: int) -> None:
        for slot in range(self.stages.shape[1]):
            if Stage(int(self.stages[row, slot])).is_removable:
                self._changed(row, slot, "dropped", Stage.EMPTY)
                self.hosts.prune(row, slot)
                self._vacate(row, slot)

    def _vacate(self, row: int, slot: int) -> None:
        self.stages[row, slot] = Stage.EMPTY
        self.kinds[row, slot] = EMPTY
        self.ages[row, slot] = self.blend_ages[row, slot] = 0
        self.alphas[row, slot] = 0.0
        self.welcome[row, slot] = False

    def _evaluate(self, rows: Sequence[int]) -> None:
        """Evaluate `rows` on the reward split; credit the live grafts of each."""
        self.credit[:, rows] = np.nan
        self.proven[rows] = False
        reward = self.task.splits.reward
        live, training = self.alphas > 0, self.stages == Stage.TRAINING
        grows = live.any(axis=1)
        for players in (Players.LIVE, Players.NOBODY):
            group = [row for row in rows if grows[row] == (players == Players.LIVE)]
            if group:
                outcome = self.hosts.evaluate(group, reward.inputs, reward.labels, players=players)
                losses = outcome.log_loss[:, -1].double().mean(1).numpy()
                self.loss[group] = np.where(np.isfinite(losses), losses, np.inf)
                self.accuracy[group] = outcome.is_correct[:, -1].double().mean(1).numpy()
                if players == Players.LIVE:
                    self._give_credit(group, outcome, live, players)
        candidates = [row for row in rows if training[row].any()]
        if candidates:
            outcome = self.hosts.evaluate(candidates, reward.inputs, reward.labels, players=Players.CANDIDATES)
            self._give_credit(candidates, outcome, training, Players.CANDIDATES)
        # Removal cost alone proves nothing: a host adapts even to a graft that harms it, and then misses it.
        self.proven[rows] &= self.welcome[rows]

    def _give_credit(
        self, group: Sequence[int], outcome: HostEvaluation, plays: NDArray[np.bool_], players: Players
    ) -> None:
        """Credit the grafts of each host of a group that play."""
        for at, row in enumerate(group):
            if not bool(torch.isfinite(outcome.log_loss[at]).all()):
                continue
            slots = np.flatnonzero(plays[row])
            origin = Origin(
                environment=self.names[row],
                episode=int(self.episode[row]),
                step=int(self.time[row]),
                game=players.value,
            )
            credit = self.creditor.measure(outcome, at, tuple(slots.tolist()), origin)
            self.credit[:, row, slots] = credit.values[:, slots]
            if players == Players.CANDIDATES:
                self.welcome[row, slots] = credit.is_positive[slots]
            else:
                self.proven[row, slots] = credit.is_positive[slots]

    def _origin(self, row: int) -> Origin:
        return Origin(environment=self.names[row], episode=int(self.episode[row]), step=int(self.time[row]))

    def _changed(self, row: int, slot: int, operation: str, target: Stage) -> None:
        if self.on_event is not None:
            self.on_event(
                StageChanged(
                    origin=self._origin(row),
                    slot=self.task.slot_names[slot],
                    kind=self.task.kind_names[self.kinds[row, slot]],
                    operation=operation,
                    source=Stage(int(self.stages[row, slot])).name.lower(),
                    target=target.name.lower(),
                )
            )

    def _report(self, chosen: NDArray[np.int64], reward: Reward, diverged: NDArray[np.bool_]) -> None:
        if self.on_event is None:
            return
        parameters, total = self.hosts.graft_parameter_counts().sum(1), reward.total
        for row, name in enumerate(self.names):
            origin = Origin(environment=name, episode=int(self.episode[row]), step=int(self.time[row]))
            if diverged[row]:
                self.on_event(HostDiverged(origin=origin))
            self.on_event(
                StepCompleted(
                    origin=origin,
                    host_seed=int(self.seeds[row]),
                    action=self.actions.label(int(chosen[row])),
                    log_loss=float(self.loss[row]) if np.isfinite(self.loss[row]) else None,
                    accuracy=float(self.accuracy[row]),
                    graft_parameters=int(parameters[row]),
                    gain=float(reward.gain[row]),
                    control_gain=float(reward.control_gain[row]),
                    rent=float(reward.rent[row]),
                    graft_cost=float(reward.graft_cost[row]),
                    reward=float(total[row]),
                )
            )
