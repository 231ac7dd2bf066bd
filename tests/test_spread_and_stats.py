"""Spreads of tickers, and how much is stored and how late it came."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.completeness import Ledgers
from cryptofeed_cli.derived import Recipe, derive
from cryptofeed_cli.derived.records import DERIVED
from cryptofeed_cli.derived.stats import percentile, rounded_down
from cryptofeed_cli.output import write_jsonl
from cryptofeed_cli.queries import Query
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Store, records_of
from cryptofeed_cli.types import KINDS
from tests.stores.records import NOON, SAMPLES, sample, trade


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/market.db", writable=True)) as opened:
        yield opened


def derived(store: Store, name: str, kind: str, **asked: Any) -> list[Any]:
    return list(records_of(DERIVED[name], derive(store, Query(kind, **asked), Recipe(name), Ledgers((), ()))))


def test_the_spread_is_exact(store: Store) -> None:
    store.write([sample("tickers", bid="0.00000001234", ask="0.0000000124")])

    (one,) = derived(store, "spread", "tickers")

    assert (one.bid, one.ask) == ("0.00000001234", "0.0000000124")
    assert Decimal(one.spread) == Decimal("0.00000000006")
    assert one.mid == "0.00000001237"
    assert one.spread_bps == "48.5044"
    assert (one.timestamp, one.received_at, one.symbol, one.source) == (NOON, NOON * MILLISECOND, "BTC-USDT", "live")


def test_a_ticker_with_one_side_has_no_spread_and_a_crossed_one_a_negative(store: Store) -> None:
    store.write([
        sample("tickers", timestamp=NOON, bid=None), sample("tickers", timestamp=NOON + 1, ask=None),
        sample("tickers", timestamp=NOON + 2, bid="3", ask="1"),
        sample("tickers", timestamp=NOON + 3, bid="0", ask="0"),
    ])  # fmt: skip

    found = derived(store, "spread", "tickers")
    assert [(one.spread, one.mid, one.spread_bps) for one in found] == [("-2", "2", "-10000.0000"), ("0", "0", None)]


def test_stats_count_every_channel_of_every_symbol(store: Store) -> None:
    trades = [trade(number, NOON + number * 500, symbol="B") for number in range(11)]
    store.write([*trades, *(SAMPLES[kind] for kind in ("tickers", "orderbooks", "book_updates", "instruments"))])
    store.write([trade(1, source="simulated", run_id="r", episode=1)])
    lines = BytesIO()
    write_jsonl(KINDS["trades"], trades, lines)

    found = derived(store, "stats", "trades", sources=frozenset({"live", "backfill", "simulated"}))

    assert [(one.symbol, one.channel, one.source, one.rows) for one in found] == [
        ("B", "trades", "real", 11), ("BTC-USDT", "tickers", "real", 1), ("BTC-USDT", "orderbooks", "real", 1),
        ("BTC-USDT", "book_updates", "real", 1), ("BTC-USDT", "trades", "simulated", 1),
    ]  # fmt: skip
    assert (found[0].first, found[0].last, found[0].rate, found[0].bytes) == (
        NOON, NOON + 5_000, "2.200", len(lines.getvalue())
    )  # fmt: skip
    assert (found[1].rate, found[1].first) == (None, NOON)


def test_lag_is_that_of_live_records(store: Store) -> None:
    store.write([
        trade(number, NOON + number, received_at=(NOON + number + lag) * MILLISECOND, source=source)
        for number, (lag, source) in enumerate([(5, "live"), (90, "live"), (7, "live"), (999_999, "backfill")])
    ])  # fmt: skip

    (one,) = derived(store, "stats", "trades")

    assert (one.rows, one.lag_p50, one.lag_p90, one.lag_p99) == (4, 7, 90, 90)


def test_without_live_records_there_is_no_lag(store: Store) -> None:
    store.write([trade(1, source="backfill"), trade(2, None)])

    assert [one.lag_p99 for one in derived(store, "stats", "trades")] == [None]


@given(st.lists(st.integers(-2_000, 2_000), min_size=1), st.sampled_from([50, 90, 99]))
def test_a_percentile_is_the_nearest_rank(values: list[int], share: int) -> None:
    place = -(-len(values) * share // 100) - 1

    assert percentile(Counter(values), share) == sorted(values)[place]


@given(st.integers(-(10**15), 10**15))
def test_a_lag_is_exact_below_a_second_and_keeps_three_digits_above(lag: int) -> None:
    rounded = rounded_down(lag)

    assert rounded == lag if abs(lag) < 1_000 else 0 <= lag - rounded <= abs(lag) / 100


def test_few_different_lags_are_counted_however_many_there_are() -> None:
    rng = random.Random(1)

    assert len({rounded_down(rng.randrange(-(10**9), 10**9)) for _ in range(50_000)}) < 20_000
