"""What every store promises, as tests: a store's own tests subclass `StoreContract` and give it a ``store``."""

from __future__ import annotations

import random
import time
from threading import Thread
from typing import Any

import msgspec
import pytest

from cryptofeed_cli.clock import HOUR, MILLISECOND, SECOND
from cryptofeed_cli.stores.base import Series, Span, Store, Tally, Written
from cryptofeed_cli.types import KIND_OF, KINDS, MarketRecord, Record
from tests.stores.records import MARKET, NOON, SAMPLES, numbered, sample, trade, update

BTC = Series("OKX", "BTC-USDT")
TRADES = KINDS["trades"]


def stored(store: Store, kind: str, series: Series | None = BTC, **options: Any) -> list[Any]:
    """Everything of one series."""
    return list(store.scan(KINDS[kind], series if kind in MARKET else None, **options))


def read_back(store: Store, record: Record) -> list[Any]:
    """Everything stored where a record belongs."""
    kind = KIND_OF[type(record)]
    if not isinstance(record, MarketRecord):
        return list(store.scan(kind))
    return list(store.scan(kind, Series(record.exchange, record.symbol), simulated=record.source == "simulated"))


def _distinct(kind: str, number: int) -> dict[str, Any]:
    """Fields that tell one record of a kind from the next, later one."""
    own = {
        "trades": {"trade_id": str(number)}, "tickers": {"last": str(number)}, "book_updates": {"sequence": number + 9},
    }.get(kind, {})  # fmt: skip
    return {"timestamp": NOON + number, "received_at": (NOON + number) * MILLISECOND, **own}


