"""Pictures are read back as data: where bars end, what texts say, which limits the axes have."""

import io
import math
import sys
import warnings

import numpy as np
import pytest
from matplotlib.text import Text

from accredit.charts import (
    Estimates,
    PairEstimates,
    bar_picture,
    matrix_picture,
    network_picture,
    over_time_picture,
    waterfall_picture,
)
from accredit.charts.canvas import HARMS, HELPS
from accredit.charts.estimates import short_names
from accredit.errors import InvalidArgument, MissingExtra


def make(values, half_widths=None, names=None, higher_is_better=True):
    return Estimates(
        names=tuple(names or (f"p{at}" for at in range(len(values)))),
        values=tuple(values),
        half_widths=None if half_widths is None else tuple(half_widths),
        quantity="loss",
        unit="nat",
        higher_is_better=higher_is_better,
        level=0.9,
    )


def make_pairs(n_players, values, half_widths=None):
    names = tuple(f"p{at}" for at in range(n_players))
    return PairEstimates(players=names, pairs=make(values, half_widths))


def texts(figure):
    """Every text as it stands in the picture, after drawing it with warnings as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")
    found = [text.get_text() for axes in figure.axes for text in [*axes.texts, *axes.get_yticklabels()]]
    labels = [label for axes in figure.axes for label in (axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel())]
    keys = [text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    return [text for text in [*found, *labels, *keys, figure.get_supxlabel()] if text]


def bars(figure):
    """(left end, length) of every bar from top to bottom."""
    patches = sorted(figure.axes[0].patches, key=lambda patch: patch.get_y())
    return [(patch.get_x(), patch.get_width()) for patch in patches]


def test_bars_are_contributions_from_the_largest_to_the_smallest():
    """[R3] Lower is better: a fall of the loss helps."""
    figure = bar_picture(make([0.5, -2.0, 1.0], [0.1, 0.2, 0.3], higher_is_better=False))
    assert bars(figure) == [(0.0, 2.0), (0.0, -0.5), (0.0, -1.0)]
    found = texts(figure)
    assert found[:3] == ["p1", "p0", "p2"]
    assert "contribution to loss (nat)" in found
    assert found[-1] == "positive helps (lower is better, so a fall is positive); 90 % intervals"


@pytest.mark.parametrize("draw", [bar_picture, lambda one: waterfall_picture(one, value_none=1.0, value_all=-3.5)])
def test_no_interval_is_cut_by_the_frame(draw):
    """[R3] Wide intervals reach beyond every bar."""
    figure = draw(make([-1.0, -0.5, -3.0], [9.0, 0.1, 5.0]))
    low, high = figure.axes[0].get_xlim()
    ends = np.concatenate([segment[:, 0] for line in figure.axes[0].collections for segment in line.get_segments()])
    assert low < ends.min()
    assert ends.max() < high
    assert ends.max() - ends.min() >= 10.0


def test_unknown_intervals_are_said_and_not_drawn():
    """[R6] No bar of error of length 0."""
    unknown, some = bar_picture(make([1.0, 2.0])), bar_picture(make([1.0, 2.0, 3.0], [0.5, None, math.inf]))
    assert not unknown.axes[0].collections
    assert "intervals unknown" in texts(unknown)[-1]
    assert len(some.axes[0].collections) == 1
    assert "90 % intervals, unknown for 2" in texts(some)[-1]


def test_a_waterfall_goes_from_all_off_to_all_on():
    """[R4] Raw values: each bar begins where the one before ended."""
    figure = waterfall_picture(make([1.0, -0.5, 2.0], higher_is_better=False), value_none=3.0, value_all=5.5)
    assert bars(figure) == [(3.0, -0.5), (2.5, 1.0), (3.5, 2.0)]
    assert texts(figure)[:5] == ["all off", "p1", "p0", "p2", "all on"]
    diamonds = figure.axes[0].lines[-1]
    assert list(diamonds.get_xdata()) == [3.0, 5.5]
    low, high = figure.axes[0].get_xlim()
    assert low < 2.5, "the frame would cut the first bar"
    assert high > 5.5, "the frame would cut the last diamond"
    colours = [patch.get_facecolor()[:3] for patch in sorted(figure.axes[0].patches, key=lambda patch: patch.get_y())]
    assert colours[0] != colours[1] == colours[2]


def test_of_many_players_the_largest_are_drawn_and_the_rest_is_a_sum():
    """[R3] 200 players on one page."""
    values = [0.01] * 170 + [float(at) for at in range(1, 31)]
    bar = bar_picture(make(values))
    assert [length for _, length in bars(bar)] == [float(at) for at in range(30, 0, -1)]
    assert "170 smaller ones are not drawn; they sum to 1.7 nat" in texts(bar)[-1]
    waterfall = waterfall_picture(make(values), value_none=0.0, value_all=sum(values))
    assert len(bars(waterfall)) == 31
    assert bars(waterfall)[-1] == pytest.approx((465.0, 1.7))
    assert "the other 170, summed" in texts(waterfall)
    assert bar.get_figheight() < 12


def test_a_rest_of_one_is_drawn_by_its_name():
    """[R3]"""
    assert len(bars(bar_picture(make([float(at) for at in range(31)])))) == 31


@pytest.mark.parametrize("name", ["$a_1$", r"\frac", "_hidden", "a^{", "50 % & <b>"])
def test_names_are_texts_and_no_formulas(name):
    """[R3]"""
    estimates = make([1.0, 2.0], [0.1, 0.1], names=[name, "other"])
    pair = PairEstimates(players=(name, "other"), pairs=make([1.0]))
    for figure in (
        bar_picture(estimates),
        waterfall_picture(estimates, value_none=0.0, value_all=3.0),
        over_time_picture([0, 1], [estimates, estimates]),
        network_picture(pair),
        matrix_picture(pair),
    ):
        assert name in texts(figure)
        written = [text for text in figure.findobj(Text) if text.get_text() == name]
        assert not any(text.get_parse_math() or text.get_usetex() for text in written)


def test_long_names_keep_their_ends_and_stay_different():
    """[R3]"""
    names = tuple(f"encoder.layers.{at}.attention.output.projection" for at in range(12))
    short = short_names(names, longest=20)
    assert len(set(short)) == 12
    assert max(map(len, short)) <= 20
    assert short[0] == "encoder.la…rojection"
    assert short_names(("a\nb\x07",)) == ("a b ",)


def test_a_network_has_a_line_per_interaction_and_says_what_it_omits():
    """[R12] Pairs of p0..p3 in order: 01 02 03 12 13 23."""
    figure = network_picture(make_pairs(4, [2.0, -1.0, 0.0, 0.5, 0.0, 0.25], [0.1, 5.0, 0.1, None, 0.1, 0.1]))
    lines = figure.axes[0].lines
    assert [line.get_color() for line in lines] == [HELPS, HELPS, HARMS, HELPS]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--", "-"]
    assert [line.get_alpha() for line in lines] == [0.9, 0.3, 0.3, 0.9]
    assert lines[-1].get_linewidth() == max(line.get_linewidth() for line in lines)
    assert "widest line: 2 nat" in texts(figure)[-1]
    assert "4 of 4 players, 2 weaker or absent pairs are not drawn" in texts(figure)[-1]


def test_a_network_of_nothing_says_so():
    """[R12]"""
    assert "no interaction differs from 0" in texts(network_picture(make_pairs(3, [0.0, 0.0, 0.0])))[-1]


def test_a_matrix_is_symmetric_with_dots_where_zero_is_excluded():
    """[R12]"""
    figure = matrix_picture(make_pairs(3, [2.0, -1.0, 0.5], [0.1, 5.0, None]))
    cells = figure.axes[0].images[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(cells, [[np.nan, 2, -1], [2, np.nan, 0.5], [-1, 0.5, np.nan]])
    assert figure.axes[0].images[0].get_clim() == (-2.0, 2.0)
    assert sorted(map(tuple, figure.axes[0].collections[0].get_offsets().tolist())) == [(0.0, 1.0), (1.0, 0.0)]
    assert "interaction (nat), positive helps" in texts(figure)


def test_of_many_players_the_strongest_are_in_matrix_and_network():
    """[R3] Players 0 and 1 interact most."""
    n_players = 50
    values = [500.0] + [0.001 * at for at in range(math.comb(n_players, 2) - 1)]
    matrix, network = (draw(make_pairs(n_players, values)) for draw in (matrix_picture, network_picture))
    assert matrix.axes[0].images[0].get_array().shape == (40, 40)
    assert "10 players with weaker interactions are not drawn" in texts(matrix)[-1]
    assert len(network.axes[0].lines) == 60
    assert {"p0", "p1"} <= set(texts(network))


def test_time_has_a_gap_where_a_player_does_not_exist():
    """[R3] Never a 0."""
    history = [make([1.0], [0.2], names=["a"]), make([3.0, -1.0], [0.2, None], names=["a", "b"])]
    figure = over_time_picture([0, 10], history, time_label="epoch")
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), [1.0, 3.0])
    drawn = {tuple(np.nan_to_num(line.get_ydata(), nan=99.0)) for line in figure.axes[0].lines}
    assert (99.0, -1.0) in drawn
    found = texts(figure)
    assert {"a", "b", "epoch", "contribution to loss (nat)"} <= set(found)
    assert "90 % intervals" in found[-1]


def test_time_draws_the_sum_of_the_players_beyond_seven():
    """[R3] Seven colours can be told apart."""
    names = [f"p{at}" for at in range(9)]
    history = [make([float(at) for at in range(9)], names=names), make([0.5] * 9, names=names)]
    figure = over_time_picture([1, 2], history)
    found = texts(figure)
    assert "the other 2, summed" in found
    assert "p8" in found
    assert "p0" not in found
    assert any(list(line.get_ydata()) == [1.0, 1.0] for line in figure.axes[0].lines)


def test_pictures_leave_pyplot_alone(monkeypatch):
    """[R10] No global figure, no window."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    texts(bar_picture(make([1.0])))
    texts(matrix_picture(make_pairs(3, [1.0, 2.0, 3.0])))


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    """[R37]"""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"`plot` got no matplotlib, wanted it installed; run `pip install accredit"):
        bar_picture(make([1.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make([1.0, 2.0], [0.1]), r"`names` has 2 entries, `values` 2 and `half_widths` 1, wanted one of each"),
        (lambda: make_pairs(3, [1.0]), r"`pairs` has 1 estimates, but 3 players have 3 pairs; pass one for each"),
        (lambda: over_time_picture([], []), r"`times` are \[\] \(0\) for 0 results, wanted rising times"),
        (lambda: over_time_picture([2, 1], [make([1.0])] * 2), r"`times` are \[2, 1\] \(2\) for 2 results"),
        (lambda: over_time_picture([1], [make([1.0])] * 2), r"`times` are \[1\] \(1\) for 2 results"),
        (
            lambda: over_time_picture([1, 2], [make([1.0]), make([1.0], higher_is_better=False)]),
            r"`history` has the quantities .*, wanted one; draw a picture for each",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused(call, message):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=message):
        call()
