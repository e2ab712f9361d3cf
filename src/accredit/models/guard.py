"""Evaluating leaves no trace: whatever a pass may change about a model or the process is put back.

What is looked after: train and eval mode of every module, attributes of modules (lists, dictionaries and sets among
them by content), which parameters and buffers there are, the generators of torch (CPU and, where used, CUDA), NumPy and
`random`, and the fast path of attention, which would go around gates. Gradients do not change, for none are computed.
Buffers that a pass in eval mode writes to are put back; the first passes refuse most models that do, see `inspection`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from accredit.models.compare import bit_equal


@dataclass(frozen=True)
class RandomState:
    """The generators of the process."""

    cpu: torch.Tensor
    cuda: tuple[torch.Tensor, ...]
    numpy: Any
    python: Any

    @staticmethod
    def now() -> RandomState:
        """As they are."""
        cuda = tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
        # the legacy generator of NumPy is what models that use NumPy draw from
        return RandomState(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())  # noqa: NPY002

    def restore(self) -> None:
        """Put them back."""
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)

    def __eq__(self, other: object) -> bool:
        """Whether nothing was drawn in between."""
        if not isinstance(other, RandomState):
            return NotImplemented
        return (
            torch.equal(self.cpu, other.cpu)
            and len(self.cuda) == len(other.cuda)
            and all(map(torch.equal, self.cuda, other.cuda))
            and self.numpy[2:] == other.numpy[2:]
            and bool((self.numpy[1] == other.numpy[1]).all())
            and self.python == other.python
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Attributes:
    """The attributes of every module, and the contents of those that are built-in containers."""

    modules: tuple[tuple[nn.Module, dict[str, Any], dict[str, Any]], ...]

    @staticmethod
    def of(model: nn.Module) -> Attributes:
        """As they are."""
        return Attributes(
            tuple(
                (
                    module,
                    dict(module.__dict__),
                    {
                        name: value.copy()
                        for name, value in module.__dict__.items()
                        if isinstance(value, list | dict | set)
                    },
                )
                for module in model.modules()
            )
        )

    def changed(self) -> list[str]:
        """Names of attributes that are not as they were, by the class of their module."""
        names: set[str] = set()
        for module, attributes, contents in self.modules:
            now = module.__dict__
            replaced = {
                name
                for name in attributes.keys() | now.keys()
                if attributes.get(name, _MISSING) is not now.get(name, _MISSING)
            }
            refilled = {name for name in contents.keys() - replaced if not _same_content(now[name], contents[name])}
            names.update(f"{type(module).__name__}.{name}" for name in replaced | refilled)
        return sorted(names)

    def restore(self) -> None:
        """Put back what is not as it was."""
        for module, attributes, contents in self.modules:
            now = module.__dict__
            if now.keys() != attributes.keys() or any(now[name] is not attributes[name] for name in attributes):
                now.clear()
                now.update(attributes)
            for name, content in contents.items():
                if not _same_content(now[name], content):
                    _refill(now[name], content)


_MISSING = object()


def _same_content(now: Any, before: Any) -> bool:
    """Whether a container holds the same objects in the same places."""
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        return all(map(_is, now.keys(), before.keys())) and all(map(_is, now.values(), before.values()))
    if isinstance(now, set):
        return {id(each) for each in now} == {id(each) for each in before}
    return all(map(_is, now, before))


def _is(first: object, second: object) -> bool:
    """Identity of objects; equality of texts, which are made anew without meaning."""
    return first is second or (isinstance(first, str) and first == second)


def _refill(container: Any, content: Any) -> None:
    """Give a container its earlier content, in place, for others may hold it too."""
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)


@dataclass(frozen=True)
class Buffers:
    """The numbers in every buffer."""

    values: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @staticmethod
    def of(model: nn.Module) -> Buffers:
        """As they are."""
        return Buffers(tuple((buffer, buffer.detach().clone()) for buffer in model.buffers()))

    def written(self) -> list[bool]:
        """Which of them have other numbers now."""
        return [not bit_equal(buffer, value) for buffer, value in self.values]

    def restore(self) -> None:
        """Put back the numbers of those that were written to."""
        with torch.no_grad():
            for (buffer, value), written in zip(self.values, self.written(), strict=True):
                if written:
                    buffer.copy_(value)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no fast path inside; afterwards everything is as before."""
    attributes, buffers, generators = Attributes.of(model), Buffers.of(model), RandomState.now()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    modes = [(module, module.training) for module in model.modules()]
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for module, _ in modes:
            module.training = False
        # not inference_mode: its tensors have no versions, from which replay sees writes in place
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        attributes.restore()
        buffers.restore()
        for module, mode in modes:
            module.training = mode
        generators.restore()