class StoreContract:
    """Subclasses have a fixture ``store``: an empty store, opened to write."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_record_is_read_back_as_it_was_written(self, store: Store, kind: str) -> None:
        record = SAMPLES[kind]

        assert store.write([record]) == Written(inserted=1)
        assert stored(store, kind) == [record]

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "runs"])
    def test_a_record_written_again_is_counted_not_stored(self, store: Store, kind: str) -> None:
        record = SAMPLES[kind]

        assert store.write([record, record]) == Written(inserted=1, duplicates=1)
        assert store.write([record]) == Written(duplicates=1)
        assert stored(store, kind) == [record]

    def test_a_batch_holds_records_of_every_kind(self, store: Store) -> None:
        assert store.write(list(SAMPLES.values())) == Written(inserted=len(SAMPLES))
        assert {kind: stored(store, kind) for kind in KINDS} == {kind: [record] for kind, record in SAMPLES.items()}

    def test_an_empty_batch_is_no_trouble(self, store: Store) -> None:
        assert store.write([]) == Written()

    def test_a_trade_that_came_another_way_and_time_is_a_duplicate(self, store: Store) -> None:
        first = trade(1)
        again = trade(1, NOON + 1, received_at=5, source="backfill", rpi=None)

        store.write([first])

        assert store.write([again]) == Written(duplicates=1)
        assert stored(store, "trades") == [first]

    @pytest.mark.parametrize("change", [{"price": "1"}, {"size": "1"}, {"side": "sell"}])
    def test_a_trade_that_says_otherwise_is_a_conflict_and_the_first_stays(
        self, store: Store, change: dict[str, Any]
    ) -> None:
        store.write([trade(1)])

        assert store.write([trade(2), trade(1, **change)]) == Written(inserted=1, conflicts=1)
        assert stored(store, "trades") == [trade(1), trade(2)]

    @pytest.mark.parametrize(
        ("kind", "change"),
        [
            ("orderbooks", {"bids": [("1", "1")]}),
            ("book_updates", {"asks": [("1", "1", 1)]}),
            ("instruments", {"state": "suspend"}),
        ],
    )
    def test_a_record_of_another_kind_can_conflict_too(self, store: Store, kind: str, change: dict[str, Any]) -> None:
        assert store.write([SAMPLES[kind], sample(kind, **change)]) == Written(inserted=1, conflicts=1)
        assert stored(store, kind) == [SAMPLES[kind]]
        assert [reject.channel for reject in stored(store, "rejects")] == [kind]

    def test_a_conflict_is_kept_in_the_rejects_once_and_whole(self, store: Store) -> None:
        second = trade(1, price="666", received_at=7)
        store.write([trade(1)])

        store.write([second])
        store.write([second])

        (reject,) = stored(store, "rejects")
        assert (reject.received_at, reject.exchange, reject.channel, reject.symbol) == (7, "OKX", "trades", "BTC-USDT")
        assert "conflict" in reject.reason
        assert msgspec.json.decode(reject.frame, type=type(second)) == second

    def test_the_first_hundred_conflicts_of_an_hour_are_kept(self, store: Store) -> None:
        store.write([trade(number) for number in range(120)])
        other = [trade(number, price="666", received_at=HOUR) for number in range(120)]
        later = trade(0, price="667", received_at=2 * HOUR)

        assert store.write(other).conflicts == 120
        assert len(stored(store, "rejects")) == 100
        store.write([later])
        assert len(stored(store, "rejects")) == 101

    def test_tickers_of_one_instant_that_differ_are_two(self, store: Store) -> None:
        two = [sample("tickers", received_at=1), sample("tickers", received_at=2, bid="91249")]

        assert store.write([*two, sample("tickers", received_at=3)]) == Written(inserted=2, duplicates=1)
        assert stored(store, "tickers") == two

    def test_books_of_other_depth_or_group_are_others(self, store: Store) -> None:
        books = [sample("orderbooks"), sample("orderbooks", depth=5), sample("orderbooks", group="10")]

        assert store.write(books) == Written(inserted=3)

    def test_symbols_and_exchanges_do_not_mix(self, store: Store) -> None:
        others = [trade(1, symbol="ETH-USDT"), trade(1, exchange="OKX-DEMO")]

        assert store.write([trade(1), *others]) == Written(inserted=3)
        assert [read_back(store, record) for record in others] == [[others[0]], [others[1]]]

    def test_trades_come_by_time_and_then_numerically(self, store: Store) -> None:
        in_order = [trade(100, NOON - 1), trade(9), trade(10), trade(99), trade(2**63 - 1), trade(1, NOON + 1)]

        store.write(random.Random(1).sample(in_order, len(in_order)))

        assert stored(store, "trades") == in_order

    def test_what_ties_comes_by_receipt(self, store: Store) -> None:
        books = [sample("orderbooks", depth=depth, received_at=at) for depth, at in ((400, 1), (5, 2), (25, 3))]
        updates = [
            update(7, 9, action="update", received_at=1),
            update(None, 9, action="checkpoint", received_at=2),
            update(3, 9, received_at=3),
        ]

        store.write([*books[::-1], *updates[::-1]])

        assert stored(store, "orderbooks") == books
        assert stored(store, "book_updates") == updates

    @pytest.mark.parametrize("kind", MARKET)
    def test_descending_is_the_exact_reverse(self, store: Store, kind: str) -> None:
        changes: list[dict[str, Any]] = [
            {"received_at": receipt, "timestamp": timestamp}
            for receipt, timestamp in enumerate([None, NOON, NOON, NOON + 1, None, NOON, NOON - 1])
        ]
        for number, change in enumerate(changes):
            change |= {
                "trades": {"trade_id": str(50 - number)}, "tickers": {"last": str(number)},
                "orderbooks": {"depth": 50 - number}, "book_updates": {"prev_sequence": 50 - number},
            }.get(kind, {})  # fmt: skip
        store.write([sample(kind, **change) for change in changes])

        ascending = stored(store, kind)

        assert len(ascending) == len(changes)
        assert stored(store, kind, descending=True) == ascending[::-1]

    def test_records_without_a_time_come_first_and_in_no_bounded_span(self, store: Store) -> None:
        store.write([trade(1), trade(9, None), trade(10, None)])

        assert stored(store, "trades") == [trade(9, None), trade(10, None), trade(1)]
        for span in (Span(since=0), Span(until=2**63 - 1), Span(0, 2**80), Span(-5, 2**63 - 1)):
            assert stored(store, "trades", span=span) == [trade(1)]

    def test_a_span_begins_with_its_start_and_ends_before_its_end(self, store: Store) -> None:
        trades = [trade(number, NOON + number) for number in range(5)]
        store.write(trades)
        since, until = (NOON + 1) * MILLISECOND, (NOON + 3) * MILLISECOND

        assert stored(store, "trades", span=Span(since, until)) == trades[1:3]
        assert stored(store, "trades", span=Span(since + 1, until + 1)) == trades[2:4]
        assert stored(store, "trades", span=Span(since, until), descending=True) == trades[1:3][::-1]

    def test_instruments_and_rejects_are_ranged_by_receipt(self, store: Store) -> None:
        both = [
            [sample("instruments", received_at=receipt) for receipt in (5, 6, 7)],
            [sample("rejects", received_at=receipt, reject_id=str(receipt)) for receipt in (5, 6, 7)],
        ]
        for records in both:
            store.write(records)

        for kind, records in zip(("instruments", "rejects"), both, strict=True):
            assert stored(store, kind, span=Span(6, 7)) == records[1:2]

    def test_gaps_are_ranged_by_overlap_and_unknown_ends_are_open(self, store: Store) -> None:
        def gap(name: str, start: int | None, end: int | None) -> Any:
            return sample("gaps", gap_id=name, start=start, end=end)

        before, over, within = gap("before", 100, 200), gap("over", 100, 500), gap("within", 320, 330)
        after, unended, unstarted = gap("after", 400, 500), gap("unended", 150, None), gap("unstarted", None, 300)
        store.write([before, over, within, after, unended, unstarted])

        found = stored(store, "gaps", span=Span(300 * MILLISECOND, 400 * MILLISECOND))

        assert found == [unstarted, over, unended, within]
        assert stored(store, "gaps", span=Span(300 * MILLISECOND, 400 * MILLISECOND), descending=True) == found[::-1]
        assert stored(store, "gaps") == [unstarted, before, over, unended, within, after]

    def test_runs_are_ranged_by_overlap(self, store: Store) -> None:
        ended = sample("runs", run_id="a", started_at=100, ended_at=200)
        running = sample("runs", run_id="b", started_at=150, ended_at=None)
        store.write([ended, running])

        assert stored(store, "runs", span=Span(201, 300)) == [running]
        assert stored(store, "runs", span=Span(0, 150)) == [ended]

    def test_the_higher_revision_of_a_gap_wins_whatever_comes_last(self, store: Store) -> None:
        second, third = sample("gaps", revision=2), sample("gaps", revision=3, status="filled", filled=8)

        assert store.write([second]) == Written(inserted=1)
        assert store.write([third]) == Written(inserted=1)
        assert store.write([second]) == Written(duplicates=1)
        assert stored(store, "gaps") == [third]

    def test_revisions_of_a_gap_may_come_in_one_batch(self, store: Store) -> None:
        revisions = [sample("gaps", revision=number, filled=number) for number in (1, 3, 2)]

        store.write(revisions)

        assert stored(store, "gaps") == [revisions[1]]

    def test_the_last_state_of_a_run_stays(self, store: Store) -> None:
        stopped = sample("runs", state="stopped", ended_at=NOON * MILLISECOND + 1, counters={})

        assert store.write([SAMPLES["runs"]]) == Written(inserted=1)
        assert store.write([stopped]) == Written(inserted=1)
        assert stored(store, "runs") == [stopped]

    @pytest.mark.parametrize("kind", MARKET)
    def test_simulated_records_live_apart(self, store: Store, kind: str) -> None:
        simulated = sample(kind, source="simulated", run_id="run-1", episode=1)

        assert store.write([SAMPLES[kind], simulated]) == Written(inserted=2)
        assert stored(store, kind) == [SAMPLES[kind]]
        assert stored(store, kind, simulated=True) == [simulated]

    def test_simulated_records_of_other_runs_and_episodes_never_collide(self, store: Store) -> None:
        episodes = [
            trade(1, source="simulated", run_id=run, episode=episode, received_at=receipt)
            for receipt, (run, episode) in enumerate([("a", 1), ("a", 2), ("b", 1), ("a", None), (None, 1)])
        ]

        assert store.write(episodes) == Written(inserted=5)
        assert store.write(episodes) == Written(duplicates=5)
        assert stored(store, "trades", simulated=True) == episodes

    def test_the_series_of_a_kind_are_those_that_have_records(self, store: Store) -> None:
        records = [trade(1, symbol=symbol, exchange=exchange) for exchange in ("X", "OKX") for symbol in ("B", "A")]

        store.write([*records, sample("tickers"), trade(1, symbol="C", source="simulated", run_id="r", episode=1)])

        expected = [Series("OKX", "A"), Series("OKX", "B"), Series("X", "A"), Series("X", "B")]
        assert store.series(TRADES) == expected
        assert store.series(KINDS["tickers"]) == [BTC]
        assert store.series(TRADES, simulated=True) == [Series("OKX", "C")]
        assert store.series(KINDS["orderbooks"]) == []

    def test_a_series_is_counted_with_its_first_and_last_time(self, store: Store) -> None:
        store.write([trade(1), trade(2, NOON + 9), trade(3, None), trade(9, NOON + 99, symbol="ETH-USDT")])

        assert store.tally(TRADES, BTC) == Tally(BTC, 3, NOON, NOON + 9)
        assert store.tally(TRADES, BTC, simulated=True) == Tally(BTC, 0, None, None)

    def test_a_span_of_a_series_is_counted(self, store: Store) -> None:
        store.write([trade(number, NOON + number) for number in range(10)] + [trade(99, None)])
        span = Span((NOON + 2) * MILLISECOND, (NOON + 5) * MILLISECOND)

        assert store.tally(TRADES, BTC, span=span) == Tally(BTC, 3, NOON + 2, NOON + 4)
        assert store.tally(TRADES, BTC, span=Span(until=NOON * MILLISECOND)) == Tally(BTC, 0, None, None)

    def test_rejects_are_counted_by_receipt(self, store: Store) -> None:
        store.write([sample("rejects", received_at=receipt, reject_id=str(receipt)) for receipt in (5, 6, 7)])

        assert store.tally(KINDS["rejects"], span=Span(until=7)) == Tally(None, 2, 5, 6)

    @pytest.mark.parametrize("kind", MARKET)
    def test_the_oldest_records_of_one_series_are_removed(self, store: Store, kind: str) -> None:
        series = BTC
        mine = [sample(kind, **_distinct(kind, number)) for number in range(6)]
        others = [
            sample(kind, symbol="ETH-USDT", **_distinct(kind, 0)),
            sample(kind, source="simulated", run_id="r", episode=1, **_distinct(kind, 0)),
        ]
        store.write([*mine, *others])
        before = (NOON + 4) * MILLISECOND

        assert store.remove(KINDS[kind], series, before, 3) == 3
        assert stored(store, kind) == mine[3:]
        assert store.remove(KINDS[kind], series, before, 3) == 1
        assert store.remove(KINDS[kind], series, before, 3) == 0
        assert stored(store, kind) == mine[4:]
        assert [read_back(store, other) for other in others] == [[other] for other in others]
        assert store.remove(KINDS[kind], series, before, 3, simulated=True) == 1
        assert stored(store, kind, simulated=True) == []

    def test_what_ties_is_removed_no_more_than_asked_for(self, store: Store) -> None:
        store.write([trade(number) for number in range(10)])

        assert store.remove(TRADES, BTC, (NOON + 1) * MILLISECOND, 4) == 4
        assert stored(store, "trades") == [trade(number) for number in range(4, 10)]

    def test_a_record_without_a_time_is_not_removed(self, store: Store) -> None:
        store.write([trade(1, None), trade(2)])

        assert store.remove(TRADES, BTC, 2**63 - 1, 10) == 1
        assert stored(store, "trades") == [trade(1, None)]

    def test_rejects_are_removed_by_receipt(self, store: Store) -> None:
        rejects = [sample("rejects", received_at=receipt, reject_id=str(receipt)) for receipt in (5, 6, 7)]
        store.write(rejects)

        assert store.remove(KINDS["rejects"], None, 7, 10) == 2
        assert stored(store, "rejects") == rejects[2:]

    def test_nothing_is_removed_of_a_series_that_is_not_there(self, store: Store) -> None:
        store.write([trade(1)])

        assert store.remove(TRADES, Series("OKX", "NO-SUCH"), 2**63 - 1, 10) == 0

    def test_what_was_removed_may_be_written_again(self, store: Store) -> None:
        store.write([trade(1)])
        store.remove(TRADES, BTC, 2**63 - 1, 10)

        assert store.write([trade(1, price="1")]) == Written(inserted=1)

    def test_the_room_of_removed_records_is_given_back_in_the_end(self, store: Store) -> None:
        store.write([trade(number) for number in range(5000)])
        while store.remove(TRADES, BTC, 2**63 - 1, 1000):
            pass

        steps = 0
        while store.shrink():
            steps += 1
            assert steps < 1000
        assert not store.shrink()

    def test_a_series_that_is_not_there_is_empty(self, store: Store) -> None:
        nobody = Series("OKX", "NO-SUCH")
        store.write([trade(1)])

        assert stored(store, "trades", nobody) == []
        assert store.tally(TRADES, nobody) == Tally(nobody, 0, None, None)

    def test_ids_of_real_trades_are_told_in_order_within_both_bounds(self, store: Store) -> None:
        simulated = trade(7, source="simulated", run_id="r", episode=1)
        store.write([trade(number) for number in (10, 2, 9, 12, 11, 100)])
        store.write([simulated, trade(3, symbol="ETH-USDT"), trade(4, exchange="X")])

        assert list(store.trade_ids(BTC, 2, 12)) == [2, 9, 10, 11, 12]
        assert list(store.trade_ids(BTC, 3, 8)) == []
        assert list(store.trade_ids(Series("OKX", "NO-SUCH"), 0, 10**18)) == []

    def test_more_ids_than_a_page_are_told_whole(self, store: Store) -> None:
        numbers = [number for number in range(25_000) if number % 7]
        store.write([trade(number) for number in numbers])

        assert list(store.trade_ids(BTC, 0, 30_000)) == numbers

    def test_many_pages_of_one_instant_come_whole_and_in_order(self, store: Store) -> None:
        trades = [trade(number, None) for number in range(1500)] + [trade(number) for number in range(1500, 4000)]
        store.write(random.Random(2).sample(trades, len(trades)))

        assert stored(store, "trades") == trades
        assert stored(store, "trades", descending=True) == trades[::-1]

    def test_many_pages_of_ties_come_whole(self, store: Store) -> None:
        tickers = [sample("tickers", last=str(number), received_at=number % 7) for number in range(1500)]
        store.write(tickers)

        found = stored(store, "tickers")

        assert [ticker.received_at for ticker in found] == sorted(ticker.received_at for ticker in tickers)
        assert {ticker.last for ticker in found} == {ticker.last for ticker in tickers}
        assert stored(store, "tickers", descending=True) == found[::-1]

    def test_a_scan_goes_on_while_records_are_written(self, store: Store) -> None:
        store.write([trade(number, NOON + number) for number in range(1000)])
        scan = store.scan(TRADES, BTC)
        begun = [next(scan) for _ in range(10)]

        store.write([trade(number, NOON + number) for number in range(1000, 2000)])

        assert [*begun, *scan] == [trade(number, NOON + number) for number in range(2000)]

    def test_two_scans_at_once_do_not_disturb_each_other(self, store: Store) -> None:
        trades = [trade(number, NOON + number) for number in range(300)]
        store.write(trades)

        pairs = zip(store.scan(TRADES, BTC), store.scan(TRADES, BTC), strict=True)

        assert list(pairs) == [(one, one) for one in trades]

    def test_a_store_may_be_used_by_another_thread_than_opened_it(self, store: Store) -> None:
        done: list[Written] = []
        thread = Thread(target=lambda: done.append(store.write([trade(1)])))

        thread.start()
        thread.join(30)

        assert done == [Written(inserted=1)]

    def test_text_of_any_script_and_control_characters_survive(self, store: Store) -> None:
        odd = trade(1, price="1\0 '\";--\n\x1b[31m", size="\u202e\u0663\U0001d7d9", symbol="$.:'\U0001f701")

        store.write([odd])

        assert read_back(store, odd) == [odd]

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_pages_hold_what_a_scan_yields(self, store: Store, kind: str, descending: bool) -> None:
        records = [numbered(kind, number) for number in range(200)]
        store.write(records)
        series = BTC if kind in MARKET else None

        pages = list(store.pages(KINDS[kind], series, descending=descending, most=70))

        assert [record for page in pages for record in map(KINDS[kind].record, *page)] == stored(
            store, kind, descending=descending
        )
        assert sum(len(page[0]) for page in pages) == 200
        assert max(len(column) for page in pages for column in page) <= 70

    def test_pages_of_simulated_records_hold_their_run(self, store: Store) -> None:
        simulated = trade(1, source="simulated", run_id="run-1", episode=7)
        store.write([simulated])

        (page,) = store.pages(TRADES, BTC, simulated=True)

        assert list(map(TRADES.record, *page)) == [simulated]

    def test_pages_of_nothing_are_none(self, store: Store) -> None:
        assert list(store.pages(TRADES, BTC)) == []

    def test_the_first_page_is_small(self, store: Store) -> None:
        store.write([trade(number) for number in range(1000)])

        assert len(next(store.pages(TRADES, BTC))[0]) < 100

    def test_closing_twice_does_nothing(self, store: Store) -> None:
        store.close()
        store.close()


class ServedContract(StoreContract):
    """And what only a real database can show."""

    @pytest.mark.parametrize(
        "unstorable",
        [
            trade(7, price="\ud800"),
            trade(7, received_at=2**63),
            trade(7, symbol="\udfff"),
            sample("gaps", gap_id="g", missing=2**64),
            sample("orderbooks", sequence=2**63),
            sample("runs", run_id="\ud800"),
        ],
        ids=["no text", "too large", "no symbol", "gap", "book", "run"],
    )
    def test_what_no_database_holds_is_kept_as_a_reject_and_all_else_is_stored(
        self, store: Store, unstorable: Any
    ) -> None:
        batch = [trade(1), sample("gaps"), unstorable, trade(2), trade(2)]

        assert store.write(batch) == Written(inserted=3, duplicates=1, refused=1)
        assert stored(store, "trades") == [trade(1), trade(2)]
        assert stored(store, "gaps") == [sample("gaps")]
        (reject,) = stored(store, "rejects")
        assert reject.reason.startswith("cannot be stored: ")
        assert reject.channel == KIND_OF[type(unstorable)].name

        assert store.write([unstorable]) == Written(refused=1)
        assert stored(store, "rejects") == [reject]

    def test_its_clock_is_about_ours(self, store: Store) -> None:
        assert abs(store.now() - time.time_ns()) < 60 * SECOND
