"""``cryptofeed replay``: one timeline, its pace, gaps, and what ends it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptofeed_cli.clock import MILLISECOND, SECOND
from cryptofeed_cli.errors import Incomplete
from cryptofeed_cli.queries import REAL, Query
from cryptofeed_cli.replayer import LATE, OnGap, Pace, Replayed, replay
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Span, Store
from cryptofeed_cli.types import Gap
from tests.processes import COMMAND, environment, run
from tests.stores.records import NOON, sample, trade, update

ALL = ("trades", "tickers", "orderbooks", "book_updates")


class Hands:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.at = 7 * SECOND
        self.waited: list[float] = []

    def now(self) -> int:
        return self.at

    def monotonic(self) -> int:
        return self.at

    def wait(self, seconds: float) -> bool:
        self.waited.append(round(seconds, 6))
        self.at += int(seconds * SECOND)
        return False


def recording() -> list[Any]:
    """Two symbols and four kinds within three seconds; one trade was fetched later."""
    records: list[Any] = []
    for symbol in ("ETH-USDT", "BTC-USDT"):
        records += [trade(number, NOON + 100 * number, symbol=symbol) for number in range(30) if number != 7]
        records += [sample("tickers", timestamp=NOON + 300 * number, symbol=symbol) for number in range(10)]
        records.append(sample("orderbooks", timestamp=NOON + 1_000, symbol=symbol))
        records.append(update(None, 5, action="snapshot", symbol=symbol, timestamp=NOON + 1_000))
    late = trade(7, NOON + 700, symbol="BTC-USDT", source="backfill", received_at=(NOON + 99_000) * MILLISECOND)
    return [*records, late, trade(1, NOON + 50, source="simulated", run_id="s", episode=1)]


def a_gap(**changes: Any) -> Gap:
    gap: Gap = sample("gaps", symbol="BTC-USDT", channel="trades", status="unrecoverable")
    return msgspec.structs.replace(gap, **{"gap_id": "g", "start": NOON + 500, "end": NOON + 800, **changes})


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of either kind that holds the recording."""
    url = f"sqlite:///{tmp_path}/m.db" if request.param == "sqlite" else request.getfixturevalue("mongo_url")
    with closing(open_store(url, writable=True)) as opened:
        opened.write(recording())
        yield opened


def wanted(*kinds: str, symbols: tuple[str, ...] = (), **options: Any) -> list[Query]:
    return [Query(kind, symbols, **options) for kind in kinds or ALL]


def replayed(store: Store, queries: list[Query], **options: Any) -> tuple[list[dict[str, Any]], Replayed]:
    out = BytesIO()
    told = replay(store, queries, out, **options)
    return [json.loads(line) for line in out.getvalue().splitlines()], told


def test_kinds_and_symbols_stand_on_one_timeline(store: Store) -> None:
    rows, told = replayed(store, wanted())
    assert len(rows) == told.records == 83
    assert all(before["timestamp"] <= after["timestamp"] for before, after in pairwise(rows))
    second = [row for row in rows if row["timestamp"].endswith(":01.000Z")]
    assert [("trade_id" in row, "action" in row, row["symbol"]) for row in second] == [
        (True, False, "BTC-USDT"), (True, False, "ETH-USDT"),
        (False, False, "BTC-USDT"), (False, False, "ETH-USDT"),
        (False, True, "BTC-USDT"), (False, True, "ETH-USDT"),
    ]  # fmt: skip


def test_a_trade_that_was_fetched_later_stands_where_it_was_made(store: Store) -> None:
    rows, _ = replayed(store, wanted("trades", symbols=("BTC-USDT",)))
    assert [int(row["trade_id"]) for row in rows] == list(range(30))
    assert rows[7]["source"] == "backfill"


def test_the_order_of_what_is_asked_for_changes_nothing(store: Store) -> None:
    forth, back = wanted(), wanted(*ALL[::-1])
    assert replayed(store, forth) == replayed(store, back)


def test_the_digest_tells_whether_the_same_was_replayed(store: Store) -> None:
    whole, again = (replayed(store, wanted())[1].digest for _ in range(2))
    part = replayed(store, wanted(span=Span(since=(NOON + 1) * MILLISECOND)))[1].digest
    assert whole == again != part


def test_simulated_records_come_only_when_asked_for(store: Store) -> None:
    real, _ = replayed(store, wanted("trades"))
    all_of_it, _ = replayed(store, wanted("trades", sources=REAL | {"simulated"}))
    assert {row["source"] for row in real} == {"live", "backfill"}
    assert len(all_of_it) == len(real) + 1


def test_a_gap_is_marked_behind_the_last_record_before_it(store: Store) -> None:
    store.write([a_gap()])
    rows, told = replayed(store, wanted("trades", symbols=("BTC-USDT",)), on_gap=OnGap.mark)
    place = next(number for number, row in enumerate(rows) if "gap_id" in row)
    assert [row.get("trade_id") for row in rows[place - 1 : place + 2]] == ["5", None, "6"]
    assert (told.records, told.gaps) == (30, 1)


