"""What components earn, as tables of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from accredit.attribution.estimate import MarginalEstimate
from accredit.attribution.interaction import InteractionResult
from accredit.attribution.matrix import CounterfactualMatrix, shapley_where_known
from accredit.attribution.output import Output
from accredit.attribution.result import ShapleyResult
from accredit.charts.estimates import short_names
from accredit.errors import MissingValue

_BESIDE = 3  # outputs in one table: as many as fit into 80 columns beside a name of 24
_LONGEST_NAME = 24
_PAIRS = 5
REMOVAL = "positive helps; what removal would cost,\nnot what the part caused"


def outcome(matrix: CounterfactualMatrix) -> Iterator[RenderableType]:
    """Everything to be printed of a matrix: contributions to every output, how they were found, interactions."""
    shapley = shapley_where_known(matrix)
    outputs = [output for output in matrix.config.outputs if output.name in shapley]
    for at in range(0, len(outputs), _BESIDE):
        yield shapley_table(matrix.players, [shapley[output.name] for output in outputs[at : at + _BESIDE]])
    if not outputs:
        yield from _without_shapley(matrix)
        return
    first = shapley[outputs[0].name]
    yield f"{first.estimator}, {first.n_evaluations} coalitions: {first.reason}"
    for output in outputs:
        yield _ends(output, shapley[output.name])
    cautions = {result.caution for result in shapley.values() if result.caution is not None}
    yield from (f"caution: {caution}" for caution in sorted(cautions))
    if len(matrix.players) > 1:
        try:
            yield pair_table(matrix.interactions(outputs[0].name), confidence=matrix.config.confidence)
        except MissingValue as error:
            yield f"no interactions: {error}"


def shapley_table(players: Sequence[str], results: Sequence[ShapleyResult]) -> Table:
    """Shapley values of a few outputs side by side, the best for the first of them on top."""
    table = _table(f"Shapley values with {results[0].confidence:.0%} intervals", "player")
    columns = []
    for result in results:
        _value_column(table, result.output)
        reach = result.half_widths()
        columns.append((result.contributions.tolist(), None if reach is None else reach.tolist()))
    names = short_names(tuple(players), longest=_LONGEST_NAME)
    for at in sorted(range(len(players)), key=lambda at: (-columns[0][0][at], at)):
        cells = [_with_reach(values[at], None if reach is None else reach[at]) for values, reach in columns]
        table.add_row(Text(names[at]), *cells)
    return table


def pair_table(result: InteractionResult, *, confidence: float) -> Table:
    """The strongest interactions."""
    strongest = sorted(range(len(result)), key=lambda at: (-abs(result.value[at]), at))[:_PAIRS]
    pairs = list(result)
    table = _table(f"Strongest of {len(pairs)} interactions", "players")
    _value_column(table, result.output)
    table.caption = "positive: they help more together\nthan apart"
    if result.caution is not None:
        table.caption = f"{table.caption}\ncaution: {result.caution}"
    for at in strongest:
        estimate = result[pairs[at]]
        ends = estimate.interval(confidence)
        names = " + ".join(short_names(pairs[at], longest=_LONGEST_NAME))
        table.add_row(
            Text(names), _with_reach(estimate.contribution, None if ends is None else (ends[1] - ends[0]) / 2)
        )
    return table


def _without_shapley(matrix: CounterfactualMatrix) -> Iterator[RenderableType]:
    """Leave-one-out, where that is what was evaluated; else why there is nothing."""
    for output in matrix.config.outputs:
        try:
            yield _removal_table(matrix.leave_one_out(output.name), output, confidence=matrix.config.confidence)
        except MissingValue as error:
            yield f"{output.name}: {error}"


def _removal_table(removals: Mapping[str, MarginalEstimate], output: Output, *, confidence: float) -> Table:
    """All on against each one off."""
    table = _table(f"Leave-one-out with {confidence:.0%} intervals", "player")
    _value_column(table, output)
    for name in sorted(removals, key=lambda name: -removals[name].contribution):
        ends = removals[name].interval(confidence)
        reach = None if ends is None else (ends[1] - ends[0]) / 2
        table.add_row(
            Text(short_names((name,), longest=_LONGEST_NAME)[0]), _with_reach(removals[name].contribution, reach)
        )
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, caption=REMOVAL, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    return table


def _value_column(table: Table, output: Output) -> None:
    table.add_column(Text(f"{output.name}, {output.unit}"), justify="right")


def _ends(output: Output, result: ShapleyResult) -> str:
    """Where the contributions lead from and to."""
    return f"{output.name}: {result.value_none:.4g} with all off, {result.value_all:.4g} with all on [{output.unit}]"


def _with_reach(value: float, reach: float | None) -> str:
    """`+0.249 ±0.021`: three digits of the half-width, and as many places of the value."""
    if reach is None:
        return f"{value:+.4g} ±?"
    return f"{value:+.4f} ±{reach:.4f}" if 0.0005 <= max(abs(value), reach) < 1000 else f"{value:+.3g} ±{reach:.2g}"
