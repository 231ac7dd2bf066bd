"""The best bid and ask over time, out of tickers; knows no format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Context, Decimal, Inexact

from cryptofeed_cli.derived.records import BPS_PLACES, SPREAD, Spread
from cryptofeed_cli.stores.base import Page, page_of
from cryptofeed_cli.types import Ticker

_EXACT = Context(prec=1_000, traps=[Inexact])
_ROUNDED = Context(prec=50)
_HALF, _BPS, _PLACES = Decimal("0.5"), Decimal(10_000), Decimal(1).scaleb(-BPS_PLACES)
_NAMES = ("timestamp", "received_at", "exchange", "symbol", "source", "bid", "bid_size", "ask", "ask_size")
_PLACES_OF = [Ticker.__struct_fields__.index(name) for name in _NAMES]


def spreads(tickers: Iterable[Page]) -> Iterator[Page]:
    """Yield the spread of every ticker that has both sides, in the order given."""
    for page in tickers:
        rows = zip(*(page[place] for place in _PLACES_OF), strict=True)
        found = [_spread(*row) for row in rows if row[5] is not None and row[7] is not None]
        if found:
            yield page_of(SPREAD, found)


def _spread(
    timestamp: int | None, received_at: int, exchange: str, symbol: str, source: str,
    bid: str, bid_size: str | None, ask: str, ask_size: str | None,
) -> Spread:  # fmt: skip
    low, high = Decimal(bid), Decimal(ask)
    difference = _EXACT.subtract(high, low)
    mid = _EXACT.multiply(_EXACT.add(high, low), _HALF)
    share = _ROUNDED.divide(_EXACT.multiply(difference, _BPS), mid).quantize(_PLACES, context=_ROUNDED) if mid else None
    return Spread(
        timestamp, received_at, exchange, symbol, source, bid, bid_size, ask, ask_size,
        f"{difference:f}", f"{mid.normalize(_EXACT):f}", None if share is None else f"{share:f}",
    )  # fmt: skip
