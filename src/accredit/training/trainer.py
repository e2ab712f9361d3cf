"""Everything that a training run carries from one update to the next, and the update itself.

T steps, E environments, F fields, A actions.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim

from accredit.errors import PolicyCollapsed, TrainingFailed
from accredit.normalize.observation import RunningMeanStd
from accredit.normalize.reward import RewardNormalizer
from accredit.normalize.status import NormalizerStatus, status
from accredit.ppo.policy import ActorCritic, entropy, sample
from accredit.ppo.rollout import Rollout
from accredit.ppo.update import Decisions, UpdateReport, update_policy
from accredit.telemetry.event import Event, PolicyRolledBack, UpdateCompleted
from accredit.training.baselines import RandomPolicy
from accredit.training.collection import Collected, mean
from accredit.training.config import TrainConfig
from accredit.training.environment import GrowthVectorEnv
from accredit.training.host_seeds import HostSeeds, Purpose, derived_seed
from accredit.training.learned import LearnedPolicy
from accredit.training.task import Task

MEASURED_IN_UPDATE = tuple(field.name for field in dataclasses.fields(UpdateReport))


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
            groups=config.groups,
            processes=config.processes,
        )
        features = len(self.environments.fields.fields)
        weights = torch.Generator().manual_seed(derived_seed(config.seed, 0))
        self.policy = ActorCritic(
            features,
            len(self.environments.actions),
            hidden=config.ppo.hidden,
            generator=weights,
            memory=config.ppo.memory,
            normalize_values=config.ppo.normalize_values,
        )
        self.optimizer = optim.Adam(self.policy.parameters(), lr=config.ppo.learning_rate, eps=1e-5, foreach=False)
        self.observation_normalizer = RunningMeanStd((features,))
        self.reward_normalizer = RewardNormalizer(config.environments, gamma=config.ppo.gamma)
        self.actions = torch.Generator().manual_seed(derived_seed(config.seed, 1))
        self.order = torch.Generator().manual_seed(derived_seed(config.seed, 2))
        self.update = 0
        self.decisions = 0
        self.rollbacks = 0
        self._observations = np.zeros((config.environments, features), dtype=np.float32)
        self._legal = np.zeros((config.environments, len(self.environments.actions)), dtype=bool)
        self._begins = torch.ones(config.environments, dtype=torch.bool)
        self._memory = self.policy.empty_memory(config.environments)

    @property
    def learned(self) -> LearnedPolicy:
        """The policy as it stands, for evaluation."""
        return LearnedPolicy(self.policy, self._see, time=self.environments.fields.index("time"))

    def warm_up(self) -> None:
        """Play one random episode, so that the observation statistics are worth using before the first decision."""
        policy = RandomPolicy(np.random.default_rng(derived_seed(self.config.seed, 3)))
        self._observations, info = self.environments.reset()
        seen = [self._observations]
        for _ in range(self.config.episode.steps):
            choices = policy.act(self._observations, info["action_mask"])
            self._observations, _, ended, _, info = self.environments.step(choices)
            seen.append(self._observations)
        self.observation_normalizer.update(torch.from_numpy(np.concatenate(seen)))
        self._legal, self._begins = info["action_mask"], torch.from_numpy(ended)

    def learn(self) -> UpdateCompleted:
        """Collect one rollout, improve the policy on it, move the statistics; return and send what happened.

        Raises:
            TrainingFailed: more updates in a row than `ppo.rollbacks` were taken back because a loss was not finite.
            PolicyCollapsed: the policy does one and the same thing in every situation, and will go on doing it.
        """
        ppo = self.config.ppo
        collected = self._collect()
        decisions = collected.rollout.decisions(collected.last_values, gamma=ppo.gamma, gae_lambda=ppo.gae_lambda)
        report = self._improve(decisions)
        # The statistics were frozen since the rollout began: with others the first ratio of PPO would not be 1.
        statistics = self.observation_normalizer
        mean_before, std_before = statistics.mean.clone(), statistics.std.clone()
        statistics.update(torch.cat(collected.raw_observations))
        seen = status(statistics, mean_before=mean_before, std_before=std_before)
        self.update += 1
        self.decisions += len(decisions)
        event = self._report(collected, decisions, report, seen)
        self.on_event(event)
        self._fail_if_collapsed(collected)
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
            "rollbacks": self.rollbacks,
            "begins": self._begins.clone(),
            "memory": self._memory.clone(),
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
        self.update, self.decisions, self.rollbacks = state["update"], state["decisions"], state["rollbacks"]
        self._begins, self._memory = state["begins"].clone(), state["memory"].clone()
        self._observations = self.environments.observations()
        self._legal = self.environments.action_masks()

    def close(self) -> None:
        """End the other processes of the environments."""
        self.environments.close()

    def _see(self, raw: Tensor) -> Tensor:
        return self.observation_normalizer.normalize(raw) if self.config.ppo.normalize_observations else raw

    def _collect(self) -> Collected:
        """Play T steps in all environments under frozen observation statistics."""
        self._memory = torch.where(self._begins.unsqueeze(1), 0.0, self._memory)
        rollout = Rollout(memory=self._memory if self.config.ppo.memory.is_kept else None)
        collected = Collected(rollout=rollout, last_values=torch.empty(0))
        attribution_before_s = self.environments.attribution_s
        for _ in range(self.config.episode.steps):
            raw, masks = torch.from_numpy(self._observations), torch.from_numpy(self._legal)
            seen = self._see(raw)
            contexts, memory = self.policy.look(seen, self._memory)
            log_probabilities = self.policy.log_probabilities(contexts, masks)
            actions = sample(log_probabilities, self.actions)
            self._observations, rewards, ended, _, info = self.environments.step(actions.numpy())
            self._legal = info["action_mask"]
            over = torch.from_numpy(ended)
            rollout.observations.append(seen)
            rollout.masks.append(masks)
            rollout.actions.append(actions)
            rollout.log_probabilities.append(log_probabilities.gather(1, actions.unsqueeze(1)).squeeze(1))
            rollout.entropies.append(entropy(log_probabilities))
            rollout.values.append(self.policy.values(contexts))
            rollout.begins.append(self._begins)
            rollout.rewards.append(self._scaled(torch.from_numpy(rewards), over))
            rollout.terminated.append(over)
            collected.raw_rewards.append(rewards)
            collected.raw_observations.append(raw)
            # The next observation of an environment that ended belongs to another episode.
            self._begins, self._memory = over, torch.where(over.unsqueeze(1), 0.0, memory)
            if ended.any():
                for name in ("final_log_loss", "final_accuracy", "final_gain_over_control", "final_parameters"):
                    collected.results.setdefault(name, []).extend(info[name][ended].tolist())
        contexts, _ = self.policy.look(self._see(torch.from_numpy(self._observations)), self._memory)
        collected.last_values = self.policy.values(contexts)
        collected.attribution_s = self.environments.attribution_s - attribution_before_s
        return collected

    def _scaled(self, rewards: Tensor, over: Tensor) -> Tensor:
        """Return rewards as the policy learns from them; the statistics are kept whether they are used or not."""
        scaled = self.reward_normalizer.update_and_normalize(rewards, over)
        return (scaled if self.config.ppo.normalize_rewards else rewards).float()

    def _improve(self, decisions: Decisions) -> UpdateReport | None:
        """Update the policy; None where the update was taken back, and a failure after too many of these in a row."""
        progress = self.update / self.config.updates
        try:
            report = update_policy(
                self.policy, self.optimizer, decisions, self.config.ppo, progress=progress, generator=self.order
            )
        except TrainingFailed as failure:
            self.rollbacks += 1
            self.on_event(PolicyRolledBack(update=self.update + 1, in_a_row=self.rollbacks, reason=str(failure)))
            if self.rollbacks > self.config.ppo.rollbacks:
                raise TrainingFailed(
                    f"`train` took back {self.rollbacks} updates of the policy in a row because a loss or gradient was "
                    f"not finite, wanted at most {self.config.ppo.rollbacks} (`ppo.rollbacks`); policy and optimizer "
                    "are as before the first of them: begin a run with a lower ppo.learning_rate, or look at the "
                    "rewards in its events."
                ) from failure
            return None
        self.rollbacks = 0
        return report

    def _fail_if_collapsed(self, collected: Collected) -> None:
        """Stop a run whose policy does one thing, whatever it sees: PPO has no way back from there."""
        left, action = collected.decision_entropy(), collected.only_action()
        if left is None or action is None or left >= self.config.ppo.collapse_entropy:
            return
        label = self.environments.actions.label(action)
        raise PolicyCollapsed(
            f"`train` has a policy whose {self.decisions // self.update} decisions of update {self.update} were all "
            f"`{label}` with a mean entropy of {left:.2g} nats, wanted at least {self.config.ppo.collapse_entropy:g} "
            "(`ppo.collapse_entropy`), since it explores no more; begin a run with a higher ppo.entropy_start and "
            "ppo.entropy_end or a lower ppo.learning_rate, or set ppo.collapse_entropy=0 if one action is right."
        )

    def _report(
        self, collected: Collected, decisions: Decisions, report: UpdateReport | None, seen: NormalizerStatus
    ) -> UpdateCompleted:
        returns, episodes = collected.returns()
        counts = Counter(str(self.environments.actions.actions[int(choice)].operation) for choice in decisions.actions)
        values = self.policy.value_normalizer
        return UpdateCompleted(
            update=self.update,
            environment_steps=self.decisions,
            episode_return=mean(episodes),
            gain_over_control=collected.mean_result("final_gain_over_control"),
            final_log_loss=collected.mean_result("final_log_loss"),
            final_accuracy=collected.mean_result("final_accuracy"),
            mean_parameters=collected.mean_result("final_parameters"),
            return_std=float(returns.std(ddof=1)),
            explained_variance=collected.explained_variance(decisions.value_targets),
            learning_rate=self.config.ppo.learning_rate * (1 - (self.update - 1) / self.config.updates),
            action_frequencies={name: count / len(decisions) for name, count in sorted(counts.items())},
            observation_count=seen.count,
            observation_drift=seen.drift,
            reward_scale=float(self.reward_normalizer.scale) if self.config.ppo.normalize_rewards else 1.0,
            observation_effective_count=seen.effective_count,
            observation_dropped=seen.dropped,
            decision_entropy=collected.decision_entropy(),
            value_scale=None if values is None else float(values.scale),
            attribution_share=collected.attribution_share(self.config.processes),
            **(dict.fromkeys(MEASURED_IN_UPDATE) | {"epochs": 0} if report is None else vars(report)),
        )
