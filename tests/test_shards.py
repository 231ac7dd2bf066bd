"""Symbols divided over recorders: a partition, a stable one, and two real recorders that keep to it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.shards import Shard, parse_shard
from cryptofeed_cli.status.gathering import gather
from cryptofeed_cli.stores import open_store
from tests.okx_market import Market, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, query, run, wait_until

symbols = st.sets(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20), max_size=50)
counts = st.integers(1, 12)


def owners(names: set[str], count: int) -> dict[str, int]:
    """Which shard of so many has each symbol."""
    return {name: number for number in range(1, count + 1) for name in Shard(number, count).of(names)}


@given(symbols, counts)
def test_the_shards_of_any_number_are_a_partition_of_any_symbols(names: set[str], count: int) -> None:
    held = [name for number in range(1, count + 1) for name in Shard(number, count).of(names)]

    assert sorted(held) == sorted(names)


@given(symbols, counts)
def test_one_shard_more_moves_symbols_to_the_new_one_only(names: set[str], count: int) -> None:
    before, after = owners(names, count), owners(names, count + 1)

    assert {after[name] for name in names if after[name] != before[name]} <= {count + 1}


def test_shards_are_of_about_one_size() -> None:
    sizes = Counter(owners({f"COIN{number}-USDT-SWAP" for number in range(4000)}, 4).values())

    assert all(900 <= size <= 1100 for size in sizes.values())


def test_whoever_divides_by_the_same_rule_divides_alike() -> None:
    def draw(name: str, number: int) -> str:
        return hashlib.blake2b(name.encode() + b"\0" + str(number).encode(), digest_size=16).hexdigest()

    names = {f"COIN{number}-USDT" for number in range(100)}

    assert owners(names, 5) == {name: max(range(1, 6), key=lambda number: draw(name, number)) for name in names}


@pytest.mark.parametrize("text", ["1/1", " 2/4 ", "1024/1024"])
def test_a_shard_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_shard(text)) == text.strip()


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "1/1025", "-1/4", "1/4/2", "a/b", "1.5/2", "\u0661/\u0662"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no shard"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shard", "3/2", "--dry-run"], "'3/2' is no shard"),
        (["--shard", "2/1000", "--duration", "1s"], "shard 2/1000 holds none of the 1 symbols"),
    ],
)
def test_a_bad_shard_is_one_line_and_exit_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(["record", "BTC-USDT", *arguments], environment(tmp_path), tmp_path)

    assert (done.returncode, done.stderr.decode().count("\n")) == (2, 1)
    assert said in done.stderr.decode()


def test_two_recorders_on_one_mongodb_divide_the_symbols(tmp_path: Path, mongo_url: str) -> None:
    names = [f"{coin}-USDT-SWAP" for coin in ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "TON", "LTC")]
    shards = [Shard(number, 2) for number in (1, 2)]
    assert all(shard.of(names) for shard in shards)
    market = Market(map(instrument, names))
    with OkxServer(market) as server, ExitStack() as stack:
        recordings = []
        for shard in shards:
            home = tmp_path / str(shard.number)
            home.mkdir()
            flags = ["*-SWAP", "--channels", "trades,tickers", "--store", mongo_url, "--shard", str(shard)]
            recordings.append(stack.enter_context(Recording(flags, environment(home, server), home)))
        for name in names:
            server.wait_for("subscribe", channel="trades-all", symbol=name)
        server.play(generate(names, 400, Random(1), 1_795_000_000_000)).result(30)
        truth = {row["tradeId"] for rows in market.trades.values() for row in rows}
        wait_until(lambda: int(query(mongo_url, "--count", cwd=tmp_path)) == len(truth), "every trade")
        assert [recording.stop() for recording in recordings] == [0, 0]
        subscribed = Counter((seen.channel, seen.symbol) for seen in server.seen if seen.kind == "subscribe")
    assert set(subscribed.values()) == {1}
    stored = [json.loads(line)["trade_id"] for line in query(mongo_url, cwd=tmp_path).splitlines()]
    with closing(open_store(mongo_url, writable=False)) as store:
        status = gather(store, 0, [], "")

    assert sorted(stored) == sorted(truth)
    assert [one.counters["duplicates"] for one in status.recorders] == [0, 0]
    assert sorted(one.name[-5:] for one in status.recorders) == ["-1of2", "-2of2"]
    assert {one.coverage.verified for one in status.channels} == {100.0}
