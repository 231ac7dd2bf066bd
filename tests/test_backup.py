"""Copies of a file that is being recorded into, taken as ``docs/operating.md`` tells: whole, and without a pause."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.okx_market import Market, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, query, wait_until
from tests.stores.records import NOON


def backup(source: sqlite3.Connection, target: Path) -> None:
    with closing(sqlite3.connect(target)) as copy:
        source.backup(copy, pages=100)


def vacuum_into(source: sqlite3.Connection, target: Path) -> None:
    source.execute("VACUUM INTO ?", (str(target),))


@pytest.mark.parametrize("take", [backup, vacuum_into])
def test_a_copy_taken_while_recording_is_whole(tmp_path: Path, take: object) -> None:
    url, copy = f"sqlite:///{tmp_path}/market.db", tmp_path / "copy.db"
    names = ["BTC-USDT", "ETH-USDT"]
    market = Market(map(instrument, names))
    with OkxServer(market) as server:
        flags = [*names, "--channels", "trades,book_updates", "--store", url]
        with Recording(flags, environment(tmp_path, server), tmp_path) as recording:
            for name in names:
                server.wait_for("subscribe", channel="trades-all", symbol=name)
            played = server.play(generate(names, 3000, Random(5), NOON), speed=4)
            wait_until(lambda: int(query(url, "--count", cwd=tmp_path)) > 50, "trades")
            with closing(sqlite3.connect(f"file:{tmp_path}/market.db?mode=ro", uri=True)) as source:
                take(source, copy)  # type: ignore[operator]
            assert not played.done()
            played.result(60)
            truth = {name: [row["tradeId"] for row in rows] for name, rows in market.trades.items()}
            total = sum(map(len, truth.values()))
            wait_until(lambda: int(query(url, "--count", cwd=tmp_path)) == total, "every trade")
            assert recording.stop() == 0
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for name, ids in truth.items():
        lines = query(f"sqlite:///{copy}", "-s", name, cwd=tmp_path).splitlines()
        held = [json.loads(line)["trade_id"] for line in lines]
        assert held
        assert held == ids[: len(held)]
    assert query(url, "gaps", cwd=tmp_path) == b""
