"""A store that goes away while a real recorder records into it: nothing lost, nothing twice, little memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.outbox import inspect
from cryptofeed_cli.stores.places import outboxes, places
from cryptofeed_cli.stores.recorder_outbox import open_outbox
from tests.faults import SYMBOLS, Scene, check, check_trades, finish, recorded_scene, recorder, rows
from tests.mongod import Mongod, MongodMissing, ReplicaSet
from tests.processes import environment, run, wait_until
from tests.relay import Relay
from tests.stores.records import trade
from tests.test_faults import resident

FAST = "serverSelectionTimeoutMS=1000&socketTimeoutMS=3000&connectTimeoutMS=1000"
MOST_GROWTH = 50 << 20
SHORT, LONG = 2.0, 20.0
LENGTHS = [
    pytest.param(SHORT, id="short"),
    pytest.param(LONG, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(400)]),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mongod]:
    """A server of the test's own, which may be ill-treated."""
    mongod = Mongod(tmp_path / "db")
    try:
        mongod.start()
    except MongodMissing as exc:
        pytest.skip(str(exc))
    yield mongod
    with suppress(ProcessLookupError):
        mongod.signal(signal.SIGCONT)
    mongod.kill()


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[ReplicaSet]:
    """Three servers, one of them elected."""
    try:
        with ReplicaSet(tmp_path / "rs") as replicas:
            yield replicas
    except MongodMissing as exc:
        pytest.skip(str(exc))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the recorder keeps its files."""
    home = tmp_path / "home"
    home.mkdir()
    return home


def waiting(home: Path) -> int:
    """How many records wait in the outboxes."""
    return sum(inspect(path).records for path in outboxes(home))


def live(scene: Scene, seconds: float, pid: int) -> int:
    """Let the market go on for some time; return the most memory that the recorder held."""
    deadline, most = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        scene.go(10)
        time.sleep(0.05)  # the market's own pace
        most = max(most, resident(pid))
    return most


@contextmanager
def survived(home: Path, url: str, seed: int, seconds: float) -> Iterator[tuple[Scene, Callable[[], None]]]:
    """A recording that what is done in the block must not harm; the second is to be called while the store is away."""
    with recorded_scene(home, seed, 60_000, url=url) as (scene, recording, _):
        before = live(scene, 0.5, recording.process.pid)
        most: list[int] = []

        def endure() -> None:
            most.append(live(scene, seconds, recording.process.pid))

        yield scene, endure
        most.append(live(scene, 0.5, recording.process.pid))
        wait_until(lambda: waiting(home) == 0, "the outbox to be empty")
        finish(scene, recording, url)
        assert max(most) - before < MOST_GROWTH
        check(scene, url)
        assert [gap for gap in rows(url, "gaps") if gap["missing"] != 0] == []
        assert [reject["reason"] for reject in rows(url, "rejects")] == []


@pytest.mark.parametrize("seconds", LENGTHS)
def test_a_server_killed_and_started_again_costs_nothing(home: Path, server: Mongod, seconds: float) -> None:
    with survived(home, f"{server.url}/market?{FAST}", 21, seconds) as (_, endure):
        server.kill()
        endure()
        assert waiting(home) > 100
        server.start()


@pytest.mark.parametrize("seconds", LENGTHS)
def test_a_server_that_hangs_costs_nothing(home: Path, server: Mongod, seconds: float) -> None:
    with survived(home, f"{server.url}/market?{FAST}", 22, seconds) as (_, endure):
        server.signal(signal.SIGSTOP)
        endure()
        assert waiting(home) > 100
        server.signal(signal.SIGCONT)


@pytest.mark.parametrize("seconds", LENGTHS)
def test_connections_that_are_cut_again_and_again_cost_nothing(home: Path, server: Mongod, seconds: float) -> None:
    with (
        Relay(server.port) as relay,
        survived(home, f"mongodb://127.0.0.1:{relay.port}/market?{FAST}", 23, seconds / 4) as (_, endure),
    ):
        for number in range(4):
            relay.cut(refuse=number % 2 == 1)
            endure()
            relay.mend()


@pytest.mark.parametrize("seconds", LENGTHS)
def test_the_death_of_the_primary_costs_nothing(home: Path, replicas: ReplicaSet, seconds: float) -> None:
    url = replicas.url.replace("/?", "/market?") + f"&{FAST}"
    with survived(home, url, 24, seconds) as (_, endure):
        replicas.primary().kill()
        endure()


# At the start and at the end


def test_a_start_while_the_store_is_away_records_and_what_was_missed_before_is_found_later(
    home: Path, server: Mongod
) -> None:
    url = f"{server.url}/market?{FAST}"
    with recorded_scene(home, 25, 20_000, url=url) as (scene, recording, _):
        scene.go(200)
        assert recording.stop() == 0
        scene.go(300)
        server.kill()
        with recorder(home, scene.server, url=url) as second:
            second.wait_for_line("recording into the outbox until it answers")
            scene.server.wait_for("subscribe", channel="trades-all", count=2 * len(SYMBOLS))
            scene.server.wait_for("subscribe", channel="books", count=2 * len(SYMBOLS))
            scene.settle()
            scene.go(200)
            wait_until(lambda: waiting(home) > 100, "records in the outbox")
            server.start()
            finish(scene, second, url)
        check(scene, url)
    kinds = {(gap["symbol"], gap["channel"], gap["kind"]) for gap in rows(url, "gaps")}
    assert kinds == {
        (symbol, channel, "downtime")
        for symbol in SYMBOLS
        for channel in ("trades", "tickers", "orderbooks", "book_updates")
    }


def test_a_stop_while_the_store_is_away_is_exit_0_and_the_next_run_writes_what_waits(
    home: Path, server: Mongod
) -> None:
    url = f"{server.url}/market?{FAST}"
    with recorded_scene(home, 26, 20_000, url=url) as (scene, recording, _):
        server.kill()
        scene.go(200)
        scene.settle()
        wait_until(lambda: waiting(home) > 100, "records in the outbox")
        assert recording.stop() == 0
        assert "records wait in the outbox" in recording.said
        scene.go(150)  # nobody hears of it, and the next run cannot know what the last one left
        with recorder(home, scene.server, url=url) as blind:
            scene.server.wait_for("subscribe", channel="trades-all", count=2 * len(SYMBOLS))
            scene.server.wait_for("subscribe", channel="books", count=2 * len(SYMBOLS))
            before = waiting(home)
            scene.settle()
            wait_until(lambda: waiting(home) > before + 10, "more records in the outbox")
            assert blind.stop() == 0
        left = waiting(home)

        done = run(["record", "--drain", "--store", url], environment(home), home)
        assert done.returncode == 4
        assert waiting(home) == left

        server.start()
        done = run(["record", "--drain", "--store", url], environment(home), home)
        assert (done.returncode, done.stderr.decode().strip()) == (
            0, f"{left:,} records written into {url}; the outbox is empty",
        )  # fmt: skip
        assert waiting(home) == 0
        scene.go(300)
        with recorder(home, scene.server, url=url) as second:
            scene.server.wait_for("subscribe", channel="trades-all", count=3 * len(SYMBOLS))
            finish(scene, second, url)
            for symbol in SYMBOLS:
                check_trades(scene, symbol, rows(url, "trades", symbol), rows(url, "gaps", symbol))


def test_what_waits_for_another_store_is_refused_with_the_way_out_and_drained_on_request(
    home: Path, server: Mongod
) -> None:
    url = f"{server.url}/market?{FAST}"
    with recorded_scene(home, 27, 5_000, "--name", "desk", url=url) as (scene, recording, _):
        server.kill()
        scene.go(100)
        wait_until(lambda: waiting(home) > 50, "records in the outbox")
        assert recording.stop() == 0
    left = waiting(home)
    other = f"sqlite:///{home}/other.db"

    refused = run(["record", "--name", "desk", "--store", other, "--duration", "1s"], environment(home), home)
    assert refused.returncode == 2
    (line,) = refused.stderr.decode().splitlines()
    told = f"cryptofeed: {left:,} records wait in the outbox of recorder desk for the store {url}, not for {other}: "
    assert line.startswith(told)
    assert "record --drain --name desk" in line

    done = run(["record", "--drain", "--name", "desk", "--store", other], environment(home), home)
    assert done.returncode == 0, done.stderr
    assert waiting(home) == 0
    assert rows(other, "trades")


def test_a_drain_tells_of_what_waits_in_the_outbox_of_another_name(home: Path) -> None:
    path = places(home, "desk").outbox
    with closing(open_outbox(places(home, "desk"), "tests", 1 << 30)) as outbox:
        outbox.bind("sqlite:////elsewhere.db")
        outbox.append([trade(1), trade(2)], 1)
    url = f"sqlite:///{home}/market.db"

    done = run(["record", "--drain", "--name", "dekc", "--store", url], environment(home), home)

    assert done.returncode == 0
    warned, drained = done.stderr.decode().splitlines()
    assert warned.endswith(f"2 records for the store sqlite:////elsewhere.db wait in the outbox {path}")
    assert drained == f"0 records written into {url}; the outbox is empty"
    assert waiting(home) == 2


def test_two_recorders_of_one_file_or_one_name_exclude_each_other(home: Path) -> None:
    with recorded_scene(home, 28, 5_000, "--name", "desk") as (_, recording, url):
        same_file = run(["record", "--name", "b", "--store", url, "--duration", "1s"], environment(home), home)
        other = f"sqlite:///{home}/b.db"
        same_name = run(["record", "--name", "desk", "--store", other, "--duration", "1s"], environment(home), home)
        pid = recording.process.pid

        assert (same_file.returncode, same_name.returncode) == (4, 4)
        assert f"recorder desk (pid {pid} on " in same_file.stderr.decode()
        assert "records into it" in same_file.stderr.decode()
        assert f"held by recorder desk (pid {pid} on " in same_name.stderr.decode()
        assert recording.stop() == 0


def test_a_torn_outbox_is_set_aside_and_the_recording_begins(home: Path) -> None:
    (home / "desk.outbox").write_bytes(b"SQLite format 3\0" + b"\xff" * 3000)
    with recorded_scene(home, 29, 5_000, "--name", "desk") as (scene, recording, url):
        assert "is set aside as" in recording.said
        scene.go(50)
        finish(scene, recording, url)
        check(scene, url)
    assert len(list(home.glob("desk.outbox.damaged-*"))) >= 1


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_store_whose_file_lost_its_end_is_set_aside_and_the_recording_begins(home: Path, share: float) -> None:
    path = home / "market.db"
    with closing(open_store(f"sqlite:///{path}", writable=True)) as store:
        store.write([trade(number) for number in range(2000)])
    os.truncate(path, int(path.stat().st_size * share))

    with recorded_scene(home, 33, 5_000, url=f"sqlite:///{path}") as (scene, recording, url):
        scene.go(50)
        finish(scene, recording, url)
        check(scene, url)

    (aside,) = (one for one in home.glob("market.db.damaged-*") if one.name[-4:] not in ("-wal", "-shm"))
    assert f"is damaged: set aside as {aside}" in recording.said
