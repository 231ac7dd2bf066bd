"""Candles out of trades, in one pass and constant memory; knows no format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Context, Decimal, Inexact

from cryptofeed_cli.clock import DAY, MILLISECOND, SECOND, format_duration
from cryptofeed_cli.completeness import Ledgers, Proof
from cryptofeed_cli.derived.records import CANDLES, VWAP_DIGITS, Candle
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.merging import merge
from cryptofeed_cli.output import paged
from cryptofeed_cli.queries import HELD, REAL, Query, chosen, of_series, twins
from cryptofeed_cli.stores.base import FIRST_PAGE, PAGE, Page, Series, Store
from cryptofeed_cli.types import Trade

_EXACT = Context(prec=10_000, traps=[Inexact])
"""More digits than any sum of trades has; were it not enough, that is an error and no wrong figure."""
_VWAP = Context(prec=VWAP_DIGITS)
_TIME, _PRICE, _SIZE = (Trade.__struct_fields__.index(name) for name in ("timestamp", "price", "size"))


def check_interval(interval: int) -> None:
    """Raise `UsageError` for an interval (ns) that candles cannot have."""
    if interval % SECOND or not SECOND <= interval <= DAY:
        raise UsageError(f"--interval {format_duration(interval)}: give whole seconds, from 1s to 1d")


def make_candles(store: Store, query: Query, ledgers: Ledgers, *, interval: int, fill: bool) -> Iterator[Page]:
    """Yield candles by time, then symbol. ``query`` is for trades, ``interval`` in nanoseconds.

    Intervals without a trade are absent. With ``fill`` those between a symbol's first and last candle are there: at
    the last price, volume 0, no trade.
    """
    wanted = sorted(
        (series.symbol, series.exchange, simulated)
        for simulated in twins(query)
        for series in chosen(store, query, simulated=simulated)
    )
    most = max(min(PAGE, HELD // max(len(wanted), 1)), FIRST_PAGE)
    streams = [
        _Candles(query, Series(exchange, symbol), ledgers, interval, simulated=simulated, fill=fill).pages(
            of_series(store, query, Series(exchange, symbol), simulated=simulated, most=most)
        )
        for symbol, exchange, simulated in wanted
    ]
    distinct = len({symbol for symbol, _, _ in wanted}) == len(wanted)
    return merge(CANDLES, streams, distinct=distinct, descending=False)


def label(query: Query, *, simulated: bool) -> str:
    """Return the source of what is computed from one of the two tables."""
    if simulated:
        return "simulated"
    return "real" if query.sources >= REAL else next(iter(query.sources & REAL))


class _Candles:
    """The candles of one series."""

    def __init__(
        self, query: Query, series: Series, ledgers: Ledgers, interval: int, *, simulated: bool, fill: bool
    ) -> None:
        self._series = series
        self._source = label(query, simulated=simulated)
        self._interval = format_duration(interval)
        self._step = interval // MILLISECOND
        self._fill = fill
        judged = not simulated and query.sources >= REAL
        self._proof: Proof | None = ledgers.proof(series.exchange, series.symbol, "trades") if judged else None
        span = query.span
        self._since = 0 if span.since is None else -(-span.since // MILLISECOND)
        self._until = None if span.until is None else -(-span.until // MILLISECOND)

    def pages(self, trades: Iterable[Page]) -> Iterator[Page]:
        candles = self._candles(trades)
        return paged(CANDLES, self._filled(candles) if self._fill else candles)

    def _filled(self, candles: Iterable[Candle]) -> Iterator[Candle]:
        last: Candle | None = None
        for candle in candles:
            if last is not None:
                for begin in range(last.timestamp + self._step, candle.timestamp, self._step):
                    yield self._empty(begin, last)
            yield candle
            last = candle

    def _candles(self, trades: Iterable[Page]) -> Iterator[Candle]:
        """Yield a candle for every interval with a trade. What has no time is in none."""
        step, add, weigh = self._step, _EXACT.add, _EXACT.fma
        begin = end = -1
        opened = highest = lowest = price = ""
        high = low = volume = turnover = Decimal(0)
        count = 0
        for page in trades:
            for at, price_now, size_now in zip(page[_TIME], page[_PRICE], page[_SIZE], strict=True):
                if at is None:
                    continue
                value, size = Decimal(price_now), Decimal(size_now)
                if at >= end:
                    if count:
                        yield self._candle(begin, opened, highest, lowest, price, volume, turnover, count)
                    begin = at - at % step
                    end = begin + step
                    opened = highest = lowest = price_now
                    high = low = value
                    volume, turnover, count = size, _EXACT.multiply(value, size), 0
                else:
                    if value > high:
                        high, highest = value, price_now
                    elif value < low:
                        low, lowest = value, price_now
                    volume, turnover = add(volume, size), weigh(value, size, turnover)
                price = price_now
                count += 1
        if count:
            yield self._candle(begin, opened, highest, lowest, price, volume, turnover, count)

    def _candle(
        self, begin: int, opened: str, high: str, low: str, close: str, volume: Decimal, turnover: Decimal, count: int
    ) -> Candle:
        vwap = f"{_VWAP.divide(turnover, volume).normalize(_VWAP):f}" if volume else None
        return Candle(
            begin, *self._series, self._source, self._interval, opened, high, low, close, f"{volume:f}", vwap, count,
            self._is_complete(begin),
        )  # fmt: skip

    def _empty(self, begin: int, last: Candle) -> Candle:
        price = last.close
        return Candle(
            begin, *self._series, self._source, self._interval, price, price, price, price, "0", None, 0,
            self._is_complete(begin),
        )  # fmt: skip

    def _is_complete(self, begin: int) -> bool | None:
        if self._proof is None:
            return None
        end = begin + self._step
        whole = begin >= self._since and (self._until is None or end <= self._until)  # else the range cuts it
        return whole and self._proof.covers(begin, end)
