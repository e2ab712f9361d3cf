"""Interactions in a page: the strongest lines widest, what is decided marked, and names as texts."""

import re
from itertools import combinations

from accredit.charts import Estimates, PairChart, PairEstimates, isolated, pair_figure

HOSTILE = ('</svg><script>alert(1)</script>"', "line\nbreak", "x" * 200, "مرحبا")


def pairs(
    players: tuple[str, ...], values: tuple[float, ...], reach: tuple[float | None, ...], *, higher: bool = True
) -> PairEstimates:
    estimates = Estimates(
        names=tuple(" + ".join(pair) for pair in combinations(players, 2)),
        values=values,
        half_widths=reach,
        quantity="accuracy",
        unit="share",
        higher_is_better=higher,
        level=0.9,
    )
    return PairEstimates(players=players, pairs=estimates)


def drawn(kind: str, estimates: PairEstimates, note: str = "") -> str:
    return pair_figure(PairChart(title="Pairs", kind=kind, estimates=estimates, note=note), identifier="pairs-1")


THREE = pairs(("a", "b", "c"), (0.5, -0.25, 0.1), (0.1, 0.3, None))


def test_a_line_is_as_wide_as_it_is_strong_and_says_its_sign_and_whether_it_is_decided():
    lines = re.findall(r'<line class="([^"]+)".*?stroke-width="([^"]+)"><title>([^<]+)<', drawn("network", THREE))
    assert lines == [
        ("helps faint", "2.20", "b + c: 0.1 [unknown, unknown] share"),
        ("harms faint", "4.00", "a + c: \N{MINUS SIGN}0.25 [\N{MINUS SIGN}0.55, 0.05] share"),
        ("helps", "7.00", "a + b: 0.5 [0.4, 0.6] share"),
    ]


def test_where_lower_is_better_a_negative_interaction_helps():
    figure = drawn("network", pairs(("a", "b"), (-0.5,), (0.1,), higher=False))
    assert '<line class="helps"' in figure
    assert "a + b: 0.5 [0.4, 0.6] share" in figure


def test_cells_have_the_sign_the_depth_and_the_number_of_their_pair():
    cells = re.findall(r'<td class="([^"]+)">(.*?)</td>', drawn("matrix", THREE).split("<details>")[0])
    assert cells == [
        ("same", ""),
        ("plus-5", "<b>+0.500</b>"),
        ("minus-2", "\N{MINUS SIGN}0.250"),
        ("plus-5", "<b>+0.500</b>"),
        ("same", ""),
        ("plus-1", "+0.100"),
        ("minus-2", "\N{MINUS SIGN}0.250"),
        ("plus-1", "+0.100"),
        ("same", ""),
    ]


def test_many_players_have_dots_and_marks_for_numbers_and_only_the_strongest_are_drawn():
    players = tuple(f"p{at}" for at in range(45))
    count = 45 * 44 // 2
    values = tuple(1.0 + at for at in range(count))
    many = pairs(players, values, (2.0,) * count)
    matrix = drawn("matrix", many)
    assert '<table class="heat crowded">' in matrix
    assert matrix.count('<tr><th scope="row"><bdi>p') == 40 + 400
    assert "5 players with weaker interactions are not drawn." in matrix
    assert "590 weaker pairs are left out." in matrix
    assert matrix.count("&bull;") == sum(value > 2.0 for value in values) * 2 - matrix_rest(values)
    network = drawn("network", many)
    assert network.count("<line ") == 60
    assert network.count("<circle ") == 24
    assert "21 players with weaker interactions are not drawn. The 60 strongest pairs are drawn." in network
    assert 'class="chart network wide"' in network
    assert "rotate(" in network


def matrix_rest(values: tuple[float, ...]) -> int:
    """Marks of the pairs that have one of the five players whose sums of interactions are smallest: the first five."""
    position = {pair: at for at, pair in enumerate(combinations(range(45), 2))}
    return 2 * sum(values[at] > 2.0 for pair, at in position.items() if min(pair) < 5)


def test_the_numbers_stand_in_a_table_strongest_first():
    table = drawn("network", THREE).split("<details>")[1]
    assert re.findall(r"<bdi>(.*?)</bdi>", table) == ["a + b", "a + c", "b + c"]
    assert '<td class="number">unknown</td>' in table
    assert "interaction (share), positive helps" in table


def test_hostile_names_and_notes_are_texts():
    estimates = pairs(HOSTILE, (0.1,) * 6, (None,) * 6)
    for kind in ("network", "matrix"):
        figure = drawn(kind, estimates, note=HOSTILE[0])
        assert "<script" not in figure
        assert "&lt;/svg&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;" in figure
        assert max(map(len, re.findall(r"<text[^>]*>(.*?)</text>", figure)), default=0) < 100


def test_a_name_that_turns_the_direction_of_writing_turns_itself_alone():
    """Unicode Standard Annex 9: between FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE nothing reaches outside."""
    turning = "\u202eevil\u2069"
    figure = drawn("network", pairs((turning, "b", "\u05e9\u05dc\u05d5\u05dd"), (0.1, 0.2, 0.3), (None,) * 3))
    assert "<bdi>\u2068\u202eevil\u2069 + b</bdi>" in figure
    assert "<bdi>b + \u2068\u05e9\u05dc\u05d5\u05dd\u2069</bdi>" in figure
    assert isolated("plain (name), 12") == "plain (name), 12"


def test_pairs_that_are_all_zero_have_no_line_and_no_colour():
    flat = pairs(("a", "b"), (0.0,), (0.0,))
    assert "<line" not in drawn("network", flat)
    assert drawn("matrix", flat).count('class="none"') == 2
