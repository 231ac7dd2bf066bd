"""Events in; records, gaps and actions out. Pure: no I/O, no thread, no clock, no sleep.

One path for live, simulated and taped frames. Whoever drives the session passes all events to `Session.handle`, a
`Tick` at least every 100 ms among them, and then performs what stands in `Session.actions`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from cryptofeed_cli.asking import Gate, Limiter
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
    Misconduct,
    Notice,
    Refused,
    Subscribed,
    Topic,
    Unsubscribed,
)
from cryptofeed_cli.feeds.base import Action, Answer, Closed, Event, Frame, LookedUp, Opened, Reset, Tick
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.inquiries import Inquiries
from cryptofeed_cli.past import Past
from cryptofeed_cli.reach import Reach
from cryptofeed_cli.recovery import Recovery
from cryptofeed_cli.rejects import Rejects
from cryptofeed_cli.resync import Resync
from cryptofeed_cli.shards import WHOLE, Shard
from cryptofeed_cli.steps import Steps
from cryptofeed_cli.streams import BookStream, Sampling, Streams
from cryptofeed_cli.streams.trades import Look, Want
from cryptofeed_cli.symbols import resolve
from cryptofeed_cli.types import BookUpdate, Fault, GapKind, Instrument, MarketRecord, Source
from cryptofeed_cli.watchdog import Watchdog

LISTINGS_EVERY = MINUTE
"""How often new and ended listings are looked for, where symbols are given by patterns."""
HOPELESS = 30 * SECOND
"""A machine that was away for longer has lost its connections, whether they know it or not."""

_UNASKED = "data that was not asked for"
_HALTED = "nothing can be made durable"

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
    patterns: tuple[str, ...] = ()
    """What `symbols` were found by: new listings that match join, and delisted ones leave. Empty: the symbols stay."""
    shard: Shard = WHOLE
    """Of what the patterns mean, what is recorded here."""
    shared: bool = False
    """Others write into the same store: what it holds was not missed, so it is asked before the exchange is."""
    witness: bool = False
    """Subscribe to the exchange's second channel of trades too."""


