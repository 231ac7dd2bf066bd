"""Trades into and out of a store, against the bare driver of its database; knows neither store.

The trades are made up, the same in every run, of the shape that a busy market has. The bare driver is given what is
ready to be sent, and gives back what nobody looks at.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from bench.race import Figure, race
from cryptofeed_cli.stores import Store
from cryptofeed_cli.stores.base import Series
from cryptofeed_cli.types import KINDS, Trade

GOAL = 0.6
"""Of the bare driver's speed, for writing."""
BATCH = 2_000
"""What the recorder hands to a store at once."""
BATCHES = 10
"""A round's."""
SERIES = tuple(Series("OKX", symbol) for symbol in ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT"))

_BEGIN_MS = 1_760_000_000_000


class Bare(Protocol):
    """A bare driver, on a table or collection of the same shape and durability as the store's."""

    def ready(self, trades: list[Trade]) -> list[Any]:
        """Return what the driver takes."""

    def write(self, batch: list[Any]) -> None:
        """Store it durably."""

    def read(self, series: Series) -> Iterable[Any]:
        """Return all of a series, in the order of time."""


def race_store(name: str, store: Store, bare: Bare, *, rounds: int, batches: int) -> tuple[list[Figure], int]:
    """Race writing, then reading all of it; return the figures, and how many trades are stored."""

    def write_ours(number: int) -> float:
        made = made_batches(number, batches)
        begin = time.perf_counter()
        for batch in made:
            store.write(batch)
        return time.perf_counter() - begin

    def write_bare(number: int) -> float:
        made = [bare.ready(batch) for batch in made_batches(number, batches)]
        begin = time.perf_counter()
        for batch in made:
            bare.write(batch)
        return time.perf_counter() - begin

    def read_ours(_: int) -> float:
        begin = time.perf_counter()
        for series in SERIES:
            deque(store.scan(KINDS["trades"], series), maxlen=0)
        return time.perf_counter() - begin

    def read_bare(_: int) -> float:
        begin = time.perf_counter()
        for series in SERIES:
            deque(bare.read(series), maxlen=0)
        return time.perf_counter() - begin

    written = race(
        f"{name}: write", "trades", write_ours, write_bare, amount=batches * BATCH, rounds=rounds, goal=GOAL
    )  # fmt: skip
    total = (rounds + 1) * batches * BATCH
    read = race(f"{name}: read", "trades", read_ours, read_bare, amount=total, rounds=rounds)
    stored = sum(store.tally(KINDS["trades"], series).count for series in SERIES)
    if stored != total:
        raise AssertionError(f"{name}: {stored} trades of {total} are stored")
    return [written, read], total


def made_batches(number: int, count: int) -> list[list[Trade]]:
    """Return ``count`` batches that follow on those of every lower ``number``, no trade twice."""
    rng = random.Random(number)
    first = number * count * BATCH
    return [made_up(rng, first + batch * BATCH, BATCH) for batch in range(count)]


def made_up(rng: random.Random, first: int, count: int) -> list[Trade]:
    """Return ``count`` trades, beginning with number ``first``."""
    return [_trade(rng, place) for place in range(first, first + count)]


def _trade(rng: random.Random, place: int) -> Trade:
    """About two hundred trades a second, a third of them in each series."""
    exchange, symbol = SERIES[place % len(SERIES)]
    timestamp = _BEGIN_MS + place * 5
    return Trade(
        timestamp, timestamp * 10**6 + rng.randrange(5 * 10**6, 80 * 10**6), exchange, symbol, "live",
        str(1_500_000_000 + place // len(SERIES)), f"{rng.randrange(1_050_000, 1_060_000) / 10:.1f}",
        f"{rng.randrange(1, 2_000) / 100:g}", rng.choice(("buy", "sell")), rpi=False,
    )  # fmt: skip
