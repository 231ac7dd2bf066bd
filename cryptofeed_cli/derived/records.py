"""What is computed from records when it is asked for, as records of their own; computes nothing.

Figures are exact decimals as text, unless said otherwise. Times as in `cryptofeed_cli.types`.
"""

from __future__ import annotations

import msgspec

from cryptofeed_cli.types import KINDS, Kind, Milliseconds, Nanoseconds

VWAP_DIGITS = 18
"""Significant digits of a ``vwap``, rounded half to even."""
BPS_PLACES = 4
"""Decimal places of a ``spread_bps``, rounded half to even."""


class Candle(msgspec.Struct, frozen=True, gc=False):
    """The trades of one symbol in one interval. Intervals are multiples of their length since 1970 UTC."""

    timestamp: Milliseconds
    """When the interval begins."""
    exchange: str
    symbol: str
    source: str
    """``live``, ``backfill``, ``simulated``, or ``real``: live and backfill together."""
    interval: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    """The sum of the sizes: of contracts, where sizes are."""
    vwap: str | None
    """The mean of the prices weighted by size; None where nothing was traded."""
    trades: int
    complete: bool | None
    """Whether no trade of the interval can be missing; None where that is not judged (simulated, or live alone)."""


class Spread(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask that a ticker told."""

    timestamp: Milliseconds | None
    received_at: Nanoseconds
    exchange: str
    symbol: str
    source: str
    bid: str
    bid_size: str | None
    ask: str
    ask_size: str | None
    spread: str
    mid: str
    spread_bps: str | None
    """The spread in ten-thousandths of the mid price, rounded; None where that is zero."""


class Stats(msgspec.Struct, frozen=True, gc=False):
    """How much is stored of one channel of one symbol, and how late it came."""

    exchange: str
    symbol: str
    channel: str
    source: str
    rows: int
    rate: str | None
    """Records a second from the first to the last, to three places; None where that is no time."""
    bytes: int
    """Of the records as JSON lines."""
    first: Milliseconds | None
    last: Milliseconds | None
    lag_p50: int | None
    """``received_at - timestamp`` of live records in milliseconds, by nearest rank; exact below a second, else to three
    digits."""
    lag_p90: int | None
    lag_p99: int | None


CANDLES = Kind("candles", Candle, (), ("timestamp",), ("timestamp", "timestamp"), market=False)
SPREAD = Kind("spread", Spread, (), ("timestamp",), ("timestamp", "timestamp"), market=False)
STATS = Kind("stats", Stats, (), ("first",), ("first", "last"), market=False)

DERIVED: dict[str, Kind] = {
    "candles": CANDLES, "book": KINDS["orderbooks"], "spread": SPREAD, "stats": STATS
}  # fmt: skip
"""What each derived kind yields."""
MADE_FROM = {"candles": "trades", "book": "book_updates", "spread": "tickers"}
"""The channel that each is computed from; ``stats`` are of all."""