class Session:
    """The whole logic of a recording."""

    def __init__(
        self,
        exchange: Exchange,
        options: SessionOptions,
        emit: Emit,
        pasts: Mapping[str, Past] | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        """``emit`` takes every record and gap; ``pasts`` is what earlier runs left of each symbol.

        ``limiter`` is that of every REST request, if anybody asked before; else the exchange's own limit is kept.
        """
        self.actions: deque[Action] = deque()
        """What the feed has to do, in order. Whoever performs an action removes it."""
        self.notes: deque[Note] = deque(maxlen=1000)
        """What is worth a line in the log, in order."""
        self.refused: dict[Topic, str] = {}
        """The topics that the exchange will not serve, with its reason."""
        self.exchange = exchange.name
        self.symbols = options.symbols
        self.halted = False
        """Nothing can be made durable, so nothing is asked for: see `halt`."""
        self.frames = 0
        self.connects = 0
        self.rejects = Rejects(exchange.name, emit)
        self.ledger = Ledger(exchange.name, options.run_id, emit)
        self._exchange = exchange
        self._options = options
        self._emit = emit
        act, say = self.actions.append, self.notes.append
        self._gate = Gate(exchange, act, limiter or Limiter(exchange.capabilities.rest_per_second))
        ask = self._gate.ask
        self._carriers = Carriers(exchange, options.ping_interval, act, say)
        self._recovery = Recovery(exchange, self._carriers, ask, act)
        want = self._recovery.want if options.backfill else None
        look = self._recovery.look if options.shared else None
        self._streams: dict[Source, Streams] = {"live": self._make_streams(self.ledger, emit, want, look)}
        self._recovery.follow(self._streams["live"])
        self._pasts = pasts or {}
        self._connections = self._carriers.by_number
        self._carrier_count = 0
        self._reach = Reach(exchange.name, say)
        self._book_channel = exchange.capabilities.wires["book_updates"].channel
        self._resync = Resync(exchange, ask, self._is_carried, self._renew_books, self._splice, say)
        self._watchdog = Watchdog(exchange, self._carriers, options.silence, act, ask, say)
        self._inquiries = Inquiries(exchange, ask)
        self._steps = Steps()
        known = {symbol: past.instrument for symbol, past in self._pasts.items() if past.instrument is not None}
        self._catalogue = Catalogue(
            exchange, (*options.symbols, *options.patterns), known, self._emit_instrument, ask, say,
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
            elif not self._streams[connection.source].has_left(message.symbol):  # type: ignore[union-attr]
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
            case LookedUp():
                self._recovery.looked_up(event)

    def learn(self, pasts: Mapping[str, Past], now: Moment) -> None:
        """Learn late what earlier runs left: what was missed since then ends at the first records of this run."""
        self._recovery.resume(pasts, now)

    def halt(self, reason: str, refused: Iterable[Any], durable: Mapping[tuple[str, str], int], now: Moment) -> None:
        """Nothing can be made durable: drop every connection. What was emitted and ``refused`` is missing from now on.

        ``durable`` is the exchange time of the last durable record, by kind and symbol. A gap of every stream begins
        there; it ends, and missed trades are asked for, as with every other outage, after `go_on`.
        """
        self.halted = True
        for number in self._connections:
            self._reach.gone(number)
        self._carriers.drop()
        real = [one for one in refused if isinstance(one, MarketRecord) and one.source != "simulated"]
        for source, streams in self._streams.items():
            streams.retract(real if source == "live" else (), durable, reason, now)

    def go_on(self, now: Moment) -> None:
        """Something can be made durable again: connect."""
        self.halted = False
        topics = [one for one in self._topics(self.symbols) if one[0] not in self.refused]
        self._carriers.add(topics, self._options.redundancy, now)

    def remark(self, at: int, text: str) -> None:
        """Add to the reason of every gap that has not ended."""
        self.ledger.remark(at, text)

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
    def instruments(self) -> Mapping[str, Instrument]:
        """What is known of the symbols."""
        return self._catalogue.known

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
        if self.halted or not self.refused:
            return False
        return not any(connection.topics for connection in self._connections.values())

    def _listed(self, instruments: list[Instrument], now: Moment) -> None:
        """Let new listings join and delisted symbols leave."""
        wanted = resolve(self._options.patterns, instruments)
        trading = {one.symbol for one in instruments if one.state != "expired"}
        joining = self._options.shard.of(symbol for symbol in wanted if symbol not in self.symbols)
        absent = {symbol for symbol in self.symbols if symbol not in trading and symbol not in self._options.patterns}
        expired = {symbol for symbol in absent if self._catalogue.is_expired(symbol, now)}
        if 2 * len(absent - expired) > len(self.symbols):
            self._say("warning", f"{self.exchange} lists only {len(trading):,} instruments; will ask again")
            absent = expired
        leaving, self._delisted = absent & self._delisted, absent
        if not joining and not leaving:
            return
        self.symbols = (*(symbol for symbol in self.symbols if symbol not in leaving), *joining)
        self._catalogue.follow(self.symbols)
        for streams in self._streams.values():
            streams.add(joining)
            for symbol in leaving:
                streams.leave(symbol, now)
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
        self._reach.opened(event.connection)
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
            self._reach.lost(event.connection)
            misconduct = self._exchange.capabilities.misconduct.get(event.code or 0)
            fault: Fault = "us" if misconduct is not None else "network" if event.code is None else "venue"
            self._lose(connection, "disconnect", fault, event.reason, event)
            self._behave(connection, misconduct, event)
        elif not retired:
            self._reach.failed(event.connection, connection.endpoint, event.reason)
        if retired:
            self._reach.gone(event.connection)

    def _behave(self, connection: Connection, misconduct: Misconduct | None, now: Moment) -> None:
        """Do otherwise the next time, where that can help."""
        if misconduct is Misconduct.CROWDED:
            self._carriers.divide(connection, now)
        elif misconduct is Misconduct.LONG_WINDED:
            name, size = f"{self.exchange} {connection.endpoint}", connection.ask_for_less()
            self._say("warning", f"a request was too long for {name}: {size:,} bytes at most from now on")

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

    def _simulated_streams(self) -> Streams:
        """Holes in simulated data are nobody's loss: their ledger is not kept."""
        return self._make_streams(Ledger(self.exchange, self._options.run_id, _discard), self._emit_simulated)

    def _make_streams(
        self, ledger: Ledger, emit: Emit, want: Want | None = None, look: Look | None = None
    ) -> Streams:
        options = self._options
        return Streams(
            self.symbols, options.channels, self._exchange.capabilities.wires, ledger, emit,
            grace=options.reorder_grace, sampling=options.sampling, want=want, limit=options.backfill_limit, look=look,
        )  # fmt: skip

    def _emit_simulated(self, record: MarketRecord) -> None:
        self._emit(msgspec.structs.replace(record, run_id=self._options.run_id, episode=1))

    def _emit_instrument(self, instrument: Instrument) -> None:
        (self._emit_simulated if instrument.source == "simulated" else self._emit)(instrument)

    # Time

    def _tick(self, now: Tick) -> None:
        step = self._steps.check(now)
        if self.halted:
            return
        if step:
            self._stepped(step, now)
        self._carriers.check(now)
        for number in self._carriers.prune():
            self._reach.gone(number)
        self._inquiries.check(now)  # before all else that asks: how long an answer takes is what it tells
        for streams in self._streams.values():
            for trades in streams.trades.values():
                trades.check(now)
        self._resync.check([symbol for symbol, book in self.streams.books.items() if book.check(now)], now)
        self._watchdog.check(self.streams, now)
        self._catalogue.check(now)
        self._recovery.look_up(now)
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
        # After a step back what a connection brings would seem to come at one instant: its time never runs backwards.
        if step > HOPELESS or step < 0:
            for connection in self._connections.values():
                if connection.up:
                    self.actions.append(Reset(connection.number, reason))

    def _is_carried(self, symbol: str) -> bool:
        return self._carriers.best(Topic(self._book_channel, symbol)) is not None

    def _renew_books(self, symbols: Iterable[str], now: Moment) -> None:
        """Ask for books anew, each where it is carried best: few requests, however many symbols."""
        by_connection: defaultdict[int, list[Topic]] = defaultdict(list)
        for symbol in symbols:
            topic = Topic(self._book_channel, symbol)
            carrier = self._carriers.best(topic)
            if carrier is not None:
                self._carry(topic, carrier)
                by_connection[carrier.number].append(topic)
        for number, topics in by_connection.items():
            self._connections[number].renew(topics, now)

    def _carry(self, topic: Topic, connection: Connection) -> None:
        """A subscription begins: what it brings does not follow what came on this connection before.

        Called when a book is asked for, and at both acknowledgements: old updates come until the first one, and
        the new snapshot may come before the second.
        """
        if topic.channel == self._book_channel and topic in connection.topics:
            self._carrier_count += 1
            connection.carriers[topic.symbol] = self._carrier_count

    def _splice(self, snapshot: BookUpdate, now: Moment) -> bool:
        book = self.streams.books.get(snapshot.symbol)
        return book is not None and book.splice(snapshot, now)

    def _answer(self, answer: Answer) -> None:
        self._gate.hear(answer)
        self._reach.answer(answer)
        if self.halted:  # what it brings could not be kept: as if it had not come, so it is asked for again
            answer = msgspec.structs.replace(answer, status=None, body=b"", error=_HALTED)
        for asker in (self._recovery, self._resync, self._watchdog, self._inquiries, self._catalogue):
            if asker.answer(answer):
                return

    def _say(self, level: str, text: str) -> None:
        self.notes.append(Note(level, text))


def _discard(_record: object) -> None:
    """Nobody wants to know."""
