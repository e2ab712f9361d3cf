"""The mode that sees every call of a function of torch that a model makes, and answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import MethodWrapperType
from typing import Any

from torch import Tensor, overrides
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from accredit.models.replay_keys import ATTENTION, Rule, attention_kernels, rule_of
from accredit.models.replay_recorder import MISSING, Call, Recorder
from accredit.models.replay_store import LOST, Counter, Memory, NotReplayable

Function = Callable[..., Any]
Rules = dict[Any, Rule]


class ReplayMode(TorchFunctionMode):
    """Answers calls by what they gave before.

    Args:
        recorder: where calls are found and recorded.
        rules: what to do with functions that were met before; added to.
    """

    def __init__(self, recorder: Recorder, rules: Rules) -> None:
        super().__init__()
        self.recorder = recorder
        self.store = recorder.store
        self.rules = rules
        self.refused: NotReplayable | None = None
        """Why the model cannot be replayed; the model itself may have caught the exception."""
        self.active = True
        """Whether calls are looked at; inside of what runs as one value they are not."""

    @contextmanager
    def passive(self) -> Iterator[None]:
        """Run something without looking at its calls."""
        before, self.active = self.active, False
        # compiled code and modes that the model enters itself must not meet this mode, if that can be avoided
        modes: Any = overrides
        top = modes._get_current_function_mode() is self
        if top:
            modes._pop_mode()
        try:
            yield
        finally:
            if top:
                modes._push_mode(self)
            self.active = before

    def __torch_function__(
        self, func: Function, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer a call."""
        kwargs = kwargs or {}
        if not self.active:
            return func(*args, **kwargs)
        try:
            return self._answer(func, args, kwargs)
        except NotReplayable as refused:
            self.refused = refused
            raise

    def _answer(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer a call by the rule of its function."""
        # a bound accessor is made anew at every access, its attribute is not
        name = (func.__name__, func.__self__) if type(func) is MethodWrapperType else func
        rule = self.rules.get(name)
        if rule is None:
            rule = self.rules[name] = rule_of(func)
        if rule is Rule.PLAIN:
            return func(*args, **kwargs)
        if rule is Rule.RECALL and not (kwargs and (kwargs.get("inplace") or kwargs.get("out") is not None)):
            return self._recall(func, name, args, kwargs)
        return self._special(func, name, rule, args, kwargs)

    def _recall(self, func: Function, name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function gave before, or gives now."""
        head = (name, attention_kernels()) if getattr(func, "__name__", "") in ATTENTION else name
        call = self.recorder.prepare(head, args, kwargs)
        if not isinstance(call, Call):
            return func(*args, **kwargs)
        found = self.recorder.find(call)
        if found is not MISSING:
            return found
        result = func(*args, **kwargs)
        if not self.recorder.record(call, result) and not any(
            isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(result)
        ):
            self.rules[name] = Rule.PLAIN
        return result

    def _special(self, func: Function, name: Any, rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function that does more than give a result."""
        if rule in (Rule.WRITE, Rule.RECALL):
            return self._write(func, name, args, kwargs)
        if rule is Rule.SHARE:
            self._lose(args[:1])
        elif rule is Rule.GET_DATA:
            return self._get_data(func, args[0])
        elif rule is Rule.SET_DATA:
            return self._set_data(func, args[0], args[1])
        elif rule is Rule.GRADIENTS and args[0]:
            # a result that was kept has no history to differentiate
            raise NotReplayable("`forward` turns gradients on")
        elif rule is Rule.REFUSE:
            raise NotReplayable(f"`forward` calls `{getattr(func, '__name__', func)}`")
        return func(*args, **kwargs)

    def _write(self, func: Function, name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function that writes into its first argument, or into `out`."""
        call = self.recorder.prepare(("write", name), args, kwargs)
        out = kwargs.get("out")
        first = args[0] if args else next(iter(kwargs.values()), None)
        targets = [leaf for leaf in pytree.tree_leaves(first if out is None else out) if isinstance(leaf, Tensor)]
        memories = self._protect(targets)
        result = func(*args, **kwargs)
        history = self.recorder.value_after(call.key, call.players) if isinstance(call, Call) else None
        for memory in memories:
            memory.history = LOST if history is None else history
        for target in targets:
            known = self.store.known_of(target)
            if known is not None:
                known.counter.version = target._version
        if isinstance(call, Call):
            self.recorder.leaves_arguments(call)
        return result

    def _protect(self, tensors: Iterable[Any]) -> list[Memory]:
        """Keep what is in the memories of tensors from being changed; these memories."""
        found = [self.store.memory_of(tensor) for tensor in tensors if isinstance(tensor, Tensor)]
        memories = [memory for memory in dict.fromkeys(found) if memory is not None]
        for memory in memories:
            self.store.protect(memory)
        return memories

    def _lose(self, tensors: Iterable[Any]) -> None:
        """Know nothing more of tensors into which others may write unseen; constants are taken to stay."""
        known = [self.store.memory_of(tensor) for tensor in tensors if isinstance(tensor, Tensor)]
        for memory in known:
            if memory is not None and not memory.constant:
                self.store.protect(memory)
                memory.history = LOST

    def _get_data(self, func: Function, tensor: Tensor) -> Any:
        """`tensor.data`: the same numbers in the same memory, with a version counter of its own."""
        result = func(tensor)
        known = self.store.known_of(tensor)
        value = None if known is None else self.recorder.state(known, tensor)
        if known is not None and value is not None:
            self.store.meet(result, value, known.memory, Counter(result._version))
        else:
            self._lose([tensor])
        return result

    def _set_data(self, func: Function, tensor: Tensor, given: Tensor) -> Any:
        """`tensor.data = given`: from now on another name of what is given."""
        self._protect([tensor])
        known = self.store.known_of(given)
        value = None if known is None else self.recorder.state(known, given)
        result = func(tensor, given)
        if known is not None and value is not None:
            self.store.meet(tensor, value, known.memory, Counter(tensor._version))
        else:
            self.store.known.pop(id(tensor), None)
            self._lose([given])
        return result
