"""What a market is like, read off its trades and tickers, recorded or made up; in integers, for it shapes markets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from math import isqrt

import msgspec

from cryptofeed_cli.simulation.flow import BILLION
from cryptofeed_cli.simulation.listing import Listing
from cryptofeed_cli.types import MarketRecord, Ticker, Trade

SPAN_MS = 10_000
"""Returns are those of ten seconds: over less, a price that jumps from bid to ask would pass for volatility."""
QUANTILES = 64


class Measures(msgspec.Struct, frozen=True):
    """The figures of one market."""

    milliseconds: int
    """From the first record to the last one."""
    takers: int
    """Orders that traded: fills of one millisecond and side are one."""
    volatility: int
    """Standard deviation of the price over a second, in billionths of it."""
    spread: int
    """Mean, in hundredths of a tick; 0: there was no ticker."""
    sizes: tuple[int, ...]
    """Quantiles of what takers got, in lots, smallest first."""
    price: int
    """The last one, in ticks."""

    @property
    def takers_per_hour(self) -> int:
        """At that pace."""
        return self.takers * 3_600_000 // max(1, self.milliseconds)


def measure(listing: Listing, records: Iterable[MarketRecord]) -> Measures:
    """Measure trades, in order, and tickers, among or after them; other records are passed over."""
    tick, lot = listing.tick, listing.lot
    sizes: Counter[int] = Counter()
    first = last = price = marked = squares = spans = quotes = spread = size = 0
    taker: tuple[int | None, str] | None = None
    for one in records:
        at = one.timestamp
        if at is None or not isinstance(one, Trade | Ticker):
            continue
        first, last = min(first or at, at), max(last, at)
        if isinstance(one, Ticker):
            if one.bid is not None and one.ask is not None:
                quotes += 1
                spread += tick.count(one.ask) - tick.count(one.bid)
            continue
        if taker is not None and taker != (at, one.side):
            sizes[size] += 1
            size = 0
        taker = at, one.side
        size += lot.count(one.size)
        before, price = price, tick.count(one.price)
        if not marked:
            marked, reference = at, price
        elif at >= marked + SPAN_MS:
            # The last price before the mark is the price at the mark, however long nothing was traded.
            gone = (at - marked) // SPAN_MS
            squares += ((before - reference) * BILLION // max(1, reference)) ** 2
            spans += gone
            marked, reference = marked + gone * SPAN_MS, before
    if taker is not None:
        sizes[size] += 1
    variance = squares * 1000 // (spans * SPAN_MS) if spans else 0
    return Measures(
        last - first, sizes.total(), isqrt(variance), 100 * spread // quotes if quotes else 0, _quantiles(sizes), price
    )


def _quantiles(sizes: Counter[int]) -> tuple[int, ...]:
    ordered = sorted(sizes)
    below = list(accumulate(sizes[size] for size in ordered))
    wanted = ((2 * index + 1) * sizes.total() // (2 * QUANTILES) for index in range(QUANTILES))
    return tuple(next(size for size, count in zip(ordered, below, strict=True) if count > rank) for rank in wanted)
