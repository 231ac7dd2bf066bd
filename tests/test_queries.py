from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from itertools import count as numbers
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.queries import Query, count, run
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import FIRST_PAGE, Series, Span, Store
from cryptofeed_cli.types import KINDS, BookUpdate, Kind, Source
from tests.stores.records import NOON, SAMPLES, sample, trade, update

EVERY_SOURCE: frozenset[Source] = frozenset({"live", "backfill", "simulated"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/market.db", writable=True)) as opened:
        yield opened


def answer(store: Store, kind: str, **asked: Any) -> list[Any]:
    """What a query yields; it counts the same."""
    query = Query(kind, **asked)
    found = list(run(store, query))
    assert count(store, query) == len(found)
    return found


def test_a_query_of_an_empty_store_is_empty(store: Store) -> None:
    assert {kind: answer(store, kind) for kind in KINDS} == {kind: [] for kind in KINDS}


def test_every_kind_can_be_asked_for(store: Store) -> None:
    store.write(list(SAMPLES.values()))

    assert {kind: answer(store, kind) for kind in KINDS} == {kind: [record] for kind, record in SAMPLES.items()}


def test_records_come_by_time_then_symbol_then_number_then_receipt(store: Store) -> None:
    in_order = [
        trade(5, None, symbol="B"),
        trade(900, NOON, symbol="A"),
        trade(9, NOON, symbol="B"),
        trade(10, NOON, symbol="B"),
        trade(11, NOON, symbol="B", exchange="X", received_at=1),
        trade(11, NOON, symbol="B", received_at=2),
        trade(1, NOON + 1, symbol="A"),
    ]
    store.write(random.Random(1).sample(in_order, len(in_order)))

    assert answer(store, "trades") == in_order


def test_instruments_come_by_receipt_then_symbol(store: Store) -> None:
    in_order = [
        sample("instruments", symbol=symbol, received_at=at, timestamp=None)
        for at, symbol in ((1, "B"), (2, "A"), (2, "B"))
    ]
    store.write(in_order[::-1])

    assert answer(store, "instruments") == in_order


def test_only_the_symbols_asked_for_come_and_unknown_ones_are_empty(store: Store) -> None:
    store.write([trade(1, symbol=symbol) for symbol in ("A", "B", "C")])

    assert [found.symbol for found in answer(store, "trades", symbols=("C", "A", "NO-SUCH"))] == ["A", "C"]
    assert answer(store, "trades", symbols=("NO-SUCH",)) == []


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("BTC-*",), ["BTC-USD", "BTC-USDT"]), (("*-USDT", "BTC-USD"), ["BTC-USD", "BTC-USDT", "ETH-USDT"]),
        (("???-USD",), ["BTC-USD"]), (("[BE]*",), ["[BE]TC"]), (("btc-*",), []),
        (("*",), ["BTC-USD", "BTC-USDT", "ETH-USDT", "[BE]TC"]),
    ],
)  # fmt: skip
def test_patterns_mean_the_symbols_that_are_stored(
    store: Store, patterns: tuple[str, ...], expected: list[str]
) -> None:
    symbols = ("BTC-USDT", "ETH-USDT", "BTC-USD", "[BE]TC")
    store.write([trade(1, symbol=symbol) for symbol in symbols])
    store.write([sample("gaps", symbol=symbol, gap_id=symbol) for symbol in symbols])

    assert [found.symbol for found in answer(store, "trades", symbols=patterns)] == expected
    assert sorted(found.symbol for found in answer(store, "gaps", symbols=patterns)) == expected


def test_gaps_and_rejects_are_chosen_by_symbol_and_runs_take_no_notice(store: Store) -> None:
    store.write([
        sample("gaps", symbol="A", gap_id="a"), sample("gaps", symbol="B", gap_id="b"),
        sample("rejects", symbol=None, reject_id="none"), sample("rejects", symbol="B", reject_id="b"),
        sample("runs"),
    ])  # fmt: skip

    assert [gap.gap_id for gap in answer(store, "gaps", symbols=("B",))] == ["b"]
    assert [reject.reject_id for reject in answer(store, "rejects", symbols=("B",))] == ["b"]
    assert answer(store, "runs", symbols=("B",)) == [SAMPLES["runs"]]


