"""Interactions, other indices, values and cost of an attribution."""

from __future__ import annotations

from collections.abc import Mapping

from accredit.attribution.estimate import Estimate
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.attribution.result import ShapleyResult
from accredit.charts import Axis, Chart, PairChart, PairEstimates, Series, isolated
from accredit.errors import MissingValue
from accredit.report.attribution_contributions import digits_of, interval_of
from accredit.report.page import Cell, Column, Group, Item, Section, Table
from accredit.report.wording import duration, percent

_MOST_POINTS = 400
_MOST_FAILURES = 20
_MOST_OUTPUTS = 4
"""Outputs whose interactions are drawn; the first is the one that orders everything."""


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
            said.append(f"{isolated(output.name)}: {error}")
            continue
        pairs = PairEstimates(players=result.players, pairs=result.estimates(matrix.config.confidence))
        caution = "" if result.caution is None else f"Caution: {result.caution}"
        items.append(
            Group(
                items=(
                    PairChart(title=f"Network: {isolated(output.name)}", kind="network", estimates=pairs, note=caution),
                    PairChart(
                        title=f"Matrix: {isolated(output.name)}",
                        kind="matrix",
                        estimates=pairs,
                        note=f"Unit: {output.unit}.",
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
    digits = digits_of([abs(estimate.value) for estimates in known for estimate in estimates.values()])
    rows: list[tuple[Cell, ...]] = [
        (player, *(None if each is None else interval_of(each[player], output, level) for each in columns.values()))
        for player in matrix.players
    ]
    return Table(
        title=f"Indices of {isolated(output.name)}",
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
            title=f"{isolated(output.name)} against the number of parts that are on",
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
