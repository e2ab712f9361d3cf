"""Models of many shapes, each with players, batches and what an oracle needs to know about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 5


@dataclass(frozen=True)
class Case:
    """A model and how it is asked."""

    build: Callable[[], nn.Module]
    components: Any
    batches: Callable[[], list[Any]]
    autocast: torch.dtype | None = None
    works: tuple[str, ...] = ("replay", "graph", "stack")
    """Ways to share that must work for it; others may be refused, with a reason."""


def images() -> list[Any]:
    """Batches of images [b, 3, 8, 8] and classes."""
    generator = torch.Generator().manual_seed(7)
    return [
        (torch.randn(b, 3, 8, 8, generator=generator), torch.randint(0, CLASSES, (b,), generator=generator))
        for b in (8, 4)
    ]


def vectors(width: int = 6) -> list[Any]:
    """Batches of vectors [b, 6] and classes."""
    generator = torch.Generator().manual_seed(8)
    return [
        (torch.randn(b, width, generator=generator), torch.randint(0, CLASSES, (b,), generator=generator))
        for b in (8, 5)
    ]


def tokens() -> list[Any]:
    """Batches of tokens [b, 7] and classes."""
    generator = torch.Generator().manual_seed(9)
    return [
        (
            torch.randint(0, 11, (b, 7), generator=generator),
            torch.randint(0, CLASSES, (b,), generator=generator),
        )
        for b in (6, 3)
    ]


class Residual(nn.Module):
    """A stream to which blocks add."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.ModuleList(blocks), head

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        stream = self.stem(inputs)
        for block in self.blocks:
            stream = stream + block(stream)
        return self.head(stream)


def mlp_block(width: int = 6) -> nn.Module:
    """A block of two layers."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


def convolutional() -> nn.Module:
    """Residual convolutions with batch norm that has seen data."""
    torch.manual_seed(1)

    def block() -> nn.Module:
        return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    model = Residual(nn.Conv2d(3, 8, 3, padding=1), [block() for _ in range(4)], head)
    for images_, _ in images():
        model(images_)
    return model


def multilayer() -> nn.Module:
    """Residual MLP with dropout, which is off in eval mode."""
    torch.manual_seed(2)
    blocks = [nn.Sequential(mlp_block(), nn.Dropout(0.5)) for _ in range(4)]
    return Residual(nn.Linear(6, 6), blocks, nn.Linear(6, CLASSES))


class Recurrent(nn.Module):
    """Two GRUs that return (states, last) and a mixture of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.first, self.second = nn.GRU(6, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        stream = self.embed(inputs)
        states, _ = self.first(stream)
        stream = stream + states
        states, last = self.second(stream)
        return self.head((stream + states).mean(dim=1) + self.mix(last[0]))


def recurrent() -> nn.Module:
    """See `Recurrent`."""
    torch.manual_seed(3)
    return Recurrent()


class AttentionBlock(nn.Module):
    """Attention that returns a tuple, and a feed-forward layer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.feed = mlp_block(width)

    def forward(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        """The stream and the attention weights."""
        normed = self.norm(stream)
        attended, weights = self.attention(normed, normed, normed)
        stream = stream + attended
        return stream + self.feed(stream), weights


class Transformer(nn.Module):
    """Blocks whose outputs are tuples; positions come from a factory in forward."""

    def __init__(self, n_blocks: int = 2) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 8), nn.Embedding(7, 8)
        self.blocks = nn.ModuleList(AttentionBlock() for _ in range(n_blocks))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        stream = self.embed(inputs) + self.place(torch.arange(inputs.shape[1], device=inputs.device))
        for block in self.blocks:
            stream, _ = block(stream)
        return self.head(stream.mean(dim=1))


def transformer() -> nn.Module:
    """See `Transformer`."""
    torch.manual_seed(4)
    return Transformer()


def encoder() -> nn.Module:
    """torch's own encoder, whose fast path would go around its parts."""
    torch.manual_seed(5)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 8)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.encoder(self.embed(inputs)).mean(dim=1))

    return Encoder()


class InPlace(nn.Module):
    """Operations in place, on the stream and on views of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = mlp_block(), nn.Linear(3, 3), mlp_block()
        self.head = nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        stream = inputs.clone()
        stream += self.first(stream)
        stream[:, :3].add_(self.second(stream[:, 3:]))
        functional.relu_(stream)
        halves = stream.view(len(stream), 2, 3)
        halves[:, 0].mul_(0.5)
        stream.add_(self.third(stream))
        return self.head(stream)


def in_place() -> nn.Module:
    """See `InPlace`."""
    torch.manual_seed(6)
    return InPlace()


class Branching(nn.Module):
    """Which way the data go depends on them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(mlp_block() for _ in range(3))
        self.other, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        stream = inputs
        for block in self.blocks:
            change = block(stream)
            stream = stream + (change if float(change.mean()) > 0.0 else self.other(change))
        return self.head(stream)


def branching() -> nn.Module:
    """See `Branching`."""
    torch.manual_seed(7)
    return Branching()


