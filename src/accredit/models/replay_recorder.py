"""Calls that were made before, found again by what they were given.

A call has the key (function, surroundings, arguments), in which a tensor stands by its `Value`, a constant by its type
and itself. What it gave is kept as long as a later coalition agrees on all players that had a part in its arguments.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from accredit.models.replay_agreement import Agreement
from accredit.models.replay_keys import (
    ATOMS,
    SEQUENCES,
    STRANGE,
    UNKEYABLE,
    constant_key,
    is_plain,
    surroundings,
)
from accredit.models.replay_store import (
    LOST,
    Argument,
    Counter,
    Entry,
    Known,
    Memory,
    NotReplayable,
    Part,
    Store,
    Value,
    memory_of_new,
)


class Call:
    """A call whose arguments are all known."""

    __slots__ = ("key", "operands", "passes", "players")

    def __init__(self, key: tuple[Any, ...], operands: list[Known], players: int, passes: Sequence[int]) -> None:
        self.key = key
        self.operands = operands
        """The tensors among the arguments."""
        self.players = players
        self.passes = passes
        """In which it will be made again, unless a branch decides otherwise."""


MISSING = object()


class Recorder:
    """Finds and records calls.

    Args:
        agreement: until when a call is of use.
        store: where the tensors are.
    """

    def __init__(self, agreement: Agreement, store: Store) -> None:
        self.agreement = agreement
        self.store = store
        self.hits = 0
        self.misses = 0
        self._entries: dict[tuple[Any, ...], Entry] = {}
        self._states: dict[tuple[Any, ...], Value] = {}
        self._last_use: dict[int, list[tuple[dict[Any, Any], tuple[Any, ...]]]] = {}
        self._strangers: dict[int, weakref.ref[Tensor]] | None = {}

    def prepare(self, head: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, players: int = 0) -> Call | int:
        """The call, or what keeps it from having a key: `STRANGE` or `UNKEYABLE`."""
        key: list[Any] = [head, surroundings()]
        operands: list[Known] = []
        found = self._read(args, key, operands)
        if found >= 0 and kwargs:
            more = self._read_mapping(kwargs, key, operands)
            found = more if more < 0 else found | more
        if found < 0:
            return found
        players |= found
        return Call(tuple(key), operands, players, self.agreement.passes(players))

    def find(self, call: Call) -> Any:
        """What the call gave before, or `MISSING`."""
        entry = self._entries.get(call.key)
        if entry is None:
            return MISSING
        number = entry.next_call(self.agreement.turn)
        if number >= len(entry.calls):
            return MISSING
        leaves = []
        for part in entry.plan:
            leaf = part
            if type(part) is Part:
                known = entry.calls[number][part.number]
                leaf = known.kept
                if leaf is None or not known.holds(leaf):
                    return MISSING
                if part.view_of >= 0 and call.operands[part.view_of].memory is not known.memory:
                    return MISSING
            elif type(part) is Argument:
                leaf = call.operands[part.number].reference()
            leaves.append(leaf)
        self.hits += 1
        return leaves[0] if entry.structure is None else pytree.tree_unflatten(leaves, entry.structure)

    def record(self, call: Call, result: Any) -> bool:
        """Keep what a call gave if a later pass makes it again; whether that was possible."""
        self.misses += 1
        if call.passes[-1] <= self.agreement.turn:
            # nothing is known of the result then, so that nothing of what follows is looked at either
            return self.leaves_arguments(call)
        if not self.leaves_arguments(call) or torch._C._functorch.peek_interpreter_stack() is not None:
            return False
        leaves, structure = ([result], None) if type(result) is Tensor else pytree.tree_flatten(result)
        plan, tensors, memories = self._plan(leaves, call.operands)
        if plan is None:
            return False
        entry = self._entries.get(call.key)
        if (
            entry is None
            or len(entry.values) != len(tensors)
            or number_of_other_leaves(entry.plan) != number_of_other_leaves(plan)
        ):
            entry = Entry(plan, structure, [Value(call.players) for _ in tensors])
            entry.next_call(self.agreement.turn)
            self._enter(self._entries, call, entry)
        entry.plan = plan
        self._keep(entry, tensors, memories, call)
        return True

    def state(self, known: Known, tensor: Tensor) -> Value | None:
        """The value of a tensor that was written since it became known; None where that is lost."""
        memory = known.memory
        if memory.history is LOST:
            return None
        if tensor._version != known.counter.version:
            self.store.lose(memory)
            return None
        if memory.history is None or memory.history is known.history:
            return known.value
        return self.value_after((known.value, memory.history), known.value.players | memory.history.players)

    def value_after(self, key: tuple[Any, ...], players: int) -> Value | None:
        """The one value that a key stands for; None where no later pass asks for it."""
        value = self._states.get(key)
        if value is None:
            passes = self.agreement.passes(players)
            if passes[-1] <= self.agreement.turn:
                return None
            value = self._states[key] = Value(players)
            self._last_use.setdefault(passes[-1], []).append((self._states, key))
        return value

    def end_pass(self) -> None:
        """Forget what no later pass asks for."""
        for table, key in self._last_use.pop(self.agreement.turn, ()):
            gone = table.pop(key, None)
            if isinstance(gone, Entry):
                for call in gone.calls:
                    for known in call:
                        self.store.let_go(known)
        if self.agreement.turn >= 1:
            self._strangers = None
        self.store.end_pass()

    def leaves_arguments(self, call: Call) -> bool:
        """Whether the call left its arguments alone; those that it wrote into are lost."""
        unwritten = True
        for known in call.operands:
            tensor = known.reference()
            if tensor is None or tensor._version != known.counter.version:
                self.store.lose(known.memory)
                unwritten = False
        return unwritten

    def _enter(self, table: dict[Any, Any], call: Call, entry: Entry) -> None:
        """Put an entry in the place of an earlier one."""
        earlier = table.get(call.key)
        if earlier is None:
            self._last_use.setdefault(call.passes[-1], []).append((table, call.key))
        else:
            for calls in earlier.calls:
                for known in calls:
                    self.store.let_go(known)
        table[call.key] = entry

    def _keep(self, entry: Entry, tensors: list[Tensor], memories: list[tuple[Memory, Counter]], call: Call) -> None:
        """Keep the tensors of the entry's present call."""
        news = [
            self.store.meet(tensor, value, memory, counter)
            for tensor, value, (memory, counter) in zip(tensors, entry.values, memories, strict=True)
        ]
        if entry.cursor < len(entry.calls):
            for known in entry.calls[entry.cursor]:
                self.store.let_go(known)
            entry.calls[entry.cursor] = news
        elif entry.cursor == len(entry.calls):
            entry.calls.append(news)
        else:
            return
        for known, tensor in zip(news, tensors, strict=True):
            self.store.keep(known, tensor, call.passes)

    def _plan(
        self, leaves: Iterable[Any], operands: Sequence[Known]
    ) -> tuple[list[Any] | None, list[Tensor], list[tuple[Memory, Counter]]]:
        """How leaves are made again, and the tensors among them with their memories; None where they cannot be."""
        plan: list[Any] = []
        tensors: list[Tensor] = []
        memories: list[tuple[Memory, Counter]] = []
        sharing = {known.memory.address: number for number, known in enumerate(operands)}
        addresses: dict[int, Memory] = {}
        for leaf in leaves:
            if not isinstance(leaf, Tensor):
                if type(leaf) not in ATOMS and type(leaf) not in (float, complex):
                    return None, [], []
                plan.append(leaf)
                continue
            number = next((at for at, known in enumerate(operands) if known.reference() is leaf), None)
            known = self.store.known_of(leaf)
            if number is not None:
                plan.append(Argument(number))
            elif known is not None and known.memory.constant:
                plan.append(leaf)
            elif known is not None or not is_plain(leaf) or leaf.layout is not torch.strided:
                return None, [], []
            else:
                view_of = sharing.get(leaf.untyped_storage()._cdata, -1)
                memory, counter = self._memory(leaf, operands[view_of] if view_of >= 0 else None, addresses)
                if memory.history is LOST:
                    return None, [], []
                plan.append(Part(len(tensors), view_of))
                tensors.append(leaf)
                memories.append((memory, counter))
        return plan, tensors, memories

    def _memory(self, leaf: Tensor, shared: Known | None, addresses: dict[int, Memory]) -> tuple[Memory, Counter]:
        """The memory and the version counter of a result, which may be those of an argument."""
        if leaf.is_inference():
            raise NotReplayable("`forward` makes inference tensors, which have no versions")
        base = leaf._base
        if shared is not None:
            tensor = shared.reference()
            # other aliases (detach, data) may count their writes elsewhere: any difference then counts as unknown
            same = base is not None and tensor is not None and (base is tensor or base is tensor._base)
            return shared.memory, shared.counter if same else Counter(leaf._version)
        memory = None if base is None else self.store.memory_of(base)
        if memory is None:
            new = memory_of_new(leaf)
            memory = addresses.setdefault(new.address, new)
        return memory, Counter(leaf._version)

    def _read(self, arguments: Iterable[Any], key: list[Any], operands: list[Known]) -> int:
        """Add arguments to a key; the players that decided about them, as bits."""
        players = 0
        for each in arguments:
            kind = type(each)
            if kind is Tensor or kind is nn.Parameter:
                known = self.store.known.get(id(each))
                if (known is None or known.reference() is not each) and (known := self._met_again(each)) is None:
                    return STRANGE
                value = known.value if known.holds(each) else self.state(known, each)
                if value is None:
                    return STRANGE
                key.append(value)
                operands.append(known)
                players |= value.players
                continue
            if kind in ATOMS:
                key.append(kind)
                key.append(each)
                continue
            more = self._read_other(each, kind, key, operands)
            if more < 0:
                return more
            players |= more
        return players

    def _read_other(self, each: Any, kind: type, key: list[Any], operands: list[Known]) -> int:
        """Add a container or a rare constant to a key."""
        if kind in SEQUENCES:
            key.extend((kind, len(each)))
            return self._read(each, key, operands)
        if kind is dict:
            key.append(dict)
            return self._read_mapping(each, key, operands)
        if isinstance(each, Tensor):
            raise NotReplayable(f"`forward` uses tensors of its own kind, {kind.__name__}")
        part = constant_key(each)
        if part is None:
            return UNKEYABLE
        key.extend(part)
        return 0

    def _read_mapping(self, mapping: Mapping[Any, Any], key: list[Any], operands: list[Known]) -> int:
        """Add names and their arguments to a key."""
        for name in mapping:
            if type(name) not in ATOMS:
                return UNKEYABLE
        key.append(tuple(mapping))
        return self._read(mapping.values(), key, operands)

    def _met_again(self, tensor: Tensor) -> Known | None:
        """A tensor that came from nowhere in the first pass and is there in the second is the same in every pass."""
        if self._strangers is None:
            return None
        seen = self._strangers.get(id(tensor))
        if self.agreement.turn == 0:
            self._strangers[id(tensor)] = weakref.ref(tensor)
        elif seen is not None and seen() is tensor:
            return self.store.meet_constant(tensor)
        return None


def number_of_other_leaves(plan: Sequence[Any]) -> int:
    """Leaves of a plan that are no tensors of their own."""
    return sum(type(part) is not Part for part in plan)
