"""The book of one symbol: updates in, samples, checkpoints and gaps out; knows no connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec

from cryptofeed_cli.book import Book
from cryptofeed_cli.chain import Chain, Link
from cryptofeed_cli.clock import Moment
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.types import KIND_OF, BookUpdate, CountedLevel, Fault, Gap, GapKind, OrderBook

CHECKPOINT_MS = 300_000
"""A full book at least this often, so that any book costs minutes of data."""
BUFFERED = 1024
"""How many updates are kept while there is no book, to go on from a snapshot out of REST; the oldest goes first."""


NOBODY: Mapping[str, int] = MappingProxyType({})
"""Of updates that no subscription brought."""


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
        self._begun: int | None = None
        """Exchange time of the first book of this run."""
        self._time: int | None = None
        """Exchange time, as far as it was told."""
        self._unsampled = False
        """The book changed since the last sample."""
        self._unsaved = False
        """The book changed since the last snapshot or checkpoint."""
        self._refused = False
        """What was published last is not stored."""
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
        """Go on where an earlier run ended: at the last times stored, or in outages that it recorded, by channel.

        It may be told late: then what was missed ends at the first book of this run.
        """
        before, self._gaps = self._gaps, []
        for channel in self._channels:
            outage = outages.get(channel)
            if outage is not None:
                self._ledger.adopt(outage)
                self._gaps.append(outage.gap_id)
            elif channel in times:
                self._opened("downtime", channel, "no recorder was running", times[channel], now)
        if self._begun is not None:
            self._end_gaps(self._begun, now)
        self._gaps += before

    def take(self, updates: list[BookUpdate], now: Moment, carriers: Mapping[str, int] = NOBODY) -> None:
        """Follow the chain; publish what is due. ``carriers`` tells by symbol which subscription brings its book."""
        self.heard = now.monotonic
        carrier = carriers.get(self._symbol, 0)
        for update in updates:
            self._judge(update, now, carrier)
            if self._chain.held_since is not None:
                self._take_held(now)

    def _take_held(self, now: Moment) -> None:
        while (held := self._chain.next_held()) is not None:
            self._judge(held[0], now, held[1])

    def splice(self, snapshot: BookUpdate, now: Moment) -> bool:
        """Go on from a snapshot out of REST and the updates that came meanwhile; return False if it is too old."""
        if self.valid:
            return True
        later = self._after(snapshot)
        if later is None:
            return False
        self._chain.splice(snapshot)
        self._start(snapshot, now)
        self.take(later, now)
        return True

    def _after(self, snapshot: BookUpdate) -> list[BookUpdate] | None:
        """Return the buffered updates that go on from a book out of REST; None: it is older than what they begin with.

        They are looked for from the newest on, since numbers from before a renumbering mean nothing after it.
        """
        sequence, buffer = snapshot.sequence, list(self._buffer)
        for place, update in reversed(list(enumerate(buffer))):
            if update.sequence == sequence:
                return buffer[place + 1 :]
            if update.prev_sequence is not None and update.prev_sequence <= sequence < update.sequence:
                return buffer[place:]
        known = buffer[-1] if buffer else self.last
        renumbered = any(update.sequence < (update.prev_sequence or 0) for update in buffer)
        if known is None or (sequence >= known.sequence and not renumbered) or _is_later(snapshot, known):
            return []  # newer than everything that came: the next update follows it, or covers it
        return None

    def _judge(self, update: BookUpdate, now: Moment, carrier: int) -> None:
        match self._chain.judge(update, carrier):
            case Link.FOLLOWS | Link.RESET:
                self._accept(update)
            case Link.HEARTBEAT:
                self._pass(update.timestamp)
            case Link.SNAPSHOT:
                self._start(update, now)
            case Link.EARLY | Link.AHEAD:
                if not self._chain.hold(update, carrier, now.monotonic):
                    self._break(now)
            case Link.DUPLICATE:
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

    def _break(self, now: Moment) -> None:
        """What waits will not get what it waits for: go on from a snapshot, if one is among it, or stand still."""
        last = self.last
        snapshot = self._chain.leap(now.monotonic)
        if snapshot is None:
            self._record_break(self._chain.break_off(), now)
            return
        first = None if last is None else str(last.sequence)
        self._lose(
            "sequence", "venue", _BROKEN, now, None if last is None else last.timestamp,
            first=first, last=str(snapshot.sequence),
        )  # fmt: skip
        self._begin(snapshot, now)
        self._take_held(now)

    def _start(self, snapshot: BookUpdate, now: Moment) -> None:
        self._record_break(self._chain.let_go(), now)
        self._begin(snapshot, now)

    def _begin(self, snapshot: BookUpdate, now: Moment) -> None:
        last = self.last
        if last is not None and not self._refused and _repeats(snapshot, last):
            self._end_gaps(last.timestamp, now, lost=False)
        else:
            self._end_gaps(snapshot.timestamp, now)
        self._refused = False
        if last is None:
            self._begun = snapshot.timestamp
        self._buffer.clear()
        self._pass(snapshot.timestamp)
        self._book.replace(snapshot.bids, snapshot.asks)
        self.last = snapshot
        self._unsampled, self._unsaved = True, False
        if self._recorded:
            self._emit(snapshot)
        if self._sampled and not self._sampling.interval_ms:
            self._sample()

    def _end_gaps(self, end: int | None, now: Moment, *, lost: bool = True) -> None:
        outcome: dict[str, Any] = {"status": "unrecoverable"} if lost else {"status": "filled", "missing": 0}
        for gap in self._gaps:
            self._ledger.amend(gap, now.at, end=end, **outcome)
            self._ledger.finish(gap)
        self._gaps.clear()

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
        found = early.sequence if early.action == "snapshot" else early.prev_sequence
        self._lose(
            "sequence", "venue", _BROKEN, now, self.last.timestamp,
            first=str(self.last.sequence), last=None if found is None else str(found),
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

    def forget(self) -> None:
        """Let go of the levels of a book that is lost for good."""
        self._book.replace((), ())

    def narrow(self, now: Moment) -> None:
        """One of several connections that carry this stream is gone."""
        self._chain.hasten(now.monotonic)

    def retract(self, refused: Sequence[Any], durable: Mapping[str, int], reason: str, now: Moment) -> None:
        """Note that nothing is stored any more, and ``refused`` was not: the book is lost until the next snapshot.

        ``durable`` is how far this symbol is stored, by kind.
        """
        self.check(now, final=True)
        self._chain.break_off()
        self._buffer.clear()
        self._unsampled = self._unsaved = False
        self._refused = self._refused or bool(refused)
        if self.last is None:
            return
        known = [gap for gap in map(self._ledger.find, self._gaps) if gap is not None]
        for gap in known if refused else ():
            start = durable.get(gap.channel, gap.start)
            self._ledger.amend(gap.gap_id, now.at, kind="writer", fault="us", reason=reason, start=start)
        for channel in self._channels if not self._gaps else ():
            times = [one.timestamp for one in refused if KIND_OF[type(one)].name == channel]
            start = durable.get(channel, min(times, default=self.last.timestamp))
            self._opened("writer", channel, reason, start, now)

    def _opened(self, kind: GapKind, channel: str, reason: str, start: int | None, now: Moment) -> None:
        self._gaps.append(
            self._ledger.open(kind, self._symbol, channel, fault="us", reason=reason, at=now.at, start=start)
        )

    def check(self, now: Moment, *, final: bool = False) -> bool:
        """Break the chain if an update waited too long for what it follows; return whether a snapshot is needed."""
        since = self._chain.held_since
        if since is not None and (final or now.monotonic - since >= self._grace):
            self._break(now)
        return not self.valid


def _is_later(one: BookUpdate, other: BookUpdate) -> bool:
    return one.timestamp is not None and other.timestamp is not None and one.timestamp > other.timestamp


def _repeats(snapshot: BookUpdate, last: BookUpdate) -> bool:
    """Tell whether a subscription begins no later than with the last book known: then it repeats all that follows.

    One out of REST is followed by what happened to be buffered: only the very same book proves that nothing was missed.
    """
    if snapshot.sequence == last.sequence:
        return True
    if snapshot.source == "backfill" or snapshot.timestamp is None or last.timestamp is None:
        return False
    return snapshot.timestamp < last.timestamp


_BROKEN = "the sequence chain broke on an open connection"
