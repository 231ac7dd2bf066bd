"""Stores copied into each other: whole, again and again, killed half way, and beside a recorder."""

from __future__ import annotations

import io
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cryptofeed_cli.copying import Copied, Copier, Digest, Portion, portions
from cryptofeed_cli.output import write_jsonl
from cryptofeed_cli.queries import REAL, Query
from cryptofeed_cli.queries import run as run_query
from cryptofeed_cli.stores import Store, open_store
from cryptofeed_cli.stores.base import Series
from cryptofeed_cli.types import KINDS, Record
from tests.okx_market import Market, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import COMMAND, Recording, environment, query, run, wait_until
from tests.stores.records import MARKET, NOON, SAMPLES, realistic_trades, sample, trade

BTC = Series("OKX", "BTC-USDT")
TRADES = KINDS["trades"]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/market.db"


@pytest.fixture(params=["sqlite to mongodb", "mongodb to sqlite"])
def urls(request: pytest.FixtureRequest, sqlite_url: str, mongo_url: str) -> tuple[str, str]:
    return (sqlite_url, mongo_url) if request.param == "sqlite to mongodb" else (mongo_url, sqlite_url)


@pytest.fixture
def stores(urls: tuple[str, str]) -> Iterator[tuple[Store, Store]]:
    with ExitStack() as stack:
        source, target = (stack.enter_context(closing(open_store(url, writable=True))) for url in urls)
        yield source, target


def copy(source: Store, target: Store) -> dict[str, Copied]:
    copier = Copier(source, target)
    copier.run(portions(source))
    return {str(one.portion): one for one in copier.done}


def everything() -> list[Record]:
    """Records of every kind, of both twins, with and without a time, and ties."""
    twins = [sample(kind, source="simulated", run_id="run-1", episode=1) for kind in MARKET]
    ties = [sample("tickers", last=str(number)) for number in range(5)]
    return [*SAMPLES.values(), *twins, *ties, trade(7, None), trade(8, symbol="ETH-USDT"), sample("gaps", gap_id="g")]


def contents(store: Store) -> dict[tuple[str, bool], list[str]]:
    found: dict[tuple[str, bool], list[str]] = {}
    for portion in portions(store):
        records = store.scan(portion.kind, portion.series, simulated=portion.simulated)
        found.setdefault((portion.kind.name, portion.simulated), []).extend(map(repr, records))
    return {name: sorted(records) for name, records in found.items()}


def test_every_kind_and_its_simulated_twin_is_copied(stores: tuple[Store, Store]) -> None:
    source, target = stores
    source.write(everything())
    done = copy(source, target)

    assert all(one.equal for one in done.values())
    assert contents(target) == contents(source)
    assert sum(one.written for one in done.values()) == len(everything())


def test_copying_again_writes_nothing_and_reads_little(stores: tuple[Store, Store]) -> None:
    source, target = stores
    source.write([trade(number, NOON + number) for number in range(1000)])
    copy(source, target)

    again = copy(source, target)["trades of BTC-USDT"]

    assert (again.read, again.written, again.here, again.equal) == (1, 0, 1000, True)


def test_what_came_since_is_copied_from_where_the_last_copy_ended(stores: tuple[Store, Store]) -> None:
    source, target = stores
    source.write([trade(number, NOON + number) for number in range(1000)])
    copy(source, target)
    source.write([trade(number, NOON + number) for number in range(1000, 1100)])

    again = copy(source, target)["trades of BTC-USDT"]

    assert (again.read, again.written, again.there, again.equal) == (101, 100, 1100, True)


def test_what_was_filled_in_before_that_is_found_all_the_same(stores: tuple[Store, Store]) -> None:
    source, target = stores
    source.write([trade(number, NOON + number) for number in range(1000) if number != 500])
    copy(source, target)
    source.write([trade(500, NOON + 500, source="backfill")])

    again = copy(source, target)["trades of BTC-USDT"]

    assert (again.written, again.equal) == (1, True)


def test_gaps_and_runs_are_brought_up_to_date(stores: tuple[Store, Store]) -> None:
    source, target = stores
    source.write([SAMPLES["gaps"], SAMPLES["runs"]])
    copy(source, target)
    source.write([sample("gaps", revision=2, status="filled"), sample("runs", state="stopped")])
    done = copy(source, target)

    assert all(one.equal for one in done.values())
    assert contents(target) == contents(source)


def test_what_the_target_recorded_later_is_no_difference(stores: tuple[Store, Store]) -> None:
    source, target = stores
    source.write([trade(number, NOON + number) for number in range(10)])
    target.write([trade(number, NOON + number) for number in range(100, 110)])

    assert copy(source, target)["trades of BTC-USDT"].equal


@pytest.mark.parametrize(
    "other", [trade(5, NOON + 5, price="1"), trade(5, NOON + 5, received_at=1), trade(555, NOON + 5)]
)
def test_a_record_that_is_not_the_same_is_a_difference(stores: tuple[Store, Store], other: Any) -> None:
    source, target = stores
    source.write([trade(number, NOON + number) for number in range(10)])
    target.write([other])

    assert not copy(source, target)["trades of BTC-USDT"].equal


