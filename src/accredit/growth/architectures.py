"""Host architectures, as lists of layers with slots where something may be grafted.

B examples, D features, K classes, C channels, L positions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from accredit.growth.slot import Slot


def mlp_layers(sizes: Sequence[int], slots_before: Sequence[int] = ()) -> list[nn.Module]:
    """Return a perceptron with relu between its linear layers.

    Slots are called `input`, `hidden1`, ... by the layer that they stand before; `input-1`, `input-2` where two share
    one.

    Args:
        sizes: features of the input, of each hidden layer, and of the output.
        slots_before: index of the linear layer before which each slot stands, ascending; empty: one before each.

    Example:
        >>> [slot.name for slot in mlp_layers((64, 8, 10)) if isinstance(slot, Slot)]
        ['input', 'hidden1']
    """
    before = tuple(slots_before) or tuple(range(len(sizes) - 1))
    names = mlp_slot_names(len(sizes) - 1, before)
    layers: list[nn.Module] = []
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [Slot(name, inputs) for name, at in zip(names, before, strict=True) if at == layer]
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]


def mlp_slot_names(layers: int, before: Sequence[int]) -> list[str]:
    """Return the names of slots that stand before the given ones of so many linear layers."""
    places = ["input", *(f"hidden{layer}" for layer in range(1, layers))]
    return [
        f"{places[layer]}-{list(before)[: slot + 1].count(layer)}" if list(before).count(layer) > 1 else places[layer]
        for slot, layer in enumerate(before)
    ]


def convolutional_layers(channels: Sequence[int], *, size: int, classes: int) -> list[nn.Module]:
    """Return a network of 3 x 3 convolutions of stride 2 with a linear head on the mean over the last map.

    A slot stands behind each convolution and works on its channels, the same at every place.

    Args:
        channels: of the input and of each convolution.
        size: height and width of the input.
        classes: K.

    Example:
        >>> layers = nn.Sequential(*convolutional_layers((1, 4, 8), size=8, classes=10))
        >>> layers(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(channels), start=1):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
        layers += [Slot(f"conv{number}", outputs, axis=1)]
        size = -(-size // 2)
    return [*layers, nn.Flatten(), nn.Linear(channels[-1] * size * size, classes)]


class PlacedEmbedding(nn.Module):
    """A vector per token plus a vector per position.

    Args:
        tokens: size of the alphabet.
        context: L, longest sequence.
        features: D.
    """

    def __init__(self, tokens: int, context: int, features: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(tokens, features) / math.sqrt(features))
        self.place = nn.Parameter(torch.randn(context, features) / math.sqrt(features))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [B, L, D] of tokens [B, L] int64."""
        return self.token[tokens] + self.place[: tokens.shape[-1]]


class CausalAttention(nn.Module):
    """h + attention of each position to itself and those before it, of the normalised h.

    Args:
        features: D, a multiple of `heads`.
        context: L, longest sequence.
        heads: attention heads.
    """

    def __init__(self, features: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(features)
        self.inside = nn.Linear(features, 3 * features)
        self.outside = nn.Linear(features, features)
        self.mask: Tensor
        self.register_buffer("mask", torch.full((context, context), -math.inf).triu(1), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [B, L, D] of [B, L, D]."""
        examples, length, features = hidden.shape
        parts = self.inside(self.norm(hidden)).view(examples, length, 3, self.heads, features // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / math.sqrt(features // self.heads) + self.mask[:length, :length]
        gathered = (scores.softmax(-1) @ value).transpose(1, 2).reshape(examples, length, features)
        after: Tensor = hidden + self.outside(gathered)
        return after


class FeedForward(nn.Module):
    """h + W relu(V h + b) + c of the normalised h.

    Args:
        features: D.
        width: of the inner layer.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width), nn.ReLU())
        self.outside = nn.Linear(width, features)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [B, L, D] of [B, L, D]."""
        after: Tensor = hidden + self.outside(self.inside(hidden))
        return after


def transformer_layers(
    *, tokens: int, context: int, features: int, heads: int, width: int, blocks: int
) -> list[nn.Module]:
    """Return a causal transformer that says for each position what comes next.

    Slots stand on the residual stream: behind the embedding, and behind the attention and the feed-forward part of
    each block.

    Args:
        tokens: size of the alphabet, and of the output.
        context: L, longest sequence.
        features: D of the residual stream.
        heads: attention heads of a block.
        width: of the feed-forward parts.
        blocks: how many.

    Example:
        >>> layers = transformer_layers(tokens=5, context=4, features=8, heads=2, width=8, blocks=1)
        >>> nn.Sequential(*layers)(torch.zeros(2, 4, dtype=torch.int64)).shape
        torch.Size([2, 4, 5])
    """
    layers: list[nn.Module] = [PlacedEmbedding(tokens, context, features), Slot("embedding", features)]
    for number in range(1, blocks + 1):
        layers += [CausalAttention(features, context, heads), Slot(f"attention{number}", features)]
        layers += [FeedForward(features, width), Slot(f"block{number}", features)]
    return [*layers, nn.LayerNorm(features), nn.Linear(features, tokens)]
