import math

import numpy as np
import pytest
from scipy import stats

from accredit.attribution.estimate import (
    Estimate,
    InteractionEstimate,
    combine_stderr,
    difference,
    half_widths,
    holm,
    student_quantile,
    welch_degrees_of_freedom,
)
from accredit.errors import InvalidArgument


def make(value=1.0, *, sampling=0.0, data=0.5, sampling_df=math.inf, data_df=10.0, share=1.0):
    return Estimate(
        value=value,
        contribution=-value,
        stderr_sampling=sampling,
        stderr_data=data,
        sampling_degrees_of_freedom=sampling_df,
        data_degrees_of_freedom=data_df,
        n_evaluations=8,
        error_share=share,
    )


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_intervals_are_student_t_at_any_level(level):
    """[R8]"""
    lower, upper = make().interval(level)
    expected = stats.t.interval(level, 10, loc=1.0, scale=0.5)
    assert (lower, upper) == pytest.approx(expected, rel=1e-10)


def test_p_value_and_significance_agree_with_the_interval():
    """[R8]"""
    estimate = make()
    assert estimate.p_value == pytest.approx(2 * stats.t.sf(2.0, 10), rel=1e-10)
    for level in (0.8, 0.9, 0.92, 0.95, 0.99):
        lower, upper = estimate.interval(level)
        assert estimate.is_significant(level) == (not lower <= 0.0 <= upper)


def test_both_sources_add_their_variances():
    """[R7]"""
    assert make(sampling=0.3, data=0.4).stderr == pytest.approx(0.5)


@pytest.mark.parametrize(("sampling", "data"), [(0.0, None), (None, 0.4), (None, None)])
def test_an_unknown_uncertainty_is_none_and_never_zero(sampling, data):
    """[R6] [R7] Exact enumeration removes the sampling part, not the data part."""
    estimate = make(sampling=sampling, data=data)
    assert estimate.stderr is None
    assert estimate.interval(0.95) is None
    assert estimate.p_value is None
    assert estimate.is_significant(0.95) is None


def test_a_sampled_estimate_of_averages_speaks_of_the_game_as_given():
    """[R7]"""
    assert combine_stderr(0.3, None) == 0.3


def test_welch_satterthwaite_joins_degrees_of_freedom():
    """[R8] (a + b)^2 / (a^2 / m + b^2 / n) for variances a, b."""
    found = make(sampling=2.0, data=1.0, sampling_df=5.0, data_df=20.0).degrees_of_freedom
    assert found == pytest.approx((4 + 1) ** 2 / (16 / 5 + 1 / 20))
    assert welch_degrees_of_freedom(((0.0, 3.0), (None, 2.0))) == math.inf


def test_a_share_of_the_error_widens_intervals_and_raises_p_values():
    """[R8] [R9] A look that may use a quarter of the 5 % has an interval at 98.75 %."""
    shared = make(share=0.25)
    assert shared.interval(0.95) == pytest.approx(make().interval(0.9875), rel=1e-12)
    assert shared.p_value == pytest.approx(4 * make().p_value, rel=1e-12)


def test_a_standard_error_of_zero_decides_by_the_value():
    """[R8]"""
    assert make(0.0, data=0.0).p_value == 1.0
    assert make(0.1, data=0.0).p_value == 0.0


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_levels_outside_zero_and_one_are_refused(level):
    """[R8]"""
    message = r"`level` is .*, wanted a number between 0 and 1, both excluded; pass 0.95 for 95 %"
    for ask in (make().interval, make().is_significant):
        with pytest.raises(InvalidArgument, match=message):
            ask(level)


def test_holm_orders_and_accumulates():
    """[R8] By hand: .01 x 4, max(.03 x 3, .04), .04 x 2 raised to .09, .5."""
    found = holm({"a": 0.04, "b": 0.01, "c": 0.5, "d": 0.03})
    assert found == pytest.approx({"b": 0.04, "d": 0.09, "a": 0.09, "c": 0.5})


def test_holm_keeps_the_unknown_unknown_and_counts_it():
    """[R8]"""
    assert holm({"a": 0.01, "b": None}) == {"a": 0.02, "b": None}


def test_differences_of_independent_estimates_add_variances():
    """[R8]"""
    found = difference(make(3.0, data=0.3), make(1.0, data=0.4), name="change")
    assert (found.value, found.contribution, found.stderr) == (2.0, -2.0, pytest.approx(0.5))
    assert difference(make(3.0, data=None), make(1.0), name="change").stderr is None


def test_many_half_widths_equal_one_by_one():
    """[R8]"""
    degrees = np.array([3.0, 10.0, math.inf])
    found = half_widths(np.array([1.0, 2.0, 3.0]), degrees, level=0.9)
    expected = [s * student_quantile(0.9, d) for s, d in zip([1.0, 2.0, 3.0], degrees.tolist(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def pair(value, stderr, *, higher_is_better=True):
    return InteractionEstimate(
        players=("a", "b"),
        value=value,
        contribution=value if higher_is_better else -value,
        stderr_sampling=0.0,
        stderr_data=stderr,
        n_evaluations=4,
    )


@pytest.mark.parametrize(
    ("estimate", "regime"),
    [
        (pair(1.0, 0.1), "synergy"),
        (pair(-1.0, 0.1), "interference"),
        (pair(1.0, 0.1, higher_is_better=False), "interference"),
        (pair(0.01, 0.05), "independent"),
        (pair(0.2, 0.2), "undecided"),
        (pair(0.15, 0.02), "independent"),
        (pair(0.19, 0.02), "undecided"),
        (pair(1.0, None), "undecided"),
    ],
)
def test_regimes_need_significance_and_size(estimate, regime):
    """[R12] Beyond .2 counts; .15 +- .04 is significant, but too small to matter."""
    assert estimate.regime(0.2) == regime


def test_a_negative_threshold_is_refused():
    """[R12]"""
    with pytest.raises(InvalidArgument, match=r"`threshold` is -1.0, wanted at least 0; pass the smallest interaction"):
        pair(1.0, 0.1).regime(-1.0)
