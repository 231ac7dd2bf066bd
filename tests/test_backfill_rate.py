"""Backfill is as fast as the exchange allows, and does not hold up what is live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import closing
from itertools import count, islice, takewhile
from pathlib import Path
from statistics import quantiles

import pytest

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Series
from cryptofeed_cli.types import KINDS
from tests.okx_market import Market, Push, instrument
from tests.okx_server import OkxServer
from tests.processes import Recording, environment

LIVE, MISSED = "ETH-USDT", "BTC-USDT"
PAGES_PER_SECOND = 10
PAGE = 100
GRACE = 1.5
"""Seconds until a hole is believed, and until the last flush is seen."""
ATTEMPTS = 5
"""Others use this machine too: what it can do once in so many times is what it can do."""


def trades(symbol: str, ids: Iterable[int]) -> list[Push]:
    """Trades of this moment."""
    now = str(time.time_ns() // 10**6)
    return [
        Push(0.0, "trades", symbol, {
            "instId": symbol, "tradeId": str(number), "px": "100", "sz": "1", "side": "buy", "ts": now,
        })
        for number in ids
    ]  # fmt: skip


class Watcher:
    """Has live trades happen, and sees how long after their receipt they are durable."""

    def __init__(self, server: OkxServer, url: str) -> None:
        self._server = server
        self._url = url
        self._ids = count(1)
        self._seen = 0

    def watch(self, seconds: float | None, missing: range = range(0)) -> tuple[list[float], float]:
        """Watch for some time, or until a gap of these trades is filled; return the delays, and how long it took."""
        begun = time.monotonic()
        delays: list[float] = []
        with closing(open_store(self._url, writable=False)) as store:
            while True:
                self._server.push(*trades(LIVE, [next(self._ids)]))
                newest = store.scan(KINDS["trades"], Series("OKX", LIVE), descending=True)
                fresh = list(takewhile(lambda trade: int(trade.trade_id) > self._seen, islice(newest, PAGE)))
                now = time.time_ns()
                delays += [(now - trade.received_at) / SECOND for trade in fresh]
                self._seen = max((int(trade.trade_id) for trade in fresh), default=self._seen)
                elapsed = time.monotonic() - begun
                if seconds is not None and elapsed >= seconds:
                    return delays, elapsed
                gaps = [gap for gap in store.scan(KINDS["gaps"]) if gap.symbol == MISSED]
                filled = {gap.first_missing: gap.filled for gap in gaps}
                if seconds is None and filled.get(str(missing.start)) == len(missing):
                    return delays, elapsed
                assert elapsed < 300, gaps
                time.sleep(0.01)  # how finely it is looked


@pytest.mark.parametrize(
    "missed", [1_500, pytest.param(30_000, marks=[pytest.mark.soak, pytest.mark.timeout(300)])]
)
def test_backfill_takes_what_the_rate_allows_and_live_records_do_not_wait_for_it(
    tmp_path: Path, missed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/market.db"
    flags = [LIVE, MISSED, "--channels", "trades", "--store", url]
    with (
        OkxServer(Market(map(instrument, (LIVE, MISSED)))) as server,
        Recording(flags, environment(tmp_path, server), tmp_path),
    ):
        server.wait_for("subscribe", channel="trades-all", count=2)
        server.push(*trades(MISSED, [1]), *trades(LIVE, [0]))
        watcher = Watcher(server, url)
        allowed = missed / PAGE / PAGES_PER_SECOND
        results = []
        for attempt in range(ATTEMPTS):
            before, _ = watcher.watch(allowed + 1)
            first = 2 + attempt * (missed + 1)
            missing = range(first, first + missed)
            server.silence(channel="trades-all", symbol=MISSED)
            server.push(*trades(MISSED, missing))
            server.silence(False, channel="trades-all", symbol=MISSED)
            server.push(*trades(MISSED, [missing.stop]))
            during, elapsed = watcher.watch(None, missing)
            usual, busy = (quantiles(delays, n=100)[98] for delays in (before, during))
            share = (elapsed - GRACE) / allowed
            with capsys.disabled():
                sys.stdout.write(
                    f"\n{missed:,} trades in {elapsed:.1f} s, {share:.2f} of the time that the rate takes; p99 of "
                    f"receive-to-durable {usual * 1000:.0f} ms without, {busy * 1000:.0f} ms with backfill "
                )
            results.append(share <= 1.2 and (missed <= 10_000 or busy <= 1.5 * usual))
            if results[-1]:
                break
    assert results[-1]
