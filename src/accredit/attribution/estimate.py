"""One estimated number with what is known of its uncertainty, and tests of several at once.

Two sources, apart and together: which coalitions were drawn (`stderr_sampling`, 0 for a complete table) and which
validation examples were drawn (`stderr_data`, None where only averages are known). An unknown part is None and never
counts as 0: a complete table of averages has an exact value of unknown uncertainty.

Intervals are Student t. They assume that the estimate is normal around its estimand given the standard error: over
examples by the central limit theorem, over coalitions by the model of the estimator (docs/estimators.md says where
that is known to do worse). The degrees of freedom of two parts together follow Welch and Satterthwaite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from accredit.attribution.protocols import FloatArray
from accredit.errors import InvalidArgument

Regime: TypeAlias = Literal["synergy", "interference", "independent", "undecided"]


def check_level(level: float) -> float:
    """A level of confidence in (0, 1).

    Raises:
        InvalidArgument: it is outside.
    """
    if not 0.0 < level < 1.0:
        raise InvalidArgument(
            f"`level` is {level}, wanted a number between 0 and 1, both excluded; pass 0.95 for 95 %."
        )
    return level


@lru_cache(maxsize=256)
def student_quantile(level: float, degrees_of_freedom: float, *, error_share: float = 1.0) -> float:
    """Half-width of a two-sided interval in standard errors.

    Args:
        level: confidence in (0, 1).
        degrees_of_freedom: of the standard error; math.inf for a normal.
        error_share: part of the error 1 - level that this interval may use; below 1 after repeated looks.

    Example:
        >>> round(student_quantile(0.95, 10), 3)
        2.228
    """
    probability = 1.0 - 0.5 * (1.0 - check_level(level)) * error_share
    return float(ndtri(probability) if math.isinf(degrees_of_freedom) else stdtrit(degrees_of_freedom, probability))


def combine_stderr(sampling: float | None, data: float | None) -> float | None:
    """Standard error from both sources; None where it is unknown.

    Values per coalition alone say nothing of the validation set: a sampled estimate then has the standard error of the
    sampling and speaks of the game as it was given, a complete one (sampling 0) has none.

    Example:
        >>> combine_stderr(3.0, 4.0), combine_stderr(0.0, None), combine_stderr(None, 1.0)
        (5.0, None, None)
    """
    # an exact value of averages is exact, yet of an unknown uncertainty: 0 would make every difference significant
    if sampling is None or (data is None and sampling == 0.0):
        return None
    return sampling if data is None else math.hypot(sampling, data)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its uncertainty; the kinds below say what the number is."""

    value: float
    """Raw: in the unit and with the sign of the output."""
    contribution: float
    """The same, signed by the declared direction of the output: positive helps."""
    stderr_sampling: float | None
    """Standard error from the draw of coalitions; 0.0 where all that matter were evaluated, None where unknown."""
    stderr_data: float | None
    """Standard error from the draw of validation examples, the same under every coalition; None where unknown."""
    sampling_degrees_of_freedom: float = math.inf
    """Of `stderr_sampling`; infinite for a normal."""
    data_degrees_of_freedom: float = math.inf
    """Of `stderr_data`; infinite for a normal."""
    n_evaluations: int
    """Coalitions that the number was computed from."""
    error_share: float = 1.0
    """Part of the error level that intervals and tests may use: below 1 where sampling stopped because of a look at
    them."""

    @property
    def stderr(self) -> float | None:
        """Standard error of the estimate from both sources, None where it is unknown."""
        return combine_stderr(self.stderr_sampling, self.stderr_data)

    @property
    def degrees_of_freedom(self) -> float:
        """Of `stderr`, by Welch and Satterthwaite."""
        parts = (
            (self.stderr_sampling, self.sampling_degrees_of_freedom),
            (self.stderr_data, self.data_degrees_of_freedom),
        )
        return welch_degrees_of_freedom(parts)

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Ends of the interval of the raw value at this level, Student t; None where the uncertainty is unknown.

        It assumes an error that is normal given its standard error. Over examples that is the central limit theorem, so
        that few or heavy-tailed examples make it too narrow; over coalitions it is the model of the estimator, which
        docs/estimators.md states and whose measured coverage it gives. Values without examples leave the draw of the
        validation set out: the interval then speaks of this validation set alone.

        Raises:
            InvalidArgument: a level outside (0, 1).
        """
        check_level(level)
        if self.stderr is None:
            return None
        reach = self.stderr * student_quantile(level, self.degrees_of_freedom, error_share=self.error_share)
        return self.value - reach, self.value + reach

    @property
    def p_value(self) -> float | None:
        """Two-sided p-value of "the true value is 0", Student t; None where the uncertainty is unknown.

        Assumes what `interval` does, and agrees with it: below 1 - level exactly where the interval excludes 0.
        """
        if self.stderr is None:
            return None
        return two_sided_p(self.value, self.stderr, self.degrees_of_freedom, error_share=self.error_share)

    def is_significant(self, level: float = 0.95) -> bool | None:
        """Whether the interval at this level excludes 0; None where the uncertainty is unknown.

        Raises:
            InvalidArgument: a level outside (0, 1).
        """
        check_level(level)
        p_value = self.p_value
        return None if p_value is None else p_value < 1.0 - level


@dataclass(frozen=True, kw_only=True)
class ShapleyEstimate(Estimate):
    """The Shapley value of one player: over players the raw values sum to v(all) - v(none).

    It says what the part earns in this network as trained, averaged over the orders of adding parts. It is no causal
    effect of training with the part: the rest has adapted to it (docs/removal_cost.md).
    """

    player: str
    spread: float | None
    """Sample standard deviation (n - 1) of the player's marginal contributions v(S + i) - v(S) over the pairs that were
    evaluated: how much they differ from coalition to coalition, which is no uncertainty; None for fewer than two
    pairs."""


@dataclass(frozen=True, kw_only=True)
class MarginalEstimate(Estimate):
    """Leave-one-out, Banzhaf or another index of one player, or a difference of two estimates; `name` says which."""

    name: str


@dataclass(frozen=True, kw_only=True)
class InteractionEstimate(Estimate):
    """The Shapley interaction of some players: what they earn together beyond what they earn apart."""

    players: tuple[str, ...]
    caution: str | None = None
    """Why there is no uncertainty, or where it is known to be too small; None where nothing is known against it."""

    def regime(self, threshold: float, *, level: float = 0.95) -> Regime:
        """How the players work together, judged by the interval of the contribution.

        "synergy" (positive helps) and "interference": the interval excludes 0 and the estimate is beyond the threshold;
        "independent": the whole interval lies within the threshold; "undecided": anything else, also without an
        interval.

        Args:
            threshold: the smallest interaction that matters, in the unit of the output, at least 0.
            level: of the interval, in (0, 1).

        Raises:
            InvalidArgument: a negative threshold, or a level outside (0, 1).
        """
        if not threshold >= 0.0:
            raise InvalidArgument(
                f"`threshold` is {threshold}, wanted at least 0; pass the smallest interaction that matters, in the "
                "unit of the output."
            )
        ends = self.interval(level)
        if ends is None:
            return "undecided"
        # significant alone is not enough: with many examples the tiniest interaction is
        if self.is_significant(level) and abs(self.value) > threshold:
            return "synergy" if self.contribution > 0.0 else "interference"
        return "independent" if max(abs(end) for end in ends) < threshold else "undecided"


def welch_degrees_of_freedom(parts: tuple[tuple[float | None, float], ...]) -> float:
    """Degrees of freedom of a sum of independent parts (stderr, degrees of freedom).

    Example:
        >>> welch_degrees_of_freedom(((1.0, 10.0), (0.0, 3.0))), welch_degrees_of_freedom(((1.0, 10.0), (1.0, 10.0)))
        (10.0, 20.0)

    Source: Satterthwaite (1946), An approximate distribution of estimates of variance components.
    """
    known = [(stderr**2, degrees) for stderr, degrees in parts if stderr]
    if not known:
        return math.inf
    # relative to the largest, so that tiny variances do not underflow when squared
    largest = max(variance for variance, _ in known)
    lost = sum((variance / largest) ** 2 / degrees for variance, degrees in known)
    return math.inf if lost == 0.0 else sum(variance / largest for variance, _ in known) ** 2 / lost


def two_sided_p(value: float, stderr: float, degrees_of_freedom: float, *, error_share: float = 1.0) -> float:
    """Two-sided p-value of "the true value is 0"; a standard error of 0 decides by the value alone.

    Example:
        >>> round(two_sided_p(2.228, 1.0, 10), 3)
        0.05
    """
    if stderr == 0.0:
        return 1.0 if value == 0.0 else 0.0
    # the tail below, not 1 minus the rest: a p-value of 1e-20 would otherwise come out as 0
    score = -abs(value) / stderr
    tail = float(ndtr(score) if math.isinf(degrees_of_freedom) else stdtr(degrees_of_freedom, score))
    return min(1.0, 2.0 * tail / error_share)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Adjusted p-values for several tests at once: rejecting below a keeps the chance of any false rejection at most a.

    Holds under any dependence between the tests. An unknown p-value stays unknown and counts as a test.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    # an unknown one may hide any p-value, so that it counts as a test although it gets no answer
    known = sorted((p_value, name) for name, p_value in p_values.items() if p_value is not None)
    highest = 0.0
    for rank, (p_value, name) in enumerate(known):
        # a larger p-value may not end up below a smaller one, whatever their factors
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_value))
        adjusted[name] = highest
    return adjusted


def difference(first: Estimate, second: Estimate, *, name: str) -> MarginalEstimate:
    """First - second for estimates from two matrices whose evaluations share nothing.

    The variances add. Where both saw the same validation examples this is too wide (positively dependent) or, rarely,
    too narrow: `ShapleyResult.change_from` pairs the examples.
    """
    sampling = _root_sum(first.stderr_sampling, second.stderr_sampling)
    data = _root_sum(first.stderr_data, second.stderr_data)
    return MarginalEstimate(
        name=name,
        value=first.value - second.value,
        contribution=first.contribution - second.contribution,
        stderr_sampling=sampling,
        stderr_data=data,
        sampling_degrees_of_freedom=welch_degrees_of_freedom(
            (
                (first.stderr_sampling, first.sampling_degrees_of_freedom),
                (second.stderr_sampling, second.sampling_degrees_of_freedom),
            )
        ),
        data_degrees_of_freedom=welch_degrees_of_freedom(
            ((first.stderr_data, first.data_degrees_of_freedom), (second.stderr_data, second.data_degrees_of_freedom))
        ),
        n_evaluations=first.n_evaluations + second.n_evaluations,
        error_share=min(first.error_share, second.error_share),
    )


def _root_sum(first: float | None, second: float | None) -> float | None:
    """Root of the sum of squares; None where either is unknown."""
    return None if first is None or second is None else math.hypot(first, second)


def half_widths(
    stderr: FloatArray, degrees_of_freedom: FloatArray, *, level: float, error_share: float = 1.0
) -> FloatArray:
    """Half-widths of many intervals at once, each with its own degrees of freedom: `student_quantile` as an array."""
    probability = 1.0 - 0.5 * (1.0 - check_level(level)) * error_share
    # stdtrit has no infinite degrees of freedom, and from 1e12 on its answer is the normal one
    finite = stdtrit(np.minimum(degrees_of_freedom, 1e12), probability)
    return np.asarray(stderr * np.where(np.isinf(degrees_of_freedom), ndtri(probability), finite))
