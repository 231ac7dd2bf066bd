"""What a pretended OKX knows: the truth its sockets push and its REST interface answers from; opens no socket.

A `Push` is one thing that happens in the market. Publishing it changes the truth and yields the frames that tell of it,
so what was pushed, what a new subscriber is shown first and what REST says always agree, whatever was lost on the way.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

Row = dict[str, Any]

PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"
PATHS = {"tickers": PUBLIC, "trades": PUBLIC, "books": PUBLIC, "trades-all": BUSINESS}
"""Every channel served, and on which socket."""
REACH = 100
"""How far from the price, in tenths, a made-up book has levels."""
SEQUENCE_STEPS = (7, 12, 13, 20, 45, 93)


class Push(NamedTuple):
    """One event of the market. ``channel`` is ``trades``, ``tickers`` or ``books``, ``row`` its ``data[0]``."""

    after: float
    """Seconds since the push before it."""
    channel: str
    symbol: str
    row: Row
    action: str | None = None
    """Of books: ``snapshot`` or ``update``."""

    def frame(self) -> bytes:
        """Write it as the exchange does, under its own channel."""
        return write_frame(self.channel, self.symbol, self.row, self.action)


class Book:
    """One order book, as the exchange keeps it: 400 levels a side, and the sequence of its last change."""

    def __init__(self) -> None:
        self.levels: dict[str, dict[str, list[str]]] = {"asks": {}, "bids": {}}
        self.last: Row = {}

    def apply(self, row: Row, action: str | None) -> None:
        """Change the book."""
        for side, levels in self.levels.items():
            if action == "snapshot":
                levels.clear()
            for level in row[side]:
                if level[1] == "0":
                    levels.pop(level[0], None)
                else:
                    levels[level[0]] = level
        self.last = row

    def side(self, side: str, depth: int = 400) -> list[list[str]]:
        """Return the best levels of a side."""
        return sorted(self.levels[side].values(), key=lambda level: Decimal(level[0]), reverse=side == "bids")[:depth]

    def row(self, depth: int = 400) -> Row:
        """Return it whole, with the time and sequence of its last change."""
        return {**self.last, "asks": self.side("asks", depth), "bids": self.side("bids", depth), "prevSeqId": -1}


class Market:
    """The truth: everything that happened in the market, whoever was told of it."""

    def __init__(self, instruments: Iterable[Row]) -> None:
        self.instruments = {row["instId"]: row for row in instruments}
        self.trades: dict[str, list[Row]] = {symbol: [] for symbol in self.instruments}
        """Per symbol, oldest first."""
        self.tickers: dict[str, Row] = {}
        self.books: dict[str, Book] = {}

    def publish(self, push: Push) -> Iterator[tuple[str, bytes]]:
        """Let something happen; yield each channel that tells of it, and its frame."""
        symbol, row = push.symbol, push.row
        match push.channel:
            case "trades":
                self.trades[symbol].append(row)
                yield from self._trade_frames(symbol)
            case "tickers":
                self.tickers[symbol] = row
                yield "tickers", push.frame()
            case "books":
                self.books.setdefault(symbol, Book()).apply(row, push.action)
                yield "books", push.frame()

    def current(self, channel: str, symbol: str) -> bytes | None:
        """Return the frame that a new subscriber is sent first; None: there is nothing yet."""
        if channel == "books" and symbol in self.books:
            return write_frame(channel, symbol, self.books[symbol].row(), "snapshot")
        if channel == "tickers" and symbol in self.tickers:
            return write_frame(channel, symbol, self.tickers[symbol])
        if channel in ("trades", "trades-all") and self.trades[symbol]:
            return dict(self._trade_frames(symbol))[channel]
        return None

    def _trade_frames(self, symbol: str) -> Iterator[tuple[str, bytes]]:
        fill = fill_row(self.trades[symbol][-1])
        fold = {**fill, "count": "1", "seqId": self.books[symbol].last["seqId"] if symbol in self.books else 1}
        yield "trades", write_frame("trades", symbol, fold)
        yield "trades-all", write_frame("trades-all", symbol, fill)


def write_frame(channel: str, symbol: str, row: Row, action: str | None = None) -> bytes:
    """Write a data frame."""
    kind = {} if action is None else {"action": action}
    return dump({"arg": {"channel": channel, "instId": symbol}, **kind, "data": [row]})


def dump(value: Any) -> bytes:
    """Write JSON as the exchange does, without blanks."""
    return json.dumps(value, separators=(",", ":")).encode()


def fill_row(row: Row) -> Row:
    """Return a trade as ``trades-all`` and REST show it."""
    return {key: row[key] for key in ("instId", "tradeId", "px", "sz", "side")} | {
        "source": row.get("source", "0"),
        "ts": row["ts"],
    }


def chain(pushes: Iterable[Push], rng: random.Random) -> Iterator[Push]:
    """Stamp a ``prevSeqId``/``seqId`` chain of arbitrary steps onto the books, each symbol its own."""
    sequences: dict[str, int] = {}
    for push in pushes:
        if push.channel == "books":
            last = sequences.setdefault(push.symbol, rng.randrange(10**9, 10**12))
            sequence = sequences[push.symbol] = last + rng.choice(SEQUENCE_STEPS)
            previous = -1 if push.action == "snapshot" else last
            push = push._replace(row={**push.row, "prevSeqId": previous, "seqId": sequence})
        yield push


def instrument(symbol: str, **fields: Any) -> Row:
    """Return the row of an instrument: spot, unless the symbol looks like a swap or a future."""
    parts = symbol.split("-")
    kind = "SPOT" if len(parts) == 2 else "SWAP" if parts[2] == "SWAP" else "FUTURES"
    spot = kind == "SPOT"
    contract = {"ctVal": "0.01", "ctMult": "1", "ctType": "linear", "settleCcy": parts[1]}
    return {
        "instType": kind,
        "instId": symbol,
        "instFamily": "" if spot else f"{parts[0]}-{parts[1]}",
        "baseCcy": parts[0] if spot else "",
        "quoteCcy": parts[1] if spot else "",
        **(dict.fromkeys(contract, "") if spot else contract),
        "tickSz": "0.1",
        "lotSz": "0.00000001" if spot else "1",
        "minSz": "0.00001" if spot else "1",
        "listTime": "1548133413000",
        "expTime": "",
        "state": "live",
        "instIdCode": None,
        **fields,
    }


def generate(symbols: Iterable[str], count: int, rng: random.Random, start_ms: int, pace: float = 0.01) -> list[Push]:
    """Return ``count`` pushes of a made-up market: for each symbol a ticker, a trade and a book, then a mixture."""
    walks = {symbol: _Walk(symbol, rng) for symbol in symbols}
    opening = [(walk, channel) for walk in walks.values() for channel in ("tickers", "trades", "books")]
    pushes = []
    for index in range(count):
        if index < len(opening):
            walk, channel = opening[index]
        else:
            walk = rng.choice(list(walks.values()))
            channel = rng.choices(("books", "trades", "tickers"), (6, 3, 1))[0]
        time = str(start_ms + int(index * pace * 1000))
        action = None if channel != "books" else "snapshot" if index < len(opening) else "update"
        pushes.append(Push(pace if index else 0.0, channel, walk.symbol, walk.step(channel, time, action), action))
    return list(chain(pushes, rng))


class _Walk:
    """A price that walks in steps of a tenth, and the rows that tell of it."""

    def __init__(self, symbol: str, rng: random.Random) -> None:
        self.symbol = symbol
        self._rng = rng
        self._price = rng.randrange(100_000, 900_000)
        self._trade_id = rng.randrange(10**6, 10**9)
        self._last = self._at(0)
        """The price of the last trade."""
        self._levels: dict[str, set[int]] = {"asks": set(), "bids": set()}
        """The prices, in tenths, at which there is something."""

    def step(self, channel: str, time: str, action: str | None) -> Row:
        self._price += self._rng.randrange(-3, 4)
        if channel == "trades":
            self._trade_id += 1
            side, identity = self._rng.choice(("buy", "sell")), str(self._trade_id)
            self._last = self._at(0)
            return {"instId": self.symbol, "tradeId": identity, "px": self._at(0), "sz": "1", "side": side, "ts": time}
        if channel == "tickers":
            return self._ticker(time)
        distances = range(1, 21) if action == "snapshot" else (self._rng.randrange(1, 21),)
        return {
            "asks": [self._level("asks", distance, action) for distance in distances] + self._far("asks"),
            "bids": [self._level("bids", -distance, action) for distance in distances] + self._far("bids"),
            "ts": time,
            "checksum": 0,
        }

    def _level(self, side: str, distance: int, action: str | None) -> list[str]:
        size = self._rng.randrange(1 if action == "snapshot" else 0, 100)
        if size:
            self._levels[side].add(self._price + distance)
        else:
            self._levels[side].discard(self._price + distance)
        return [self._at(distance), str(size), "0", str(min(size, 3))]

    def _far(self, side: str) -> list[list[str]]:
        """Take away what is far from the price: a book has no more levels than its channel shows."""
        far = sorted(price for price in self._levels[side] if abs(price - self._price) > REACH)
        self._levels[side].difference_update(far)
        return [[self._at(price - self._price), "0", "0", "0"] for price in far]

    def _ticker(self, time: str) -> Row:
        prices = {"last": self._last, "askPx": self._at(1), "bidPx": self._at(-1)}
        sizes = dict.fromkeys(("lastSz", "askSz", "bidSz", "vol24h", "volCcy24h"), "1")
        spans = dict.fromkeys(("open24h", "high24h", "low24h", "sodUtc0", "sodUtc8"), self._at(0))
        return {"instType": "SPOT", "instId": self.symbol, **prices, **sizes, **spans, "ts": time}

    def _at(self, distance: int) -> str:
        return str(Decimal(self._price + distance) / 10)


def answer_rest(market: Market, path: str, query: Mapping[str, str], now_ms: int) -> Row | None:
    """Return the JSON answer to a REST request; None: there is no such path."""
    symbol = query.get("instId", "")
    known = symbol in market.instruments
    match path.removeprefix("/api/v5"):
        case "/public/time":
            return _success([{"ts": str(now_ms)}])
        case "/system/status":
            return _success([])
        case "/public/instruments":
            rows = [row for row in market.instruments.values() if row["instType"] == query.get("instType")]
            rows = [row for row in rows if symbol in ("", row["instId"])]
            return _success(rows) if rows or not symbol else _unknown(symbol)
        case "/market/tickers":
            types = {name: row["instType"] for name, row in market.instruments.items()}
            return _success([row for name, row in market.tickers.items() if types[name] == query.get("instType")])
        case "/market/books" | "/market/trades" | "/market/history-trades" | "/market/history-candles" if not known:
            return _unknown(symbol)
        case "/market/books":
            book = market.books.get(symbol)
            row = {} if book is None else book.row(int(query.get("sz", "1")))
            return _success([{key: row[key] for key in ("asks", "bids", "ts", "seqId")}] if row else [])
        case "/market/history-candles":
            return _success(_minutes(market.trades[symbol], int(query["after"]), min(int(query["limit"]), 300), now_ms))
        case "/market/trades":
            return _success(_newest(market.trades[symbol], min(int(query.get("limit", "100")), 500)))
        case "/market/history-trades":
            rows = market.trades[symbol]
            if "after" in query:
                field = "ts" if query.get("type") == "2" else "tradeId"
                rows = [row for row in rows if int(row[field]) < int(query["after"])]
            return _success(_newest(rows, min(int(query.get("limit", "100")), 100)))
    return None


def _minutes(rows: list[Row], before: int, limit: int, now_ms: int) -> list[list[str]]:
    """Sum up trades by minute, newest first; a minute without any has a volume of 0."""
    volumes: dict[int, Decimal] = {}
    for row in rows:
        minute = int(row["ts"]) // 60_000 * 60_000
        volumes[minute] = volumes.get(minute, Decimal(0)) + Decimal(row["sz"])
    last = (min(before, now_ms) - 1) // 60_000 * 60_000
    return [
        [str(at), "1", "1", "1", "1", str(volumes.get(at, 0)), "0", "0", "1" if at + 60_000 <= now_ms else "0"]
        for at in range(last, last - limit * 60_000, -60_000)
    ]


def _newest(rows: list[Row], limit: int) -> list[Row]:
    return [fill_row(row) for row in reversed(rows[-limit:])]


def _success(data: list[Row]) -> Row:
    return {"code": "0", "msg": "", "data": data}


def _unknown(symbol: str) -> Row:
    return {"code": "51001", "msg": f"Instrument ID {symbol} doesn't exist.", "data": []}
