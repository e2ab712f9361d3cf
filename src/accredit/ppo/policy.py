"""Actor and critic: two MLPs over one observation, and a single categorical over the legal actions.

N decisions, F fields, A actions.
"""

from __future__ import annotations

import itertools
import math

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.modules import MaskedCategorical, ProbabilisticActor, ValueOperator


class ActorCritic(nn.Module):
    """Two tanh MLPs with two hidden layers each.

    Orthogonal weights with gain sqrt 2, 0.01 before the logits and 1 before the value, biases 0, so that the first
    policy is close to uniform over what is legal (Andrychowicz et al. 2021, What Matters in On-Policy RL).

    Args:
        features: F.
        num_actions: A.
        hidden: width of the hidden layers.
        generator: source of the initial weights.
    """

    def __init__(self, features: int, num_actions: int, *, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.logits = _mlp((features, hidden, hidden, num_actions), last_gain=0.01, generator=generator)
        self.value = _mlp((features, hidden, hidden, 1), last_gain=1.0, generator=generator)

    @property
    def actor(self) -> ProbabilisticActor:
        """The actor as TorchRL's loss wants it; shares the parameters."""
        network = TensorDictModule(self.logits, in_keys=["observation"], out_keys=["logits"])
        return ProbabilisticActor(
            network, in_keys=["logits", "mask"], distribution_class=MaskedCategorical, return_log_prob=True
        )

    @property
    def critic(self) -> ValueOperator:
        """The critic as TorchRL's loss wants it; shares the parameters."""
        return ValueOperator(self.value, in_keys=["observation"])

    @torch.no_grad()
    def log_probabilities(self, observations: Tensor, masks: Tensor) -> Tensor:
        """Return log-probabilities of all actions, -inf where not legal, [N, A].

        Args:
            observations: normalized, [N, F].
            masks: legal actions, [N, A] bool.
        """
        logits: Tensor = self.logits(observations)
        return logits.masked_fill(~masks, -torch.inf).log_softmax(-1)

    @torch.no_grad()
    def values(self, observations: Tensor) -> Tensor:
        """Return values, [N]."""
        values: Tensor = self.value(observations)
        return values.squeeze(-1)


def sample(log_probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one action per row by the Gumbel-max trick, [N]; an action of probability 0 is never drawn.

    Args:
        log_probabilities: [N, A].
        generator: source of the draw; the global random state is not touched.
    """
    uniform = torch.rand(log_probabilities.shape, generator=generator, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=1e-300, max=1 - 1e-16)))
    return (log_probabilities + gumbel).argmax(-1)


def _mlp(sizes: tuple[int, ...], *, last_gain: float, generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for at, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(inputs, outputs)
        last = at == len(sizes) - 2
        nn.init.orthogonal_(linear.weight, gain=last_gain if last else math.sqrt(2.0), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)
