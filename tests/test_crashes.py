"""SIGKILL of a real recorder at any moment: the store opens, little is missing, and what is missing is named."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faults import CHANNELS, SYMBOLS, Scene, check, finish, ids, recorded_scene, recorder, rows
from tests.mongod import Mongod
from tests.okx_market import Push
from tests.processes import Recording, wait_until
from tests.test_outages import FAST, home, live, server, waiting

__all__ = ["home", "server"]  # fixtures

FLUSH = 0.25
COMMIT = 1.5
"""Seconds that a commit, and a machine that is busy with other tests, may take at most."""

SITUATIONS = ("committing", "away", "draining")
SOME = [pytest.param(situation, seed, id=situation) for seed, situation in enumerate(SITUATIONS)]
MANY = [
    pytest.param(SITUATIONS[seed % 3], seed, id=f"{SITUATIONS[seed % 3]}-{seed}", marks=pytest.mark.soak)
    for seed in range(3, 33)
]


class Timed:
    """Notes when each trade was pushed."""

    def __init__(self, scene: Scene) -> None:
        self.at: dict[tuple[str, int], float] = {}
        self._happen = scene.happen
        scene.happen = self.happen  # type: ignore[method-assign]

    def happen(self, *pushes: Push) -> None:
        for push in pushes:
            if push.channel == "trades":
                self.at[push.symbol, int(push.row["tradeId"])] = time.monotonic()
            self._happen(push)


def kill(scene: Scene, recording: Recording, situation: str, mongod: Mongod, home: Path, rng: Random) -> float:
    """Bring the recorder into a situation and kill it there; return when that was."""
    pid = recording.process.pid
    if situation == "committing":
        live(scene, rng.uniform(0.3, 1.5), pid)
    else:
        mongod.kill()
        live(scene, rng.uniform(0.5, 2.0), pid)
        if situation == "draining":
            scene.go(1000)
            wait_until(lambda: waiting(home) > 1000, "records in the outbox")
            mongod.start()
            most = 0
            while (left := waiting(home)) and left >= most:
                most = max(most, left)
                scene.go(2)
    recording.process.kill()
    killed = time.monotonic()
    recording.process.wait(30)
    with suppress(Exception):
        mongod.kill()
    mongod.start()
    return killed


def url_of(situation: str, mongod: Mongod, home: Path) -> str:
    return f"sqlite:///{home}/market.db" if situation == "committing" else f"{mongod.url}/market?{FAST}"


@pytest.mark.parametrize(("situation", "seed"), [*SOME, *MANY])
def test_after_a_kill_the_store_opens_and_every_trade_is_there_again(
    home: Path, server: Mongod, situation: str, seed: int
) -> None:
    url = url_of(situation, server, home)
    with recorded_scene(home, seed, 60_000, url=url) as (scene, recording, _):
        kill(scene, recording, situation, server, home, Random(seed))
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(home / "market.db")) as database:
                found = {text for (text,) in database.execute("PRAGMA integrity_check")}
                # SQLite 3.40 mistakes columns of tables without row ids for others, and finds NULL in them.
                assert {text for text in found if not text.startswith("NULL value in ")} <= {"ok"}
        scene.go(200)
        with recorder(home, scene.server, url=url) as second:
            scene.server.wait_for("subscribe", channel="trades-all", count=2 * len(SYMBOLS))
            scene.go(100)
            finish(scene, second, url)
        check(scene, url)
    assert waiting(home) == 0
    gaps = rows(url, "gaps")
    assert {(gap["symbol"], gap["channel"], gap["kind"]) for gap in gaps} == {
        (symbol, channel, "downtime") for symbol in SYMBOLS for channel in CHANNELS
    }
    first, last = rows(url, "runs")
    assert (first["state"], first["ended_at"]) == ("failed", first["heartbeat_at"])
    assert last["state"] == "stopped"


@pytest.mark.parametrize(("situation", "seed"), [*SOME[:1], *MANY[:10]])
def test_without_backfill_a_kill_costs_no_more_than_what_was_on_its_way_and_the_ledger_names_it(
    home: Path, server: Mongod, situation: str, seed: int
) -> None:
    url = url_of(situation, server, home)
    with recorded_scene(home, seed, 60_000, url=url, CRYPTOFEED_OKX_BACKFILL="false") as (scene, recording, _):
        timed = Timed(scene)
        killed = kill(scene, recording, situation, server, home, Random(seed))
        scene.go(200)
        with recorder(home, scene.server, url=url, CRYPTOFEED_OKX_BACKFILL="false") as second:
            scene.server.wait_for("subscribe", channel="trades-all", count=2 * len(SYMBOLS))
            scene.settle()
            market = scene.server.market
            wait_until(
                lambda: all(
                    rows(url, "trades", symbol, tail=1)[0]["trade_id"] == market.trades[symbol][-1]["tradeId"]
                    for symbol in SYMBOLS
                ),
                "the last trades",
            )
            assert second.stop() == 0
    for symbol in SYMBOLS:
        held = {int(trade["trade_id"]) for trade in rows(url, "trades", symbol)}
        truth = {int(row["tradeId"]) for row in market.trades[symbol]}
        missing = {number for number in truth - held if number > min(held)}
        assert missing == ids(rows(url, "gaps", symbol))
        before = [number for number in missing if timed.at.get((symbol, number), 0) < killed]
        assert all(killed - timed.at[symbol, number] < 2 * FLUSH + COMMIT for number in before)


def test_a_quiet_channel_that_said_nothing_since_the_last_sign_of_life_has_its_gap_too(home: Path) -> None:
    with recorded_scene(home, 40, 20_000) as (scene, recording, url):
        scene.go(50)
        quiet = SYMBOLS[0]
        wait_until(lambda: rows(url, "tickers", quiet), "a ticker")
        with scene.unheard("trades", quiet), scene.unheard("tickers", quiet):
            scene.go(200)
            recording.process.kill()
            recording.process.wait(30)
        last: dict[str, Any] = {kind: rows(url, kind, quiet, tail=1)[0]["timestamp"] for kind in ("trades", "tickers")}
        with recorder(home, scene.server) as second:
            scene.server.wait_for("subscribe", channel="trades-all", count=2 * len(SYMBOLS))
            finish(scene, second, url)
        begun = {gap["channel"]: gap["start"] for gap in rows(url, "gaps", quiet) if gap["channel"] in last}
        assert begun == last
        check(scene, url)