class Shared(nn.Module):
    """One module in two places, and called several times."""

    def __init__(self) -> None:
        super().__init__()
        self.first = mlp_block()
        self.again = self.first
        self.other, self.head = mlp_block(), nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        stream = inputs + self.first(inputs)
        for _ in range(2):
            stream = stream + self.other(stream) + self.again(stream)
        return self.head(stream)


def shared() -> nn.Module:
    """See `Shared`."""
    torch.manual_seed(8)
    return Shared()


def nested() -> nn.Module:
    """A residual network whose blocks are residual networks."""
    torch.manual_seed(9)

    def inner() -> nn.Module:
        return Residual(nn.Linear(6, 6), [mlp_block(), mlp_block()], nn.Linear(6, 6))

    return Residual(nn.Linear(6, 6), [inner(), inner()], nn.Linear(6, CLASSES))


class TwoInputs(nn.Module):
    """Keyword inputs, one of them optional, and a mapping as output."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = mlp_block(), mlp_block(3)
        self.join, self.head = nn.Linear(9, 6), nn.Linear(6, CLASSES)

    def forward(self, *, left: Tensor, right: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        """Logits and what they were made of."""
        joined = self.join(torch.cat([left + self.left(left), right + scale * self.right(right)], dim=1))
        return {"joined": joined, "logits": self.head(joined.relu())}


def two_inputs() -> nn.Module:
    """See `TwoInputs`."""
    torch.manual_seed(10)
    return TwoInputs()


def mappings() -> list[Any]:
    """Batches as mappings."""
    generator = torch.Generator().manual_seed(10)
    return [
        {
            "left": torch.randn(b, 6, generator=generator),
            "right": torch.randn(b, 3, generator=generator),
            "labels": torch.randint(0, CLASSES, (b,), generator=generator),
        }
        for b in (6, 4)
    ]


class Remembering(nn.Module):
    """Keeps what it last saw in an attribute, for others to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(mlp_block() for _ in range(3))
        self.head, self.seen = nn.Linear(6, CLASSES), []
        self.last: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        stream = inputs
        self.seen.clear()
        for block in self.blocks:
            stream = stream + block(stream)
            self.seen.append(stream)
        self.last = stream
        return self.head(stream)


def remembering() -> nn.Module:
    """See `Remembering`."""
    torch.manual_seed(11)
    return Remembering()


def half() -> nn.Module:
    """A model in bfloat16."""
    return multilayer().to(torch.bfloat16)


def half_vectors() -> list[Any]:
    """Vectors in bfloat16."""
    return [(inputs.to(torch.bfloat16), labels) for inputs, labels in vectors()]


class Compiled(nn.Module):
    """A model with a compiled part (the eager backend needs no compiler)."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([mlp_block(), torch.compile(mlp_block(), backend="eager"), mlp_block()])
        self.head = nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        stream = inputs
        for block in self.blocks:
            stream = stream + block(stream)
        return self.head(stream)


def compiled() -> nn.Module:
    """See `Compiled`."""
    torch.manual_seed(12)
    return Compiled()


def wholly_compiled() -> nn.Module:
    """A compiled model with players inside."""
    return torch.compile(multilayer(), backend="eager")


class Experts(nn.Module):
    """A mixture that sends each example to one expert, by indices that depend on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.experts = nn.Linear(6, 3), nn.ModuleList(mlp_block() for _ in range(3))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        where = self.router(inputs).argmax(dim=1)
        stream = inputs.clone()
        for number, expert in enumerate(self.experts):
            rows = (where == number).nonzero()[:, 0]
            stream = stream.index_add(0, rows, expert(inputs[rows]))
        return self.head(stream)


def experts() -> nn.Module:
    """See `Experts`."""
    torch.manual_seed(13)
    return Experts()


CASES: dict[str, Case] = {
    "convolutional": Case(convolutional, ["blocks.*"], images),
    "multilayer": Case(multilayer, ["blocks.*"], vectors),
    "recurrent": Case(recurrent, ["first", "second", "mix"], tokens, works=("replay",)),
    "transformer": Case(transformer, ["blocks.*.attention", "blocks.*.feed"], tokens),
    "encoder": Case(encoder, ["encoder.layers.*.self_attn", "encoder.layers.*.linear2"], tokens),
    "in place": Case(in_place, ["first", "second", "third"], vectors),
    "branching": Case(branching, ["blocks.*"], vectors, works=("replay",)),
    "shared": Case(shared, ["first", "other"], vectors),
    "nested": Case(nested, ["blocks.*", "blocks.*.blocks.*"], vectors),
    "two inputs": Case(two_inputs, ["left", "right", "join"], mappings),
    "remembering": Case(remembering, ["blocks.*"], vectors, works=("replay",)),
    "bfloat16": Case(half, ["blocks.*"], half_vectors, works=("replay", "graph")),
    "autocast": Case(multilayer, ["blocks.*"], vectors, autocast=torch.bfloat16, works=("replay",)),
    "compiled part": Case(compiled, ["blocks.*"], vectors, works=("replay",)),
    "compiled whole": Case(wholly_compiled, ["_orig_mod.blocks.*"], vectors),
    "experts": Case(experts, ["experts.*"], vectors, works=()),
    "groups": Case(multilayer, {"early": ["blocks.0", "blocks.1"], "late": ["blocks.2", "blocks.3"]}, vectors),
}
