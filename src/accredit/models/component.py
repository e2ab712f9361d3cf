"""Which parts of a model are players: modules by path, by glob or as a group, or a weight that a function sets.

A path is the dotted name of `nn.Module.named_modules`. A glob matches part by part: `blocks.*` is every block and none
of what is inside them. A module that has several paths is one module.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from accredit.errors import InvalidArgument, UnknownName
from accredit.models.off import Off, OffLike, off_of

SetWeight: TypeAlias = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Component:
    """One player, by the modules that it switches or by a function that sets its weight.

    Example:
        >>> Component(name="both heads", paths=("head_a", "head_b"), off="zero").name
        'both heads'
    """

    name: str
    """Name of the player."""
    paths: tuple[str, ...] = ()
    """Paths or globs of the modules that are switched together."""
    set_weight: SetWeight | None = None
    """Instead of paths: called with the weight (1.0 on, 0.0 off) before every pass, and with 1.0 when all is done."""
    off: OffLike | None = None
    """What the modules give while off; None: as `SwitchableModel` says."""

    def __post_init__(self) -> None:
        """Refuse a component that switches nothing, or in two ways."""
        _check_texts(self.paths, f"`paths` of {self.name!r}")
        if bool(self.paths) == (self.set_weight is not None):
            raise InvalidArgument(
                f"`Component` {self.name!r} has {len(self.paths)} paths and "
                f"{'a' if self.set_weight else 'no'} `set_weight`, wanted either of them; pass module paths, or a "
                "function of the weight."
            )


def _check_texts(paths: object, what: str) -> None:
    """Refuse anything but a sequence of texts: a text alone would be taken letter by letter."""
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
        raise InvalidArgument(
            f"{what} is {paths!r}, wanted the paths of modules as texts in a tuple; pass for example ('layer1',)."
        )


ComponentLike: TypeAlias = "str | Component"
Named: TypeAlias = "str | Sequence[str] | SetWeight | Component"
Components: TypeAlias = "Sequence[ComponentLike] | Mapping[str, Named]"
"""Paths, globs and components, or a mapping from the name of a player to what it switches."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedComponent:
    """A component with the modules themselves."""

    name: str
    modules: tuple[nn.Module, ...]
    paths: tuple[str, ...]
    """One path per module."""
    set_weight: SetWeight | None
    off: Off


def resolve(model: nn.Module, components: Components, *, off: OffLike) -> tuple[ResolvedComponent, ...]:
    """The players of a model.

    Args:
        model: where the paths lead.
        components: see `Components`; a glob in a sequence gives a player per module, in a mapping one player of all.
        off: what switched-off modules give unless their component says otherwise.

    Raises:
        UnknownName: a path or glob that leads nowhere; the nearest paths are suggested.
        InvalidArgument: no component, a name twice, or a module in two components.
    """
    if not isinstance(model, nn.Module):
        raise InvalidArgument(
            f"`model` is a {type(model).__name__}, wanted an nn.Module, whose parts have paths; pass the module itself."
        )
    paths = _module_paths(model)
    resolved = tuple(_resolve(component, paths, off=off) for component in _listed(components, paths))
    if not resolved:
        raise InvalidArgument(
            "`components` is empty, wanted at least one player; pass paths of modules, such as 'blocks.*'."
        )
    _check_apart(resolved)
    return resolved


def _module_paths(model: nn.Module) -> dict[str, nn.Module]:
    """Every path, those of shared modules included, and the module at it; the model itself is no part of itself."""
    return {path: module for path, module in model.named_modules(remove_duplicate=False) if path}


def _listed(components: Components, paths: Mapping[str, nn.Module]) -> list[Component]:
    """Components one by one."""
    if isinstance(components, str):
        components = [components]
    if isinstance(components, Mapping):
        return [_named(name, what, paths) for name, what in components.items()]
    if not isinstance(components, list | tuple):
        raise InvalidArgument(
            f"`components` is a {type(components).__name__}, wanted a list of paths, or a mapping from names to paths; "
            "pass for example ['blocks.*']."
        )
    listed: list[Component] = []
    for component in components:
        if isinstance(component, Component):
            listed.append(component)
        elif not isinstance(component, str):
            raise InvalidArgument(_no_path(component, paths))
        else:
            listed.extend(Component(name=path, paths=(path,)) for path in _matches(component, paths))
    return listed


def _no_path(what: object, paths: Mapping[str, nn.Module]) -> str:
    """Why something is no component; a module is told its path."""
    path = next((path for path, module in paths.items() if module is what), None)
    hint = f"pass {path!r}" if path is not None else "pass a path such as 'blocks.0', or a Component"
    return f"`components` has a {type(what).__name__}, wanted the path of a module; {hint}."


def _named(name: str, what: Named, paths: Mapping[str, nn.Module]) -> Component:
    """The component of one item of a mapping."""
    if isinstance(what, Component):
        return Component(name=name, paths=what.paths, set_weight=what.set_weight, off=what.off)
    if isinstance(what, str):
        return Component(name=name, paths=(what,))
    if isinstance(what, Sequence):
        return Component(name=name, paths=tuple(what))
    if isinstance(what, nn.Module) or not callable(what):
        # a module can be called too, but not with a weight
        raise InvalidArgument(_no_path(what, paths))
    return Component(name=name, set_weight=what)


def _resolve(component: Component, paths: Mapping[str, nn.Module], *, off: OffLike) -> ResolvedComponent:
    """The modules of one component."""
    found = [path for pattern in component.paths for path in _matches(pattern, paths)]
    first_path = {id(paths[path]): path for path in reversed(found)}
    kept = list(dict.fromkeys(path for path in found if first_path[id(paths[path])] == path))
    return ResolvedComponent(
        name=component.name,
        modules=tuple(paths[path] for path in kept),
        paths=tuple(kept),
        set_weight=component.set_weight,
        off=off_of(off if component.off is None else component.off),
    )


def _matches(pattern: str, paths: Mapping[str, nn.Module]) -> list[str]:
    """Paths that a path or glob leads to, each module once, in the order of the model."""
    parts = pattern.split(".")
    seen: set[int] = set()
    found = []
    for path, module in paths.items():
        steps = path.split(".")
        fits = len(steps) == len(parts) and all(map(fnmatch.fnmatchcase, steps, parts))
        if fits and id(module) not in seen:
            seen.add(id(module))
            found.append(path)
    if not found:
        near = difflib.get_close_matches(pattern, paths, n=3, cutoff=0.3)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else "see `model.named_modules()` for the paths."
        raise UnknownName(
            f"`components` has {pattern!r}, wanted the path of a module or a glob that matches some; {hint}"
        )
    return found


def _check_apart(resolved: Sequence[ResolvedComponent]) -> None:
    """Refuse a name twice and a module that two players would switch."""
    names = [component.name for component in resolved]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidArgument(f"`components` has the name {twice[0]!r} twice, wanted each once; rename one of them.")
    owner: dict[int, ResolvedComponent] = {}
    for component in resolved:
        for path, module in zip(component.paths, component.modules, strict=True):
            other = owner.setdefault(id(module), component)
            if other is not component:
                raise InvalidArgument(
                    f"`components` has {other.name!r} and {component.name!r} switch one module, {path!r}, wanted each "
                    "module in one player; make them one component, or name other modules."
                )
