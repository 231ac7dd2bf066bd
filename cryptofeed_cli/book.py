"""One order book: levels in, best levels out; knows no sequences and no exchange.

The exchange keeps the window (it sends deletes for levels that leave it), so nothing is ever trimmed here, and a delete
may name a price that was never held.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from heapq import nlargest, nsmallest
from typing import Any

from cryptofeed_cli.types import CountedLevel, Level

_Held = tuple[Decimal, str, str, int]
_Side = dict[str, _Held]


class Book:
    """Both sides of a book. Prices are told apart by value: ``100`` and ``100.0`` are one level.

    Neither prices nor sizes are empty, and none is written with leading zeros.
    """

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids: _Side = {}
        self._asks: _Side = {}

    def replace(self, bids: Iterable[CountedLevel], asks: Iterable[CountedLevel]) -> None:
        """Forget everything and hold these levels."""
        self._bids.clear()
        self._asks.clear()
        self.apply(bids, asks)

    def apply(self, bids: Iterable[CountedLevel], asks: Iterable[CountedLevel]) -> bool:
        """Set absolute sizes (zero removes the price); return whether that changed anything."""
        bids_changed = _apply(self._bids, bids)
        return _apply(self._asks, asks) or bids_changed

    def best(self, depth: int, group: Decimal | None = None) -> tuple[list[Level], list[Level]]:
        """Return at most ``depth`` bids and asks, best first, aggregated by price steps of ``group`` if given.

        A bid belongs to the step at or below its price, an ask to the step at or above it.
        """
        if group is not None:
            return (
                _grouped(nlargest(len(self._bids), self._bids.values()), depth, group, ROUND_FLOOR),
                _grouped(nsmallest(len(self._asks), self._asks.values()), depth, group, ROUND_CEILING),
            )
        return (
            [(price, size) for _, price, size, _ in nlargest(depth, self._bids.values())],
            [(price, size) for _, price, size, _ in nsmallest(depth, self._asks.values())],
        )

    def levels(self) -> tuple[list[CountedLevel], list[CountedLevel]]:
        """Return every bid and ask with its count of orders, best first."""
        return (
            [(price, size, orders) for _, price, size, orders in sorted(self._bids.values(), reverse=True)],
            [(price, size, orders) for _, price, size, orders in sorted(self._asks.values())],
        )


def _apply(side: _Side, levels: Iterable[CountedLevel]) -> bool:
    changed = False
    for price, size, orders in levels:
        key = price.rstrip("0").rstrip(".") if price[-1] == "0" and "." in price else price
        held = side.get(key)
        if size == "0" or (size[-1] == "0" and not size.strip("0.")):
            if held is not None:
                del side[key]
                changed = True
        elif held is None:
            # Decimals are made once per price, not once per update: they only order the levels.
            side[key] = (Decimal(price), price, size, orders)
            changed = True
        elif held[2] != size or held[3] != orders:
            side[key] = (held[0], price, size, orders)
            changed = True
    return changed


def _grouped(levels: list[_Held], depth: int, step: Decimal, rounding: Any) -> list[Level]:
    sizes: dict[Decimal, Decimal] = {}
    with localcontext(prec=200):  # more digits than any price or size may have: every result is exact
        for value, _, size, _ in levels:
            price = (value / step).quantize(Decimal(1), rounding=rounding) * step
            if price not in sizes and len(sizes) == depth:
                break
            sizes[price] = sizes.get(price, Decimal(0)) + Decimal(size)
    return [(f"{price:f}", f"{size:f}") for price, size in sizes.items()]
