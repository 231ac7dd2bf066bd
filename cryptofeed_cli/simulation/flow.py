"""The order flow of one symbol: every arrival is one order, which meets the book; knows no text and no other symbol.

Behind the book walks a fair price that nobody sees. Makers quote around it at distances with a power law (Bouchaud,
Mezard and Potters, 2002) and pull or lose what it has passed; takers come in runs of one side (Lillo and Farmer, 2004).
"""

from __future__ import annotations

from math import isqrt

from cryptofeed_cli.simulation.arrivals import STEPS_PER_SECOND, Arrivals
from cryptofeed_cli.simulation.draws import ONE, Bits, Sizes, power_law
from cryptofeed_cli.simulation.listing import Listing
from cryptofeed_cli.simulation.matching import LimitBook
from cryptofeed_cli.simulation.volatility import DEVIATION, UNIT, Volatility

_POINT = 16
"""The fair price is kept in ticks with so many binary digits after the point."""
COMMON, OWN = 205, 154
"""How much of a price's moves is the market's and how much its own, in 256ths: together (by squares) one."""
BILLION = 10**9
FARTHEST = 1_000
"""No order rests farther from the fair price, in ticks."""
MOST_LOTS = 1 << 24
LONGEST_RUN = 200
_REACH = 50
"""How many ticks a taker goes at most."""
_STALE = 2_000
"""How many orders that are gone may be in the pool, and three times those that rest."""
_EAGER = 160
"""Of 256 that meet a wide spread so many narrow it, or take."""
_NEAREST = 6
_STEEPEST = 3
"""A quarter of it, times the root of the orders a second, is the most ticks a second of the fair price."""

_DEVIATIONS = STEPS_PER_SECOND // 10 * DEVIATION * UNIT * 256
"""A second has a hundred steps, so ten times the standard deviation of one; shares are in 256ths."""

Fill = tuple[int, int, int, bool]
"""Millisecond within the step, price, size, and whether the taker bought."""


class Flow:
    """What happens to one book."""

    def __init__(self, listing: Listing, rate: int, bits: Bits, shape: Volatility) -> None:
        """``rate`` is in orders a second; ``shape`` is the symbol's own volatility."""
        character = listing.character
        self.book = LimitBook()
        self.fair = (listing.price << _POINT) + (1 << _POINT - 1)
        self.count = 0
        """Orders so far: placed, cancelled and taken."""
        self._bits = bits
        self._arrivals = Arrivals(bits, rate)
        self._volatility = shape
        self._steepest = _STEEPEST * (isqrt(rate << 20) << _POINT - 12)
        self._relative = character.volatility
        self._listing, self._character = listing, character
        self._takers, self._hits = character.takers, character.hits
        self._spread, self._twice_orders = character.spread, 2 * character.orders
        self._below = character.spread // 2
        self._above = character.spread - self._below
        self._sizes = Sizes(listing.size, MOST_LOTS, character.sizes)
        self._depths = Sizes(listing.size, MOST_LOTS)
        self._offsets = _offsets()
        self._runs = Sizes(1, LONGEST_RUN)
        self._run = 0
        self._buying = False
        self._pool: list[int] = []
        """Orders that may rest still, in no order: who is cancelled is drawn from it."""

    def open(self) -> None:
        """Fill the book: with what stands in the listing, or made up."""
        for buy, levels in ((True, self._listing.bids), (False, self._listing.asks)):
            self._pool += [self.book.place(buy, price, size) for price, size in levels]
        for _ in range(0 if self._pool else self._character.orders // 2):
            self._place(True, self._bits(10))
            self._place(False, self._bits(10))

    def step(self, shock: int, agitation: int) -> list[Fill]:
        """Let 10 ms pass; ``shock`` and ``agitation`` are the whole market's. Return the fills."""
        volatility = self._volatility
        own = volatility.step()
        second = min(self.fair * self._relative // BILLION, self._steepest)
        self.fair += second * (shock * COMMON + own * OWN) // _DEVIATIONS
        fills: list[Fill] = []
        if len(self._pool) > _STALE + 4 * len(self.book.live):
            self._pool = list(self.book.live)
        for ms in self._arrivals.step(agitation + volatility.now, 2 * UNIT):
            self.count += 1
            self._arrive(ms, fills)
        return fills

    def _arrive(self, ms: int, fills: list[Fill]) -> None:
        """Let one order come."""
        book, draw = self.book, self._bits(42)
        chance, fair, bid, ask = draw & 255, self.fair >> _POINT, book.bid, book.ask
        if ask <= fair or bid > fair:
            # A quote that the fair price has passed: somebody takes it, or whoever quoted it is faster.
            buy = ask <= fair
            if chance < self._hits:
                self._take(ms, buy, fair if buy else fair + 1, fills)
            else:
                self._cancel(next(reversed(book.asks[ask] if buy else book.bids[bid])))
        elif chance < self._takers:
            if not self._run:
                self._run, self._buying = self._runs.draw(self._bits), draw & 256 > 0
            self._run -= 1
            self._take(ms, self._buying, ask + _REACH if self._buying else bid - _REACH, fills)
        elif ask - bid > self._spread and chance < _EAGER:
            # Whoever quotes inside a wide spread is first in line.
            self._place(ask - fair + bid - fair + (draw >> 8 & 1) < 1, draw >> 9 & 127)
        elif (draw >> 9 & 0x7FFF) * self._twice_orders < len(book.live) << 15:
            self._cancel_any()
        else:
            self._place(draw & 256 > 0, draw >> 32)

    def _place(self, buy: bool, index: int) -> None:
        """Rest an order at a quantile of the distances from the fair price; never where it would trade."""
        book, fair = self.book, self.fair >> _POINT
        if buy:
            price = fair - self._below - self._offsets[index]
            if price >= book.ask > 0:
                price = book.ask - 1
        else:
            price = fair + self._above + self._offsets[index]
            if price <= book.bid:
                price = book.bid + 1
        if price > 0:
            self._pool.append(book.place(buy, price, self._depths.draw(self._bits)))

    def _cancel_any(self) -> None:
        pool, live = self._pool, self.book.live
        while pool:
            index = self._bits(32) * len(pool) >> 32
            order, pool[index] = pool[index], pool[-1]
            pool.pop()
            if order in live:
                self._cancel(order)
                return

    def _cancel(self, order: int) -> None:
        self.book.cancel(order)
        if order in self.book.live:
            self._pool.append(order)

    def _take(self, ms: int, buy: bool, limit: int, fills: list[Fill]) -> None:
        fills += [(ms, price, size, buy) for price, size in self.book.take(buy, self._sizes.draw(self._bits), limit)]


def _offsets() -> tuple[int, ...]:
    """Return quantiles of distances in ticks: the chance of more than ``x`` falls as ``NEAREST + x`` to the -0.6."""
    return tuple(min(_NEAREST * (one - ONE) // ONE, FARTHEST) for one in power_law(5, 3))
