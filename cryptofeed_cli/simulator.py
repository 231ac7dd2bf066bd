"""Runs a simulation: the session hears a made-up market, and a sink gets what comes of it; knows no store and no file.

It is `recorder` without threads: a market that can wait needs none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from threading import Event as Flag
from typing import Any

import msgspec

from cryptofeed_cli import queries
from cryptofeed_cli.clock import MILLISECOND, SECOND
from cryptofeed_cli.config import Settings
from cryptofeed_cli.coverage import union
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.base import Event, Frame
from cryptofeed_cli.feeds.simulated import Pace, SimulatedFeed
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.simulation.arrivals import MOST, STEPS_PER_SECOND
from cryptofeed_cli.simulation.calibration import Likeness, calibrate, known_listing
from cryptofeed_cli.simulation.draws import generator
from cryptofeed_cli.simulation.faults import SHORTEST, Fault, Faults, Outage, parse_faults
from cryptofeed_cli.simulation.listing import Listing, listing
from cryptofeed_cli.simulation.market import Market
from cryptofeed_cli.simulation.stage import Stage
from cryptofeed_cli.stores.base import Span, Store
from cryptofeed_cli.streams import Sampling
from cryptofeed_cli.types import KINDS, MarketRecord

LOG = logging.getLogger(__name__)

USUAL_RATE = 100
"""Orders a second that come to each symbol where nothing else is said."""
MOST_RATE = MOST * STEPS_PER_SECOND // 4
"""Beyond it the market's busiest moments would no longer fit."""
LEAD = 10 * SECOND
"""How long after the opening the first recorded outage comes, where it is not said from when on they count."""
_OUTAGES = {"disconnect": "disconnects", "silence": "silence"}
"""Kinds of gaps that are the exchange's or the network's, and what brings them about."""
_SAMPLE = 10_000
"""Trades that tell the steps of a symbol whose instrument was not recorded."""
_PAUSE = 0.05
"""How long one turn waits, in seconds."""
Sink = Callable[[Sequence[MarketRecord]], object]
"""Takes records in the order they came."""
Tap = Callable[[Sequence[Event]], object]
"""Takes what the feed delivered."""


class Plan(msgspec.Struct, frozen=True):
    """What decides a simulation, down to the last byte."""

    listings: tuple[Listing, ...]
    seed: int
    start: int
    """Nanoseconds since 1970; the market opens at the whole tenth of a second before."""
    rate: int = USUAL_RATE
    """Orders a second that come to each symbol, roughly."""
    faults: tuple[Fault, ...] = ()
    outages: tuple[Outage, ...] = ()
    """What happens besides, each once."""

    @property
    def run_id(self) -> str:
        """The name of this simulation: the same again is the same run, and a store keeps it once."""
        return blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()

    def stage(self, exchange: Exchange) -> Stage:
        """Open the market."""
        market = Market(
            self.listings, exchange.name, exchange.showing, seed=self.seed, start_ms=self.start // MILLISECOND,
            rate=self.rate,
        )  # fmt: skip
        if not self.faults and not self.outages:
            return Stage(market, exchange)
        faults = Faults(self.faults, generator(self.seed, "faults"), market.now_ms, self.outages)
        return Stage(market, exchange, faults)


