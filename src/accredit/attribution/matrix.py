"""The result of an attribution: every coalition that was evaluated, with its values; the rest is derived from it.

Axes: N players, M coalitions, K outputs, B examples.

Memory: 8 M K bytes for the values, M N for the masks, and 8 M B per output where values per example are kept. What is
derived is computed when it is asked for, from these rows alone, and kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.attribution import derived
from accredit.attribution.coalition import coalition_text, coalition_texts, player_index
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.derived import OutputColumn
from accredit.attribution.estimate import MarginalEstimate
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.evaluation import Evaluations, Failure
from accredit.attribution.interaction import InteractionResult, interactions
from accredit.attribution.protocols import Estimator, InteractionEstimator
from accredit.attribution.result import ShapleyResult
from accredit.attribution.transforms import banzhaf_weights
from accredit.errors import MissingValue, UnknownName


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a matrix took."""

    n_evaluations: int
    """Coalitions with values."""
    duration_s: float
    """Seconds inside `compute_matrix`, of all calls that built the matrix together."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a matrix came to hold the coalitions that it holds."""

    strategy: str
    """"full_factorial", "shapley" or "ablation_only": what was evaluated; "results" where it was evaluated
    elsewhere."""
    strategy_reason: str
    """Why that strategy."""
    stop_reason: str
    """Why evaluating ended: "complete", "max_evaluations", "timeout_s", "target_half_width", "stop", "failure" or
    "interrupt"."""
    error_share: float = 1.0
    """Part of the error level that intervals may use after looks by a stop rule."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CounterfactualMatrix:
    """Coalitions with the values of every output; Shapley values and their kin are computed from it on request.

    "On" and "off" mean what the value function made of them, the same for every row: one game per matrix.

    Example:
        >>> from accredit.attribution.engine import CounterfactualEngine
        >>> engine = CounterfactualEngine(CounterfactualConfig())
        >>> matrix = engine.compute_matrix(["a", "b"], lambda masks: {"value": masks.all(dim=1).double()})
        >>> matrix.shapley("value")["a"].value
        0.5
    """

    players: tuple[str, ...]
    """Names in the order of the columns of `masks`."""
    config: CounterfactualConfig
    """The configuration that made the matrix; a continued one has that of the last call."""
    evaluations: Evaluations
    """The rows, as arrays that are not to be written to."""
    failures: tuple[Failure, ...] = ()
    """Coalitions whose evaluation failed; they have no row."""
    provenance: Provenance
    duration_s: float = 0.0
    """Seconds inside `compute_matrix`."""
    estimator: Estimator = field(default_factory=PairProcess, repr=False)
    """Shapley values where the table is incomplete."""
    interaction_estimator: InteractionEstimator | None = field(default=None, repr=False)
    """Interactions where the table is incomplete."""
    _columns: dict[str, OutputColumn] = field(default_factory=dict, repr=False)
    _shapley: dict[str, ShapleyResult] = field(default_factory=dict, repr=False)
    _interactions: dict[tuple[str, int], InteractionResult] = field(default_factory=dict, repr=False)

    @property
    def masks(self) -> Tensor:
        """Bool tensor [M, N] in the order of evaluation, a copy."""
        return torch.from_numpy(self.evaluations.masks.copy())

    @property
    def coalitions(self) -> tuple[str, ...]:
        """The rows of `masks` as texts, one character per player, 1 = on."""
        return coalition_texts(self.evaluations.masks)

    @property
    def cost(self) -> Cost:
        """Evaluations and seconds."""
        return Cost(n_evaluations=len(self.evaluations), duration_s=self.duration_s)

    @property
    def seed(self) -> int:
        """Seed of the design and of the bootstrap."""
        return self.config.seed

    def with_rows(self, rows: NDArray[np.intp]) -> CounterfactualMatrix:
        """The same matrix with some of its coalitions only."""
        return replace(self, evaluations=self.evaluations.take(rows), _columns={}, _shapley={}, _interactions={})

    def column(self, output: str) -> OutputColumn:
        """Everything known of one output, for the functions of `accredit.attribution.derived`.

        Raises:
            UnknownName: no output has this name.
        """
        if output not in self._columns:
            names = [declared.name for declared in self.config.outputs]
            if output not in names:
                raise UnknownName(f"`output` is {output!r}, wanted one of {', '.join(names)}; pass a declared output.")
            at = names.index(output)
            self._columns[output] = OutputColumn(
                players=self.players,
                output=self.config.outputs[at],
                masks=self.evaluations.masks,
                means=self.evaluations.means[at],
                examples=self.evaluations.examples[at],
                confidence=self.config.confidence,
                error_share=self.provenance.error_share,
                seed=self.config.seed,
                replicates=self.config.bootstrap_replicates,
            )
        return self._columns[output]

    def values(self, output: str) -> Tensor:
        """Values of one output [M], float64, raw: the mean over examples, or what came already averaged; a copy."""
        return torch.from_numpy(self.column(output).means.copy())

    def example_values(self, output: str) -> Tensor:
        """Values per example [M, B] of one output, float64, a copy.

        Raises:
            MissingValue: the value function returned averages.
        """
        examples = self.column(output).examples
        if examples is None:
            raise MissingValue(
                f"`example_values` of {output!r} got averages over the validation set, wanted one value per example; "
                "return tensors of shape (coalitions, examples) from the value function."
            )
        return torch.from_numpy(examples.copy())

    def shapley(self, output: str) -> ShapleyResult:
        """Shapley values of all players: exact from a complete table, else from exactly the coalitions evaluated.

        Returns:
            A mapping player -> `ShapleyEstimate`, with vectors, tests and differences.

        Raises:
            MissingValue: the coalitions do not suffice for the estimator.
            UnknownName: no output has this name.
        """
        if output not in self._shapley:
            reason = self.provenance.strategy_reason
            self._shapley[output] = derived.shapley(self.column(output), self.estimator, strategy_reason=reason)
        return self._shapley[output]

    def leave_one_out(self, output: str) -> dict[str, MarginalEstimate]:
        """v(all) - v(all without i) for every player.

        Raises:
            MissingValue: one of these coalitions was not evaluated.
        """
        return derived.leave_one_out(self.column(output))

    def banzhaf(self, output: str) -> dict[str, MarginalEstimate]:
        """Banzhaf value of every player: its mean marginal contribution where each other player is on half of the time.

        Raises:
            MissingValue: the table is not complete.
        """
        return derived.semivalue(self.column(output), banzhaf_weights(len(self.players)), name="Banzhaf")

    def interactions(self, output: str, *, order: int = 2) -> InteractionResult:
        """Shapley interaction indices of all pairs, or of all tuples of another order.

        Returns:
            A mapping tuple of players -> `InteractionEstimate`.

        Raises:
            InvalidArgument: an order outside 2 .. N.
            MissingValue: the coalitions do not suffice.
        """
        key = (output, order)
        if key not in self._interactions:
            self._interactions[key] = interactions(self.column(output), self.interaction_estimator, order=order)
        return self._interactions[key]

    def marginal_contribution(self, player: str, output: str) -> dict[str, float]:
        """v(S + player) - v(S) for every pair of evaluated coalitions, by the text of S.

        Raises:
            UnknownName: no such player or output.
        """
        column = self.column(output)
        without, joined = derived.marginal_rows(column, player_index(self.players, player))
        texts = (coalition_text(mask) for mask in column.masks[without])
        return dict(zip(texts, (column.means[joined] - column.means[without]).tolist(), strict=True))

    def __str__(self) -> str:
        """One table per output, with the failures below."""
        lines = [
            f"{len(self.evaluations)} coalitions of {len(self.players)} players, {self.provenance.strategy_reason}"
        ]
        for output in self.config.outputs:
            try:
                lines.append(str(self.shapley(output.name)))
            except MissingValue as error:
                lines.append(f"{output.name} [{output.unit}]: {error}")
        lines.extend(f"failed: {failure.players}: {failure.message}" for failure in self.failures)
        return "\n\n".join(lines)
