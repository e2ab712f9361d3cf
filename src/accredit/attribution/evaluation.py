"""From masks to numbers: calling a value function, reading what it returns, keeping what was finished.

Axes: N players, M coalitions, K outputs, B examples. A value function is foreign code: whatever it raises or returns,
only checked, finite, complete rows get in, and everything else becomes a failure that names its coalition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from accredit.attribution.coalition import coalition_keys, coalition_names, coalition_text
from accredit.attribution.output import Output
from accredit.attribution.protocols import FloatArray, MaskArray
from accredit.errors import EvaluationError

ValueFunction: TypeAlias = Callable[[Tensor], Mapping[str, Tensor]]


class OneCoalition(Protocol):
    """A value function that takes one coalition at a time."""

    def __call__(self, mask: Tensor) -> Mapping[str, Tensor | float]:
        """Values of one coalition [N]: a number, or a tensor [B] per example, for every output."""
        ...


@dataclass(frozen=True)
class SingleCoalitions:
    """Adapter: a function of one coalition as a value function; each coalition is a call of its own, so none is lost.

    Example:
        >>> value = SingleCoalitions(lambda mask: {"value": float(mask.sum())})
        >>> value(torch.tensor([[True, False], [True, True]]))["value"].tolist()
        [1.0, 2.0]
    """

    function: OneCoalition
    """Takes a mask [N] and returns, for every output, a number or a tensor [B]."""

    def __call__(self, masks: Tensor) -> Mapping[str, Tensor]:
        """Values of masks [M, N], stacked."""
        rows = [self.function(mask) for mask in masks]
        return {
            name: torch.stack([torch.as_tensor(row[name], dtype=torch.float64) for row in rows]) for name in rows[0]
        }


@dataclass(frozen=True)
class PlayerWeights:
    """Adapter: a function of a mapping player -> weight (1.0 on, 0.0 off) as a value function, one coalition per call.

    Example:
        >>> value = PlayerWeights(("a", "b"), lambda weights: {"value": weights["a"] * weights["b"]})
        >>> value(torch.tensor([[True, False], [True, True]]))["value"].tolist()
        [0.0, 1.0]
    """

    players: tuple[str, ...]
    """Names in the order of the columns of the masks."""
    function: Callable[[dict[str, float]], Mapping[str, Tensor | float]]
    """Takes the weights and returns, for every output, a number or a tensor [B]."""

    def __call__(self, masks: Tensor) -> Mapping[str, Tensor]:
        """Values of masks [M, N], stacked."""
        return SingleCoalitions(self._weigh)(masks)

    def _weigh(self, mask: Tensor) -> Mapping[str, Tensor | float]:
        """The function at the weights of one coalition."""
        return self.function(dict(zip(self.players, mask.double().tolist(), strict=True)))


def calls_of(value_function: ValueFunction, coalitions_per_call: int) -> int:
    """Most coalitions to hand over at once: one for the adapters of functions that take one at a time."""
    return 1 if isinstance(value_function, SingleCoalitions | PlayerWeights) else coalitions_per_call


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A coalition that has no value, and why."""

    coalition: str
    """One character per player, 1 = on."""
    players: str
    """The names that were on."""
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluations:
    """Coalitions with their values, row by row."""

    masks: MaskArray
    """[M, N], no row twice."""
    means: FloatArray
    """[K, M]: the mean over examples, or the value that came already averaged."""
    examples: tuple[FloatArray | None, ...]
    """Per output [M, B], or None where the values came already averaged."""

    def __len__(self) -> int:
        """Number of coalitions."""
        return len(self.masks)

    def take(self, rows: Sequence[int] | np.ndarray) -> Evaluations:
        """Some of the rows."""
        at = np.asarray(rows, dtype=np.intp)
        return Evaluations(
            masks=self.masks[at],
            means=self.means[:, at],
            examples=tuple(None if block is None else block[at] for block in self.examples),
        )


def join(parts: Sequence[Evaluations]) -> Evaluations:
    """Rows of several evaluations of the same players and outputs, one after the other."""
    if len(parts) == 1:
        return parts[0]
    per_output = zip(*(part.examples for part in parts), strict=True)
    return Evaluations(
        masks=np.concatenate([part.masks for part in parts]),
        means=np.concatenate([part.means for part in parts], axis=1),
        examples=tuple(_join_examples([block for block in blocks if block is not None]) for blocks in per_output),
    )


