"""The first passes over a model: is it what can be evaluated, and what does sharing have to know of it?

Two passes with all on over the first batch. They must agree bit by bit, or the model carries something from pass to
pass, and its values would depend on the order of coalitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from accredit.errors import InvalidArgument
from accredit.models.batches import ForwardPass, OnCopies
from accredit.models.compare import bit_equal
from accredit.models.component import ResolvedComponent
from accredit.models.contents import tensors_of, with_tensors
from accredit.models.gate import SwitchedModule, Weights, gated
from accredit.models.guard import Attributes, Buffers, RandomState
from accredit.models.loop import OneAfterAnother
from accredit.models.switchable import SwitchableModel

MOST_OFF = 6
"""Players that are switched off one by one to see what they leave behind."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the first passes showed."""

    order: tuple[int, ...]
    """Players by their first execution; those that are functions come first, for what they change is not known."""
    draws: bool
    """Whether a pass draws random numbers; every pass then begins with the same generators."""
    changed_attributes: tuple[str, ...]
    """Attributes that a pass changes and that are put back, without effect on the next pass."""
    writes_inputs: bool
    """Whether a pass writes into the tensors of its batch, so that every pass needs a copy of its own."""


def inspect(switchable: SwitchableModel, forward: ForwardPass, later: Iterable[ForwardPass] = ()) -> Inspection:
    """Go over a batch twice, inside `evaluating()`.

    Args:
        switchable: the model and its players.
        forward: the pass over the first batch.
        later: passes over the other batches, which are made as far as it takes to see every player called: an expert
            may have nothing to do on the first one.

    Raises:
        InvalidArgument: a component that is never called, a kind of off that does not fit a module's shapes, or a model
            that carries state from pass to pass.
    """
    model = switchable.model
    attributes = Attributes.of(model)
    buffers, parameters = Buffers.of(model), _sums(model)
    kept = with_tensors(Tensor.clone, forward.batch)
    first: dict[int, int] = {}

    def watch(each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first.setdefault(id(each), len(first))
        output = each.run(*args, **kwargs)
        each.learn((args, kwargs), output)
        each.replaced((args, kwargs), output)  # the shapes of off are checked before anything is evaluated
        return output

    before = RandomState.now()
    try:
        switchable.set_weights((1.0,) * len(switchable.players))
        with gated(model, switchable.switched, watch):
            one = forward()
            draws = RandomState.now() != before
            before.restore()
            writes_inputs = not bit_equal(forward.batch, kept)
            if writes_inputs:
                _put_back(forward.batch, kept)
                forward = on_copies(forward)
                one = forward()
                before.restore()
            two = forward()
            before.restore()
            others = iter(later)
            while _uncalled(switchable, first) and (other := next(others, None)) is not None:
                (on_copies(other) if writes_inputs else other)()
                before.restore()
        changed = attributes.changed()
        if changed:
            _check_left_behind(switchable, forward, attributes, before)
        _check_weights(model, parameters)
        _check_stateless(model, buffers.written(), changed=changed, same=bit_equal(one, two))
    finally:
        buffers.restore()
        attributes.restore()
    _check_called(switchable, first)
    return Inspection(
        order=_order(switchable, first),
        draws=draws,
        changed_attributes=tuple(changed),
        writes_inputs=writes_inputs,
    )


def _check_left_behind(
    switchable: SwitchableModel, forward: ForwardPass, attributes: Attributes, generators: RandomState
) -> None:
    """Refuse a model that reads from an attribute what a part left there, and the part is off.

    Two passes of each coalition, one after a pass with all on, one as if it were the first, must agree.
    """
    n_players = len(switchable.players)
    coalitions = [(0.0,) * n_players]
    coalitions += [tuple(float(at != off) for at in range(n_players)) for off in range(min(n_players, MOST_OFF))]
    loop = OneAfterAnother(switchable)
    on = (1.0,) * n_players

    def outputs(some: Sequence[Weights]) -> list[Any]:
        found = []
        for output in loop.outputs(forward, some):
            generators.restore()
            found.append(output)
        return found

    for coalition in coalitions:
        attributes.restore()
        (first,) = outputs([coalition])
        attributes.restore()
        _, second = outputs([on, coalition])
        if not bit_equal(first, second):
            raise InvalidArgument(
                f"`model` reads what an earlier pass left in an attribute ({', '.join(attributes.changed())}) while "
                "the part that sets it is off, wanted values that do not depend on earlier passes; set it at the start "
                "of forward, or give `off` a function, which computes the part."
            )


def on_copies(forward: ForwardPass) -> ForwardPass:
    """The same pass, on a copy of the batch."""
    return ForwardPass(forward.model, OnCopies(forward.forward), forward.batch)


def _put_back(batch: Any, kept: Any) -> None:
    """Give the tensors of a batch the numbers that they had."""
    for tensor, value in zip(tensors_of(batch), tensors_of(kept), strict=True):
        tensor.copy_(value)


def _sums(model: nn.Module) -> list[int]:
    """A number per parameter that tells whether it was written to: no copy, which might not fit into memory."""
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = []
    for parameter in model.parameters():
        plain = parameter.detach()
        plain = torch.view_as_real(plain) if plain.is_complex() else plain
        known = plain.layout == torch.strided and not isinstance(parameter, UninitializedParameter)
        sums.append(int(plain.view(integers[plain.element_size()]).sum(dtype=torch.int64)) if known else 0)
    return sums


def _check_weights(model: nn.Module, before: list[int]) -> None:
    """Refuse a model that writes to its weights."""
    pairs = zip(model.named_parameters(), before, _sums(model), strict=True)
    written = [name for (name, _), then, now in pairs if then != now]
    if written:
        raise InvalidArgument(
            f"`model` writes to its parameters in forward ({', '.join(written[:3])}), wanted weights that stay as they "
            "are; do it in training alone, or after the optimizer's step."
        )


def _check_stateless(model: nn.Module, written: list[bool], *, changed: list[str], same: bool) -> None:
    """Refuse a model whose second pass differs from its first."""
    if same and not any(written):
        return
    names = [name for (name, _), moved in zip(model.named_buffers(), written, strict=True) if moved]
    held = ", ".join((*names, *changed)) or "something outside its buffers and attributes"
    raise InvalidArgument(
        f"`model` carries state from pass to pass ({held}), wanted the same output for the same batch whatever was "
        "evaluated before; reset it in forward, or evaluate a wrapper that does."
    )


def _check_called(switchable: SwitchableModel, first: dict[int, int]) -> None:
    """Refuse a component none of whose modules was called."""
    scripted = {
        id(part)
        for module in switchable.model.modules()
        if isinstance(module, torch.jit.ScriptModule)
        for part in module.children()
    }
    for component in _uncalled(switchable, first):
        if any(id(module) in scripted for module in component.modules):
            raise InvalidArgument(
                f"`components` has {component.name!r} ({', '.join(component.paths)}) inside a torch.jit script, which "
                "runs as one, wanted modules that are called by Python; name the script, or pass the model it was "
                "made of."
            )
        raise InvalidArgument(
            f"`components` has {component.name!r} ({', '.join(component.paths)}), which the model did not call on any "
            "batch, wanted modules that take part; its parent may use its parameters without calling it: name the "
            "parent, or a module inside that is called."
        )


def _uncalled(switchable: SwitchableModel, first: Mapping[int, int]) -> list[ResolvedComponent]:
    """Components that have modules, none of which was called."""
    called = {each.player for each in switchable.switched if id(each) in first}
    return [
        component
        for player, component in enumerate(switchable.components)
        if component.modules and player not in called
    ]


def _order(switchable: SwitchableModel, first: dict[int, int]) -> tuple[int, ...]:
    """Players by first execution."""
    place = {player: -1 for player, component in enumerate(switchable.components) if not component.modules}
    for each in switchable.switched:
        if id(each) in first:
            place[each.player] = min(place.get(each.player, len(first)), first[id(each)])
    return tuple(sorted(place, key=lambda player: (place[player], player)))


def reseeded(forward: ForwardPass, state: RandomState) -> ForwardPass:
    """The same pass, beginning with the generators in this state, every time."""
    inner = forward.forward

    def call(model: nn.Module, batch: Any) -> Any:
        state.restore()
        return inner(model, batch)

    return ForwardPass(forward.model, call, forward.batch)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a pass consists of."""

    per_operation: float
    """Floating-point operations and numbers written, per operation: is its price arithmetic or calls?"""
    looks_at_data: bool
    """Whether an operation gives a number to Python or a shape that depends on numbers, so that batches may go several
    ways."""


def count_work(forward: ForwardPass) -> Work:
    """Count the operations of one pass, inside `evaluating()`."""
    counter = _Operations()
    with counter:
        forward()
    return Work(
        per_operation=(counter.flops + counter.written) / max(counter.number, 1), looks_at_data=counter.looks_at_data
    )


class _Operations(TorchDispatchMode):
    """Counts operations, their arithmetic and the numbers that they write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = self.written = self.flops = 0
        self.looks_at_data = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it; views are free."""
        named = kwargs or {}
        output = func(*args, **named)
        self.looks_at_data |= bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags))
        if isinstance(output, Tensor) and output._base is None:
            self.number += 1
            self.written += output.numel()
            count = flop_registry.get(func.overloadpacket)
            if count is not None:
                self.flops += count(*args, **named, out_val=output)
        return output
