"""A disk that is full, a real one: no crash, little memory, and everything that can be had is had in the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptofeed_cli.errors import StoreUnreachable
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.places import places
from tests.disks import fill_up, small_disk
from tests.faults import CHANNELS, SYMBOLS, check, finish, recorded_scene, rows
from tests.processes import environment, run, wait_until
from tests.test_outages import MOST_GROWTH, live

SIZE = "24m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own, where this user may mount one."""
    with small_disk(tmp_path / "disk", SIZE) as mounted:
        yield mounted


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=[pytest.mark.soak, pytest.mark.timeout(400)])])
def test_trades_are_complete_again_once_there_is_room(tmp_path: Path, disk: Path, times: int) -> None:
    url = f"sqlite:///{disk}/market.db"
    with recorded_scene(tmp_path, 31, 60_000, url=url, CRYPTOFEED_DATA_DIR=str(disk)) as (scene, recording, _):
        pid = recording.process.pid
        before = live(scene, 1, pid)
        most = before
        for number in range(1, times + 1):
            filler = fill_up(disk)
            while recording.said.count("the recording halts") < number:
                assert recording.process.poll() is None, recording.said
                most = max(most, live(scene, 0.2, pid))
            most = max(most, live(scene, 3, pid))
            size = (disk / "market.db").stat().st_size
            filler.unlink()
            wait_until(lambda n=number: recording.said.count("the recording goes on") == n, "the recording to go on")  # type: ignore[misc]
            scene.server.wait_for("subscribe", channel="trades-all", count=(number + 1) * len(SYMBOLS))
            scene.server.wait_for("subscribe", channel="books", count=(number + 1) * len(SYMBOLS))
            scene.go(100)
            assert (disk / "market.db").stat().st_size >= size
        finish(scene, recording, url)
        check(scene, url)
    assert most - before < MOST_GROWTH
    gaps = rows(url, "gaps")
    assert {(gap["symbol"], gap["channel"], gap["kind"], gap["fault"]) for gap in gaps} == {
        (symbol, channel, "writer", "us") for symbol in SYMBOLS for channel in CHANNELS
    }
    assert all(gap["missing"] and gap["status"] == "filled" for gap in gaps if gap["channel"] == "trades")


def test_without_any_room_for_an_outbox_a_store_elsewhere_is_recorded_into_and_the_outbox_comes_with_the_room(
    tmp_path: Path, disk: Path
) -> None:
    filler = fill_up(disk)
    elsewhere = f"sqlite:///{tmp_path}/market.db"
    with recorded_scene(
        tmp_path, 34, 20_000, "--name", "desk", url=elsewhere, CRYPTOFEED_DATA_DIR=str(disk)
    ) as (scene, recording, url):
        scene.go(100)
        recording.wait_for_line("recording without an outbox until it can be opened")
        filler.unlink()
        recording.wait_for_line("open again")
        assert places(disk, "desk").outbox.exists()
        finish(scene, recording, url)
        check(scene, url)


def is_there(url: str) -> bool:
    """Tell whether a store was made, and may be read."""
    try:
        open_store(url, writable=False).close()
    except StoreUnreachable:
        return False
    return True


def test_without_any_room_at_all_the_recording_waits_for_it(tmp_path: Path, disk: Path) -> None:
    filler = fill_up(disk)
    with recorded_scene(
        tmp_path, 35, 20_000, url=f"sqlite:///{disk}/market.db", away=True, CRYPTOFEED_DATA_DIR=str(disk)
    ) as (scene, recording, url):
        recording.wait_for_line("the recording halts")
        filler.unlink()
        recording.wait_for_line("the recording goes on")
        scene.server.wait_for("subscribe", channel="trades-all", count=2 * len(SYMBOLS))
        scene.server.wait_for("subscribe", channel="books", count=2 * len(SYMBOLS))
        scene.go(100)
        wait_until(lambda: is_there(url), "the store, which the outbox may be quicker than")
        finish(scene, recording, url)
    for symbol in SYMBOLS:
        stored = [trade["trade_id"] for trade in rows(url, "trades", symbol)]
        assert stored == sorted((row["tradeId"] for row in scene.server.market.trades[symbol]), key=int)
    # Whether anything was heard before it halted is a matter of timing; what was, and could not be kept, has its gap.
    assert {gap["kind"] for gap in rows(url, "gaps")} <= {"writer"}


def test_an_outbox_as_large_as_it_may_be_halts_the_recording_and_keeps_what_it_has(tmp_path: Path) -> None:
    url = "mongodb://127.0.0.1:9/market?serverSelectionTimeoutMS=300"
    small = {"CRYPTOFEED_STORE_OUTBOX_MAX": "100KiB"}
    with recorded_scene(tmp_path, 32, 60_000, url=url, away=True, **small) as (scene, recording, _):
        while "the recording halts" not in recording.said:
            assert recording.process.poll() is None, recording.said
            live(scene, 0.2, recording.process.pid)
        assert "holds as much as outbox_max allows" in recording.said
        (outbox,) = tmp_path.glob("*.outbox")
        assert os.stat(outbox).st_size <= 100 << 10
        assert recording.stop() == 4
    told = run(["status", "--store", url, "--json"], environment(tmp_path), tmp_path)
    assert told.returncode == 4
    assert b'"unreachable"' in told.stdout
