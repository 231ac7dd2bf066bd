"""Candles against the plainest Python there is, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptofeed_cli.clock import DAY, MILLISECOND, MINUTE, SECOND
from cryptofeed_cli.completeness import Ledgers
from cryptofeed_cli.derived import Recipe, derive
from cryptofeed_cli.derived.records import CANDLES, Candle
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.queries import Query
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Span, Store, records_of
from cryptofeed_cli.types import Gap, Run, Trade
from tests.stores.records import NOON, sample, trade

NOBODY = Ledgers((), ())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/market.db", writable=True)) as opened:
        yield opened


def candles(
    store: Store, interval: int = MINUTE, *, fill: bool = False, ledgers: Ledgers = NOBODY, **asked: Any
) -> list[Candle]:
    recipe = Recipe("candles", interval, fill=fill)
    return list(records_of(CANDLES, derive(store, Query("trades", **asked), recipe, ledgers)))


def naive(trades: list[Trade], seconds: int) -> list[tuple[Any, ...]]:
    """Candles of one symbol: begin, open, high, low, close, volume, vwap, trades."""
    made = []
    in_order = sorted(trades, key=lambda one: (one.timestamp or 0, int(one.trade_id)))
    for begin, members in groupby(in_order, key=lambda one: (one.timestamp or 0) // (seconds * 1000) * seconds * 1000):
        group = list(members)
        prices = [Fraction(one.price) for one in group]
        volume = sum(Fraction(one.size) for one in group)
        turnover = sum(Fraction(one.price) * Fraction(one.size) for one in group)
        exact = turnover / volume if volume else None
        rounded = None if exact is None else Context(18, ROUND_HALF_EVEN).divide(
            Decimal(exact.numerator), Decimal(exact.denominator)
        )  # fmt: skip
        made.append(
            (begin, Fraction(group[0].price), max(prices), min(prices), Fraction(group[-1].price), volume, rounded,
             len(group))
        )  # fmt: skip
    return made


decimals = st.decimals(0, 10**12, allow_nan=False, allow_infinity=False, places=9).map(lambda value: f"{value:f}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.integers(0, 300_000), decimals, decimals, st.sampled_from("AB")), max_size=60),
    seconds=st.sampled_from([1, 7, 60, 86_400]),
)
def test_candles_equal_the_plain_sums(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, str, str]], seconds: int
) -> None:
    trades = [
        trade(number, NOON + after, price=price, size=size, symbol=symbol)
        for number, (after, price, size, symbol) in enumerate(rows)
    ]
    path = tmp_path_factory.mktemp("candles") / "market.db"
    with closing(open_store(f"sqlite:///{path}", writable=True)) as store:
        store.write([*trades, trade(10_000, None, price="999")])
        found = candles(store, seconds * SECOND)

    assert [(one.timestamp, one.symbol) for one in found] == sorted((one.timestamp, one.symbol) for one in found)
    for symbol in "AB":
        ours = [
            (
                one.timestamp, *(Fraction(text) for text in (one.open, one.high, one.low, one.close, one.volume)),
                None if one.vwap is None else Decimal(one.vwap), one.trades,
            )
            for one in found if one.symbol == symbol
        ]  # fmt: skip
        assert ours == naive([one for one in trades if one.symbol == symbol], seconds)


def test_prices_are_the_text_that_the_exchange_sent(store: Store) -> None:
    store.write([trade(number, NOON + number, price=price, size="0.10") for number, price in
                 enumerate(["100.0", "100.50", "99.90", "100.00"])])  # fmt: skip

    (one,) = candles(store)

    assert (one.open, one.high, one.low, one.close) == ("100.0", "100.50", "99.90", "100.00")
    assert (one.volume, one.vwap, one.trades, one.interval) == ("0.40", "100.1", 4, "1m")


def test_empty_intervals_are_absent_unless_filled_at_the_last_price(store: Store) -> None:
    step = MINUTE // MILLISECOND
    store.write([trade(1, NOON, price="5", size="2"), trade(2, NOON + 3 * step, price="7", size="1")])

    assert [one.timestamp for one in candles(store)] == [NOON, NOON + 3 * step]
    filled = candles(store, fill=True)
    assert [one.timestamp for one in filled] == [NOON + place * step for place in range(4)]
    assert {(one.open, one.high, one.low, one.close, one.volume, one.vwap, one.trades) for one in filled[1:3]} == {
        ("5", "5", "5", "5", "0", None, 0)
    }


def test_a_filled_candle_is_not_said_to_be_a_symbol_of_another(store: Store) -> None:
    step = MINUTE // MILLISECOND
    store.write([trade(1, NOON, symbol="A"), trade(2, NOON + 2 * step, symbol="A"), trade(3, NOON + step, symbol="B")])

    found = [(one.timestamp - NOON, one.symbol, one.trades) for one in candles(store, fill=True)]
    assert found == [(0, "A", 1), (step, "A", 0), (step, "B", 1), (2 * step, "A", 1)]


def recording(gaps: list[Gap] | None = None) -> Ledgers:
    config = {"record": {"symbols": ["BTC-USDT"], "channels": ["trades"]}}
    minutes = [(NOON + place * 60_000) * MILLISECOND for place in range(6)]
    run = Run("r", "n", "h", 1, "0", config, minutes[0], minutes[5], "stopped", minutes[5], None, {})
    return Ledgers([run], gaps or [])


def test_a_candle_says_whether_it_is_complete(store: Store) -> None:
    step = MINUTE // MILLISECOND
    store.write([trade(place, NOON + place * step) for place in range(7)])
    gap = sample("gaps", start=NOON + step + 100, end=NOON + step + 200, status="partial")

    found = {(one.timestamp - NOON) // step: one.complete for one in candles(store, ledgers=recording([gap]))}

    assert found == {0: True, 1: False, 2: True, 3: True, 4: True, 5: False, 6: False}


def test_a_candle_that_the_range_cuts_is_not_complete(store: Store) -> None:
    step = MINUTE // MILLISECOND
    store.write([trade(place, NOON + place * step + 30_000) for place in range(4)])
    span = Span((NOON + 10_000) * MILLISECOND, (NOON + 3 * step + 40_000) * MILLISECOND)

    assert [one.complete for one in candles(store, ledgers=recording(), span=span)] == [False, True, True, False]


def test_candles_of_simulated_trades_stand_apart_and_are_not_judged(store: Store) -> None:
    store.write([trade(1), trade(2, price="1", source="simulated", run_id="r", episode=1)])

    found = candles(store, ledgers=recording(), sources=frozenset({"live", "backfill", "simulated"}))

    assert [(one.source, one.trades, one.complete) for one in found] == [("real", 1, True), ("simulated", 1, None)]
    assert [one.source for one in candles(store)] == ["real"]
    assert [(one.source, one.complete) for one in candles(store, sources=frozenset({"live"}))] == [("live", None)]


def test_limit_and_tail_are_of_candles(store: Store) -> None:
    store.write([trade(number, NOON + number * 20_000) for number in range(3_000)])
    everything = candles(store)

    assert len(everything) == 1_000
    for wanted in (0, 1, 5, 600, 5_000):
        assert candles(store, limit=wanted) == everything[:wanted]
        assert candles(store, tail=wanted) == everything[max(1_000 - wanted, 0) :]


@pytest.mark.parametrize("interval", [SECOND // 2, SECOND * 3 // 2, DAY + SECOND, 0])
def test_an_interval_is_whole_seconds_up_to_a_day(interval: int) -> None:
    with pytest.raises(UsageError, match="give whole seconds, from 1s to 1d"):
        Recipe("candles", interval)
