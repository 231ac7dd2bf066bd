"""Each fault alone, and all of them in a long random mix: the store equals the truth, the ledger equals the holes."""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.faults import CHANNELS, FAULTS, SLOW_FAULTS, SYMBOLS, check, finish, ids, recorded_scene, recorder, rows
from tests.okx_log import Seen
from tests.processes import wait_until


@pytest.mark.parametrize("fault", [*FAULTS, *SLOW_FAULTS])
def test_after_a_fault_the_store_equals_the_truth(tmp_path: Path, fault: str) -> None:
    with recorded_scene(tmp_path, 7, 20_000) as (scene, recording, url):
        scene.go(60)
        (FAULTS | SLOW_FAULTS)[fault](scene)
        scene.go(60)
        finish(scene, recording, url)
        check(scene, url)


@pytest.mark.parametrize(
    ("seed", "faults", "redundancy"),
    [
        (1, 40, 1),
        (2, 30, 2),
        pytest.param(3, 300, 1, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
        pytest.param(4, 300, 2, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_after_a_mix_of_faults_the_store_equals_the_truth(
    tmp_path: Path, seed: int, faults: int, redundancy: int
) -> None:
    rng = Random(seed)
    sockets = ("--redundancy", str(redundancy))
    with recorded_scene(tmp_path, seed, 100 * faults + 20_000, *sockets) as (scene, recording, url):
        scene.go(60)
        for _ in range(faults):
            FAULTS[rng.choice(list(FAULTS))](scene)
            scene.go(rng.randrange(1, 40))
            if rng.random() < 0.3:  # else the next fault comes before this one is mended
                wait_until(lambda: scene.server.open_sockets() >= 2 * redundancy, "every socket")
        finish(scene, recording, url)
        check(scene, url)
        assert_polite(scene.server.seen)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    "seconds", [pytest.param(600, marks=[pytest.mark.soak, pytest.mark.timeout(900)])], ids=["ten minutes"]
)
def test_memory_stays_flat_through_ten_minutes_of_faults(
    tmp_path: Path, seconds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = Random(6)
    with recorded_scene(tmp_path, 6, 300 * seconds) as (scene, recording, url):
        begun, samples = time.monotonic(), []
        while (elapsed := time.monotonic() - begun) < seconds:
            FAULTS[rng.choice(list(FAULTS))](scene)
            pause = time.monotonic() + 1
            wait_until(lambda until=pause: time.monotonic() > until or scene.go(5), "the next second")
            samples.append((elapsed, resident(recording.process.pid)))
        finish(scene, recording, url)
    early = max(size for elapsed, size in samples if 90 <= elapsed <= 150)
    late = max(size for elapsed, size in samples if elapsed > seconds - 60)
    with capsys.disabled():
        sys.stdout.write(f"\n{len(samples)} faults; RSS {early / 2**20:.1f} MiB after 2 minutes, ")
        sys.stdout.write(f"{late / 2**20:.1f} MiB after {seconds // 60} ({late / early - 1:+.1%}); by minute: ")
        by_minute = {int(elapsed // 60): size / 2**20 for elapsed, size in samples}
        sys.stdout.write(", ".join(f"{size:.1f}" for size in by_minute.values()) + " ")
    assert late <= 1.05 * early
    check(scene, url)


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "stopped"])
@pytest.mark.parametrize("busy", [True, False], ids=["busy after it", "quiet after it"])
def test_what_happened_while_no_recorder_ran_is_fetched_by_the_next(tmp_path: Path, number: int, busy: bool) -> None:
    with recorded_scene(tmp_path, 8, 5_000) as (scene, recording, url):
        scene.go(200)
        recording.stop(number)
        scene.go(1000)
        with recorder(tmp_path, scene.server) as second:
            if busy:
                scene.server.wait_for("subscribe", channel="trades-all", count=2 * len(SYMBOLS))
                scene.go(100)
            finish(scene, second, url, speak=busy)
        check(scene, url)
    for symbol in SYMBOLS:
        kinds = {(gap["channel"], gap["kind"]) for gap in rows(url, "gaps", symbol)}
        assert kinds == {(channel, "downtime") for channel in CHANNELS}


def test_a_hole_that_a_killed_recorder_had_no_time_to_name_is_named_and_filled_by_the_next(tmp_path: Path) -> None:
    with recorded_scene(tmp_path, 10, 5_000, CRYPTOFEED_OKX_REORDER_GRACE="1h") as (scene, recording, url):
        scene.go(60)
        lost = scene.lose("trades")
        scene.settle()
        newest = scene.server.market.trades[lost.symbol][-1]["tradeId"]
        wait_until(lambda: rows(url, "trades", lost.symbol, tail=1)[0]["trade_id"] == newest, "what followed it")
        recording.stop(signal.SIGKILL)
        with recorder(tmp_path, scene.server) as second:
            finish(scene, second, url)
        check(scene, url)
        named = ids(gap for gap in rows(url, "gaps", lost.symbol) if gap["kind"] == "trade_ids")
    assert named == {int(lost.row["tradeId"])}


def test_what_is_older_than_the_limit_is_left_for_later(tmp_path: Path) -> None:
    with recorded_scene(tmp_path, 9, 5_000) as (scene, recording, url):
        scene.go(200)
        recording.stop()
        scene.go(1000)
        with recorder(tmp_path, scene.server, CRYPTOFEED_OKX_BACKFILL_LIMIT="1m") as second:
            finish(scene, second, url, complete=False)
        deferred = [gap for gap in rows(url, "gaps") if gap["channel"] == "trades"]
        held = {symbol: {int(row["trade_id"]) for row in rows(url, "trades", symbol)} for symbol in SYMBOLS}
        truth = {symbol: {int(row["tradeId"]) for row in scene.server.market.trades[symbol]} for symbol in SYMBOLS}

    assert [(gap["kind"], gap["status"], gap["filled"]) for gap in deferred] == [("downtime", "deferred", 0)] * 2
    for gap in deferred:
        assert ids([gap]) == truth[gap["symbol"]] - held[gap["symbol"]]


def test_a_flapping_server_is_not_stormed(tmp_path: Path) -> None:
    with recorded_scene(tmp_path, 5, 2_000) as (scene, recording, url):
        scene.go(60)
        for _ in range(15):
            count = sum(seen.kind == "open" for seen in scene.server.seen)
            scene.server.drop()
            scene.server.wait_for("open", count=count + 1)
        finish(scene, recording, url)
        check(scene, url)
        assert_polite(scene.server.seen)


def assert_polite(seen: list[Seen]) -> None:
    """At most three connects in any second, and no subscription twice on one socket but after a break."""
    times = [one.at for one in seen if one.kind == "connect"]
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[3:], strict=False))
    requests = Counter(one.peer for one in seen if one.kind in ("subscribe", "unsubscribe"))
    assert max(requests.values()) < 480
