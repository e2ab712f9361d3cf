"""A rewritten graph cut into segments: what is needed together and changes together.

A switch has two ports, what it gives while on and while off. Operations between switches belong to one segment where

    they depend on the same switches (with no other switch between), and
    the same ports, or the output of the model, need them (with no other switch between).

Along every edge the first set grows and the second shrinks, so segments have an order; and whoever needs a part of a
segment needs all of it, so that nothing is computed that is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from accredit.models.graph_marks import REORDER, SWITCH, reordered
from accredit.models.graph_rewrite import AUTOCAST, CLONE, FOR_WRITE, Rewritten, is_fresh, tensors_of

Place: TypeAlias = "tuple[int, int]"
"""(number of a unit, number of its output); unit -1 stands for the placeholders."""
OUTSIDE = -1


@dataclass(frozen=True)
class Stored:
    """Memory of one output of a unit."""

    owned: tuple[tuple[int, int], ...]
    """(name, bytes) of the storages that the unit makes for it; outputs that share one name it alike."""
    lent: tuple[int, ...]
    """Numbers of the inputs of the unit whose storages it is a view of."""


@dataclass(frozen=True)
class Segment:
    """Operations that run together."""

    inputs: tuple[Place, ...]
    run: Callable[..., Any]
    """From the inputs to the outputs: a value where there is one, else a tuple."""
    stored: tuple[Stored, ...]
    """Of every output."""
    workspace: int
    """Bytes that it holds at most while it runs, beside its inputs."""


@dataclass(frozen=True)
class Switch:
    """One tensor that a player switches."""

    player: int
    on: Place
    off: Place
    n_bytes: int


Unit: TypeAlias = "Segment | Switch"


@dataclass(frozen=True)
class Program:
    """Units in an order in which each comes after what it needs."""

    units: tuple[Unit, ...]
    outputs: tuple[Place, ...]
    fresh: tuple[bool, ...]
    """Per output, whether it surely shares no memory with anything else."""


def cut(rewritten: Rewritten) -> Program:
    """The segments of a graph."""
    return _Cutter(rewritten).program()


class _Cutter:
    """The nodes of a graph by the segment that they are in."""

    def __init__(self, rewritten: Rewritten) -> None:
        self.storages = rewritten.storages
        self.after = rewritten.after
        self.nodes = list(rewritten.graph.nodes)
        self.order = {node: at for at, node in enumerate(self.nodes)}
        self.placeholders = [node for node in self.nodes if node.op == "placeholder"]
        self.output = self.nodes[-1]
        self.key = self._keys()
        self.groups: dict[Any, list[fx.Node]] = {}
        for node in self.nodes:
            if node in self.key:
                self.groups.setdefault(self.key[node], []).append(node)
        self.place: dict[fx.Node, Place] = {node: (OUTSIDE, at) for at, node in enumerate(self.placeholders)}

    def _keys(self) -> dict[fx.Node, Any]:
        """What tells segments apart: for every needed operation the switches before it and the ports behind it."""
        before: dict[fx.Node, frozenset[int]] = {}
        for node in self.nodes:
            sources = [*node.all_input_nodes, *self.after.get(node, ())]
            found = [frozenset([self.order[s]]) if s.target is SWITCH else before[s] for s in sources]
            before[node] = frozenset().union(*found)
        behind: dict[fx.Node, set[tuple[int, int]]] = {node: set() for node in self.nodes}
        needed: set[fx.Node] = {self.output}
        for node in reversed(self.nodes):
            if node not in needed:
                continue
            sources = [*node.all_input_nodes, *self.after.get(node, ())]
            needed.update(sources)
            for source in sources:
                if node is self.output:
                    behind[source].add((self.order[node], 0))
                elif node.target is not SWITCH:
                    behind[source] |= behind[node]
            if node.target is SWITCH:
                # a value that is both on and off is a source once
                for port, source in enumerate(node.args[:2]):
                    behind[source].add((self.order[node], port))
        keys = {}
        for node in self.nodes:
            if node in needed and node.op == "call_function":
                # a copy is made where it is written to: a value that others hold is written to otherwise
                where = node.meta.get(FOR_WRITE, node)
                key = (before[where], frozenset(behind[where]), where.meta.get(AUTOCAST))
                keys[node] = node if node.target is SWITCH else key
        return keys

    def program(self) -> Program:
        """The units, in order."""
        units: list[Unit] = []
        for key in self._in_order():
            if isinstance(key, fx.Node):
                units.append(self._switch(key))
                self.place[key] = (len(units) - 1, 0)
            else:
                segment, outputs = self._segment(self.groups[key])
                units.append(segment)
                self.place.update({node: (len(units) - 1, at) for at, node in enumerate(outputs)})
        results = self.output.args[0]
        return Program(
            tuple(units), tuple(self.place[node] for node in results), tuple(is_fresh(node) for node in results)
        )

    def _in_order(self) -> list[Any]:
        """The segments and switches, each after what it needs, otherwise in the order of the model."""
        waits: dict[Any, set[Any]] = {key: set() for key in self.groups}
        for node, key in self.key.items():
            for source in (*node.all_input_nodes, *self.after.get(node, ())):
                if source in self.key and self.key[source] != key:
                    waits[key].add(self.key[source])
        done: dict[Any, None] = {}
        for start in waits:
            pending = [start]
            while pending:
                missing = [key for key in waits[pending[-1]] if key not in done]
                if not missing:
                    done.setdefault(pending.pop())
                elif len(pending) > len(waits):
                    raise AssertionError("segments wait for each other")
                else:
                    pending.extend(missing[:1])
        return list(done)

    def _switch(self, node: fx.Node) -> Switch:
        """A switch between two places."""
        on, off, player = node.args
        assert isinstance(on, fx.Node)
        assert isinstance(off, fx.Node)
        assert isinstance(player, int)
        return Switch(player, self.place[on], self.place[off], sum(_n_bytes(tensor) for tensor in tensors_of(node)))

    def _segment(self, nodes: list[fx.Node]) -> tuple[Segment, list[fx.Node]]:
        """A segment and the nodes that others read."""
        inside = set(nodes)
        inputs = list(dict.fromkeys(s for node in nodes for s in node.all_input_nodes if s not in inside))
        outputs = [
            n for n in nodes if any(user in self.key or user is self.output for user in n.users if user not in inside)
        ]
        nodes = self._without_copies(nodes, outputs)
        sizes: dict[int, int] = {}
        for node in nodes:
            for name, size in self._sizes(node):
                sizes[name] = max(size, sizes.get(name, 0))
        lenders: dict[int, int] = {}
        for at, node in enumerate(inputs):
            for name in self.storages.of(node):
                lenders.setdefault(name, at)
        stored = tuple(
            Stored(
                owned=tuple((name, sizes[name]) for name in self.storages.of(node) if name not in lenders),
                lent=tuple(lenders[name] for name in self.storages.of(node) if name in lenders),
            )
            for node in outputs
        )
        segment = Segment(
            inputs=tuple(self.place[node] for node in inputs),
            run=compiled(nodes, inputs, outputs),
            stored=stored,
            workspace=self._workspace(nodes, outputs, lenders),
        )
        return segment, outputs

    def _sizes(self, node: fx.Node) -> list[tuple[int, int]]:
        """Bytes of every storage of a node, by the largest of its tensors."""
        largest = max(map(_n_bytes, tensors_of(node)), default=0)
        return [(name, largest) for name in self.storages.of(node)]

    def _without_copies(self, nodes: list[fx.Node], outputs: list[fx.Node]) -> list[fx.Node]:
        """The nodes without those copies whose original is made in this segment and read by nothing else afterwards."""
        kept = list(nodes)
        for copy in nodes:
            if copy.target is not CLONE or FOR_WRITE not in copy.meta or copy in outputs:
                continue
            original = copy.all_input_nodes[0]
            (old,), (new,) = self.storages.of(original), self.storages.of(copy)
            sharing = [node for node in kept if old in self.storages.of(node)]
            private = original in kept and is_fresh(sharing[0]) and not any(node in outputs for node in sharing)
            if private and all(self.order[user] <= self.order[copy] for node in sharing for user in node.users):
                copy.replace_all_uses_with(original)
                kept.remove(copy)
                self.storages.names.update(dict.fromkeys(sharing, (new,)))
        return kept

    def _workspace(self, nodes: list[fx.Node], outputs: list[fx.Node], lenders: Mapping[int, int]) -> int:
        """The most bytes that are held at once."""
        last: dict[int, int] = {}
        for at, node in enumerate(nodes):
            for each in (node, *node.all_input_nodes):
                for name in self.storages.of(each):
                    last[name] = len(nodes) if each in outputs else max(last.get(name, 0), at)
        held: dict[int, int] = {}
        most = 0
        for at, node in enumerate(nodes):
            for name, size in self._sizes(node):
                if name not in lenders:
                    held[name] = max(held.get(name, 0), size)
            most = max(most, sum(held.values()))
            held = {name: size for name, size in held.items() if last[name] > at}
        return most


def _n_bytes(tensor: Tensor) -> int:
    """Bytes of the numbers of a tensor, each counted once."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.element_size() * min(tensor.numel(), extent) if tensor.numel() else 0


def compiled(nodes: Iterable[fx.Node], inputs: list[fx.Node], outputs: list[fx.Node]) -> Callable[..., Any]:
    """A function that runs operations one after another, and lets go of values after their last use."""
    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {node: graph.placeholder(f"input_{at}") for at, node in enumerate(inputs)}
    autocast: Any = None
    for node in nodes:
        values[node] = graph.node_copy(node, lambda each: values[each])
        values[node].meta = {}
        autocast = node.meta.get(AUTOCAST)
        if node.target is REORDER:
            values[node].target = reordered
    results = [values[node] for node in outputs]
    graph.output(results[0] if len(results) == 1 else tuple(results))
    run: Callable[..., Any] = fx.GraphModule(nn.Module(), graph).forward
    return run if autocast is None else _under(autocast, run)


def _under(autocast: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """The function within an autocast context."""
    device, dtype, enabled, cache = autocast

    def under(*args: Any) -> Any:
        with torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=cache):
            return run(*args)

    return under
