"""Networks whose parts are switched, and the loops that a user would write over them.

Each network is a list of parts in execution order: the stem, blocks that are players, blocks that are not, the head. A
part depends on the players before it, so that the number of its distinct evaluations over a set of coalitions is that
of the distinct coalitions among those players: this is what the floor counts.

Axes: B examples, N players, M coalitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """A piece of work that is done at most once per coalition."""

    run: Callable[[], object]
    """Does it once, on inputs of the true shape, for timing."""
    player: int | None
    """Whose work it is: done only where the player is on; None: always."""
    before: tuple[int, ...]
    """Players that its input depends on."""

    def count(self, masks: NDArray[np.bool_]) -> int:
        """How often it has to be done for masks [M, N], with nothing computed twice."""
        rows = masks if self.player is None else masks[masks[:, self.player]]
        return len(np.unique(rows[:, list(self.before)], axis=0)) if len(rows) else 0

    def count_skipping(self, masks: NDArray[np.bool_]) -> int:
        """How often a loop does it that skips what is off."""
        return len(masks) if self.player is None else int(masks[:, self.player].sum())


@dataclass(frozen=True)
class Case:
    """One network of the benchmark."""

    model: nn.Module
    components: list[str]
    off: str
    batch: tuple[Tensor, Tensor]
    loop: Callable[[Tensor, list[float], bool], Tensor]
    """(inputs, weights, skip) -> logits: written by hand, skipping what is off or multiplying it by 0."""
    parts: list[Part]
    kind: str
    """Bound by arithmetic: "exportable" or "eager"; nothing to share: "worst"; bound by dispatch: "tiny", and "small
    eager" where sharing by a graph is not to be had."""


