"""How the policy is built and how it learns: every setting, its unit, its range."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from accredit.errors import InvalidArgument


class Memory(enum.StrEnum):
    """What a policy carries from one step of an episode to the next."""

    NONE = "none"
    """Nothing: it decides by what it sees."""
    GRU = "gru"
    """A gated recurrent unit beside the observation, empty at the beginning of every episode."""

    @property
    def is_kept(self) -> bool:
        """Whether there is anything to carry."""
        return self != Memory.NONE


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
    """Width of the two hidden layers of actor and critic, and of the memory, >= 1."""
    memory: Memory = Memory.NONE
    """`none`, or `gru`; with a memory a minibatch is made of whole episodes' sequences, at least one."""
    normalize_observations: bool = True
    """Whether the policy sees observations at unit scale; the statistics are kept either way."""
    normalize_rewards: bool = True
    """Whether rewards are divided by the standard deviation of the return; the statistics are kept either way."""
    normalize_values: bool = False
    """Whether the critic learns at unit scale, its head rescaled whenever that scale moves (PopArt)."""
    rollbacks: int = 2
    """Updates in a row that may be taken back because their loss is not finite before the run fails, >= 0."""
    collapse_entropy: float = 0.01
    """The run fails where all decisions of a rollout are one action and their mean entropy is below this, nats, >= 0;
    0 never."""

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
        if min(self.rollbacks, self.collapse_entropy) < 0:
            raise InvalidArgument(
                f"`ppo` got rollbacks {self.rollbacks} and collapse_entropy {self.collapse_entropy}, wanted numbers of "
                "at least 0; correct the configuration."
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
