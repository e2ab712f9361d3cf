"""What grafts earned over all hosts of the comparison, alone and in pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from accredit.attribution.transforms import interaction_index, shapley_weights
from accredit.charts import Axis, Chart, Estimates, PairChart, PairEstimates, Series, isolated
from accredit.report.page import Column, Group, Item, Section, Table
from accredit.report.run_record import Plain, RunRecord
from accredit.report.wording import cell, percent
from accredit.telemetry.event import CoalitionsEvaluated
from accredit.training.comparison import Interval


def earnings(record: RunRecord) -> Section:
    """Return what the committed grafts earn on the test split, alone and in pairs."""
    items: list[Item] = []
    comparison = record.comparison
    if comparison is not None and comparison["grafts"]:
        level = percent(comparison["confidence"])
        items += [_contribution_chart(comparison, level), _graft_table(comparison, level)]
        items += _interactions(record, comparison["confidence"])
    said = (
        "Exact Shapley values of the committed grafts of the hosts that the learned policy grew: all coalitions were "
        "evaluated, so that no part of an interval comes from the draw of coalitions; all of it is that of hosts. The "
        "values say what removal would cost a host that has adapted to its grafts, which is more than the grafts "
        "caused: compare the outcome above, where the same hosts were trained with and without growth."
    )
    nothing = "Nothing to show: no host with a committed graft has been measured on the test split."
    return Section(title="What the grafts earn", paragraphs=(said if items else nothing,), items=tuple(items))


def _contribution_chart(comparison: Plain, level: str) -> Chart:
    grafts = comparison["grafts"]
    return Chart(
        title="Contributions of committed grafts",
        kind="bar",
        x=Axis(label="graft", unit=None),
        y=Axis(label="contribution to log-loss, positive helps", unit="nat"),
        series=(
            Series(
                name="mean over hosts",
                x=tuple(f"{isolated(row['kind'])} at {isolated(row['slot'])}" for row in grafts),
                y=tuple(row["log_loss"]["mean"] for row in grafts),
                lower=tuple(row["log_loss"]["lower"] for row in grafts),
                upper=tuple(row["log_loss"]["upper"] for row in grafts),
            ),
        ),
        note=f"Error bars: {level} intervals over hosts.",
    )


def _graft_table(comparison: Plain, level: str) -> Table:
    return Table(
        title="Committed grafts",
        columns=(
            Column(name="slot"),
            Column(name="kind"),
            Column(name="hosts", unit="count"),
            Column(name="contribution to log-loss", unit="nat", digits=3),
            Column(name="contribution to accuracy", unit="share", digits=3),
        ),
        rows=tuple(
            (
                row["slot"],
                row["kind"],
                float(row["log_loss"]["count"]),
                cell(row["log_loss"]),
                cell(row["accuracy"]),
            )
            for row in comparison["grafts"]
        ),
        note=f"Mean Shapley value over the hosts that have the graft, positive helps; {level} Student t intervals.",
    )


def _interactions(record: RunRecord, confidence: float) -> list[Item]:
    """Pairs of slots, over the hosts in which both hold a graft."""
    output = next((name for matrix in record.tested for name in matrix.values), None)
    told = None if output is None else record.directions.get(output)
    if output is None or told is None:
        return []
    # hosts with the most players first: in their order
    tested = sorted(record.tested, key=lambda matrix: -len(matrix.players))
    everyone = tuple(dict.fromkeys(player for matrix in tested for player in matrix.players))
    found: dict[frozenset[str], list[float]] = {}
    for matrix in tested:
        for pair, value in _pairs_of(matrix, output):
            found.setdefault(frozenset(pair), []).append(value)
    players = _players_of_all_pairs(everyone, found)
    pairs = list(combinations(players, 2))
    if not pairs:
        return []
    means = [Interval.of(found[frozenset(pair)], confidence) for pair in pairs]
    estimates = Estimates(
        names=tuple(f"{first} + {second}" for first, second in pairs),
        values=tuple(each.mean for each in means),
        half_widths=tuple(None if each.upper is None else each.upper - each.mean for each in means),
        quantity=output,
        unit=told.unit,
        higher_is_better=told.higher_is_better,
        level=confidence,
    )
    both = PairEstimates(players=players, pairs=estimates)
    note = f"Shapley interaction on {output} of the grafts in two slots, mean over the hosts that have both."
    absent = [player for player in everyone if player not in players]
    if absent:
        note += f" Left out, since no host has it together with each of these: {', '.join(absent)}."
    return [
        Group(
            items=(
                PairChart(title="Interactions as a network", kind="network", estimates=both, note=note),
                PairChart(title="Interactions as a matrix", kind="matrix", estimates=both, note=f"Unit: {told.unit}."),
            )
        )
    ]


def _players_of_all_pairs(players: Sequence[str], found: Mapping[frozenset[str], Sequence[float]]) -> tuple[str, ...]:
    """Return players of which each pair was found, without those that are the least often in a pair."""
    left = list(players)
    while any(frozenset(pair) not in found for pair in combinations(left, 2)):
        hosts = {player: sum(len(values) for pair, values in found.items() if player in pair) for player in left}
        left.remove(min(left, key=hosts.__getitem__))
    return tuple(left)


def _pairs_of(matrix: CoalitionsEvaluated, output: str) -> list[tuple[tuple[str, str], float]]:
    """Interactions of all pairs of one host; nothing where a coalition is missing."""
    count = len(matrix.players)
    by_coalition = dict(zip(matrix.coalitions, matrix.values.get(output, ()), strict=False))
    # bit i of the place in the table says whether player i is on
    texts = ["".join(str(place >> player & 1) for player in range(count)) for place in range(1 << count)]
    table = [by_coalition.get(text) for text in texts]
    if count < 2 or any(value is None or not math.isfinite(value) for value in table):
        return []
    values = interaction_index(np.array(table, dtype=np.float64), shapley_weights(count, order=2), order=2)
    return list(zip(combinations(matrix.players, 2), values.tolist(), strict=True))
