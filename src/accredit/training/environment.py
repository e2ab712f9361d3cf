"""The Gymnasium faces of growth: anybody's agent trains on them.

One step: apply an action out of a masked categorical, train the host for a few minibatches, evaluate on the reward
split, credit every live graft.  An episode is the training of one host; its end is terminal, never a truncation,
because the horizon is in the observation.  Masks: `info["action_mask"]` and `action_masks()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from accredit.errors import InvalidArgument
from accredit.growth.hosts import Hosts
from accredit.telemetry.event import Event
from accredit.training.config import EpisodeConfig
from accredit.training.episodes import Episodes, Outcome
from accredit.training.host_seeds import HostSeeds, Purpose
from accredit.training.task import DIGITS, Task

Listener = Callable[[Event], None]
Observations = NDArray[np.float32]


def stacked_hosts(task: Task, config: EpisodeConfig) -> Callable[[int], Hosts]:
    """Return a maker of hosts that train side by side as the task says, as one batched network where it can be."""
    return lambda count: task.make_hosts(count, learning_rate=config.learning_rate)


def looped_hosts(task: Task, config: EpisodeConfig) -> Callable[[int], Hosts]:
    """Return a maker of hosts that are plain growing networks, trained one after the other."""
    return lambda count: task.looped_hosts(count, learning_rate=config.learning_rate)


class GrowthVectorEnv(gymnasium.vector.VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """Many hosts at once, stacked into one batched network; autoreset in the same step.

    Args:
        num_envs: E, hosts side by side.
        task: what is grown on what.
        config: how a host is trained and grown; None: as the task says.
        host_seeds: which hosts are met; None: the training pool of run seed 0.
        name: environments are called `name-000`, `name-001`, ... in events.
        on_event: gets every event; None: nobody listens.

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
    ) -> None:
        self.num_envs = num_envs
        self.config = config or task.episode
        self.host_seeds = host_seeds or HostSeeds(0, Purpose.TRAINING, count=self.config.host_seeds)
        self.episodes = Episodes(
            task,
            self.config,
            make_hosts=stacked_hosts(task, self.config),
            names=[f"{name}-{row:03d}" for row in range(num_envs)],
            on_event=on_event,
        )
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = _spaces(self.episodes)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)

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
        self._begin(list(range(self.num_envs)))
        return self.episodes.observations(), {"action_mask": self.episodes.legal()}

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
        outcome = self.episodes.step(np.asarray(actions))
        info: dict[str, Any] = _terms(outcome)
        if outcome.ended.any():
            info |= self._final(outcome)
            self._begin(np.flatnonzero(outcome.ended).tolist())
        info["action_mask"] = self.episodes.legal()
        never = np.zeros(self.num_envs, dtype=bool)
        return self.episodes.observations(), outcome.reward.total, outcome.ended, never, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are legal now, [E, A]."""
        return self.episodes.legal()

    def state_dict(self) -> dict[str, object]:
        """Return everything that is needed to continue at this very step."""
        seeds = {"run_seed": self.host_seeds.run_seed, "drawn": self.host_seeds.drawn}
        return {"episodes": self.episodes.state_dict(), "host_seeds": seeds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same configuration."""
        seeds = state["host_seeds"]
        self.host_seeds = HostSeeds(seeds["run_seed"], self.host_seeds.purpose, count=self.host_seeds.count)
        self.host_seeds.drawn = seeds["drawn"]
        self.episodes.load_state_dict(state["episodes"])

    def _begin(self, rows: list[int]) -> None:
        self.episodes.begin(rows, [self.host_seeds.draw() for _ in rows])

    def _final(self, outcome: Outcome) -> dict[str, Any]:
        """Return what vector environments of Gymnasium tell of episodes that ended in this step."""
        final = np.full(self.num_envs, None, dtype=object)
        observations = self.episodes.observations()
        for row in np.flatnonzero(outcome.ended):
            final[row] = observations[row]
        episodes, cap = self.episodes, self.config.reward.loss_cap
        results = {
            "final_log_loss": episodes.loss.copy(),
            "final_accuracy": episodes.accuracy.copy(),
            "final_gain_over_control": np.minimum(episodes.control_loss(), cap) - np.minimum(episodes.loss, cap),
            "final_parameters": episodes.hosts.graft_parameter_counts().sum(1),
        }
        masks = {f"_{key}": outcome.ended.copy() for key in ("final_obs", *results)}
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
