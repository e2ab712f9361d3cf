"""Bands in their lanes, and long lines with as many points as can be seen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.charts import Axis, Band, Chart, Series, figure, thinned
from accredit.errors import InvalidArgument

STEP, NAT = Axis(label="step", unit="count"), Axis(label="loss", unit="nat")


def line(*series: Series, bands: tuple[Band, ...] = ()) -> Chart:
    return Chart(title="A title", kind="line", x=STEP, y=NAT, series=series, bands=bands)


def test_an_axis_holds_every_band_and_the_data_name_them():
    band = Band(lane="a", start=-3.0, end=20.0, label="training", strength=0.25)
    chart = line(Series(name="a", x=(0.0, 10.0), y=(1.0, 2.0), joins_gaps=True), bands=(band,))
    assert chart.x_range() == (-3.0, 20.0)
    content = chart.to_dict()
    assert content["bands"] == [{"lane": "a", "start": -3.0, "end": 20.0, "label": "training", "strength": 0.25}]
    assert content["series"][0]["joins"] is True
    assert "bands" not in line().to_dict()


def test_bands_stand_in_the_table_below():
    drawn = figure(line(bands=(Band(lane="<a>", start=1.0, end=2.5, label="x & y"),)), identifier="chart-1")
    assert '<th scope="row"><bdi>&lt;a&gt;</bdi></th><td><bdi>x &amp; y</bdi></td>' in drawn
    assert '<td class="number">1</td><td class="number">2.5</td>' in drawn


@pytest.mark.parametrize(("start", "end"), [(2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_a_band_that_ends_before_it_begins_is_refused(start: float, end: float):
    with pytest.raises(InvalidArgument, match=r"`start` and `end` of the band 'held' are .* wanted finite numbers in"):
        Band(lane="a", start=start, end=end, label="held")


@pytest.mark.parametrize("strength", [-0.1, 1.5, math.nan])
def test_a_colour_deeper_than_full_is_refused(strength: float):
    with pytest.raises(
        InvalidArgument, match=r"`strength` of the band 'held' is .*, wanted a number in \[0, 1\]; pass 1"
    ):
        Band(lane="a", start=0.0, end=1.0, label="held", strength=strength)


def test_bands_over_bars_are_refused():
    with pytest.raises(InvalidArgument, match="`bands` of the bar chart 't' has 1 entries, but only a line chart has"):
        Chart(
            title="t",
            kind="bar",
            x=Axis(label="graft", unit=None),
            y=NAT,
            series=(),
            bands=(Band(lane="a", start=0.0, end=1.0, label="held"),),
        )


@given(
    numbers=st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3), st.just(math.nan)), min_size=1, max_size=300),
    most=st.integers(4, 40),
)
def test_thinning_keeps_ends_and_extremes_as_they_are_and_no_more_than_asked_for(
    numbers: list[float | None], most: int
):
    places = tuple(map(float, range(len(numbers))))
    whole = Series(name="s", x=places, y=tuple(numbers), lower=tuple(numbers))
    (short,) = thinned(line(whole), most=most).series
    assert len(short.y) == len(short.x) == len(short.lower) <= max(most, 0)
    assert [repr(numbers[int(x)]) for x in short.x] == [repr(y) for y in short.y]
    assert short.x == tuple(sorted(set(short.x)))
    assert (short.x[0], short.x[-1]) == (places[0], places[-1])
    known = [number for number in numbers if number is not None and math.isfinite(number)]
    if known:
        kept = [number for number in short.y if number is not None and math.isfinite(number)]
        assert (min(kept), max(kept)) == (min(known), max(known))


def test_a_stretch_without_measurements_stays_a_gap():
    numbers = (1.0,) * 100 + (None,) * 100 + (2.0,) * 100
    (short,) = thinned(line(Series(name="s", x=tuple(map(float, range(300))), y=numbers)), most=20).series
    between = [y for x, y in zip(short.x, short.y, strict=True) if 110 < x < 190]
    assert between
    assert set(between) == {None}


def test_short_lines_and_other_kinds_come_back_as_they_are():
    chart = line(Series(name="s", x=(0.0, 1.0), y=(1.0, 2.0)))
    assert thinned(chart, most=4) is chart
    points = Chart(title="t", kind="scatter", x=STEP, y=NAT, series=(Series(name="s", x=(0.0,) * 9, y=(1.0,) * 9),))
    assert thinned(points, most=4) is points
    assert "at most 4 are kept" in thinned(line(*points.series), most=4).note
