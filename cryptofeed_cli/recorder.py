"""One recording: drives the session with the feed's events and hands its records to the writer; parses nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event as Flag

import msgspec

from cryptofeed_cli.clock import MILLISECOND, MINUTE, SECOND, Clock, format_nanoseconds
from cryptofeed_cli.errors import NothingReceived, SymbolsRefused, ThreadDied
from cryptofeed_cli.failover import FailOver
from cryptofeed_cli.feeds.base import Closed, Died, Event, Feed, Tick
from cryptofeed_cli.feeds.tape import TapeWriter
from cryptofeed_cli.memory import trimmer
from cryptofeed_cli.past import PAST_UNKNOWN, Past
from cryptofeed_cli.session import Session
from cryptofeed_cli.standing import SINCE, Standing
from cryptofeed_cli.streams import BookStream, TickerStream, TradeStream
from cryptofeed_cli.types import BookUpdate, Gap, OrderBook, Record, Run, RunState, Ticker, Trade
from cryptofeed_cli.views import State, SymbolView, View
from cryptofeed_cli.writer import Writer

LOG = logging.getLogger(__name__)

TICK = 100 * MILLISECOND
_PAUSE = 0.05
"""How long one turn waits for something to happen, in seconds."""
HEARTBEAT = 5 * SECOND
TRIM = MINUTE
"""How often free memory is given back to the system."""
PATIENCE = 10.0
"""How long a stopping recorder waits for a store that takes nothing, in seconds."""
KEPT = 10_000
"""How many records that were refused and can be had nowhere else (gaps above all) are kept until they are taken."""
PAUSE_MAX = MINUTE
"""The longest pause before a halted recorder tries again."""
PATIENCE_HALTED = 1.0
"""The same where nothing was taken for a while already."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


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
        tell: Callable[[Standing], object] | None = None,
        pasts: SimpleQueue[Mapping[str, Past]] | None = None,
        failover: FailOver | None = None,
        tape: TapeWriter | None = None,
    ) -> None:
        """``records`` is where the session emits to; ``watch`` is shown the recording at every tick.

        ``tell`` is told with every sign of life how the recorder stands, and may raise `OSError`; ``pasts`` brings what
        earlier runs left where that could not be read before; ``failover`` emits to ``records`` too, while the exchange
        is away (None: nothing is simulated then).
        """
        self._feed, self._session, self._records, self._writer = feed, session, records, writer
        self._run, self._clock = run, clock
        self._flush_interval, self._flush_records = flush_interval, flush_records
        self._watch, self._tell = watch, tell
        self._pasts = pasts
        self._failover = failover
        self._tape = tape
        self._state, self._since = State.CONNECTING, clock.now()
        self._obstacle = "nothing was heard"
        self._started = clock.monotonic()
        self._ticked = self._flushed = self._beaten = self._started - HEARTBEAT
        self._trim, self._trimmed = trimmer(), self._started
        self._behind = False
        """The writer does not take what was recorded: until it does, what comes waits in the feed's queue."""
        self._kept: list[Record] = []
        """While halted: what was refused and is to be written before anything else."""
        self._pause = SECOND
        self._resumed = self._started - PAUSE_MAX
        self._halted = 0
        self._probing = False
        """What was kept is on its way again."""

    def record(self, stop: Flag, until: int | None = None) -> View:
        """Record until ``stop`` is set or the monotonic clock reaches ``until``; return how it stood at the end.

        Everything recorded is durable when this returns, and when it raises, unless it is the store that fails.
        Raises `SymbolsRefused`, `NothingReceived`, a `StoreError`, or `ThreadDied`.
        """
        failed = True
        try:
            self._session.start(Tick(self._clock.now(), self._clock.monotonic()))
            while not stop.is_set() and (until is None or self._clock.monotonic() < until):
                self._turn()
            failed = False
        finally:
            self._finish("failed" if failed else "stopped")
        if not self._session.frames and not stop.is_set():
            raise NothingReceived(self._session.exchange, self._obstacle)
        return self.view()

    @property
    def run_id(self) -> str:
        """Which of all runs this is."""
        return self._run.run_id

    def view(self) -> View:
        """Return how the recording stands."""
        open_gaps = self._session.ledger.open_by_symbol()
        return View(
            self._state, self._clock.monotonic() - self._started, self._session.frames, self._session.rejects.count,
            self._writer.written, [self._symbol_view(symbol, open_gaps[symbol]) for symbol in self._session.symbols],
            self._session.refusals, self._writer.backlog, self._writer.away, self._session.connects,
            self._session.clock_offset_ms, 0 if self._failover is None else self._failover.episodes,
        )  # fmt: skip

    def _turn(self) -> None:
        if not self._behind:
            self._hear(self._feed.take(_PAUSE))
        now = self._clock.monotonic()
        if now - self._ticked >= TICK:
            self._ticked = now
            self._tick(now)
        if self._failover is not None and not self._session.halted and not self._behind:
            self._failover.turn(self._session, Tick(self._clock.now(), now))
        while self._session.actions:
            self._feed.perform(self._session.actions.popleft())
        self._talk()
        if self._behind or len(self._records) >= self._flush_records or now - self._flushed >= self._flush_interval:
            self._flushed = now
            self._flush()
        self._writer.raise_if_failed()
        if self._session.halted:
            self._probe(now)
        elif (reason := self._writer.stuck) is not None:
            self._halt(reason, now)
        if self._session.all_refused:
            raise SymbolsRefused(self._session.exchange, self._session.refusals)

    def _hear(self, events: Sequence[Event]) -> None:
        self._session.handle(events)
        for event in events:
            match event:
                case Closed():
                    self._obstacle = event.reason
                case Died():
                    raise ThreadDied(event.thread, event.error)

    def _tick(self, now: int) -> None:
        # To a session whose frames wait unheard every connection would seem dead.
        if not self._behind:
            self._session.handle([Tick(self._clock.now(), now)])
        if self._pasts is not None:
            with suppress(Empty):
                self._session.learn(self._pasts.get_nowait(), Tick(self._clock.now(), now))
                self._pasts = None
        if now - self._beaten >= HEARTBEAT and not self._session.halted:
            self._flush()  # a sign of life may say that nothing is unnamed any more: the names go first
        if now - self._beaten >= HEARTBEAT and (
            self._session.halted or self._writer.submit([self._beat("running")], 0)
        ):
            self._beaten = now
            self._stand(self._state)
        if now - self._trimmed >= TRIM:
            self._trimmed = now
            self._trim()
        self._look()

    def _halt(self, reason: str, now: int) -> None:
        """Nothing can be made durable: stop listening, take back what was refused, and keep of it what must not go."""
        refused = self._writer.take_back()
        if refused is None:
            return
        refused += self._records
        self._records.clear()
        self._behind = False
        LOG.error("nothing can be made durable (%s): the recording halts until something can", reason)
        moment = Tick(self._clock.now(), now)
        if self._failover is not None:
            self._failover.finish(moment)
        self._session.halt(reason, refused, self._writer.durable, moment)
        self._kept = _irreplaceable([*refused, *self._records])
        self._records.clear()
        self._pause = min(2 * self._pause, PAUSE_MAX) if now - self._resumed < PAUSE_MAX else SECOND
        self._halted, self._probing = now, False
        self._enter(State.HALTED)

    def _probe(self, now: int) -> None:
        """See whether something is taken again; if so, go on."""
        if not self._probing:
            if now - self._halted >= self._pause and self._writer.submit([*self._kept, self._beat("running")], 0):
                self._kept, self._probing = [], True
        elif self._writer.idle:
            LOG.warning("something can be made durable again: the recording goes on")
            self._resumed = now
            self._session.go_on(Tick(self._clock.now(), now))

    def _stand(self, state: str) -> None:
        if self._tell is None:
            return
        writer, run = self._writer, self._run
        backlog = writer.backlog
        standing = Standing(
            run.name, run.run_id, run.host, run.pid, state, backlog.store, writer.away,
            format_nanoseconds(self._clock.now()), _shown(writer.durable_at),
            backlog.records, backlog.bytes, _shown(backlog.since), _shown(self._since), self._heard(),
        )  # fmt: skip
        try:
            self._tell(standing)
        except OSError as exc:  # it says nothing that is not known elsewhere
            LOG.debug("the status file cannot be written: %s", exc.strerror)

    def _heard(self) -> dict[str, dict[str, int]]:
        """How many milliseconds ago the last frame came, by symbol and channel."""
        now = self._clock.monotonic()
        heard: dict[str, dict[str, int]] = {}
        streams = self._session.streams
        by_channel: dict[str, Mapping[str, TradeStream | TickerStream | BookStream]] = {
            "trades": streams.trades, "tickers": streams.tickers, "orderbooks": streams.books,
            "book_updates": streams.books,
        }  # fmt: skip
        for channel, members in by_channel.items():
            for symbol, stream in members.items():
                if stream.heard:
                    heard.setdefault(symbol, {})[channel] = (now - stream.heard) // MILLISECOND
        return heard

    def _enter(self, state: State) -> None:
        """Take note of what the recorder is doing from now on."""
        if state is not self._state:
            self._state, self._since = state, self._clock.now()
            self._stand(state)

    def _look(self) -> None:
        if self._session.halted:
            self._enter(State.HALTED)
        elif self._session.simulated or (self._failover is not None and self._failover.streams is not None):
            self._enter(State.SIMULATED)
        elif self._session.complete:
            self._enter(State.LIVE)
        elif self._session.connects:
            self._enter(State.RECONNECTING)
        if self._watch is not None:
            self._watch(self.view())

    def _talk(self) -> None:
        notes = self._session.notes
        while notes:
            note = notes.popleft()
            LOG.log(_LEVELS[note.level], "%s", note.text)

    def _flush(self) -> None:
        if self._tape is not None:
            self._tape.flush()  # before the store: what that has is on the tape, whenever we are killed
        size = self._flush_records
        while self._records and self._writer.submit(self._records[:size], _PAUSE):
            del self._records[:size]
        self._behind = bool(self._records)

    def _finish(self, state: RunState) -> None:
        try:
            self._feed.close()
            self._session.handle(self._feed.take(0))  # what came before the end
        finally:
            try:
                now = Tick(self._clock.now(), self._clock.monotonic())
                self._session.finish(now)
                if self._tape is not None:
                    self._tape.close()
                if self._failover is not None:
                    self._failover.finish(now)
                self._talk()
            finally:
                size, left = self._flush_records, [*self._kept, *self._records]
                rest = [left[start : start + size] for start in range(0, len(left), size)]
                try:
                    patience = PATIENCE_HALTED if self._session.halted else PATIENCE
                    self._writer.close(rest, patience, last=lambda: self._beat(state))
                finally:
                    self._stand(state.upper())

    def _beat(self, state: RunState) -> Run:
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
            "refused": written.refused,
            "outbox": self._writer.backlog.records,
            PAST_UNKNOWN: int(self._pasts is not None),
            "simulated_episodes": 0 if self._failover is None else self._failover.episodes,
            "simulated_seconds": 0 if self._failover is None else self._failover.simulated // SECOND,
            f"{SINCE}{self._state.lower()}": self._since,
        }
        self._run = msgspec.structs.replace(
            self._run, state=state, heartbeat_at=now + self._writer.clock_offset,
            ended_at=None if state == "running" else now, counters=counters,
            clock_offset_ms=self._session.clock_offset_ms,
        )  # fmt: skip
        return self._run

    def _symbol_view(self, symbol: str, open_gaps: int) -> SymbolView:
        simulated = None if self._failover is None else self._failover.streams
        streams = self._session.streams if simulated is None else simulated
        trades, tickers, book = streams.trades.get(symbol), streams.tickers.get(symbol), streams.books.get(symbol)
        trade = trades.last if trades is not None else None
        ticker = tickers.last if tickers is not None else None
        update = book.last if book is not None else None
        latest = max((r for r in (trade, ticker, update) if r is not None), key=lambda r: r.received_at, default=None)
        heard = max((stream.heard for stream in (trades, tickers, book) if stream is not None), default=0)
        lag = None if latest is None or latest.timestamp is None else (
            latest.received_at // MILLISECOND - latest.timestamp
        )  # fmt: skip
        return SymbolView(
            symbol,
            trade.price if trade is not None else ticker.last if ticker is not None else None,
            lag,
            book.valid if book is not None else None,
            self._session.ledger.opened[symbol],
            self._writer.stored.get(symbol, {}),
            *((None, None) if ticker is None else (ticker.bid, ticker.ask)),
            open_gaps,
            (self._clock.monotonic() - heard) // MILLISECOND if heard else None,
        )


def _irreplaceable(records: Sequence[Record]) -> list[Record]:
    """What must be written later of what was refused: no market data, and of each gap and run the latest revision."""
    latest: dict[object, Record] = {}
    for record in records:
        match record:
            case Trade() | Ticker() | OrderBook() | BookUpdate():
                continue
            case Gap():
                latest[record.gap_id] = record
            case Run():
                latest[record.run_id] = record
            case _:
                latest[id(record)] = record
    return list(latest.values())[-KEPT:]


def _shown(at: int | None) -> str | None:
    return None if at is None else format_nanoseconds(at)
