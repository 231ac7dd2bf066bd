"""A limit order book with price-time priority, in integer ticks and lots; knows no time, no text and no randomness.

It is never crossed: an order that would trade at once has to be a `LimitBook.take`.
"""

from __future__ import annotations

_NEAR = 64
"""How many ticks are tried for the next best price before all levels are looked through."""

Level = dict[int, int]
"""Sizes by order, oldest first."""


class LimitBook:
    """Two sides of levels by price. ``bid`` and ``ask`` are the best prices; both sides must be opened first."""

    def __init__(self) -> None:
        self.bids: dict[int, Level] = {}
        self.asks: dict[int, Level] = {}
        self.bid = 0
        self.ask = 0
        self.live: dict[int, int] = {}
        """The price of every order that rests, by its number."""
        self.touched_bids: set[int] = set()
        """Prices whose level changed since somebody emptied this."""
        self.touched_asks: set[int] = set()
        self.orders = 0
        """How many orders there ever were."""

    def place(self, buy: bool, price: int, size: int) -> int:
        """Add an order behind the others of its price and return its number; it must not cross."""
        self.orders = order = self.orders + 1
        self.live[order] = price
        levels, touched = (self.bids, self.touched_bids) if buy else (self.asks, self.touched_asks)
        touched.add(price)
        level = levels.get(price)
        if level is not None:
            level[order] = size
            return order
        if buy:
            if price > self.bid or not levels:
                self.bid = price
        elif price < self.ask or not levels:
            self.ask = price
        levels[price] = {order: size}
        return order

    def cancel(self, order: int) -> None:
        """Take away an order that rests; the last one of a side stays."""
        price = self.live[order]
        buy = price <= self.bid
        levels, touched = (self.bids, self.touched_bids) if buy else (self.asks, self.touched_asks)
        level = levels[price]
        if len(level) > 1:
            del level[order]
        elif len(levels) > 1:
            del levels[price]
            self._leave(buy, price)
        else:
            return
        touched.add(price)
        del self.live[order]

    def take(self, buy: bool, size: int, limit: int) -> list[tuple[int, int]]:
        """Trade against the other side up to a price; return the price and size of every fill, in order.

        What finds nobody is gone. The last level of a side is left alone, so there always is a price.
        """
        levels, touched = (self.asks, self.touched_asks) if buy else (self.bids, self.touched_bids)
        fills = []
        while size and len(levels) > 1:
            price = self.ask if buy else self.bid
            if price > limit if buy else price < limit:
                break
            touched.add(price)
            level = levels[price]
            while size and level:
                order = next(iter(level))
                rest = level[order] - size
                if rest > 0:
                    level[order] = rest
                    fills.append((price, size))
                    return fills
                fills.append((price, level.pop(order)))
                size = -rest
                del self.live[order]
            if not level:
                del levels[price]
                self._leave(not buy, price)
        return fills

    def trim(self, most: int) -> None:
        """Take away the levels of each side that are beyond the ``most`` best ones."""
        for levels, touched, sign in ((self.bids, self.touched_bids, -1), (self.asks, self.touched_asks, 1)):
            if len(levels) > most:
                for price in sorted(levels, key=sign.__mul__)[most:]:
                    for order in levels.pop(price):
                        del self.live[order]
                    touched.add(price)

    def _leave(self, buy: bool, price: int) -> None:
        """Find the next best price, if it was the best one that went."""
        if buy and price == self.bid:
            near = range(price - 1, price - _NEAR, -1)
            self.bid = next((at for at in near if at in self.bids), 0) or max(self.bids)
        elif not buy and price == self.ask:
            near = range(price + 1, price + _NEAR)
            self.ask = next((at for at in near if at in self.asks), 0) or min(self.asks)
