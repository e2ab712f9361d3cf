"""Charts as pictures: the same titles, numbers, gaps and intervals as on a page."""

import io
import math
import sys
import warnings

import pytest
from matplotlib.colors import to_hex

from accredit.charts import Axis, Band, Chart, Series, chart_picture, mean_bars, mean_points
from accredit.charts.canvas import HARMS, HELPS
from accredit.errors import MissingExtra

STEP, NAT, NAMES = Axis(label="step", unit="count"), Axis(label="loss", unit="nat"), Axis(label="slot", unit=None)
HOSTILE = "$\\frac{1}$\n_<b>\u202eحب" + "x" * 200


def drawn(chart: Chart):
    """The picture, after drawing it with warnings as errors."""
    figure = chart_picture(chart)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # no font of matplotlib's has every letter
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support Arabic")
        figure.savefig(io.BytesIO(), format="png")
    return figure


def line(*series: Series, bands: tuple[Band, ...] = (), y: Axis = NAT) -> Chart:
    return Chart(title="A title", kind="line", x=STEP, y=y, series=series, bands=bands, note="A note.")


def test_a_line_has_its_titles_its_band_and_gaps_where_nothing_was_measured():
    series = Series(name="a", x=(1.0, 2.0, 3.0), y=(1.0, None, 3.0), lower=(0.5, None, 2.5), upper=(1.5, None, 3.5))
    figure = drawn(line(series))
    (axes,) = figure.axes
    assert (axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()) == ("A title", "step (count)", "loss (nat)")
    assert figure.get_supxlabel() == "A note."
    numbers = axes.lines[0].get_ydata()
    assert [None if math.isnan(number) else number for number in numbers] == [1.0, None, 3.0]
    assert len(axes.collections) == 1
    assert axes.get_xlim() == (1.0, 3.0)


def test_a_line_that_joins_gaps_goes_on_across_them():
    figure = drawn(line(Series(name="a", x=(1.0, 2.0, 3.0), y=(1.0, None, 3.0), joins_gaps=True)))
    assert list(figure.axes[0].lines[0].get_xdata()) == [1.0, 3.0]


def test_stages_have_a_lane_each_above_the_line_in_its_colour():
    bands = (
        Band(lane="a", start=0.0, end=2.0, label="training", strength=0.25),
        Band(lane="b", start=1.0, end=3.0, label="committed"),
    )
    series = [Series(name=name, x=(0.0, 4.0), y=(1.0, 2.0)) for name in "ab"]
    (axes,) = drawn(line(*series, bands=bands)).axes
    (lanes,) = axes.child_axes
    assert [(bar.get_x(), bar.get_width()) for bar in lanes.patches] == [(0.0, 2.0), (1.0, 2.0)]
    assert [text.get_text() for text in lanes.get_yticklabels()] == ["a", "b"]
    assert [to_hex(bar.get_facecolor()) for bar in lanes.patches] == [to_hex(each.get_color()) for each in axes.lines]
    assert lanes.get_position().y0 > axes.get_position().y1 - 1e-6


def test_bars_lie_with_the_first_on_top_and_their_bars_of_error():
    series = Series(name="contribution", x=("a", "b"), y=(0.5, -0.25), lower=(0.25, None), upper=(0.75, None))
    (axes,) = drawn(Chart(title="t", kind="bar", x=NAMES, y=NAT, series=(series,))).axes
    assert [(bar.get_width(), to_hex(bar.get_facecolor()).upper()) for bar in axes.patches] == [
        (0.5, HELPS),
        (-0.25, HARMS),
    ]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert axes.yaxis_inverted()
    (errors,) = axes.collections
    assert errors.get_segments()[0][:, 0].tolist() == [0.25, 0.75]


def test_several_bars_stand_side_by_side_with_a_key():
    series = tuple(Series(name=name, x=("a", "b"), y=(1.0, 2.0)) for name in ("first", "_second"))
    (axes,) = drawn(Chart(title="t", kind="bar", x=NAMES, y=NAT, series=series)).axes
    assert len({round(bar.get_y(), 6) for bar in axes.patches}) == 4
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["first", "_second"]


def test_points_have_bars_of_error_both_ways():
    groups = {"a": ((1.0, 2.0, 3.0), (10.0, 20.0, 30.0)), "b": ((5.0,), (7.0,)), "none": ((), ())}
    chart = mean_points("t", (STEP, NAT), groups, over="three of them")
    assert [(each.name, each.x, each.y) for each in chart.series] == [("a", (2.0,), (20.0,)), ("b", (5.0,), (7.0,))]
    (axes,) = drawn(chart).axes
    assert len(axes.collections) >= 2
    assert chart.note == "Mean over three of them; error bars: 95% Student t intervals."


def test_a_logarithmic_axis_is_one():
    axis = Axis(label="drift", unit="deviations", logarithmic=True)
    (axes,) = drawn(line(Series(name="a", x=(1.0, 2.0), y=(0.01, 10.0)), y=axis)).axes
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize("kind", ["line", "bar", "scatter"])
def test_a_chart_without_numbers_is_drawn_empty(kind: str):
    empty = Series(name="a", x=(), y=())
    for series in ((), (empty,)):
        drawn(Chart(title="t", kind=kind, x=NAMES if kind == "bar" else STEP, y=NAT, series=series))
    drawn(mean_bars("t", NAT, {"nobody": ()}, of="policy", over="hosts"))


def test_names_are_texts_whatever_they_hold():
    bands = (Band(lane=HOSTILE, start=0.0, end=1.0, label=HOSTILE),)
    chart = line(*(Series(name=name, x=(0.0, 1.0), y=(1.0, 2.0)) for name in (HOSTILE, HOSTILE + "y")), bands=bands)
    drawn(chart)
    drawn(Chart(title=HOSTILE, kind="bar", x=NAMES, y=NAT, series=(Series(name="a", x=(HOSTILE,), y=(1.0,)),)))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    """[R37]"""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"run `pip install accredit\[report\]`"):
        chart_picture(line())
