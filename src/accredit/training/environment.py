"""The Gymnasium faces of growth: anybody's agent trains on them.

One step: apply an action out of a masked categorical, train the host for a few minibatches, evaluate on the reward
split, credit every live graft.  An episode is the training of one host; its end is terminal, never a truncation,
because the horizon is in the observation.  Masks: `info["action_mask"]` and `action_masks()`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from accredit.errors import InvalidArgument
from accredit.telemetry.event import Event
from accredit.training.action import ActionTable
from accredit.training.config import EpisodeConfig, check_split
from accredit.training.episodes import Episodes, Outcome
from accredit.training.group_processes import GroupProcess
from accredit.training.groups import Answer, EpisodeGroup, Group, GroupHere, GroupSettings, Stepped, View
from accredit.training.host_makers import looped_hosts
from accredit.training.host_seeds import HostSeeds, Purpose
from accredit.training.observation import ObservationTable
from accredit.training.task import DIGITS, Task

Listener = Callable[[Event], None]
Observations = NDArray[np.float32]


class GrowthVectorEnv(gymnasium.vector.VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """Many hosts at once, stacked into batched networks; autoreset in the same step.

    Environments are split into groups, each one stack, and groups over processes, this one among them.  Groups decide
    how numbers round, processes decide nothing: the same groups give the same bits in one process and in several.
    Other processes are worth their price where every group is large, since the cost of a stack hardly falls with its
    size; start them under `if __name__ == "__main__":`, and `close()` ends them.

    Args:
        num_envs: E, hosts side by side.
        task: what is grown on what.
        config: how a host is trained and grown; None: as the task says.
        host_seeds: which hosts are met; None: the training pool of run seed 0.
        name: environments are called `name-000`, `name-001`, ... in events.
        on_event: gets every event; None: nobody listens.
        groups: stacks that environments are split into, 1 to E.
        processes: that groups are spread over, 1 to `groups`.

    Raises:
        InvalidArgument: more groups than environments or more processes than groups, or a task that cannot be sent to
            another process.
        TrainingFailed: from any method, where another process failed or ended.

    Example:
        >>> env = GrowthVectorEnv(2, config=EpisodeConfig(steps=2, host_seeds=2))
        >>> observations, info = env.reset(seed=0)
        >>> observations.shape, info["action_mask"].shape
        ((2, 59), (2, 25))
        >>> env.step(np.array([0, 1]))[1].shape
        (2,)
    """

    def __init__(
        self,
        num_envs: int,
        *,
        task: Task = DIGITS,
        config: EpisodeConfig | None = None,
        host_seeds: HostSeeds | None = None,
        name: str = "env",
        on_event: Listener | None = None,
        groups: int = 1,
        processes: int = 1,
    ) -> None:
        self._processes: list[GroupProcess] = []  # first of all: what is refused below is closed all the same
        check_split(num_envs, groups=groups, processes=processes)
        self.num_envs = num_envs
        self.config = config or task.episode
        self.host_seeds = host_seeds or HostSeeds(0, Purpose.TRAINING, count=self.config.host_seeds)
        self._parts = _split(num_envs, groups)
        settings = [
            GroupSettings(task=task, config=self.config, names=tuple(f"{name}-{row:03d}" for row in part))
            for part in self._parts
        ]
        mine, *others = [[settings[at] for at in part] for part in _split(groups, processes)]
        here = [GroupHere(each, on_event=on_event) for each in mine]
        self._processes = [GroupProcess(part, on_event=on_event) for part in others]
        there = [
            group for part, process in zip(others, self._processes, strict=True) for group in process.groups(len(part))
        ]
        self._groups: list[Group] = [*here, *there]
        self._first = here[0].group.episodes
        self._controls: dict[int, Sequence[float]] = {}
        self.attribution_s = 0.0
        """Seconds that measuring grafts took so far, over all groups; no part of the state."""
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = _spaces(self._first)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)

    @property
    def episodes(self) -> Episodes:
        """What happens inside, where all environments are one group.

        Raises:
            InvalidArgument: they are several.
        """
        if len(self._groups) > 1:
            raise InvalidArgument(
                f"`episodes` was asked of {len(self._groups)} groups, wanted one that holds all environments; look at "
                "`actions`, `fields`, `observations()` and `action_masks()`, or pass groups=1."
            )
        return self._first

    @property
    def actions(self) -> ActionTable:
        """What the indices of actions mean."""
        return self._first.actions

    @property
    def fields(self) -> ObservationTable:
        """What the columns of observations mean."""
        return self._first.fields

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode in every environment.

        Args:
            seed: an int starts the order of hosts again from that seed; None goes on in it.
            options: none are known.
        """
        del options
        if seed is not None and not isinstance(seed, int):
            raise InvalidArgument(
                f"`seed` is {seed!r}, but all environments draw their hosts from one order; pass one int, or None."
            )
        if seed is not None:
            self.host_seeds = HostSeeds(seed, self.host_seeds.purpose, count=self.host_seeds.count)
        views = self._begin(np.ones(self.num_envs, dtype=bool))
        legal = np.concatenate([view.legal for view in views])
        return np.concatenate([view.observations for view in views]), {"action_mask": legal}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observations, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Move every environment on by one action; environments whose episode ends begin the next at once.

        Args:
            actions: [E] indices of actions; one that is not legal counts as waiting.

        Returns:
            observations [E, F], rewards [E] in nats, terminations [E], truncations [E] (never), and `info` with
            `action_mask` [E, A], the terms of the reward, and for ended episodes `final_obs` and their results.
        """
        chosen = np.asarray(actions)
        stepped = self._ask([partial(EpisodeGroup.step, actions=chosen[part]) for part in self._parts])
        ended = np.concatenate([each.outcome.ended for each in stepped])
        terms = [_terms(each.outcome) for each in stepped]
        info: dict[str, Any] = {name: np.concatenate([each[name] for each in terms]) for name in terms[0]}
        self.attribution_s += sum(each.outcome.attribution_s for each in stepped)
        rewards = np.concatenate([each.outcome.reward.total for each in stepped])
        views = [each.view for each in stepped]
        if ended.any():
            info |= self._final(stepped, ended)
            views = self._begin(ended)
        info["action_mask"] = np.concatenate([view.legal for view in views])
        observations = np.concatenate([view.observations for view in views])
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=bool), info

    def observations(self) -> Observations:
        """Return what is seen now, [E, F]."""
        return np.concatenate([view.observations for view in self._views()])

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are legal now, [E, A]."""
        return np.concatenate([view.legal for view in self._views()])

    def state_dict(self) -> dict[str, object]:
        """Return everything that is needed to continue at this very step, in any number of processes."""
        seeds = {"run_seed": self.host_seeds.run_seed, "drawn": self.host_seeds.drawn}
        return {"groups": self._ask([partial(EpisodeGroup.state_dict)] * len(self._groups)), "host_seeds": seeds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same configuration."""
        seeds = state["host_seeds"]
        self.host_seeds = HostSeeds(seeds["run_seed"], self.host_seeds.purpose, count=self.host_seeds.count)
        self.host_seeds.drawn = seeds["drawn"]
        self._ask([partial(EpisodeGroup.load_state_dict, state=each) for each in state["groups"]])
        self._controls.clear()
        for known in self._ask([partial(EpisodeGroup.controls)] * len(self._groups)):
            self._controls = {**known, **self._controls}

    def close_extras(self, **kwargs: Any) -> None:
        """End the other processes."""
        del kwargs
        for process in self._processes:
            process.close()

    def _ask(self, calls: Sequence[Callable[[EpisodeGroup], Answer]]) -> list[Answer]:
        """Ask every group, then wait for all: those of other processes work while those of this one do."""
        try:
            return [wait() for wait in [group.ask(call) for group, call in zip(self._groups, calls, strict=True)]]
        except BaseException:
            # an answer that nobody waited for would be taken for that to the next question
            self.close_extras()
            raise

    def _views(self) -> list[View]:
        return self._ask([partial(EpisodeGroup.view)] * len(self._groups))

    def _begin(self, begins: NDArray[np.bool_]) -> list[View]:
        """Begin an episode in every environment where `begins` [E] says so; return the views of all groups."""
        calls = []
        for part in self._parts:
            rows = np.flatnonzero(begins[part]).tolist()
            seeds = [self.host_seeds.draw() for _ in rows]
            known = {seed: self._controls[seed] for seed in seeds if seed in self._controls}
            calls.append(partial(EpisodeGroup.begin, rows=rows, host_seeds=seeds, known=known))
        begun = self._ask(calls)
        for each in begun:
            self._controls = {**each.controls, **self._controls}
        return [each.view for each in begun]

    def _final(self, stepped: Sequence[Stepped], ended: NDArray[np.bool_]) -> dict[str, Any]:
        """Return what vector environments of Gymnasium tell of episodes that ended in this step."""
        final = np.full(self.num_envs, None, dtype=object)
        observations = np.concatenate([each.view.observations for each in stepped])
        for row in np.flatnonzero(ended):
            final[row] = observations[row]
        results = {name: np.concatenate([each.results[name] for each in stepped]) for name in stepped[0].results}
        masks = {f"_{key}": ended.copy() for key in ("final_obs", *results)}
        return {"final_obs": final, **results, **masks}


class GrowthEnv(gymnasium.Env[Observations, np.int64]):
    """One host, a `GrowingNetwork`; the same rules as `GrowthVectorEnv`.

    Args:
        task: what is grown on what.
        config: how a host is trained and grown; None: as the task says.
        host_seeds: which hosts are met; None: the training pool of run seed 0.
        name: environment id in events.
        on_event: gets every event; None: nobody listens.

    Example:
        >>> env = GrowthEnv(config=EpisodeConfig(steps=2, host_seeds=1))
        >>> observation, info = env.reset(seed=0)
        >>> int(info["action_mask"].sum())  # wait, or one of five kinds in one of three slots
        16
    """

    def __init__(
        self,
        *,
        task: Task = DIGITS,
        config: EpisodeConfig | None = None,
        host_seeds: HostSeeds | None = None,
        name: str = "env",
        on_event: Listener | None = None,
    ) -> None:
        self.config = config or task.episode
        self.host_seeds = host_seeds or HostSeeds(0, Purpose.TRAINING, count=self.config.host_seeds)
        make_hosts = looped_hosts(task, self.config)
        self.episodes = Episodes(task, self.config, make_hosts=make_hosts, names=[name], on_event=on_event)
        observations, actions = _spaces(self.episodes)
        self.observation_space, self.action_space = observations, actions

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: starts the order of hosts again from that seed; None goes on in it.
            options: none are known.
        """
        super().reset(seed=seed, options=options)
        if seed is not None:
            self.host_seeds = HostSeeds(seed, self.host_seeds.purpose, count=self.host_seeds.count)
        self.episodes.begin([0], [self.host_seeds.draw()])
        return self.episodes.observations()[0], {"action_mask": self.action_masks()}

    def step(self, action: np.int64) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Move on by one action; one that is not legal counts as waiting.

        Returns:
            observation [F], reward in nats, terminated, truncated (never), and `info` with `action_mask` [A] and the
            terms of the reward.
        """
        outcome = self.episodes.step(np.array([action]))
        info: dict[str, Any] = {name: float(term[0]) for name, term in _terms(outcome).items()}
        info["action_mask"] = self.action_masks()
        reward, ended = float(outcome.reward.total[0]), bool(outcome.ended[0])
        return self.episodes.observations()[0], reward, ended, False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are legal now, [A]."""
        legal: NDArray[np.bool_] = self.episodes.legal()[0]
        return legal


def _split(count: int, parts: int) -> list[range]:
    """Cut 0 .. count - 1 into ranges whose lengths differ by at most one."""
    ends = [count * part // parts for part in range(parts + 1)]
    return [range(begin, end) for begin, end in itertools.pairwise(ends)]


def _spaces(episodes: Episodes) -> tuple[gymnasium.Space[Any], gymnasium.spaces.Discrete]:
    fields = episodes.fields
    return gymnasium.spaces.Box(fields.low, fields.high), gymnasium.spaces.Discrete(len(episodes.actions))


def _terms(outcome: Outcome) -> dict[str, NDArray[np.float64]]:
    reward = outcome.reward
    return {
        "gain": reward.gain,
        "control_gain": reward.control_gain,
        "rent": reward.rent,
        "graft_cost": reward.graft_cost,
    }