def _join_examples(blocks: list[FloatArray]) -> FloatArray | None:
    """Blocks [m, B] below each other; None where there are none."""
    return np.concatenate(blocks) if blocks else None


def no_evaluations(n_players: int, n_outputs: int) -> Evaluations:
    """What is known before the first call."""
    return Evaluations(
        masks=np.zeros((0, n_players), dtype=np.bool_), means=np.zeros((n_outputs, 0)), examples=(None,) * n_outputs
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CallResult:
    """What one call of a value function came to: finished rows and failed ones; nothing is in both."""

    finished: Evaluations
    failures: tuple[Failure, ...] = ()
    cause: BaseException | None = None
    """What the value function raised; None where it returned something that could not be used."""


def call(
    value_function: ValueFunction, masks: MaskArray, *, players: tuple[str, ...], outputs: tuple[Output, ...]
) -> CallResult:
    """Evaluate masks [M, N] by one call; where that raises, one coalition at a time up to the first that fails.

    So the culprit has a name and the others have values. An interrupt passes through: nothing of this call was
    finished.
    """
    n_outputs = len(outputs)
    try:
        # a copy, for the value function may write to its masks, and the plan's are shared with other calls
        returned = value_function(torch.from_numpy(masks.copy()))
        return read_values(returned, masks, players=players, outputs=outputs)
    except EvaluationError as error:
        return failed_call(masks, str(error), players=players, n_outputs=n_outputs)
    except Exception as error:
        if len(masks) == 1:
            message = f"{type(error).__name__}: {error}"
            return failed_call(masks, message, players=players, n_outputs=n_outputs, cause=error)
    finished: list[Evaluations] = []
    for row in masks:
        result = call(value_function, row[None], players=players, outputs=outputs)
        finished.append(result.finished)
        if result.failures:
            return CallResult(finished=join(finished), failures=result.failures, cause=result.cause)
    return CallResult(finished=join(finished))


def failed_call(
    masks: MaskArray,
    message: str,
    *,
    players: tuple[str, ...],
    n_outputs: int,
    cause: BaseException | None = None,
) -> CallResult:
    """Every coalition of a call failed for the same reason."""
    failures = tuple(
        Failure(coalition=coalition_text(mask), players=coalition_names(players, mask), message=message)
        for mask in masks
    )
    return CallResult(finished=no_evaluations(masks.shape[1], n_outputs), failures=failures, cause=cause)


def read_values(
    returned: Mapping[str, Tensor], masks: MaskArray, *, players: tuple[str, ...], outputs: tuple[Output, ...]
) -> CallResult:
    """Check and convert what a value function returned for masks [M, N].

    Rows with a value that is not finite become failures; the other rows are kept.

    Raises:
        EvaluationError: no mapping, other outputs than declared, another shape, or values that are no real numbers.
    """
    if not isinstance(returned, Mapping):
        raise EvaluationError(
            f"`value_function` returned a {type(returned).__name__}, wanted a mapping from output to tensor; "
            f"return {{{outputs[0].name!r}: tensor}}."
        )
    names = [output.name for output in outputs]
    if set(returned) != set(names):
        raise EvaluationError(
            f"`value_function` returned the outputs {sorted(map(str, returned))}, wanted {sorted(names)} at every "
            "call; declare in `outputs` exactly what it returns."
        )
    means, examples = np.empty((len(names), len(masks))), []
    for at, name in enumerate(names):
        array = _as_float64(name, returned[name], n_coalitions=len(masks))
        examples.append(array if array.ndim == 2 else None)
        means[at] = array.mean(axis=1) if array.ndim == 2 else array
    evaluations = Evaluations(masks=masks, means=means, examples=tuple(examples))
    # a mean is finite only where every example is: neither NaN nor an infinity of either sign can hide in it
    good = np.isfinite(means).all(axis=0)
    if good.all():
        return CallResult(finished=evaluations)
    return CallResult(
        finished=evaluations.take(np.flatnonzero(good)),
        failures=tuple(
            Failure(
                coalition=coalition_text(masks[row]),
                players=coalition_names(players, masks[row]),
                message="`value_function` returned "
                + ", ".join(f"{name} = {means[at, row]}" for at, name in enumerate(names))
                + ", wanted finite numbers; nothing was put in their place.",
            )
            for row in np.flatnonzero(~good)
        ),
    )


def _as_float64(name: str, values: Tensor, *, n_coalitions: int) -> FloatArray:
    """Values of one output [M] or [M, B] as a contiguous float64 array of their own."""
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EvaluationError(
            f"`value_function` returned a {type(values).__name__} for {name!r}, wanted a tensor of numbers; "
            "return one value per coalition."
        ) from error
    if tensor.is_complex() or tensor.dim() not in (1, 2) or tensor.shape[0] != n_coalitions or 0 in tensor.shape:
        raise EvaluationError(
            f"`value_function` returned {name!r} of shape {tuple(tensor.shape)} and {tensor.dtype}, wanted real "
            f"numbers of shape ({n_coalitions},) or ({n_coalitions}, examples); return one row per coalition."
        )
    array = tensor.detach().to("cpu", torch.float64, memory_format=torch.contiguous_format).numpy()
    # .to() and .numpy() share memory where nothing had to be converted, and the value function may use its buffer again
    return array.copy() if tensor.dtype == torch.float64 else array


class Recorder:
    """The rows of one matrix while it grows: which are there, which failed; the only state of an evaluation."""

    def __init__(
        self, players: tuple[str, ...], *, n_outputs: int, earlier: Evaluations | None, most_columns: float = math.inf
    ) -> None:
        """Begin with the rows of an earlier matrix, or with none; `most_columns` bounds the examples of all outputs."""
        self.players = players
        self.most_columns = most_columns
        self.parts = [no_evaluations(len(players), n_outputs) if earlier is None else earlier]
        self.known = set(coalition_keys(self.parts[0].masks))
        self.failures: dict[str, Failure] = {}

    def missing(self, masks: MaskArray) -> MaskArray:
        """The rows of masks [M, N] that have no value yet."""
        if not self.known:
            return masks
        return masks[[key not in self.known for key in coalition_keys(masks)]]

    def add(self, result: CallResult) -> CallResult:
        """Take the finished rows in and list the failed ones; returns what was taken.

        Rows over another number of examples than the rows before are failures: no mean over them could be paired.
        """
        result = self._with_same_examples(result)
        if len(result.finished):
            if not len(self.parts[0]):
                self.parts = []
            self.parts.append(result.finished)
            self.known.update(coalition_keys(result.finished.masks))
        self.failures.update({failure.coalition: failure for failure in result.failures})
        return result

    def evaluations(self) -> Evaluations:
        """All rows so far."""
        self.parts = [join(self.parts)]
        return self.parts[0]

    def _with_same_examples(self, result: CallResult) -> CallResult:
        """The result, or failures where its rows do not fit the rows before, or the memory."""
        if not len(result.finished):
            return result
        if not len(self.parts[0]):
            return self._within_memory(result)
        before, now = ([n_examples(block) for block in part.examples] for part in (self.parts[0], result.finished))
        if before == now:
            return result
        message = (
            f"`value_function` returned values over {now} examples, wanted {before} as at the calls before "
            "(None: averaged); evaluate the same examples under every coalition."
        )
        return failed_call(result.finished.masks, message, players=self.players, n_outputs=len(before))

    def _within_memory(self, result: CallResult) -> CallResult:
        """The first result, or failures where so many examples for all coalitions would not fit."""
        columns = sum(n_examples(block) or 0 for block in result.finished.examples)
        if columns <= self.most_columns:
            return result
        message = (
            f"`value_function` returned values over {columns} examples of all outputs, wanted at most "
            f"{int(self.most_columns)} for so many coalitions; raise `max_example_bytes`, use fewer examples, or "
            "return averages."
        )
        return failed_call(
            result.finished.masks, message, players=self.players, n_outputs=len(result.finished.examples)
        )


def n_examples(block: FloatArray | None) -> int | None:
    """B of a block [m, B]; None where values came averaged."""
    return None if block is None else block.shape[1]
