"""Modules with a switch: their `forward` is replaced while a model is evaluated, and put back afterwards.

A gate asks a `Hook` what a call of its module gives. So each way to evaluate (one pass after another, a graph, a stack)
is a hook of its own, and the model is the user's, unmodified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from accredit.errors import InvalidArgument
from accredit.models.compiled import is_compiled
from accredit.models.component import ResolvedComponent
from accredit.models.off import ByFunction, Identity, Mean, Off, Resample, Zero

Arguments: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"
"""Positional and keyword arguments of a call; Any, for the model decides what its modules are given."""
Weights: TypeAlias = "tuple[float, ...]"
"""Weight of every player of one coalition [N]: 1.0 on, 0.0 off, between them a blend."""


@dataclass(frozen=True)
class Template:
    """What the output of a module looks like, for making one without computing it."""

    structure: pytree.TreeSpec
    leaves: tuple[Any, ...]
    """Per leaf a `TensorShape`, or a constant."""

    def is_of(self, output: Any) -> bool:
        """Whether an output that is one tensor has this form; quick, and False where it would take longer to tell."""
        if type(output) is not Tensor or self.structure is not _LEAF:
            return False
        form = self.leaves[0]
        return bool(form.shape == output.shape and form.dtype == output.dtype and form.device == output.device)


@dataclass(frozen=True)
class TensorShape:
    """A tensor without its numbers."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def of(tensor: Tensor) -> TensorShape:
        """Shape, type and device of a tensor."""
        return TensorShape(tensor.shape, tensor.dtype, tensor.device)

    def zeros(self) -> Tensor:
        """Zeros of this shape."""
        return torch.zeros(self.shape, dtype=self.dtype, device=self.device)


def _no_forward(*_args: Any, **_kwargs: Any) -> Any:
    """What a switched module runs while it has no gate: nothing may ask for it then."""
    raise AssertionError("a switched module was asked to run outside `gated`")


