"""Events of an attribution, made from the arrays of its matrix, so that they cannot say anything else."""

from __future__ import annotations

import math

from accredit.attribution.coalition import coalition_texts
from accredit.attribution.evaluation import Evaluations, Failure
from accredit.attribution.output import Output
from accredit.attribution.result import ShapleyResult
from accredit.telemetry.event import CoalitionsEvaluated, ContributionsEstimated, Origin


def coalitions_evaluated(
    rows: Evaluations,
    failures: tuple[Failure, ...],
    *,
    players: tuple[str, ...],
    outputs: tuple[Output, ...],
    origin: Origin,
) -> CoalitionsEvaluated:
    """The rows of one round; failed coalitions come last, with None for every output."""
    missing = (None,) * len(failures)
    return CoalitionsEvaluated(
        origin=origin,
        players=players,
        coalitions=coalition_texts(rows.masks) + tuple(failure.coalition for failure in failures),
        values={output.name: (*values, *missing) for output, values in zip(outputs, rows.means.tolist(), strict=True)},
        failures={failure.coalition: failure.message for failure in failures},
    )


def contributions_estimated(result: ShapleyResult, *, origin: Origin) -> ContributionsEstimated:
    """Shapley values of one output with the ends of their intervals at the configured confidence."""
    unknown = (None,) * len(result.players)
    reach, stderr = result.half_widths(), result.stderr
    return ContributionsEstimated(
        origin=origin,
        output=result.output.name,
        unit=result.output.unit,
        higher_is_better=result.output.higher_is_better,
        players=result.players,
        values=tuple(result.value.tolist()),
        contributions=tuple(result.contributions.tolist()),
        stderr=unknown if stderr is None else _known(stderr.tolist()),
        lower=unknown if reach is None else _known((result.value - reach).tolist()),
        upper=unknown if reach is None else _known((result.value + reach).tolist()),
        level=result.confidence,
        value_all=result.value_all,
        value_none=result.value_none,
        estimator=result.estimator,
        n_evaluations=result.n_evaluations,
    )


def _known(numbers: list[float]) -> tuple[float | None, ...]:
    """Numbers, None where one is not finite."""
    return tuple(number if math.isfinite(number) else None for number in numbers)
