import io

import numpy as np
import pytest
import torch

from accredit.attribution import (
    CounterfactualConfig,
    CounterfactualEngine,
    CounterfactualHelper,
    Output,
    attribute,
    plot_events_over_time,
    plot_over_time,
)
from accredit.attribution.games import player_names, random_unanimity
from accredit.errors import InvalidArgument
from accredit.telemetry.event import ContributionsEstimated

LOSS = Output("loss", "nat", False)


def matrix(n_players, seed=0, **fields):
    table = torch.from_numpy(np.random.default_rng(seed).normal(size=(2**n_players, 25)))
    engine = CounterfactualEngine(CounterfactualConfig(outputs=(LOSS,), seed=seed, **fields))
    return engine.compute_matrix(
        player_names(n_players), lambda masks: {"loss": table[masks.long() @ (2 ** torch.arange(n_players))]}
    )


def drawn_reach(figure):
    """Half-lengths of the bars of error from top to bottom."""
    segments = [line.get_segments()[0] for line in figure.axes[0].collections]
    return [(ends[1, 0] - ends[0, 0]) / 2 for ends in sorted(segments, key=lambda ends: ends[0, 1])]


def test_bars_show_contributions_and_intervals_at_the_level_asked_for():
    """[R8] A loss: the bars are minus the raw values."""
    result = matrix(4).shapley("loss")
    order = np.argsort(-result.contributions)
    for level in (None, 0.5, 0.99):
        figure = result.plot("bar", level)
        figure.savefig(io.BytesIO())
        lengths = [patch.get_width() for patch in sorted(figure.axes[0].patches, key=lambda patch: patch.get_y())]
        np.testing.assert_allclose(lengths, -result.value[order])
        np.testing.assert_allclose(drawn_reach(figure), result.half_widths(level)[order])


def test_a_waterfall_ends_where_everything_is_on():
    """[R4] Efficiency as a picture: the last bar ends at v(all)."""
    result = matrix(5, strategy="shapley", max_evaluations=20).shapley("loss")
    figure = result.plot("waterfall")
    figure.savefig(io.BytesIO())
    last = max(figure.axes[0].patches, key=lambda patch: patch.get_y())
    assert last.get_x() + last.get_width() == pytest.approx(result.value_all)
    first = min(figure.axes[0].patches, key=lambda patch: patch.get_y())
    assert first.get_x() == result.value_none


def test_interactions_have_two_pictures():
    """[R12]"""
    result = matrix(4).interactions("loss")
    picture = result.plot("matrix", 0.9)
    cells = picture.axes[0].images[0].get_array().filled(0.0)
    assert cells[0, 1] == cells[1, 0] == result["p0", "p1"].contribution
    decided = sum(result[names].is_significant(0.9) for names in result)
    dots = sum(len(dots.get_offsets()) for dots in picture.axes[0].collections)
    assert dots == 2 * decided
    assert len(result.plot().axes[0].lines) == 6


def test_kinds_that_do_not_exist_are_refused():
    """[R37]"""
    whole = matrix(4)
    with pytest.raises(InvalidArgument, match=r"`kind` is 'pie', wanted \"bar\" or \"waterfall\""):
        whole.shapley("loss").plot("pie")
    with pytest.raises(InvalidArgument, match=r"`kind` is 'pie' for interactions of order 2, wanted \"network\" or"):
        whole.interactions("loss").plot("pie")
    with pytest.raises(InvalidArgument, match=r"`kind` is 'matrix' for interactions of order 3, wanted"):
        whole.interactions("loss", order=3).plot("matrix")
    for result in (whole.shapley("loss"), whole.interactions("loss")):
        with pytest.raises(InvalidArgument, match=r"`level` is 1.5, wanted a number between 0 and 1"):
            result.plot(level=1.5)


def test_contributions_over_time_are_those_of_each_result():
    """[R8] A player that joins later begins later."""
    results = [(1.0, matrix(2, seed=1).shapley("loss")), (2.5, matrix(3, seed=2).shapley("loss"))]
    figure = plot_over_time(results, time_label="epoch")
    figure.savefig(io.BytesIO())
    lines = {tuple(np.nan_to_num(line.get_ydata(), nan=99.0)) for line in figure.axes[0].lines}
    for at in range(2):
        assert (results[0][1].contributions[at], results[1][1].contributions[at]) in lines
    assert (99.0, results[1][1].contributions[2]) in lines


def test_events_give_the_picture_of_their_results():
    """[R13]"""
    events, results = [], []
    helper = CounterfactualHelper(CounterfactualConfig(outputs=(LOSS,)), events.append)
    for step in range(3):
        table = torch.from_numpy(np.random.default_rng(step).normal(size=(4, 25)))
        found = helper.compute_contributions(
            ["a", "b"],
            lambda masks, table=table: {"loss": table[masks.long() @ torch.tensor([1, 2])]},
            environment="host-0",
            episode=1,
            step=4 * step,
        )
        results.append((4 * step, found.shapley("loss")))
    estimated = [event for event in events if isinstance(event, ContributionsEstimated)]
    from_events, from_results = plot_events_over_time(estimated), plot_over_time(results)
    for one, other in zip(from_events.axes[0].lines, from_results.axes[0].lines, strict=True):
        np.testing.assert_allclose(np.array(one.get_xydata()), np.array(other.get_xydata()))
    assert from_events.axes[0].get_xlabel() == "step of the episode"
    helper.compute_contributions(
        ["a", "b"], lambda masks: {"loss": masks.sum(dim=1)}, environment="host-1", episode=1, step=0
    )
    mixed = [event for event in events if isinstance(event, ContributionsEstimated)]
    with pytest.raises(
        InvalidArgument, match=r"`events` are of 2 environments, episodes, games and outputs, 0 of them"
    ):
        plot_events_over_time(mixed)
    with pytest.raises(InvalidArgument, match=r"`events` are of 0 environments"):
        plot_events_over_time([])


def test_interactions_print_the_strongest_with_unit_and_caution():
    """[R3]"""
    text = str(matrix(4).interactions("loss"))
    assert text.splitlines()[0].endswith("of loss [nat]")
    assert "exact, 16 coalitions; positive helps" in text
    sizes = [abs(float(line.split()[3])) for line in text.splitlines()[1:7]]
    assert sizes == sorted(sizes, reverse=True)
    few = attribute(random_unanimity(9, n_groups=9, seed=2), player_names(9), max_evaluations=60)
    assert "unknown" in str(few.interactions("value"))
    assert "and 16 weaker ones" in str(few.interactions("value"))
    assert f"caution: {few.interactions('value').caution}" in str(few.interactions("value"))
