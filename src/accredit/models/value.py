"""What a model is worth under every coalition: batches and metrics as a value function.

Axes: M coalitions, N players, B examples of all batches, K outputs.

Memory: 8 M B per output for values per example, the outputs of a few coalitions on one batch, and at most `max_bytes`
for results of parts that wait to be used again.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.attribution.coalition import coalition_names
from accredit.attribution.output import Output
from accredit.attribution.prepared import PreparedEvaluation, cut
from accredit.attribution.protocols import FloatArray, MaskArray
from accredit.errors import EvaluationError, InvalidArgument
from accredit.models.batches import Batches, CheckedBatches, ForwardPass, OnCopies, default_forward, default_target
from accredit.models.gate import Weights, weights_of
from accredit.models.guard import RandomState
from accredit.models.inspection import Inspection, inspect, reseeded
from accredit.models.memory import named_out_of_memory
from accredit.models.metrics import Metric, Weighted
from accredit.models.sharing import Choice, Sharing, Trial
from accredit.models.switchable import SwitchableModel

PassProgress: TypeAlias = Callable[[int, int], None]
"""Called with the passes done and to do, a pass being one coalition on one batch."""


@dataclass(frozen=True, kw_only=True)
class SharingReport:
    """How coalitions were evaluated."""

    mechanism: str
    """"loop", "replay", "graph" or "stack"; several where a job began with the loop; "" before the first value."""
    reason: str
    """Why this one."""
    trials: tuple[Trial, ...]
    """What was tried."""
    peak_bytes: int
    """Most bytes that results of parts took while they waited to be used again."""


class ModelValue(PreparedEvaluation):
    """Values of coalitions of a model's components: a value function for the engine, or for calls of one's own.

    Args:
        switchable: the model and its players.
        batches: a DataLoader, a list, or a function that returns an iterable; the same batches at every pass, which is
            checked. Tensors are moved to the model's device.
        metrics: what is measured of the model's output, per example.
        sharing: how coalitions share work: "auto" finds the fastest way that fits, see `accredit.models.sharing`.
        max_bytes: bound on what is kept for use again; less memory costs computing parts again, never a value.
        target: where the target of a batch is; default: see `accredit.models.batches`.
        per_example: give values per example [M, B], from which intervals over the validation set follow; False gives
            means [M], for data whose [M, B] would not fit into memory.
        progress: called after every pass.

    Example:
        >>> from torch import nn
        >>> from accredit.attribution.attribute import attribute
        >>> from accredit.models.metrics import squared_error
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).eval()
        >>> for layer in model:
        ...     _ = nn.init.constant_(layer.weight, 2.0)
        >>> switchable = SwitchableModel(model, ["0", "1"], off="identity")
        >>> value = ModelValue(switchable, [(torch.ones(5, 1), torch.full((5, 1), 4.0))], [squared_error()])
        >>> matrix = attribute(value, switchable.players, outputs=value.outputs)
        >>> [matrix.shapley("squared error")[name].contribution for name in switchable.players]
        [4.5, 4.5]
    """

    def __init__(
        self,
        switchable: SwitchableModel,
        batches: Batches,
        metrics: Sequence[Metric],
        *,
        sharing: Sharing = "auto",
        max_bytes: int = 1 << 30,
        target: Callable[[Any], Any] = default_target,
        per_example: bool = True,
        progress: PassProgress | None = None,
    ) -> None:
        if not isinstance(metrics, list | tuple) or not all(isinstance(metric, Metric) for metric in metrics):
            raise InvalidArgument(
                f"`metrics` is {metrics!r}, wanted a list of metrics; pass for example [log_loss()], or "
                "[Metric(Output(...), function)]."
            )
        names = [metric.output.name for metric in metrics]
        if not names or len(set(names)) != len(names):
            raise InvalidArgument(
                f"`metrics` measure {names}, wanted at least one output and no name twice; pass metrics of different "
                f"names."
            )
        if max_bytes < 0:
            raise InvalidArgument(f"`max_bytes` is {max_bytes}, wanted at least 0; pass a number of bytes.")
        self.switchable = switchable
        self.batches = CheckedBatches(batches, switchable.device)
        self.metrics = tuple(metrics)
        self.target = target
        self.per_example = per_example
        self.progress = progress
        self.choice = Choice(switchable, sharing=sharing, max_bytes=max_bytes)
        self.inspection: Inspection | None = None
        self.generators: RandomState | None = None
        # made once, for graphs are kept by the function that calls the model
        self._forward_on_copies = OnCopies(switchable.forward)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What the metrics measure, for `CounterfactualConfig(outputs=...)`."""
        return tuple(metric.output for metric in self.metrics)

    @property
    def report(self) -> SharingReport:
        """How coalitions were evaluated so far."""
        return SharingReport(
            mechanism=self.mechanism(),
            reason=self.choice.reason or ("so short a job pays for no other way" if self.choice.used else ""),
            trials=self.choice.trials,
            peak_bytes=self.choice.peak_bytes,
        )

    def mechanism(self) -> str:
        """How coalitions were evaluated so far."""
        return ", ".join(self.choice.used)

    def begin(self, numerics: str | None) -> str:
        """Look at the model on the first batch, and decide how values will round.

        Raises:
            InvalidArgument: the model, its components or the batches cannot be evaluated so.
            StateMismatch: values of these numerics cannot be given.
        """
        with self.switchable.evaluating(), closing(self.batches.__iter__()) as batches, named_out_of_memory():
            batch = next(batches)
            if self.inspection is None:
                later = (self._forward_pass(batch) for batch in batches)
                self.inspection = inspect(self.switchable, self._forward_pass(batch), later)
                if self.inspection.draws:
                    # one state for every pass, or a value would depend on what was evaluated before it and where
                    self.generators = RandomState.now()
            return self.choice.begin(self._drawing_alike(self._forward_pass(batch)), self.inspection, numerics)

    def calls(self, masks: MaskArray, most: int) -> list[MaskArray]:
        """Masks [M, N] so that neighbours agree on the players that are executed first; all on in front."""
        return cut(masks[self.sorted_rows(masks)], most)

    def sorted_rows(self, masks: MaskArray | FloatArray) -> NDArray[np.intp]:
        """Rows [M] of masks or weights [M, N], sorted: first executed player most significant, on before off."""
        order = self.inspection.order if self.inspection else range(masks.shape[1])
        return np.lexsort([-masks[:, player].astype(np.float64) for player in reversed(order)])

    def __call__(self, masks: Tensor) -> Mapping[str, Tensor]:
        """Values of masks [M, N], bool or weights from 0 to 1: per output [M, B], or [M] where not per example."""
        given = isinstance(masks, Tensor) and (masks.dtype == torch.bool or masks.is_floating_point())
        if not given or masks.dim() != 2 or masks.shape[1] != len(self.switchable.players) or not len(masks):
            got = (
                f"has the shape {tuple(masks.shape)} and {masks.dtype}"
                if isinstance(masks, Tensor)
                else (f"is a {type(masks).__name__}")
            )
            raise InvalidArgument(
                f"`masks` {got}, wanted bool, or weights, of shape "
                f"(coalitions, {len(self.switchable.players)}); pass a row per coalition and a column per player."
            )
        if self.inspection is None:
            self.begin(None)
        array = masks.detach().cpu().double().numpy()
        if array.size and not (array.min() >= 0.0 and array.max() <= 1.0):
            outside = next(row for row in array if not all(0.0 <= weight <= 1.0 for weight in row))
            weights_of(outside.tolist(), self.switchable.players)  # raises
        rows = self.sorted_rows(array)
        coalitions: list[Weights] = list(map(tuple, array[rows].tolist()))
        found = _Measurements(len(rows), len(self.metrics))
        with self.switchable.evaluating():
            for batch in self.batches:
                self._measure_batch(batch, coalitions, found)
        back = torch.from_numpy(np.argsort(rows))
        return {
            metric.output.name: values[back]
            for metric, values in zip(self.metrics, found.values(per_example=self.per_example), strict=True)
        }

    def _measure_batch(self, batch: Any, coalitions: Sequence[Weights], found: _Measurements) -> None:
        """Every metric of every coalition on one batch."""
        target = self.target(batch)
        forward = self._drawing_alike(self._forward_pass(batch))
        n_batches = self.batches.number
        done, total = found.passes, n_batches * len(coalitions)
        with named_out_of_memory():
            outputs = self.choice.outputs(forward, coalitions, n_batches=n_batches)
            for at, output in enumerate(outputs):
                found.add(at, [self._measured(metric, output, target, coalitions[at]) for metric in self.metrics])
                if self.progress is not None:
                    self.progress(done + at + 1, max(total, done + at + 1))

    def _measured(self, metric: Metric, output: Any, target: Any, coalition: Weights) -> Tensor | Weighted:
        """One metric of one output, checked."""
        value = metric.measure(output, target)
        fault = _fault(value, target.shape[0] if isinstance(target, Tensor) and target.dim() else None)
        if fault:
            on = coalition_names(self.switchable.players, np.array(coalition) > 0)
            raise EvaluationError(f"metric {metric.output.name!r} returned {fault[0]} for {on}, wanted {fault[1]}.")
        return value

    def _forward_pass(self, batch: Any) -> ForwardPass:
        """The model on one batch."""
        if self.switchable.forward is default_forward and isinstance(batch, UserDict):
            # what tokenizers give; a plain dictionary can be captured
            batch = dict(batch)
        copying = self.inspection is not None and self.inspection.writes_inputs
        return ForwardPass(
            self.switchable.model, self._forward_on_copies if copying else self.switchable.forward, batch
        )

    def _drawing_alike(self, forward: ForwardPass) -> ForwardPass:
        """The pass, from the same random state every time where it draws."""
        return forward if self.generators is None else reseeded(forward, self.generators)

    def __getstate__(self) -> dict[str, Any]:
        """State for other processes: without the callback, which tells this one."""
        return {**self.__dict__, "progress": None}


