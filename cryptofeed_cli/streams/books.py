"""The book of one symbol: updates in, samples, checkpoints and gaps out; knows no connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from cryptofeed_cli.book import Book
from cryptofeed_cli.chain import Chain, Link
from cryptofeed_cli.clock import Moment
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.types import BookUpdate, CountedLevel, Fault, Gap, GapKind, OrderBook

CHECKPOINT_MS = 300_000
"""A full book at least this often, so that any book costs minutes of data."""
BUFFERED = 1024
"""How many updates are kept while there is no book, to go on from a snapshot out of REST; the oldest goes first."""


class Sampling(msgspec.Struct, frozen=True):
    """How `orderbooks` are taken from a book."""

    depth: int = 25
    interval_ms: int = 1000
    """Zero: at every change."""
    group: str | None = None


class BookStream:
    """The book of one symbol: published while its chain holds, and at no other time."""

    def __init__(
        self,
        symbol: str,
        channels: tuple[str, ...],
        ledger: Ledger,
        emit: Callable[[Any], object],
        grace: int,
        sampling: Sampling,
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
        self._buffer: deque[BookUpdate] = deque(maxlen=BUFFERED)
        self.last: BookUpdate | None = None
        self.heard = 0
        """Monotonic time of the last update or heartbeat."""
        self.duplicates = 0
        self.swallowed = 0
        """Updates that came while the chain was broken."""

    @property
    def valid(self) -> bool:
        """Whether the book is right at this moment."""
        return self._chain.last is not None

    def levels(self) -> tuple[list[CountedLevel], list[CountedLevel]]:
        """Return bids and asks as they were last known, best first: right while `valid`, else what was before."""
        return self._book.levels()

    def resume(self, times: Mapping[str, int], outages: Mapping[str, Gap], now: Moment) -> None:
        """Go on where an earlier run ended: at the last times stored, or in outages that it recorded, by channel."""
        for channel in self._channels:
            outage = outages.get(channel)
            if outage is not None:
                self._ledger.adopt(outage)
                self._gaps.append(outage.gap_id)
            elif channel in times:
                self._gaps.append(
                    self._ledger.open(
                        "downtime", self._symbol, channel, fault="us", reason="no recorder was running", at=now.at,
                        start=times[channel],
                    )
                )  # fmt: skip

    def take(self, updates: list[BookUpdate], now: Moment, carrier: int = 0) -> None:
        """Follow the chain; publish what is due. ``carrier`` is the subscription that brought the updates."""
        self.heard = now.monotonic
        for update in updates:
            self._judge(update, now, carrier)
            while self._chain.held_since is not None and (held := self._chain.next_held()) is not None:
                self._judge(held, now, carrier)

    def splice(self, snapshot: BookUpdate, now: Moment) -> bool:
        """Go on from a snapshot out of REST and the updates that came meanwhile; return False if it is too old."""
        later = [update for update in self._buffer if update.sequence > snapshot.sequence]
        if self.valid or (later and (later[0].prev_sequence or 0) > snapshot.sequence):
            return self.valid
        self._chain.splice(snapshot)
        self._start(snapshot, now)
        self.take(later, now)
        return True

    def _judge(self, update: BookUpdate, now: Moment, carrier: int) -> None:
        match self._chain.judge(update, carrier):
            case Link.FOLLOWS | Link.RESET:
                self._accept(update)
            case Link.HEARTBEAT:
                self._pass(update.timestamp)
            case Link.SNAPSHOT:
                self._start(update, now)
            case Link.EARLY:
                if not self._chain.hold(update, now.monotonic):
                    self._record_break(self._chain.break_off(), now)
            case Link.DUPLICATE | Link.AHEAD:
                self.duplicates += 1
            case Link.USELESS:
                self.swallowed += 1
                self._buffer.append(update)
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
        self._buffer.clear()
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
        self._buffer.clear()
        if self.last is not None:
            self._lose(kind, fault, reason, now, self.last.timestamp)

    def check(self, now: Moment, *, final: bool = False) -> bool:
        """Break the chain if an update waited too long for what it follows; return whether a snapshot is needed."""
        since = self._chain.held_since
        if since is not None and (final or now.monotonic - since >= self._grace):
            self._record_break(self._chain.break_off(), now)
        return not self.valid
