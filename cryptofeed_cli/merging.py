"""Pages of several series made into one order; asks no store and chooses nothing.

The order is that of every output: time, symbol, trade id or sequence by number, then receipt. Book updates of one
instant follow the chain of their sequences.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from operator import attrgetter, itemgetter
from typing import Any, cast

from cryptofeed_cli.stores.base import Page, page_of, records_of
from cryptofeed_cli.types import BookUpdate, Kind

CHAINED = 128
"""Book updates in a page; a full book holds 1600 strings."""


def merge(kind: Kind, streams: Sequence[Iterator[Page]], *, distinct: bool, descending: bool) -> Iterator[Page]:
    """Yield the pages of streams, each of them in order, as pages in one order; hold hardly more than a page of each.

    What ties comes in the order of the streams. ``distinct``: they have one symbol each, and stand in its order, so
    that nothing but times needs comparing.
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    place = kind.record.__struct_fields__.index(kind.order[0])
    runs = [_Run(stream, place, descending=descending) for stream in (streams[::-1] if descending else streams)]
    while runs := [run for run in runs if run.has_more()]:
        if len(runs) == 1:
            yield from runs[0].rest()
            return
        bound = min((run.follows for run in runs if run.follows is not None), default=None)
        parts = [part for run in runs if (part := run.take_before(bound)) is not None]
        if len(parts) == 1:
            yield parts[0][1]
        elif parts:
            yield _sorted(kind, parts, distinct=distinct, descending=descending)
        else:  # pages end within one instant
            for run in runs:
                if run.follows == bound:
                    run.read_on()


def chained(pages: Iterable[Page], kind: Kind, *, descending: bool) -> Iterator[Page]:
    """Put the book updates of each instant into the order of their chain."""
    updates = _chained(records_of(kind, pages), descending=descending)
    while batch := list(islice(updates, CHAINED)):
        yield page_of(kind, batch)


class _Run:
    """What was read of one stream and not yet taken: a page, and the one after it. Times ascend in any direction."""

    def __init__(self, stream: Iterator[Page], place: int, *, descending: bool) -> None:
        self._stream = stream
        self._place = place
        self._descending = descending
        self._page: Page = []
        self._times: Sequence[int] = ()
        self._begin = 0
        self._next = next(stream, None)

    @property
    def follows(self) -> int | None:
        """The time of the first record that is not to be had yet; None: there is none."""
        return None if self._next is None else self._signed([self._next[self._place][0]])[0]

    def has_more(self) -> bool:
        """Tell whether there is anything left, reading on where nothing is."""
        if self._begin == len(self._times):
            self.read_on()
        return self._begin < len(self._times)

    def read_on(self) -> None:
        """Add a page to what is left."""
        page = self._next
        if page is None:
            return
        times = self._signed(page[self._place])
        if self._begin < len(self._times):
            times = [*self._times[self._begin :], *times]
            page = [[*old[self._begin :], *new] for old, new in zip(self._page, page, strict=True)]
        self._page, self._times, self._begin = page, times, 0
        self._next = next(self._stream, None)

    def take_before(self, bound: int | None) -> tuple[Sequence[int], Page] | None:
        """Take what is before ``bound``, None: all of it; return None where there is nothing."""
        begin = self._begin
        end = len(self._times) if bound is None else bisect_left(self._times, bound, begin)
        if begin == end:
            return None
        self._begin = end
        if begin == 0 and end == len(self._times):
            return self._times, self._page
        return self._times[begin:end], [column[begin:end] for column in self._page]

    def rest(self) -> Iterator[Page]:
        """Take everything to the end of the stream."""
        left = self.take_before(None)
        if left is not None:
            yield left[1]
        if self._next is not None:
            yield self._next
        yield from self._stream

    def _signed(self, times: Sequence[int | None]) -> Sequence[int]:
        known = [-1 if time is None else time for time in times] if None in times else cast("Sequence[int]", times)
        return [-time for time in known] if self._descending else known


def _sorted(kind: Kind, parts: list[tuple[Sequence[int], Page]], *, distinct: bool, descending: bool) -> Page:
    columns = zip(*(part for _, part in parts), strict=True)
    page: Page = [list(chain.from_iterable(column)) for column in columns]
    if distinct:
        times = list(chain.from_iterable(times for times, _ in parts))
        order = sorted(range(len(times)), key=times.__getitem__)
    else:
        places = _places(kind, page)
        order = sorted(range(len(places)), key=places.__getitem__, reverse=descending)
    return [itemgetter(*order)(column) for column in page]


def _places(kind: Kind, page: Page) -> list[tuple[Any, ...]]:
    """Return what makes each record's place among the series."""
    columns = dict(zip(kind.record.__struct_fields__, page, strict=True))
    first, *rest = kind.order
    times = [-1 if time is None else time for time in columns[first]]
    if kind.record is BookUpdate:
        # In an instant the chain says the order; numbers may fall.
        return list(zip(times, columns["symbol"], strict=True))
    numbers = [list(map(int, columns[name])) for name in rest]
    receipts = columns.get("received_at", times)
    return list(zip(times, columns["symbol"], *numbers, receipts, strict=True))


def _chained(updates: Iterator[BookUpdate], *, descending: bool) -> Iterator[BookUpdate]:
    """Put the updates of each instant into the order of their chain."""
    for _, instant in groupby(updates, key=attrgetter("timestamp")):
        group = list(instant)
        if len(group) > 1:
            group = _in_chain(group[::-1])[::-1] if descending else _in_chain(group)
        yield from group


def _in_chain(instant: list[BookUpdate]) -> list[BookUpdate]:
    """Order the updates of one instant, given by sequence: each one behind the one whose sequence it follows.

    That is a walk over sequences which takes every update once (Hierholzer's): a reset may lead to a sequence that was
    passed before. A whole book (snapshot, checkpoint) leads from its sequence to itself and is taken as soon as that is
    reached. Chains that do not touch keep the order given.
    """
    leaving: defaultdict[_Node, list[BookUpdate]] = defaultdict(list)
    surplus: Counter[_Node] = Counter()
    taken_first = sorted(instant, key=lambda update: (update.prev_sequence is not None, update.action != "snapshot"))
    for update in taken_first[::-1]:  # a walk takes the last one
        leaving[_before(update)].append(update)
        surplus[_before(update)] += 1
        surplus[_after(update)] -= 1
    begin = [_before(update) for update in instant if surplus[_before(update)] > 0]
    circles = [_before(update) for update in sorted(instant, key=attrgetter("received_at"))]
    return [update for node in begin + circles for update in _walk(node, leaving)]


_Node = tuple[str | None, int | None, int]
"""A sequence means something within one run of one source only."""


def _before(update: BookUpdate) -> _Node:
    sequence = update.sequence if update.prev_sequence is None else update.prev_sequence
    return update.run_id, update.episode, sequence


def _after(update: BookUpdate) -> _Node:
    return update.run_id, update.episode, update.sequence


def _walk(begin: _Node, leaving: dict[_Node, list[BookUpdate]]) -> list[BookUpdate]:
    """Take all updates that can be reached, out of ``leaving``."""
    path: list[BookUpdate] = []
    backwards = []
    while True:
        onwards = leaving[_after(path[-1]) if path else begin]
        if onwards:
            path.append(onwards.pop())
        elif path:
            backwards.append(path.pop())
        else:
            return backwards[::-1]