class Block(nn.Module):
    """Two layers that add to a stream."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, stream: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(stream)))


class Branching(Block):
    """The same, behind a look at the numbers, which no export can follow."""

    def forward(self, stream: Tensor) -> Tensor:
        hidden = torch.relu(self.first(stream))
        return self.second(hidden) if float(hidden.sum()) > -1.0 else hidden


class Attention(nn.Module):
    """Self-attention and a feed-forward layer, before which the stream is normalized."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down, self.heads = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), heads

    def forward(self, stream: Tensor) -> Tensor:
        b, t, width = stream.shape
        parts = self.project(self.norm(stream)).view(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        change = self.out(mixed.transpose(1, 2).reshape(b, t, width))
        return change + self.down(torch.nn.functional.gelu(self.up(self.after(stream + change))))


class Stream(nn.Module):
    """Stem, blocks that add to the stream (with or without host blocks before each), head."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], hosts: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem, self.head = stem, head
        self.blocks, self.hosts = nn.ModuleList(blocks), nn.ModuleList(hosts)

    def forward(self, inputs: Tensor) -> Tensor:
        stream = self.stem(inputs)
        for at, block in enumerate(self.blocks):
            if self.hosts:
                stream = stream + self.hosts[at](stream)
            stream = stream + block(stream)
        return self.head(stream)

    def by_hand(self, inputs: Tensor, weights: list[float], skip: bool) -> Tensor:
        """What a user writes to leave blocks out."""
        stream = self.stem(inputs)
        for at, (block, weight) in enumerate(zip(self.blocks, weights, strict=True)):
            if self.hosts:
                stream = stream + self.hosts[at](stream)
            if not skip:
                stream = stream + weight * block(stream)
            elif weight:
                stream = stream + block(stream)
        return self.head(stream)


def stream_case(model: Stream, batch: tuple[Tensor, Tensor], *, kind: str) -> Case:
    """A case whose players are the blocks."""
    model.eval()
    inputs, labels = batch
    with torch.no_grad():
        stream = model.stem(inputs)
    parts = [Part(lambda: model.stem(inputs), None, ())]
    for at, block in enumerate(model.blocks):
        if model.hosts:
            parts.append(Part(lambda at=at: stream + model.hosts[at](stream), None, tuple(range(at))))
        parts.append(Part(lambda block=block: stream + block(stream), at, tuple(range(at))))
    everything = tuple(range(len(model.blocks)))
    parts.append(Part(lambda: measure(model.head(stream), labels), None, everything))
    return Case(model, ["blocks.*"], "zero", batch, model.by_hand, parts, kind)


def measure(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-loss per example; per sequence where there are tokens."""
    losses = nn.functional.cross_entropy(logits.flatten(0, -2).double(), labels.flatten(), reduction="none")
    return losses.view(len(labels), -1).mean(dim=1)


def images(n_examples: int) -> tuple[Tensor, Tensor]:
    """Digits [B, 1, 8, 8] of scikit-learn and what they are."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pictures = torch.from_numpy(data.images[:n_examples]).float()[:, None] / 16
    return pictures, torch.from_numpy(data.target[:n_examples])


def convolutional(
    channels: int, n_blocks: int, n_examples: int, *, hosts: bool, kind: str, block: type = Block
) -> Case:
    """Residual convolutions on digits."""

    def one() -> nn.Module:
        return block(nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1))

    model = Stream(
        nn.Conv2d(1, channels, 3, padding=1),
        [one() for _ in range(n_blocks)],
        [one() for _ in range(n_blocks)] if hosts else [],
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)),
    )
    return stream_case(model, images(n_examples), kind=kind)


def multilayer(width: int, n_blocks: int, n_examples: int, *, kind: str, block: type = Block) -> Case:
    """Residual MLP on digits."""
    blocks = [block(nn.Linear(width, 2 * width), nn.Linear(2 * width, width)) for _ in range(n_blocks)]
    model = Stream(nn.Sequential(nn.Flatten(), nn.Linear(64, width)), blocks, [], nn.Linear(width, 10))
    return stream_case(model, images(n_examples), kind=kind)


def transformer(width: int, n_blocks: int, n_examples: int, length: int, *, kind: str) -> Case:
    """Blocks of a transformer on tokens."""
    model = Stream(nn.Embedding(64, width), [Attention(width, 4) for _ in range(n_blocks)], [], nn.Linear(width, 64))
    return stream_case(model, tokens(n_examples, length), kind=kind)


def tokens(n_examples: int, length: int) -> tuple[Tensor, Tensor]:
    """Random tokens and the ones that follow."""
    drawn = torch.randint(0, 64, (n_examples, length + 1), generator=torch.Generator().manual_seed(0))
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


class Head(nn.Module):
    """One head of attention with its own way back to the stream."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.project, self.out = nn.Linear(width, 3 * size), nn.Linear(size, width, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        query, key, value = self.project(stream).chunk(3, dim=-1)
        return self.out(nn.functional.scaled_dot_product_attention(query, key, value))


class Heads(nn.Module):
    """Layers of parallel heads, each layer followed by a feed-forward block that is no player."""

    def __init__(self, width: int, n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Embedding(64, width), nn.Linear(width, 64)
        self.layers = nn.ModuleList(
            nn.ModuleList(Head(width, width // n_heads) for _ in range(n_heads)) for _ in range(n_layers)
        )
        self.feeds = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(n_layers)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        stream = self.stem(inputs)
        for heads, feed in zip(self.layers, self.feeds, strict=True):
            change = stream
            for head in heads:
                change = change + head(stream)
            stream = change + feed(change)
        return self.head(stream)

    def by_hand(self, inputs: Tensor, weights: list[float], skip: bool) -> Tensor:
        stream, given = self.stem(inputs), iter(weights)
        for heads, feed in zip(self.layers, self.feeds, strict=True):
            change = stream
            for head in heads:
                weight = next(given)
                if not skip:
                    change = change + weight * head(stream)
                elif weight:
                    change = change + head(stream)
            stream = change + feed(change)
        return self.head(stream)


def heads(width: int, n_layers: int, n_heads: int, n_examples: int, length: int) -> Case:
    """Heads of a transformer as players."""
    model = Heads(width, n_layers, n_heads).eval()
    inputs, labels = tokens(n_examples, length)
    with torch.no_grad():
        stream = model.stem(inputs)
    parts = [Part(lambda: model.stem(inputs), None, ())]
    for layer in range(n_layers):
        before = tuple(range(layer * n_heads))
        parts += [
            Part(lambda head=head: stream + head(stream), layer * n_heads + at, before)
            for at, head in enumerate(model.layers[layer])
        ]
        after = tuple(range((layer + 1) * n_heads))
        parts.append(Part(lambda layer=layer: stream + model.feeds[layer](stream), None, after))
    everything = tuple(range(n_layers * n_heads))
    parts.append(Part(lambda: measure(model.head(stream), labels), None, everything))
    return Case(model, ["layers.*.*"], "zero", (inputs, labels), model.by_hand, parts, "exportable")


class Branches(nn.Module):
    """Small parallel branches before a large trunk: every coalition needs the whole trunk anew."""

    def __init__(self, n_branches: int, width: int, *, looks: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(64, width) for _ in range(n_branches))
        self.trunk = nn.ModuleList(nn.Linear(width, width) for _ in range(6))
        self.head, self.looks = nn.Linear(width, 10), looks

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        stream = sum((branch(flat) for branch in self.branches), torch.zeros(()))
        return self.rest(stream)

    def rest(self, stream: Tensor) -> Tensor:
        """The trunk and the head."""
        for layer in self.trunk:
            stream = torch.relu(layer(stream))
            if self.looks and float(stream.sum()) < -1.0:
                stream = -stream
        return self.head(stream)

    def by_hand(self, inputs: Tensor, weights: list[float], skip: bool) -> Tensor:
        flat = inputs.flatten(1)
        stream = torch.zeros(len(inputs), self.head.in_features)
        for branch, weight in zip(self.branches, weights, strict=True):
            if not skip:
                stream = stream + weight * branch(flat)
            elif weight:
                stream = stream + branch(flat)
        return self.rest(stream)


def branches(width: int, n_examples: int, *, looks: bool) -> Case:
    """Where nothing of note can be shared."""
    model = Branches(8, width, looks=looks).eval()
    inputs, labels = images(n_examples)
    flat = inputs.flatten(1)
    with torch.no_grad():
        stream = model.branches[0](flat)
    parts = [Part(lambda branch=branch: stream + branch(flat), at, ()) for at, branch in enumerate(model.branches)]
    parts.append(Part(lambda: measure(model.rest(stream), labels), None, tuple(range(8))))
    return Case(model, ["branches.*"], "zero", (inputs, labels), model.by_hand, parts, "worst")


def hugging_face(width: int, n_blocks: int, n_examples: int, length: int, *, kind: str) -> Case:
    """GPT-2 made from a configuration, with its cache on, so that it cannot be exported."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=64, n_positions=length, n_embd=width, n_layer=n_blocks, n_head=4, use_cache=True,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    inputs, labels = tokens(n_examples, length)
    body = model.transformer
    places = torch.arange(length)

    def stem() -> Tensor:
        return body.wte(inputs) + body.wpe(places)

    def first(output: Any) -> Tensor:
        return output[0] if isinstance(output, tuple) else output

    def by_hand(given: Tensor, weights: list[float], skip: bool) -> Tensor:
        stream = body.wte(given) + body.wpe(places)
        for block, weight in zip(body.h, weights, strict=True):
            if not skip:
                stream = stream + weight * (first(block(stream)) - stream)
            elif weight:
                stream = first(block(stream))
        return model.lm_head(body.ln_f(stream))

    with torch.no_grad():
        stream = stem()
    parts = [Part(stem, None, ())]
    parts += [Part(lambda block=block: block(stream), at, tuple(range(at))) for at, block in enumerate(body.h)]
    end = tuple(range(n_blocks))
    parts.append(Part(lambda: measure(model.lm_head(body.ln_f(stream)), labels), None, end))
    return Case(model, ["transformer.h.*"], "identity", (inputs, labels), by_hand, parts, kind)


def cases() -> dict[str, tuple[Callable[[], Case], str]]:
    """Every network with its coalitions: all of 8 players, or 96 pairs of 12."""
    return {
        "CNN": (lambda: convolutional(32, 8, 64, hosts=False, kind="exportable"), "all of 8"),
        "CNN with host blocks": (lambda: convolutional(32, 8, 64, hosts=True, kind="exportable"), "all of 8"),
        "CNN of 12": (lambda: convolutional(32, 12, 64, hosts=False, kind="exportable"), "96 pairs"),
        "MLP": (lambda: multilayer(256, 8, 256, kind="exportable"), "all of 8"),
        "transformer": (lambda: transformer(64, 8, 32, 16, kind="exportable"), "all of 8"),
        "transformer of 12": (lambda: transformer(64, 12, 32, 16, kind="exportable"), "96 pairs"),
        "12 heads": (lambda: heads(96, 2, 6, 48, 16), "96 pairs"),
        "CNN that looks": (
            lambda: convolutional(32, 8, 64, hosts=False, kind="eager", block=Branching), "all of 8",
        ),
        "MLP that looks": (lambda: multilayer(256, 12, 256, kind="eager", block=Branching), "96 pairs"),
        "GPT-2 with cache": (lambda: hugging_face(192, 8, 16, 32, kind="eager"), "all of 8"),
        "small GPT-2 with cache": (lambda: hugging_face(64, 8, 32, 16, kind="small eager"), "all of 8"),
        "tiny CNN": (lambda: convolutional(4, 8, 8, hosts=False, kind="tiny"), "all of 8"),
        "tiny MLP": (lambda: multilayer(16, 8, 16, kind="tiny"), "all of 8"),
        "tiny MLP that looks": (lambda: multilayer(16, 8, 16, kind="small eager", block=Branching), "all of 8"),
        "branches": (lambda: branches(512, 64, looks=False), "all of 8"),
        "branches that look": (lambda: branches(512, 64, looks=True), "all of 8"),
    }  # fmt: skip
