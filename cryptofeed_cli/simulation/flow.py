"""The order flow of one symbol: every arrival is one order, which meets the book; knows no text and no other symbol.

Behind the book walks a fair price that nobody sees. Makers quote around it at distances with a power law (Bouchaud,
Mezard and Potters, 2002) and pull or lose what it has passed; takers come in runs of one side (Lillo and Farmer, 2004).
"""

from __future__ import annotations

from math import isqrt

from cryptofeed_cli.simulation.arrivals import STEPS_PER_SECOND, Arrivals
from cryptofeed_cli.simulation.draws import Bits, Sizes
from cryptofeed_cli.simulation.listing import Listing
from cryptofeed_cli.simulation.matching import LimitBook
from cryptofeed_cli.simulation.volatility import UNIT, Volatility

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
_STEEPEST = 3
"""The fair price moves at most half as many ticks a second as this times the root of the orders that can follow it."""

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
        self._steepest = _STEEPEST * (isqrt(rate << 20) << _POINT - 11)
        self._relative = character.volatility
        self._character = character
        self._below = character.spread // 2
        self._above = character.spread - self._below
        self._sizes = Sizes(listing.size, MOST_LOTS, character.sizes)
        self._depths = Sizes(listing.size, MOST_LOTS)
        self._offsets = tuple(_offset(index) for index in range(1024))
        self._runs = Sizes(1, LONGEST_RUN)
        self._run = 0
        self._buying = False
        self._pool: list[int] = []
        """Orders that may rest still, in no order: who is cancelled is drawn from it."""

    def open(self) -> None:
        """Fill the book."""
        fair = self.fair >> _POINT
        for _ in range(self._character.orders // 2):
            for buy in (True, False):
                self._place(buy, fair, self._bits(10), self._bits)

    def step(self, shock: int, agitation: int) -> list[Fill]:
        """Let 10 ms pass; ``shock`` and ``agitation`` are the whole market's. Return the fills."""
        own = self._volatility.step()
        second = min(self.fair * self._relative // BILLION, self._steepest)
        # A shock has a standard deviation of 4, times the unit of volatility, times 256 for the shares.
        self.fair += second * (shock * COMMON + own * OWN) // (STEPS_PER_SECOND // 10 * 4 * UNIT * 256)
        fills: list[Fill] = []
        for ms in self._arrivals.step(agitation + self._volatility.now, 2 * UNIT):
            self.count += 1
            self._arrive(ms, fills)
        return fills

    def _arrive(self, ms: int, fills: list[Fill]) -> None:
        """Let one order come."""
        book, bits, character = self.book, self._bits, self._character
        fair = self.fair >> _POINT
        draw = bits(40)
        chance = draw & 255
        if book.ask <= fair or book.bid > fair:
            # A quote that the fair price has passed: somebody takes it, or whoever quoted it is faster.
            buy = book.ask <= fair
            if chance < 88:
                self._take(ms, buy, fair if buy else fair + 1, fills)
            else:
                self._cancel(next(reversed(book.asks[book.ask] if buy else book.bids[book.bid])))
        elif chance < character.takers:
            if not self._run:
                self._run, self._buying = self._runs.draw(bits), bool(draw >> 8 & 1)
            self._run -= 1
            self._take(ms, self._buying, book.ask + _REACH if self._buying else book.bid - _REACH, fills)
        elif book.ask - book.bid > character.spread and chance < 160:
            # Whoever quotes inside a wide spread is first in line.
            far = (book.ask - fair) - (fair - book.bid)
            self._place(far < 0 or (far == 0 and bool(draw >> 8 & 1)), fair, draw >> 9 & 127, bits)
        elif (draw >> 16 & 0xFFFF) * 2 * character.orders < len(book.live) << 16:
            self._cancel_any()
        else:
            self._place(bool(draw >> 8 & 1), fair, bits(10), bits)

    def _place(self, buy: bool, fair: int, index: int, bits: Bits) -> None:
        book, offset = self.book, self._offsets[index]
        if buy:
            price = fair - self._below - offset
            price = min(price, book.ask - 1) if book.asks else price
        else:
            price = fair + self._above + offset
            price = max(price, book.bid + 1) if book.bids else price
        if price > 0:
            self._pool.append(book.place(buy, price, self._depths.draw(bits)))

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


def _offset(index: int) -> int:
    """Return a quantile of a distance: the chance of more than ``x`` ticks is 2 / (2 + x) , cut at the farthest."""
    return min(2 * 1024 // (1024 - index) - 2, FARTHEST)
