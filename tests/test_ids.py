"""Trade ids against a model: the set of every id that came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.ids import HOLES, Hole, TradeIds, outside, ranges_of


def missing(ids: TradeIds) -> set[int]:
    return {number for hole in ids.holes for first, last in hole.ranges for number in range(first, last + 1)}


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), min_size=1))
def test_what_is_missing_is_what_did_not_come_above_the_first(arrivals: list[tuple[int, int]]) -> None:
    ids, came = TradeIds(), set[int]()
    for first, more in arrivals:
        known = ids.next
        ids.arrive(first, first + more, None, 0)
        if known is not None:
            ids.reclaim(first, first + more)
        came.update(range(first, first + more + 1))
    assert ids.next == max(came) + 1
    assert missing(ids) == set(range(arrivals[0][0], ids.next)) - came
    assert all(hole.ranges for hole in ids.holes)


@given(st.sets(st.integers(0, 30)), st.integers(0, 30), st.integers(0, 10))
def test_a_hole_loses_what_comes_and_nothing_else(gone: set[int], first: int, more: int) -> None:
    hole = Hole([(0, 30)], None, None, 0)
    for number in gone:
        hole.remove(number, number)
    left = set(range(31)) - gone
    taken = left & set(range(first, first + more + 1))
    assert hole.remove(first, first + more) == len(taken)
    assert {number for low, high in hole.ranges for number in range(low, high + 1)} == left - taken
    assert hole.missing == len(left - taken)
    assert hole.ranges == sorted(hole.ranges)


def test_a_hole_lies_between_the_times_of_its_neighbours() -> None:
    ids = TradeIds()
    ids.arrive(5, 5, 1000, 7)
    assert ids.arrive(8, 9, 2000, 8) == Hole([(6, 7)], 1000, 2000, 8, first=6, reach=7)


def test_the_first_arrival_leaves_no_hole() -> None:
    assert TradeIds().arrive(5, 5, 1000, 7) is None


def test_a_late_arrival_does_not_move_the_clock_back() -> None:
    ids = TradeIds()
    ids.arrive(5, 5, 2000, 7)
    ids.arrive(3, 3, 1000, 8)
    assert (ids.next, ids.timestamp) == (6, 2000)


def test_each_hole_that_a_late_range_touches_is_told_with_its_loss() -> None:
    ids = TradeIds()
    for number in (0, 3, 6):
        ids.arrive(number, number, None, 0)
    low, high = ids.holes
    assert ids.reclaim(2, 4) == [(low, 1), (high, 1)]
    assert ids.reclaim(2, 4) == []


def test_holes_are_bounded_and_none_is_forgotten_unrecorded() -> None:
    ids = TradeIds()
    for number in range(0, 2 * HOLES, 2):
        assert not ids.is_full
        ids.arrive(number, number, None, 0)
    ids.arrive(2 * HOLES, 2 * HOLES, None, 0)
    assert ids.is_full
    ids.holes[0].gap_id = "recorded"
    assert not ids.is_full
    ids.arrive(2 * HOLES + 2, 2 * HOLES + 2, None, 0)
    assert len(ids.holes) == HOLES
    assert ids.holes[0].gap_id is None


_spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)))


@given(_spans, _spans)
def test_what_is_outside_is_in_the_one_and_in_none_of_the_others(
    some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    ranges = ranges_of(number for low, size in some for number in range(low, low + size))
    excluded = sorted((low, low + size) for low, size in others)

    left = [number for low, high in outside(ranges, excluded) for number in range(low, high + 1)]

    inside = {number for low, high in excluded for number in range(low, high + 1)}
    assert left == sorted({number for low, size in some for number in range(low, low + size)} - inside)


class Counted(list[Any]):
    """A list that counts how many of its members are looked at."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        Counted.looks += 1
        return super().__getitem__(place)

    def __iter__(self) -> Iterator[Any]:
        for member in super().__iter__():
            Counted.looks += 1
            yield member


def test_a_late_id_looks_at_few_of_many_holes() -> None:
    ids = TradeIds()
    for number in range(0, 2 * HOLES, 2):
        ids.arrive(number, number, None, 0)
    ids.holes, Counted.looks = Counted(ids.holes), 0

    assert ids.reclaim(HOLES, HOLES) == []
    assert [count for _, count in ids.reclaim(HOLES + 1, HOLES + 1)] == [1]
    assert not ids.misses(HOLES, HOLES + 1)
    assert Counted.looks < 100


def test_one_id_of_a_hole_in_many_pieces_looks_at_few_of_them() -> None:
    hole = Hole(Counted((number, number) for number in range(0, 20_000, 2)), None, None, 0)
    Counted.looks = 0

    assert (hole.remove(10_001, 10_001), hole.remove(10_002, 10_002)) == (0, 1)
    assert Counted.looks < 100


spans = st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(spans, min_size=1, max_size=8), st.lists(spans, max_size=8))
def test_holes_may_overlap_and_come_in_any_order(holes: list[tuple[int, int]], came: list[tuple[int, int]]) -> None:
    ids = TradeIds()
    for span in holes:
        ids.add(Hole([span], None, None, 0))
    left = [set(range(first, last + 1)) for first, last in holes]
    for first, last in came:
        gone = set(range(first, last + 1))
        assert ids.misses(first, last) == any(numbers & gone for numbers in left)
        assert sum(count for _, count in ids.reclaim(first, last)) == sum(len(numbers & gone) for numbers in left)
        left = [numbers - gone for numbers in left]
    assert missing(ids) == set().union(*left)
    assert len(ids.holes) == sum(bool(numbers) for numbers in left)
