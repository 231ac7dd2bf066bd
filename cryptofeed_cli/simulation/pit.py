"""The market of one symbol as records: its fills, its book as it is shown, its ticker; knows no other symbol.

What is shown of the book is what was last told of it: a level that went and came back in between was never gone.
"""

from __future__ import annotations

from cryptofeed_cli.exchanges.base import Showing
from cryptofeed_cli.simulation.day import INVERSE, Day
from cryptofeed_cli.simulation.draws import generator
from cryptofeed_cli.simulation.flow import Flow
from cryptofeed_cli.simulation.listing import Listing, Step, decimal_text
from cryptofeed_cli.simulation.matching import Level
from cryptofeed_cli.simulation.volatility import Volatility
from cryptofeed_cli.types import BookUpdate, CountedLevel, Instrument, Ticker, Trade

_TEXTS = 20_000
"""How many numbers are kept as text; then they are written anew."""
_COINS = 4
"""Decimal places of a volume in coins."""


class Pit:
    """One symbol."""

    def __init__(
        self, listing: Listing, exchange: str, showing: Showing, *, seed: int, start_ms: int, rate: int
    ) -> None:
        words = (seed, start_ms, listing.symbol)
        self.listing = listing
        self.flow = Flow(listing, rate, generator(*words, "flow"), Volatility(generator(*words, "volatility")))
        first = generator(*words, "numbers")
        self._exchange, self._showing = exchange, showing
        self._prices, self._lots = _Texts(listing.tick), _Texts(listing.lot)
        self._trade_id = first(29) + 1
        self._sequence = self._told = first(36) + 1
        self._counted = 0
        self._day = Day(start_ms, listing.price)
        self._last: tuple[int, int] | None = None
        """Price and size of the last fill."""
        self._bids: dict[int, tuple[int, int]] = {}
        self._asks: dict[int, tuple[int, int]] = {}
        """Size and number of orders by price, as they were last told."""
        self._told_ms = start_ms
        self._face: tuple[object, ...] = ()
        """What the last ticker showed."""
        self.flow.open()
        self._update(start_ms)

    def step(self, ms: int, shock: int, agitation: int) -> list[Trade]:
        """Let the 10 ms from ``ms`` on pass; return the fills."""
        fills = self.flow.step(shock, agitation)
        self._day.pass_to(ms)
        if not fills:
            return []
        exchange, symbol, count = self._exchange, self.listing.symbol, self._day.trade
        prices, lots, number = self._prices, self._lots, self._trade_id
        trades = []
        for after, price, size, buy in fills:
            count(price, size)
            trades.append(
                Trade(
                    ms + after, 0, exchange, symbol, "simulated", str(number), prices[price], lots[size],
                    "buy" if buy else "sell", False,
                )
            )  # fmt: skip
            number += 1
        self._trade_id = number
        self._last = fills[-1][1:3]
        return trades

    def show(self, ms: int) -> list[BookUpdate | Ticker]:
        """Tell of what changed since the last time, at ``ms``."""
        shown: list[BookUpdate | Ticker] = []
        update = self._update(ms)
        if update is not None:
            shown.append(update)
        ticker = self._ticker(ms)
        if ticker is not None:
            shown.append(ticker)
        return shown

    def snapshot(self) -> BookUpdate:
        """Return the book as it is shown, whole."""
        prices, lots = self._prices, self._lots
        bids, asks = (
            [(prices[price], lots[size], orders) for price, (size, orders) in sorted(levels.items(), reverse=reverse)]
            for levels, reverse in ((self._bids, True), (self._asks, False))
        )
        return BookUpdate(
            self._told_ms, 0, self._exchange, self.listing.symbol, "simulated", "snapshot", None, self._told,
            bids, asks,
        )  # fmt: skip

    def instrument(self, ms: int) -> Instrument:
        """Return the facts, the exchange's own JSON left empty."""
        one = self.listing
        base, quote = one.currencies
        spot, contract = one.type == "SPOT", one.contract
        value = None if contract is None else contract.write(1)
        return Instrument(
            None, 0, self._exchange, one.symbol, "simulated", one.type, base if spot else None,
            quote if spot else None, None if spot else base if one.inverse else quote, one.tick.write(1),
            one.lot.write(1), one.lot.write(1), value, None if spot else "1",
            None if spot else "inverse" if one.inverse else "linear", ms, None, "live", "",
        )  # fmt: skip

    def _update(self, ms: int) -> BookUpdate | None:
        book = self.flow.book
        book.trim(self._showing.levels)
        bids = self._changes(book.touched_bids, book.bids, self._bids, descending=True)
        asks = self._changes(book.touched_asks, book.asks, self._asks, descending=False)
        self._sequence += self.flow.count - self._counted
        self._counted = self.flow.count
        if not bids and not asks:
            if ms - self._told_ms < self._showing.heartbeat_ms:
                return None
            self._sequence = self._told
        elif self._sequence == self._told:
            self._sequence += 1
        previous, self._told, self._told_ms = self._told, self._sequence, ms
        return BookUpdate(
            ms, 0, self._exchange, self.listing.symbol, "simulated", "update", previous, self._told, bids, asks
        )

    def _changes(
        self, touched: set[int], levels: dict[int, Level], shown: dict[int, tuple[int, int]], *, descending: bool
    ) -> list[CountedLevel]:
        prices, lots = self._prices, self._lots
        changes: list[CountedLevel] = []
        for price in sorted(touched, reverse=descending):
            level = levels.get(price)
            if level is None:
                if shown.pop(price, None) is not None:
                    changes.append((prices[price], "0", 0))
                continue
            state = (sum(level.values()), len(level))
            if shown.get(price) != state:
                shown[price] = state
                changes.append((prices[price], lots[state[0]], state[1]))
        touched.clear()
        return changes

    def _ticker(self, ms: int) -> Ticker | None:
        book, last = self.flow.book, self._last
        face = (self._trade_id, book.bid, self._bids[book.bid], book.ask, self._asks[book.ask])
        if face == self._face:
            return None
        self._face = face
        prices, lots, day = self._prices, self._lots, self._day
        return Ticker(
            ms, 0, self._exchange, self.listing.symbol, "simulated",
            None if last is None else prices[last[0]], None if last is None else lots[last[1]],
            prices[book.bid], lots[self._bids[book.bid][0]], prices[book.ask], lots[self._asks[book.ask][0]],
            prices[day.open], prices[day.high], prices[day.low],
            self.listing.lot.write(day.volume), self._volume_in_currency(day),
            prices[day.open_utc0], prices[day.open_utc8],
        )  # fmt: skip

    def _volume_in_currency(self, day: Day) -> str:
        """Write what was traded in the quote currency for spot, in coins for contracts."""
        one, contract = self.listing, self.listing.contract
        tick, lot = one.tick, one.lot
        if contract is None:
            return decimal_text(day.turnover * tick.units * lot.units, tick.digits + lot.digits)
        if not one.inverse:
            return decimal_text(day.volume * lot.units * contract.units, lot.digits + contract.digits)
        coins = day.inverse * lot.units * contract.units * 10 ** (tick.digits + _COINS)
        return decimal_text(coins // (tick.units * INVERSE * 10 ** (lot.digits + contract.digits)), _COINS)


class _Texts(dict[int, str]):
    """Numbers as they are written, each written once."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self._write = step.write

    def __missing__(self, count: int) -> str:
        if len(self) >= _TEXTS:
            self.clear()
        text = self[count] = self._write(count)
        return text
