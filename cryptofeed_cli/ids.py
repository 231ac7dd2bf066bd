"""Trade ids of one symbol: contiguous, or the holes by name; knows no trades and no clock.

OKX does not promise that ids are contiguous per symbol; every measurement known says they are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

HOLES = 10_000
"""How many holes are kept for late arrivals; the lowest is forgotten first, so its gap must be in the ledger."""


class Hole(msgspec.Struct):
    """Ids that were passed over. ``ranges`` are those still missing, each ``(first, last)``, ascending."""

    ranges: list[tuple[int, int]]
    start: int | None
    """Exchange time of the last record before it."""
    end: int | None
    """Exchange time of the first record after it."""
    noticed: int
    """Monotonic time."""
    gap_id: str | None = None
    """Its gap in the ledger; None: not recorded yet, it may still close."""
    late: bool = False
    """Too old to be filled by a recorder."""

    first: int = 0
    """The lowest id that it had at the beginning: its place among other holes."""
    reach: int = 0
    """The highest id that it, or any hole placed below it, had at the beginning."""

    @property
    def missing(self) -> int:
        """How many ids are still missing."""
        return _count(self.ranges)

    def remove(self, first: int, last: int) -> int:
        """Take ids out; return how many of them were missing."""
        start = bisect_left(self.ranges, first, key=_last_of)
        stop = bisect_right(self.ranges, last, key=_first_of)
        touched = self.ranges[start:stop]
        left = [
            part
            for low, high in touched
            for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if part[0] <= part[1]
        ]
        self.ranges[start:stop] = left
        return _count(touched) - _count(left)


class Unnamed(NamedTuple):
    """Ids that are missing between two stored trades, and that no gap names; none if ``last`` is before ``first``."""

    first: int
    last: int
    start: int | None
    """Exchange time of the trade before them."""
    end: int | None
    """Exchange time of the trade after them."""
    unattended: bool = False
    """No recorder was running between the two."""


class TradeIds:
    """Follows the ids of one symbol."""

    __slots__ = ("holes", "next", "timestamp")

    def __init__(self) -> None:
        self.next: int | None = None
        """The id expected next; None: none came yet."""
        self.timestamp: int | None = None
        """Exchange time of the highest id so far."""
        self.holes: list[Hole] = []
        """By their place; new ones come in by `add`."""

    @property
    def is_full(self) -> bool:
        """Whether the next hole pushes out one that is in no ledger yet."""
        return len(self.holes) >= HOLES and self.holes[0].gap_id is None

    def arrive(self, first: int, last: int, timestamp: int | None, monotonic: int) -> Hole | None:
        """Take note that ids ``first..last`` came; return the hole they leave behind them, if any."""
        hole = None
        if self.next is not None and first > self.next:
            hole = Hole([(self.next, first - 1)], self.timestamp, timestamp, monotonic)
            self.add(hole)
        if self.next is None or last >= self.next:
            self.next = last + 1
            self.timestamp = timestamp
        return hole

    def add(self, hole: Hole) -> None:
        """Keep a hole, whose ranges are not empty, for late arrivals."""
        if len(self.holes) >= HOLES:
            del self.holes[0]
        hole.first, hole.reach = hole.ranges[0][0], hole.ranges[-1][1]
        place = bisect_right(self.holes, hole.first, key=_place)
        if place:
            hole.reach = max(hole.reach, self.holes[place - 1].reach)
        self.holes.insert(place, hole)
        for other in self.holes[place + 1 :]:
            if other.reach >= hole.reach:
                break
            other.reach = hole.reach

    def misses(self, first: int, last: int) -> bool:
        """Tell whether any of the ids ``first..last`` is in a hole."""
        return any(
            low <= last and first <= high
            for place in self._near(first, last)
            for low, high in self.holes[place].ranges
        )

    def reclaim(self, first: int, last: int) -> list[tuple[Hole, int]]:
        """Close holes with ids that came late; return each hole touched and how many ids it lost."""
        touched = []
        for place in self._near(first, last):
            hole = self.holes[place]
            count = hole.remove(first, last)
            if count:
                touched.append((hole, count))
            if not hole.ranges:
                del self.holes[place]
        return touched[::-1]

    def _near(self, first: int, last: int) -> Iterator[int]:
        """Yield where the holes are that may hold one of the ids ``first..last``, from above."""
        place = bisect_right(self.holes, last, key=_place)
        while place and self.holes[place - 1].reach >= first:
            place -= 1
            yield place


def ranges_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return numbers, in any order, as ranges ``(first, last)``, ascending and apart from each other."""
    return joined((number, number) for number in numbers)


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges, in any order, as the fewest that hold the same numbers, ascending."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def outside(ranges: Iterable[tuple[int, int]], others: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what of ``ranges`` is in none of ``others``; both begin ascending."""
    for low, high in ranges:
        for first, last in others:
            if low <= last and first <= high:
                if low < first:
                    yield low, first - 1
                low = last + 1
        if low <= high:
            yield low, high


def missing_ranges(first: int, last: int, held: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of ``first..last`` that ``held`` (ascending) leaves out."""
    for number in held:
        if number > first:
            yield first, number - 1
        first = number + 1
    if first <= last:
        yield first, last


def _count(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _place(hole: Hole) -> int:
    return hole.first


def _first_of(one: tuple[int, int]) -> int:
    return one[0]


def _last_of(one: tuple[int, int]) -> int:
    return one[1]