def _fault(value: object, n_examples: int | None) -> tuple[str, str] | None:
    """What a metric returned and what was wanted of it; None where it is right.

    Args:
        value: what it returned.
        n_examples: of the batch, where its target tells.
    """
    numerator = value.numerator if isinstance(value, Weighted) else value
    if not isinstance(numerator, Tensor) or numerator.is_complex():
        kind = str(numerator.dtype) if isinstance(numerator, Tensor) else f"a {type(value).__name__}"
        return kind, "a tensor of real numbers, or Weighted; return one number per example"
    if numerator.dim() != 1 or (isinstance(value, Weighted) and value.weight.shape != numerator.shape):
        wanted = "one number per example of the batch; reduce over everything but the examples"
        return f"the shape {tuple(numerator.shape)}", wanted
    if n_examples is not None and numerator.shape[0] != n_examples:
        return f"{len(numerator)} numbers", f"{n_examples}, one per example of the batch; measure every example"
    return None


class _Measurements:
    """Numerators [M, b] and weights [b] of every output, batch by batch."""

    def __init__(self, n_coalitions: int, n_outputs: int) -> None:
        self.n_coalitions, self.n_outputs = n_coalitions, n_outputs
        self.numerators: list[list[Tensor]] = [[] for _ in range(n_outputs)]
        self.weights: list[list[Tensor]] = [[] for _ in range(n_outputs)]
        self.passes = 0
        self._rows: list[Sequence[Tensor]] = [()] * n_outputs
        """Of the batch under way, so that a number finds its place by one copy."""
        self._weighted = [False] * n_outputs

    def add(self, at: int, measured: Sequence[Tensor | Weighted]) -> None:
        """Take what was measured of the `at`-th coalition on the batch; the first one opens the batch."""
        self.passes += 1
        for output, each in enumerate(measured):
            numerator = each.numerator if isinstance(each, Weighted) else each
            if at == 0:
                self._open(output, each)
            elif isinstance(each, Weighted) or self._weighted[output]:
                self._check_weight(output, each)
            row = self._rows[output][at]
            if numerator.shape != row.shape:
                # a copy would spread a single number over all examples
                raise EvaluationError(
                    f"metric {output + 1} of {self.n_outputs} returned {len(numerator)} numbers, wanted {len(row)} as "
                    "for the coalition before; measure every example under every coalition."
                )
            row.copy_(numerator.detach() if numerator.requires_grad else numerator)

    def _open(self, output: int, first: Tensor | Weighted) -> None:
        """Make room for a batch."""
        weight = _weight(first)
        self._weighted[output] = isinstance(first, Weighted)
        self.weights[output].append(weight)
        block = torch.empty(self.n_coalitions, len(weight), dtype=torch.float64)
        self.numerators[output].append(block)
        self._rows[output] = block.unbind()

    def _check_weight(self, output: int, measured: Tensor | Weighted) -> None:
        """Refuse weights that depend on the coalition."""
        weight = _weight(measured)
        if not torch.equal(weight, self.weights[output][-1]):
            raise EvaluationError(
                f"metric {output + 1} of {self.n_outputs} weighed {len(weight)} examples otherwise than for the "
                f"coalition before, wanted the same {len(self.weights[output][-1])} weights; let weights follow "
                f"from "
                "targets alone."
            )

    def values(self, *, per_example: bool) -> Iterator[Tensor]:
        """Values [M, B] of every output, or their means [M]."""
        for numerators, weights in zip(self.numerators, self.weights, strict=True):
            weight = torch.cat(weights)
            total = float(weight.sum())
            if total <= 0.0:
                raise EvaluationError(
                    f"a metric found no example that counts among {len(weight)}, wanted at least one; evaluate on data "
                    "that has some, or leave the metric out."
                )
            if per_example:
                yield torch.cat(numerators, dim=1) * (len(weight) / total)
            else:
                yield torch.stack([block.sum(dim=1) for block in numerators]).sum(dim=0) / total


def _weight(measured: Tensor | Weighted) -> Tensor:
    """Weights [b] of the examples; all 1 where a metric says nothing of them."""
    if isinstance(measured, Weighted):
        return measured.weight.detach().to("cpu", torch.float64)
    return torch.ones(measured.shape, dtype=torch.float64)
