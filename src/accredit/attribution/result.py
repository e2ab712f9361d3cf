"""Shapley values of all players for one output, as vectors and, on request, as one estimate per player.

Axes: N players, C columns that carry the draw of the validation set (per-example values, or bootstrap replicates).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from accredit.attribution.coalition import player_index
from accredit.attribution.estimate import (
    MarginalEstimate,
    ShapleyEstimate,
    difference,
    half_widths,
    holm,
    student_quantile,
    welch_degrees_of_freedom,
)
from accredit.attribution.output import Output
from accredit.attribution.protocols import FloatArray
from accredit.charts.bars import bar_picture, waterfall_picture
from accredit.charts.estimates import Estimates
from accredit.errors import InvalidArgument, StateMismatch
from accredit.moments import sample_variance


@dataclass(frozen=True, kw_only=True, eq=False)
class DataPart:
    """What the draw of validation examples does to some quantities, kept so that differences can be paired.

    The variance of a linear combination of the quantities is `scale` times the sample variance (n - 1) of the same
    combination of the columns.
    """

    columns: FloatArray
    """[N, C]: the quantity computed for each example alone, or in each bootstrap replicate."""
    scale: float
    """1 / C for examples (the estimate is their mean), 1 for bootstrap replicates."""
    degrees_of_freedom: float
    """C - 1; for replicates at most the number of examples - 1."""
    draw: str
    """What a column is, such as "each of 500 examples": columns of two parts belong together only where this is equal.
    """

    def stderr(self, combination: FloatArray | None = None) -> FloatArray:
        """Standard errors [N], or of combinations [P, N] of the quantities [P]; NaN for a single column."""
        columns = self.columns if combination is None else combination @ self.columns
        variance = sample_variance(columns.var(axis=-1), float(columns.shape[-1]))
        return np.asarray(np.sqrt(variance * self.scale))

    @property
    def known(self) -> bool:
        """Whether there is more than one column: a single example says nothing of the others."""
        return bool(self.columns.shape[-1] > 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class ShapleyResult(Mapping[str, ShapleyEstimate]):
    """Player -> `ShapleyEstimate`, with the vectors behind them and how they were made."""

    players: tuple[str, ...]
    """N names, in the order of every vector here."""
    output: Output
    """What is attributed."""
    value: FloatArray
    """Raw Shapley values [N]."""
    stderr_sampling: FloatArray | None
    """[N]; 0 for a complete table, None where the estimator declines to give any."""
    sampling_degrees_of_freedom: float
    """Of `stderr_sampling`; infinite for a normal."""
    covariance: FloatArray | None
    """Sampling covariance [N, N]; None where unknown."""
    data: DataPart | None
    """None where only averages over the validation set are known."""
    value_all: float
    """With every player on."""
    value_none: float
    """With every player off."""
    estimator: str
    """"exact" or the name of the estimator that was used."""
    reason: str
    """Why this estimator."""
    n_evaluations: int
    """Coalitions that it rests on."""
    confidence: float
    """Level of intervals where none is given, in (0, 1)."""
    error_share: float
    """Part of the error that intervals may use; below 1 after repeated looks."""
    caution: str | None
    """Where the interval is known to be too narrow, or why there is none."""
    spread_of: Callable[[int], float | None]
    """Spread of the marginal contributions of the player at a position."""

    def __getitem__(self, player: str) -> ShapleyEstimate:
        """The estimate of one player."""
        at = player_index(self.players, player)
        return ShapleyEstimate(
            player=player,
            value=float(self.value[at]),
            contribution=float(self.contributions[at]),
            stderr_sampling=None if self.stderr_sampling is None else float(self.stderr_sampling[at]),
            stderr_data=None if self.stderr_data is None else float(self.stderr_data[at]),
            sampling_degrees_of_freedom=self.sampling_degrees_of_freedom,
            data_degrees_of_freedom=self.data_degrees_of_freedom,
            n_evaluations=self.n_evaluations,
            error_share=self.error_share,
            spread=self.spread_of(at),
        )

    def __iter__(self) -> Iterator[str]:
        """Players in their order."""
        return iter(self.players)

    def __len__(self) -> int:
        """Number of players."""
        return len(self.players)

    @cached_property
    def contributions(self) -> FloatArray:
        """[N], signed by the direction of the output: positive helps."""
        return self.value * self.output.direction

    @cached_property
    def stderr_data(self) -> FloatArray | None:
        """[N], None where unknown."""
        return self.data.stderr() if self.data is not None and self.data.known else None

    @property
    def data_degrees_of_freedom(self) -> float:
        """Of `stderr_data`; infinite where it is unknown."""
        return np.inf if self.data is None else self.data.degrees_of_freedom

    @cached_property
    def stderr(self) -> FloatArray | None:
        """[N] from both sources, None where unknown: the vector form of `Estimate.stderr`."""
        sampling, data = self.stderr_sampling, self.stderr_data
        if sampling is None or (data is None and not sampling.any()):
            return None
        return sampling if data is None else np.hypot(sampling, data)

    def half_widths(self, level: float | None = None) -> FloatArray | None:
        """Half-widths [N] of the intervals at a level (default: the configured confidence); None where unknown.

        Student t around the raw values, each player alone: all intervals of a result hold together less often than one.
        The data part assumes that the mean over examples is close to normal; the sampling part rests on the model of
        the estimator (docs/estimators.md says what it assumes and where it covers less). Both hold at their level also
        where a stop rule looked in between.

        Raises:
            InvalidArgument: a level outside (0, 1).
        """
        if self.stderr is None or self.stderr_sampling is None:
            return None
        wanted = self.confidence if level is None else level
        # a complete table has one number of degrees of freedom for all players, and is asked for at every training step
        if not self.stderr_sampling.any():
            return self.stderr * student_quantile(wanted, self.data_degrees_of_freedom, error_share=self.error_share)
        parts = [(self.stderr_sampling, self.sampling_degrees_of_freedom)]
        if self.stderr_data is not None:
            parts.append((self.stderr_data, self.data_degrees_of_freedom))
        return half_widths(self.stderr, _welch(parts), level=wanted, error_share=self.error_share)

    def holm(self) -> dict[str, float | None]:
        """p-value of every player, adjusted for testing all of them at once (Holm).

        Needs no assumption about how the tests depend on each other; each p-value alone assumes what its interval does.
        """
        return holm({player: self[player].p_value for player in self.players})

    def difference(self, first: str, second: str) -> MarginalEstimate:
        """Value of the first player minus that of the second, with the uncertainty of this difference.

        The data part pairs the examples; the sampling part uses the covariance of the estimator, or, where there is
        none, the sum of both standard errors, which no dependence can exceed. The interval is a Student t interval and
        assumes what those of the players do.

        Raises:
            UnknownName: nobody has one of these names.
        """
        combination = np.zeros((1, len(self.players)))
        one, other = player_index(self.players, first), player_index(self.players, second)
        combination[0, one] += 1.0
        combination[0, other] -= 1.0
        sampling = None
        if self.covariance is not None:
            sampling = float(np.sqrt(max((combination @ self.covariance @ combination.T).item(), 0.0)))
        elif self.stderr_sampling is not None:
            # nothing is known of how the two errors go together: their sum is the most they can differ by
            sampling = 0.0 if one == other else float(self.stderr_sampling[one] + self.stderr_sampling[other])
        return self._marginal(
            name=f"{first} - {second}",
            value=float(self.value[one] - self.value[other]),
            sampling=sampling,
            data=None if self.data is None or not self.data.known else float(self.data.stderr(combination)[0]),
        )

    def change_from(self, earlier: ShapleyResult, player: str) -> MarginalEstimate:
        """Value of a player here minus its value in an earlier result over the same validation examples, paired.

        Assumes that column by column both results saw the same examples (what can be checked is checked: their number,
        and for sampled results the draw of the bootstrap), and that the errors of sampling are independent. Values that
        came already averaged have no data part, and the change then only that of sampling.

        Args:
            earlier: result of another matrix, such as that of an earlier checkpoint.
            player: a player of both.

        Raises:
            StateMismatch: the two results have other outputs, or their columns do not belong together: other numbers of
                examples, one exact and one sampled, or sampled with other seeds or numbers of replicates.
            UnknownName: the player is missing in one of them.
        """
        one, other = player_index(self.players, player), player_index(earlier.players, player)
        if self.output != earlier.output or _draw(self.data) != _draw(earlier.data):
            raise StateMismatch(
                f"`earlier` has output {earlier.output.name!r} over {_draw(earlier.data)}, wanted "
                f"{self.output.name!r} over {_draw(self.data)}; pair results of the same validation set, strategy and "
                "seed, or use `estimate.difference` for independent ones."
            )
        data = None
        if self.data is not None and earlier.data is not None and self.data.known:
            paired = self.data.columns[one] - earlier.data.columns[other]
            data = float(replace(self.data, columns=paired[None]).stderr()[0])
        # the games differ, so that the errors of sampling are taken as independent; only the examples are paired
        apart = difference(self[player], earlier[player], name=f"{player}: change")
        return replace(apart, stderr_data=data, data_degrees_of_freedom=self.data_degrees_of_freedom)

    def estimates(self, level: float | None = None) -> Estimates:
        """What a picture is drawn from: raw values with the half-widths of their intervals at a level."""
        reach = self.half_widths(level)
        return Estimates(
            names=self.players,
            values=tuple(self.value.tolist()),
            half_widths=None if reach is None else tuple(reach.tolist()),
            quantity=self.output.name,
            unit=self.output.unit,
            higher_is_better=self.output.higher_is_better,
            level=self.confidence if level is None else level,
        )

    def plot(self, kind: Literal["bar", "waterfall"] = "bar", level: float | None = None) -> Any:
        """A matplotlib figure: contributions with their intervals, or the way from everything off to everything on.

        It stands outside of pyplot; `figure.savefig("contributions.png")` writes it.

        Args:
            kind: "bar" or "waterfall".
            level: of the intervals, in (0, 1); default: the configured confidence.

        Raises:
            InvalidArgument: another kind, or a level outside (0, 1).
            MissingExtra: matplotlib is not installed.
        """
        match kind:
            case "bar":
                return bar_picture(self.estimates(level))
            case "waterfall":
                return waterfall_picture(self.estimates(level), value_none=self.value_none, value_all=self.value_all)
        raise InvalidArgument(f'`kind` is {kind!r}, wanted "bar" or "waterfall"; pass one of these names.')

    def _marginal(self, *, name: str, value: float, sampling: float | None, data: float | None) -> MarginalEstimate:
        """An estimate with the degrees of freedom and the evaluations of this result."""
        return MarginalEstimate(
            name=name,
            value=value,
            contribution=value * self.output.direction,
            stderr_sampling=sampling,
            stderr_data=data,
            sampling_degrees_of_freedom=self.sampling_degrees_of_freedom,
            data_degrees_of_freedom=self.data_degrees_of_freedom,
            n_evaluations=self.n_evaluations,
            error_share=self.error_share,
        )

    def __str__(self) -> str:
        """Table with one line per player, largest contribution first."""
        reach = self.half_widths()
        width = max(6, *(len(player) for player in self.players))
        unit = f"{self.output.name} [{self.output.unit}]"
        lines = [f"{'player':<{width}}  {'contribution':>12}  {f'+- {self.confidence:.0%}':>10}   of {unit}"]
        # by contribution, not by raw value: the first line is what helps most, whichever way the output points
        for at in np.argsort(-self.contributions, kind="stable"):
            ends = "unknown" if reach is None else f"{reach[at]:.4g}"
            lines.append(f"{self.players[at]:<{width}}  {self.contributions[at]:>12.4g}  {ends:>10}")
        lines.append(f"{self.estimator}, {self.n_evaluations} coalitions: {self.reason}")
        if self.caution is not None:
            lines.append(f"caution: {self.caution}")
        return "\n".join(lines)


def _draw(data: DataPart | None) -> str:
    """What the columns of a data part are."""
    return "averages" if data is None else data.draw


def _welch(parts: list[tuple[FloatArray, float]]) -> FloatArray:
    """Degrees of freedom [N] of several parts together, player by player."""
    columns = zip(*(stderr.tolist() for stderr, _ in parts), strict=True)
    degrees = [freedom for _, freedom in parts]
    return np.array([welch_degrees_of_freedom(tuple(zip(row, degrees, strict=True))) for row in columns])
