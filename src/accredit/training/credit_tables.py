"""Complete tables of many hosts that play with the same slots: exact Shapley values of all of them in one pass.

What `CounterfactualEngine` does host by host, bit for bit, without its price per call.  Every row is computed apart, so
that a host's numbers do not depend on which others are measured.

R hosts, C = 2^k coalitions of k players, B examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accredit.attribution.coalition import coalition_texts, factorial_masks
from accredit.attribution.derived import TableLayout, of_examples, table_layout
from accredit.attribution.estimate import student_quantile
from accredit.attribution.output import Output
from accredit.telemetry.event import CoalitionsEvaluated, ContributionsEstimated, Origin

Floats = NDArray[np.float64]
AttributionEvent = CoalitionsEvaluated | ContributionsEstimated
LARGEST_TABLE = 8
"""Players up to which the coefficients of a table are kept."""


@dataclass(frozen=True, kw_only=True)
class ExactTable:
    """One output of a game that R hosts play."""

    output: Output
    means: Floats
    """Over examples, of each coalition in the order of `factorial_masks`, [R, C]."""
    values: Floats
    """Raw Shapley values, [R, k]."""
    stderr: Floats
    """From the draw of examples, NaN for a single one, [R, k]."""
    degrees_of_freedom: float

    @property
    def contributions(self) -> Floats:
        """The values signed by the direction of the output: positive helps, [R, k]."""
        return self.values * self.output.direction


def exact_table(output: Output, examples: Floats) -> ExactTable:
    """Return exact Shapley values and their standard errors.

    Args:
        output: what is attributed.
        examples: values per example, coalitions in the order of `factorial_masks`, [R, C, B].

    Example:
        Two players that only earn together, one host, two examples.

        >>> examples = np.array([[[0.0, 0.0], [3.0, 5.0], [0.0, 0.0], [0.0, 0.0]]])
        >>> table = exact_table(Output("value", "1", True), examples)
        >>> table.values.tolist(), table.stderr.tolist()
        ([[2.0, 2.0]], [[0.5, 0.5]])
    """
    layout = _layout(examples.shape[1])
    assert layout.coefficients is not None
    means = examples.mean(axis=2)
    # relative to v(none), so that an offset of the whole game costs no digits; one product for all rows would round
    # according to how many they are
    values = np.stack([row @ layout.coefficients for row in means - means[:, [layout.none]]])
    columns = layout.coefficients.T @ examples
    data = of_examples(columns.reshape(-1, examples.shape[2]))
    stderr = data.stderr() if data.known else np.full(values.size, np.nan)
    return ExactTable(
        output=output,
        means=means,
        values=values,
        stderr=stderr.reshape(values.shape),
        degrees_of_freedom=data.degrees_of_freedom,
    )


def events_of_row(
    tables: Sequence[ExactTable], row: int, *, players: tuple[str, ...], origin: Origin, level: float
) -> list[AttributionEvent]:
    """Return the events of one host, as `CounterfactualEngine` sends them.

    Args:
        tables: one an output.
        row: of the R hosts.
        players: the k names.
        origin: where it happened.
        level: of the intervals, in (0, 1).
    """
    masks = factorial_masks(len(players))
    layout = _layout(len(masks))
    events: list[AttributionEvent] = [
        CoalitionsEvaluated(
            origin=origin,
            players=players,
            coalitions=coalition_texts(masks),
            values={table.output.name: tuple(table.means[row].tolist()) for table in tables},
        )
    ]
    for table in tables:
        values, stderr = table.values[row], table.stderr[row]
        reach = stderr * student_quantile(level, table.degrees_of_freedom)
        events.append(
            ContributionsEstimated(
                origin=origin,
                output=table.output.name,
                unit=table.output.unit,
                higher_is_better=table.output.higher_is_better,
                players=players,
                values=tuple(values.tolist()),
                contributions=tuple(table.contributions[row].tolist()),
                stderr=_known(stderr),
                lower=_known(values - reach),
                upper=_known(values + reach),
                level=level,
                value_all=float(table.means[row, layout.everything]),
                value_none=float(table.means[row, layout.none]),
                estimator="exact",
                n_evaluations=len(masks),
            )
        )
    return events


def _layout(coalitions: int) -> TableLayout:
    return table_layout(factorial_masks(coalitions.bit_length() - 1))


def _known(numbers: Floats) -> tuple[float | None, ...]:
    """Return numbers, None where one is unknown."""
    return tuple(number if np.isfinite(number) else None for number in numbers.tolist())