@dataclass(kw_only=True, eq=False)
class SwitchedModule:
    """A module that belongs to a player."""

    player: int
    """Column of the player."""
    path: str
    module: nn.Module
    off: Off
    run: Callable[..., Any] = field(default=_no_forward)
    """The module's own forward; known while it is gated."""
    templates: dict[Any, Template | None] = field(default_factory=dict)
    """By the shapes of the input; None where the output cannot be made without computing it."""
    means: list[Tensor] = field(default_factory=list)
    """Of every tensor of the output over a reference pass [1, ...], float64."""

    def __getstate__(self) -> dict[str, Any]:
        """State for a copy: what outputs look like is learned again, for torch's records of it do not travel."""
        return {**self.__dict__, "templates": {}, "run": _no_forward}

    @property
    def reads_input(self) -> bool:
        """Whether the value while off is made of the input."""
        return isinstance(self.off, Identity | ByFunction)

    def learn(self, arguments: Arguments, output: Any) -> None:
        """Remember what the output looks like for such an input."""
        key = signature(arguments)
        known = self.templates.get(key)
        if known is not None and known.is_of(output):
            return  # the usual case, met at every call of a module
        template = template_of(output)
        if key in self.templates and self.templates[key] != template:
            # the shape depends on the numbers, so that a made-up output could have the wrong one
            template = None
        self.templates[key] = template

    def skipped(self, arguments: Arguments) -> Any:
        """The output while off without computing the module; `NotImplemented` where it has to be computed."""
        if self.off.needs_output:
            return NotImplemented
        template = self.templates.get(signature(arguments))
        return NotImplemented if template is None else self.filled(template, arguments)

    def filled(self, template: Template, arguments: Arguments) -> Any:
        """An output of this form, as the kind of off says."""
        if template.structure is _LEAF and isinstance(self.off, Zero):
            return template.leaves[0].zeros()
        shapes = [leaf for leaf in template.leaves if isinstance(leaf, TensorShape)]
        tensors: list[Tensor]
        if isinstance(self.off, Identity):
            tensors = [self._copied_input(shapes[0], arguments), *(shape.zeros() for shape in shapes[1:])]
        elif isinstance(self.off, Mean):
            tensors = [self._mean(number, shape) for number, shape in enumerate(shapes)]
        else:
            tensors = [shape.zeros() for shape in shapes]
        replaced = iter(tensors)
        leaves = [next(replaced) if isinstance(leaf, TensorShape) else leaf for leaf in template.leaves]
        return pytree.tree_unflatten(leaves, template.structure)

    def replaced(self, arguments: Arguments, output: Any) -> Any:
        """The output while off, made of the one that was computed."""
        if self.off.needs_output or (template := template_of(output)) is None:
            return self._replace_tensors(arguments, output)
        return self.filled(template, arguments)

    def blended(self, arguments: Arguments, output: Any, weight: float) -> Any:
        """Return off + weight (on - off), tensor by tensor."""
        on, structure = pytree.tree_flatten(output)
        off = pytree.tree_leaves(self.replaced(arguments, output))
        mixed = [torch.lerp(b, a, weight) if is_float(a) else a for a, b in zip(on, off, strict=True)]
        return pytree.tree_unflatten(mixed, structure)

    def _replace_tensors(self, arguments: Arguments, output: Any) -> Any:
        """The output with its floating-point tensors replaced and everything else kept."""
        leaves, structure = pytree.tree_flatten(output)
        places = [at for at, leaf in enumerate(leaves) if is_float(leaf)]
        for number, at in enumerate(places):
            leaves[at] = self._replacement(arguments, leaves[at], number)
        return pytree.tree_unflatten(leaves, structure)

    def _replacement(self, arguments: Arguments, tensor: Tensor, number: int) -> Tensor:
        """What takes the place of one computed tensor, the `number`-th of its output."""
        if isinstance(self.off, Resample):
            return tensor.index_select(0, self.off.order(len(tensor)).to(tensor.device))
        if isinstance(self.off, ByFunction):
            return self._by_function(self.off, arguments, tensor) if number == 0 else tensor
        if isinstance(self.off, Mean):
            return self._mean(number, TensorShape.of(tensor))
        if isinstance(self.off, Identity) and number == 0:
            return self._copied_input(TensorShape.of(tensor), arguments)
        return torch.zeros_like(tensor)

    def _mean(self, number: int, shape: TensorShape) -> Tensor:
        """The mean of the `number`-th tensor, for every example."""
        shapes = [tuple(mean.shape[1:]) for mean in self.means]
        if number >= len(shapes) or shapes[number] != tuple(shape.shape[1:]) or not len(shape.shape):
            raise InvalidArgument(
                f"`off='mean'` of {self.path!r} got an output of shape {tuple(shape.shape)}, but the mean over "
                f"`reference` has {shapes} beside the examples, wanted equal shapes; pass a reference like the "
                "batches, or use another kind of off."
            )
        return self.means[number].to(shape.dtype).expand(shape.shape).clone()

    def _by_function(self, off: ByFunction, arguments: Arguments, tensor: Tensor) -> Tensor:
        """What the user's function gives, checked."""
        value = off.function(first_tensor(arguments), tensor)
        if not isinstance(value, Tensor) or value.shape != tensor.shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InvalidArgument(
                f"`off` of {self.path!r} returned {got}, wanted a tensor of shape {tuple(tensor.shape)} as the "
                f"module's "
                "output; return a tensor of that shape."
            )
        return value

    def _copied_input(self, shape: TensorShape, arguments: Arguments) -> Tensor:
        """The first tensor input, which must look like the output."""
        given = first_tensor(arguments)
        if given.shape != shape.shape:
            raise InvalidArgument(
                f"`off='identity'` of {self.path!r} got an input of shape {tuple(given.shape)} for an output of shape "
                f"{tuple(shape.shape)}, wanted equal shapes; use 'zero', 'mean' or a function for this component."
            )
        # a copy, for what follows may write into it in place
        return given.to(shape.dtype, copy=True)


Hook: TypeAlias = Callable[[SwitchedModule, "tuple[Any, ...]", "dict[str, Any]"], Any]


def is_float(leaf: Any) -> bool:
    """Whether it is a tensor that can be switched off and blended."""
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def first_tensor(arguments: Arguments) -> Tensor:
    """The first tensor among positional and then keyword arguments.

    Raises:
        InvalidArgument: there is none.
    """
    for leaf in pytree.tree_leaves(arguments):
        if isinstance(leaf, Tensor):
            return leaf
    raise InvalidArgument(
        "`off` needs an input, but a switched module was called without any tensor, wanted at least one; use 'zero'."
    )


def copied(arguments: Arguments) -> Arguments:
    """The same arguments with tensors of their own."""
    args, kwargs = pytree.tree_map_only(Tensor, _twin, arguments)
    return args, kwargs


