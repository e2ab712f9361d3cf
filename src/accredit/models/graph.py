"""Evaluate coalitions by the graph of the model's operations: each part is computed once for all that agree on it.

The model is traced once per form of batch (`graph_capture`), made fit for sharing (`graph_rewrite`), cut into segments
(`graph_segments`) and run by a plan (`graph_plan`). Operations are those of eager execution in other order, so outputs
equal those of one pass after another bit by bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from accredit.models.batches import ForwardPass
from accredit.models.gate import Weights
from accredit.models.graph_capture import Captured, NotCapturable, capture
from accredit.models.graph_plan import Plan, planned
from accredit.models.graph_rewrite import rewrite
from accredit.models.graph_segments import Program, cut
from accredit.models.graph_state import ModelState

if TYPE_CHECKING:
    from accredit.models.switchable import SwitchableModel

MOST_GRAPHS = 8
"""Forms of batches (shapes, types, constants) that a model is traced for; tracing takes from 0.1 s to a few seconds."""


@dataclass(eq=False)
class _Graph:
    """The graph for one form of batches, and its last plan."""

    captured: Captured
    program: Program
    state: ModelState
    kept: Any
    """What the signature names by its identity."""
    coalitions: Sequence[Weights] = ()
    plan: Plan | None = None


class Graph:
    """Coalitions by a graph.

    Args:
        switchable: the model and its players.
        max_bytes: memory for what is held between and during the operations, parameters and batch left out; a single
            segment takes what it needs.
    """

    name = "graph"

    def __init__(self, switchable: SwitchableModel, *, max_bytes: int) -> None:
        self.switchable = switchable
        self.max_bytes = max_bytes
        self.peak_bytes = 0
        """The most that was held at once, by the sizes that tracing found."""
        self.segments_run = 0
        self.segments_shared = 0
        """How many times a segment was needed and known already."""
        self._graphs: OrderedDict[Any, _Graph] = OrderedDict()

    def outputs(self, forward: ForwardPass, coalitions: Sequence[Weights]) -> Iterator[Any]:
        """Output of the model for each coalition in turn.

        Raises:
            NotCapturable: the model or this batch has no graph; raised here, or while going through the outputs where
                an operation fails.
        """
        graph = self._graph_for(forward)
        if graph.plan is None or graph.coalitions != coalitions:
            n_placeholders = len(graph.captured.sources)
            graph.plan = planned(graph.program, n_placeholders, coalitions, max_bytes=self.max_bytes)
            graph.coalitions = list(coalitions)
        return self._run(graph, graph.plan, pytree.tree_leaves(forward.batch))

    def _run(self, graph: _Graph, plan: Plan, leaves: Sequence[Any]) -> Iterator[Any]:
        """Follow a plan."""
        captured = graph.captured
        sources = [source.fetch(self.switchable.model, leaves) for source in captured.sources]
        values: list[Any] = [*sources, *[None] * (plan.n_values - len(sources))]
        self.peak_bytes = max(self.peak_bytes, plan.peak_bytes)
        self.segments_run += plan.n_run
        self.segments_shared += plan.n_shared
        for each in plan.rounds:
            for step in each.steps:
                instance = step.instance
                try:
                    result = instance.run(*[values[at] for at in instance.inputs])
                except Exception as error:  # of foreign code; the plain loop will tell what is wrong
                    raise NotCapturable(f"running its graph failed: {error}") from error
                if len(instance.stored) == 1:
                    values[instance.base] = result
                else:
                    values[instance.base : instance.base + len(instance.stored)] = result
                result = None
                for at in step.free:
                    values[at] = None
            tensors = [
                values[at].clone() if copied else values[at]
                for at, copied in zip(each.outputs, each.copied, strict=True)
            ]
            for at in each.free:
                values[at] = None
            yield _output(captured, tensors)
            tensors.clear()

    def _graph_for(self, forward: ForwardPass) -> _Graph:
        """The graph for a batch, traced where there is none or the model has changed beside its weights."""
        key = (_signature(forward.batch), id(forward.forward), _settings())
        state = ModelState.of(self.switchable.model)
        graph = self._graphs.get(key)
        if graph is None or graph.state != state:
            if graph is None and len(self._graphs) >= MOST_GRAPHS:
                raise NotCapturable(f"batches come in more than {MOST_GRAPHS} forms")
            captured, program = captured_program(self.switchable, forward)
            graph = self._graphs[key] = _Graph(captured, program, state, forward.forward)
        return graph


def captured_program(switchable: SwitchableModel, forward: ForwardPass) -> tuple[Captured, Program]:
    """The graph of a pass, and its segments.

    Raises:
        NotCapturable: with the reason.
    """
    captured = capture(switchable, forward)
    return captured, cut(rewrite(captured.graph))


def _output(captured: Captured, tensors: Sequence[Tensor]) -> Any:
    """What the model returns."""
    leaves = list(captured.leaves)
    for at, tensor in zip(captured.places, tensors, strict=True):
        leaves[at] = tensor
    return pytree.tree_unflatten(leaves, captured.structure)


def _signature(batch: Any) -> Any:
    """All of a batch that a graph is made for: everything but the numbers in its tensors."""
    leaves, structure = pytree.tree_flatten(batch)
    return structure, tuple(map(_form, leaves))


def _form(leaf: Any) -> Any:
    """All of a leaf but the numbers."""
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device
    if leaf is None or isinstance(leaf, bool | int | float | str | bytes):
        # 1, 1.0 and True are equal, and so are 0.0 and -0.0
        return type(leaf), repr(leaf)
    raise NotCapturable(f"the batch holds a {type(leaf).__name__}")


def _settings() -> Any:
    """Settings of the process that tracing or operations depend on."""
    devices = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    return tuple((device, torch.get_autocast_dtype(device)) for device in devices), torch.get_default_dtype()
