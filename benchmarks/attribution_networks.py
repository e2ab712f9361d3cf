"""Networks that the benchmark trains on scikit-learn's digits, and the complete table of each as a game.

Axes: G coalitions times B examples stacked as rows, N players, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

EXAMPLES = 256
"""Validation examples behind each value."""


class ResidualBlocks(nn.Module):
    """Residual blocks after a stem; a player is a block."""

    def __init__(self, n_players: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(n_players)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor, gate: Tensor) -> Tensor:
        hidden = self.stem(images)
        for player, block in enumerate(self.blocks):
            hidden = hidden + gate[:, player, None] * block(hidden)
        return self.head(hidden)


class Attention(nn.Module):
    """Self-attention over the rows of an image, each head with a gate of its own."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor, gate: Tensor) -> Tensor:
        rows, tokens, width = hidden.shape
        split = self.project(self.norm(hidden)).view(rows, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value) * gate[:, :, None, None]
        return self.output(mixed.transpose(1, 2).reshape(rows, tokens, width))


class Transformer(nn.Module):
    """A small transformer over the 8 rows of an image; a player is a sublayer, or a head where `by_head`."""

    def __init__(self, layers: int, width: int, heads: int, *, by_head: bool) -> None:
        super().__init__()
        self.by_head, self.heads = by_head, heads
        self.stem = nn.Linear(8, width)
        self.position = nn.Parameter(0.1 * torch.randn(8, width))
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.dense = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(layers)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, images: Tensor, gate: Tensor) -> Tensor:
        hidden = self.stem(images.view(-1, 8, 8)) + self.position
        for layer, (attention, dense) in enumerate(zip(self.attention, self.dense, strict=True)):
            if self.by_head:
                hidden = hidden + attention(hidden, gate[:, layer * self.heads : (layer + 1) * self.heads])
                hidden = hidden + dense(hidden)
            else:
                hidden = hidden + attention(hidden, gate[:, 2 * layer, None].expand(-1, self.heads))
                hidden = hidden + gate[:, 2 * layer + 1, None, None] * dense(hidden)
        return self.head(hidden.mean(dim=1))


class ChannelGroups(nn.Module):
    """Two convolutions; a player is a group of channels of one of them."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.first = nn.Conv2d(1, groups * channels, 3, padding=1, stride=2)
        self.second = nn.Conv2d(groups * channels, groups * channels, 3, padding=1, stride=2)
        self.head = nn.Linear(groups * channels * 4, 10)

    def forward(self, images: Tensor, gate: Tensor) -> Tensor:
        hidden = self.first(images.view(-1, 1, 8, 8)).relu()
        hidden = self._gated(hidden, gate[:, : self.groups])
        hidden = self._gated(self.second(hidden).relu(), gate[:, self.groups :])
        return self.head(hidden.flatten(1))

    def _gated(self, hidden: Tensor, gate: Tensor) -> Tensor:
        return (hidden.unflatten(1, (self.groups, -1)) * gate[:, :, None, None, None]).flatten(1, 2)


def builders() -> dict[str, Callable[[], tuple[nn.Module, int]]]:
    """Return, by name, functions that build a network and say how many players it has."""
    return {
        "residual12": lambda: (ResidualBlocks(12, 32), 12),
        "residual10": lambda: (ResidualBlocks(10, 48), 10),
        "sublayers12": lambda: (Transformer(6, 24, 2, by_head=False), 12),
        "heads12": lambda: (Transformer(3, 32, 4, by_head=True), 12),
        "channels12": lambda: (ChannelGroups(6, 3), 12),
        "channels14": lambda: (ChannelGroups(7, 2), 14),
    }


def trained_tables(name: str, *, seed: int) -> dict[str, NDArray[np.float64]]:
    """Train the network `name` and evaluate all 2^N coalitions: log-loss and accuracy, [2^N] each, bit i = player i."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    digits = load_digits()
    order = torch.randperm(len(digits.target))
    images = torch.tensor(digits.data / 16.0, dtype=torch.float32)[order]
    labels = torch.tensor(digits.target)[order]
    network, n_players = builders()[name]()
    train(network, n_players, images[EXAMPLES:], labels[EXAMPLES:])
    return _table(network.eval(), n_players, images[:EXAMPLES], labels[:EXAMPLES])


def train(network: nn.Module, n_players: int, images: Tensor, labels: Tensor) -> None:
    """Train with every player on, for 12 passes."""
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(12):
        for rows in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(network(images[rows], torch.ones(len(rows), n_players)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def _table(network: nn.Module, n_players: int, images: Tensor, labels: Tensor) -> dict[str, NDArray[np.float64]]:
    losses, accuracies = [], []
    masks = (torch.arange(2**n_players)[:, None] >> torch.arange(n_players)) & 1
    for some in masks.float().split(8):
        gate = some.repeat_interleave(len(labels), dim=0)
        logits = network(images.repeat(len(some), 1), gate).double()
        targets = labels.repeat(len(some))
        losses.append(nn.functional.cross_entropy(logits, targets, reduction="none").view(len(some), -1).mean(dim=1))
        accuracies.append((logits.argmax(dim=1) == targets).double().view(len(some), -1).mean(dim=1))
    return {"loss": torch.cat(losses).numpy(), "accuracy": torch.cat(accuracies).numpy()}
