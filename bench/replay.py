"""How fast a recording is replayed out of SQLite, and how well it keeps the recorded distances at a pace.

As fast as it can: a million trades, and trades with tickers of the same instants, as JSON lines to nowhere; seconds are
the processor's. At a pace: by how much the distance of each record to the first one differs from the recorded one,
divided by the speed; the 99th percentile.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import closing
from io import RawIOBase
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, BinaryIO, cast

from bench.race import Rate, Size
from bench.stores import BATCH, made_up
from cryptofeed_cli.clock import SystemClock
from cryptofeed_cli.queries import Query
from cryptofeed_cli.replayer import Pace, replay
from cryptofeed_cli.stores import Store, open_store
from tests.stores.records import NOON, sample, trade

TRADES = 1_000_000
GOAL = 150_000
P99_GOAL = 5.0
SPEEDS = (1, 10)
SECONDS = 10
"""How long each pace is kept."""
_A_SECOND = 100
"""Records a second at a pace, in our time."""


def figures(*, rounds: int, quick: bool) -> Iterator[Rate | Size]:
    """Measure all of it."""
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        with closing(open_store(f"sqlite:///{Path(directory)}/fast.db", writable=True)) as store:
            amount = TRADES // 100 if quick else TRADES
            _fill(store, amount)
            for name, kinds in (("trades", ["trades"]), ("with tickers", ["trades", "tickers"])):
                rates = [_rate(store, kinds) for _ in range(min(rounds, 3))]
                yield Rate(f"replay: {name}", "records", median(rates), GOAL)
        for speed in SPEEDS:
            with closing(open_store(f"sqlite:///{Path(directory)}/{speed}.db", writable=True)) as store:
                error = _error(store, speed, 1 if quick else SECONDS)
                yield Size(f"replay: p99 at speed {speed}", error, P99_GOAL, "ms")


def _fill(store: Store, amount: int) -> None:
    rng = random.Random(1)
    for start in range(0, amount, BATCH):
        batch = made_up(rng, start, min(BATCH, amount - start))
        tickers = [sample("tickers", timestamp=one.timestamp, symbol=one.symbol, last=one.price) for one in batch[::4]]
        store.write([*batch, *tickers])


def _rate(store: Store, kinds: list[str]) -> float:
    with Path(os.devnull).open("wb") as out:
        begin = time.process_time()
        done = replay(store, [Query(kind) for kind in kinds], out)
        return done.records / (time.process_time() - begin)


class _Stopwatch(RawIOBase):
    """Notes when each line comes."""

    def __init__(self) -> None:
        self.times: list[int] = []

    def write(self, data: Any) -> int:
        self.times += [time.monotonic_ns()] * bytes(data).count(b"\n")
        return len(data)

    def isatty(self) -> bool:
        return False


def _error(store: Store, speed: int, seconds: int) -> float:
    """Return the 99th percentile of the errors, in milliseconds."""
    step = 1000 * speed // _A_SECOND
    times = [NOON + step * number for number in range(seconds * _A_SECOND)]
    store.write([trade(number, at) for number, at in enumerate(times)])
    out = _Stopwatch()
    replay(store, [Query("trades")], cast(BinaryIO, out), pace=Pace(speed, SystemClock(), Event().wait))
    errors = sorted(
        abs((came - out.times[0]) / 1e6 - (at - times[0]) / speed) for came, at in zip(out.times, times, strict=True)
    )
    return errors[len(errors) * 99 // 100]
