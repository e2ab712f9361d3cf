"""Tensors that replay knows the value of, and those among them that it keeps, within a number of bytes.

Three things are kept apart. A `Value` says what the numbers of a tensor are (equal values, equal bits), without holding
them. A `Known` ties a tensor object to its value for as long as nobody writes into it; it holds the object weakly. An
`Entry` is what one call gave; it keeps the objects themselves while there is room, and the values in any case, so that
what follows a tensor that had to go is found again once that tensor was computed again.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accredit.models.replay_agreement import NEVER, Agreement


class NotReplayable(Exception):
    """The model does something that replay cannot follow; evaluate it one pass after another."""


class Value:
    """The numbers of a tensor, known by where they came from; compared by identity."""

    __slots__ = ("players",)

    def __init__(self, players: int) -> None:
        self.players = players
        """Players that decided about it, as bits."""


LOST = Value(0)
"""History of a memory that was written in a way that cannot be named."""


class Counter:
    """The version that tensors sharing a version counter are expected to have."""

    __slots__ = ("version",)

    def __init__(self, version: int) -> None:
        self.version = version


class Memory:
    """What tensors that are views of one another share: being written, and the bytes."""

    __slots__ = ("address", "constant", "history", "kept", "size")

    def __init__(self, address: int, size: int, *, constant: bool = False) -> None:
        self.address = address
        self.size = size
        self.constant = constant
        """Parameters, buffers and inputs: nothing may write into them."""
        self.history: Value | None = None
        """All writes so far."""
        self.kept: list[Known] = []


class Known:
    """A tensor object whose value is known."""

    __slots__ = ("counter", "history", "kept", "memory", "passes", "reference", "value")

    def __init__(self, tensor: Tensor, value: Value, memory: Memory, counter: Counter) -> None:
        self.reference = weakref.ref(tensor)
        self.value = value
        self.memory = memory
        self.history = memory.history
        """Writes before the value became this one; the value holds while there are no further ones."""
        self.counter = counter
        self.kept: Tensor | None = None
        self.passes: Sequence[int] = ()
        """Passes that can use it, where it is kept."""

    def holds(self, tensor: Tensor) -> bool:
        """Whether nobody has written into the tensor since."""
        return self.memory.history is self.history and tensor._version == self.counter.version


class Store:
    """Everything that is known and kept in one run over the coalitions.

    Args:
        agreement: until when something is of use.
        max_bytes: of the tensors that are kept; what is used furthest in the future goes first.
    """

    def __init__(self, agreement: Agreement, max_bytes: int) -> None:
        self.agreement = agreement
        self.max_bytes = max_bytes
        self.known: dict[int, Known] = {}
        """By the id of the tensor; the reference says whether it is still that tensor."""
        self.bytes = 0
        self.peak_bytes = 0
        self._loose: list[int] = []
        self._memories: dict[Memory, None] = {}
        self._victims: list[tuple[int, Memory]] | None = None

    def meet(self, tensor: Tensor, value: Value, memory: Memory, counter: Counter) -> Known:
        """Know the value of a tensor from now on."""
        known = self.known[id(tensor)] = Known(tensor, value, memory, counter)
        self._loose.append(id(tensor))
        return known

    def meet_constant(self, tensor: Tensor) -> Known:
        """Know a tensor that is the same in every pass."""
        known = self.known.get(id(tensor))
        if known is None or known.reference() is not tensor:
            if tensor.layout != torch.strided or tensor.is_nested:
                raise NotReplayable("the model or the batch holds sparse or nested tensors")
            memory = Memory(tensor.untyped_storage()._cdata, 0, constant=True)
            known = self.known[id(tensor)] = Known(tensor, Value(0), memory, Counter(tensor._version))
        return known

    def known_of(self, tensor: Tensor) -> Known | None:
        """What is known of a tensor, valid or not."""
        known = self.known.get(id(tensor))
        return known if known is not None and known.reference() is tensor else None

    def memory_of(self, tensor: Tensor) -> Memory | None:
        """The memory of a known tensor, or of the one that it is a view of.

        Raises:
            NotReplayable: the tensor was moved to another memory unseen.
        """
        known = self.known_of(tensor)
        if known is None and tensor._base is not None:
            known = self.known_of(tensor._base)
        if known is None:
            return None
        if known.memory.address != tensor.untyped_storage()._cdata:
            raise NotReplayable("`forward` puts another memory under a tensor (`set_`)")
        return known.memory

    def keep(self, known: Known, tensor: Tensor, passes: Sequence[int]) -> None:
        """Keep a tensor for these passes, if there is room or can be made."""
        memory = known.memory
        known.kept, known.passes = tensor, passes
        memory.kept.append(known)
        if len(memory.kept) == 1:
            self._memories[memory] = None
            self.bytes += memory.size
            if self.bytes > self.max_bytes:
                self._make_room(memory)
        self.peak_bytes = max(self.peak_bytes, self.bytes)

    def let_go(self, known: Known) -> None:
        """Keep a tensor no longer; its value stays known while somebody else holds it."""
        tensor, memory = known.kept, known.memory
        if tensor is not None:
            known.kept = None
            memory.kept.remove(known)
            self._loose.append(id(tensor))
            if not memory.kept:
                del self._memories[memory]
                self.bytes -= memory.size

    def let_go_of_memory(self, memory: Memory) -> None:
        """Keep nothing of what shares a memory."""
        for known in list(memory.kept):
            self.let_go(known)

    def lose(self, memory: Memory) -> None:
        """Forget what is in a memory into which something unknown was written.

        Raises:
            NotReplayable: it is the memory of a parameter, a buffer or an input.
        """
        self.refuse_constant(memory)
        self.let_go_of_memory(memory)
        memory.history = LOST

    def protect(self, memory: Memory) -> None:
        """Put a copy in the place of what is kept in a memory, which is about to be written into."""
        self.refuse_constant(memory)
        held = [(known, known.kept) for known in memory.kept if known.kept is not None]
        self.let_go_of_memory(memory)
        originals = [
            (known, tensor)
            for known, tensor in held
            if known.history is None and tensor._base is None and known.holds(tensor)
        ]
        # of several that share a memory without being views, copies would share none
        if len(originals) == 1:
            known, tensor = originals[0]
            copy = tensor.clone()
            if copy.stride() == tensor.stride():
                self._move(known, copy)

    def _move(self, known: Known, copy: Tensor) -> None:
        """Let what was known of one tensor be known of its copy, and the tensor stay known by itself."""
        tensor, passes = known.reference(), known.passes
        if tensor is not None:
            self.meet(tensor, known.value, known.memory, known.counter)
        known.reference = weakref.ref(copy)
        known.memory = memory_of_new(copy)
        known.history = None
        known.counter = Counter(copy._version)
        self.known[id(copy)] = known
        self.keep(known, copy, passes)

    def refuse_constant(self, memory: Memory) -> None:
        """Raise where a memory must not be written into."""
        if memory.constant:
            raise NotReplayable("`forward` writes into a parameter, a buffer or its input")

    def end_pass(self) -> None:
        """Forget tensors that nobody holds any more."""
        self._victims = None
        remaining = []
        for number in self._loose:
            known = self.known.get(number)
            if known is None or known.kept is not None:
                continue
            if known.reference() is None:
                del self.known[number]
            else:
                remaining.append(number)
        self._loose = list(dict.fromkeys(remaining))

    def _make_room(self, newest: Memory) -> None:
        """Let go what is used furthest in the future, perhaps the newest itself."""
        if self._victims is None:
            uses = [(self._next_use(memory), memory) for memory in self._memories if memory.size]
            self._victims = sorted(uses, key=lambda use: use[0])
        own = self._next_use(newest)
        while self.bytes > self.max_bytes:
            while self._victims and (not self._victims[-1][1].kept or self._victims[-1][1] is newest):
                self._victims.pop()
            if not self._victims or self._victims[-1][0] < own:
                self.let_go_of_memory(newest)
                return
            self.let_go_of_memory(self._victims.pop()[1])

    def _next_use(self, memory: Memory) -> int:
        """The next pass that can use something of it."""
        return min((self.agreement.next_after_now(known.passes) for known in memory.kept), default=NEVER)


def memory_of_new(tensor: Tensor) -> Memory:
    """The memory of a tensor that shares it with none that is known."""
    storage = tensor.untyped_storage()
    return Memory(storage._cdata, storage.nbytes())


class Entry:
    """What one call gave: the form of its result, the values, and while there is room the tensors.

    `turn` and `cursor` count the calls of the present pass: a repeated call gets objects of its own.
    """

    __slots__ = ("calls", "cursor", "plan", "structure", "turn", "values")

    def __init__(self, plan: Sequence[Any], structure: Any, values: Sequence[Value]) -> None:
        self.plan = plan
        """Per leaf an `Argument`, a `Part`, or a constant."""
        self.structure = structure
        """How leaves make the result; None: the only leaf is the result."""
        self.values = values
        self.calls: list[list[Known]] = []
        self.turn = -1
        self.cursor = 0

    def next_call(self, turn: int) -> int:
        """How often it was asked for in this pass before."""
        if self.turn != turn:
            self.turn, self.cursor = turn, 0
        else:
            self.cursor += 1
        return self.cursor


class Argument:
    """A leaf that is an argument itself."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Part:
    """A leaf that is a tensor of its own, perhaps a view of an argument."""

    __slots__ = ("number", "view_of")

    def __init__(self, number: int, view_of: int) -> None:
        self.number = number
        """Among the tensors of the entry."""
        self.view_of = view_of
        """Number of the argument that shares its memory; -1: none does."""
