"""The parts of the report of an attribution: contributions, interactions, other indices, values, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accredit.attribution.estimate import Estimate
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.attribution.result import ShapleyResult
from accredit.charts import Axis, Chart, PairChart, PairEstimates, Series
from accredit.errors import MissingValue
from accredit.report.page import Cell, Column, Group, Interval, Item, Section, Table
from accredit.report.wording import MINUS, duration, percent

_MOST_BARS = 40
_MOST_POINTS = 400
_MOST_FAILURES = 20
_MOST_OUTPUTS = 4
"""Outputs whose interactions are drawn; the first is the one that orders everything."""
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
            said.append(f"{output.name}: {error}")
            continue
        estimates = {player: removed[player] for player in matrix.players}
        items.append(_estimates(f"Cost of leaving one out: {output.name}", output, estimates, matrix.config.confidence))
    return Section(title="Contributions", paragraphs=tuple(said), items=tuple(items))


def _bars(name: str, result: ShapleyResult) -> Chart:
    estimates = {player: result[player] for player in result.players}
    return _estimates(f"Contributions to {name}", result.output, estimates, result.confidence)


def _estimates(title: str, output: Output, estimates: Mapping[str, Estimate], level: float) -> Chart:
    """A bar per player with its interval, the largest contribution on top."""
    drawn = _largest(estimates)
    ends = [_interval(estimates[player], output, level) for player in drawn]
    omitted = len(estimates) - len(drawn)
    rest = f" {omitted} smaller ones are in the table alone." if omitted else ""
    return Chart(
        title=title,
        kind="bar",
        x=Axis(label="player", unit=None),
        y=Axis(label=f"contribution to {output.name}, positive helps", unit=output.unit),
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
        title=f"Where the uncertainty about {name} comes from",
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
                _interval(estimate, result.output, result.confidence),
                estimate.stderr_sampling,
                estimate.stderr_data,
                estimate.spread,
                _p_value(adjusted[player]),
            )
        )
    digits = _digits([abs(value) for value in result.contributions.tolist()])
    return Table(
        title=f"Shapley values of {name}",
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


def interactions(matrix: CounterfactualMatrix) -> Section:
    """Return the interactions of pairs, as a network and a matrix for each of the first outputs."""
    items: list[Item] = []
    said = ["What two parts earn together beyond what they earn apart (Shapley interaction index); positive helps."]
    if len(matrix.players) < 2:
        return Section(title="Interactions", paragraphs=("There is a single player, and no pair.",))
    for output in matrix.config.outputs[:_MOST_OUTPUTS]:
        try:
            result = matrix.interactions(output.name)
        except MissingValue as error:
            said.append(f"{output.name}: {error}")
            continue
        pairs = PairEstimates(players=result.players, pairs=result.estimates(matrix.config.confidence))
        caution = "" if result.caution is None else f"Caution: {result.caution}"
        items.append(
            Group(
                items=(
                    PairChart(title=f"Network: {output.name}", kind="network", estimates=pairs, note=caution),
                    PairChart(
                        title=f"Matrix: {output.name}", kind="matrix", estimates=pairs, note=f"Unit: {output.unit}."
                    ),
                )
            )
        )
    return Section(title="Interactions", paragraphs=tuple(said), items=tuple(items))


def indices(matrix: CounterfactualMatrix, results: Mapping[str, ShapleyResult]) -> Section:
    """Return Shapley values beside leave-one-out and Banzhaf values, as far as the coalitions tell them."""
    items = tuple(_indices(matrix, output, results.get(output.name)) for output in matrix.config.outputs)
    return Section(
        title="Other indices",
        paragraphs=(
            "Leave-one-out is what is lost when the part alone is removed; Banzhaf values average over all coalitions "
            "alike. Where they disagree with Shapley values, parts stand in for each other or need each other.",
        ),
        items=items,
    )


def _indices(matrix: CounterfactualMatrix, output: Output, result: ShapleyResult | None) -> Table:
    level = matrix.config.confidence
    columns: dict[str, Mapping[str, Estimate] | None] = {"Shapley": result}
    for name, derive in (("leave-one-out", matrix.leave_one_out), ("Banzhaf", matrix.banzhaf)):
        try:
            columns[name] = derive(output.name)
        except MissingValue:
            columns[name] = None
    known = [estimates for estimates in columns.values() if estimates is not None]
    digits = _digits([abs(estimate.value) for estimates in known for estimate in estimates.values()])
    rows: list[tuple[Cell, ...]] = [
        (player, *(None if each is None else _interval(each[player], output, level) for each in columns.values()))
        for player in matrix.players
    ]
    return Table(
        title=f"Indices of {output.name}",
        columns=(Column(name="player"), *(Column(name=name, unit=output.unit, digits=digits) for name in columns)),
        rows=tuple(rows),
        note=f"{percent(level)} intervals; a dash where the coalitions that were evaluated do not tell.",
    )


def values(matrix: CounterfactualMatrix) -> Section:
    """Return the values of the coalitions by their size, and the coalitions that failed."""
    sizes = matrix.masks.sum(dim=1).tolist()
    stride = -(-len(sizes) // _MOST_POINTS) if sizes else 1
    some = f"Every {stride}th coalition in the order of evaluation." if stride > 1 else "Every coalition is a point."
    items: list[Item] = [
        Chart(
            title=f"{output.name} against the number of parts that are on",
            kind="scatter",
            x=Axis(label="parts that are on", unit="count"),
            y=Axis(label=output.name, unit=output.unit),
            series=(
                Series(
                    name="coalitions",
                    x=tuple(map(float, sizes[::stride])),
                    y=tuple(matrix.values(output.name).tolist()[::stride]),
                ),
            ),
            note=some,
        )
        for output in matrix.config.outputs
    ]
    items = [Group(items=tuple(item for item in items if isinstance(item, Chart)))]
    if matrix.failures:
        rows = tuple((failure.players, failure.message) for failure in matrix.failures[:_MOST_FAILURES])
        items.append(Table(title="Coalitions that failed", columns=(Column(name="on"), Column(name="why")), rows=rows))
    return Section(title="Values", items=tuple(items))


def cost(matrix: CounterfactualMatrix, sharing: object) -> Section:
    """Return what evaluating took, and how coalitions shared work."""
    count, seconds = matrix.cost.n_evaluations, matrix.cost.duration_s
    rows: list[tuple[Cell, ...]] = [
        ("coalitions", f"{count}"),
        ("time of evaluating", duration(seconds)),
        ("time of a coalition", duration(seconds / count) if count else "unknown"),
        ("why evaluating ended", matrix.provenance.stop_reason),
        ("evaluated by", matrix.provenance.mechanism or "unknown"),
        ("rounding", matrix.provenance.numerics or "unknown"),
    ]
    if isinstance(sharing, dict):
        rows.append(("why this way", str(sharing.get("reason") or "unknown")))
        kept = sharing.get("peak_bytes")
        rows.append(("most memory for parts kept", f"{kept / 1e6:.1f} MB" if isinstance(kept, int) else "unknown"))
    table = Table(title="Cost", columns=(Column(name="what"), Column(name="how much")), rows=tuple(rows))
    return Section(title="Cost", items=(table,))


def _interval(estimate: Estimate, output: Output, level: float) -> Interval:
    """The contribution with its interval, positive helps."""
    ends = estimate.interval(level)
    if ends is None:
        return Interval(value=estimate.contribution, lower=None, upper=None)
    lower, upper = ends if output.higher_is_better else (-ends[1], -ends[0])
    return Interval(value=estimate.contribution, lower=lower, upper=upper)


def _largest(estimates: Mapping[str, Estimate]) -> list[str]:
    """The players with the largest contributions of either sign, by falling contribution."""
    kept = sorted(estimates, key=lambda player: -abs(estimates[player].value))[:_MOST_BARS]
    return sorted(kept, key=lambda player: -estimates[player].contribution)


def _digits(sizes: Sequence[float]) -> int:
    """Places that show three digits of the largest."""
    largest = max(sizes, default=0.0)
    places = 3
    while 0 < largest < 0.1 and places < 9:
        largest, places = largest * 10, places + 1
    return places if largest < 100 else 1
