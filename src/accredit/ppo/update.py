"""One PPO update: epochs of the clipped loss over a rollout, with a bound on KL and a check of every loss.

Source: Schulman et al. 2017, Proximal Policy Optimization Algorithms, equations 7 and 9; the loss itself is TorchRL's
`ClipPPOLoss`.  N decisions of a rollout = T steps of E environments, F fields, A actions, H numbers of memory,
C = F + H.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor, nn, optim
from torchrl.objectives import ClipPPOLoss

from accredit.errors import InvalidArgument, TrainingFailed
from accredit.ppo.config import PPOConfig
from accredit.ppo.policy import ActorCritic


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Which decisions of a rollout follow one another: what a memory learns from."""

    begins: Tensor
    """Where an observation is the first of its episode, [T, E] bool."""
    memory: Tensor
    """Before the first step, [E, H]."""


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
    """[N], in the unit of the rewards."""
    sequences: Sequences | None = None
    """N = T E decisions, step after step; None: each stands for itself, and a policy with a memory cannot learn."""

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """Means over the minibatches of the last epoch."""

    policy_loss: float
    value_loss: float
    """At the scale that the critic learns at."""
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

    A policy without a memory learns from single decisions in random order, one with a memory from whole sequences.
    Value statistics, where the policy keeps them, take the targets in before the first epoch: the head is rescaled in
    the same call, so that the values it gave stay what they were; but for the first update, before which it has
    learned nothing that is worth keeping.

    Args:
        policy: actor and critic.
        optimizer: of both.
        decisions: the rollout.
        config: the settings.
        progress: share of the run that is over, in [0, 1); sets learning rate and entropy weight.
        generator: order of the minibatches.

    Raises:
        InvalidArgument: a policy with a memory, and decisions without sequences.
        TrainingFailed: the loss, any of its terms, or the gradient of a minibatch is not finite; policy, value
            statistics and optimizer are as they were before the update.
    """
    if policy.memory is not None and decisions.sequences is None:
        raise InvalidArgument(
            "`decisions` has no sequences, but the policy has a memory and must know which decisions follow one "
            "another; collect them in a Rollout that was given the `memory` before its first step."
        )
    before = copy.deepcopy((policy.state_dict(), optimizer.state_dict()))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * (1.0 - progress)
    try:
        return _run_epochs(policy, optimizer, decisions, config, config.entropy_weight(progress), generator)
    except TrainingFailed:
        policy.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        raise


def _run_epochs(
    policy: ActorCritic,
    optimizer: optim.Optimizer,
    decisions: Decisions,
    config: PPOConfig,
    entropy_weight: float,
    generator: torch.Generator,
) -> UpdateReport:
    """Pass over the rollout until the epochs or the bound on KL are used up."""
    loss_module = ClipPPOLoss(
        policy.actor,
        policy.critic,
        clip_epsilon=config.clip,
        entropy_coeff=entropy_weight,
        critic_coeff=1.0,  # weighted below: with a weight of 0 the loss would leave the critic out of its answer
        loss_critic_type="l2",
        normalize_advantage=True,
    )
    batch = _batch(policy, optimizer, decisions)
    for epoch in range(1, config.epochs + 1):
        sums, count = torch.zeros(6), 0
        for piece in _minibatches(policy, batch, decisions.sequences, config.minibatch_size, generator):
            sums += _minibatch_step(policy, optimizer, loss_module(piece), config)
            count += 1
        report = _report((sums / count).tolist(), epochs=epoch)
        if report.approximate_kl > config.kl_stop:
            break
    return report


def _batch(policy: ActorCritic, optimizer: optim.Optimizer, decisions: Decisions) -> TensorDict:
    """Return the rollout as TorchRL's loss wants it, value targets at the scale that the critic learns at."""
    targets, normalizer = decisions.value_targets.unsqueeze(-1), policy.value_normalizer
    if normalizer is not None:
        if int(normalizer.statistics.count) == 0:
            # Keeping what a head says that has learned nothing would put it at -100 where targets are 100 +- 1.
            normalizer.statistics.update(targets)
        else:
            normalizer.update(targets, head=policy.value_head, optimizer=optimizer)
        targets = normalizer.normalize(targets)
    return TensorDict(
        {
            "context": decisions.observations,
            "mask": decisions.masks,
            "action": decisions.actions,
            "action_log_prob": decisions.log_probabilities,
            "advantage": decisions.advantages.unsqueeze(-1),
            "value_target": targets,
        },
        batch_size=[len(decisions)],
    )


def _minibatches(
    policy: ActorCritic, batch: TensorDict, sequences: Sequences | None, size: int, generator: torch.Generator
) -> Iterator[TensorDict]:
    """Yield the rollout in random pieces of about `size` decisions: single ones, or whole sequences for a memory."""
    if policy.memory is None or sequences is None:
        for rows in torch.split(torch.randperm(len(batch), generator=generator), size):
            yield batch[rows]
        return
    steps, environments = sequences.begins.shape
    for chosen in torch.split(torch.randperm(environments, generator=generator), max(1, size // steps)):
        rows = (torch.arange(steps).unsqueeze(1) * environments + chosen).flatten()
        piece = batch[rows]
        seen = piece["context"].unflatten(0, (steps, len(chosen)))
        contexts = policy.unroll(seen, sequences.begins[:, chosen], sequences.memory[chosen])
        yield piece.set("context", contexts.flatten(0, 1))


def _report(means: list[float], *, epochs: int) -> UpdateReport:
    policy_loss, value_loss, entropy, approximate_kl, clip_fraction, gradient_norm = means
    return UpdateReport(
        policy_loss=policy_loss,
        value_loss=value_loss,
        entropy=entropy,
        approximate_kl=approximate_kl,
        clip_fraction=clip_fraction,
        gradient_norm=gradient_norm,
        epochs=epochs,
    )


def _minibatch_step(policy: nn.Module, optimizer: optim.Optimizer, losses: TensorDict, config: PPOConfig) -> Tensor:
    """Take one step; return policy loss, value loss, entropy, KL, clip fraction and gradient norm."""
    total = losses["loss_objective"] + config.value_weight * losses["loss_critic"] + losses["loss_entropy"]
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
            losses["loss_critic"].detach(),
            losses["entropy"].detach(),
            losses["kl_approx"].detach(),
            losses["clip_fraction"].detach(),
            norm.detach(),
        ]
    )
