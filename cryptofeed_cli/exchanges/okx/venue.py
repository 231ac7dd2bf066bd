"""OKX seen from the other side: what its sockets push and its REST interface answers; opens no socket.

A `Venue` is told what happens in a market, as records, and says which frames that makes. What is old is forgotten: past
trades and candles reach back as far as `HISTORY`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from http import HTTPStatus
from itertools import groupby, islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from cryptofeed_cli.exchanges.base import Showing, Sockets, Topic
from cryptofeed_cli.exchanges.okx import writing
from cryptofeed_cli.exchanges.okx.desk import Desk
from cryptofeed_cli.types import BookUpdate, CountedLevel, Instrument, Ticker, Trade

SHOWING = Showing(cadence_ms=100, heartbeat_ms=60_000, levels=400)
"""docs: Order book channel, Tickers channel."""
SOCKETS = Sockets(
    paths={"/ws/v5/public": "public", "/ws/v5/business": "business"}, idle_seconds=30, request_bytes=64 << 10
)
"""docs: Connect. An idle socket is closed with code 4004."""
HISTORY = 50_000
"""Past trades kept of each symbol."""
_MINUTE_MS = 60_000

Happening = Trade | Ticker | BookUpdate
Answer = tuple[int, bytes]
"""HTTP status and body."""
_Levels = dict[str, CountedLevel]
_kind_and_symbol: Callable[[Happening], tuple[type, str]] = lambda record: (type(record), record.symbol)  # noqa: E731


class Venue:
    """The exchange: what happened in its market, and who wants to hear of it."""

    def __init__(self, instruments: Iterable[Instrument], *, history: int = HISTORY) -> None:
        self.instruments = {one.symbol: one for one in instruments}
        self.wanted: Counter[Topic] = Counter()
        """How many desks are subscribed to each topic."""
        self._trades: dict[str, deque[Trade]] = {symbol: deque(maxlen=history) for symbol in self.instruments}
        self._tickers: dict[str, Ticker] = {}
        self._books: dict[str, tuple[_Levels, _Levels]] = {symbol: ({}, {}) for symbol in self.instruments}
        self._updates: dict[str, BookUpdate] = {}
        """The last one of each book."""
        self._desks = 0

    def publish(self, happened: Iterable[Happening]) -> list[tuple[Topic, bytes]]:
        """Take what happened, in order; return the frames that somebody wants, each with its topic."""
        frames: list[tuple[Topic, bytes]] = []
        for (kind, symbol), group in groupby(happened, _kind_and_symbol):
            records: list[Any] = list(group)
            if kind is Trade:
                self._trades[symbol] += records
                topic = Topic("trades-all", symbol)
                if self.wanted[topic]:
                    frames += [(topic, writing.frame(*topic, writing.fill(trade))) for trade in records]
                topic = Topic("trades", symbol)
                if self.wanted[topic]:
                    frames += [(topic, self._fold_frame(fold)) for fold in _folds(records)]
            elif kind is Ticker:
                self._tickers[symbol] = records[-1]
                topic = Topic("tickers", symbol)
                if self.wanted[topic]:
                    frames += [(topic, self._ticker_frame(ticker)) for ticker in records]
            else:
                topic = Topic("books", symbol)
                for update in records:
                    self._apply(update)
                    if self.wanted[topic]:
                        frames.append((topic, _book_frame(update)))
        return frames

    def desk(self, endpoint: str) -> Desk:
        """Open a connection to an endpoint."""
        self._desks += 1
        return Desk(self, endpoint, self._desks)

    def first(self, topic: Topic) -> bytes | None:
        """Return the frame that a new subscriber is sent first; None: there is nothing yet."""
        channel, symbol = topic
        trades = self._trades[symbol]
        match channel:
            case "books" if symbol in self._updates:
                return _book_frame(self._snapshot(symbol))
            case "tickers" if symbol in self._tickers:
                return self._ticker_frame(self._tickers[symbol])
            case "trades-all" if trades:
                return writing.frame(channel, symbol, writing.fill(trades[-1]))
            case "trades" if trades:
                return self._fold_frame([trades[-1]])
        return None

    def answer(self, target: str, now_ms: int) -> Answer:
        """Answer a REST request: path and query in; ``now_ms`` is the exchange's clock."""
        parts = urlsplit(target)
        path, query = parts.path.removeprefix("/api/v5"), dict(parse_qsl(parts.query))
        symbol = query.get("instId", "")
        try:
            if path in _OF_SYMBOL and symbol not in self.instruments:
                rows: Iterable[str] | None = None
            else:
                rows = self._rows(path, query, symbol, now_ms)
        except (LookupError, ValueError) as exc:
            return HTTPStatus.BAD_REQUEST, writing.refusal("51000", f"Parameter {exc} error")
        if path not in _KNOWN:
            return HTTPStatus.NOT_FOUND, b"Not Found"
        if rows is None:
            return HTTPStatus.OK, writing.refusal("51001", f"Instrument ID {symbol} doesn't exist.")
        return HTTPStatus.OK, writing.answer(rows)

    def _rows(self, path: str, query: Mapping[str, str], symbol: str, now_ms: int) -> Iterable[str] | None:
        match path:
            case "/public/time":
                return [f'{{"ts":"{now_ms}"}}']
            case "/public/instruments":
                found = [one for one in self.instruments.values() if one.type == query.get("instType")]
                if symbol:
                    found = [one for one in found if one.symbol == symbol]
                return map(writing.instrument, found) if found or not symbol else None
            case "/market/tickers":
                kind = query.get("instType")
                of_kind = (one for name, one in self._tickers.items() if self.instruments[name].type == kind)
                return [writing.quote(one, str(kind)) for one in of_kind]
            case "/market/ticker":
                return [writing.quote(self._tickers[symbol], self.instruments[symbol].type)]
            case "/market/books":
                depth = min(int(query.get("sz", "1")), SHOWING.levels)
                return [writing.book(self._snapshot(symbol), depth)] if symbol in self._updates else []
            case "/market/trades":
                return map(writing.fill, self._past(symbol, None, _limit(query, 100, 500)))
            case "/market/history-trades":
                below = int(query["after"]) if "after" in query else None
                limit = _limit(query, 100, 100)
                return map(writing.fill, self._past(symbol, below, limit, by_time=query.get("type") == "2"))
            case "/market/history-candles" | "/market/candles":
                before = int(query.get("after", str(now_ms + _MINUTE_MS)))
                return islice(self._candles(symbol, before, now_ms), _limit(query, 100, 300))
        return []

    def _past(self, symbol: str, below: int | None, limit: int, *, by_time: bool = False) -> Iterator[Trade]:
        """Yield fills below an id or a time, newest first."""
        newest_first = reversed(self._trades[symbol])
        if below is not None:
            newest_first = iter(
                one for one in newest_first if int((by_time and one.timestamp) or one.trade_id) < below
            )
        return islice(newest_first, limit)

    def _candles(self, symbol: str, before: int, now_ms: int) -> Iterator[str]:
        """Yield the minutes just before a time, newest first, as far back as all their trades are known."""
        trades = self._trades[symbol]
        if not trades:
            return
        # The minute in which the oldest trade known stands may have lost some, unless it is the very first one.
        whole = (trades[0].timestamp or 0) // _MINUTE_MS + (len(trades) == trades.maxlen)
        minutes: dict[int, list[Trade]] = {}
        for trade in trades:
            minutes.setdefault((trade.timestamp or 0) // _MINUTE_MS, []).append(trade)
        last = (min(before, now_ms + 1) - 1) // _MINUTE_MS
        for minute in range(last, whole - 1, -1):
            members = minutes.get(minute)
            prices = [one.price for one in members or ()] or [self._closing(minutes, minute)]
            volume = sum((Decimal(one.size) for one in members or ()), Decimal(0))
            ordered = sorted(prices, key=Decimal)
            start = minute * _MINUTE_MS
            row = [str(start), prices[0], ordered[-1], ordered[0], prices[-1], f"{volume:f}", "0", "0"]
            yield writing.candle(row, closed=start + _MINUTE_MS <= now_ms)

    @staticmethod
    def _closing(minutes: dict[int, list[Trade]], minute: int) -> str:
        before = max((one for one in minutes if one < minute), default=min(minutes))
        return minutes[before][-1].price

    def _apply(self, update: BookUpdate) -> None:
        self._updates[update.symbol] = update
        for levels, changes in zip(self._books[update.symbol], (update.bids, update.asks), strict=True):
            if update.action != "update":
                levels.clear()
            for level in changes:
                if level[1] == "0":
                    levels.pop(level[0], None)
                else:
                    levels[level[0]] = level

    def _snapshot(self, symbol: str) -> BookUpdate:
        bids, asks = self._books[symbol]
        return msgspec.structs.replace(
            self._updates[symbol], action="snapshot", prev_sequence=None,
            bids=sorted(bids.values(), key=_price, reverse=True), asks=sorted(asks.values(), key=_price),
        )  # fmt: skip

    def _ticker_frame(self, ticker: Ticker) -> bytes:
        return writing.frame("tickers", ticker.symbol, writing.quote(ticker, self.instruments[ticker.symbol].type))

    def _fold_frame(self, fills: list[Trade]) -> bytes:
        symbol = fills[0].symbol
        size = sum((Decimal(one.size) for one in fills[1:]), Decimal(fills[0].size))
        sequence = self._updates[symbol].sequence if symbol in self._updates else 1
        return writing.frame("trades", symbol, writing.fold(fills, f"{size:f}", sequence))


_OF_SYMBOL = {
    "/market/ticker", "/market/books", "/market/trades", "/market/history-trades", "/market/history-candles",
    "/market/candles",
}  # fmt: skip
_KNOWN = _OF_SYMBOL | {"/public/time", "/public/instruments", "/market/tickers", "/system/status"}


def _folds(fills: Iterable[Trade]) -> Iterator[list[Trade]]:
    """Put together what one taker got at one price, as the channel ``trades`` does."""
    for _, fold in groupby(fills, lambda one: (one.timestamp, one.side, one.price, one.rpi)):
        yield list(fold)


def _book_frame(update: BookUpdate) -> bytes:
    return writing.frame("books", update.symbol, writing.change(update), update.action)


def _price(level: CountedLevel) -> Decimal:
    return Decimal(level[0])


def _limit(query: Mapping[str, str], usual: int, most: int) -> int:
    return max(1, min(int(query.get("limit", usual)), most))
