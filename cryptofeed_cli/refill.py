"""Holes in trades that are in the store, filled over REST without a recording; also beside one that runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from threading import Event as Flag
from typing import Any

import msgspec

from cryptofeed_cli.asking import Gate, Limiter
from cryptofeed_cli.backfill import Backfill
from cryptofeed_cli.clock import SECOND, Clock, Moment
from cryptofeed_cli.errors import ExchangeError
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Answer, Feed, Fetch, Tick
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.ids import missing_ranges
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.streams import TradeStream
from cryptofeed_cli.types import KINDS, Gap, Record, Trade

TAKEN = ("open", "deferred", "partial")
"""The gaps that can still be filled."""
ALIVE = 20 * SECOND
"""Open gaps of a recorder that was heard of within this time are its own business."""
FAILURES = 5
"""After so many requests in a row that brought nothing the exchange is out of reach."""
SLICE = 1_000
"""Gaps worked at together: far fewer than are kept in memory."""
_PAUSE = 0.05


class Refilled(msgspec.Struct):
    """What became of the gaps of one symbol."""

    symbol: str
    gaps: int = 0
    missing: int = 0
    """Trades that were missing."""
    fetched: int = 0
    absent: int = 0
    """Those that the exchange lacks too."""

    @property
    def left(self) -> int:
        """How many are missing still."""
        return self.missing - self.fetched - self.absent


def fillable(store: Store, exchange: str, symbols: Sequence[str], span: Span, now: int) -> tuple[list[Gap], list[Gap]]:
    """Return the gaps in trades that can be filled, and those that are left alone: nobody knows their ids (yet).

    Args: ``symbols`` are patterns, none: all; ``now`` is the wall clock in nanoseconds.
    """
    alive = {
        run.run_id
        for run in store.scan(KINDS["runs"])
        if run.state == "running" and now - run.heartbeat_at < ALIVE
    }
    taken: list[Gap] = []
    left: list[Gap] = []
    for gap in store.scan(KINDS["gaps"], span=span):
        wanted = not symbols or any(fnmatchcase(gap.symbol, pattern) for pattern in symbols)
        if gap.exchange != exchange or gap.channel != "trades" or gap.status not in TAKEN or not wanted:
            continue
        busy = gap.status == "open" and gap.run_id in alive
        (left if busy or gap.first_missing is None or gap.missing is None else taken).append(gap)
    return taken, left


class Refill:
    """Asks for what is missing and writes what comes."""

    def __init__(self, store: Store, exchange: Exchange, feed: Feed, clock: Clock, *, rate_share: float) -> None:
        self.done: dict[str, Refilled] = {}
        """By symbol."""
        self._store, self._exchange, self._feed, self._clock = store, exchange, feed, clock
        self._actions: deque[Fetch] = deque()
        self._gate = Gate(exchange, self._actions.append, Limiter(exchange.capabilities.rest_per_second * rate_share))
        self._records: list[Record] = []
        self._gaps: dict[str, Gap] = {}
        """The last revision of every gap."""
        self._ledger = Ledger(exchange.name, "", self._emit)
        self._streams: dict[str, TradeStream] = {}
        self._backfill = Backfill(exchange, self._gate.ask, self._found, self._lack, _ignore)

    def run(self, gaps: Iterable[Gap], stop: Flag, watch: Callable[[], object] = lambda: None) -> None:
        """Fill gaps until there is nothing left to ask for, or ``stop`` is set; everything had is durable then.

        ``watch`` is called now and then. Raises `ExchangeError` where the exchange cannot be asked, or a `StoreError`.
        """
        waiting = iter(gaps)
        while (some := list(islice(waiting, SLICE))) and not stop.is_set():
            self._streams.clear()
            self._gaps.clear()
            self._fill(some, stop, watch)

    def _fill(self, gaps: Iterable[Gap], stop: Flag, watch: Callable[[], object]) -> None:
        """Fill no more gaps than a ledger and the streams hold."""
        try:
            for gap in gaps:
                self._begin(gap)
            self._write()
            failures, problem = 0, None
            while self._backfill.busy and not stop.is_set() and failures < FAILURES:
                self._backfill.check(self._now())
                while self._actions:
                    self._feed.perform(self._actions.popleft())
                for event in self._feed.take(_PAUSE):
                    if isinstance(event, Answer):
                        problem = event.error or event.announced
                        failures = 0 if problem is None else failures + 1
                        self._gate.hear(event)
                        self._backfill.answer(event)
                self._write()
                watch()
            if failures >= FAILURES:
                raise ExchangeError(f"{self._exchange.name} cannot be asked: {problem}")
        finally:
            for gap in self._gaps.values():
                if gap.filled and gap.status in ("open", "deferred"):
                    self._ledger.amend(gap.gap_id, self._clock.now(), status="partial")
            self._write()

    def _begin(self, gap: Gap) -> None:
        stream = self._streams.get(gap.symbol)
        if stream is None:
            stream = TradeStream(gap.symbol, self._ledger, self._emit, 0, want=self._backfill.want)
            self._streams[gap.symbol] = stream
            self.done.setdefault(gap.symbol, Refilled(gap.symbol))
        first, last = int(gap.first_missing or 0), int(gap.last_missing or 0)
        held = self._store.trade_ids(Series(gap.exchange, gap.symbol), first, last)
        ranges = list(missing_ranges(first, last, held))
        done = self.done[gap.symbol]
        done.gaps += 1
        done.missing += sum(high - low + 1 for low, high in ranges)
        self._gaps[gap.gap_id] = gap
        stream.adopt(gap, ranges, self._now())

    def _found(self, symbol: str, trades: list[Trade], now: Moment) -> None:
        self.done[symbol].fetched += len(trades)
        self._streams[symbol].recover(trades, now)

    def _lack(self, symbol: str, first: int, last: int, now: Moment) -> None:
        self.done[symbol].absent += last - first + 1
        self._streams[symbol].lack(first, last, now)

    def _emit(self, record: Record) -> None:
        if isinstance(record, Gap):
            self._gaps[record.gap_id] = record
        self._records.append(record)

    def _write(self) -> None:
        if self._records:
            self._store.write(self._records)
            self._records.clear()

    def _now(self) -> Tick:
        return Tick(self._clock.now(), self._clock.monotonic())


def _ignore(*_: Any) -> None:
    """Nobody asked for the newest trades."""
