"""Events in; records, gaps and actions out. Pure: no I/O, no thread, no clock, no sleep.

One path for live, simulated and taped frames. Whoever drives the session passes all events to `Session.handle`, a
`Tick` at least every 100 ms among them, and then performs what stands in `Session.actions`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from cryptofeed_cli.carriers import Carriers
from cryptofeed_cli.catalogue import EVERY as CATALOGUE_EVERY
from cryptofeed_cli.catalogue import Catalogue
from cryptofeed_cli.clock import HOUR, MINUTE, SECOND, Moment, format_duration
from cryptofeed_cli.connections import Connection, Note
from cryptofeed_cli.errors import ProtocolError
from cryptofeed_cli.exchanges.base import (
    Exchange,
    Folds,
    Message,
    Notice,
    Refused,
    Subscribed,
    Topic,
    Unsubscribed,
)
from cryptofeed_cli.feeds.base import Action, Answer, Closed, Event, Frame, Opened, Reset, Tick
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.inquiries import Inquiries
from cryptofeed_cli.past import Past
from cryptofeed_cli.recovery import Recovery
from cryptofeed_cli.rejects import Rejects
from cryptofeed_cli.resync import Resync
from cryptofeed_cli.steps import Steps
from cryptofeed_cli.streams import BookStream, Sampling, Streams
from cryptofeed_cli.streams.trades import Want
from cryptofeed_cli.symbols import resolve
from cryptofeed_cli.types import BookUpdate, Fault, GapKind, Instrument, MarketRecord, Source
from cryptofeed_cli.watchdog import Watchdog

LISTINGS_EVERY = MINUTE
"""How often new and ended listings are looked for, where symbols are given by patterns."""
HOPELESS = 30 * SECOND
"""A machine that was away for longer has lost its connections, whether they know it or not."""

_UNASKED = "data that was not asked for"

Emit = Callable[[Any], object]


class SessionOptions(msgspec.Struct, frozen=True):
    """What to record, and how. Durations in nanoseconds."""

    run_id: str
    symbols: tuple[str, ...]
    """What is recorded at the start."""
    channels: tuple[str, ...]
    sampling: Sampling = Sampling()
    reorder_grace: int = SECOND
    ping_interval: int = 15 * SECOND
    silence: int = 30 * SECOND
    """After so long without a trade or ticker the exchange is asked whether the market is quiet."""
    redundancy: int = 1
    """How many sockets every subscription is made on."""
    backfill: bool = False
    """Ask for missed trades over REST."""
    backfill_limit: int = 3 * HOUR
    """Holes older than this are left for later."""
    rate_share: float = 1.0
    """Share of the exchange's REST limit that is used for it."""
    patterns: tuple[str, ...] = ()
    """What `symbols` were found by: new listings that match join, and delisted ones leave. Empty: the symbols stay."""
    witness: bool = False
    """Subscribe to the exchange's second channel of trades too."""