@pytest.mark.parametrize(
    "changes",
    [{"symbol": "ETH-USDT"}, {"channel": "tickers"}, {"status": "filled"}],
    ids=["another symbol", "another channel", "filled"],
)
def test_gaps_that_hide_nothing_of_it_do_not_count(store: Store, changes: dict[str, Any]) -> None:
    store.write([a_gap(**changes)])
    _, told = replayed(store, wanted("trades", symbols=("BTC-USDT",)), on_gap=OnGap.mark)
    assert told.gaps == 0


def test_a_gap_that_began_before_comes_first(store: Store) -> None:
    store.write([a_gap()])
    rows, _ = replayed(store, wanted("trades", span=Span(since=(NOON + 600) * MILLISECOND)), on_gap=OnGap.mark)
    assert "gap_id" in rows[0]


def test_a_gap_stops_it_where_it_is_told_to_and_what_is_before_is_written(store: Store) -> None:
    store.write([a_gap()])
    out = BytesIO()
    with pytest.raises(Incomplete, match=r"stopped at a gap in trades of BTC-USDT: .* \(unrecoverable\) from 2026-"):
        replay(store, wanted("trades", symbols=("BTC-USDT",)), out, on_gap=OnGap.stop)
    assert len(out.getvalue().splitlines()) == 6


@pytest.mark.parametrize("speed", [1, 10])
def test_recorded_distances_are_kept(store: Store, speed: float) -> None:
    hands = Hands()
    replayed(store, wanted("trades"), pace=Pace(speed, hands, hands.wait))
    assert hands.waited == [0.1 / speed] * 29


def test_what_is_a_little_late_is_made_up_for() -> None:
    hands = Hands()
    pace = Pace(1, hands, hands.wait)
    assert pace.reached(1_000)
    hands.at += LATE
    assert pace.reached(1_100)
    assert pace.reached(1_500)
    assert hands.waited == [0.25]


def test_after_a_pause_it_goes_on_without_a_burst() -> None:
    hands = Hands()
    pace = Pace(1, hands, hands.wait)
    assert pace.reached(1_000)
    hands.at += 60 * SECOND
    assert pace.reached(1_100)
    assert pace.reached(1_200)
    assert hands.waited == [0.1]


def test_a_stop_ends_the_wait_and_nothing_more_is_printed(store: Store) -> None:
    hands = Hands()
    rows, told = replayed(store, wanted("trades"), pace=Pace(1, hands, lambda _: True))
    assert told.records == len(rows) == 2


def test_what_a_terminal_must_not_see_is_escaped_there_only(store: Store) -> None:
    class Terminal(BytesIO):
        def isatty(self) -> bool:
            return True

    store.write([trade(99, NOON + 9_000, symbol="BTC-USDT", price="\x9b2J")])
    plain, terminal = BytesIO(), Terminal()
    for out in (plain, terminal):
        replay(store, wanted("trades"), out)
    assert "\x9b" in plain.getvalue().decode()
    assert "\x9b" not in terminal.getvalue().decode()


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """The URL of a file with the recording."""
    url = f"sqlite:///{tmp_path}/market.db"
    with closing(open_store(url, writable=True)) as opened:
        opened.write(recording())
    return url


def test_records_come_on_stdout_and_the_report_on_stderr(tmp_path: Path, recorded: str) -> None:
    done = run(["replay", "--speed", "0", "--store", recorded], environment(tmp_path), tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 81  # without book updates, unless asked for
    assert b"replayed 81 records and 0 gaps" in done.stderr


def test_a_gap_that_stops_it_is_exit_6(tmp_path: Path, recorded: str) -> None:
    with closing(open_store(recorded, writable=True)) as opened:
        opened.write([a_gap()])
    done = run(["replay", "--speed", "0", "--on-gap", "stop", "--store", recorded], environment(tmp_path), tmp_path)
    assert done.returncode == 6
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("kind", ["gaps", "trade"])
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, recorded: str, kind: str) -> None:
    done = run(["replay", kind, "--store", recorded], environment(tmp_path), tmp_path)
    assert done.returncode == 2
    assert b"cannot be replayed" in done.stderr


def test_where_nothing_is_stored_it_says_so_and_does_not_loop(tmp_path: Path, recorded: str) -> None:
    arguments = ["replay", "--loop", "-s", "NOPE", "--store", recorded]
    done = run(arguments, environment(tmp_path), tmp_path)
    assert done.returncode == 0
    assert b"nothing of that is stored: trades, tickers, orderbooks of NOPE" in done.stderr


def test_a_loop_begins_again_and_ctrl_c_ends_it_with_its_report(tmp_path: Path, recorded: str) -> None:
    with playing(tmp_path, recorded, "--loop", "--speed", "100") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2 * 81)]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert lines[:81] == lines[81:]
    assert process.returncode == 0
    assert said.count(b"replayed") >= 2


def test_a_process_that_was_stopped_goes_on_without_a_burst(tmp_path: Path, recorded: str) -> None:
    pause = 2.0
    with playing(tmp_path, recorded, "trades", "-s", "ETH-USDT") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + pause
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(left)
        process.send_signal(signal.SIGCONT)
        arrivals = [time.monotonic() for _ in iter(process.stdout.readline, b"")]
        process.wait(timeout=30)
    assert arrivals[-1] - arrivals[1] > 2.0  # 27 records, 100 ms each, of which a burst would take two seconds away


def playing(tmp_path: Path, store: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [*COMMAND, "replay", *arguments, "--store", store]
    return subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
