"""What was recorded, in the order of every output: series merged, sources chosen; knows no database."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Any

import msgspec

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import KINDS, BookUpdate, Kind, Source

REAL: frozenset[Source] = frozenset({"live", "backfill"})


class Query(msgspec.Struct, frozen=True):
    """Which records are wanted. Raises `UsageError` where that contradicts itself."""

    kind: str
    """A name in `KINDS`."""
    symbols: tuple[str, ...] = ()
    """Empty: all. Kinds without symbols take no notice."""
    span: Span = Span()
    sources: frozenset[Source] = REAL
    """Kinds without sources take no notice."""
    limit: int | None = None
    """The first so many."""
    tail: int | None = None
    """The last so many, in ascending order all the same."""

    @property
    def what(self) -> Kind:
        """The kind itself."""
        return KINDS[self.kind]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown kind {self.kind!r} (kinds: {', '.join(KINDS)})")
        if self.limit is not None and self.tail is not None:
            raise UsageError("--limit and --tail exclude each other; give one of them")
        for name, value in (("--limit", self.limit), ("--tail", self.tail)):
            if value is not None and value < 0:
                raise UsageError(f"{name} {value} is negative; give the number of records wanted")


def run(store: Store, query: Query) -> Iterator[Any]:
    """Yield what a query asks for, ordered by time, symbol, trade id or sequence (numerically), then receipt.

    Book updates of one instant follow the chain of their sequences. Nothing is read beyond the limit, and nothing
    but a tail is held in memory.
    """
    if query.tail is None:
        return islice(_merged(store, query, descending=False), query.limit)
    return iter(list(islice(_merged(store, query, descending=True), query.tail))[::-1])


def count(store: Store, query: Query) -> int:
    """Count what `run` would yield."""
    most = query.limit if query.tail is None else query.tail
    if query.what.market and query.span == Span() and not 0 < len(query.sources & REAL) < len(REAL):
        found = sum(
            store.tally(query.what, series, simulated=simulated).count
            for simulated in _twins(query)
            for series in _series(store, query, simulated=simulated)
        )
        return found if most is None else min(found, most)
    return sum(1 for _ in islice(chain.from_iterable(_streams(store, query, descending=False)), most))


def _twins(query: Query) -> list[bool]:
    """Which of the two tables of a market kind are wanted."""
    return [simulated for simulated, sources in ((False, REAL), (True, {"simulated"})) if query.sources & sources]


def _series(store: Store, query: Query, *, simulated: bool) -> list[Series]:
    found = store.series(query.what, simulated=simulated)
    return [series for series in found if not query.symbols or series.symbol in query.symbols]


def _streams(store: Store, query: Query, *, descending: bool) -> list[Iterator[Any]]:
    """One stream for every series, real before simulated."""
    kind, span = query.what, query.span
    if not kind.market:
        records = store.scan(kind, span=span, descending=descending)
        named = "symbol" in kind.record.__struct_fields__ and query.symbols
        return [(record for record in records if record.symbol in query.symbols) if named else records]
    wanted = sorted(
        (series.symbol, series.exchange, simulated)
        for simulated in _twins(query)
        for series in _series(store, query, simulated=simulated)
    )
    return [
        _of_sources(
            store.scan(kind, Series(exchange, symbol), span=span, simulated=simulated, descending=descending), query
        )
        for symbol, exchange, simulated in wanted
    ]


def _of_sources(records: Iterator[Any], query: Query) -> Iterator[Any]:
    if query.sources >= REAL or not query.sources & REAL:
        return records
    return (record for record in records if record.source in query.sources)


def _merged(store: Store, query: Query, *, descending: bool) -> Iterator[Any]:
    streams = _streams(store, query, descending=descending)
    if query.what.record is BookUpdate:
        streams = [_chained(stream, descending=descending) for stream in streams]
    if len(streams) == 1:
        return streams[0]
    if descending:
        streams.reverse()  # what ties is taken in the order of the streams
    return heapq.merge(*streams, key=_place(query.what), reverse=descending)


def _place(kind: Kind) -> Callable[[Any], tuple[Any, ...]]:
    """Return what makes a record's place among the series."""
    if kind.record is BookUpdate:
        # Within an instant the chain says the order; numbers may fall.
        return lambda record: (_time(record.timestamp), record.symbol)
    first, *rest = kind.order
    if "trade_id" in rest:
        return lambda record: (_time(record.timestamp), record.symbol, int(record.trade_id), record.received_at)
    return lambda record: (
        _time(getattr(record, first)), record.symbol, *(getattr(record, name) for name in rest), record.received_at
    )  # fmt: skip


def _time(value: int | None) -> int:
    """Absent times come first."""
    return -1 if value is None else value


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
