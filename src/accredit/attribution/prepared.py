"""Value functions that prepare themselves for the coalitions they will be asked for.

A plain value function sees one call at a time. Where coalitions share most of their work, what matters is which of them
meet in a call and in which order, and whether the values of this call may stand beside those of an earlier one. A
`PreparedEvaluation` is asked for both.

Axes: N players, M coalitions, B examples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from accredit.attribution.coalition import coalition_keys
from accredit.attribution.protocols import MaskArray
from accredit.errors import EvaluationError

EXACT = "exact"
"""Numerics of values that equal, bit for bit, those of one evaluation after another."""


class PreparedEvaluation(ABC):
    """A value function that chooses the order of coalitions, and says how its values round.

    The value of a coalition must not depend on which others are in its call: how many go together may follow a clock.

    Example:
        >>> import torch
        >>> from accredit.attribution.attribute import attribute
        >>> class Product(PreparedEvaluation):
        ...     def __call__(self, masks):
        ...         return {"value": masks.all(dim=1).double()}
        ...     def begin(self, numerics):
        ...         return "exact"
        ...     def mechanism(self):
        ...         return "loop"
        ...     def calls(self, masks, most):
        ...         return [masks[at : at + most] for at in range(0, len(masks), most)]
        >>> matrix = attribute(Product(), ["a", "b"])
        >>> matrix.shapley("value").value.tolist()
        [0.5, 0.5]
        >>> matrix.provenance.mechanism, matrix.provenance.numerics
        ('loop', 'exact')
    """

    @abstractmethod
    def __call__(self, masks: Tensor) -> Mapping[str, Tensor]:
        """Values of masks [M, N], bool: for every declared output [M] or, per example, [M, B]."""

    @abstractmethod
    def begin(self, numerics: str | None) -> str:
        """Prepare for one call of `compute_matrix`; called once, before anything is evaluated.

        Args:
            numerics: those of the rows of the matrix that is continued; None where there are no rows yet, or where they
                came from a plain value function.

        Returns:
            The numerics of the values that will be given: "exact" where they equal, bit for bit, those of one
            evaluation after another; any other text, such as "stack of 16", names values that differ in rounding, and
            the same text always the same rounding.

        Raises:
            StateMismatch: values of such numerics cannot be given.
        """

    @abstractmethod
    def mechanism(self) -> str:
        """How coalitions were evaluated so far, such as "loop" or "replay"; "" while unknown. Must not raise."""

    @abstractmethod
    def calls(self, masks: MaskArray, most: int) -> list[MaskArray]:
        """The masks [M, N] of one round, each exactly once, so ordered and cut that neighbours share most work.

        The rows of the matrix stand in this order, with an executor and without. So it must follow from the masks
        alone, not from `most` or a clock; where a part of the masks is ordered as within the whole, a matrix that was
        interrupted and continued has its rows in the same order too. Under a timeout the order of the plan is kept
        and this is not called.

        Args:
            masks: bool [M, N], no row twice.
            most: most coalitions in a call, at least 1. Calls may be cut further, but are never joined.

        Returns:
            Masks [m, N] of every call, 1 <= m <= `most`.
        """


def cut(masks: MaskArray, most: int) -> list[MaskArray]:
    """Masks [M, N] in calls of at most `most`, in their order."""
    return [masks[begin : begin + most] for begin in range(0, len(masks), most)]


def ordered_calls(evaluation: PreparedEvaluation, masks: MaskArray, *, n_first: int, most: int) -> Iterator[MaskArray]:
    """Masks [M, N] in the calls that the evaluation wants, after a call with the `n_first` first of them.

    None and all are these first: they must exist after any failure, whatever order is cheapest. The evaluation is asked
    for the others only after them, so that its failure comes too late to leave them out.

    Raises:
        EvaluationError: `calls` raised, or what it returned is not each of the masks once in calls of at most `most`.
    """
    yield from cut(masks[:n_first], most)
    rest = masks[n_first:]
    if not len(rest):
        return
    try:
        # a copy, for it is foreign code that may write to its masks, and the plan's are shared
        calls = [np.asarray(call, dtype=np.bool_) for call in evaluation.calls(rest.copy(), most)]
        complete = sorted(key for call in calls for key in coalition_keys(call)) == sorted(coalition_keys(rest))
        # keys are padded to whole bytes, so that they alone would let missing columns pass as players that are off
        complete = complete and all(call.shape[1] == rest.shape[1] for call in calls)
    except Exception as error:
        raise EvaluationError(
            f"`calls` of the value function raised {type(error).__name__}: {error}, wanted the {len(rest)} coalitions "
            "of the round in calls; mend it."
        ) from error
    sizes = [len(call) for call in calls]
    if not complete or min(sizes) < 1 or max(sizes) > most:
        raise EvaluationError(
            f"`calls` of the value function returned {sum(sizes)} coalitions in calls of {sorted(set(sizes))}, wanted "
            f"each of the {len(rest)} of the round once in calls of 1 to {most}; cut up the masks that it was given."
        )
    yield from calls
