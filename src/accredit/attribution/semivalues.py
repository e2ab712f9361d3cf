"""Indices of players beyond Shapley and Banzhaf values, from a complete table."""

from __future__ import annotations

import numpy as np

from accredit.attribution import derived
from accredit.attribution.coalition import table_index
from accredit.attribution.estimate import MarginalEstimate
from accredit.attribution.matrix import CounterfactualMatrix, column_of
from accredit.attribution.protocols import FloatArray
from accredit.errors import InvalidArgument


def semivalues(
    matrix: CounterfactualMatrix, output: str, *, weights: FloatArray, name: str = "semivalue"
) -> dict[str, MarginalEstimate]:
    """Sum over S without i of w(|S|) (v(S + i) - v(S)) for every player i.

    The estimate is exact but for the draw of validation examples, whose standard error it has where the matrix keeps
    values per example: that of a mean over examples, Student t, which assumes a mean that is close to normal.

    Args:
        matrix: with all 2^N coalitions.
        output: a declared output.
        weights: w(s), s = 0 .. N - 1, such as `beta_weights` or `banzhaf_weights` make.
        name: for the estimates.

    Raises:
        InvalidArgument: another number of weights.
        MissingValue: the table is not complete.
        UnknownName: no output has this name.

    Example:
        Two parts that only work together; with weights on small coalitions both earn less than half.

        >>> from accredit.attribution import attribute, beta_weights
        >>> matrix = attribute(lambda masks: {"value": masks.all(dim=1).double()}, ["a", "b"])
        >>> semivalues(matrix, "value", weights=beta_weights(2, alpha=4.0, beta=1.0))["a"].value.__round__(3)
        0.2

    Source: Dubey, Neyman and Weber (1981), Value theory without efficiency.
    """
    column = column_of(matrix, output)
    if weights.shape != (len(matrix.players),):
        raise InvalidArgument(
            f"`weights` has shape {weights.shape}, but {len(matrix.players)} players join coalitions of 0 to "
            f"{len(matrix.players) - 1} others; pass a weight for each of these sizes."
        )
    return derived.semivalue(column, weights, name=name)


def complete_table(matrix: CounterfactualMatrix, output: str) -> FloatArray:
    """Values of all coalitions [2^N], bit i of the index = player i on: what `accredit.attribution.transforms` takes.

    Raises:
        MissingValue: the table is not complete.
        UnknownName: no output has this name.

    Example:
        >>> from accredit.attribution import attribute, moebius
        >>> matrix = attribute(lambda masks: {"value": masks.all(dim=1).double()}, ["a", "b"])
        >>> moebius(complete_table(matrix, "value")).tolist()
        [0.0, 0.0, 0.0, 1.0]
    """
    column = column_of(matrix, output)
    column.require_complete("complete_table")
    table = np.empty(len(column.means))
    table[table_index(column.masks)] = column.means
    return table
