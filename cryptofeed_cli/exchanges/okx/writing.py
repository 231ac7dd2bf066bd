"""Records to OKX's words: the inverse of `frames` and `answers`; knows no socket and no subscription.

Rows are those of both interfaces: WebSocket frames and REST answers hold the same ones. Numbers go out as they stand in
the records, so whoever fills those in must have written plain decimal digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cryptofeed_cli.types import BookUpdate, CountedLevel, Instrument, Ticker, Trade

_SOURCES = {True: "1", False: "0", None: "0"}
_encode = msgspec.json.encode


def frame(channel: str, symbol: str, row: str, action: str | None = None) -> bytes:
    """Write a data frame around a row."""
    kind = "" if action is None else f'"action":"{action}",'
    return f'{{"arg":{{"channel":"{channel}","instId":{_quoted(symbol)}}},{kind}"data":[{row}]}}'.encode()


def answer(rows: Iterable[str]) -> bytes:
    """Write a REST answer around rows."""
    return f'{{"code":"0","msg":"","data":[{",".join(rows)}]}}'.encode()


def refusal(code: str, message: str) -> bytes:
    """Write a REST answer that says no."""
    return _encode({"code": code, "msg": message, "data": []})


def fill(trade: Trade) -> str:
    """Write one fill: a row of ``trades-all``, of ``/market/trades`` and ``/market/history-trades``."""
    return (
        f'{{"instId":{_quoted(trade.symbol)},"tradeId":"{trade.trade_id}","px":"{trade.price}","sz":"{trade.size}",'
        f'"side":"{trade.side}","source":"{_SOURCES[trade.rpi]}","ts":"{trade.timestamp}"}}'
    )


def fold(fills: Sequence[Trade], size: str, sequence: int) -> str:
    """Write the fills of one taker at one price as a row of ``trades``; ``size`` is their sum."""
    last = fills[-1]
    return (
        f'{{"instId":{_quoted(last.symbol)},"tradeId":"{last.trade_id}","px":"{last.price}","sz":"{size}",'
        f'"side":"{last.side}","ts":"{last.timestamp}","count":"{len(fills)}","source":"{_SOURCES[last.rpi]}",'
        f'"seqId":{sequence}}}'
    )


def quote(ticker: Ticker, kind: str) -> str:
    """Write a row of ``tickers``; ``kind`` is the instrument's ``instType``."""
    one = ticker
    return (
        f'{{"instType":"{kind}","instId":{_quoted(one.symbol)},"last":"{one.last or ""}",'
        f'"lastSz":"{one.last_size or "0"}","askPx":"{one.ask or ""}","askSz":"{one.ask_size or ""}",'
        f'"bidPx":"{one.bid or ""}","bidSz":"{one.bid_size or ""}","open24h":"{one.open_24h or ""}",'
        f'"high24h":"{one.high_24h or ""}","low24h":"{one.low_24h or ""}","sodUtc0":"{one.open_utc0 or ""}",'
        f'"sodUtc8":"{one.open_utc8 or ""}","volCcy24h":"{one.volume_currency_24h or ""}",'
        f'"vol24h":"{one.volume_24h or ""}","ts":"{one.timestamp}"}}'
    )


def change(update: BookUpdate) -> str:
    """Write a row of ``books``."""
    previous = -1 if update.prev_sequence is None else update.prev_sequence
    return (
        f'{{"asks":{_levels(update.asks)},"bids":{_levels(update.bids)},"ts":"{update.timestamp}","checksum":0,'
        f'"prevSeqId":{previous},"seqId":{update.sequence}}}'
    )


def book(update: BookUpdate, depth: int) -> str:
    """Write the best levels of a whole book as a row of ``/market/books``."""
    asks, bids = _levels(update.asks[:depth]), _levels(update.bids[:depth])
    return f'{{"asks":{asks},"bids":{bids},"ts":"{update.timestamp}","seqId":{update.sequence}}}'


def instrument(one: Instrument) -> str:
    """Write a row of ``/public/instruments``: the exchange's own JSON where there is some."""
    if one.raw:
        return one.raw
    base, quote_currency, *_ = (*one.symbol.split("-"), "")
    contract = one.contract_value is not None
    row: dict[str, Any] = {
        "instType": one.type,
        "instId": one.symbol,
        "uly": f"{base}-{quote_currency}" if contract else "",
        "instFamily": f"{base}-{quote_currency}" if contract else "",
        "baseCcy": one.base or "",
        "quoteCcy": one.quote or "",
        "settleCcy": one.settle or "",
        "ctVal": one.contract_value or "",
        "ctMult": one.contract_multiplier or "",
        "ctValCcy": (base if one.contract_type == "linear" else quote_currency) if contract else "",
        "ctType": one.contract_type or "",
        "tickSz": one.tick_size or "",
        "lotSz": one.lot_size or "",
        "minSz": one.min_size or "",
        "listTime": "" if one.listed_at is None else str(one.listed_at),
        "expTime": "" if one.expires_at is None else str(one.expires_at),
        "state": one.state or "",
    }
    return _encode(row).decode()


def candle(row: Sequence[str], *, closed: bool) -> str:
    """Write a row of ``/market/history-candles``: start, prices (open, high, low, close) and volumes in ``row``."""
    return _encode([*row, "1" if closed else "0"]).decode()


def _levels(levels: Iterable[CountedLevel]) -> str:
    return "[" + ",".join([f'["{price}","{size}","0","{orders}"]' for price, size, orders in levels]) + "]"


def _quoted(symbol: str) -> str:
    # What could need escaping in JSON is in no symbol of OKX; but a symbol may come from anywhere.
    return f'"{symbol}"' if symbol.isascii() and symbol.replace("-", "").replace("_", "").isalnum() else (
        _encode(symbol).decode()
    )  # fmt: skip
