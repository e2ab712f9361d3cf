"""Everything that a training run carries from one update to the next, and the update itself.

T steps, E environments, F fields, A actions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, optim

from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.reward import RewardNormalizer
from accredit.normalize.status import NormalizerStatus, status
from accredit.ppo.policy import ActorCritic, sample
from accredit.ppo.rollout import Rollout
from accredit.ppo.update import Decisions, UpdateReport, update_policy
from accredit.telemetry.event import Event, UpdateCompleted
from accredit.training.baselines import RandomPolicy
from accredit.training.config import TrainConfig
from accredit.training.environment import GrowthVectorEnv
from accredit.training.host_seeds import HostSeeds, Purpose, derived_seed
from accredit.training.task import Task

Results = dict[str, list[float]]


class LearnedPolicy:
    """The policy as an evaluation meets it: frozen statistics, the likeliest action.

    Args:
        network: actor and critic.
        normalizer: of observations.
    """

    def __init__(self, network: ActorCritic, normalizer: RunningMeanStd) -> None:
        self.network, self.normalizer = network, normalizer

    def act(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the likeliest legal action per environment, [E]."""
        seen = self.normalizer.normalize(torch.from_numpy(observations))
        choices: NDArray[np.int64] = self.network.log_probabilities(seen, torch.from_numpy(legal)).argmax(-1).numpy()
        return choices


@dataclass
class Collected:
    """A rollout with what is told about it."""

    rollout: Rollout
    last_values: Tensor
    """[E]."""
    raw_rewards: list[NDArray[np.float64]] = field(default_factory=list)
    """As the environment paid them, [E] each."""
    raw_observations: list[Tensor] = field(default_factory=list)
    """As the environment gave them, [E, F] each."""
    results: Results = field(default_factory=dict)
    """Of the episodes that ended."""


