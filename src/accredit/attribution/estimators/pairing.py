"""Bringing evaluated coalitions together with their complements.

Axes: M rows evaluated, C complement pairs among them, N players, R columns of values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accredit.attribution.protocols import FloatArray, MaskArray
from accredit.errors import InvalidArgument, MissingValue


@dataclass(frozen=True, kw_only=True)
class PairedValues:
    """The complement pairs among the coalitions that were evaluated, (none, all) first.

    The others follow in an order that depends on nothing but which they are, so that the order of the rows cannot
    change a digit, and that is random, so that the first of them speak for all.
    """

    masks: MaskArray
    """One coalition of each pair, [C, N]: the one without the first player."""
    odd: FloatArray
    """(v(S) - v(S^c)) / 2 of the coalitions of `masks`, [C, R]."""
    even: FloatArray
    """(v(S) + v(S^c)) / 2, [C, R]."""

    @property
    def total(self) -> FloatArray:
        """v(all) - v(none), [R]."""
        total: FloatArray = -2 * self.odd[0]
        return total


def paired_values(masks: MaskArray, values: FloatArray) -> PairedValues:
    """Match every coalition with its complement; a coalition alone is left out.

    Args:
        masks: distinct coalitions, [M, N].
        values: finite, [M, R].

    Raises:
        InvalidArgument: shapes that do not belong together, values that are not finite, a coalition twice.
        MissingValue: no coalitions (none, all) among the rows.

    Example:
        >>> masks = np.array([[0, 0], [1, 1], [1, 0]], dtype=bool)
        >>> paired_values(masks, np.array([[1.0], [5.0], [2.0]])).odd
        array([[-2.]])
    """
    row_of = check_rows(masks, values)
    complement = [row_of.get(mask.tobytes(), -1) for mask in ~masks]
    first = [row for row, other in enumerate(complement) if other >= 0 and not masks[row, 0]]
    ends = row_of.get(np.zeros(masks.shape[1], dtype=bool).tobytes(), -1)
    if ends < 0 or complement[ends] < 0:
        raise MissingValue(
            "`masks` lacks the coalition of no player or that of all players, but Shapley values share out the"
            " difference between the two; evaluate both."
        )
    inner = np.array([row for row in first if row != ends], dtype=np.intp)
    inner = inner[np.lexsort(masks[inner].T)]
    order = np.concatenate([[ends], np.random.default_rng(0).permutation(inner)])
    here, there = values[order], values[np.array(complement)[order]]
    return PairedValues(masks=masks[order], odd=(here - there) / 2, even=(here + there) / 2)


def check_rows(masks: MaskArray, values: FloatArray) -> dict[bytes, int]:
    """Refuse what no estimate can be made from, and return the row of each coalition by the bytes of its mask.

    Args:
        masks: coalitions, [M, N].
        values: [M, R].

    Raises:
        InvalidArgument: shapes that do not belong together, values that are not finite, a coalition twice.
    """
    if masks.ndim != 2 or masks.dtype != np.bool_ or masks.shape[1] == 0:
        raise InvalidArgument(
            f"`masks` is {masks.dtype} of shape {masks.shape}, but coalitions are bool of shape (M, N);"
            " pass one row per coalition."
        )
    if values.ndim != 2 or len(values) != len(masks):
        raise InvalidArgument(
            f"`values` has shape {values.shape}, but there are {len(masks)} coalitions; pass shape ({len(masks)}, R)."
        )
    n_bad = int((~np.isfinite(values)).any(axis=1).sum())
    if n_bad:
        raise InvalidArgument(
            f"`values` has {n_bad} rows that are not finite, but an estimate cannot skip or absorb them;"
            " leave these coalitions out."
        )
    row_of = {mask.tobytes(): row for row, mask in enumerate(masks)}
    if len(row_of) < len(masks):
        raise InvalidArgument(
            f"`masks` has {len(masks)} rows, but only {len(row_of)} different ones; pass each coalition once."
        )
    return row_of
