"""What a user may replace in a sampled attribution: the design, the estimator, the estimator of interactions.

Axes: N players, M coalitions evaluated, R columns of values (outputs or bootstrap replicates), P quantities estimated
(players in their order, or pairs of players in the order of `numpy.triu_indices(N, 1)`).

The flow is `design -> masks -> value function -> values -> estimator -> FittedValues`. Everything here is NumPy,
float64 and bool; nothing knows of models, and nothing keeps state between calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
MaskArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class FittedValues:
    """What an estimator made of the coalitions that were evaluated."""

    value: FloatArray
    """Estimates [P, R], raw: in the unit and with the sign of the values."""
    stderr: FloatArray | None
    """Standard errors [P, R] from the draw of coalitions alone; None where the estimator declines to give any."""
    degrees_of_freedom: float
    """Of the Student t of the standard errors; math.inf for a normal."""
    estimator: str
    """Name for results and events, such as "pair_process" or "antithetic_permutations"."""
    n_evaluations: int
    """Rows of the masks that the estimate used."""
    covariance: FloatArray | None = None
    """Covariance of the estimates of all quantities [R, P, P], or None: differences are then bounded by the sum of the
    two standard errors."""
    caution: str | None = None
    """Why there is no standard error, or where it is known to be too small; None where nothing is known against it."""


class Design(Protocol):
    """Which coalitions to evaluate: known before the first evaluation, the same for the same arguments."""

    def __call__(self, n_players: int, n_evaluations: int, *, seed: int) -> MaskArray:
        """Masks [M, N] in the order of evaluation: none, all, then others; no row twice.

        Prefix-nested: for the same players and seed a longer design begins with the shorter one. M is `n_evaluations`
        rounded down to what the design can use (an even number for complement pairs) and at most 2^N.
        """
        ...


class Estimator(Protocol):
    """Shapley values from the coalitions that were evaluated, and from no others."""

    def __call__(self, masks: MaskArray, values: FloatArray) -> FittedValues:
        """Estimate from masks [M, N], distinct rows in any order, and values [M, R].

        Rows that the estimator cannot use (a coalition without its complement) are left out, never invented. The
        quantities are the N players.

        Raises:
            MissingValue: the rows do not suffice for any estimate.
        """
        ...


class InteractionEstimator(Protocol):
    """Pairwise Shapley interactions from the coalitions that were evaluated, and from no others."""

    def __call__(self, masks: MaskArray, values: FloatArray) -> FittedValues:
        """Estimate from masks [M, N] and values [M, R]; the quantities are the pairs of `numpy.triu_indices(N, 1)`.

        Raises:
            MissingValue: the rows do not suffice for any estimate.
        """
        ...