class Trainer:
    """One run of PPO on growth.

    Args:
        task: what is grown on what.
        config: everything else.
        on_event: gets every event.
    """

    def __init__(self, task: Task, config: TrainConfig, *, on_event: Callable[[Event], None]) -> None:
        self.config, self.on_event = config, on_event
        self.environments = GrowthVectorEnv(
            config.environments,
            task=task,
            config=config.episode,
            host_seeds=HostSeeds(config.seed, Purpose.TRAINING, count=config.episode.host_seeds),
            name="train",
            on_event=on_event,
        )
        features = len(self.environments.episodes.fields.fields)
        weights = torch.Generator().manual_seed(derived_seed(config.seed, 0))
        self.policy = ActorCritic(
            features, len(self.environments.episodes.actions), hidden=config.ppo.hidden, generator=weights
        )
        self.optimizer = optim.Adam(self.policy.parameters(), lr=config.ppo.learning_rate, eps=1e-5, foreach=False)
        self.observation_normalizer = RunningMeanStd((features,))
        self.reward_normalizer = RewardNormalizer(config.environments, gamma=config.ppo.gamma)
        self.actions = torch.Generator().manual_seed(derived_seed(config.seed, 1))
        self.order = torch.Generator().manual_seed(derived_seed(config.seed, 2))
        self.update = 0
        self.decisions = 0
        self._observations = np.zeros((config.environments, features), dtype=np.float32)
        self._legal = np.zeros((config.environments, len(self.environments.episodes.actions)), dtype=bool)

    @property
    def learned(self) -> LearnedPolicy:
        """The policy as it stands, for evaluation."""
        return LearnedPolicy(self.policy, self.observation_normalizer)

    def warm_up(self) -> None:
        """Play one random episode, so that the observation statistics are worth using before the first decision."""
        policy = RandomPolicy(np.random.default_rng(derived_seed(self.config.seed, 3)))
        self._observations, info = self.environments.reset()
        seen = [self._observations]
        for _ in range(self.config.episode.steps):
            choices = policy.act(self._observations, info["action_mask"])
            self._observations, *_, info = self.environments.step(choices)
            seen.append(self._observations)
        self.observation_normalizer.update(torch.from_numpy(np.concatenate(seen)))
        self._legal = info["action_mask"]

    def learn(self) -> UpdateCompleted:
        """Collect one rollout, improve the policy on it, move the statistics; return and send what happened."""
        ppo, progress = self.config.ppo, self.update / self.config.updates
        collected = self._collect()
        decisions = collected.rollout.decisions(collected.last_values, gamma=ppo.gamma, gae_lambda=ppo.gae_lambda)
        report = update_policy(self.policy, self.optimizer, decisions, ppo, progress=progress, generator=self.order)
        # The statistics were frozen since the rollout began: with others the first ratio of PPO would not be 1.
        statistics = self.observation_normalizer
        mean_before, std_before = statistics.mean.clone(), statistics.std.clone()
        statistics.update(torch.cat(collected.raw_observations))
        seen = status(statistics, mean_before=mean_before, std_before=std_before)
        self.update += 1
        self.decisions += len(decisions)
        event = self._report(collected, decisions, report, seen)
        self.on_event(event)
        return event

    def state_dict(self) -> dict[str, object]:
        """Return everything that decides how the run goes on."""
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "observation_normalizer": self.observation_normalizer.state_dict(),
            "reward_normalizer": self.reward_normalizer.state_dict(),
            "environments": self.environments.state_dict(),
            "actions": self.actions.get_state(),
            "order": self.order.get_state(),
            "update": self.update,
            "decisions": self.decisions,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same configuration."""
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.observation_normalizer.load_state_dict(state["observation_normalizer"])
        self.reward_normalizer.load_state_dict(state["reward_normalizer"])
        self.environments.load_state_dict(state["environments"])
        self.actions.set_state(state["actions"])
        self.order.set_state(state["order"])
        self.update, self.decisions = state["update"], state["decisions"]
        self._observations = self.environments.episodes.observations()
        self._legal = self.environments.episodes.legal()

    def _collect(self) -> Collected:
        """Play T steps in all environments under frozen observation statistics."""
        collected = Collected(rollout=Rollout(), last_values=torch.empty(0))
        rollout = collected.rollout
        for _ in range(self.config.episode.steps):
            raw, masks = torch.from_numpy(self._observations), torch.from_numpy(self._legal)
            seen = self.observation_normalizer.normalize(raw)
            log_probabilities = self.policy.log_probabilities(seen, masks)
            actions = sample(log_probabilities, self.actions)
            self._observations, rewards, ended, _, info = self.environments.step(actions.numpy())
            self._legal = info["action_mask"]
            over = torch.from_numpy(ended)
            rollout.observations.append(seen)
            rollout.masks.append(masks)
            rollout.actions.append(actions)
            rollout.log_probabilities.append(log_probabilities.gather(1, actions.unsqueeze(1)).squeeze(1))
            rollout.values.append(self.policy.values(seen))
            rollout.rewards.append(self.reward_normalizer.update_and_normalize(torch.from_numpy(rewards), over).float())
            rollout.terminated.append(over)
            collected.raw_rewards.append(rewards)
            collected.raw_observations.append(raw)
            if ended.any():
                for name in ("final_log_loss", "final_accuracy", "final_gain_over_control", "final_parameters"):
                    collected.results.setdefault(name, []).extend(info[name][ended].tolist())
        collected.last_values = self.policy.values(
            self.observation_normalizer.normalize(torch.from_numpy(self._observations))
        )
        return collected

    def _report(
        self, collected: Collected, decisions: Decisions, report: UpdateReport, seen: NormalizerStatus
    ) -> UpdateCompleted:
        rewards, ended = np.stack(collected.raw_rewards), torch.stack(collected.rollout.terminated).numpy()
        returns, episodes = _returns(rewards, ended)
        values = torch.stack(collected.rollout.values).flatten()
        counts = Counter(
            str(self.environments.episodes.actions.actions[int(choice)].operation) for choice in decisions.actions
        )
        results = {name: _mean(numbers) for name, numbers in collected.results.items()}
        return UpdateCompleted(
            update=self.update,
            environment_steps=self.decisions,
            episode_return=_mean(episodes),
            gain_over_control=results.get("final_gain_over_control"),
            final_log_loss=results.get("final_log_loss"),
            final_accuracy=results.get("final_accuracy"),
            mean_parameters=results.get("final_parameters"),
            return_std=float(returns.std(ddof=1)),
            explained_variance=_explained(values, decisions.value_targets),
            entropy=report.entropy,
            approximate_kl=report.approximate_kl,
            clip_fraction=report.clip_fraction,
            policy_loss=report.policy_loss,
            value_loss=report.value_loss,
            gradient_norm=report.gradient_norm,
            epochs=report.epochs,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            action_frequencies={name: count / len(decisions) for name, count in sorted(counts.items())},
            observation_count=seen.count,
            observation_drift=seen.drift,
            reward_scale=float(self.reward_normalizer.scale),
            observation_effective_count=seen.effective_count,
            observation_dropped=seen.dropped,
        )


def _returns(rewards: NDArray[np.float64], ended: NDArray[np.bool_]) -> tuple[NDArray[np.float64], list[float]]:
    """Return what was still to be earned at every step, [T, E], and the returns of episodes that are wholly here."""
    ahead, to_go = np.zeros(rewards.shape[1]), np.zeros_like(rewards)
    for step in reversed(range(len(rewards))):
        ahead = rewards[step] + np.where(ended[step], 0.0, ahead)
        to_go[step] = ahead
    began = np.vstack([np.ones((1, rewards.shape[1]), dtype=bool), ended[:-1]])
    finished = np.flip(np.logical_or.accumulate(np.flip(ended, 0), 0), 0)
    return to_go, to_go[began & finished].tolist()


def _explained(values: Tensor, targets: Tensor) -> float:
    """Return 1 - Var(target - value) / Var(target); 0 where the targets do not vary."""
    variance = targets.var()
    return float(1 - (targets - values).var() / variance) if variance > 0 else 0.0


def _mean(numbers: list[float]) -> float | None:
    return float(np.mean(numbers)) if numbers and np.isfinite(numbers).all() else None