def make_plan(
    symbols: Sequence[str],
    *,
    seed: int,
    start: int,
    rate: int | None = None,
    faults: str | None = None,
    outages: tuple[Outage, ...] = (),
    like: Likeness | None = None,
) -> Plan:
    """Plan a simulation; raise `UsageError` where that is impossible.

    ``rate`` is in orders a second, all symbols together; ``faults`` as `parse_faults` takes it; ``outages`` happen
    besides; ``like`` takes the place of made-up listings.
    """
    listings = (like.listing,) if like is not None else tuple(map(listing, dict.fromkeys(symbols)))
    if like is not None and rate is None:
        rate = like.rate
    each = USUAL_RATE if rate is None else max(1, rate // len(listings))
    if each > MOST_RATE:
        raise UsageError(f"--rate {rate} is too much; at most {MOST_RATE * len(listings)} for {len(listings)} symbols")
    return Plan(listings, seed, start, each, () if faults is None else parse_faults(faults), outages)


def recorded_outages(store: Store, span: Span) -> tuple[Outage, ...]:
    """Return the outages that a ledger names, in the order of their beginnings; raise `UsageError` where it names none.

    What befell several channels at once is one. They come as long after the opening as after the beginning of the
    span; where that has none, the first one comes `LEAD` after it.
    """
    spans: dict[str, list[tuple[int, int]]] = {kind: [] for kind in _OUTAGES.values()}
    for gap in store.scan(KINDS["gaps"], span=span):
        if gap.kind in _OUTAGES and gap.start is not None and gap.end is not None:
            spans[_OUTAGES[gap.kind]].append((gap.start, max(gap.end, gap.start + SHORTEST // MILLISECOND)))
    found = sorted((start, end, kind) for kind, several in spans.items() for start, end in union(several))
    if not found:
        raise UsageError(f"--outages-from {store.url}: its ledger names no outage that is over in that time")
    begin = found[0][0] - LEAD // MILLISECOND if span.since is None else span.since // MILLISECOND
    return tuple(
        Outage(kind, max(start - begin, 0), end - max(start, begin)) for start, end, kind in found if end > begin
    )


def recorded_likeness(store: Store, symbol: str, span: Span, exchange: Exchange) -> Likeness:
    """Return a market like what a store recorded of a symbol; raise `UsageError` where that is too little."""

    def read(kind: str, **options: Any) -> Iterator[Any]:
        return queries.run(store, queries.Query(kind, (symbol,), span, **options))

    instrument = next(queries.run(store, queries.Query("instruments", (symbol,), tail=1)), None)
    sample = list(read("trades", limit=_SAMPLE))
    if not sample:
        raise UsageError(f"--like {symbol}: store {store.url} has no real trade of it in that time")
    known = known_listing(symbol, instrument, sample)
    return calibrate(known, chain(read("trades"), read("tickers")), exchange.name, exchange.showing)


class Report(msgspec.Struct, frozen=True):
    """What a simulation came to."""

    elapsed: int
    """Market time, in nanoseconds."""
    orders: int
    frames: int
    records: int
    rejects: int


class Simulator:
    """One simulation. Nothing but records labelled simulated leaves it."""

    def __init__(
        self,
        plan: Plan,
        exchange: Exchange,
        settings: Settings,
        *,
        sink: Sink | None = None,
        tap: Tap | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._feed = SimulatedFeed(plan.stage(exchange), generator(plan.seed, "delays"), pace)
        self._found: list[MarketRecord] = []
        self._sink, self._tap = sink, tap
        self._records = 0
        self._eventful = bool(plan.faults)
        book = settings.orderbook
        options = SessionOptions(
            plan.run_id, tuple(one.symbol for one in plan.listings), settings.record.channels,
            Sampling(book.depth, book.interval // MILLISECOND, book.group), settings.okx.reorder_grace,
        )  # fmt: skip
        self._session = Session(exchange, options, self._keep)

    def run(self, stop: Flag, duration: int | None = None) -> Report:
        """Simulate until ``stop`` is set, or for so many nanoseconds of market time. The sink's errors pass through."""
        session, feed = self._session, self._feed
        session.start(feed.now)
        try:
            while not stop.is_set() and (duration is None or feed.elapsed < duration):
                self._turn()
        finally:
            session.finish(feed.now)
            self._flush()
        return Report(
            feed.elapsed, feed.stage.market.orders, session.frames, self._records, session.rejects.count
        )

    def _turn(self) -> None:
        session, feed = self._session, self._feed
        events = feed.take(_PAUSE)
        session.handle(events)
        while session.actions:
            feed.perform(session.actions.popleft())
        while session.notes:
            note = session.notes.popleft()
            LOG.log(logging.INFO if self._eventful else logging.DEBUG, "%s", note.text)
        if self._tap is not None:
            self._tap(events)
        self._flush()

    def _keep(self, record: object) -> None:
        # Rejects have no simulated twin: what a fault broke on purpose is counted, and belongs to no real recording.
        if isinstance(record, MarketRecord):
            self._found.append(record)

    def _flush(self) -> None:
        if self._found and self._sink is not None:
            self._sink(self._found)
        self._records += len(self._found)
        self._found = []


def data_frames(events: Sequence[Event]) -> list[bytes]:
    """Return the frames among events that carry data: no acknowledgement, no pong."""
    return [one.data for one in events if isinstance(one, Frame) and one.data.startswith(b'{"arg":')]