class Session:
    """The whole logic of a recording."""

    def __init__(
        self, exchange: Exchange, options: SessionOptions, emit: Emit, pasts: Mapping[str, Past] | None = None
    ) -> None:
        """``emit`` takes every record and gap; ``pasts`` is what earlier runs left of each symbol."""
        self.actions: deque[Action] = deque()
        """What the feed has to do, in order. Whoever performs an action removes it."""
        self.notes: deque[Note] = deque(maxlen=1000)
        """What is worth a line in the log, in order."""
        self.refused: dict[Topic, str] = {}
        """The topics that the exchange will not serve, with its reason."""
        self.exchange = exchange.name
        self.symbols = options.symbols
        self.frames = 0
        self.connects = 0
        self.rejects = Rejects(exchange.name, emit)
        self.ledger = Ledger(exchange.name, options.run_id, emit)
        self._exchange = exchange
        self._options = options
        self._emit = emit
        self._requests = 0
        act, say, ask = self.actions.append, self.notes.append, self._next_request
        self._carriers = Carriers(exchange, options.ping_interval, act, say)
        self._recovery = Recovery(exchange, self._carriers, act, ask, rate_share=options.rate_share)
        want = self._recovery.want if options.backfill else None
        self._streams: dict[Source, Streams] = {"live": self._make_streams(self.ledger, emit, want)}
        self._recovery.follow(self._streams["live"])
        self._pasts = pasts or {}
        self._connections = self._carriers.by_number
        self._carrier_count = 0
        self._unreachable: set[int] = set()
        self._book_channel = exchange.capabilities.wires["book_updates"].channel
        self._resync = Resync(exchange, act, ask, self._renew_book, self._splice, say)
        self._watchdog = Watchdog(exchange, self._carriers, options.silence, act, ask, say)
        self._inquiries = Inquiries(exchange, act, ask)
        self._steps = Steps()
        known = {symbol: past.instrument for symbol, past in self._pasts.items() if past.instrument is not None}
        self._catalogue = Catalogue(
            exchange, (*options.symbols, *options.patterns), known, self._emit_instrument, act, ask,
            every=LISTINGS_EVERY if options.patterns else CATALOGUE_EVERY,
            listed=self._listed if options.patterns else None,
        )  # fmt: skip
        self._delisted: set[str] = set()
        """Symbols that were absent from the last list of instruments: from a second one on they are believed."""

    def start(self, now: Moment) -> None:
        """Go on where earlier runs ended; plan the connections and ask for them."""
        self._recovery.resume(self._pasts, now)
        self._carriers.add(self._topics(self.symbols), self._options.redundancy, now)

    def handle(self, events: Iterable[Event]) -> None:
        """Take events in order; their consequences are emitted, or stand in `actions` and `notes`."""
        parse, connections = self._exchange.parse, self._connections
        for event in events:
            if type(event) is not Frame:
                self._other(event)
                continue
            connection = connections.get(event.connection)
            if connection is None:
                continue
            connection.last_heard = event.monotonic
            self.frames += 1
            try:
                message = parse(event.data, event.at, connection.source)
            except ProtocolError as exc:
                self.rejects.keep(event.data, exc.reason, event.at)
                continue
            takers = connection.takers.get(type(message))
            if takers is None:
                self._control(message, connection, event)
            elif (stream := takers.get(message.symbol)) is not None:  # type: ignore[union-attr]
                stream.take(message.records, event, connection.carriers)  # type: ignore[union-attr]
            else:
                self.rejects.keep(event.data, _UNASKED, event.at)

    def _other(self, event: Event) -> None:
        match event:
            case Tick():
                self._tick(event)
            case Opened():
                self._opened(event)
            case Closed():
                self._closed(event)
            case Answer():
                self._answer(event)

    def finish(self, now: Moment) -> None:
        """Nothing will follow: record what is still undecided, and save the books."""
        for streams in self._streams.values():
            for trades in streams.trades.values():
                trades.check(now, final=True)
            for book in streams.books.values():
                book.check(now, final=True)
                book.save()

    @property
    def connections(self) -> list[Connection]:
        """Every connection, for whoever shows them."""
        return list(self._connections.values())

    @property
    def complete(self) -> bool:
        """Whether every topic is on a connection that is up."""
        return self._carriers.complete

    @property
    def clock_offset_ms(self) -> int | None:
        """The exchange's clock minus ours; None: not known yet."""
        return self._inquiries.clock_offset_ms

    @property
    def simulated(self) -> bool:
        """Whether what arrives now is simulated."""
        return any(connection.up and connection.source == "simulated" for connection in self._connections.values())

    @property
    def streams(self) -> Streams:
        """The streams of the source that is delivering now."""
        return self._streams["simulated" if self.simulated else "live"]

    @property
    def refusals(self) -> dict[str, str]:
        """The symbols of which something was refused, with the exchange's first reason."""
        reasons: dict[str, str] = {}
        for topic, reason in self.refused.items():
            reasons.setdefault(topic.symbol, reason)
        return reasons

    @property
    def all_refused(self) -> bool:
        """Whether no topic is left that could bring anything."""
        return bool(self._connections) and not any(connection.topics for connection in self._connections.values())

    def _listed(self, instruments: list[Instrument], now: Moment) -> None:
        """Let new listings join and delisted symbols leave."""
        wanted = resolve(self._options.patterns, instruments)
        trading = {one.symbol for one in instruments if one.state != "expired"}
        joining = tuple(symbol for symbol in wanted if symbol not in self.symbols)
        absent = {symbol for symbol in self.symbols if symbol not in trading and symbol not in self._options.patterns}
        leaving, self._delisted = absent & self._delisted, absent
        if not joining and not leaving:
            return
        self.symbols = (*(symbol for symbol in self.symbols if symbol not in leaving), *joining)
        self._catalogue.follow(self.symbols)
        for streams in self._streams.values():
            streams.add(joining)
            for symbol in leaving:
                for members in streams.by_channel.values():
                    if symbol in members:
                        members[symbol].interrupt("not_subscribed", "venue", "no longer listed", now)
        for symbol in joining:
            self._say("info", f"{symbol}: listed, joins the recording")
        for symbol in sorted(leaving):
            self._say("info", f"{symbol}: no longer listed, leaves the recording")
            self._carriers.forget(symbol, now)
        self._carriers.add(self._topics(joining), self._options.redundancy, now)
        for symbol in joining:
            self._resync.expect(symbol, now)

    def _topics(self, symbols: Iterable[str]) -> dict[tuple[Topic, str, bool], None]:
        capabilities = self._exchange.capabilities
        wires = [capabilities.wires[channel] for channel in self._options.channels]
        if self._options.witness and capabilities.witness is not None and "trades" in self._options.channels:
            wires.append(capabilities.witness)
        return {
            (Topic(wire.channel, symbol), wire.endpoint, wire.deep): None
            for symbol in symbols
            for wire in wires
        }

    def _control(self, message: Message, connection: Connection, frame: Frame) -> None:
        match message:
            case Folds() if message.symbol in self._streams[connection.source].trades:
                self._streams[connection.source].trades[message.symbol].witness(message.folds, frame)
            case Folds():
                self.rejects.keep(frame.data, _UNASKED, frame.at)
            case Subscribed():
                connection.subscribed(message.topic, frame)
                self._carry(message.topic, connection)
            case Unsubscribed():
                self._carry(message.topic, connection)
            case Refused():
                self._refused(message, connection, frame)
            case Notice():
                self._say("warning", f"{self.exchange} {connection.endpoint}: {message.reason}; opening another one")
                self._carriers.replace(connection)

    def _refused(self, refusal: Refused, connection: Connection, now: Moment) -> None:
        for topic in connection.refused(refusal, now):
            first = all(refused.symbol != topic.symbol for refused in self.refused)
            self.refused[topic] = refusal.reason
            text = f"{self.exchange} refused {topic.channel} of {topic.symbol}: {refusal.reason}"
            self._say("warning" if first else "debug", text)

    # Connections

    def _opened(self, event: Opened) -> None:
        connection = self._connections.get(event.connection)
        if connection is None:
            return
        source: Source = "live" if event.announced is None else "simulated"
        if source not in self._streams:
            self._streams[source] = self._simulated_streams()
            self._say("warning", "this server announces simulated data: everything from it is labelled simulated")
        self.connects += 1
        self._unreachable.discard(event.connection)
        self._say("info", f"connected to {self.exchange} {connection.endpoint}")
        connection.takers = self._streams[source].by_message
        connection.opened(source, event)
        for topic in connection.topics:
            if topic.channel == self._book_channel:
                self._carry(topic, connection)
                self._resync.expect(topic.symbol, event)

    def _closed(self, event: Closed) -> None:
        connection = self._connections.get(event.connection)
        if connection is None:
            return
        name, wait = f"{self.exchange} {connection.endpoint}", format_duration(event.retry_in // 10**8 * 10**8)
        carried = connection.up
        connection.closed()
        retired = self._carriers.retire(event.connection)
        if carried:
            then = "another one takes over" if retired else f"reconnecting in {wait}"
            self._say("warning", f"lost {name}: {event.reason}; {then}")
            fault: Fault = "network" if event.code is None else "venue"
            self._lose(connection, "disconnect", fault, event.reason, event)
        elif event.connection not in self._unreachable:
            level = "debug" if self._unreachable else "warning"
            self._say(level, f"cannot reach {name}: {event.reason}; will keep trying")
            self._unreachable.add(event.connection)

    def _lose(self, lost: Connection, kind: GapKind, fault: Fault, reason: str, now: Moment) -> None:
        """Open an outage for every stream that no connection carries any more."""
        maintenance = self._inquiries.maintenance(now.at)
        if maintenance is not None:
            fault, reason = "venue", f"{reason}; announced maintenance: {maintenance}"
        for topic in lost.topics:
            stream = self._streams[lost.source].of(topic)
            if stream is not None and not self._carriers.carried(topic, now.monotonic, lost.source):
                stream.interrupt(kind, fault, reason, now)
            elif isinstance(stream, BookStream):
                stream.narrow(now)

    def _next_request(self) -> int:
        self._requests += 1
        return self._requests

    def _simulated_streams(self) -> Streams:
        """Holes in simulated data are nobody's loss: their ledger is not kept."""
        return self._make_streams(Ledger(self.exchange, self._options.run_id, _discard), self._emit_simulated)

    def _make_streams(self, ledger: Ledger, emit: Emit, want: Want | None = None) -> Streams:
        options = self._options
        return Streams(
            self.symbols, options.channels, self._exchange.capabilities.wires, ledger, emit,
            grace=options.reorder_grace, sampling=options.sampling, want=want, limit=options.backfill_limit,
        )  # fmt: skip

    def _emit_simulated(self, record: MarketRecord) -> None:
        self._emit(msgspec.structs.replace(record, run_id=self._options.run_id, episode=1))

    def _emit_instrument(self, instrument: Instrument) -> None:
        (self._emit_simulated if instrument.source == "simulated" else self._emit)(instrument)

    # Time

    def _tick(self, now: Tick) -> None:
        step = self._steps.check(now)
        if step:
            self._stepped(step, now)
        self._carriers.check(now)
        for streams in self._streams.values():
            for trades in streams.trades.values():
                trades.check(now)
        for symbol, book in self.streams.books.items():
            if not book.check(now) or self._carriers.best(Topic(self._book_channel, symbol)) is None:
                self._resync.settled(symbol)
            else:
                self._resync.check(symbol, now)
        self._watchdog.check(self.streams, now)
        self._catalogue.check(now)
        self._inquiries.check(now)
        if self._options.backfill:
            self._recovery.check(now)

    def _stepped(self, step: int, now: Moment) -> None:
        """The clock jumped: nobody knows what was missed meanwhile."""
        reason = f"the clock jumped by {step / SECOND:+.1f} s: it was set, or the machine was suspended"
        self._say("warning", reason)
        for streams in self._streams.values():
            for members in streams.by_channel.values():
                for stream in members.values():
                    stream.interrupt("clock", "us", reason, now)
        if step > HOPELESS:
            for connection in self._connections.values():
                if connection.up:
                    self.actions.append(Reset(connection.number, reason))

    def _renew_book(self, symbol: str, now: Moment) -> None:
        topic = Topic(self._book_channel, symbol)
        carrier = self._carriers.best(topic)
        if carrier is not None:
            self._carry(topic, carrier)
            carrier.renew(topic, now)

    def _carry(self, topic: Topic, connection: Connection) -> None:
        """A subscription begins: what it brings does not follow what came on this connection before.

        Called when a book is asked for, and at both acknowledgements: old updates come until the first one, and
        the new snapshot may come before the second.
        """
        if topic.channel == self._book_channel:
            self._carrier_count += 1
            connection.carriers[topic.symbol] = self._carrier_count

    def _splice(self, snapshot: BookUpdate, now: Moment) -> bool:
        book = self.streams.books.get(snapshot.symbol)
        return book is not None and book.splice(snapshot, now)

    def _answer(self, answer: Answer) -> None:
        for asker in (self._recovery, self._resync, self._watchdog, self._inquiries):
            if asker.answer(answer):
                return
        problem = self._catalogue.answer(answer)
        if problem is not None:
            # Where connections cannot be made either, they have told why.
            level = "debug" if self._unreachable else "warning"
            self._say(level, f"{self.exchange} {problem}; will ask again")

    def _say(self, level: str, text: str) -> None:
        self.notes.append(Note(level, text))


def _discard(_record: object) -> None:
    """Nobody wants to know."""
