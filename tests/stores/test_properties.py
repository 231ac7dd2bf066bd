"""What holds for any record, span and order, on every store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Series, Span, Store, Written
from cryptofeed_cli.types import KINDS, Trade
from tests.stores.records import MARKET, NOON, records, sample, trade

# One store serves all examples of a test: each writes to a place of its own.
SHARED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path')}/market.db"
    else:
        url = request.getfixturevalue("mongo_url")
    with closing(open_store(url, writable=True)) as opened:
        yield opened


@pytest.fixture
def place() -> Callable[[], int]:
    """A number that no example had before."""
    numbers = count()
    return lambda: next(numbers)


KINDS_AND_TWINS = [(kind, simulated) for kind in KINDS for simulated in ((False, True) if kind in MARKET else (False,))]


@pytest.mark.parametrize(("kind", "simulated"), KINDS_AND_TWINS)
@SHARED
@given(data=st.data())
def test_any_record_survives_unchanged(
    store: Store, place: Callable[[], int], kind: str, simulated: bool, data: st.DataObject
) -> None:
    record = data.draw(records(kind, simulated=simulated))
    if kind in MARKET:
        record = msgspec.structs.replace(record, exchange=f"{place()}")
        series = Series(record.exchange, record.symbol)
    else:
        identity = KINDS[kind].key[0]
        record = msgspec.structs.replace(record, **{identity: f"{place()}{getattr(record, identity)}"})
        series = None

    assert store.write([record]) == Written(inserted=1)

    found = list(store.scan(KINDS[kind], series, simulated=simulated))
    assert record in found
    assert series is None or found == [record]
    (back,) = [each for each in found if each == record]
    # Equal is not enough: the driver's own integers are equal and cannot be printed.
    assert msgspec.json.encode(back) == msgspec.json.encode(record)


moments = st.none() | st.integers(NOON - 3, NOON + 3)
bounds = st.none() | st.integers((NOON - 5) * MILLISECOND, (NOON + 5) * MILLISECOND) | st.integers(-(2**70), 2**70)


def in_order(trades: list[Trade]) -> list[Trade]:
    return sorted(trades, key=lambda one: (-1 if one.timestamp is None else one.timestamp, int(one.trade_id)))


@SHARED
@given(times=st.lists(moments, max_size=30), since=bounds, until=bounds, descending=st.booleans())
def test_a_span_equals_a_filter_in_python(
    store: Store,
    place: Callable[[], int],
    times: list[int | None],
    since: int | None,
    until: int | None,
    descending: bool,
) -> None:
    symbol = f"S{place()}"
    trades = [trade(number, timestamp, symbol=symbol) for number, timestamp in enumerate(times)]
    store.write(trades)

    found = store.scan(KINDS["trades"], Series("OKX", symbol), span=Span(since, until), descending=descending)

    def within(one: Trade) -> bool:
        if one.timestamp is None:
            return since is None and until is None
        at = one.timestamp * MILLISECOND
        return (since is None or since <= at) and (until is None or at < until)

    expected = in_order([one for one in trades if within(one)])
    assert list(found) == (expected[::-1] if descending else expected)


@SHARED
@given(spans=st.lists(st.tuples(moments, moments), max_size=12), since=bounds, until=bounds)
def test_overlap_equals_a_filter_in_python(
    store: Store,
    place: Callable[[], int],
    spans: list[tuple[int | None, int | None]],
    since: int | None,
    until: int | None,
) -> None:
    symbol = f"S{place()}"
    made = [
        sample("gaps", gap_id=f"{symbol}-{number}", symbol=symbol, start=start, end=end)
        for number, (start, end) in enumerate(spans)
    ]
    store.write(made)

    found = {gap.gap_id for gap in store.scan(KINDS["gaps"], span=Span(since, until)) if gap.symbol == symbol}

    def overlaps(gap: Any) -> bool:
        begins = until is None or gap.start is None or gap.start * MILLISECOND < until
        ends = since is None or gap.end is None or gap.end * MILLISECOND >= since
        return begins and ends

    assert found == {gap.gap_id for gap in made if overlaps(gap)}


@SHARED
@given(batches=st.lists(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["1", "2"])), max_size=8), max_size=6))
def test_every_record_is_inserted_or_a_duplicate_or_a_conflict_and_the_first_stays(
    store: Store, place: Callable[[], int], batches: list[list[tuple[int, str]]]
) -> None:
    symbol = f"S{place()}"
    first: dict[int, str] = {}
    for batch in batches:
        inserted = duplicates = conflicts = 0
        for trade_id, price in batch:
            if trade_id not in first:
                first[trade_id] = price
                inserted += 1
            elif first[trade_id] == price:
                duplicates += 1
            else:
                conflicts += 1

        written = store.write([trade(trade_id, price=price, symbol=symbol) for trade_id, price in batch])

        assert written == Written(inserted, duplicates, conflicts)
    stored = {int(one.trade_id): one.price for one in store.scan(KINDS["trades"], Series("OKX", symbol))}
    assert stored == first
