"""A traced graph made fit for running its parts in another order, some of them not at all.

Traced operations run in the order of the model and may write in place. Here the parts of a graph are kept and shared,
so a write must never reach a value that something else reads:

    write                                              becomes
    to a value that nothing reads afterwards           a write to a copy; `graph_segments` takes back needless copies
    to a value of which other views are read later     a write to a copy, of which the views are taken again
    to a parameter, a buffer or the batch              no graph
    to the input of a player that is read later        no graph, for the write happens only while the player is on
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from accredit.models.graph_capture import NotCapturable
from accredit.models.graph_marks import PORT, SWITCH

CLONE = torch.ops.aten.clone.default
AUTOCAST = "autocast"
"""Key of `Node.meta`: arguments of the autocast context that the model opened around an operation."""
FOR_WRITE = "for_write"
"""Key of `Node.meta`: the write that a copy was made for."""
_WRAPPED_AUTOCAST = "wrap_with_autocast"
_WRAPPED_GRADIENTS = "wrap_with_set_grad_enabled"
_CHECKS = {"_assert_tensor_metadata"}
"""Operations without an output that may be left out: they check types, which are those of the trace."""


class Storages:
    """Which nodes share memory, as far as tracing shows.

    Args:
        nodes: of a traced graph.
        links: pairs of nodes of which the first is to count as a view of the second.
    """

    def __init__(self, nodes: Sequence[fx.Node], links: Iterable[tuple[fx.Node, fx.Node]]) -> None:
        # the storages are kept while they are named by their addresses, so that no address comes twice
        kept = {node: [tensor.untyped_storage() for tensor in tensors_of(node)] for node in nodes}
        parent: dict[int, int] = {}

        def root(name: int) -> int:
            while name in parent:
                name = parent[name]
            return name

        for first, second in links:
            for a, b in zip(kept[first], kept[second], strict=True):
                if root(a._cdata) != root(b._cdata):
                    parent[root(a._cdata)] = root(b._cdata)
        self.names = {
            node: tuple(dict.fromkeys(root(storage._cdata) for storage in storages)) for node, storages in kept.items()
        }
        self._kept = kept

    def of(self, node: fx.Node) -> tuple[int, ...]:
        """Names of the storages of the tensors of a node."""
        return self.names[node]

    def renew(self, nodes: Iterable[fx.Node], name: int) -> int:
        """Give nodes another storage in place of this one; returns its name."""
        new = -len(self.names)
        for node in nodes:
            if name in self.names[node]:
                self.names[node] = tuple(new if each == name else each for each in self.names[node])
        return new


def tensors_of(node: fx.Node) -> list[Tensor]:
    """The traced tensors of a node."""
    return [leaf for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, Tensor)]


@dataclass(frozen=True)
class Rewritten:
    """A graph without ports, whose writes are safe where `after` is kept to."""

    graph: fx.Graph
    storages: Storages
    after: dict[fx.Node, list[fx.Node]]
    """Writes that a node has to come after, beside its arguments."""


def rewrite(graph: fx.Graph) -> Rewritten:
    """The graph with nested contexts opened up, ports out and writes made safe.

    Raises:
        NotCapturable: where that cannot be done.
    """
    flat = fx.Graph()
    results = _flatten(graph.nodes, flat, {}, None)
    flat.output(results)
    for node in flat.nodes:
        _check(node)
    writes = _Writes(flat)
    writes.make_safe()
    _remove_ports(flat)
    return Rewritten(flat, writes.true, _after(flat))


def _flatten(source: Iterable[fx.Node], target: fx.Graph, values: dict[fx.Node, Any], autocast: Any) -> Any:
    """Copy the nodes of a graph and of the graphs inside it; returns what it puts out."""
    for node in source:
        if node.op == "output":
            return fx.map_arg(node.args[0], lambda each: values[each])
        if node.op == "get_attr":
            continue
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            values[node] = _inner(node, target, values, autocast)
        elif node.target is operator.getitem and not isinstance(values[node.all_input_nodes[0]], fx.Node):
            values[node] = values[node.all_input_nodes[0]][node.args[1]]
        else:
            values[node] = target.node_copy(node, lambda each: values[each])
            if autocast is not None:
                values[node].meta[AUTOCAST] = autocast
    raise AssertionError("a traced graph has no output")


def _inner(node: fx.Node, target: fx.Graph, values: dict[fx.Node, Any], autocast: Any) -> Any:
    """The nodes of a graph that stands inside a context."""
    operation = node.target
    assert isinstance(operation, torch._ops.HigherOrderOperator)
    name = operation._name
    at = next((at for at, arg in enumerate(node.args) if isinstance(arg, fx.Node) and arg.op == "get_attr"), None)
    if name not in (_WRAPPED_AUTOCAST, _WRAPPED_GRADIENTS) or at is None:
        raise NotCapturable(f"it uses {name}")
    inner = node.args[at]
    assert isinstance(inner, fx.Node)
    nodes = getattr(inner.graph.owning_module, str(inner.target)).graph.nodes
    given = [values[arg] if isinstance(arg, fx.Node) else arg for arg in node.args[at + 1 :]]
    inside = dict(zip((each for each in nodes if each.op == "placeholder"), given, strict=True))
    context = tuple(node.args[:at]) if name == _WRAPPED_AUTOCAST else autocast
    return _flatten([each for each in nodes if each.op != "placeholder"], target, inside, context)


def _check(node: fx.Node) -> None:
    """Refuse what may differ from one run to the next, is for its effect alone, or is in a memory of its own kind."""
    if any(tensor.layout != torch.strided or tensor.is_nested for tensor in tensors_of(node)):
        raise NotCapturable("it uses sparse or nested tensors")
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        if node.op == "call_function" and node.target is not operator.getitem:
            raise NotCapturable(f"it uses {node.target}")
        return
    operation = node.target
    name = operation._schema.name.split("::")[-1]
    if torch.Tag.nondeterministic_seeded in operation.tags and not _draws_nothing(node):
        raise NotCapturable(f"{name} draws random numbers")
    symbols = [leaf for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, torch.SymInt)]
    sizes = [size for tensor in tensors_of(node) for size in tensor.shape]
    if symbols or any(isinstance(size, torch.SymInt) for size in sizes):
        raise NotCapturable(f"the shape that {name} gives depends on the numbers")
    if name.startswith(("_assert", "_print", "sym_constrain")) and name not in _CHECKS:
        raise NotCapturable(f"it uses {name}")


def _draws_nothing(node: fx.Node) -> bool:
    """Whether an operation that can draw is called so that it does not."""
    arguments = dict(_named_arguments(node))
    switch_off = {"train": False, "training": False, "dropout_p": 0.0}
    return any(arguments.get(name, not off) == off for name, off in switch_off.items())


def _named_arguments(node: fx.Node) -> Iterator[tuple[str, Any]]:
    """Arguments of an operation by the names of its schema, defaults included."""
    assert isinstance(node.target, torch._ops.OpOverload)
    for at, argument in enumerate(node.target._schema.arguments):
        if at < len(node.args):
            yield argument.name, node.args[at]
        elif argument.name in node.kwargs:
            yield argument.name, node.kwargs[argument.name]
        elif argument.has_default_value():
            yield argument.name, argument.default_value


def written(node: fx.Node) -> list[fx.Node]:
    """The arguments that an operation writes to."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return []
    writes = {a.name for a in node.target._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
    if not writes:
        return []
    found = [value for name, value in _named_arguments(node) if name in writes and value is not None]
    return [each for value in found for each in pytree.tree_leaves(value)]


class _Writes:
    """The writes of a graph, made safe one after another."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        self.nodes = list(graph.nodes)
        self.order = {node: at for at, node in enumerate(self.nodes)}
        ports = [(node, node.args[0], node.args[1]) for node in self.nodes if node.target is PORT]
        switches = [node for node in self.nodes if node.target is SWITCH]
        self.true = Storages(self.nodes, [(port, source) for port, source, _ in ports])
        # what a module gives may be what it was given, so that a write to the one reaches the other
        links = [(port, source) for port, source, linked in ports if linked]
        links += [(node, node.args[at]) for node in switches for at in (0, 1)]
        self.reach = Storages(self.nodes, links)

    def make_safe(self) -> None:
        """Every write in the order of the graph."""
        for node in tuple(self.nodes):
            targets = written(node)
            if len(targets) > 1:
                raise NotCapturable(f"{node.target} writes to several tensors")
            if targets:
                self._make_safe(node, targets[0])
                self.nodes = list(self.graph.nodes)
                self.order = {each: at for at, each in enumerate(self.nodes)}

    def _make_safe(self, node: fx.Node, target: fx.Node) -> None:
        """Let one operation write to a copy, and what follows read it."""
        (storage,) = self.reach.of(target)
        now = self.order[node]
        members = [each for each in self.nodes[:now] if storage in self.reach.of(each)]
        if any(each.op == "placeholder" for each in members):
            raise NotCapturable(f"{node.target} writes to the batch, a parameter or a buffer")
        later = {each: [user for user in each.users if self.order[user] > now] for each in members}
        others = [each for each in members if later[each] and each is not target]
        sources = {each: self._viewed(each, members) for each in members} if others else {}
        *_, root = _upwards(target, sources)
        if any(root not in _upwards(each, sources) for each in others):
            raise NotCapturable(f"{node.target} writes to what goes into or comes out of a player and is used again")
        copies = self._copied(node, target, root, sources)
        with self.graph.inserting_before(node.next):
            for each in others:
                self._renewed(each, copies, sources)
        for each in (target, *others):
            result = node if each is target and isinstance(node.meta.get("val"), Tensor) else copies[each]
            for user in later[each]:
                user.replace_input_with(each, result)

    def _viewed(self, node: fx.Node, members: Sequence[fx.Node]) -> fx.Node | None:
        """What a node is a view of; None where it is none, or comes into or out of a player."""
        if node.target in (PORT, SWITCH):
            return None
        inside = set(members)
        found = written(node) or [source for source in node.all_input_nodes if source in inside]
        return found[0] if found else None

    def _copied(
        self, node: fx.Node, target: fx.Node, root: fx.Node, sources: dict[fx.Node, fx.Node | None]
    ) -> dict[fx.Node, fx.Node]:
        """A copy of the root, and on it the views that lead to the target; the operation writes to that from now on."""
        path = [target]
        while path[-1] is not root:
            source = sources[path[-1]]
            assert source is not None
            path.append(source)
        with self.graph.inserting_before(node):
            copy = self.graph.call_function(CLONE, (root,))
            copy.meta.update(root.meta)
            copies = {root: copy}
            for each in reversed(path[:-1]):
                self._copy_of(each, copies, sources)
        for each in copies.values():
            each.meta.update({FOR_WRITE: node, AUTOCAST: node.meta.get(AUTOCAST)})
        node.replace_input_with(target, copies[target])
        # whatever of this storage comes from here on is made of the copy
        for storages in (self.true, self.reach):
            (old,) = storages.of(target)
            new = storages.renew(self.nodes[self.order[node] :], old)
            storages.names.update(dict.fromkeys(copies.values(), (new,)))
        return copies

    def _renewed(self, each: fx.Node, copies: dict[fx.Node, fx.Node], sources: dict[fx.Node, fx.Node | None]) -> None:
        """Put a view of the copy after the write, and before it those that it is a view of."""
        missing = list(itertools.takewhile(lambda view: view not in copies, _upwards(each, sources)))
        for view in reversed(missing):
            new = self._copy_of(view, copies, sources)
            for storages in (self.true, self.reach):
                storages.names[new] = storages.of(next(iter(copies.values())))

    def _copy_of(
        self, view: fx.Node, copies: dict[fx.Node, fx.Node], sources: dict[fx.Node, fx.Node | None]
    ) -> fx.Node:
        """The same view of the copy; what an earlier write returned is what it wrote to."""
        source = sources[view]
        assert source is not None
        if written(view):
            copies[view] = copies[source]
        else:
            copies[view] = self.graph.node_copy(view, lambda each: copies.get(each, each))
            copies[view].meta.pop(FOR_WRITE, None)
        return copies[view]


def _upwards(node: fx.Node, sources: dict[fx.Node, fx.Node | None]) -> Iterator[fx.Node]:
    """A node, what it is a view of, and so on."""
    found: fx.Node | None = node
    while found is not None:
        yield found
        found = sources.get(found)


def _remove_ports(graph: fx.Graph) -> None:
    """Let what is behind a port read what is before it."""
    for node in list(graph.nodes):
        if node.target is PORT:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _after(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Whoever reads a copy that was made for a write comes after the write."""
    after: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        write = node.meta.get(FOR_WRITE)
        for user in node.users if write is not None else ():
            if user is not write and user.meta.get(FOR_WRITE) is not write:
                after.setdefault(user, []).append(write)
    return after


def is_fresh(node: fx.Node) -> bool:
    """Whether what an operation gives never shares memory with what it is given, whatever the strides of that."""
    operation = node.target
    if not isinstance(operation, torch._ops.OpOverload):
        return False
    views = any(result.alias_info is not None for result in operation._schema.returns)
    name = operation._schema.name
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(name_of(operation), "CompositeImplicitAutograd")
    return not views and (not composite or name.split("::")[-1] in _FRESH_COMPOSITES)


def name_of(operation: torch._ops.OpOverload) -> str:
    """Name of an operation with its overload, as the dispatcher knows it."""
    schema = operation._schema
    return f"{schema.name}.{schema.overload_name}" if schema.overload_name else str(schema.name)


_FRESH_COMPOSITES = frozenset(
    (
        *("linear", "matmul", "conv1d", "conv2d", "conv3d", "embedding", "scaled_dot_product_attention"),
        *("layer_norm", "batch_norm", "group_norm", "instance_norm", "softmax", "log_softmax"),
    )
)
