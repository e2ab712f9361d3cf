"""What a traced graph took for granted about its model: everything but the numbers in parameters and buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

_DEEPEST = 4
"""How many objects inside objects are looked into."""


@dataclass(frozen=True, eq=False)
class ModelState:
    """A description that is equal as long as a graph stays valid."""

    marks: list[Any]
    kept: list[Any]
    """What is named by its identity, so that no address comes twice."""

    def __eq__(self, other: object) -> bool:
        """Whether nothing changed that a graph depends on."""
        return isinstance(other, ModelState) and self.marks == other.marks

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def of(model: nn.Module, *, same_tensors: bool = False) -> ModelState:
        """As it is now; with `same_tensors` a tensor in the place of an equal one is a change too."""
        description = _Description(same_tensors)
        for name, module in model.named_modules(remove_duplicate=False):
            description.marks.append(name)
            description.module(module)
        return ModelState(description.marks, description.kept)


class _Description:
    """Marks of a model, in order."""

    def __init__(self, same_tensors: bool) -> None:
        self.same_tensors = same_tensors
        self.marks: list[Any] = []
        self.kept: list[Any] = []
        self.seen: set[int] = set()

    def module(self, module: nn.Module) -> None:
        """A module by its attributes; parts are described by their own turn."""
        if self._known(module):
            return
        for name, value in module.__dict__.items():
            self.marks.append(name)
            if name in ("_parameters", "_buffers"):
                for key, tensor in value.items():
                    self.marks.append(key)
                    self._form(tensor)
            elif isinstance(value, Tensor):
                self._form(value)
            else:
                self.value(value, 0)

    def value(self, value: Any, depth: int) -> None:
        """Constants by value, containers by content, objects by identity and attributes."""
        if value is None or isinstance(value, bool | int | str | bytes):
            self.marks.append((type(value), value))
        elif isinstance(value, float):
            self.marks.append(repr(value))
        elif isinstance(value, dict):
            self.marks.append((dict, len(value)))
            for key, item in value.items():
                self.value(key, depth)
                self.value(item, depth)
        elif isinstance(value, list | tuple):
            self.marks.append((type(value), len(value)))
            for item in value:
                self.value(item, depth)
        elif not self._known(value) and not isinstance(value, Tensor | nn.Module | type) and depth < _DEEPEST:
            attributes = getattr(value, "__dict__", None)
            if isinstance(attributes, dict):
                self.value(attributes, depth + 1)

    def _form(self, tensor: Tensor | None) -> None:
        """A tensor that is fetched anew at every run: all but its numbers."""
        if self.same_tensors:
            self._known(tensor)
        elif tensor is None:
            self.marks.append(None)
        else:
            self.marks.append((tensor.shape, tensor.stride(), tensor.dtype, tensor.device))

    def _known(self, value: Any) -> bool:
        """Name an object by its identity; whether it was described already."""
        self.marks.append(id(value))
        self.kept.append(value)
        known = id(value) in self.seen
        self.seen.add(id(value))
        return known
