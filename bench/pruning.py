"""How long trades take to be durable in an SQLite file while old ones are pruned, against the same file undisturbed.

The pruner is the real command in a process of its own; the recorder is its store, flushed as the recorder flushes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from bench.race import Figure, race
from cryptofeed_cli.stores import Store, open_store
from cryptofeed_cli.stores.base import Series
from cryptofeed_cli.types import KINDS, Trade

RATE = 2_000
"""Trades a second: about all of OKX at a quiet hour."""
FLUSH_SECONDS = 0.25
SECONDS = 5.0
OLD = 100_000
"""Trades to be pruned: more than goes while a round is measured."""
GOAL = 0.5

_OLD_BEGIN_MS, _NEW_BEGIN_MS = 1_760_000_000_000, 1_790_000_000_000
_OLD = Series("OKX", "OLD-USDT")


def figure(*, rounds: int, quick: bool) -> Figure:
    """Race the 99th percentile with a pruner beside against the one without."""
    seconds, old = (0.5, 5_000) if quick else (SECONDS, OLD)
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        url = f"sqlite:///{Path(directory, 'market.db')}"
        store = open_store(url, writable=True)
        ids = iter(range(1, 2**62))

        def undisturbed(_: int) -> float:
            return _p99(store, _trades(ids, _NEW_BEGIN_MS, round(RATE * seconds), "BTC-USDT"))

        def pruned(_: int) -> float:
            rest = _trades(ids, _OLD_BEGIN_MS, old, _OLD.symbol)
            store.write(rest)
            with _pruner(url, directory) as process:
                while next(store.scan(KINDS["trades"], _OLD)) == rest[0]:
                    time.sleep(0.01)
                p99 = undisturbed(0)
                process.kill()
            return p99

        try:
            return race("sqlite: durable, p99", "flushes", pruned, undisturbed, amount=1, rounds=rounds, goal=GOAL)
        finally:
            store.close()


def _trades(ids: Iterator[int], begin_ms: int, count: int, symbol: str) -> list[Trade]:
    """Return trades with ids of their own, ten a millisecond."""
    return [
        Trade(begin_ms + number // 10, (begin_ms + number // 10) * 10**6, "OKX", symbol, "live", str(number),
              "91250.1", "0.05", "buy", rpi=False)
        for number in islice(ids, count)
    ]  # fmt: skip


def _pruner(url: str, directory: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cryptofeed_cli", "prune", "--before", "2026-01-01", "--store", url]
    env = {**os.environ, "CRYPTOFEED_DATA_DIR": directory}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _p99(store: Store, trades: list[Trade]) -> float:
    """Let trades come evenly and be flushed; return the 99th percentile of the seconds until each was durable."""
    begin = time.perf_counter()
    due = [begin + number / RATE for number in range(len(trades))]
    waited: list[float] = []
    flush = begin
    while len(waited) < len(trades):
        flush = max(flush + FLUSH_SECONDS, time.perf_counter())
        time.sleep(max(0.0, flush - time.perf_counter()))
        done = len(waited)
        now = time.perf_counter()
        come = sum(at <= now for at in due[done:])
        store.write(trades[done : done + come])
        now = time.perf_counter()
        waited += [now - at for at in due[done : done + come]]
    return quantiles(waited, n=100)[98]
