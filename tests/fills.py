"""Trades that happen now, and how many of them a recorder has stored; for tests that record one symbol's trades."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from cryptofeed_cli.errors import StoreError
from cryptofeed_cli.queries import Query, count, run
from cryptofeed_cli.stores import open_store
from tests.okx_market import Push

SYMBOL = "BTC-USDT"


def fills(first: int, number: int) -> list[Push]:
    """Return fills with the ids from ``first`` on: recent ones, since older holes are left for later."""
    now = time.time_ns() // 10**6
    return [
        Push(0.0, "trades", SYMBOL, {
            "instId": SYMBOL, "tradeId": str(trade_id), "px": "100.5", "sz": "0.10", "side": "buy", "source": "0",
            "ts": str(now + trade_id),
        })
        for trade_id in range(first, first + number)
    ]  # fmt: skip


def stored(home: Path) -> int:
    """Return how many trades are in the default store of a data directory."""
    try:
        with closing(open_store(f"sqlite:///{home}/market.db", writable=False)) as store:
            return count(store, Query(kind="trades"))
    except StoreError:
        return 0  # not made yet


def gaps(home: Path) -> list[dict[str, Any]]:
    """Return the gaps of that store, as they are printed."""
    with closing(open_store(f"sqlite:///{home}/market.db", writable=False)) as store:
        return [msgspec.to_builtins(gap) for gap in run(store, Query(kind="gaps"))]
