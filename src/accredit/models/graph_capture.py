"""One pass of a model as a graph of its operations, with the players marked.

`torch.export` records what eager execution would call, so that running the graph gives the same bits. Parameters and
buffers are inputs of the graph, found by name at every run: weights may change between runs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from accredit.models.batches import ForwardPass
from accredit.models.gate import gated
from accredit.models.graph_marks import marked
from accredit.models.graph_state import ModelState
from accredit.models.guard import Attributes, RandomState

if TYPE_CHECKING:
    from accredit.models.switchable import SwitchableModel


class NotCapturable(Exception):
    """This model, or this batch, has no graph that would surely equal its passes; the message says why."""


@dataclass(frozen=True)
class Captured:
    """A pass as a graph."""

    graph: fx.Graph
    sources: tuple[Source, ...]
    """Where the value of each placeholder comes from."""
    structure: pytree.TreeSpec
    """Of what the model returns."""
    leaves: tuple[Any, ...]
    """Of what the model returns: a constant, or None in the place of a tensor."""
    places: tuple[int, ...]
    """Which leaves are tensors: the outputs of the graph, in order."""


@dataclass(frozen=True)
class Source:
    """A tensor that goes into a graph."""

    place: int | None = None
    """Number of the leaf of the batch."""
    path: tuple[str, ...] | None = None
    """Attributes that lead from the model to it."""
    constant: Tensor | None = None

    def fetch(self, model: nn.Module, leaves: Sequence[Any]) -> Tensor:
        """The tensor as it is now."""
        if self.place is not None:
            given: Tensor = leaves[self.place]
            return given
        if self.path is None:
            assert self.constant is not None
            return self.constant
        found: Any = model
        for name in self.path:
            found = getattr(found, name)
        tensor: Tensor = found
        return tensor


class _Pass(nn.Module):
    """A pass as a module of tensors to tensors, as export wants it.

    What it runs is a closure, for export looks into the attributes of modules, copies them and puts them back.
    """

    def __init__(self, model: nn.Module, run: Callable[[Sequence[Tensor]], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.model = model
        self.run = run
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors that the model returns."""
        return self.run(tensors)


def capture(switchable: SwitchableModel, forward_pass: ForwardPass) -> Captured:
    """Trace one pass.

    Raises:
        NotCapturable: with the reason.
    """
    _check_model(switchable)
    given, batch_structure = pytree.tree_flatten(forward_pass.batch)
    returned: list[Any] = []

    def run(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        replaced = iter(tensors)
        leaves = [next(replaced) if isinstance(leaf, Tensor) else leaf for leaf in given]
        before, attributes = ModelState.of(forward_pass.model, same_tensors=True), Attributes.of(forward_pass.model)
        output = forward_pass.forward(forward_pass.model, pytree.tree_unflatten(leaves, batch_structure))
        # asked here, for export puts back some of what changed
        if ModelState.of(forward_pass.model, same_tensors=True) != before:
            raise NotCapturable(f"a pass changes attributes: {', '.join(attributes.changed())}")
        outputs, structure = pytree.tree_flatten(output)
        returned[:] = [structure, outputs]
        return tuple(leaf for leaf in outputs if isinstance(leaf, Tensor))

    traced = _Pass(forward_pass.model, run)
    tensors = tuple(leaf for leaf in given if isinstance(leaf, Tensor))
    with gated(switchable.model, switchable.switched, marked):
        program = _untraced(switchable.model, lambda: torch.export.export(traced, tensors, strict=False))
    structure, outputs = returned
    return Captured(
        graph=program.graph,
        sources=_sources(program, traced, [at for at, leaf in enumerate(given) if isinstance(leaf, Tensor)]),
        structure=structure,
        leaves=tuple(None if isinstance(leaf, Tensor) else _constant(leaf) for leaf in outputs),
        places=tuple(at for at, leaf in enumerate(outputs) if isinstance(leaf, Tensor)),
    )


def _untraced(model: nn.Module, export: Callable[[], Any]) -> Any:
    """What the export gives, with model and generators as they were before it."""
    attributes, generators = Attributes.of(model), RandomState.now()
    try:
        # torch talks about its own insides while it traces, repeats what the model's passes warn of anyway, and where
        # tracing fails it prints all of the graph that it had so far
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            program = export()
    except NotCapturable:
        raise
    except Exception as error:  # any failure of foreign code means the same: no graph
        text = str(error).strip().split("\n", maxsplit=1)[0]
        raise NotCapturable(f"tracing it failed: {type(error).__name__}: {text}") from error
    finally:
        # export puts equal tuples in the place of tuples
        attributes.restore()
        drawn = generators != RandomState.now()
        generators.restore()
    if drawn:
        raise NotCapturable("a pass draws random numbers")
    return program


def _check_model(switchable: SwitchableModel) -> None:
    """Refuse what tracing would get wrong without a sign."""
    if switchable.has_setters:
        raise NotCapturable("a player is a function that sets a weight")
    players = {id(each.module) for each in switchable.switched}
    for module in switchable.model.modules():
        state = module.__dict__
        compiled = isinstance(module, OptimizedModule) or state.get("_compiled_call_impl") is not None
        around = id(module) not in players and any(id(part) in players for part in module.modules())
        if compiled and not around:
            raise NotCapturable("a module is compiled, which may round differently")
        if state.get("_forward_hooks") or state.get("_forward_pre_hooks"):
            raise NotCapturable(f"a {type(module).__name__} has forward hooks")


def _constant(leaf: Any) -> Any:
    """A leaf of the output that is the same for every coalition."""
    if leaf is None or isinstance(leaf, bool | int | float | str):
        return leaf
    raise NotCapturable(f"it returns a {type(leaf).__name__}")


def _sources(program: Any, traced: _Pass, batch_places: Sequence[int]) -> tuple[Source, ...]:
    """Where the inputs of the graph come from; the leaves of the batch that are tensors come in this order."""
    places = iter(batch_places)
    sources = []
    for spec in program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            sources.append(Source(place=next(places)))
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            sources.append(_source(str(spec.target), program, traced))
        else:
            raise NotCapturable(f"it uses a {spec.kind.name.lower().replace('_', ' ')} as an input")
    return tuple(sources)


def _source(target: str, program: Any, traced: _Pass) -> Source:
    """A tensor of the model by its path, or a constant that has none."""
    names = target.split(".")
    found: Any = traced
    for name in names:
        found = getattr(found, name, None)
    if isinstance(found, Tensor) and names[0] == "model":
        return Source(path=tuple(names[1:]))
    constant = program.constants.get(target)
    if not isinstance(constant, Tensor):
        raise NotCapturable(f"it uses {target!r}, which is no tensor of the model")
    return Source(constant=constant)
