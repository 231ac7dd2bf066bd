"""What a screen knows of symbols besides how they stand: how fast they go, and where their price came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.views import View

RATE_OVER = 10
"""How many views a rate is averaged over."""
PRICE_EVERY = 2 * SECOND
"""How long a step of the line of prices is."""
PRICES = 40
_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


class Motion:
    """Follows the views of a recording."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, Mapping[str, tuple[int, int]]]] = deque(maxlen=RATE_OVER)
        """Trades and all records of every symbol, and when."""
        self._last: dict[str, str] = {}
        self._rising: dict[str, bool] = {}
        self._prices: dict[str, deque[Decimal]] = {}
        self._stepped = -PRICE_EVERY

    def follow(self, view: View) -> None:
        """Take note of the next view."""
        counts = {row.symbol: (row.stored.get("trades", 0), sum(row.stored.values())) for row in view.symbols}
        self._counts.append((view.elapsed, counts))
        step = view.elapsed - self._stepped >= PRICE_EVERY
        if step:
            self._stepped = view.elapsed
        for row in view.symbols:
            price = None if row.price is None else _number(row.price)
            if row.price is None or price is None:
                continue
            before = _number(self._last.get(row.symbol, row.price))
            if before is not None and price != before:
                self._rising[row.symbol] = price > before
            self._last[row.symbol] = row.price
            if step:
                self._prices.setdefault(row.symbol, deque(maxlen=PRICES)).append(price)

    def rates(self, symbol: str) -> tuple[float, float]:
        """Return trades and records a second."""
        (begin, before), (end, now) = self._counts[0], self._counts[-1]
        elapsed = (end - begin) / SECOND
        if not elapsed or symbol not in now or symbol not in before:
            return 0.0, 0.0
        trades, records = ((after - first) / elapsed for after, first in zip(now[symbol], before[symbol], strict=True))
        return trades, records

    def rising(self, symbol: str) -> bool | None:
        """Tell whether the last move of the price went up; None: it never moved."""
        return self._rising.get(symbol)

    def spark(self, symbol: str, columns: int) -> str:
        """Draw how the price moved, in that many characters at most."""
        prices = list(self._prices.get(symbol, ()))[-columns:]
        return _bars(prices) if len(prices) > 1 else ""


def _bars(prices: Sequence[Decimal]) -> str:
    low, high = min(prices), max(prices)
    if low == high:
        return _BARS[3] * len(prices)
    return "".join(_BARS[int((price - low) * (len(_BARS) - 1) / (high - low))] for price in prices)


def _number(price: str) -> Decimal | None:
    try:
        return Decimal(price)
    except InvalidOperation:
        return None
