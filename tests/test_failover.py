"""A real recorder whose exchange goes away: the stream goes on simulated, and ends with the first live frame."""

from __future__ import annotations

import random
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cryptofeed_cli import queries
from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.errors import StoreUnreachable
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import Source
from tests.okx_market import Market, Push, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, wait_until

SYMBOL = "BTC-USDT"
CHANNELS = "trades,tickers,orderbooks,book_updates"
SIMULATED: frozenset[Source] = frozenset({"simulated"})


def stored(store: str, kind: str, sources: frozenset[Source] = queries.REAL) -> list[Any]:
    try:
        opened = open_store(store, writable=False)
    except StoreUnreachable:
        return []
    with closing(opened):
        return list(queries.run(opened, queries.Query(kind, sources=sources)))


def tape(seconds: int) -> list[Push]:
    """Return a market of that many seconds, twenty pushes in each."""
    return generate([SYMBOL], 20 * seconds, random.Random(1), time.time_ns() // 10**6, pace=0.05)


def recording(store: str, server: OkxServer, path: Path, *arguments: str, **variables: str) -> Recording:
    env = environment(path, server, **variables)
    return Recording([SYMBOL, "--channels", CHANNELS, "--store", store, "--plain", *arguments], env, path)


def longest_pause(store: str) -> int:
    """Return for how many nanoseconds no trade and no ticker came, made-up ones included, at most."""
    received = sorted(
        one.received_at for kind in ("trades", "tickers") for one in stored(store, kind, SIMULATED | queries.REAL)
    )
    return max(later - earlier for earlier, later in pairwise(received))


@pytest.mark.parametrize(
    ("outage", "then", "retry_max", "slack"),
    [(5, 3, "1s", 3 * SECOND), pytest.param(15, 15, "30s", SECOND, marks=pytest.mark.soak)],
    ids=["on a busy machine", "to the second"],
)
def test_an_outage_is_bridged_labelled_and_leaves_the_live_record_complete(
    tmp_path: Path, outage: int, then: int, retry_max: str, slack: int
) -> None:
    after = SECOND
    store = f"sqlite:///{tmp_path}/m.db"
    pushes = tape(3 + outage + then)
    live = [int(push.row["tradeId"]) for push in pushes if push.channel == "trades"]
    variables = {"CRYPTOFEED_NETWORK_RETRY_MAX": retry_max}
    with (
        OkxServer(Market([instrument(SYMBOL)])) as server,
        recording(store, server, tmp_path, "--simulate-after", "1s", **variables) as recorder,
    ):
        server.wait_for("subscribe", count=3, timeout=60)
        played = server.play(pushes, speed=1)  # it trades on while it is away: REST has it
        wait_until(lambda: len(stored(store, "trades")) >= 5, "live trades")
        known = stored(store, "trades")
        server.outage(outage)
        recorder.wait_for_line("SIMULATED data begins")
        recorder.wait_for_line("SIMULATED data ended")
        played.result(60)
        wait_until(lambda: len(stored(store, "trades")) == len(live), "the live trades, missed ones included")
        assert recorder.stop() == 0
        said = recorder.said

    assert [int(one.trade_id) for one in stored(store, "trades")] == live
    assert {one.source for one in stored(store, "trades")} == {"live", "backfill"}
    assert said.count("SIMULATED data begins") == said.count("SIMULATED data ended") == 1
    for kind in ("trades", "tickers", "orderbooks", "book_updates"):
        made_up = stored(store, kind, SIMULATED)
        assert made_up
        assert {(one.source, one.episode) for one in made_up} == {("simulated", 1)}
    (run,) = stored(store, "runs")
    assert run.counters["simulated_episodes"] == 1
    assert run.counters["simulated_seconds"] >= 2
    assert {one.run_id for one in stored(store, "trades", SIMULATED)} == {run.run_id}
    # The stream goes on where it was, and never pauses for longer than `after` and a second.
    assert abs(float(stored(store, "trades", SIMULATED)[0].price) - float(known[-1].price)) < 20
    assert longest_pause(store) < after + slack
    (gap,) = (one for one in stored(store, "gaps") if one.channel == "trades")
    assert (gap.kind, gap.status) == ("disconnect", "filled")
    assert "; simulated data from 20" in gap.reason


@pytest.mark.parametrize(
    "slack", [3 * SECOND, pytest.param(SECOND, marks=pytest.mark.soak)], ids=["on a busy machine", "to the second"]
)
def test_a_socket_that_fell_silent_is_bridged_too(tmp_path: Path, slack: int) -> None:
    silence, after = 2 * SECOND, SECOND // 2
    store = f"sqlite:///{tmp_path}/m.db"
    with OkxServer(Market([instrument(SYMBOL)])) as server:
        arguments = ("--simulate-after", "500ms")
        with recording(store, server, tmp_path, *arguments, CRYPTOFEED_OKX_SILENCE="2s") as recorder:
            server.wait_for("subscribe", count=3, timeout=60)
            played = server.play(tape(12), speed=1)
            wait_until(lambda: len(stored(store, "trades")) >= 5, "live trades")
            server.silence()
            server.after(6, server.silence, False)
            recorder.wait_for_line("SIMULATED data begins")
            recorder.wait_for_line("SIMULATED data ended")
            played.result(60)
            assert recorder.stop() == 0

    assert longest_pause(store) < silence + after + slack


def test_without_any_exchange_there_is_a_market_within_ten_seconds(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/m.db"
    with OkxServer() as server:
        server.refuse_connections()
        with recording(store, server, tmp_path) as recorder:
            recorder.wait_for_line("SIMULATED data begins")
            wait_until(lambda: len(stored(store, "trades", SIMULATED)) > 10, "simulated trades")
            assert recorder.stop() == 0

    assert stored(store, "trades") == []


def test_no_simulate_turns_it_off(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/m.db"
    with OkxServer() as server:
        server.refuse_connections()
        arguments = ("--no-simulate", "--simulate-after", "100ms", "--duration", "2s")
        with recording(store, server, tmp_path, *arguments) as recorder:
            assert recorder.process.wait(60) == 3
            assert "SIMULATED" not in recorder.said

    assert stored(store, "trades", SIMULATED) == []
