"""Down-sampling keeps every extreme and every sum, in bounded memory."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.dashboard.trace import RECENT, Recent, Trace, Whole

POSITIONED = st.lists(st.tuples(st.integers(0, 5000), st.integers(-1000, 1000)), min_size=1, max_size=300)


@given(POSITIONED)
def test_no_number_is_lost_by_growing_coarser(numbers: list[tuple[int, int]]):
    whole = Whole(capacity=16)
    for position, number in numbers:
        whole.add(position, float(number))
    points = whole.points()
    expected: dict[int, list[int]] = {}
    for position, number in numbers:
        expected.setdefault(position // whole.width, []).append(number)
    assert len(points.x) <= 16
    assert points.x == tuple(whole.width * (bucket + 0.5) - 0.5 for bucket in sorted(expected))
    groups = [expected[bucket] for bucket in sorted(expected)]
    assert points.count == tuple(map(len, groups))
    assert points.mean == pytest.approx([sum(group) / len(group) for group in groups])
    assert points.lowest == tuple(map(min, groups))
    assert points.highest == tuple(map(max, groups))


def test_a_bucket_is_as_narrow_as_the_capacity_allows():
    whole = Whole(capacity=4)
    for position, width in [(3, 1), (4, 2), (7, 2), (8, 4), (1000, 256)]:
        whole.add(position, 0.0)
        assert whole.width == width


def test_a_position_far_away_takes_no_memory():
    whole, recent = Whole(capacity=256), Recent()
    for position in (0, 10**30):
        whole.add(position, 1.0)
        recent.add(position, 1.0)
    assert len(whole.cells) <= 256 * 4
    assert len(recent.cells) <= 1.5 * RECENT * 4


@pytest.mark.parametrize("last", [1, 99, 100, 149, 150, 151, 201, 12345])
def test_the_latest_part_is_the_latest_positions_as_they_came(last: int):
    recent = Recent()
    for position in range(last + 1):
        recent.add(position, float(position))
        recent.add(position, float(position) + 1)
    points = recent.points()
    assert points.x == tuple(map(float, range(max(0, last + 1 - RECENT), last + 1)))
    assert points.mean == tuple(x + 0.5 for x in points.x)
    assert points.count == (2,) * len(points.x)
    assert len(recent.cells) <= 1.5 * RECENT * 4


@pytest.mark.parametrize("last", [1, 7, 8, 9, 99, 100, 149, 150, 12345])
@pytest.mark.parametrize("capacity", [8, 256])
def test_the_latest_part_of_a_trace_is_the_same_whatever_its_capacity(last: int, capacity: int):
    trace, recent = Trace(capacity), Recent()
    for position in range(last + 1):
        trace.add(position, float(position))
        recent.add(position, float(position))
    assert trace.latest() == recent.points()


def test_a_number_older_than_the_latest_part_is_left_out():
    recent = Recent()
    recent.add(1000, 1.0)
    recent.add(5, 2.0)
    assert recent.points().mean == (1.0,)


def test_positions_without_numbers_are_gaps():
    trace = Trace(8)
    trace.add(1, 1.0)
    trace.add(4, 2.0)
    assert trace.whole.points().x == trace.latest().x == (1.0, 4.0)


@given(POSITIONED)
def test_a_trace_comes_back_from_json_and_goes_on_alike(numbers: list[tuple[int, int]]):
    trace = Trace(16)
    for position, number in numbers:
        trace.add(position, float(number))
    again = Trace.from_plain(json.loads(json.dumps(trace.to_plain())))
    for each in (trace, again):
        each.add(6000, math.pi)
    assert again.whole.points() == trace.whole.points()
    assert again.latest() == trace.latest()
