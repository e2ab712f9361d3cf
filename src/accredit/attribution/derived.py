"""What follows from the values of one output: Shapley values, leave-one-out, Banzhaf, marginals.

Nothing is evaluated here.

Axes: N players, M coalitions, B examples, R bootstrap replicates, P quantities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from accredit.attribution.coalition import coalition_keys, coalition_names, table_index
from accredit.attribution.estimate import MarginalEstimate
from accredit.attribution.output import Output
from accredit.attribution.protocols import Estimator, FloatArray, MaskArray
from accredit.attribution.result import DataPart, ShapleyResult
from accredit.attribution.transforms import shapley_values, shapley_weights, value_coefficients
from accredit.errors import MissingValue
from accredit.moments import sample_variance

_ROWS_AT_ONCE = 4096  # of a table: 0.5 MB of coefficients at 16 players
_KEPT_ROWS = 256  # up to 8 players: their layouts are kept, and a product with 2^N coefficients beats folding the table


@dataclass(frozen=True, kw_only=True, eq=False)
class OutputColumn:
    """One output of a matrix: everything that a derived quantity may rest on."""

    players: tuple[str, ...]
    output: Output
    masks: MaskArray
    """[M, N], no row twice."""
    means: FloatArray
    """[M]."""
    examples: FloatArray | None
    """[M, B], or None where values came averaged."""
    confidence: float
    error_share: float
    seed: int
    replicates: int

    @property
    def is_complete(self) -> bool:
        """Whether all 2^N coalitions have values."""
        return len(self.masks) == 1 << len(self.players)

    @cached_property
    def place(self) -> dict[bytes, int]:
        """Row of every coalition that was evaluated, by its key."""
        return {key: at for at, key in enumerate(coalition_keys(self.masks))}

    def rows(self, masks: MaskArray) -> np.ndarray:
        """Rows of these coalitions.

        Raises:
            MissingValue: one was not evaluated.
        """
        found = [self.place.get(key, -1) for key in coalition_keys(masks)]
        if -1 in found:
            absent = coalition_names(self.players, masks[found.index(-1)])
            raise MissingValue(
                f"`coalition` {absent} is not among the {len(self.masks)} that were evaluated, wanted its value for "
                "this quantity; continue the matrix with a strategy that evaluates it."
            )
        return np.array(found, dtype=np.intp)

    def require_complete(self, what: str) -> None:
        """Refuse a quantity that only a complete table has.

        Raises:
            MissingValue: a coalition is missing.
        """
        if not self.is_complete:
            raise MissingValue(
                f"`{what}` got {len(self.masks)} of {1 << len(self.players)} coalitions, wanted all of them; "
                "continue the "
                'matrix with the strategy "full_factorial".'
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class TableLayout:
    """Where things stand in a complete table whose rows came in some order, the same for all its outputs."""

    index: NDArray[np.int64]
    """Position of each row in table order [M]."""
    none: int
    everything: int
    coefficients: FloatArray | None
    """Shapley values from values in the order of the rows [M, N]; None for a large table, which is folded instead."""


def table_layout(masks: MaskArray) -> TableLayout:
    """The layout of a complete table; for a few players, where a training loop asks for it every step, it is kept."""
    if len(masks) <= _KEPT_ROWS:
        return _kept_layout(masks.tobytes(), masks.shape[1])
    return _layout(masks)


@lru_cache(maxsize=64)
def _kept_layout(masks: bytes, n_players: int) -> TableLayout:
    """The layout by the bytes of the masks."""
    return _layout(np.frombuffer(masks, dtype=np.bool_).reshape(-1, n_players))


def _layout(masks: MaskArray) -> TableLayout:
    """The layout of a complete table."""
    index = table_index(masks)
    return TableLayout(
        index=index,
        none=int(index.argmin()),
        everything=int(index.argmax()),
        coefficients=value_coefficients(masks, shapley_weights(masks.shape[1])) if len(masks) <= _KEPT_ROWS else None,
    )


def shapley(column: OutputColumn, estimator: Estimator, *, strategy_reason: str) -> ShapleyResult:
    """Shapley values: the exact transform where the table is complete, else the estimator on the rows there are.

    Raises:
        MissingValue: none or all was not evaluated, or the rows do not suffice for the estimator.
    """
    if column.is_complete:
        return _exact(column)
    return _estimated(column, estimator, strategy_reason=strategy_reason)


def _exact(column: OutputColumn) -> ShapleyResult:
    """Exact values; the Shapley values of every example alone have the sample variance that makes their data part."""
    n_players, layout = len(column.players), table_layout(column.masks)
    if layout.coefficients is not None:
        # relative to v(none), so that an offset of the whole game costs no digits
        value = (column.means - column.means[layout.none]) @ layout.coefficients
    else:
        table = np.empty(len(column.masks))
        table[layout.index] = column.means
        value = shapley_values(table)
    data = None
    if column.examples is not None and layout.coefficients is not None:
        data = example_part(layout.coefficients, column.examples)
    elif column.examples is not None:
        data = table_part(column.masks, shapley_weights(n_players), column.examples)
    return ShapleyResult(
        players=column.players,
        output=column.output,
        value=value,
        stderr_sampling=np.zeros(n_players),
        sampling_degrees_of_freedom=math.inf,
        covariance=np.zeros((n_players, n_players)),
        data=data,
        value_all=float(column.means[layout.everything]),
        value_none=float(column.means[layout.none]),
        estimator="exact",
        reason=f"all {len(column.masks)} coalitions were evaluated",
        n_evaluations=len(column.masks),
        confidence=column.confidence,
        error_share=column.error_share,
        caution=None,
        spread_of=lambda player: spread(column, player),
    )


def example_part(coefficients: FloatArray, examples: FloatArray) -> DataPart:
    """The data part of linear quantities with coefficients [M, P] on values per example [M, B]."""
    return of_examples(coefficients.T @ examples)


def table_part(masks: MaskArray, weights: FloatArray, examples: FloatArray) -> DataPart:
    """The data part of an index of all players from a complete table, some rows at a time.

    The coefficients [M, N] of a large table take as much memory as a block of examples, so they are made in parts.
    """
    columns = np.zeros((masks.shape[1], examples.shape[1]))
    for begin in range(0, len(masks), _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        columns += value_coefficients(masks[rows], weights).T @ examples[rows]
    return of_examples(columns)


def of_examples(columns: FloatArray) -> DataPart:
    """The data part of quantities that were computed for each example alone [P, B]."""
    n_examples = columns.shape[1]
    return DataPart(
        columns=columns,
        scale=1.0 / n_examples,
        degrees_of_freedom=float(max(n_examples - 1, 1)),
        draw=f"each of {n_examples} examples",
    )


def _estimated(column: OutputColumn, estimator: Estimator, *, strategy_reason: str) -> ShapleyResult:
    """The estimator on the rows in an order of their own, so that the order of evaluation cannot change a digit."""
    n_players = len(column.players)
    none, everything = column.rows(np.array([[False] * n_players, [True] * n_players]))
    # sums of floats depend on their order, and executors, merges and continuations each leave another
    order = np.lexsort(column.masks.T)
    values = column.means[order, None]
    replicates = bootstrap_means(column)
    if replicates is not None:
        values = np.concatenate([values, replicates[order]], axis=1)
    fitted = estimator(column.masks[order], values)
    if fitted.stderr is None:
        raise MissingValue(
            f"`shapley` got {fitted.n_evaluations} coalitions that {fitted.estimator} can use, wanted at least 6, "
            "for with fewer nothing is known of its uncertainty; continue the matrix."
        )
    return ShapleyResult(
        players=column.players,
        output=column.output,
        value=fitted.value[:, 0],
        stderr_sampling=fitted.stderr[:, 0],
        sampling_degrees_of_freedom=fitted.degrees_of_freedom,
        covariance=None if fitted.covariance is None else fitted.covariance[0],
        data=replicate_part(column, fitted.value[:, 1:]),
        value_all=float(column.means[everything]),
        value_none=float(column.means[none]),
        estimator=fitted.estimator,
        reason=f"{len(column.masks)} of 2^{n_players} coalitions were evaluated; {strategy_reason}",
        n_evaluations=fitted.n_evaluations,
        confidence=column.confidence,
        error_share=column.error_share,
        caution=fitted.caution,
        spread_of=lambda player: spread(column, player),
    )


def replicate_part(column: OutputColumn, replicates: FloatArray) -> DataPart | None:
    """The data part from estimates in bootstrap replicates [N, R]; None where there are none."""
    if column.examples is None or not replicates.shape[1]:
        return None
    n_replicates, n_examples = replicates.shape[1], column.examples.shape[1]
    return DataPart(
        columns=replicates,
        scale=1.0,
        # many replicates of few examples know no more than the examples do
        degrees_of_freedom=float(max(min(n_replicates, n_examples) - 1, 1)),
        draw=f"{n_replicates} resamples (seed {column.seed}) of {n_examples} examples",
    )


def bootstrap_means(column: OutputColumn) -> FloatArray | None:
    """Means [M, R] over validation sets that could have been drawn instead; None without values per example.

    Every example gets a Poisson(1) weight per replicate, the same under every coalition, so that the replicates of all
    coalitions belong together. A single example says nothing of the others: None.

    Source: Hanley and MacGibbon (2006), Creating non-parametric bootstrap samples using Poisson frequencies.
    """
    if column.examples is None or column.examples.shape[1] < 2:
        return None
    # one draw for all coalitions: errors are paired, and drawing anew for each would lose what they share
    weights = _bootstrap_weights(column.seed, column.replicates, column.examples.shape[1])
    # the distance to the mean is resampled, so that a replicate of weight 0 (all examples left out) stays at the mean
    centred = column.examples - column.means[:, None]
    return column.means[:, None] + centred @ weights.T


@lru_cache(maxsize=4)
def _bootstrap_weights(seed: int, replicates: int, n_examples: int) -> FloatArray:
    """Weights [R, B], each row summing to 1 (to 0 where the draw left every example out)."""
    # the number of examples is part of the seed: two validation sets must not share a draw
    draws = np.random.default_rng([seed, n_examples]).poisson(1.0, size=(replicates, n_examples)).astype(np.float64)
    return np.asarray(draws / np.maximum(draws.sum(axis=1, keepdims=True), 1.0))


def linear_index(column: OutputColumn, coefficients: FloatArray, *, name: str) -> dict[str, MarginalEstimate]:
    """One estimate per player from coefficients [M, N] on the rows, exact but for the draw of examples."""
    # relative to one value: coefficients that sum to 0 would otherwise cancel a large common offset digit by digit
    values = coefficients.T @ (column.means - column.means[0])
    values = values + coefficients.sum(axis=0) * column.means[0]
    part = None if column.examples is None else example_part(coefficients, column.examples)
    stderr = part.stderr() if part is not None and part.known else None
    return {
        player: MarginalEstimate(
            name=f"{name} of {player}",
            value=float(values[at]),
            contribution=float(values[at]) * column.output.direction,
            stderr_sampling=0.0,
            stderr_data=None if stderr is None else float(stderr[at]),
            data_degrees_of_freedom=math.inf if part is None else part.degrees_of_freedom,
            n_evaluations=int(np.count_nonzero(coefficients[:, at])),
            error_share=column.error_share,
        )
        for at, player in enumerate(column.players)
    }


def leave_one_out(column: OutputColumn) -> dict[str, MarginalEstimate]:
    """v(all) - v(all without i): what breaks when a part goes while all others stay as they are.

    Raises:
        MissingValue: one of these coalitions was not evaluated.
    """
    n_players = len(column.players)
    everything = column.rows(np.ones((1, n_players), dtype=np.bool_))
    without = column.rows(~np.eye(n_players, dtype=np.bool_))
    coefficients = np.zeros((len(column.masks), n_players))
    coefficients[everything] = 1.0
    coefficients[without, np.arange(n_players)] = -1.0
    return linear_index(column, coefficients, name="leave-one-out")


def semivalue(column: OutputColumn, weights: FloatArray, *, name: str) -> dict[str, MarginalEstimate]:
    """Sum over S of w(|S|) (v(S + i) - v(S)) with weights such as `transforms.beta_weights` gives.

    Raises:
        MissingValue: the table is not complete.
    """
    column.require_complete(name)
    return linear_index(column, value_coefficients(column.masks, weights), name=name)


def marginal_rows(column: OutputColumn, player: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of S and of S + player for every pair of them that was evaluated."""
    without = np.flatnonzero(~column.masks[:, player])
    joined = column.masks[without]
    joined[:, player] = True
    partner = np.array([column.place.get(key, -1) for key in coalition_keys(joined)], dtype=np.intp)
    return without[partner >= 0], partner[partner >= 0]


def spread(column: OutputColumn, player: int) -> float | None:
    """Sample standard deviation (n - 1) of the marginal contributions that were evaluated; None for fewer than two.

    Example:
        >>> sample_variance(np.var([1.0, 2.0, 3.0, 4.0]), 4.0).item()
        1.6666666666666667
    """
    without, joined = marginal_rows(column, player)
    marginals = column.means[joined] - column.means[without]
    if len(marginals) < 2:
        return None
    return math.sqrt(sample_variance(float(marginals.var()), float(len(marginals))))