def test_a_digest_tells_every_field_and_no_order() -> None:
    portion = Portion(TRADES, BTC, False, NOON)
    one, two = trade(1), trade(2)

    assert Digest(portion, [one, two]) == Digest(portion, [two, one])
    assert Digest(portion, [one, two]) != Digest(portion, [one, one])
    for change in ({"rpi": False}, {"received_at": 1}, {"source": "backfill"}):
        assert Digest(portion, [one]) != Digest(portion, [trade(1, **change)])


# The command


def fill(url: str, count: int) -> None:
    with closing(open_store(url, writable=True)) as store:
        trades = realistic_trades(count)
        for start in range(0, count, 5000):
            store.write(trades[start : start + 5000])
        store.write(everything())


def answers(url: str) -> list[bytes]:
    """What every query prints."""
    printed = []
    with closing(open_store(url, writable=False)) as store:
        for kind in KINDS.values():
            out = io.BytesIO()
            write_jsonl(kind, run_query(store, Query(kind.name, sources=REAL | {"simulated"})), out)
            printed.append(out.getvalue())
    return printed


def test_there_and_back_every_query_is_answered_byte_for_byte_the_same(
    tmp_path: Path, sqlite_url: str, mongo_url: str
) -> None:
    fill(sqlite_url, 3000)
    back = f"sqlite:///{tmp_path}/back.db"
    for source, target in ((sqlite_url, mongo_url), (mongo_url, back)):
        done = run(["copy", "--from", source, "--to", target], environment(tmp_path), tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")

    assert answers(sqlite_url) == answers(mongo_url) == answers(back)


def test_a_copy_that_is_killed_goes_on_where_it_was(tmp_path: Path, urls: tuple[str, str]) -> None:
    source, target = urls
    fill(source, 60_000)
    arguments = ["copy", "--from", source, "--to", target]
    kills = 0
    with closing(open_store(target, writable=True)) as store:
        for part in (0.1, 0.4, 0.7):
            with subprocess.Popen([*COMMAND, *arguments], env=environment(tmp_path), cwd=tmp_path,
                                  stdout=subprocess.DEVNULL) as process:  # fmt: skip
                wait_until(
                    lambda: store.tally(TRADES, BTC).count > part * 60_000 or process.poll() is not None,  # noqa: B023
                    "a part of the copy",
                )
                kills += process.poll() is None
                process.send_signal(signal.SIGKILL)
        there = store.tally(TRADES, BTC).count
    done = run(arguments, environment(tmp_path), tmp_path)

    assert kills == 3
    assert done.returncode == 0, done.stderr.decode()
    (line,) = (line for line in done.stdout.decode().splitlines() if line.startswith("trades"))
    _, series, read, _new, verified = line.split()
    assert (series, verified) == ("2", "2")
    assert int(read.replace(",", "")) <= 60_010 - there + 10
    assert answers(source) == answers(target)


def test_stores_that_differ_are_named_and_exit_6(tmp_path: Path, sqlite_url: str, mongo_url: str) -> None:
    for url, price in ((sqlite_url, "1"), (mongo_url, "2")):
        with closing(open_store(url, writable=True)) as store:
            store.write([trade(1, price=price), sample("tickers")])
    done = run(["copy", "--from", sqlite_url, "--to", mongo_url], environment(tmp_path), tmp_path)

    assert done.returncode == 6
    assert done.stderr.decode() == (
        "cryptofeed: the stores differ: trades of BTC-USDT (1 in --from, 1 in --to)\n"
    )


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("sqlite:///none.db", "sqlite:///new.db", 4),
        ("sqlite:///a.db", "sqlite:///a.db", 2),
        ("postgres://a", "sqlite:///a.db", 4),
    ],
)
def test_bad_urls_are_one_line_with_their_exit_code(tmp_path: Path, source: str, target: str, code: int) -> None:
    done = run(["copy", "--from", source, "--to", target], environment(tmp_path), tmp_path)

    assert (done.returncode, done.stderr.decode().count("\n")) == (code, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_recorded_into_is_copied_as_it_was_at_the_start(
    tmp_path: Path, sqlite_url: str, mongo_url: str
) -> None:
    names = ["BTC-USDT", "ETH-USDT"]
    market = Market(map(instrument, names))
    with OkxServer(market) as server:
        flags = [*names, "--channels", "trades,book_updates,orderbooks,tickers", "--store", sqlite_url]
        with Recording(flags, environment(tmp_path, server), tmp_path) as recording:
            for name in names:
                server.wait_for("subscribe", channel="books", symbol=name)
            played = server.play(generate(names, 40_000, Random(3), NOON), speed=5)
            wait_until(lambda: int(query(sqlite_url, "--count", cwd=tmp_path)) > 100, "trades")
            before = query(sqlite_url, cwd=tmp_path).splitlines()
            done = run(["copy", "--from", sqlite_url, "--to", mongo_url], environment(tmp_path), tmp_path)
            assert not played.done()
            played.cancel()
            assert recording.stop() == 0
    copied = query(mongo_url, cwd=tmp_path).splitlines()
    ids = [(trade["symbol"], trade["trade_id"]) for trade in map(json.loads, copied)]

    assert done.returncode == 0, done.stderr.decode()
    assert set(before) <= set(copied)
    assert len(set(ids)) == len(ids)
