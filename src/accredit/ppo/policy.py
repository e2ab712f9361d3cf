"""Actor and critic: two MLPs over one observation and a memory, and a single categorical over the legal actions.

N decisions, T steps, E environments, F fields, A actions, H numbers of memory (0 without one), C = F + H.
"""

from __future__ import annotations

import itertools
import math

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.modules import MaskedCategorical, ProbabilisticActor, ValueOperator

from accredit.normalize.popart import ValueNormalizer
from accredit.ppo.config import Memory


class ActorCritic(nn.Module):
    """Two tanh MLPs with two hidden layers each, over what is seen now and what is remembered.

        h_t = GRU(o_t, h_{t-1}), h = 0 before an episode;   context_t = [o_t, h_t];   logits, value = MLPs(context_t)

    Without a memory the context is the observation. Orthogonal weights with gain sqrt 2 (1 in the memory), 0.01 before
    the logits and 1 before the value, biases 0, so that the first policy is close to uniform over what is legal
    (Andrychowicz et al. 2021, What Matters in On-Policy RL). One memory serves both: what an actor must remember is
    what a critic wants to know.

    Args:
        features: F.
        num_actions: A.
        hidden: width of the hidden layers, and H where there is a memory.
        generator: source of the initial weights.
        memory: whether there is one.
        normalize_values: whether the critic's head works at unit scale, its outputs brought back by PopArt.

    Example:
        >>> policy = ActorCritic(3, 2, hidden=4, memory=Memory.GRU, generator=torch.Generator().manual_seed(0))
        >>> context, memory = policy.look(torch.ones(5, 3), policy.empty_memory(5))
        >>> context.shape, memory.shape, policy.values(context).shape
        (torch.Size([5, 7]), torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(
        self,
        features: int,
        num_actions: int,
        *,
        hidden: int,
        generator: torch.Generator,
        memory: Memory = Memory.NONE,
        normalize_values: bool = False,
    ) -> None:
        super().__init__()
        self.memory_size = hidden if memory == Memory.GRU else 0
        context = features + self.memory_size
        self.logits = _mlp((context, hidden, hidden, num_actions), last_gain=0.01, generator=generator)
        self.value = _mlp((context, hidden, hidden, 1), last_gain=1.0, generator=generator)
        self.memory = _gated_unit(features, hidden, generator) if memory == Memory.GRU else None
        self.value_normalizer = ValueNormalizer() if normalize_values else None

    @property
    def actor(self) -> ProbabilisticActor:
        """The actor as TorchRL's loss wants it; shares the parameters."""
        network = TensorDictModule(self.logits, in_keys=["context"], out_keys=["logits"])
        return ProbabilisticActor(
            network, in_keys=["logits", "mask"], distribution_class=MaskedCategorical, return_log_prob=True
        )

    @property
    def critic(self) -> ValueOperator:
        """The critic as TorchRL's loss wants it, at the scale it learns at; shares the parameters."""
        return ValueOperator(self.value, in_keys=["context"])

    @property
    def value_head(self) -> nn.Linear:
        """The last layer of the critic."""
        head = self.value[-1]
        assert isinstance(head, nn.Linear)
        return head

    def empty_memory(self, environments: int) -> Tensor:
        """Return the memory before an episode, [E, H]."""
        return torch.zeros(environments, self.memory_size)

    @torch.no_grad()
    def look(self, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step's observations in; return the contexts [E, C] and the memory after them [E, H].

        Args:
            observations: normalized, [E, F].
            memory: after the step before, 0 where an episode begins, [E, H].
        """
        return self._look(observations, memory)

    def unroll(self, observations: Tensor, begins: Tensor, memory: Tensor) -> Tensor:
        """Return the contexts of whole sequences, [T, E, C], with gradients through time.

        Args:
            observations: normalized, [T, E, F].
            begins: where an observation is the first of its episode, [T, E] bool; nothing is remembered over it.
            memory: before the first step, [E, H].
        """
        contexts = []
        for seen, first in zip(observations, begins, strict=True):
            context, memory = self._look(seen, torch.where(first.unsqueeze(-1), 0.0, memory))
            contexts.append(context)
        return torch.stack(contexts)

    @torch.no_grad()
    def log_probabilities(self, contexts: Tensor, masks: Tensor) -> Tensor:
        """Return log-probabilities of all actions, -inf where not legal, [N, A].

        Args:
            contexts: what `look` returned, [N, C].
            masks: legal actions, [N, A] bool.
        """
        logits: Tensor = self.logits(contexts)
        return logits.masked_fill(~masks, -torch.inf).log_softmax(-1)

    @torch.no_grad()
    def values(self, contexts: Tensor) -> Tensor:
        """Return values in the unit of the rewards that were learned from, [N]."""
        values: Tensor = self.value(contexts)
        if self.value_normalizer is not None:
            values = self.value_normalizer.denormalize(values)
        return values.squeeze(-1)

    def _look(self, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        if self.memory is None:
            return observations, memory
        memory = self.memory(observations, memory)
        return torch.cat([observations, memory], dim=-1), memory


def sample(log_probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one action per row by the Gumbel-max trick, [N]; an action of probability 0 is never drawn.

    Args:
        log_probabilities: [N, A].
        generator: source of the draw; the global random state is not touched.
    """
    uniform = torch.rand(log_probabilities.shape, generator=generator, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=1e-300, max=1 - 1e-16)))
    return (log_probabilities + gumbel).argmax(-1)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Return the entropy of each row in nats, [N]; an action of probability 0 adds nothing.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()).tolist()
        [0.6931471824645996, 0.0]
    """
    entropies: Tensor = torch.special.entr(log_probabilities.exp()).sum(-1)
    return entropies


def _mlp(sizes: tuple[int, ...], *, last_gain: float, generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for at, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(inputs, outputs)
        last = at == len(sizes) - 2
        nn.init.orthogonal_(linear.weight, gain=last_gain if last else math.sqrt(2.0), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


def _gated_unit(features: int, hidden: int, generator: torch.Generator) -> nn.GRUCell:
    unit = nn.GRUCell(features, hidden)
    for weight in (*unit.weight_ih.chunk(3), *unit.weight_hh.chunk(3)):
        nn.init.orthogonal_(weight, generator=generator)  # each gate by itself; chunks are views
    nn.init.zeros_(unit.bias_ih)
    nn.init.zeros_(unit.bias_hh)
    return unit
