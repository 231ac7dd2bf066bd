"""What was traded, minute by minute, for a day: opening, extremes and volume; knows no text and no order.

Prices are ticks, volumes lots. Before the first trade everything is at the opening price.
"""

from __future__ import annotations

from collections import deque

import msgspec

MINUTE_MS = 60_000
DAY_MS = 86_400_000
_MINUTES = 1_440
_EIGHT_HOURS_MS = 28_800_000
INVERSE = 10**12
"""Lots divided by ticks are counted in parts of one by this."""


class Minute(msgspec.Struct):
    """The trades of one minute."""

    start: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    turnover: int = 0
    """Lots times ticks."""
    inverse: int = 0
    """Lots divided by ticks, times `INVERSE`."""


class Day:
    """The last 24 hours of one symbol."""

    def __init__(self, ms: int, price: int) -> None:
        self.minutes: deque[Minute] = deque([Minute(ms // MINUTE_MS * MINUTE_MS, price, price, price, price)], _MINUTES)
        """Oldest first; the last one is not over."""
        self.high = self.low = self.open_utc0 = self.open_utc8 = price
        self.volume = self.turnover = self.inverse = 0

    @property
    def open(self) -> int:
        """The price 24 hours ago, or at the opening."""
        return self.minutes[0].open

    def pass_to(self, ms: int) -> None:
        """Let time pass: minutes end and the oldest are forgotten."""
        last = self.minutes[-1]
        if ms < last.start + MINUTE_MS:
            return
        start, price = ms // MINUTE_MS * MINUTE_MS, last.close
        if start // DAY_MS != last.start // DAY_MS:
            self.open_utc0 = price
        if (start + _EIGHT_HOURS_MS) // DAY_MS != (last.start + _EIGHT_HOURS_MS) // DAY_MS:
            self.open_utc8 = price
        begin = max(last.start + MINUTE_MS, start - _MINUTES * MINUTE_MS)
        self.minutes += [Minute(at, price, price, price, price) for at in range(begin, start + 1, MINUTE_MS)]
        self.high = max(minute.high for minute in self.minutes)
        self.low = min(minute.low for minute in self.minutes)
        self.volume = sum(minute.volume for minute in self.minutes)
        self.turnover = sum(minute.turnover for minute in self.minutes)
        self.inverse = sum(minute.inverse for minute in self.minutes)

    def trade(self, price: int, size: int) -> None:
        """Count one fill, now."""
        minute = self.minutes[-1]
        if not minute.volume:
            minute.open = minute.high = minute.low = price
        minute.close = price
        if price > minute.high:
            minute.high = price
        if price < minute.low:
            minute.low = price
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        turnover, inverse = price * size, size * INVERSE // price
        minute.volume += size
        minute.turnover += turnover
        minute.inverse += inverse
        self.volume += size
        self.turnover += turnover
        self.inverse += inverse
