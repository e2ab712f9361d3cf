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


class Centred(nn.Module):
    """Pixels 0 to 255 as numbers from -1 to 1."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Return float32 of the shape of `pixels`, uint8."""
        return pixels.float() / 127.5 - 1.0


def convolutional_layers(channels: Sequence[int], *, size: int, classes: int) -> list[nn.Module]:
    """Return a network of 3 x 3 convolutions of stride 2 with a linear head on the flattened last map.

    A slot stands behind each convolution and works on its channels, the same at every place; one more stands before
    the head.

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
    features = channels[-1] * size * size
    return [*layers, nn.Flatten(), Slot("head", features), nn.Linear(features, classes)]


class FactorisedEmbedding(nn.Module):
    """A short vector per token, widened by one matrix for all: h = W e(token).

    Few numbers for a wide residual stream (Lan et al., "ALBERT", 2020), and a host that is tight where grafts can help:
    all that it knows of a token has the rank of `inner`.

    Args:
        tokens: size of the alphabet.
        inner: numbers per token.
        features: D.
    """

    def __init__(self, tokens: int, inner: int, features: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(tokens, inner))
        self.widen = nn.Parameter(torch.randn(inner, features) / math.sqrt(inner))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [B, L, D] of tokens [B, L] int64."""
        return (self.token @ self.widen)[tokens]


def normalised(hidden: Tensor) -> Tensor:
    """Return each vector [..., D] over its root mean square, without a gain, which the next matrix can learn.

    (Zhang and Sennrich, "Root mean square layer normalization", 2019.)
    """
    return hidden * (hidden.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


class Normalised(nn.Module):
    """`normalised` as a layer."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [B, L, D] of [B, L, D]."""
        return normalised(hidden)


class CausalAttention(nn.Module):
    """h + attention of each position to itself and those before it, of the normalised h.

    Scores fall with the distance, by a slope of 1, 1/4, 1/16, ... from head to head, so that a young host looks at its
    neighbourhood and learns in minutes what takes it hours to find by itself.  (Press, Smith and Lewis, "Train short,
    test long: attention with linear biases enables input length extrapolation", 2022, with steeper slopes.)

    Args:
        features: D, a multiple of `heads`.
        context: L, longest sequence.
        heads: attention heads.
    """

    def __init__(self, features: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # no bias: that of the keys would change nothing, and its gradient be nothing but rounding
        self.inside = nn.Linear(features, 3 * features, bias=False)
        self.outside = nn.Linear(features, features)
        place = torch.arange(float(context))
        distance = place.unsqueeze(1) - place
        slopes = 0.25 ** torch.arange(float(heads)).view(-1, 1, 1)
        self.bias: Tensor
        self.register_buffer("bias", torch.where(distance < 0, -math.inf, -slopes * distance), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [B, L, D] of [B, L, D]."""
        gathered = attended(self.inside(normalised(hidden)), self.bias, self.heads)
        after: Tensor = hidden + self.outside(gathered)
        return after


def attended(parts: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Return what each position gathers, softmax(q k' / sqrt(d) + bias) v with d = D / heads, [B, L, D].

    Args:
        parts: queries, keys and values side by side, [B, L, 3 D].
        bias: added to the scores, -inf where a position must not look, [heads, context, context].
        heads: how many.
    """
    examples, length, width = parts.shape
    query, key, value = parts.view(examples, length, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) * (width // 3 // heads) ** -0.5 + bias[:, :length, :length]
    gathered: Tensor = scores.softmax(-1) @ value
    return gathered.transpose(1, 2).reshape(examples, length, width // 3)


class FeedForward(nn.Module):
    """h + W relu(V h + b) + c of the normalised h.

    Args:
        features: D.
        width: of the inner layer.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.inside = nn.Linear(features, width)
        self.outside = nn.Linear(width, features)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [B, L, D] of [B, L, D]."""
        after: Tensor = hidden + self.outside(self.inside(normalised(hidden)).relu())
        return after


def transformer_layers(
    *, tokens: int, context: int, inner: int, features: int, heads: int, width: int, blocks: int
) -> list[nn.Module]:
    """Return a causal transformer that says for each position what comes next.

    Slots stand on the residual stream: behind the embedding, and behind the attention and the feed-forward part of
    each block.

    Args:
        tokens: size of the alphabet, and of the output.
        context: L, longest sequence.
        inner: numbers per token before they are widened to D.
        features: D of the residual stream.
        heads: attention heads of a block.
        width: of the feed-forward parts.
        blocks: how many.

    Example:
        >>> layers = transformer_layers(tokens=5, context=4, inner=2, features=8, heads=2, width=8, blocks=1)
        >>> nn.Sequential(*layers)(torch.zeros(2, 4, dtype=torch.int64)).shape
        torch.Size([2, 4, 5])
    """
    layers: list[nn.Module] = [FactorisedEmbedding(tokens, inner, features), Slot("embedding", features)]
    for number in range(1, blocks + 1):
        layers += [CausalAttention(features, context, heads), Slot(f"attention{number}", features)]
        layers += [FeedForward(features, width), Slot(f"block{number}", features)]
    return [*layers, Normalised(), nn.Linear(features, tokens)]
