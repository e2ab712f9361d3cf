"""Contributions of every player to every output, with what of their uncertainty comes from where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accredit.attribution.estimate import Estimate
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.attribution.result import ShapleyResult
from accredit.charts import Axis, Chart, Series, isolated
from accredit.errors import MissingValue
from accredit.report.page import Cell, Column, Interval, Item, Section, Table
from accredit.report.wording import MINUS, percent

_MOST_BARS = 40
REMOVAL = (
    "Positive helps. A contribution is what the part earns in this model as trained, averaged over the orders of "
    "adding parts: the cost of removing it from a model that has adapted to it, not the effect of training with it."
)


def contributions(matrix: CounterfactualMatrix, results: Mapping[str, ShapleyResult]) -> Section:
    """Return Shapley values of every output with both parts of their uncertainty, or else leave-one-out."""
    if not results:
        return _without_shapley(matrix)
    items: list[Item] = []
    for name, result in results.items():
        items.append(_bars(name, result))
        if result.stderr_sampling is not None and result.stderr_sampling.any():
            items.append(_parts(name, result))
        items.append(_table(name, result))
    first = next(iter(results.values()))
    how = f"Estimator: {first.estimator}, from {first.n_evaluations} coalitions, because {first.reason}."
    return Section(title="Contributions", paragraphs=(REMOVAL, f"{how} {_sources(first)}"), items=tuple(items))


def _without_shapley(matrix: CounterfactualMatrix) -> Section:
    items: list[Item] = []
    said = [REMOVAL]
    for output in matrix.config.outputs:
        try:
            removed = matrix.leave_one_out(output.name)
        except MissingValue as error:
            said.append(f"{isolated(output.name)}: {error}")
            continue
        estimates = {player: removed[player] for player in matrix.players}
        items.append(
            _estimates(f"Cost of leaving one out: {isolated(output.name)}", output, estimates, matrix.config.confidence)
        )
    return Section(title="Contributions", paragraphs=tuple(said), items=tuple(items))


def _bars(name: str, result: ShapleyResult) -> Chart:
    estimates = {player: result[player] for player in result.players}
    return _estimates(f"Contributions to {isolated(name)}", result.output, estimates, result.confidence)


def _estimates(title: str, output: Output, estimates: Mapping[str, Estimate], level: float) -> Chart:
    """A bar per player with its interval, the largest contribution on top."""
    drawn = _largest(estimates)
    ends = [interval_of(estimates[player], output, level) for player in drawn]
    omitted = len(estimates) - len(drawn)
    rest = f" {omitted} smaller ones are in the table alone." if omitted else ""
    return Chart(
        title=title,
        kind="bar",
        x=Axis(label="player", unit=None),
        y=Axis(label=f"contribution to {isolated(output.name)}, positive helps", unit=output.unit),
        series=(
            Series(
                name="contribution",
                x=tuple(drawn),
                y=tuple(each.value for each in ends),
                lower=tuple(each.lower for each in ends),
                upper=tuple(each.upper for each in ends),
            ),
        ),
        note=f"Error bars: {percent(level)} intervals, each player alone.{rest}",
    )


def _parts(name: str, result: ShapleyResult) -> Chart:
    """Standard errors from both sources, side by side."""
    estimates = {player: result[player] for player in result.players}
    drawn = _largest(estimates)
    return Chart(
        title=f"Where the uncertainty about {isolated(name)} comes from",
        kind="bar",
        x=Axis(label="player", unit=None),
        y=Axis(label="standard error", unit=result.output.unit),
        series=(
            Series(
                name="which coalitions were drawn",
                x=tuple(drawn),
                y=tuple(estimates[player].stderr_sampling for player in drawn),
            ),
            Series(
                name="which examples were drawn",
                x=tuple(drawn),
                y=tuple(estimates[player].stderr_data for player in drawn),
            ),
        ),
        note="More coalitions shrink the first part, more validation examples the second.",
    )


def _sources(result: ShapleyResult) -> str:
    """What of the uncertainty is from the draw of coalitions, what from that of examples."""
    coalitions = "Intervals are from both: which coalitions were drawn, and which validation examples."
    if result.stderr_sampling is None:
        coalitions = "The estimator gives no error of the draw of coalitions, so that intervals are unknown."
    elif not result.stderr_sampling.any():
        coalitions = "What is uncertain is the draw of validation examples alone."
    if result.stderr_data is None:
        return f"{coalitions} Only averages over the examples are known, so that what their draw does is not."
    return coalitions


def _table(name: str, result: ShapleyResult) -> Table:
    adjusted = result.holm()
    unit, rows = result.output.unit, []
    between = f"{result.value_all - result.value_none:.6g}".replace("-", MINUS)
    for player in sorted(result.players, key=lambda player: -result[player].contribution):
        estimate = result[player]
        rows.append(
            (
                player,
                interval_of(estimate, result.output, result.confidence),
                estimate.stderr_sampling,
                estimate.stderr_data,
                estimate.spread,
                _p_value(adjusted[player]),
            )
        )
    digits = digits_of([abs(value) for value in result.contributions.tolist()])
    return Table(
        title=f"Shapley values of {isolated(name)}",
        columns=(
            Column(name="player"),
            Column(name="contribution", unit=unit, digits=digits),
            Column(name="stderr, coalitions", unit=unit, digits=digits + 1),
            Column(name="stderr, examples", unit=unit, digits=digits + 1),
            Column(name="spread", unit=unit, digits=digits),
            Column(name="p, Holm", unit="share", digits=3),
        ),
        rows=tuple(rows),
        note=f"{percent(result.confidence)} Student t intervals, each player alone; p is adjusted for testing all. "
        "Spread is how much the marginal contribution differs from coalition to coalition, which is no uncertainty. "
        f"Raw values sum to v(all) {MINUS} v(none) = {between} {unit}.",
    )


def _p_value(p_value: float | None) -> Cell:
    return p_value if p_value is None or p_value >= 0.001 else "< 0.001"


def _largest(estimates: Mapping[str, Estimate]) -> list[str]:
    """The players with the largest contributions of either sign, by falling contribution."""
    kept = sorted(estimates, key=lambda player: -abs(estimates[player].value))[:_MOST_BARS]
    return sorted(kept, key=lambda player: -estimates[player].contribution)


def interval_of(estimate: Estimate, output: Output, level: float) -> Interval:
    """Return a contribution with its interval, positive helps.

    Args:
        estimate: Of one player, raw.
        output: Says the direction.
        level: Of the interval, in (0, 1).
    """
    ends = estimate.interval(level)
    if ends is None:
        return Interval(value=estimate.contribution, lower=None, upper=None)
    lower, upper = ends if output.higher_is_better else (-ends[1], -ends[0])
    return Interval(value=estimate.contribution, lower=lower, upper=upper)


def digits_of(sizes: Sequence[float]) -> int:
    """Return the places that show three digits of the largest.

    Args:
        sizes: Absolute numbers.

    Example:
        >>> digits_of([0.5]), digits_of([0.0123]), digits_of([1234.0])
        (3, 4, 1)
    """
    largest = max(sizes, default=0.0)
    places = 3
    while 0 < largest < 0.1 and places < 9:
        largest, places = largest * 10, places + 1
    return places if largest < 100 else 1
