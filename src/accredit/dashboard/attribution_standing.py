"""What a matrix tells so far: contributions and interactions with their intervals, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accredit.attribution.estimate import Estimate
from accredit.attribution.matrix import CounterfactualMatrix, shapley_where_known
from accredit.attribution.output import Output
from accredit.attribution.plan import minimum_evaluations
from accredit.attribution.provenance import Provenance
from accredit.charts import Estimates, isolated
from accredit.errors import MissingValue

MOST_OUTPUTS = 4
"""Outputs that are drawn, the first ones."""
_GOES_ON = "killed"  # what the matrix says of a file that has no end yet


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """A matrix without its values per example, which would fill the memory of a page."""

    players: tuple[str, ...]
    outputs: tuple[Output, ...]
    masks: NDArray[np.bool_]
    """[M, N] in the order of evaluation."""
    means: NDArray[np.float64]
    """[K, M]."""
    planned: int
    """Coalitions that were asked for, at most."""
    provenance: Provenance
    duration_s: float | None
    """Of evaluating; None before there is an end."""
    seed: int
    is_shapley: bool
    """Whether contributions are Shapley values; else they are the cost of leaving one out."""
    contributions: Mapping[str, Estimates]
    """Output -> estimate of each player; outputs without any are left out."""
    interactions: Mapping[str, Estimates]
    """Output -> estimate of each pair."""
    notices: tuple[str, ...]
    """What the reader should know before trusting the figures, in sentences."""

    @property
    def count(self) -> int:
        """Coalitions that have values."""
        return len(self.masks)

    @property
    def has_ended(self) -> bool:
        """Whether the file says that, and why, evaluating ended."""
        return self.provenance.stop_reason != _GOES_ON


def standing_of(matrix: CounterfactualMatrix) -> Standing:
    """Derive what is drawn; nothing of the matrix but masks and means is kept.

    Args:
        matrix: finished or not.
    """
    config, players = matrix.config, matrix.players
    drawn = config.outputs[:MOST_OUTPUTS]
    results = shapley_where_known(matrix)
    contributions = {output.name: results[output.name].estimates() for output in drawn if output.name in results}
    interactions: dict[str, Estimates] = {}
    why = ""
    for output in drawn:
        try:
            if not results:
                contributions[output.name] = _estimates(matrix.leave_one_out(output.name), output, config.confidence)
            elif len(players) > 1:
                found = matrix.interactions(output.name)
                names = tuple(" + ".join(map(isolated, pair)) for pair in found)
                interactions[output.name] = replace(found.estimates(config.confidence), names=names)
        except MissingValue as error:
            why = why or str(error)
    evaluations = matrix.evaluations
    has_end = matrix.provenance.stop_reason != _GOES_ON
    return Standing(
        players=players,
        outputs=config.outputs,
        masks=evaluations.masks.copy(),
        means=evaluations.means.copy(),
        planned=_planned(matrix),
        provenance=matrix.provenance,
        duration_s=matrix.cost.duration_s if has_end else None,
        seed=matrix.seed,
        is_shapley=bool(results),
        contributions=contributions,
        interactions=interactions,
        notices=tuple(_notices(matrix, sorted({each.caution for each in results.values() if each.caution}), why)),
    )


def _planned(matrix: CounterfactualMatrix) -> int:
    """Coalitions that the strategy asks for; of one that samples, at most."""
    strategy, players = matrix.provenance.strategy, len(matrix.players)
    if strategy in ("full_factorial", "ablation_only"):
        return minimum_evaluations(strategy, players)
    return min(matrix.config.max_evaluations, 1 << players)


def _notices(matrix: CounterfactualMatrix, cautions: list[str], why: str) -> list[str]:
    """What a reader must know, the gravest first."""
    said = []
    if matrix.failures:
        first = matrix.failures[0]
        said.append(
            f"{len(matrix.failures)} coalitions failed and have no value, first {first.players}: {first.message}"
        )
    count, everything = len(matrix.evaluations), 1 << len(matrix.players)
    if matrix.provenance.strategy == "full_factorial" and count < everything:
        said.append(
            f"{count} of all {everything} coalitions have values. Until the table is complete, intervals take them for "
            "a random draw, which they are not: small and large coalitions come first."
        )
    if why:
        said.append(f"Not known yet: {why}")
    return said + [f"Caution: {caution}" for caution in cautions]


def _estimates(found: Mapping[str, Estimate], output: Output, level: float) -> Estimates:
    """Single estimates as columns."""
    ends = [estimate.interval(level) for estimate in found.values()]
    return Estimates(
        names=tuple(found),
        values=tuple(estimate.value for estimate in found.values()),
        half_widths=tuple(None if pair is None else (pair[1] - pair[0]) / 2 for pair in ends),
        quantity=output.name,
        unit=output.unit,
        higher_is_better=output.higher_is_better,
        level=level,
    )
