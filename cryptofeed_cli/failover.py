"""A made-up market while the exchange is away: starts it, lets it go on, ends it; connects nothing and stores nothing.

It has a session of its own, so the one that waits for the exchange notices nothing of it: not its clocks, its books or
its ledger. What leaves it is labelled simulated, with the run and the number of the episode.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from cryptofeed_cli.clock import MILLISECOND, Clock, Moment, format_duration, format_nanoseconds
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.exchanges.base import Exchange
from cryptofeed_cli.feeds.simulated import Pace, SimulatedFeed
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.simulation.calibration import known_listing
from cryptofeed_cli.simulation.draws import generator
from cryptofeed_cli.simulation.listing import Listing, Step, listing
from cryptofeed_cli.simulator import USUAL_RATE, Plan
from cryptofeed_cli.streams import Streams
from cryptofeed_cli.types import CountedLevel, Instrument, MarketRecord

LOG = logging.getLogger(__name__)

MOST_SYMBOLS = 50
"""More would keep the recorder from its work: a market of 50 takes a quarter of a second to open."""
_TENTH = 100 * MILLISECOND
_MOST_ORDERS = 5_000
"""Orders a second of all symbols together: what is left of a core is for the exchange's return."""


class FailOver:
    """Judges at every turn of a recording whether the exchange is away; used by its thread."""

    def __init__(
        self,
        exchange: Exchange,
        options: SessionOptions,
        emit: Callable[[Any], object],
        *,
        after: int,
        clock: Clock,
    ) -> None:
        """Simulate ``after`` so many nanoseconds without the exchange; ``emit`` takes the records."""
        self._exchange, self._options, self._emit = exchange, options, emit
        self._after, self._clock = after, clock
        self.episodes = 0
        self.simulated = 0
        """How long there was simulated data so far, in nanoseconds, episodes that are over only."""
        self._away: int | None = None
        """Since when nothing comes, on the monotonic clock."""
        self._looked = 0
        self._feed: SimulatedFeed | None = None
        self._session: Session | None = None
        self._began: Moment | None = None

    @property
    def streams(self) -> Streams | None:
        """What is simulated now; None: nothing is."""
        return None if self._session is None else self._session.streams

    def turn(self, live: Session, now: Moment) -> None:
        """Look at the recording, and let a simulation begin, go on for at most a tenth of a second, or end."""
        if self._began is None and now.monotonic - self._looked < _TENTH:
            return  # every stream is looked at, and there may be thousands
        self._looked = now.monotonic
        if self._began is not None:
            if _heard(live) > self._began.monotonic:
                self.finish(now)
            else:
                self._go_on()
            return
        # A quiet market still answers pings, and says so to every subscription; an exchange that is away says nothing.
        said = max((connection.last_heard for connection in live.connections if connection.up), default=None)
        if said is not None and now.monotonic - said < self._options.silence:
            self._away = None
        elif self._away is None:
            self._away = now.monotonic
        elif now.monotonic - self._away >= self._after:
            self._begin(live, now)

    def finish(self, now: Moment) -> None:
        """End the simulation, if there is one."""
        began, self._began, self._away = self._began, None, None
        if self._session is None or self._feed is None or began is None:
            return
        self._session.finish(self._feed.now)
        lasted = now.monotonic - began.monotonic
        self.simulated += lasted
        LOG.warning(
            "SIMULATED data ended at %s, after %s (episode %d)",
            format_nanoseconds(now.at), format_duration(lasted // _TENTH * _TENTH), self.episodes,
        )  # fmt: skip
        self._session = self._feed = None

    def _begin(self, live: Session, now: Moment) -> None:
        self._began = now
        listings = tuple(one for symbol in live.symbols[:MOST_SYMBOLS] if (one := _continued(symbol, live)) is not None)
        if not listings:
            return
        if len(live.symbols) > MOST_SYMBOLS:
            LOG.info("only the first %d symbols are simulated", MOST_SYMBOLS)
        self.episodes += 1
        rate = max(1, min(USUAL_RATE, _MOST_ORDERS // len(listings)))
        plan = Plan(listings, now.at, now.at, rate)
        self._feed = SimulatedFeed(
            plan.stage(self._exchange), generator(now.at, "delays"), Pace(1.0, self._clock, lambda _: None)
        )
        self._session = Session(
            self._exchange,
            msgspec.structs.replace(
                self._options, symbols=tuple(one.symbol for one in listings), patterns=(), backfill=False, redundancy=1
            ),
            self._keep,
        )
        self._session.start(self._feed.now)
        live.remark(now.at, f"simulated data from {format_nanoseconds(now.at)} until it ends")
        LOG.warning(
            "no data from %s for %s: SIMULATED data begins at %s (episode %d)",
            self._exchange.name, format_duration(self._after), format_nanoseconds(now.at), self.episodes,
        )  # fmt: skip

    def _go_on(self) -> None:
        if self._session is None or self._feed is None:
            return
        self._session.handle(self._feed.take(0))
        while self._session.actions:
            self._feed.perform(self._session.actions.popleft())
        self._session.notes.clear()

    def _keep(self, record: object) -> None:
        if isinstance(record, MarketRecord) and not isinstance(record, Instrument):
            self._emit(msgspec.structs.replace(record, episode=self.episodes))


def _heard(live: Session) -> int:
    """Return when any data came last, on the monotonic clock."""
    return max(
        (stream.heard for members in live.streams.by_channel.values() for stream in members.values()), default=0
    )


def _continued(symbol: str, live: Session) -> Listing | None:
    """Return a listing that goes on from the last price and book; None: this symbol cannot be simulated."""
    streams = live.streams
    trades, tickers, book = streams.trades.get(symbol), streams.tickers.get(symbol), streams.books.get(symbol)
    trade = None if trades is None else trades.last
    ticker = None if tickers is None else tickers.last
    levels = ([], []) if book is None else book.levels()
    price = trade.price if trade is not None else None if ticker is None else ticker.last
    try:
        one = _base(symbol, live.instruments.get(symbol), price, [level for side in levels for level in side])
    except UsageError:
        LOG.info("%s cannot be simulated", symbol)
        return None
    bids, asks = (
        tuple((one.tick.count(price), max(1, one.lot.count(size))) for price, size, _ in side) for side in levels
    )
    if len(bids) > 1 and len(asks) > 1 and 0 < bids[-1][0] <= bids[0][0] < asks[0][0]:
        sizes = sorted(size for _, size in bids + asks)
        usual = max(1, sizes[len(sizes) // 2] // 4)
        middle = (bids[0][0] + asks[0][0]) // 2
        return msgspec.structs.replace(one, price=middle, size=usual, bids=bids, asks=asks)
    return one


def _base(symbol: str, instrument: Instrument | None, price: str | None, levels: list[CountedLevel]) -> Listing:
    """Return a listing by its instrument, else a made-up one with the steps that are seen, at the last price known."""
    one = listing(symbol)
    if instrument is not None:
        known = known_listing(symbol, instrument, ())
        one = msgspec.structs.replace(known, price=known.tick.count(one.tick.write(one.price)), size=one.size)
    elif levels:
        one = msgspec.structs.replace(
            one, tick=Step(1, max(_digits(price) for price, _, _ in levels)),
            lot=Step(1, max(_digits(size) for _, size, _ in levels)),
        )  # fmt: skip
    elif price is not None:
        one = msgspec.structs.replace(one, tick=Step(1, _digits(price)))
    return one if price is None else msgspec.structs.replace(one, price=max(1, one.tick.count(price)))


def _digits(text: str) -> int:
    return len(text.partition(".")[2])
