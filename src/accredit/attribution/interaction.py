"""Interactions of two or more players for one output: what they earn together beyond what they earn apart.

Axes: N players, M coalitions, B examples, P tuples of players in the order of `itertools.combinations`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np

from accredit.attribution.coalition import player_index, table_index
from accredit.attribution.derived import OutputColumn, bootstrap_means, of_examples, replicate_part
from accredit.attribution.estimate import InteractionEstimate, Regime
from accredit.attribution.output import Output
from accredit.attribution.protocols import FloatArray, InteractionEstimator, MaskArray
from accredit.attribution.result import DataPart
from accredit.attribution.transforms import interaction_index, shapley_weights
from accredit.charts.estimates import Estimates, PairEstimates
from accredit.charts.pairs import matrix_picture, network_picture
from accredit.errors import InvalidArgument, MissingValue

_ROWS_AT_ONCE = 4096  # coefficients [rows, P] for so many rows at a time: 4 MB at 16 players
_LINES = 20  # of a printed table: a reader wants the strongest, a program has the mapping


@dataclass(frozen=True, kw_only=True, eq=False)
class InteractionResult(Mapping[tuple[str, ...], InteractionEstimate]):
    """Tuple of players -> `InteractionEstimate`; the players of a tuple may be asked for in any order."""

    players: tuple[str, ...]
    order: int
    """Players per tuple, 2 for pairs."""
    output: Output
    """What is attributed."""
    value: FloatArray
    """Raw Shapley interaction indices [P]."""
    stderr_sampling: FloatArray | None
    """[P]; 0 for a complete table, None where the estimator declines to give any."""
    sampling_degrees_of_freedom: float
    """Of `stderr_sampling`; infinite for a normal."""
    data: DataPart | None
    """None where only averages over the validation set are known."""
    estimator: str
    """"exact" or the name of the estimator that was used."""
    n_evaluations: int
    """Coalitions that it rests on."""
    error_share: float
    """Part of the error that intervals may use; below 1 after repeated looks."""
    caution: str | None
    """Why there is no uncertainty, or where it is known to be too small."""

    @cached_property
    def place(self) -> dict[tuple[str, ...], int]:
        """Position of every tuple, its players in the order of `players`."""
        return {names: at for at, names in enumerate(combinations(self.players, self.order))}

    @cached_property
    def stderr_data(self) -> FloatArray | None:
        """[P], None where unknown."""
        return self.data.stderr() if self.data is not None and self.data.known else None

    def __getitem__(self, names: tuple[str, ...]) -> InteractionEstimate:
        """The estimate of one tuple of players.

        Raises:
            UnknownName: a name that nobody has.
            InvalidArgument: another number of players, or one of them twice.
        """
        positions = sorted(player_index(self.players, name) for name in names)
        if len(set(positions)) != self.order:
            raise InvalidArgument(
                f"`names` are {list(names)}, wanted {self.order} different players; pass a tuple such as "
                f"{self.players[: self.order]}."
            )
        ordered = tuple(self.players[at] for at in positions)
        at = self.place[ordered]
        return InteractionEstimate(
            players=ordered,
            value=float(self.value[at]),
            contribution=float(self.value[at]) * self.output.direction,
            stderr_sampling=None if self.stderr_sampling is None else float(self.stderr_sampling[at]),
            stderr_data=None if self.stderr_data is None else float(self.stderr_data[at]),
            sampling_degrees_of_freedom=self.sampling_degrees_of_freedom,
            data_degrees_of_freedom=math.inf if self.data is None else self.data.degrees_of_freedom,
            n_evaluations=self.n_evaluations,
            error_share=self.error_share,
            caution=self.caution,
        )

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """Tuples in the order of `itertools.combinations`."""
        return iter(self.place)

    def __len__(self) -> int:
        """Number of tuples."""
        return len(self.place)

    def regimes(self, threshold: float, *, level: float = 0.95) -> dict[tuple[str, ...], Regime]:
        """The regime of every tuple: see `InteractionEstimate.regime`."""
        return {names: self[names].regime(threshold, level=level) for names in self}

    def estimates(self, level: float = 0.95) -> Estimates:
        """What a picture is drawn from: raw indices with the half-widths of their intervals at a level."""
        ends = [self[names].interval(level) for names in self]
        return Estimates(
            names=tuple(" + ".join(names) for names in self),
            values=tuple(self.value.tolist()),
            half_widths=tuple(None if pair is None else (pair[1] - pair[0]) / 2 for pair in ends),
            quantity=self.output.name,
            unit=self.output.unit,
            higher_is_better=self.output.higher_is_better,
            level=level,
        )

    def plot(self, kind: Literal["network", "matrix"] = "network", level: float = 0.95) -> Any:
        """A matplotlib figure of pair interactions: lines between the players, or a square for each pair.

        Args:
            kind: "network" or "matrix".
            level: of the intervals that tell the decided from the undecided, in (0, 1).

        Raises:
            InvalidArgument: another kind, interactions of more than two players, or a level outside (0, 1).
            MissingExtra: matplotlib is not installed.
        """
        if self.order != 2 or kind not in ("network", "matrix"):
            raise InvalidArgument(
                f'`kind` is {kind!r} for interactions of order {self.order}, wanted "network" or "matrix" for '
                "pairs; ask the matrix for order 2."
            )
        pairs = PairEstimates(players=self.players, pairs=self.estimates(level))
        return network_picture(pairs) if kind == "network" else matrix_picture(pairs)

    def __str__(self) -> str:
        """Table of the strongest, largest size first."""
        order = sorted(range(len(self)), key=lambda at: (-abs(self.value[at]), at))[:_LINES]
        tuples = list(self.place)
        names = [" + ".join(tuples[at]) for at in order]
        width = max(7, *(len(name) for name in names))
        lines = [
            f"{'players':<{width}}  {'interaction':>12}  {'+- 95%':>10}   of {self.output.name} [{self.output.unit}]"
        ]
        for at, name in zip(order, names, strict=True):
            estimate = self[tuples[at]]
            ends = estimate.interval(0.95)
            reach = "unknown" if ends is None else f"{(ends[1] - ends[0]) / 2:.4g}"
            lines.append(f"{name:<{width}}  {estimate.contribution:>12.4g}  {reach:>10}")
        if len(self) > _LINES:
            lines.append(f"and {len(self) - _LINES} weaker ones")
        lines.append(f"{self.estimator}, {self.n_evaluations} coalitions; positive helps")
        if self.caution is not None:
            lines.append(f"caution: {self.caution}")
        return "\n".join(lines)


def interactions(column: OutputColumn, estimator: InteractionEstimator, *, order: int) -> InteractionResult:
    """Shapley interaction indices: exact from a complete table, else pairs by the estimator on the rows there are.

    Raises:
        InvalidArgument: an order outside 2 .. N.
        MissingValue: an order above 2 without a complete table, or too few rows for the estimator.
    """
    n_players = len(column.players)
    if not 2 <= order <= n_players:
        raise InvalidArgument(f"`order` is {order}, wanted 2 to {n_players}, the number of players; pass 2 for pairs.")
    if column.is_complete:
        return _exact(column, order)
    if order > 2:
        raise MissingValue(
            f"`interactions` of order {order} got {len(column.masks)} of 2^{n_players} coalitions, wanted all of "
            "them; ask "
            'for order 2, or continue the matrix with the strategy "full_factorial".'
        )
    return _estimated(column, estimator)


def _exact(column: OutputColumn, order: int) -> InteractionResult:
    """From the complete table, and from each example alone for the data part."""
    n_players = len(column.players)
    weights = shapley_weights(n_players, order=order)
    table = np.empty(len(column.masks))
    table[table_index(column.masks)] = column.means
    value = interaction_index(table, weights, order=order)
    data = None
    if column.examples is not None:
        columns = _example_interactions(column.masks, column.examples, weights, order=order)
        data = of_examples(columns)
    return InteractionResult(
        players=column.players,
        order=order,
        output=column.output,
        value=value,
        stderr_sampling=np.zeros(len(value)),
        sampling_degrees_of_freedom=math.inf,
        data=data,
        estimator="exact",
        n_evaluations=len(column.masks),
        error_share=column.error_share,
        caution=None,
    )


def _example_interactions(masks: MaskArray, examples: FloatArray, weights: FloatArray, *, order: int) -> FloatArray:
    """Interactions of every example alone [P, B]: I(T) = sum over S of (-1)^(t - x) w(|S| - x) v(S), x = |S and T|."""
    n_players = masks.shape[1]
    members = np.zeros((n_players, math.comb(n_players, order)), dtype=np.int64)
    for at, subset in enumerate(combinations(range(n_players), order)):
        members[list(subset), at] = 1
    signed = np.zeros((order + 1, n_players + 1))  # coefficient of v(S) by x and |S|
    for inside in range(order + 1):
        signed[inside, inside : inside + len(weights)] = (-1.0) ** (order - inside) * weights
    total = np.zeros((members.shape[1], examples.shape[1]))
    # every example is a game of its own; all their tables at once would take [2^N, B] again
    for begin in range(0, len(masks), _ROWS_AT_ONCE):
        rows = masks[begin : begin + _ROWS_AT_ONCE].astype(np.int64)
        total += signed[rows @ members, rows.sum(axis=1)[:, None]].T @ examples[begin : begin + _ROWS_AT_ONCE]
    return total


def _estimated(column: OutputColumn, estimator: InteractionEstimator) -> InteractionResult:
    """The estimator on the rows in an order of their own, so that the order of evaluation cannot change a digit."""
    order = np.lexsort(column.masks.T)
    values = column.means[order, None]
    replicates = bootstrap_means(column)
    if replicates is not None:
        values = np.concatenate([values, replicates[order]], axis=1)
    fitted = estimator(column.masks[order], values)
    return InteractionResult(
        players=column.players,
        order=2,
        output=column.output,
        value=fitted.value[:, 0],
        stderr_sampling=None if fitted.stderr is None else fitted.stderr[:, 0],
        sampling_degrees_of_freedom=fitted.degrees_of_freedom,
        data=replicate_part(column, fitted.value[:, 1:]),
        estimator=fitted.estimator,
        n_evaluations=fitted.n_evaluations,
        error_share=column.error_share,
        caution=fitted.caution,
    )
