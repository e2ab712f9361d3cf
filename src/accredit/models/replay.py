"""Evaluating many coalitions of an unmodified eager model without computing again what did not change.

The model runs once per coalition as it is written, with all its branches, caches and side effects; but a function of
torch, or a module without players, that meets the same arguments as in an earlier pass gives the tensors of that pass.
So results equal those of one pass after another bit by bit. The idea is that of value numbering in compilers (Cocke,
1970), on values instead of expressions.

What it cannot see: kernels from outside of torch that write into a tensor which `forward` made by anything but `empty`,
and state outside of modules that one part of a model writes and another reads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils import _pytree as pytree

from accredit.models.batches import ForwardPass
from accredit.models.gate import SwitchedModule, Weights, gated, signature
from accredit.models.guard import RandomState
from accredit.models.loop import output_at
from accredit.models.replay_agreement import Agreement
from accredit.models.replay_keys import UNKEYABLE
from accredit.models.replay_mode import ReplayMode, Rules
from accredit.models.replay_modules import Effects, Part, attributes_watched, forwards_replaced, parts_without_players
from accredit.models.replay_recorder import MISSING, Call, Recorder
from accredit.models.replay_store import NotReplayable, Store, Value

if TYPE_CHECKING:
    from accredit.models.switchable import SwitchableModel

__all__ = ["NotReplayable", "Replay"]


class Replay:
    """Passes that share what they have in common, on any eager model.

    Memory: `max_bytes` for tensors that wait for a later pass, beside what a single pass needs.

    Args:
        switchable: the model and its players.
        max_bytes: of tensors that are kept between passes; with less, more is computed again.

    Example:
        >>> from accredit.models.switchable import SwitchableModel
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
        >>> switchable = SwitchableModel(model, ["0", "2"])
        >>> replay, batch = Replay(switchable, max_bytes=1 << 20), torch.ones(1, 2)
        >>> with switchable.evaluating():
        ...     forward = ForwardPass(switchable.model, switchable.forward, batch)
        ...     print([output.shape for output in replay.outputs(forward, [(1.0, 1.0), (1.0, 0.0)])])
        [torch.Size([1, 1]), torch.Size([1, 1])]
        >>> replay.hits
        2
    """

    name = "replay"

    def __init__(self, switchable: SwitchableModel, *, max_bytes: int) -> None:
        self.switchable = switchable
        self.max_bytes = max_bytes
        self.peak_bytes = 0
        """Most that was kept at once, over all calls of `outputs`."""
        self.hits = 0
        """Calls of functions and modules that were answered without computing."""
        self.misses = 0
        """Calls that were computed and recorded."""
        self._rules: Rules = {}

    def outputs(self, forward: ForwardPass, coalitions: Sequence[Weights]) -> Iterator[Any]:
        """Output of the model for each coalition in turn; sorted ones share most.

        Raises:
            NotReplayable: the model draws random numbers, writes into its parameters, buffers or inputs, uses tensors
                of its own kind or has players that set weights; what was given out before is right.
        """
        if self.switchable.has_setters:
            raise NotReplayable("players that set weights change what replay cannot see")
        if module_hooks._global_forward_hooks or module_hooks._global_forward_pre_hooks:
            raise NotReplayable("hooks on all modules would not run for modules that are not called")
        agreement = Agreement(coalitions)
        recorder = Recorder(agreement, Store(agreement, self.max_bytes))
        passes = _Passes(self.switchable, recorder, self._rules)
        passes.meet_constants(forward.batch)
        with passes.watching():
            for number in range(len(coalitions)):
                output = passes.run(forward, number)
                self.peak_bytes = max(self.peak_bytes, recorder.store.peak_bytes)
                self.hits, self.misses = self.hits + recorder.hits, self.misses + recorder.misses
                recorder.hits = recorder.misses = 0
                yield output


class _Passes:
    """The passes over one batch."""

    def __init__(self, switchable: SwitchableModel, recorder: Recorder, rules: Rules) -> None:
        self.switchable = switchable
        self.model = switchable.model
        self.recorder = recorder
        self.store = recorder.store
        self.mode = ReplayMode(recorder, rules)
        self.weights: Weights = ()
        self._thread = threading.get_ident()
        self._computing = 0
        """How many values are being computed, within which nothing may ask for the weights."""
        self._parts: dict[int, Part] = {}
        self._containers = containers(self.model)
        self._tags: dict[tuple[Value, int], Value] = {}
        self._bases: dict[Value, Value] = {}

    def meet_constants(self, batch: Any) -> None:
        """Know what is the same in every pass: the input, and all tensors that hang on the model."""
        tensors = [*self.model.parameters(), *self.model.buffers(), *pytree.tree_leaves(batch)]
        for module in self.model.modules():
            tensors.extend(pytree.tree_leaves([value for value in vars(module).values() if type(value) in _HOLDERS]))
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.layout is torch.strided and not tensor.is_inference():
                self.store.meet_constant(tensor)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Answer calls of modules."""
        players = {id(each.module) for each in self.switchable.switched}
        with gated(self.model, self.switchable.switched, self._switch):
            for each in self.switchable.switched:
                nested = any(id(inner) in players for inner in each.module.modules() if inner is not each.module)
                part = self._parts[id(each.module)] = Part(each.module, each.run)
                part.stepwise |= nested
            modules = parts_without_players(self.model, players)
            with forwards_replaced(modules, self._wrapped), attributes_watched(self._attribute_set):
                yield

    def run(self, forward: ForwardPass, number: int) -> Any:
        """One pass."""
        self.recorder.agreement.begin(number)
        self.weights = self.recorder.agreement.coalitions[number]
        # a pass that draws is refused before its output is given, so that no earlier one can have kept a draw
        generators, everything = _generators(), RandomState.now() if number == 0 else None
        with self.mode:
            output = forward()
        if self.mode.refused is not None:
            raise self.mode.refused
        same = all(map(torch.equal, generators, _generators()))
        if not same or (everything is not None and everything != RandomState.now()):
            raise NotReplayable("`forward` draws random numbers")
        self._hand_out(output)
        self.recorder.end_pass()
        return output

    def _hand_out(self, output: Any) -> None:
        """Keep no tensor that the caller gets, for the caller may write into it."""
        for leaf in pytree.tree_leaves(output):
            memory = self.store.memory_of(leaf) if isinstance(leaf, Tensor) else None
            if memory is not None and not memory.constant:
                self.store.protect(memory)

    def _wrapped(self, module: nn.Module, run: Any) -> Any:
        """The forward of a module without players."""
        part = self._parts[id(module)] = Part(module, run)

        def forward(*args: Any, **kwargs: Any) -> Any:
            if part.stepwise or not self.mode.active or threading.get_ident() != self._thread:
                return run(*args, **kwargs)
            return self._as_one_value(part, part, args, kwargs)

        return forward

    def _as_one_value(self, part: Part, head: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a module gives, computed only if it was not before."""
        call, found = self._asked(head, args, kwargs, 0)
        if found is not MISSING:
            return found
        if isinstance(call, Call):
            return self._computed(part, call, args, kwargs, lambda: part.run(*args, **kwargs))
        if part.opaque or (part.checked and call != UNKEYABLE):
            with self.mode.passive():
                return part.run(*args, **kwargs)
        return part.run(*args, **kwargs)

    def _asked(self, head: Any, args: tuple[Any, ...], kwargs: dict[str, Any], players: int) -> tuple[Call | int, Any]:
        """The call of a module and what it gave before."""
        # looking at tensors must not count as calls of the model
        with torch._C.DisableTorchFunction():
            call = self.recorder.prepare(head, args, kwargs, players)
            return call, self.recorder.find(call) if isinstance(call, Call) else MISSING

    def _computed(self, part: Part, call: Call, args: Any, kwargs: Any, compute: Any) -> Any:
        """Compute the value of a module with nothing looking on, and record it if that is all it does."""
        self._computing += 1
        try:
            with self.mode.passive():
                before = None if part.checked else Effects(part.module, (args, kwargs))
                result = compute()
                if before is not None:
                    self._check(part, call, before, Effects(part.module, (args, kwargs)))
        finally:
            self._computing -= 1
        with torch._C.DisableTorchFunction():
            if part.stepwise:
                self.recorder.leaves_arguments(call)
            elif not self.recorder.record(call, result):
                part.stepwise = not part.opaque
        return result

    def _check(self, part: Part, call: Call, before: Effects, after: Effects) -> None:
        """Find out by its first call whether a module may run as one value."""
        part.checked = True
        part.stepwise |= before != after
        if before.arguments != after.arguments:
            # perhaps through `.data`, which no version tells
            for known in call.operands:
                self.store.lose(known.memory)

    def _switch(self, each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a switched module gives."""
        weight = self.weights[each.player]
        if self._computing or threading.get_ident() != self._thread:
            self.mode.refused = NotReplayable("a player is called out of a module that does not contain it")
            raise self.mode.refused
        part = self._parts[id(each.module)]
        if part.stepwise or not self.mode.active:
            return self._step_by_step(weight, each, args, kwargs)
        call, found = self._asked((part, weight), args, kwargs, 1 << each.player)
        if found is not MISSING:
            return found
        if isinstance(call, Call):
            return self._computed(part, call, args, kwargs, lambda: self._value_at(weight, each, args, kwargs))
        if part.opaque or (part.checked and call != UNKEYABLE):
            with self.mode.passive():
                return output_at(weight, each, args, kwargs)
        return self._step_by_step(weight, each, args, kwargs)

    def _step_by_step(self, weight: float, each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a switched module gives at a weight, of which each call is looked at.

        No call in it has the weight among its arguments, so that what follows must be told that it depends on the
        player: it would be kept until the last pass.
        """
        output = output_at(weight, each, args, kwargs)
        with torch._C.DisableTorchFunction():
            given = [leaf for leaf in (*args, *kwargs.values()) if isinstance(leaf, Tensor)]
            passed_on = [known.value for leaf in given if (known := self.store.known_of(leaf)) is not None]
            for leaf in pytree.tree_leaves(output):
                known = self.store.known_of(leaf) if isinstance(leaf, Tensor) else None
                if known is not None and not known.memory.constant and known.value not in passed_on:
                    known.value = self._tagged(known.value, each.player)
        return output

    def _tagged(self, value: Value, player: int) -> Value:
        """The same numbers, known to depend on a player: the zeros of one player are not those of another."""
        base = self._bases.get(value, value)
        tagged = self._tags.get((base, player))
        if tagged is None:
            tagged = self._tags[base, player] = Value(base.players | 1 << player)
            self._bases[tagged] = base
        return tagged

    def _value_at(self, weight: float, each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a switched module gives at a weight."""
        known = each.templates.get(signature((args, kwargs)))
        output = output_at(weight, each, args, kwargs)
        if known is not None and each.templates[signature((args, kwargs))] != known:
            raise NotReplayable(f"the shape of the output of {each.path!r} depends on the numbers")
        return output

    def _attribute_set(self, module: nn.Module) -> None:
        """Look into a module that changes from now on, and into all that contain it."""
        for container in self._containers.get(id(module), ()):
            part = self._parts.get(id(container))
            if part is not None and not part.opaque:
                part.stepwise = True


def _generators() -> list[Tensor]:
    """State of the generators of torch, cheap enough to look at in every pass."""
    cuda: Any = torch.cuda
    return [torch.get_rng_state(), *(cuda.get_rng_state_all() if cuda.is_initialized() else ())]


_HOLDERS = (Tensor, nn.Parameter, list, tuple, dict)


def containers(model: nn.Module) -> dict[int, list[nn.Module]]:
    """By the id of a module, all modules that it is in, itself among them."""
    found: dict[int, list[nn.Module]] = {}
    for container in model.modules():
        for module in container.modules():
            found.setdefault(id(module), []).append(container)
    return found
