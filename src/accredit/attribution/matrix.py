"""The result of an attribution: every coalition that was evaluated, with its values; the rest is derived from it.

Axes: N players, M coalitions, K outputs, B examples.

Memory: 8 M K bytes for the values, M N for the masks, and 8 M B per output where values per example are kept. What is
derived is computed when it is asked for, from these rows alone, and kept. Joining the rows of several calls takes twice
that for a moment. While something is derived from values per example, a sampled matrix takes another 8 M (B + R) for R
bootstrap replicates, a complete table 8 N B and a block of 4096 rows; Banzhaf values and other semivalues of a complete
table take 8 M N.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.attribution import derived
from accredit.attribution.coalition import coalition_text, coalition_texts, player_index
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.derived import OutputColumn
from accredit.attribution.estimate import MarginalEstimate
from accredit.attribution.estimators.pair_interactions import PairInteractions
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.evaluation import Evaluations, Failure
from accredit.attribution.export import matrix_record, shapley_frame
from accredit.attribution.interaction import InteractionResult, interactions
from accredit.attribution.joining import (
    check_same_game,
    evaluations_from_results,
    join_numerics,
    merge_evaluations,
    merge_failures,
    merge_provenance,
    numerics_of,
)
from accredit.attribution.protocols import Estimator, InteractionEstimator
from accredit.attribution.provenance import Cost, Provenance
from accredit.attribution.result import ShapleyResult
from accredit.attribution.saved_estimator import estimator_texts, estimators_of
from accredit.attribution.storage import Stored, create, publish, read
from accredit.attribution.transforms import banzhaf_weights
from accredit.errors import MissingValue, UnknownName


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What was derived from a matrix already, by output."""

    columns: dict[str, OutputColumn] = field(default_factory=dict)
    shapley: dict[str, ShapleyResult] = field(default_factory=dict)
    interactions: dict[tuple[str, int], InteractionResult] = field(default_factory=dict)


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
    """How the rows came about: strategy and why, why it ended, how values round."""
    cost: Cost
    """Coalitions with values, and seconds."""
    estimator: Estimator = field(default_factory=PairProcess, repr=False)
    """Shapley values where the table is incomplete."""
    interaction_estimator: InteractionEstimator = field(default_factory=PairInteractions, repr=False)
    """Interactions where the table is incomplete."""
    _kept: Kept = field(default_factory=Kept, repr=False)

    @property
    def masks(self) -> Tensor:
        """Bool tensor [M, N] in the order of evaluation, a copy."""
        return torch.from_numpy(self.evaluations.masks.copy())

    @property
    def seed(self) -> int:
        """Seed of the design and of the bootstrap."""
        return self.config.seed

    def values(self, output: str) -> Tensor:
        """Values of one output [M], float64, raw: the mean over examples, or what came already averaged; a copy."""
        return torch.from_numpy(column_of(self, output).means.copy())

    def example_values(self, output: str) -> Tensor:
        """Values per example [M, B] of one output, float64, a copy.

        Raises:
            MissingValue: the value function returned averages.
        """
        examples = column_of(self, output).examples
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
        if output not in self._kept.shapley:
            reason = self.provenance.strategy_reason
            self._kept.shapley[output] = derived.shapley(
                column_of(self, output), self.estimator, strategy_reason=reason
            )
        return self._kept.shapley[output]

    def leave_one_out(self, output: str) -> dict[str, MarginalEstimate]:
        """v(all) - v(all without i) for every player.

        Raises:
            MissingValue: one of these coalitions was not evaluated.
        """
        return derived.leave_one_out(column_of(self, output))

    def banzhaf(self, output: str) -> dict[str, MarginalEstimate]:
        """Banzhaf value of every player: its mean marginal contribution where each other player is on half of the time.

        Raises:
            MissingValue: the table is not complete.
        """
        return derived.semivalue(column_of(self, output), banzhaf_weights(len(self.players)), name="Banzhaf")

    def interactions(self, output: str, *, order: int = 2) -> InteractionResult:
        """Shapley interaction indices of all pairs, or of all tuples of another order.

        Returns:
            A mapping tuple of players -> `InteractionEstimate`.

        Raises:
            InvalidArgument: an order outside 2 .. N.
            MissingValue: the coalitions do not suffice.
        """
        key = (output, order)
        if key not in self._kept.interactions:
            self._kept.interactions[key] = interactions(
                column_of(self, output), self.interaction_estimator, order=order
            )
        return self._kept.interactions[key]

    def marginal_contribution(self, player: str, output: str) -> dict[str, float]:
        """v(S + player) - v(S) for every pair of evaluated coalitions, by the text of S.

        Raises:
            UnknownName: no such player or output.
        """
        column = column_of(self, output)
        without, joined = derived.marginal_rows(column, player_index(self.players, player))
        texts = (coalition_text(mask) for mask in column.masks[without])
        return dict(zip(texts, (column.means[joined] - column.means[without]).tolist(), strict=True))

    def save(self, path: str | Path) -> None:
        """Write the matrix to a file: atomic, with a checksum over every byte, no pickle (see `storage`).

        A stop rule and estimators of your own are kept by their names alone.
        """
        target = Path(path)
        journal = create(
            target,
            players=self.players,
            config=self.config,
            strategy=self.provenance.strategy,
            reason=self.provenance.strategy_reason,
            numerics=self.provenance.numerics,
            estimators=estimator_texts(self.estimator, self.interaction_estimator),
        )
        journal.rows(self.evaluations)
        journal.end(self.provenance, self.failures, duration_s=self.cost.duration_s)
        journal.close()
        publish(target, replaces=True)

    @staticmethod
    def load(
        path: str | Path,
        *,
        recover: bool = False,
        estimator: Estimator | None = None,
        interaction_estimator: InteractionEstimator | None = None,
    ) -> CounterfactualMatrix:
        """Read a matrix from a file of `save`, or one that `compute_matrix(path=...)` let grow.

        Args:
            path: the file.
            recover: leave out a last record that is cut off, as a killed process leaves it.
            estimator: for Shapley values; default: that of the file, where it is the default of this package. A file
                holds no code: where it names another estimator and none is passed, what needs it raises MissingValue.
            interaction_estimator: likewise for interactions.

        Raises:
            FileDamaged: not a matrix, from a newer version, altered, or cut off without leave to recover.
        """
        stored = read(Path(path), recover=recover)
        first, second = estimators_of(
            stored.estimators, estimator=estimator, interaction_estimator=interaction_estimator
        )
        return replace(matrix_of(stored), estimator=first, interaction_estimator=second)

    def merge(self, other: CounterfactualMatrix) -> CounterfactualMatrix:
        """The coalitions of both, each once; configuration and estimators of this one.

        Raises:
            StateMismatch: other players, outputs or data, or values of other numerics.
        """
        check_same_game(other.players, other.config.outputs, other_players=self.players, config=self.config)
        added = numerics_of(other.evaluations, other.provenance)
        numerics = join_numerics(numerics_of(self.evaluations, self.provenance), added, what="other")
        evaluations = merge_evaluations(self.evaluations, other.evaluations, players=self.players)
        texts = coalition_texts(evaluations.masks)
        return replace(
            self,
            evaluations=evaluations,
            failures=merge_failures(self.failures + other.failures, texts),
            provenance=merge_provenance(self.provenance, other.provenance, numerics=numerics),
            cost=Cost(n_evaluations=len(evaluations), duration_s=self.cost.duration_s + other.cost.duration_s),
            _kept=Kept(),
        )

    def extend(self, masks: Tensor, values: Mapping[str, Tensor]) -> CounterfactualMatrix:
        """This matrix and coalitions evaluated elsewhere: masks [M, N], values [M] or [M, B] for every output.

        Raises:
            InvalidArgument: masks of another width or dtype, or a coalition twice.
            EvaluationError: outputs that were not declared, or another shape.
            StateMismatch: another value for a coalition of this matrix, or other examples; or this matrix has values
                whose numerics are not "exact", which values from elsewhere cannot be known to share.
        """
        outputs = self.config.outputs
        added, failures = evaluations_from_results(self.players, masks, values, outputs=outputs)
        numerics = join_numerics(numerics_of(self.evaluations, self.provenance), "", what="values")
        evaluations = merge_evaluations(self.evaluations, added, players=self.players)
        return replace(
            self,
            evaluations=evaluations,
            failures=merge_failures(self.failures + failures, coalition_texts(evaluations.masks)),
            provenance=replace(self.provenance, numerics=numerics),
            cost=Cost(n_evaluations=len(evaluations), duration_s=self.cost.duration_s),
            _kept=Kept(),
        )

    def to_dict(self) -> dict[str, object]:
        """Everything but values per example in types that JSON has; what is unknown is None."""
        return matrix_record(
            players=self.players,
            config=self.config,
            evaluations=self.evaluations,
            failures=self.failures,
            provenance=self.provenance,
            cost=self.cost,
            shapley=shapley_where_known(self),
        )

    def to_frame(self) -> Any:
        """A pandas.DataFrame with one row per output and player: value, uncertainty, spread.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return shapley_frame(shapley_where_known(self))

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


def column_of(matrix: CounterfactualMatrix, output: str) -> OutputColumn:
    """Everything known of one output, for the functions of `derived` and `interaction`.

    Raises:
        UnknownName: no output has this name.
    """
    kept = matrix._kept.columns
    if output not in kept:
        names = [declared.name for declared in matrix.config.outputs]
        if output not in names:
            raise UnknownName(f"`output` is {output!r}, wanted one of {', '.join(names)}; pass a declared output.")
        at = names.index(output)
        kept[output] = OutputColumn(
            players=matrix.players,
            output=matrix.config.outputs[at],
            masks=matrix.evaluations.masks,
            means=matrix.evaluations.means[at],
            examples=matrix.evaluations.examples[at],
            confidence=matrix.config.confidence,
            error_share=matrix.provenance.error_share,
            seed=matrix.config.seed,
            replicates=matrix.config.bootstrap_replicates,
        )
    return kept[output]


def matrix_of(stored: Stored) -> CounterfactualMatrix:
    """The matrix of what a file holds, with the estimators that it names as far as they can be had."""
    estimator, interaction_estimator = estimators_of(stored.estimators)
    return CounterfactualMatrix(
        players=stored.players,
        config=stored.config,
        evaluations=stored.evaluations,
        failures=stored.failures,
        provenance=stored.provenance,
        cost=Cost(n_evaluations=len(stored.evaluations), duration_s=stored.duration_s),
        estimator=estimator,
        interaction_estimator=interaction_estimator,
    )


def shapley_where_known(matrix: CounterfactualMatrix) -> dict[str, ShapleyResult]:
    """Shapley values of the outputs that have them: none where the coalitions do not determine them."""
    results = {}
    for output in matrix.config.outputs:
        # an ablation has no Shapley values, and a table of what is known is no place to fail for it
        with suppress(MissingValue):
            results[output.name] = matrix.shapley(output.name)
    return results


def matrix_rows(matrix: CounterfactualMatrix, rows: NDArray[np.intp]) -> CounterfactualMatrix:
    """The same matrix with some of its coalitions only."""
    return replace(matrix, evaluations=matrix.evaluations.take(rows), _kept=Kept())