def _twin(tensor: Tensor) -> Tensor:
    """A copy with the strides of the tensor, for a sum over other strides may round otherwise."""
    copy = tensor.clone()
    if tensor.layout is not torch.strided or copy.stride() == tensor.stride() or not copy.numel():
        return copy
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((extent,), (1,)).clone().as_strided(tensor.shape, tensor.stride())


def template_of(output: Any) -> Template | None:
    """The form of an output; None where it holds more than floating-point tensors and constants."""
    if isinstance(output, Tensor):
        return Template(_LEAF, (TensorShape.of(output),)) if is_float(output) else None
    leaves, structure = pytree.tree_flatten(output)
    form: list[Any] = []
    for leaf in leaves:
        if is_float(leaf):
            form.append(TensorShape.of(leaf))
        elif leaf is None or isinstance(leaf, bool | int | float | str):
            form.append(leaf)
        else:
            return None
    return Template(structure, tuple(form)) if any(isinstance(leaf, TensorShape) for leaf in form) else None


_LEAF = pytree.tree_structure(0)


def signature(arguments: Arguments) -> Any:
    """What the shape of an output may depend on: the shapes and constants of the input."""
    args, kwargs = arguments
    if not kwargs and len(args) == 1 and isinstance(args[0], Tensor):
        return args[0].shape, args[0].dtype
    leaves, structure = pytree.tree_flatten(arguments)
    return structure, tuple(
        (leaf.shape, leaf.dtype)
        if isinstance(leaf, Tensor)
        else (type(leaf), leaf if isinstance(leaf, bool | int | float | str) else None)
        for leaf in leaves
    )


def switched_modules(components: Sequence[ResolvedComponent]) -> tuple[SwitchedModule, ...]:
    """Every module of every player, in the order of the players."""
    return tuple(
        SwitchedModule(player=player, path=path, module=module, off=component.off)
        for player, component in enumerate(components)
        for path, module in zip(component.paths, component.modules, strict=True)
    )


@contextmanager
def gated(model: nn.Module, switched: Sequence[SwitchedModule], hook: Hook) -> Iterator[None]:
    """Let `hook` answer the calls of switched modules; afterwards every module is as it was.

    Compiled modules that contain a switched one run as written meanwhile, for their compiled code would not meet the
    gate; a compiled module that is itself switched stays compiled.
    """
    inside = {id(each.module) for each in switched}
    before: list[tuple[nn.Module, str, Any]] = []

    def put(module: nn.Module, name: str, value: Any) -> None:
        before.append((module, name, module.__dict__.get(name, _MISSING)))
        module.__dict__[name] = value

    try:
        for module in model.modules():
            if id(module) not in inside and any(id(part) in inside for part in module.modules()):
                if is_compiled(module):
                    put(module, "forward", module._orig_mod)
                if module.__dict__.get("_compiled_call_impl") is not None:
                    put(module, "_compiled_call_impl", None)
        for each in switched:
            each.run = each.module.forward
            put(each.module, "forward", _gate(each, hook))
        yield
    finally:
        for module, name, value in reversed(before):
            if value is _MISSING:
                # whoever left a pass unfinished may have had the attributes put back already
                module.__dict__.pop(name, None)
            else:
                module.__dict__[name] = value
        for each in switched:
            each.run = _no_forward


_MISSING = object()


def _gate(switched: SwitchedModule, hook: Hook) -> Callable[..., Any]:
    """The forward of a switched module."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        return hook(switched, args, kwargs)

    return forward


def weights_of(mask: Mapping[str, float] | Sequence[float], players: Sequence[str]) -> Weights:
    """One weight per player, checked.

    Raises:
        InvalidArgument: another number of weights, an unknown name, or a weight outside 0 .. 1.
    """
    if isinstance(mask, Mapping):
        unknown = [name for name in mask if name not in players]
        if unknown:
            raise InvalidArgument(
                f"`weights` names {unknown[0]!r}, wanted players among {', '.join(players)}; leave it out."
            )
        weights = tuple(float(mask.get(name, 1.0)) for name in players)
    else:
        weights = tuple(float(weight) for weight in mask)
    if len(weights) != len(players) or not all(0.0 <= weight <= 1.0 for weight in weights):
        raise InvalidArgument(
            f"`weights` is {list(weights)}, wanted {len(players)} numbers between 0 (off) and 1 (on); pass one per "
            f"player."
        )
    return weights
