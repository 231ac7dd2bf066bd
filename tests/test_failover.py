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


@pytest.fixture
def tape() -> list[Push]:
    return generate([SYMBOL], 600, random.Random(1), time.time_ns() // 10**6)


def recording(store: str, server: OkxServer, path: Path, *arguments: str, **variables: str) -> Recording:
    env = environment(path, server, **variables)
    return Recording([SYMBOL, "--channels", CHANNELS, "--store", store, "--plain", *arguments], env, path)


@pytest.mark.parametrize(
    ("outage", "slack"),
    [(5, 3 * SECOND), pytest.param(15, SECOND, marks=pytest.mark.soak)],
    ids=["on a busy machine", "to the second"],
)
def test_an_outage_is_bridged_labelled_and_leaves_the_live_record_complete(
    tmp_path: Path, tape: list[Push], outage: int, slack: int
) -> None:
    after = SECOND
    store = f"sqlite:///{tmp_path}/m.db"
    live = [int(push.row["tradeId"]) for push in tape if push.channel == "trades"]
    with (
        OkxServer(Market([instrument(SYMBOL)])) as server,
        recording(store, server, tmp_path, "--simulate-after", "1s") as recorder,
    ):
        server.wait_for("subscribe", count=3, timeout=60)
        server.push(*tape[:300])
        wait_until(lambda: len(stored(store, "trades")) >= 80, "live trades")
        begun = time.time_ns()
        server.outage(outage)
        recorder.wait_for_line("SIMULATED data begins")
        server.push(*tape[300:450])  # told to nobody: REST has it
        recorder.wait_for_line("SIMULATED data ended")
        server.push(*tape[450:])
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
    known = [one for one in stored(store, "trades") if one.source == "live"][:80]
    assert abs(float(stored(store, "trades", SIMULATED)[0].price) - float(known[-1].price)) < 20
    received = sorted(
        max(begun, one.received_at)
        for kind in ("trades", "tickers")
        for one in stored(store, kind, SIMULATED | queries.REAL)
    )
    assert max(later - earlier for earlier, later in pairwise(received)) < after + slack
    (gap,) = (one for one in stored(store, "gaps") if one.channel == "trades")
    assert (gap.kind, gap.status) == ("disconnect", "filled")
    assert "; simulated data from 20" in gap.reason


def test_a_socket_that_fell_silent_is_bridged_too(tmp_path: Path, tape: list[Push]) -> None:
    store = f"sqlite:///{tmp_path}/m.db"
    with OkxServer(Market([instrument(SYMBOL)])) as server:
        arguments = ("--simulate-after", "500ms")
        with recording(store, server, tmp_path, *arguments, CRYPTOFEED_OKX_SILENCE="2s") as recorder:
            server.wait_for("subscribe", count=3, timeout=60)
            server.push(*tape[:100])
            server.silence()
            recorder.wait_for_line("SIMULATED data begins")
            server.silence(False)
            server.push(*tape[100:])
            recorder.wait_for_line("SIMULATED data ended")
            assert recorder.stop() == 0


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
