"""Models that do what makes sharing difficult, for the tests of replay."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Registers = list[Tensor]


class RemembersArgument(nn.Module):
    """Hands its input to an inner module by an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ReadsAttribute()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        self.inner.held = x
        return self.inner(self.linear(x))


class ReadsAttribute(nn.Module):
    """Adds what hangs on it."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Any = None
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.held.mean()


class WritesData(nn.Module):
    """Changes its argument behind the back of versions."""

    def forward(self, x: Tensor) -> Tensor:
        x.data.mul_(0.9)
        return torch.tanh(x)


class GivesView(nn.Module):
    """Its output shares memory with its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1).view(4, 6)


MODULES: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(6, 6),
    lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True)),
    lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 6)),
    nn.Identity,
    nn.Flatten,
    lambda: nn.ReLU(inplace=True),
    GivesView,
    RemembersArgument,
    WritesData,
]


def write_view(r: Registers, a: int, b: int, c: int) -> None:
    view = r[a].view(6, 4)
    view[1].add_(0.3)
    r[c] = torch.tanh(view.view(4, 6))


def write_detached(r: Registers, a: int, b: int, c: int) -> None:
    r[a].detach().add_(0.2)
    r[c] = torch.sin(r[a])


def set_data(r: Registers, a: int, b: int, c: int) -> None:
    r[c] = torch.sin(r[a])
    r[c].data = r[b].data * 1.5


def branch(r: Registers, a: int, b: int, c: int) -> None:
    r[c] = r[b] * 2 if r[a].mean() > 0 else torch.cos(r[b])


def write_chunk(r: Registers, a: int, b: int, c: int) -> None:
    left, right = r[a].chunk(2, dim=1)
    left.mul_(0.7)
    r[c] = torch.cat((right, left), 1)


def call_twice(r: Registers, a: int, b: int, c: int) -> None:
    one, two = torch.relu(r[a]), torch.relu(r[a])
    one.add_(1)
    r[c] = two * 0.5 + one


def write_out(r: Registers, a: int, b: int, c: int) -> None:
    out = torch.zeros_like(r[a])
    torch.add(r[a], r[b], out=out)
    r[c] = out


def write_numpy(r: Registers, a: int, b: int, c: int) -> None:
    shared = r[a].numpy()
    shared[0] *= 0.5
    r[c] = torch.from_numpy(shared.copy()) + r[b]


def fill_empty(r: Registers, a: int, b: int, c: int) -> None:
    memory = torch.empty_like(r[a])
    memory.fill_(0.4)
    memory[1:] = r[a][1:]
    r[c] = memory


def write_unbound(r: Registers, a: int, b: int, c: int) -> None:
    rows = r[a].unbind(0)
    rows[0].mul_(2.0)
    r[c] = torch.stack(list(rows)[::-1])


def write_other_view(r: Registers, a: int, b: int, c: int) -> None:
    r[a].view_as(r[b]).add_(0.25)
    r[c] = torch.sigmoid(r[a])


def plain(give: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Registers, int, int, int], None]:
    def step(r: Registers, a: int, b: int, c: int) -> None:
        r[c] = give(r[a], r[b])

    return step


def writing(write: Callable[[Tensor, Tensor], Any]) -> Callable[[Registers, int, int, int], None]:
    def step(r: Registers, a: int, b: int, c: int) -> None:
        write(r[a], r[b])

    return step


STEPS: list[Callable[[Registers, int, int, int], None]] = [
    plain(lambda x, y: x + y),
    plain(lambda x, y: torch.tanh(x * y)),
    plain(lambda x, y: x.data),
    plain(lambda x, y: x + torch.full((6,), 0.5) + torch.arange(6)),
    plain(lambda x, y: x.t().contiguous().view(4, 6)),
    plain(lambda x, y: x * float(y[0, 0].item())),
    plain(lambda x, y: x[:1].expand(4, 6) + y * 0),
    writing(lambda x, y: x.relu_()),
    writing(lambda x, y: x.add_(y * 0.5)),
    writing(lambda x, y: x[:, :3].copy_(y[:, 3:] * 0.9)),
    writing(lambda x, y: x.data.mul_(0.5)),
    writing(lambda x, y: x.masked_fill_(y > 0.5, 0.1)),
    write_view,
    write_detached,
    set_data,
    branch,
    write_chunk,
    call_twice,
    write_out,
    write_numpy,
    fill_empty,
    write_unbound,
    write_other_view,
]


class Program(nn.Module):
    """A random sequence of steps on four registers [4, 6], half of them modules, some of them programs again."""

    def __init__(self, seed: int, *, length: int = 14, depth: int = 0) -> None:
        super().__init__()
        generator = random.Random(seed)
        self.parts = nn.ModuleList()
        self.steps: list[tuple[Any, int, int, int]] = []
        for number in range(length):
            places = generator.randrange(4), generator.randrange(4), generator.randrange(4)
            if number == 0 or generator.random() < 0.4:
                self.steps.append((len(self.parts), *places))
                inner = depth < 2 and generator.random() < 0.15
                build = generator.choice(MODULES)
                self.parts.append(
                    Program(generator.randrange(1 << 30), length=5, depth=depth + 1) if inner else build()
                )
            else:
                self.steps.append((generator.choice(STEPS), *places))

    def forward(self, x: Tensor) -> Tensor:
        registers = [x * (1.0 + number) for number in range(4)]
        for step, a, b, c in self.steps:
            if isinstance(step, int):
                registers[c] = self.parts[step](registers[a])
            else:
                step(registers, a, b, c)
        return registers[0] + registers[1] + registers[2] * registers[3]
