"""Figures as data: ranges that clip nothing, gaps for what is missing, and refusals."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.charts import Axis, Chart, Series
from accredit.errors import InvalidArgument

COUNT = Axis(label="update", unit="count")
NATS = Axis(label="loss", unit="nats")
NAMES = Axis(label="graft", unit=None)


def chart(*series: Series, kind: str = "line", x: Axis = COUNT, y: Axis = NATS) -> Chart:
    return Chart(title="A title", kind=kind, x=NAMES if kind == "bar" else x, y=y, series=series)


def test_the_unit_stands_in_the_title_of_an_axis():
    assert (NATS.title, NAMES.title) == ("loss (nats)", "graft")


@given(
    points=st.lists(st.tuples(*[st.floats(-1e6, 1e6).map(lambda value: round(value, 6))] * 3), min_size=1, max_size=8),
    kind=st.sampled_from(["line", "scatter", "bar"]),
)
def test_no_end_of_an_interval_touches_the_frame(points: list[tuple[float, float, float]], kind: str):
    """Ends strictly inside, so that a cap is drawn whole; bars begin at 0."""
    middle, one, other = zip(*points, strict=True)
    lower, upper = tuple(map(min, one, other)), tuple(map(max, one, other))
    places = tuple(f"bar {i}" if kind == "bar" else float(i) for i in range(len(points)))
    low, high = chart(Series(name="s", x=places, y=middle, lower=lower, upper=upper), kind=kind).y_range()
    smallest, largest = min(middle + lower), max(middle + upper)
    if kind == "bar":
        assert low <= 0 <= high
        assert low < smallest or (low == 0 and smallest >= 0)
        assert largest < high or (high == 0 and largest <= 0)
    else:
        assert low < smallest
        assert largest < high


def test_a_single_value_still_has_a_range():
    assert chart(Series(name="s", x=(1.0,), y=(0.0,))).y_range() == (-1.0, 1.0)
    assert chart(Series(name="s", x=(1.0,), y=(0.0,))).x_range() == (0.0, 2.0)
    assert chart(Series(name="s", x=(1.0,), y=(2.0,))).y_range() == pytest.approx((1.88, 2.12))


def test_a_line_fills_the_width_and_points_stand_free():
    series = Series(name="s", x=(10.0, 20.0), y=(1.0, 2.0), x_lower=(8.0, 18.0), x_upper=(12.0, 28.0))
    assert chart(Series(name="s", x=(10.0, 20.0), y=(1.0, 2.0))).x_range() == (10.0, 20.0)
    assert chart(series, kind="scatter").x_range() == pytest.approx((8 - 1.2, 28 + 1.2))


def test_a_logarithmic_axis_is_padded_by_a_factor():
    axis = Axis(label="parameters", unit="count", logarithmic=True)
    low, high = chart(Series(name="s", x=(10.0, 1000.0), y=(1.0, 1.0)), kind="scatter", x=axis).x_range()
    assert (low * 100**0.06, high / 100**0.06) == pytest.approx((10.0, 1000.0))
    for kind in ("scatter", "line"):
        assert chart(Series(name="s", x=(1.0,), y=(1.0,)), kind=kind, x=axis).x_range() == (0.5, 2.0)


def test_a_chart_without_numbers_has_no_range():
    assert chart().y_range() is None
    assert chart(Series(name="s", x=(1.0,), y=(None,))).y_range() is None
    assert chart(kind="bar").y_range() == (0.0, 1.0)


def test_what_is_missing_or_not_finite_is_a_gap_and_standard_json():
    """[R32] Never 0."""
    drawn = chart(Series(name="s", x=(1.0, 2.0, 3.0), y=(None, math.nan, 5.0), lower=(None, None, -math.inf)))
    content = drawn.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False))["series"] == [
        {"name": "s", "x": [1.0, 2.0, 3.0], "y": [None, None, 5.0], "lower": [None, None, None]}
    ]
    assert content["y"]["title"] == "loss (nats)"


def test_columns_of_different_length_are_refused():
    with pytest.raises(
        InvalidArgument, match="`lower` of the series 's' has 1 entries, but `y` has 2; pass one per point"
    ):
        Series(name="s", x=(1.0, 2.0), y=(1.0, 2.0), lower=(0.0,))


def test_bars_over_different_names_are_refused():
    with pytest.raises(InvalidArgument, match="`series` of the bar chart 'A title' have 2 different `x`"):
        chart(Series(name="s", x=("a",), y=(1.0,)), Series(name="t", x=("b",), y=(1.0,)), kind="bar")


@pytest.mark.parametrize(("kind", "x", "held"), [("line", ("a",), "names"), ("bar", (1.0,), "numbers")])
def test_places_that_do_not_fit_the_kind_are_refused(kind: str, x: tuple[object], held: str):
    with pytest.raises(InvalidArgument, match=f"`x` of the {kind} chart 'A title' has {held}, but a bar chart has"):
        chart(Series(name="s", x=x, y=(1.0,)), kind=kind)


def test_numbers_without_a_unit_are_refused():
    for axes in ({"y": NAMES}, {"x": NAMES}):
        with pytest.raises(InvalidArgument, match="`unit` of an axis with numbers of the chart 'A title' is None"):
            chart(Series(name="s", x=(1.0,), y=(1.0,)), **axes)


def test_a_number_that_has_no_logarithm_is_refused():
    axis = Axis(label="loss", unit="nats", logarithmic=True)
    with pytest.raises(InvalidArgument, match=r"`loss` of the chart 'A title' is 0.0, but a logarithmic axis has"):
        chart(Series(name="s", x=(1.0,), y=(2.0,), lower=(0.0,)), y=axis)
