"""What is known of each symbol's trades, tickers and book: messages in, records and gaps out; knows no connection.

A stream survives its connections. While none of them carries it there is an outage, which is one gap with one cause.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from cryptofeed_cli.book import Book
from cryptofeed_cli.chain import Chain, Link
from cryptofeed_cli.clock import Moment
from cryptofeed_cli.exchanges.base import Fold
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.ids import Hole, TradeIds
from cryptofeed_cli.types import BookUpdate, Fault, GapKind, OrderBook, Ticker, Trade

Emit = Callable[[Any], object]

CHECKPOINT_MS = 300_000
"""A full book at least this often, so that any book costs minutes of data."""


class Sampling(msgspec.Struct, frozen=True):
    """How `orderbooks` are taken from a book."""

    depth: int = 25
    interval_ms: int = 1000
    """Zero: at every change."""
    group: str | None = None


class TickerStream:
    """Tickers of one symbol. Conflated by the exchange: an outage loses some, and nobody can say how many."""

    def __init__(self, symbol: str, ledger: Ledger, emit: Emit) -> None:
        self._symbol, self._ledger, self._emit = symbol, ledger, emit
        self._outage: str | None = None
        self.last: Ticker | None = None

    def take(self, tickers: list[Ticker], now: Moment) -> None:
        """Pass tickers on."""
        for ticker in tickers:
            if self._outage is not None:
                self._ledger.amend(self._outage, now.at, end=ticker.timestamp, status="unrecoverable")
                self._ledger.finish(self._outage)
                self._outage = None
            self.last = ticker
            self._emit(ticker)

    def interrupt(self, kind: GapKind, fault: Fault, reason: str, now: Moment) -> None:
        """Note that nothing carries this stream any more."""
        if self._outage is None and self.last is not None:
            self._outage = self._ledger.open(
                kind, self._symbol, "tickers", fault=fault, reason=reason, at=now.at, start=self.last.timestamp
            )


class TradeStream:
    """Trades of one symbol: every id, or a gap that names it."""

    def __init__(self, symbol: str, ledger: Ledger, emit: Emit, grace: int) -> None:
        self._symbol, self._ledger, self._emit, self._grace = symbol, ledger, emit, grace
        self._ids = TradeIds()
        self._outage: str | None = None
        self.last: Trade | None = None
        self.duplicates = 0

    def take(self, trades: list[Trade], now: Moment) -> None:
        """Check the continuity of single fills and pass them on, duplicates too: the store knows them for sure."""
        ids, emit = self._ids, self._emit
        for trade in trades:
            number = int(trade.trade_id)
            if number == ids.next and self._outage is None:
                ids.next = number + 1
                ids.timestamp = trade.timestamp
            else:
                self._account(number, number, trade.timestamp, now)
            emit(trade)
        if trades:
            self.last = trades[-1]

    def witness(self, folds: list[Fold], now: Moment) -> None:
        """Check continuity by aggregated trades. Where fills come too, a fold only tells that its last id exists."""
        for fold in folds:
            if self.last is None:
                self._account(fold.first_id, fold.last_id, fold.timestamp, now)
            elif self._outage is None and self._ids.next is not None and fold.last_id >= self._ids.next:
                self._ids.arrive(fold.last_id + 1, fold.last_id, fold.timestamp, now.monotonic)

    def _account(self, first: int, last: int, timestamp: int | None, now: Moment) -> None:
        known = self._ids.next
        if self._ids.is_full:
            self.check(now, final=True)
        hole = self._ids.arrive(first, last, timestamp, now.monotonic)
        if known is not None and first < known:
            self._arrived_late(first, min(last, known - 1), now)
        if self._outage is not None and (known is None or last >= known - 1):
            self._end_outage(self._outage, hole, timestamp, now)

    def _arrived_late(self, first: int, last: int, now: Moment) -> None:
        reclaimed = self._ids.reclaim(first, last)
        self.duplicates += (last - first + 1) - sum(count for _, count in reclaimed)
        for hole, count in reclaimed:
            if hole.gap_id is not None:
                self._ledger.fill(hole.gap_id, now.at, count)

    def _end_outage(self, outage: str, hole: Hole | None, timestamp: int | None, now: Moment) -> None:
        """Trades are back: the outage covers what was missed between the last one before and the first one after."""
        self._outage = None
        if hole is None:
            self._ledger.amend(outage, now.at, end=timestamp, missing=0, status="filled")
            self._ledger.finish(outage)
            return
        hole.gap_id = outage
        (first, last), *_ = hole.ranges
        self._ledger.amend(
            outage, now.at, end=timestamp, first_missing=str(first), last_missing=str(last), missing=hole.missing
        )

    def interrupt(self, kind: GapKind, fault: Fault, reason: str, now: Moment) -> None:
        """Note that nothing carries this stream any more."""
        if self._outage is None and self._ids.next is not None:
            self.check(now, final=True)  # holes from before have their own cause
            self._outage = self._ledger.open(
                kind, self._symbol, "trades", fault=fault, reason=reason, at=now.at, start=self._ids.timestamp
            )

    def check(self, now: Moment, *, final: bool = False) -> None:
        """Record the holes that stayed open for longer than the grace, or all of them when nothing will follow."""
        for hole in self._ids.holes:
            if hole.gap_id is None and (final or now.monotonic - hole.noticed >= self._grace):
                hole.gap_id = self._ledger.open(
                    "trade_ids", self._symbol, "trades", fault="venue", at=now.at,
                    reason="trade ids were passed over on an open connection",
                    start=hole.start, end=hole.end, missing=hole.missing,
                    first_missing=str(hole.ranges[0][0]), last_missing=str(hole.ranges[-1][1]),
                )  # fmt: skip


class BookStream:
    """The book of one symbol: published while its chain holds, and at no other time."""

    def __init__(
        self, symbol: str, channels: tuple[str, ...], ledger: Ledger, emit: Emit, grace: int, sampling: Sampling
    ) -> None:
        self._symbol, self._channels, self._ledger, self._emit = symbol, channels, ledger, emit
        self._grace, self._sampling = grace, sampling
        self._group = None if sampling.group is None else Decimal(sampling.group)
        self._sampled = "orderbooks" in channels
        self._recorded = "book_updates" in channels
        self._book = Book()
        self._chain = Chain()
        self._gaps: list[str] = []
        self._time: int | None = None
        """Exchange time, as far as it was told."""
        self._unsampled = False
        """The book changed since the last sample."""
        self._unsaved = False
        """The book changed since the last snapshot or checkpoint."""
        self.last: BookUpdate | None = None
        self.duplicates = 0
        self.swallowed = 0
        """Updates that came while the chain was broken."""

    @property
    def valid(self) -> bool:
        """Whether the book is right at this moment."""
        return self._chain.last is not None

    def take(self, updates: list[BookUpdate], now: Moment) -> None:
        """Follow the chain; publish what is due."""
        for update in updates:
            self._judge(update, now)
            while self._chain.held_since is not None and (held := self._chain.next_held()) is not None:
                self._judge(held, now)

    def _judge(self, update: BookUpdate, now: Moment) -> None:
        match self._chain.judge(update):
            case Link.FOLLOWS | Link.RESET:
                self._accept(update)
            case Link.HEARTBEAT:
                self._pass(update.timestamp)
            case Link.SNAPSHOT:
                self._start(update, now)
            case Link.EARLY:
                if not self._chain.hold(update, now.monotonic):
                    self._record_break(self._chain.break_off(), now)
            case Link.DUPLICATE:
                self.duplicates += 1
            case Link.USELESS:
                self.swallowed += 1
                if self.last is None:
                    self._lose("sequence", "venue", "no snapshot came before the updates", now, update.timestamp)

    def _accept(self, update: BookUpdate) -> None:
        self._pass(update.timestamp)
        changed = self._book.apply(update.bids, update.asks)
        self.last = update
        self._unsampled |= changed
        self._unsaved |= changed
        if self._recorded:
            self._emit(update)
        if changed and self._sampled and not self._sampling.interval_ms:
            self._sample()

    def _start(self, snapshot: BookUpdate, now: Moment) -> None:
        self._record_break(self._chain.let_go(), now)
        for gap in self._gaps:
            self._ledger.amend(gap, now.at, end=snapshot.timestamp, status="unrecoverable")
            self._ledger.finish(gap)
        self._gaps.clear()
        self._pass(snapshot.timestamp)
        self._book.replace(snapshot.bids, snapshot.asks)
        self.last = snapshot
        self._unsampled, self._unsaved = True, False
        if self._recorded:
            self._emit(snapshot)
        if self._sampled and not self._sampling.interval_ms:
            self._sample()

    def _pass(self, timestamp: int | None) -> None:
        """The exchange's time has come to ``timestamp``: publish what its passing makes due."""
        if timestamp is None:
            return
        last, self._time = self._time, timestamp
        if last is None:
            return
        interval = self._sampling.interval_ms
        if self._unsampled and self._sampled and interval and timestamp // interval > last // interval:
            self._sample()
        if self._unsaved and self._recorded and timestamp // CHECKPOINT_MS > last // CHECKPOINT_MS:
            self.save()

    def _sample(self) -> None:
        last, sampling = self.last, self._sampling
        if last is None:
            return
        self._unsampled = False
        bids, asks = self._book.best(sampling.depth, self._group)
        self._emit(
            OrderBook(
                last.timestamp, last.received_at, last.exchange, last.symbol, last.source,
                last.sequence, sampling.depth, sampling.group, bids, asks,
            )
        )  # fmt: skip

    def save(self) -> None:
        """Emit a checkpoint if the book is right, recorded, and changed since the last full one."""
        last = self.last
        if last is None or not (self.valid and self._unsaved and self._recorded):
            return
        self._unsaved = False
        bids, asks = self._book.levels()
        self._emit(msgspec.structs.replace(last, action="checkpoint", prev_sequence=None, bids=bids, asks=asks))

    def _record_break(self, early: BookUpdate | None, now: Moment) -> None:
        """Record what is missing between the last update and one that waited for it in vain."""
        if early is None or self.last is None:
            return
        found = None if early.prev_sequence is None else str(early.prev_sequence)
        self._lose(
            "sequence", "venue", "the sequence chain broke on an open connection", now,
            self.last.timestamp, first=str(self.last.sequence), last=found,
        )  # fmt: skip

    def _lose(
        self, kind: GapKind, fault: Fault, reason: str, now: Moment, start: int | None,
        *, first: str | None = None, last: str | None = None,
    ) -> None:  # fmt: skip
        self._unsampled = self._unsaved = False
        if self._gaps:
            return  # the book was lost already, and for an earlier cause
        self._gaps = [
            self._ledger.open(
                kind, self._symbol, channel, fault=fault, reason=reason, at=now.at,
                start=start, first_missing=first, last_missing=last,
            )
            for channel in self._channels
        ]  # fmt: skip

    def interrupt(self, kind: GapKind, fault: Fault, reason: str, now: Moment) -> None:
        """Note that nothing carries this stream any more: the book is lost until the next snapshot."""
        self.check(now, final=True)
        self.save()
        self._chain.break_off()
        if self.last is not None:
            self._lose(kind, fault, reason, now, self.last.timestamp)

    def check(self, now: Moment, *, final: bool = False) -> bool:
        """Break the chain if an update waited too long for what it follows; return whether a snapshot is needed."""
        since = self._chain.held_since
        if since is not None and (final or now.monotonic - since >= self._grace):
            self._record_break(self._chain.break_off(), now)
        return not self.valid
