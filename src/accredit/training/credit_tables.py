"""Complete tables of many hosts at once: exact Shapley values without the price of a call for each host.

All hosts share one table, over all slots in which any of them has a player.  A slot where a host has none switches
nothing there: it is a null player, whose value is 0 and which moves no other's.  So the numbers of a host are those
that `CounterfactualEngine` finds for its own players, to rounding.

R hosts, C = 2^k coalitions of k players, B examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accredit.attribution.coalition import coalition_texts, factorial_masks, table_index
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


def exact_tables(outputs: Sequence[Output], examples: Floats) -> tuple[ExactTable, ...]:
    """Return exact Shapley values and their standard errors of all outputs of a game.

    Args:
        outputs: what is attributed, K of them.
        examples: values per example, coalitions in the order of `factorial_masks`, [K, R, C, B].

    Example:
        Two players that only earn together, one host, two examples.

        >>> examples = np.array([[[[0.0, 0.0], [3.0, 5.0], [0.0, 0.0], [0.0, 0.0]]]])
        >>> (table,) = exact_tables([Output("value", "1", True)], examples)
        >>> table.values.tolist(), table.stderr.tolist()
        ([[2.0, 2.0]], [[0.5, 0.5]])
    """
    layout = _layout(examples.shape[2])
    assert layout.coefficients is not None
    means = examples.mean(axis=3)
    # relative to v(none), so that an offset of the whole game costs no digits; one product for all rows would round
    # according to how many they are
    centred = (means - means[:, :, [layout.none]]).reshape(-1, means.shape[2])
    shape = (*means.shape[:2], layout.coefficients.shape[1])
    values = np.array([row @ layout.coefficients for row in centred]).reshape(shape)
    columns = layout.coefficients.T @ examples
    data = of_examples(columns.reshape(-1, examples.shape[3]))
    stderr = (data.stderr() if data.known else np.full(values.size, np.nan)).reshape(shape)
    return tuple(
        ExactTable(
            output=output,
            means=means[at],
            values=values[at],
            stderr=stderr[at],
            degrees_of_freedom=data.degrees_of_freedom,
        )
        for at, output in enumerate(outputs)
    )


def events_of_row(
    tables: Sequence[ExactTable],
    row: int,
    *,
    players: tuple[str, ...],
    plays: tuple[bool, ...],
    origin: Origin,
    level: float,
) -> list[AttributionEvent]:
    """Return the events of one host: its own players and coalitions, as `CounterfactualEngine` sends them.

    Args:
        tables: one an output.
        row: of the R hosts.
        players: the k names.
        plays: which of them this host has, k times.
        origin: where it happened.
        level: of the intervals, in (0, 1).
    """
    own, places = np.flatnonzero(plays), own_coalitions(plays)
    names = tuple(players[at] for at in own.tolist())
    masks = factorial_masks(len(own))
    events: list[AttributionEvent] = [
        CoalitionsEvaluated(
            origin=origin,
            players=names,
            coalitions=coalition_texts(masks),
            values={table.output.name: tuple(table.means[row, places].tolist()) for table in tables},
        )
    ]
    layout = _layout(len(masks))
    for table in tables:
        values, stderr, means = table.values[row, own], table.stderr[row, own], table.means[row, places]
        reach = stderr * student_quantile(level, table.degrees_of_freedom)
        raw, errors, lower, upper = np.stack([values, stderr, values - reach, values + reach]).tolist()
        if not np.isfinite(stderr).all():
            errors, lower, upper = (
                [number if np.isfinite(number) else None for number in part] for part in (errors, lower, upper)
            )
        events.append(
            ContributionsEstimated(
                origin=origin,
                output=table.output.name,
                unit=table.output.unit,
                higher_is_better=table.output.higher_is_better,
                players=names,
                values=tuple(raw),
                contributions=tuple(value * table.output.direction for value in raw),
                stderr=tuple(errors),
                lower=tuple(lower),
                upper=tuple(upper),
                level=level,
                value_all=float(means[layout.everything]),
                value_none=float(means[layout.none]),
                estimator="exact",
                n_evaluations=len(masks),
            )
        )
    return events


@lru_cache(maxsize=1024)
def own_coalitions(plays: tuple[bool, ...]) -> NDArray[np.int64]:
    """Return where the coalitions of the players that a host has stand among those of all k, [2^own].

    Example:
        >>> factorial_masks(2)[own_coalitions((False, True))].tolist()
        [[False, False], [False, True]]
    """
    own = factorial_masks(sum(plays))
    wide = np.zeros((len(own), len(plays)), dtype=np.bool_)
    wide[:, np.flatnonzero(plays)] = own
    order = np.argsort(table_index(factorial_masks(len(plays))))
    return np.asarray(order[table_index(wide)])


def _layout(coalitions: int) -> TableLayout:
    return table_layout(factorial_masks(coalitions.bit_length() - 1))
