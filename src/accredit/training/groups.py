"""Environments by groups: what one stack of hosts is asked to do, and what it answers.

Hosts of one group train as one batched network.  How environments are split into groups decides how numbers round;
which process a group lives in decides nothing.  e environments of a group, F fields, A actions, T steps an episode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from accredit.telemetry.event import Event
from accredit.training.config import EpisodeConfig
from accredit.training.episodes import Episodes, Outcome
from accredit.training.host_makers import stacked_hosts
from accredit.training.task import Task

Answer = TypeVar("Answer")
Controls = Mapping[int, Sequence[float]]
"""Host seed -> log-losses of the ungrown host after 0 .. T steps, nats."""


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """What a group is made from, in whatever process."""

    task: Task
    config: EpisodeConfig
    names: tuple[str, ...]
    """Environment ids."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What a policy may see."""

    observations: NDArray[np.float32]
    """[e, F]."""
    legal: NDArray[np.bool_]
    """[e, A]."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What the beginning of episodes brought."""

    view: View
    controls: Controls
    """Those that had to be trained."""


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """What a step brought."""

    outcome: Outcome
    view: View
    """Before a next episode begins."""
    results: Mapping[str, NDArray[Any]]
    """Of all hosts as they stand, [e] each: what is told of those whose episode ended."""


class EpisodeGroup:
    """One stack of hosts with its episodes.

    Args:
        settings: what it is made from.
        on_event: gets every event; None: nobody listens.
    """

    def __init__(self, settings: GroupSettings, *, on_event: Callable[[Event], None] | None) -> None:
        self.episodes = Episodes(
            settings.task,
            settings.config,
            make_hosts=stacked_hosts(settings.task, settings.config),
            names=settings.names,
            on_event=on_event,
        )

    def begin(self, rows: Sequence[int], host_seeds: Sequence[int], known: Controls) -> Begun:
        """Begin episodes.

        Args:
            rows: of this group.
            host_seeds: one a row.
            known: controls that need not be trained again.
        """
        if not rows:
            return Begun(view=self.view(), controls={})
        self.episodes.controls.remember(known)
        missing = set(host_seeds) - self.episodes.controls.known.keys()
        self.episodes.begin(rows, host_seeds)
        return Begun(view=self.view(), controls={seed: self.controls()[seed] for seed in host_seeds if seed in missing})

    def step(self, actions: NDArray[np.int64]) -> Stepped:
        """Move every environment on by one action, [e]."""
        outcome = self.episodes.step(actions)
        return Stepped(outcome=outcome, view=self.view(), results=self._results())

    def view(self) -> View:
        """Return what a policy may see now."""
        return View(observations=self.episodes.observations(), legal=self.episodes.legal())

    def controls(self) -> Controls:
        """Return all controls that were trained or told."""
        return self.episodes.controls.known

    def state_dict(self) -> dict[str, object]:
        """Return everything that is needed to continue at this very step."""
        return self.episodes.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same layout."""
        self.episodes.load_state_dict(state)

    def _results(self) -> dict[str, NDArray[Any]]:
        episodes, cap = self.episodes, self.episodes.config.reward.loss_cap
        return {
            "final_log_loss": episodes.loss.copy(),
            "final_accuracy": episodes.accuracy.copy(),
            "final_gain_over_control": np.minimum(episodes.control_loss(), cap) - np.minimum(episodes.loss, cap),
            "final_parameters": episodes.hosts.graft_parameter_counts().sum(1),
        }


class Group(Protocol):
    """A group, wherever it lives."""

    def ask(self, call: Callable[[EpisodeGroup], Answer]) -> Callable[[], Answer]:
        """Have something done to the group; groups that were asked work side by side until they must answer.

        Args:
            call: `functools.partial` of a method of `EpisodeGroup`.

        Returns:
            Waits for the answer and returns it; groups must be waited for in the order in which they were asked.
        """
        ...


class GroupHere:
    """A group in this process.

    Args:
        settings: what it is made from.
        on_event: gets every event; None: nobody listens.
    """

    def __init__(self, settings: GroupSettings, *, on_event: Callable[[Event], None] | None) -> None:
        self.group = EpisodeGroup(settings, on_event=on_event)

    def ask(self, call: Callable[[EpisodeGroup], Answer]) -> Callable[[], Answer]:
        """Do it when the answer is waited for, so that other processes have begun before."""
        return partial(call, self.group)
