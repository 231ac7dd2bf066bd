"""`backfill`: holes that are in the store are filled, also beside a running recorder; end to end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event as Flag
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Answer, Event, Fetch
from cryptofeed_cli.gaps import KEPT
from cryptofeed_cli.refill import Refill, Refilled, fillable
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Series, Span
from cryptofeed_cli.types import KINDS, Gap
from tests.faults import rows
from tests.okx_market import Market, Push, dump, instrument
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, run
from tests.scripted import ManualClock, ScriptedFeed
from tests.stores.records import trade

SYMBOLS = ("BTC-USDT", "ETH-USDT")
NOW = time.time_ns() // MILLISECOND
HOUR_AGO = NOW - 3_600_000


def hole(first: int, last: int, symbol: str = "BTC-USDT", **changes: Any) -> Gap:
    """A gap of an earlier run, left for later."""
    usual = Gap(
        f"{symbol}{first}", "old", "OKX", symbol, "trades", "downtime", "us", HOUR_AGO + first, HOUR_AGO + last,
        str(first), str(last), last - first + 1, 0, "deferred", "no recorder was running", 1, 1,
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changes)


@pytest.fixture
def server() -> OkxServer:
    """An exchange on which 2,000 trades of each symbol happened, but for id 700."""
    market = Market(map(instrument, SYMBOLS))
    with OkxServer(market) as server:
        for symbol in SYMBOLS:
            server.push(*(push(symbol, number) for number in range(1, 2001) if number != 700))
        yield server


def push(symbol: str, number: int) -> Push:
    row = {
        "instId": symbol, "tradeId": str(number), "px": "100", "sz": "1", "side": "buy", "ts": str(HOUR_AGO + number)
    }  # fmt: skip
    return Push(0.0, "trades", symbol, row)


@pytest.fixture(params=["sqlite", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    return f"sqlite:///{tmp_path}/m.db" if request.param == "sqlite" else request.getfixturevalue("mongo_url")


@pytest.fixture
def backfill(url: str, tmp_path: Path, server: OkxServer) -> Callable[..., tuple[int, str]]:
    """Runs the command over a store that holds records; returns its exit code and what it said."""

    def call(*arguments: str, records: list[Any], reach: bool = True) -> tuple[int, str]:
        with closing(open_store(url, writable=True)) as store:
            store.write(records)
        env = environment(tmp_path, server)
        if not reach:
            server.stop()
        done = run(["backfill", *arguments, "--store", url], env, tmp_path)
        assert done.stdout == b""
        return done.returncode, done.stderr.decode()

    return call


def held(url: str, symbol: str = "BTC-USDT") -> list[int]:
    with closing(open_store(url, writable=False)) as store:
        return list(store.trade_ids(Series("OKX", symbol), 0, 10**6))


def outcomes(url: str) -> list[tuple[str, str, int]]:
    return [(gap["symbol"], gap["status"], gap["filled"]) for gap in rows(url, "gaps")]


def test_what_was_left_for_later_is_fetched(url: str, backfill: Callable[..., tuple[int, str]]) -> None:
    code, said = backfill(records=[trade(100, HOUR_AGO), hole(101, 599), trade(600, HOUR_AGO), hole(5, 9, "ETH-USDT")])

    assert code == 0, said
    assert held(url) == list(range(100, 601))
    assert held(url, "ETH-USDT") == list(range(5, 10))
    assert outcomes(url) == [("ETH-USDT", "filled", 5), ("BTC-USDT", "filled", 499)]
    assert {row["source"] for row in rows(url, "trades", "ETH-USDT")} == {"backfill"}
    assert said.splitlines()[1:] == [
        "BTC-USDT     1      499      499       0     0", "ETH-USDT     1        5        5       0     0"
    ]  # fmt: skip


class AnsweringFeed(ScriptedFeed):
    """An exchange that has every trade and answers at once."""

    def take(self, timeout: float) -> list[Event]:
        self._pass_time(timeout)
        now = self._clock
        fetches = [action for action in self.actions if isinstance(action, Fetch)]
        self.actions.clear()
        return [Answer(one.request_id, now.now(), now.monotonic(), 200, self.page(one.path)) for one in fetches]

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, Flag())
        self._clock = clock

    def page(self, path: str) -> bytes:
        below = int(parse_qs(urlsplit(path).query)["after"][0])
        data = [push("BTC-USDT", number).row for number in range(below - 1, max(below - 101, 0), -1)]
        return dump({"code": "0", "msg": "", "data": data})


def test_more_gaps_than_memory_holds_are_all_filled_and_all_told_of(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/m.db", ManualClock()
    numbers = range(2, 2 * (KEPT + 500) + 2, 2)
    with closing(open_store(url, writable=True)) as store:
        store.write([hole(number, number) for number in numbers])
        refill = Refill(store, Okx(), AnsweringFeed(clock), clock, rate_share=1.0)
        gaps, _ = fillable(store, "OKX", (), Span(), clock.now())
        refill.run(gaps, Flag())

        statuses = Counter(gap.status for gap in store.scan(KINDS["gaps"]))
        assert list(store.trade_ids(Series("OKX", "BTC-USDT"), 0, 10**6)) == list(numbers)
    assert statuses == {"filled": len(numbers)}
    assert refill.done["BTC-USDT"] == Refilled("BTC-USDT", len(numbers), len(numbers), len(numbers))


def test_what_the_exchange_lacks_too_is_absent_and_no_longer_missing(
    url: str, backfill: Callable[..., tuple[int, str]]
) -> None:
    code, said = backfill(records=[hole(690, 710)])

    assert code == 0, said
    assert outcomes(url) == [("BTC-USDT", "absent_at_source", 20)]


def test_what_is_stored_meanwhile_is_not_asked_for(
    url: str, server: OkxServer, backfill: Callable[..., tuple[int, str]]
) -> None:
    code, said = backfill(records=[hole(5, 9), *(trade(number, HOUR_AGO) for number in range(5, 10))])

    assert code == 0, said
    assert outcomes(url) == [("BTC-USDT", "filled", 5)]
    assert not any("history-trades" in seen.path for seen in server.seen)


@pytest.mark.parametrize(
    "arguments", [("ETH-*",), ("ETH-USDT",), ("--until", str(HOUR_AGO + 60)), ("BTC-USDT", "--since", "1m")]
)
def test_only_what_was_asked_for_is_touched(
    url: str, backfill: Callable[..., tuple[int, str]], arguments: tuple[str, ...]
) -> None:
    code, said = backfill(*arguments, records=[hole(101, 150), hole(51, 59, "ETH-USDT")])

    assert code == 0, said
    assert held(url) == []
    assert len(held(url, "ETH-USDT")) == (0 if "BTC-USDT" in arguments else 9)


def test_a_gap_whose_ids_nobody_knows_is_left_alone(url: str, backfill: Callable[..., tuple[int, str]]) -> None:
    gap = hole(5, 9, end=None, first_missing=None, last_missing=None, missing=None, status="open")
    code, said = backfill(records=[gap])

    assert code == 0
    assert said.splitlines() == [
        "nothing to fetch",
        "left alone: 1 gaps of BTC-USDT: a recorder is at it, or nobody knows yet what is missing",
    ]


def test_an_exchange_out_of_reach_is_exit_3_and_changes_nothing(
    url: str, backfill: Callable[..., tuple[int, str]]
) -> None:
    code, said = backfill(records=[hole(5, 9)], reach=False)

    assert code == 3
    assert said.splitlines()[-1].startswith("cryptofeed: OKX cannot be asked: ")
    assert outcomes(url) == [("BTC-USDT", "deferred", 0)]


def test_beside_a_running_recorder_its_own_holes_are_left_to_it(tmp_path: Path, server: OkxServer) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    env = environment(tmp_path, server)
    with Recording(["BTC-USDT", "--channels", "trades", "--store", url], env, tmp_path) as recording:
        server.wait_for("subscribe", channel="trades-all")
        recording.wait_for_line("connected to OKX business")
        (running,) = rows(url, "runs")
        with closing(open_store(url, writable=True)) as store:
            store.write([hole(51, 59), hole(5, 9, status="open", run_id=running["run_id"])])
        done = run(["backfill", "--store", url], env, tmp_path)
        assert recording.stop() == 0

    assert done.returncode == 0, done.stderr
    assert sorted(outcomes(url)) == [("BTC-USDT", "filled", 9), ("BTC-USDT", "open", 0)]