@pytest.mark.parametrize(
    "sources",
    [
        frozenset(),
        frozenset({"live"}),
        frozenset({"backfill"}),
        frozenset({"simulated"}),
        frozenset({"live", "backfill"}),
        frozenset({"live", "simulated"}),
        EVERY_SOURCE,
    ],
)
def test_only_the_sources_asked_for_come(store: Store, sources: frozenset[Source]) -> None:
    every = [
        trade(1, NOON, source="live"),
        trade(2, NOON, source="backfill"),
        trade(3, NOON, source="simulated", run_id="r", episode=1),
    ]
    store.write(every)

    assert answer(store, "trades", sources=sources) == [one for one in every if one.source in sources]


def test_nothing_simulated_comes_unless_asked_for(store: Store) -> None:
    store.write([trade(1), trade(2, source="simulated", run_id="r", episode=1)])

    assert answer(store, "trades") == [trade(1)]


def test_limit_gives_the_first_and_tail_the_last_in_ascending_order(store: Store) -> None:
    trades = [trade(number, NOON + number // 3, symbol="AB"[number % 2]) for number in range(20)]
    store.write(trades)
    everything = answer(store, "trades")

    for wanted in (0, 1, 7, 20, 100):
        assert answer(store, "trades", limit=wanted) == everything[:wanted]
        assert answer(store, "trades", tail=wanted) == everything[max(20 - wanted, 0) :]


def test_a_tail_keeps_the_order_of_what_differs_in_the_exchange_only(store: Store) -> None:
    store.write([trade(1, exchange=exchange) for exchange in ("A", "B", "C")])
    everything = answer(store, "trades")

    for wanted in (1, 2, 3):
        assert answer(store, "trades", tail=wanted) == everything[-wanted:]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"limit": 1, "tail": 1}, "--limit and --tail exclude each other; give one of them"),
        ({"limit": -1}, "--limit -1 is negative; give the number of records wanted"),
        ({"tail": -2}, "--tail -2 is negative; give the number of records wanted"),
    ],
)
def test_what_contradicts_itself_is_a_usage_error(asked: dict[str, int], text: str) -> None:
    with pytest.raises(UsageError, match=f"^{text}$"):
        Query("trades", **asked)  # type: ignore[arg-type]


def test_an_unknown_kind_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"^unknown kind 'candels' .kinds: trades, tickers"):
        Query("candels")


