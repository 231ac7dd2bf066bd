"""A recording as an exchange: its records become the frames of their time, for clients that come; opens no socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from cryptofeed_cli import queries
from cryptofeed_cli.exchanges.base import Desk, Exchange, Topic
from cryptofeed_cli.queries import Query
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.types import CHANNELS, KINDS, BookUpdate, Instrument

KINDS_SHOWN = ("trades", "tickers", "book_updates")
"""What an exchange sends; sampled order books are ours."""
_BY_SHAPE = {"SWAP": "SWAP", "C": "OPTION", "P": "OPTION"}


class RecordedStage:
    """Recorded time that passes, and the exchange that shows what happened in it."""

    step_ms = 10
    down = cut = False
    begun: Sequence[str] = ()

    def __init__(self, store: Store, wanted: Sequence[Query], exchange: Exchange) -> None:
        """``wanted`` is one query for each kind, of `KINDS_SHOWN`."""
        self._venue = exchange.venue(instruments(store, wanted, exchange))
        self._moments = moments(store, wanted)
        self._next = next(self._moments, None)
        self.now_ms = 0 if self._next is None else self._next[0] - self.step_ms
        self.shown = 0
        """How many records were shown so far."""

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self._next is None

    def advance(self) -> list[tuple[Topic, bytes]]:
        """Let one step pass; return the frames that clients receive, each with its topic."""
        self.now_ms += self.step_ms
        frames: list[tuple[Topic, bytes]] = []
        while self._next is not None and self._next[0] <= self.now_ms:
            happened = self._next[1]
            self.shown += len(happened)
            frames += self._venue.publish(happened)
            self._next = next(self._moments, None)
        return frames

    def desk(self, endpoint: str) -> Desk:
        """Open a connection."""
        return self._venue.desk(endpoint)

    def answer(self, target: str) -> tuple[int, bytes]:
        """Answer a REST request, by the clock of the recording."""
        return self._venue.answer(target, self.now_ms)


def frames(store: Store, wanted: Sequence[Query], exchange: Exchange) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the frames that a client subscribed to everything would receive, by their time in milliseconds."""
    known = instruments(store, wanted, exchange)
    venue = exchange.venue(known)
    wires = [exchange.capabilities.wires[query.kind] for query in wanted]
    for endpoint in {wire.endpoint for wire in wires}:
        topics = [Topic(wire.channel, one.symbol) for wire in wires if wire.endpoint == endpoint for one in known]
        desk = venue.desk(endpoint)
        for topic in topics:
            desk.receive(exchange.subscribe([topic], "1"))
    for time, happened in moments(store, wanted):
        yield time, [frame for _, frame in venue.publish(happened)]


def moments(store: Store, wanted: Sequence[Query]) -> Iterator[tuple[int, list[Any]]]:
    """Yield what has one time together, by time in milliseconds, kind by kind; of books what makes whole ones."""
    whole = Wholeness()
    ordered = sorted(wanted, key=lambda query: CHANNELS.index(query.kind))
    streams = [_stamped(store, one, place) for place, one in enumerate(ordered)]
    for time, group in groupby(merge(*streams, key=itemgetter(0, 1)), key=itemgetter(0)):
        admitted = [record for _, _, one in group if (record := whole.admit(one)) is not None]
        if admitted:
            yield time, admitted


class Wholeness:
    """Lets through what a client can make books of: after a break in the chain nothing, until there is a whole one."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        """The sequence of each book that is whole."""

    def admit(self, record: Any) -> Any | None:
        """Return a record as the exchange would send it; None: it would not."""
        if not isinstance(record, BookUpdate):
            return record
        last = self._last.get(record.symbol)
        if record.action == "update":
            if last is None or record.prev_sequence != last:
                self._last.pop(record.symbol, None)
                return None
            self._last[record.symbol] = record.sequence
            return record
        if record.sequence == last:  # a checkpoint, or what another recorder began with: the client has it
            return None
        self._last[record.symbol] = record.sequence
        return msgspec.structs.replace(record, action="snapshot", prev_sequence=None)


def instruments(store: Store, wanted: Iterable[Query], exchange: Exchange) -> list[Instrument]:
    """Return the latest version of every instrument that records are asked of; one by its name where none is stored."""
    kind = KINDS["instruments"]
    found: dict[str, Instrument] = {}
    for query in wanted:
        for simulated in queries.twins(query):
            for series in queries.chosen(store, query, simulated=simulated):
                if series.symbol not in found:
                    versions = store.scan(kind, series, simulated=simulated, descending=True)
                    found[series.symbol] = next(versions, None) or _nameless(exchange.name, series.symbol)
    return list(found.values())


def _nameless(exchange: str, symbol: str) -> Instrument:
    base, quote, *rest = (*symbol.split("-"), "")
    kind = _BY_SHAPE.get(rest[-2] if len(rest) > 1 else "", "SPOT" if len(rest) < 2 else "FUTURES")
    return Instrument(
        None, 0, exchange, symbol, "simulated", kind, base, quote, None, None, None, None, None, None, None, None, None,
        "live", "",
    )  # fmt: skip


def _stamped(store: Store, query: Query, place: int) -> Iterator[tuple[int, int, Any]]:
    return ((int(record.timestamp), place, record) for record in queries.run(store, query))
