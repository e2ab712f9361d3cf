"""Modules that run as one value: those without players, and players without other players inside.

A module runs as one value if what it gives follows from its arguments alone and it does nothing else. That is found out
when it is called for the first time, and watched: a module that sets an attribute at any time, writes into its
arguments, carries hooks inside, or is called with objects of which nothing is known runs operation by operation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from accredit.models.batches import checksum
from accredit.models.compiled import is_compiled

MAX_OBJECTS = 20_000
"""How many objects that hang on a module are looked at."""


class Part:
    """A module that may run as one value."""

    def __init__(self, module: nn.Module, run: Callable[..., Any]) -> None:
        self.module = module
        self.run = run
        """Its own forward."""
        self.opaque = is_opaque(module)
        """Whether it must not be looked into."""
        self.stepwise = not self.opaque and (has_hooks_inside(module) or vars(module).get("inplace") is True)
        """Whether it runs operation by operation."""
        self.checked = False


class Effects:
    """What a call may change beside its result; compare one from before with one from after.

    Args:
        module: what is called.
        arguments: of the call.
    """

    def __init__(self, module: nn.Module, arguments: Any) -> None:
        # by content too, for a write through `.data` leaves no trace in the version
        self.arguments = checksum(arguments)
        self.state = state_of(module)

    def __eq__(self, other: object) -> bool:
        """Whether nothing changed between the two."""
        return isinstance(other, Effects) and self.arguments == other.arguments and self.state == other.state

    __hash__ = None  # type: ignore[assignment]


def state_of(module: nn.Module) -> list[Any]:
    """Identity of all that hangs on a module, versions of its tensors included, to a depth where it is its own."""
    found: list[Any] = []
    pending: list[Any] = [vars(each) for each in module.modules()]
    seen: set[int] = set()
    while pending and len(found) < MAX_OBJECTS:
        each = pending.pop()
        found.append(id(each))
        if id(each) in seen or isinstance(each, _SOLID):
            continue
        seen.add(id(each))
        if isinstance(each, Tensor):
            found.append((each.data_ptr() if each.layout is torch.strided else 0, each._version))
        elif isinstance(each, dict):
            found.extend(map(id, each))
            pending.extend(each.values())
        elif isinstance(each, list | tuple | set | frozenset):
            pending.extend(each)
        elif hasattr(each, "__dict__") and not isinstance(each, nn.Module):
            pending.append(vars(each))
    return found


_SOLID = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, str, bytes, int, float)


def has_hooks_inside(module: nn.Module) -> bool:
    """Whether a call of the module runs hooks of modules inside it, which would not run if it were not called."""
    return any(each is not module and (each._forward_hooks or each._forward_pre_hooks) for each in module.modules())


def is_opaque(module: nn.Module) -> bool:
    """Whether it is compiled or scripted."""
    compiled = vars(module).get("_compiled_call_impl") is not None
    return compiled or is_compiled(module) or isinstance(module, torch.jit.ScriptModule)


def parts_without_players(model: nn.Module, players: set[int]) -> list[nn.Module]:
    """Modules that contain no player and are none, but for those inside compiled ones."""
    inside = {
        id(each) for module in model.modules() if is_opaque(module) for each in module.modules() if each is not module
    }
    return [
        module
        for module in model.modules()
        if id(module) not in inside and not any(id(each) in players for each in module.modules())
    ]


@contextmanager
def forwards_replaced(modules: list[nn.Module], wrap: Callable[[nn.Module, Callable[..., Any]], Any]) -> Iterator[None]:
    """Put `wrap(module, forward)` in the place of the forward of modules; afterwards they are as before."""
    before: list[tuple[nn.Module, str, Any]] = []
    try:
        for module in modules:
            compiled = vars(module).get("_compiled_call_impl")
            name = "forward" if compiled is None else "_compiled_call_impl"
            before.append((module, name, vars(module).get(name, _MISSING)))
            vars(module)[name] = wrap(module, module.forward if compiled is None else compiled)
        yield
    finally:
        for module, name, value in reversed(before):
            if value is _MISSING:
                vars(module).pop(name, None)
            else:
                vars(module)[name] = value


_MISSING = object()

Listener = Callable[[nn.Module], None]
_listeners: list[Listener] = []
_lock = threading.Lock()
_original: list[Callable[..., None]] = []
"""How attributes are set and deleted while nobody listens."""


@contextmanager
def attributes_watched(listener: Listener) -> Iterator[None]:
    """Call the listener with every module, of any model in the process, of which an attribute is set or deleted."""
    with _lock:
        _listeners.append(listener)
        if len(_listeners) == 1:
            _original[:] = nn.Module.__setattr__, nn.Module.__delattr__
            _use(_set_and_tell, _delete_and_tell)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)
            if not _listeners:
                _use(*_original)


def _use(set_attribute: Callable[..., None], delete_attribute: Callable[..., None]) -> None:
    """Let all modules set and delete attributes by these functions."""
    module_class: Any = nn.Module
    module_class.__setattr__, module_class.__delattr__ = set_attribute, delete_attribute


def _set_and_tell(module: nn.Module, name: str, value: Any) -> None:
    """Set an attribute, and say so."""
    for listener in _listeners:
        listener(module)
    _original[0](module, name, value)


def _delete_and_tell(module: nn.Module, name: str) -> None:
    """Delete an attribute, and say so."""
    for listener in _listeners:
        listener(module)
    _original[1](module, name)
