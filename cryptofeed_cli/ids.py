"""Trade ids of one symbol: contiguous, or the holes by name; knows no trades and no clock.

OKX does not promise that ids are contiguous per symbol; every measurement known says they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

HOLES = 10_000
"""How many holes are kept for late arrivals; the oldest is forgotten first, so its gap must be in the ledger."""


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

    @property
    def missing(self) -> int:
        """How many ids are still missing."""
        return sum(last - first + 1 for first, last in self.ranges)

    def remove(self, first: int, last: int) -> int:
        """Take ids out; return how many of them were missing."""
        before = self.missing
        self.ranges = [
            part
            for low, high in self.ranges
            for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if part[0] <= part[1]
        ]
        return before - self.missing


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

    @property
    def is_full(self) -> bool:
        """Whether the next hole pushes out one that is in no ledger yet."""
        return len(self.holes) >= HOLES and self.holes[0].gap_id is None

    def arrive(self, first: int, last: int, timestamp: int | None, monotonic: int) -> Hole | None:
        """Take note that ids ``first..last`` came; return the hole they leave behind them, if any."""
        hole = None
        if self.next is not None and first > self.next:
            hole = Hole([(self.next, first - 1)], self.timestamp, timestamp, monotonic)
            self.holes.append(hole)
            del self.holes[:-HOLES]
        if self.next is None or last >= self.next:
            self.next = last + 1
            self.timestamp = timestamp
        return hole

    def reclaim(self, first: int, last: int) -> list[tuple[Hole, int]]:
        """Close holes with ids that came late; return each hole touched and how many ids it lost."""
        touched = [(hole, hole.remove(first, last)) for hole in self.holes]
        self.holes = [hole for hole in self.holes if hole.ranges]
        return [(hole, count) for hole, count in touched if count]


def ranges_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return numbers, in any order, as ranges ``(first, last)``, ascending and apart from each other."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
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
