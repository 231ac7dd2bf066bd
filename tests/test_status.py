"""The status: how channels come in, how much room there is, why a recording is not healthy, and watching it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptofeed_cli.clock import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from cryptofeed_cli.standing import SINCE, Standing
from cryptofeed_cli.status.gathering import gather
from cryptofeed_cli.status.health import LITTLE, OFFSET_MS, OPEN_LONG
from cryptofeed_cli.status.report import ChannelStatus, Status
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Room, Store
from tests.processes import COMMAND, PATIENCE, environment, wait_until
from tests.stores.records import NOON, sample, trade

NOW = NOON * MILLISECOND
ROOM = Room(1 << 30, 10 << 30)


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/m.db" if request.param == "sqlite" else request.getfixturevalue("mongo_url")
    with closing(open_store(url, writable=True)) as opened:
        yield opened


def running(symbols: tuple[str, ...] = ("BTC-USDT",), **changes: Any) -> Any:
    """A run that was heard of just now."""
    usual = {
        "config": {"record": {"symbols": list(symbols), "channels": ["trades"]}}, "state": "running", "ended_at": None,
        "started_at": NOW - HOUR, "heartbeat_at": NOW, "clock_offset_ms": 3,
    }  # fmt: skip
    return sample("runs", **{**usual, **changes})


def looked_at(store: Store, **options: Any) -> Status:
    return gather(store, NOW, [], "", **options)


def only(store: Store, **options: Any) -> ChannelStatus:
    (one,) = looked_at(store, **options).channels
    return one


# Channels


def test_a_channel_tells_its_age_lag_and_rate(store: Store) -> None:
    ages = [90, 50, 20, 10]
    lags = [5, 7, 9, 300]
    trades = [
        trade(number, NOON - age * 1000 - lag, received_at=NOW - age * SECOND)
        for number, (age, lag) in enumerate(zip(ages, lags, strict=True))
    ]
    store.write([running(), *trades])

    one = only(store)
    assert (one.symbol, one.channel) == ("BTC-USDT", "trades")
    assert (one.heard_ms, one.lag_p50_ms, one.lag_p99_ms, one.rate) == (10_000, 7, 9, 0.05)


def test_what_was_fetched_later_has_no_lag(store: Store) -> None:
    store.write([running(), trade(1, NOON - 9_000_000, received_at=NOW, source="backfill")])

    assert only(store).lag_p99_ms is None


def test_a_recorder_of_this_machine_knows_when_the_last_frame_came(store: Store) -> None:
    store.write([running(run_id="r"), trade(1, NOON - 60_000, received_at=NOW - MINUTE)])
    standing = Standing("desk", "r", "h", 1, "LIVE", "", None, "", None, 0, 0, None, None, {"BTC-USDT": {"trades": 42}})

    assert only(store, standings=[standing]).heard_ms == 42
    assert only(store, standings=[msgspec.structs.replace(standing, run_id="another")]).heard_ms == 60_000


def test_simulated_records_say_nothing_of_a_channel(store: Store) -> None:
    made_up = sample("trades", source="simulated", timestamp=NOON - 1, received_at=NOW, run_id="r", episode=1)
    store.write([running(), trade(1, NOON - 60_000, received_at=NOW - MINUTE), made_up])

    assert only(store).heard_ms == 60_000


def test_gaps_that_can_be_filled_are_counted(store: Store) -> None:
    gaps = [
        sample("gaps", gap_id=status, status=status, missing=5, filled=2, updated_at=NOW)
        for status in ("open", "deferred", "partial", "filled", "unrecoverable")
    ]
    store.write([running(), trade(1, NOON - 60_000), *gaps])

    assert only(store).open == 3


# Recorders


def test_a_recorder_tells_what_it_does_and_since_when(store: Store) -> None:
    store.write([running(counters={f"{SINCE}reconnecting": NOW - MINUTE, "frames": 7})])

    (one,) = looked_at(store).recorders
    assert (one.state, one.doing, one.since) == ("running", "RECONNECTING", "2026-11-18T11:59:00.000000000Z")
    assert one.counters == {"frames": 7}


def test_a_recorder_that_ended_tells_since_when(store: Store) -> None:
    store.write([running(state="stopped", ended_at=NOW - HOUR, counters={f"{SINCE}live": NOW - DAY})])

    (one,) = looked_at(store).recorders
    assert (one.state, one.doing, one.since) == ("stopped", None, "2026-11-18T11:00:00.000000000Z")


# Room


def test_the_store_tells_its_size_and_what_is_free(store: Store, tmp_path: Path) -> None:
    store.write([trade(number) for number in range(100)])

    room = looked_at(store, data_directory=tmp_path).room
    assert room.size is not None
    assert room.size > 4096
    assert room.free is not None
    assert room.free > 0
    assert room.data_free is not None


def test_the_forecast_is_by_the_share_of_records_of_the_last_day(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "room", lambda: ROOM)
    old = [trade(number, NOON - 10 * DAY // MILLISECOND + number) for number in range(30)]
    store.write([*old, *(trade(number, NOON - DAY // MILLISECOND + number) for number in range(100, 110))])

    room = looked_at(store).room
    assert room.growth == pytest.approx(ROOM.size // 4 if ROOM.size else 0, rel=1e-5)
    assert room.days_left == 40.0


def test_minutes_say_nothing_of_a_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "room", lambda: ROOM)
    store.write([trade(number, NOON - 300_000 + number) for number in range(30)])

    assert (looked_at(store).room.growth, looked_at(store).room.days_left) == (None, None)


# Health


def late(**changes: Any) -> Any:
    usual = {"channel": "trades", "status": "open", "end": NOON, "updated_at": NOW - OPEN_LONG - 1}
    return sample("gaps", **{**usual, **changes})


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([], "no recorder is running"),
        ([running(counters={f"{SINCE}halted": NOW})], "is halted since 2026-11-18T12:00:00.000000000Z"),
        ([running(clock_offset_ms=-OFFSET_MS - 1)], "the clock of host is -1001 ms from the exchange's; set it"),
        ([running(), late()], "1 gaps in trades of BTC-USDT are open for longer than 15m; `cryptofeed backfill`"),
        ([running(("BTC-USDT", "A", "B-*"))], "nothing was ever recorded of trades of A; see whether"),
    ],
    ids=["none", "halted", "clock", "holes", "silent"],
)
def test_what_is_wrong_is_told_with_the_way_out(store: Store, records: list[Any], reason: str) -> None:
    store.write([trade(1, NOON - 1), *records])

    status = looked_at(store)
    assert not status.healthy
    (told,) = status.reasons
    assert reason in told


@pytest.mark.parametrize(
    "records",
    [[], [late(updated_at=NOW)], [late(status="deferred")], [late(end=None)], [late(channel="tickers")]],
    ids=["nothing", "new", "left for later", "going on", "tickers"],
)
def test_what_is_as_it_should_be_is_healthy(store: Store, records: list[Any]) -> None:
    store.write([running(counters={f"{SINCE}live": NOW}), trade(1, NOON - 1), *records])

    assert looked_at(store).reasons == []


@pytest.mark.parametrize(
    ("free", "reason"), [(LITTLE - 1, "the store's disk has 256 MiB left"), (1 << 29, "will be full in 12.0 hours")]
)
def test_a_disk_that_runs_out_of_room_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, free: int, reason: str
) -> None:
    monkeypatch.setattr(store, "room", lambda: Room(1 << 30, free))
    store.write([running(), *(trade(number, NOON - DAY // MILLISECOND + number) for number in range(10))])

    assert any(reason in one for one in looked_at(store).reasons)


# The command


@pytest.mark.parametrize("form", ["text", "json"])
def test_watching_shows_it_again_and_again_and_ends_as_it_stood_last(tmp_path: Path, form: str) -> None:
    with closing(open_store(f"sqlite:///{tmp_path}/market.db", writable=True)) as store:
        store.write([trade(1)])
    arguments = ["status", "--watch", "--every", "100ms", *(["--json"] if form == "json" else [])]
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment(tmp_path), cwd=tmp_path, stdout=file, stderr=subprocess.PIPE
        )
    try:
        mark = b"store" if form == "text" else b'"store"'
        wait_until(lambda: out.read_bytes().count(mark) >= 3, "three pictures")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 5
    assert said.decode().splitlines() == ["cryptofeed: no recorder is running"]
    if form == "json":
        assert all(json.loads(line)["healthy"] is False for line in out.read_bytes().splitlines())


def test_a_store_that_goes_away_and_comes_back_is_watched_on(tmp_path: Path) -> None:
    path = tmp_path / "market.db"
    open_store(f"sqlite:///{path}", writable=True).close()
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "status", "--watch", "--every", "100ms"], env=environment(tmp_path), cwd=tmp_path, stdout=file,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        wait_until(lambda: b"store sqlite" in out.read_bytes(), "the store")
        os.rename(path, tmp_path / "away.db")
        wait_until(lambda: b"store unreachable" in out.read_bytes(), "word of its absence")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 4
    finally:
        process.kill()
