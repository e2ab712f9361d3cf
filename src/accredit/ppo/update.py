"""One PPO update: epochs of the clipped loss over a rollout, with a bound on KL and a check of every loss.

Source: Schulman et al. 2017, Proximal Policy Optimization Algorithms, equations 7 and 9; the loss itself is TorchRL's
`ClipPPOLoss`.  N decisions of a rollout, F fields, A actions.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor, nn, optim
from torchrl.objectives import ClipPPOLoss

from accredit.errors import InvalidArgument, TrainingFailed
from accredit.ppo.policy import ActorCritic


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """How the policy learns."""

    learning_rate: float = 2e-3
    """Of Adam at the first update, > 0; falls linearly to 0."""
    epochs: int = 6
    """Passes over a rollout, >= 1."""
    minibatch_size: int = 128
    """Decisions a minibatch, >= 1."""
    clip: float = 0.2
    """Bound on the ratio of probabilities to either side of 1, > 0."""
    kl_stop: float = 0.03
    """An update ends after the epoch in which the mean approximate KL passes this, nats, > 0."""
    entropy_start: float = 0.01
    """Weight of the entropy bonus at the first update, >= 0."""
    entropy_end: float = 0.001
    """The same at the last update, >= 0."""
    value_weight: float = 0.5
    """Weight of the value loss, >= 0."""
    gradient_norm: float = 0.5
    """Gradients are scaled down to this norm, > 0."""
    gamma: float = 1.0
    """Discount in [0, 1]; 1 since episodes are short and end for good."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation in [0, 1]."""
    hidden: int = 64
    """Width of the two hidden layers of actor and critic, >= 1."""

    def __post_init__(self) -> None:
        positive = {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "minibatch_size": self.minibatch_size,
            "clip": self.clip,
            "kl_stop": self.kl_stop,
            "gradient_norm": self.gradient_norm,
            "hidden": self.hidden,
        }
        for name, value in positive.items():
            if not value > 0:
                raise InvalidArgument(f"`ppo.{name}` is {value}, wanted a positive number; correct the configuration.")
        if not (0 <= self.gamma <= 1 and 0 <= self.gae_lambda <= 1):
            raise InvalidArgument(
                f"`ppo` got gamma {self.gamma} and gae_lambda {self.gae_lambda}, wanted both in [0, 1]; "
                "correct the configuration."
            )
        if min(self.entropy_start, self.entropy_end, self.value_weight) < 0:
            raise InvalidArgument(
                f"`ppo` got entropy_start {self.entropy_start}, entropy_end {self.entropy_end} and value_weight "
                f"{self.value_weight}, wanted weights of at least 0; correct the configuration."
            )

    def entropy_weight(self, progress: float) -> float:
        """Return the weight of the entropy bonus; geometric where both ends are positive, else linear.

        Args:
            progress: share of the run that is over, in [0, 1].
        """
        if self.entropy_start > 0 and self.entropy_end > 0:
            return float(self.entropy_start * (self.entropy_end / self.entropy_start) ** progress)
        return self.entropy_start + (self.entropy_end - self.entropy_start) * progress


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """A rollout, flat: what PPO learns from."""

    observations: Tensor
    """[N, F], normalized as the policy saw them."""
    masks: Tensor
    """[N, A] bool."""
    actions: Tensor
    """[N] int64."""
    log_probabilities: Tensor
    """[N], of the actions when they were drawn."""
    advantages: Tensor
    """[N]."""
    value_targets: Tensor
    """[N]."""

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """Means over the minibatches of the last epoch."""

    policy_loss: float
    value_loss: float
    entropy: float
    approximate_kl: float
    clip_fraction: float
    gradient_norm: float
    """Before it was scaled down."""
    epochs: int


def update_policy(
    policy: ActorCritic,
    optimizer: optim.Optimizer,
    decisions: Decisions,
    config: PPOConfig,
    *,
    progress: float,
    generator: torch.Generator,
) -> UpdateReport:
    """Improve `policy` on one rollout.

    Args:
        policy: actor and critic.
        optimizer: of both.
        decisions: the rollout.
        config: the settings.
        progress: share of the run that is over, in [0, 1); sets learning rate and entropy weight.
        generator: order of the minibatches.

    Raises:
        TrainingFailed: the loss, any of its terms, or the gradient of a minibatch is not finite; policy and optimizer
            are as they were before the update.
    """
    loss_module = ClipPPOLoss(
        policy.actor,
        policy.critic,
        clip_epsilon=config.clip,
        entropy_coeff=config.entropy_weight(progress),
        critic_coeff=config.value_weight,
        loss_critic_type="l2",
        normalize_advantage=True,
    )
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * (1.0 - progress)
    batch = TensorDict(
        {
            "observation": decisions.observations,
            "mask": decisions.masks,
            "action": decisions.actions,
            "action_log_prob": decisions.log_probabilities,
            "advantage": decisions.advantages.unsqueeze(-1),
            "value_target": decisions.value_targets.unsqueeze(-1),
        },
        batch_size=[len(decisions)],
    )
    report = UpdateReport(
        policy_loss=0, value_loss=0, entropy=0, approximate_kl=0, clip_fraction=0, gradient_norm=0, epochs=0
    )
    before = copy.deepcopy((policy.state_dict(), optimizer.state_dict()))
    for epoch in range(config.epochs):
        order = torch.randperm(len(decisions), generator=generator)
        sums = torch.zeros(6)
        pieces = torch.split(order, config.minibatch_size)
        try:
            for piece in pieces:
                sums += _minibatch_step(policy, optimizer, loss_module(batch[piece]), config)
        except TrainingFailed:
            policy.load_state_dict(before[0])
            optimizer.load_state_dict(before[1])
            raise
        means = (sums / len(pieces)).tolist()
        report = UpdateReport(
            policy_loss=means[0],
            value_loss=means[1],
            entropy=means[2],
            approximate_kl=means[3],
            clip_fraction=means[4],
            gradient_norm=means[5],
            epochs=epoch + 1,
        )
        if report.approximate_kl > config.kl_stop:
            break
    return report


def _minibatch_step(policy: nn.Module, optimizer: optim.Optimizer, losses: TensorDict, config: PPOConfig) -> Tensor:
    """Take one step; return policy loss, value loss, entropy, KL, clip fraction and gradient norm."""
    total = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = nn.utils.clip_grad_norm_(policy.parameters(), config.gradient_norm)
    if not bool(torch.isfinite(total) & torch.isfinite(norm)):
        terms = {name: float(losses[name].detach()) for name in ("loss_objective", "loss_critic", "loss_entropy")}
        raise TrainingFailed(
            f"`update_policy` got the losses {terms} and a gradient of norm {float(norm)}, wanted finite numbers; "
            "lower the learning rate, or look at the observations and rewards of the last rollout."
        )
    optimizer.step()
    return torch.stack(
        [
            losses["loss_objective"].detach(),
            losses["loss_critic"].detach() / max(config.value_weight, 1e-12),
            losses["entropy"].detach(),
            losses["kl_approx"].detach(),
            losses["clip_fraction"].detach(),
            norm.detach(),
        ]
    )