class Scanned(Store):
    """Two series of a million trades that are made as they are read, and counted."""

    url = "memory"

    def __init__(self) -> None:
        self.read = 0

    def series(self, kind: Kind, *, simulated: bool = False) -> list[Series]:  # noqa: ARG002
        return [Series("OKX", "A"), Series("OKX", "B")]

    def scan(
        self,
        kind: Kind,  # noqa: ARG002
        series: Series | None = None,
        *,
        descending: bool = False,
        **_: Any,
    ) -> Iterator[Any]:
        assert series is not None
        for number in reversed(range(1_000_000)) if descending else range(1_000_000):
            self.read += 1
            yield trade(number, NOON + number, symbol=series.symbol)

    def write(self, records: Any) -> Any:
        raise NotImplementedError

    def now(self) -> int:
        raise NotImplementedError

    def tally(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def remove(self, *_: Any, **__: Any) -> int:
        raise NotImplementedError

    def trade_ids(self, series: Series, first: int, last: int) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.mark.parametrize("asked", [{"limit": 10}, {"tail": 10}])
@pytest.mark.parametrize(("symbols", "most"), [((), 10 * FIRST_PAGE), (("A",), 5 * FIRST_PAGE)])
def test_hardly_anything_is_read_beyond_the_limit(asked: dict[str, int], symbols: tuple[str, ...], most: int) -> None:
    store = Scanned()

    assert len(list(run(store, Query("trades", symbols=symbols, **asked)))) == 10  # type: ignore[arg-type]
    assert store.read <= most


def chain(*links: tuple[int | None, int] | tuple[None, int, str], **changes: Any) -> list[BookUpdate]:
    """Updates of one instant; a whole book is ``(None, sequence)``, or with its action."""
    return [
        update(prev, sequence, action=action[0] if action else "snapshot" if prev is None else "update", **changes)
        for prev, sequence, *action in links
    ]


CHAINS = {
    "updates": chain((1, 5), (5, 6), (6, 9)),
    "a legal reset": chain((95, 100), (100, 5), (5, 8)),
    "a reset to a sequence already past": chain((7, 9), (9, 3), (3, 7), (7, 8)),
    "two resets in a circle": chain((7, 9), (9, 7), (7, 8)),
    "a snapshot starts": chain((None, 10), (10, 12), (12, 3), (3, 4)),
    "a checkpoint after the update it shows": chain((1, 5), (5, 3), (None, 3, "checkpoint"), (3, 9)),
    "a checkpoint at the end": chain((9, 11), (11, 2), (None, 2, "checkpoint")),
    "a checkpoint and nothing else": chain((None, 2, "checkpoint"), (2, 3)),
    "a snapshot and a checkpoint of it": chain((None, 2), (None, 2, "checkpoint"), (2, 3)),
    "a snapshot after a hole": chain((1, 2), (None, 9), (9, 10)),
    "two chains with a hole between": chain((1, 2), (2, 3), (7, 8), (8, 9)),
    "a snapshot another socket brought": chain((8, 9), (None, 9), (9, 4)),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("seed", range(3))
def test_updates_of_one_instant_follow_their_chain(store: Store, name: str, seed: int) -> None:
    expected = [*chain((0, 1), timestamp=NOON - 1), *CHAINS[name], *chain((50, 51), timestamp=NOON + 1)]
    store.write(random.Random(seed).sample(expected, len(expected)))

    assert answer(store, "book_updates") == expected
    for last in range(len(expected) + 1):
        assert answer(store, "book_updates", tail=last) == expected[len(expected) - last :]


def test_chains_of_several_symbols_stay_whole_within_an_instant(store: Store) -> None:
    expected = [*chain((9, 4), (4, 5), symbol="A"), *chain((7, 2), (2, 6), symbol="B")]
    store.write(expected[::-1])

    assert answer(store, "book_updates") == expected
    assert answer(store, "book_updates", tail=3) == expected[1:]


def test_chains_of_several_runs_do_not_mix(store: Store) -> None:
    runs = [chain((9, 4), (4, 5), source="simulated", run_id=run, episode=1) for run in ("a", "b")]
    store.write(runs[0] + runs[1])

    found = answer(store, "book_updates", sources=frozenset({"simulated"}))

    assert [update for update in found if update.run_id == "a"] == runs[0]
    assert [update for update in found if update.run_id == "b"] == runs[1]


def test_a_chain_that_bites_its_tail_is_given_once_by_receipt(store: Store) -> None:
    circle = [update(1, 2, received_at=1), update(2, 3, received_at=2), update(3, 1, received_at=3)]
    store.write(circle)

    assert answer(store, "book_updates") == circle


moments = st.none() | st.integers(NOON, NOON + 3)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(moments, st.sampled_from("ABC"), st.sampled_from(sorted(EVERY_SOURCE))), max_size=40),
    tail=st.integers(0, 40),
    since=st.none() | st.integers(NOON, NOON + 4),
)
def test_a_merge_equals_sorted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int | None, str, Source]], tail: int, since: int | None
) -> None:
    ids = numbers()
    trades = [
        trade(next(ids), at, symbol=symbol, source=source, run_id="r" if source == "simulated" else None)
        for at, symbol, source in rows
    ]
    path = tmp_path_factory.mktemp("merge") / "market.db"
    with closing(open_store(f"sqlite:///{path}", writable=True)) as store:
        store.write(trades)
        asked = {"sources": EVERY_SOURCE, "span": Span(None if since is None else since * MILLISECOND)}

        found = answer(store, "trades", **asked)
        last = answer(store, "trades", tail=tail, **asked)

    def place(one: Any) -> tuple[Any, ...]:
        return (-1 if one.timestamp is None else one.timestamp, one.symbol, int(one.trade_id))

    within = [one for one in trades if since is None or (one.timestamp is not None and one.timestamp >= since)]
    assert found == sorted(within, key=place)
    assert last == found[max(len(found) - tail, 0) :]
