"""One recording: drives the session with the feed's events and hands its records to the writer; parses nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from threading import Event as Flag

import msgspec

from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock
from cryptofeed_cli.errors import NothingReceived, SymbolsRefused
from cryptofeed_cli.feeds.base import Closed, Died, Feed, Tick
from cryptofeed_cli.session import Session
from cryptofeed_cli.stores.base import Written
from cryptofeed_cli.types import Record, Run
from cryptofeed_cli.writer import Writer

LOG = logging.getLogger(__name__)

TICK = 100 * MILLISECOND
HEARTBEAT = 5 * SECOND
PATIENCE = 10.0
"""How long a stopping recorder waits for its store, in seconds."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class State(StrEnum):
    """What a recorder is doing, in one word."""

    CONNECTING = "CONNECTING"
    LIVE = "LIVE"
    RECONNECTING = "RECONNECTING"
    SIMULATED = "SIMULATED"


class SymbolView(msgspec.Struct, frozen=True):
    """One symbol at one instant, for whoever shows it."""

    symbol: str
    price: str | None
    lag_ms: int | None
    """Receipt minus exchange time of the last record."""
    book_valid: bool | None
    """None: books are not recorded."""
    gaps: int
    stored: dict[str, int]
    """Durable records by kind."""


class View(msgspec.Struct, frozen=True):
    """A recording at one instant."""

    state: State
    started_at: int
    now: int
    frames: int
    rejects: int
    written: Written
    symbols: list[SymbolView]
    refused: dict[str, str]
    """Symbols of which the exchange refused something, with its reason."""


class Recorder:
    """Runs until it is stopped, its time is over, or something ends that should not."""

    def __init__(
        self,
        feed: Feed,
        session: Session,
        records: list[Record],
        writer: Writer,
        run: Run,
        *,
        clock: Clock,
        flush_interval: int,
        flush_records: int,
        watch: Callable[[View], object] | None = None,
    ) -> None:
        """``records`` is where the session emits to; ``watch`` is shown the recording at every tick."""
        self._feed, self._session, self._records, self._writer = feed, session, records, writer
        self._run, self._clock = run, clock
        self._flush_interval, self._flush_records = flush_interval, flush_records
        self._watch = watch
        self._state = State.CONNECTING
        self._obstacle = "nothing was heard"
        self._ticked = self._flushed = self._beaten = clock.monotonic() - HEARTBEAT

    def record(self, stop: Flag, until: int | None = None) -> View:
        """Record until ``stop`` is set or the monotonic clock reaches ``until``; return how it stood at the end.

        Everything recorded is durable when this returns, and when it raises, unless it is the store that fails.
        Raises `SymbolsRefused`, `NothingReceived`, a `StoreError`, or what ended a thread.
        """
        failed = True
        try:
            self._session.start()
            while not stop.is_set() and (until is None or self._clock.monotonic() < until):
                self._turn()
            failed = False
        finally:
            self._finish(failed=failed)
        if not self._session.frames and not stop.is_set():
            raise NothingReceived(self._session.exchange, self._obstacle)
        return self.view()

    def view(self) -> View:
        """Return how the recording stands."""
        return View(
            self._state, self._run.started_at, self._clock.now(), self._session.frames, self._session.rejects.count,
            self._writer.written, [self._symbol_view(symbol) for symbol in self._session.symbols],
            self._session.refusals,
        )  # fmt: skip

    def _turn(self) -> None:
        events = self._feed.take(TICK / SECOND / 2)
        for event in events:
            if isinstance(event, Died):
                raise event.error
            if isinstance(event, Closed):
                self._obstacle = event.reason
        self._session.handle(events)
        now = self._clock.monotonic()
        if now - self._ticked >= TICK:
            self._ticked = now
            self._session.handle([Tick(self._clock.now(), now)])
            self._look()
        while self._session.actions:
            self._feed.perform(self._session.actions.popleft())
        self._talk()
        if now - self._beaten >= HEARTBEAT:
            self._beaten = now
            self._records.append(self._beat("running"))
        if len(self._records) >= self._flush_records or now - self._flushed >= self._flush_interval:
            self._flushed = now
            self._flush()
        self._writer.raise_if_failed()
        if self._session.all_refused:
            raise SymbolsRefused(self._session.exchange, self._session.refusals)

    def _look(self) -> None:
        connections = self._session.connections
        if self._session.simulated:
            self._state = State.SIMULATED
        elif all(connection.up for connection in connections):
            self._state = State.LIVE
        elif self._session.connects:
            self._state = State.RECONNECTING
        if self._watch is not None:
            self._watch(self.view())

    def _talk(self) -> None:
        notes = self._session.notes
        while notes:
            note = notes.popleft()
            LOG.log(_LEVELS[note.level], "%s", note.text)

    def _flush(self) -> None:
        while self._records:
            batch = self._records[: self._flush_records]
            del self._records[: self._flush_records]
            self._writer.submit(batch)

    def _finish(self, *, failed: bool) -> None:
        self._feed.close()
        self._session.finish(Tick(self._clock.now(), self._clock.monotonic()))
        self._talk()
        try:
            self._flush()
        finally:
            self._writer.close(PATIENCE, last=lambda: self._beat("failed" if failed else "stopped"))

    def _beat(self, state: str) -> Run:
        now = self._clock.now()
        written = self._writer.written
        counters = {
            "frames": self._session.frames,
            "connects": self._session.connects,
            "gaps": self._session.ledger.opened.total(),
            "rejects": self._session.rejects.count,
            "stored": written.inserted,
            "duplicates": written.duplicates,
            "conflicts": written.conflicts,
        }
        self._run = msgspec.structs.replace(
            self._run, state=state, heartbeat_at=now, ended_at=None if state == "running" else now, counters=counters
        )
        return self._run

    def _symbol_view(self, symbol: str) -> SymbolView:
        streams = self._session.streams
        trades, tickers, book = streams.trades.get(symbol), streams.tickers.get(symbol), streams.books.get(symbol)
        trade = trades.last if trades is not None else None
        ticker = tickers.last if tickers is not None else None
        update = book.last if book is not None else None
        latest = max((r for r in (trade, ticker, update) if r is not None), key=lambda r: r.received_at, default=None)
        lag = None if latest is None or latest.timestamp is None else (
            latest.received_at // MILLISECOND - latest.timestamp
        )  # fmt: skip
        return SymbolView(
            symbol,
            trade.price if trade is not None else ticker.last if ticker is not None else None,
            lag,
            book.valid if book is not None else None,
            self._session.ledger.opened[symbol],
            {kind: count for (kind, of), count in self._writer.stored.items() if of == symbol},
        )
