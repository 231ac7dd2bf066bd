"""One order book: levels in, best levels out; knows no sequences and no exchange.

The exchange keeps the window (it sends deletes for levels that leave it), so nothing is ever trimmed here, and a delete
may name a price that was never held.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from itertools import islice
from typing import Any

from cryptofeed_cli.types import CountedLevel, Level

_Held = tuple[Decimal, str, str, int]


class Book:
    """Both sides of a book. Prices are told apart by value: ``100`` and ``100.0`` are one level.

    Neither prices nor sizes are empty, and none is written with leading zeros.
    """

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids = _Side()
        self._asks = _Side()

    def replace(self, bids: Iterable[CountedLevel], asks: Iterable[CountedLevel]) -> None:
        """Forget everything and hold these levels."""
        self._bids.clear()
        self._asks.clear()
        self.apply(bids, asks)

    def apply(self, bids: Iterable[CountedLevel], asks: Iterable[CountedLevel]) -> bool:
        """Set absolute sizes (zero removes the price); return whether that changed anything."""
        bids_changed = self._bids.apply(bids)
        return self._asks.apply(asks) or bids_changed

    def best(self, depth: int, group: Decimal | None = None) -> tuple[list[Level], list[Level]]:
        """Return at most ``depth`` bids and asks, best first, aggregated by price steps of ``group`` if given.

        A bid belongs to the step at or below its price, an ask to the step at or above it.
        """
        bids, asks = self._bids.descending(), self._asks.ascending()
        if group is not None:
            return _grouped(bids, depth, group, ROUND_FLOOR), _grouped(asks, depth, group, ROUND_CEILING)
        return (
            [(price, size) for _, price, size, _ in islice(bids, depth)],
            [(price, size) for _, price, size, _ in islice(asks, depth)],
        )

    def levels(self) -> tuple[list[CountedLevel], list[CountedLevel]]:
        """Return every bid and ask with its count of orders, best first."""
        return (
            [(price, size, orders) for _, price, size, orders in self._bids.descending()],
            [(price, size, orders) for _, price, size, orders in self._asks.ascending()],
        )


class _Side:
    """The levels of one side by price, and their order from when it is first asked for."""

    __slots__ = ("_held", "_order")

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._order: list[tuple[Decimal, str]] | None = None

    def clear(self) -> None:
        self._held.clear()
        self._order = None

    def apply(self, levels: Iterable[CountedLevel]) -> bool:
        side, order = self._held, self._order
        changed = False
        for price, size, orders in levels:
            key = price.rstrip("0").rstrip(".") if price[-1] == "0" and "." in price else price
            held = side.get(key)
            if size == "0" or (size[-1] == "0" and not size.strip("0.")):
                if held is not None:
                    del side[key]
                    if order is not None:
                        del order[bisect_left(order, (held[0], key))]
                    changed = True
            elif held is None:
                # Decimals are made once per price, not once per update: they only order the levels.
                value = Decimal(price)
                side[key] = (value, price, size, orders)
                if order is not None:
                    insort(order, (value, key))
                changed = True
            elif held[2] != size or held[3] != orders:
                side[key] = (held[0], price, size, orders)
                changed = True
        return changed

    def ascending(self) -> Iterator[_Held]:
        return (self._held[key] for _, key in self._sorted())

    def descending(self) -> Iterator[_Held]:
        return (self._held[key] for _, key in reversed(self._sorted()))

    def _sorted(self) -> list[tuple[Decimal, str]]:
        if self._order is None:
            self._order = sorted((held[0], key) for key, held in self._held.items())
        return self._order


def _grouped(levels: Iterable[_Held], depth: int, step: Decimal, rounding: Any) -> list[Level]:
    sizes: dict[Decimal, Decimal] = {}
    with localcontext(prec=200):  # more digits than any price or size may have: every result is exact
        for value, _, size, _ in levels:
            price = (value / step).quantize(Decimal(1), rounding=rounding) * step
            if price not in sizes and len(sizes) == depth:
                break
            sizes[price] = sizes.get(price, Decimal(0)) + Decimal(size)
    return [(f"{price:f}", f"{size:f}") for price, size in sizes.items()]
