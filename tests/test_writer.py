"""The writer: in order into the store, or through the outbox; patience, honest counts, an end for what never works."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from cryptofeed_cli.clock import MILLISECOND, SECOND, SystemClock
from cryptofeed_cli.errors import (
    CryptofeedError,
    OutboxRefused,
    StoreRefused,
    StoreUnreachable,
    ThreadDied,
)
from cryptofeed_cli.stores.base import Written
from cryptofeed_cli.stores.places import places
from cryptofeed_cli.stores.recorder_outbox import open_outbox
from cryptofeed_cli.types import Gap, Record, Run
from cryptofeed_cli.writer import QUEUED_BATCHES, Writer
from tests.processes import wait_until
from tests.scripted import ScriptedStore
from tests.stores.records import NOON, sample, trade

UNREACHABLE = StoreUnreachable("scripted:", "does not answer")
REFUSED = StoreRefused("scripted:", "not like this")
FULL = OutboxRefused("desk.outbox", "the disk is full; make room")
LONG = 3600 * SECOND
"""A patience that no test sees the end of: what goes into the outbox goes there for another reason."""


def last_run() -> Run:
    run: Run = sample("runs", state="stopped")
    return run


class Rig:
    """A writer with a store and an outbox that do as they are told."""

    def __init__(self, directory: Path, store: ScriptedStore, patience: int = LONG, **options: object) -> None:
        self.store = store
        self.outbox = open_outbox(places(directory, "desk"), "tests", 1 << 30)
        self.full = self.closed = False
        self.appended = 0
        append = self.outbox.append

        def appended(records: Sequence[Record], at: int) -> int:
            if self.full:
                raise FULL
            self.appended += 1
            return append(records, at)

        self.outbox.append = appended  # type: ignore[method-assign]
        self.writer = Writer(
            store, self.outbox, clock=SystemClock(), rng=Random(1), patience=patience, **options  # type: ignore[arg-type]
        )

    def submit(self, several: Sequence[Sequence[Record]]) -> None:
        for batch in several:
            assert self.writer.submit(batch, timeout=10)

    def close(self, patience: float = 10, rest: Sequence[Sequence[Record]] = ()) -> None:
        self.closed = True
        self.writer.close(rest, patience, last_run)

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.store.records) >= count, f"{count} records in the store")


@contextmanager
def rigged(directory: Path, store: ScriptedStore, patience: int = LONG, **options: object) -> Iterator[Rig]:
    """A rig whose threads do not outlive the test."""
    rig = Rig(directory, store, patience, **options)
    try:
        yield rig
    finally:
        store.error, rig.full = None, False
        store.answering.set()
        if not rig.closed:
            with suppress(CryptofeedError):
                rig.close(5)
        rig.outbox.close()


@pytest.fixture
def store() -> Iterator[ScriptedStore]:
    with closing(ScriptedStore()) as store:
        yield store


@pytest.fixture
def rig(tmp_path: Path, store: ScriptedStore) -> Iterator[Rig]:
    with rigged(tmp_path, store) as rig:
        yield rig


def batches(count: int, size: int = 2, first: int = 0) -> list[list[Record]]:
    return [[trade(first + number * size + place) for place in range(size)] for number in range(count)]


def flat(several: Sequence[Sequence[Record]]) -> list[Record]:
    return [record for batch in several for record in batch]


def left_in(directory: Path) -> list[Record]:
    """What a later run finds in the outbox."""
    found: list[Record] = []
    with closing(open_outbox(places(directory, "desk"), "tests", 1 << 30)) as outbox:
        while (batch := outbox.peek(10**9, 10**9)) is not None:
            found += batch.records
            outbox.remove(batch.number)
    return found


# A store that works


def test_everything_is_written_in_the_order_submitted_and_the_outbox_is_not_touched(rig: Rig) -> None:
    rig.submit(batches(25))
    rig.close(rest=batches(30)[25:])

    assert rig.store.records == [*flat(batches(30)), last_run()]
    assert rig.appended == 0


def test_the_last_record_is_made_and_written_after_everything_else(rig: Rig) -> None:
    def last() -> Run:
        run: Run = sample("runs", counters={"stored": rig.writer.written.inserted, "here": len(rig.store.records)})
        return run

    rig.store.delay = 0.01
    rig.submit(batches(5))
    rig.closed = True
    rig.writer.close(batches(3), 5, last)

    assert rig.store.records[-1] == sample("runs", counters={"stored": 16, "here": 16})


def test_what_was_stored_is_counted_by_symbol_and_kind(rig: Rig) -> None:
    rig.submit([[trade(1), trade(2, symbol="ETH-USDT")]])
    wait_until(lambda: rig.writer.written.inserted == 2, "two records in the store")
    before = rig.writer.stored
    rig.submit([[trade(3), sample("tickers"), sample("runs")]])
    wait_until(lambda: rig.writer.written.inserted == 4, "four records in the store")

    assert rig.writer.stored == {"BTC-USDT": {"trades": 2, "tickers": 1}, "ETH-USDT": {"trades": 1}}
    # It is read while the thread goes on, so it must never change under its reader.
    assert before == {"BTC-USDT": {"trades": 1}, "ETH-USDT": {"trades": 1}}


def test_the_records_of_the_run_itself_are_not_counted_as_recorded(rig: Rig) -> None:
    rig.submit([[sample("runs")], [trade(1), sample("runs")]])
    rig.close()

    assert len(rig.store.records) == 4
    assert rig.writer.written.inserted == 1


def test_how_far_real_data_is_durable_is_known_by_kind_and_symbol(rig: Rig) -> None:
    rig.submit([
        [trade(1, NOON + 5), trade(2, NOON + 7), trade(3, NOON + 9)],
        [trade(4, NOON + 8, source="backfill"), trade(5, NOON + 90, source="simulated"), sample("tickers")],
        [trade(6, None), sample("gaps")],
    ])  # fmt: skip
    rig.close()

    assert rig.writer.durable == {("trades", "BTC-USDT"): NOON + 9, ("tickers", "BTC-USDT"): NOON}
    assert rig.writer.durable_at is not None


def test_a_full_queue_takes_nothing_until_there_is_room(rig: Rig) -> None:
    rig.store.answering.clear()
    rig.submit(batches(QUEUED_BATCHES))
    start = time.monotonic()

    assert not rig.writer.submit([trade(99)], timeout=0.2)
    assert time.monotonic() - start >= 0.2
    rig.store.answering.set()
    assert rig.writer.submit([trade(99)], timeout=10)
    rig.close()
    assert rig.store.records == [*flat(batches(QUEUED_BATCHES)), trade(99), last_run()]


# A store that is away, or slow


def test_while_the_store_is_away_everything_is_in_the_outbox_and_then_goes_into_the_store_in_order(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rig.submit(batches(2))
    rig.wait_for(4)
    rig.store.error = UNREACHABLE
    rig.submit(batches(30, first=4))
    wait_until(lambda: rig.outbox.backlog.records == 60, "everything in the outbox")
    assert rig.writer.idle
    assert rig.writer.away == "does not answer"
    rig.store.error = None
    rig.submit(batches(5, first=64))
    rig.wait_for(74)
    rig.close()

    assert rig.store.records == [*flat(batches(37)), last_run()]
    assert rig.writer.written == Written(inserted=74)
    assert rig.outbox.backlog.records == 0
    assert caplog.messages[0] == "store scripted:: does not answer; recording into the outbox"
    assert caplog.messages[1].startswith("store scripted: answers again; ")
    assert len(caplog.messages) == 2


def test_once_the_outbox_is_empty_the_store_is_written_to_at_once_again(rig: Rig) -> None:
    rig.store.error = UNREACHABLE
    rig.submit(batches(3))
    wait_until(lambda: rig.outbox.backlog.records == 6, "everything in the outbox")
    rig.store.error = None
    rig.wait_for(6)
    spooled = rig.appended
    wait_until(lambda: not rig.writer._parcels.spooling, "the end of the detour")
    rig.submit(batches(20, first=6))
    rig.wait_for(46)

    assert rig.appended == spooled
    assert rig.store.records == flat(batches(23))


def test_a_store_that_hangs_has_its_patience_and_no_more(tmp_path: Path, store: ScriptedStore) -> None:
    with rigged(tmp_path, store, patience=100 * MILLISECOND) as rig:
        store.answering.clear()
        rig.submit(batches(3 * QUEUED_BATCHES))
        wait_until(lambda: rig.outbox.backlog.records == 6 * QUEUED_BATCHES, "everything in the outbox")
        assert rig.writer.idle
        store.answering.set()
        rig.close()

    # What the store had in hand all the time is not written once more, and all of it is counted once.
    assert store.records == [*flat(batches(3 * QUEUED_BATCHES)), last_run()]
    assert rig.writer.written == Written(inserted=6 * QUEUED_BATCHES)


def test_what_hung_and_then_failed_is_written_out_of_the_outbox(tmp_path: Path, store: ScriptedStore) -> None:
    with rigged(tmp_path, store, patience=50 * MILLISECOND) as rig:
        store.answering.clear()
        rig.submit(batches(4))
        wait_until(lambda: rig.outbox.backlog.records == 8, "everything in the outbox")
        store.error = UNREACHABLE
        store.answering.set()
        wait_until(lambda: store.attempts >= 2, "another attempt")
        store.error = None
        rig.wait_for(8)
        rig.close()

    assert store.records == [*flat(batches(4)), last_run()]


def test_a_slow_store_loses_reorders_and_repeats_nothing(tmp_path: Path, store: ScriptedStore) -> None:
    rng = Random(3)
    with rigged(tmp_path, store, patience=5 * MILLISECOND) as rig:
        for number in range(300):
            store.delay = rng.choice((0, 0, 0.002, 0.005, 0.006, 0.02))
            rig.submit(batches(1, first=2 * number))
            if number % 20 == 0:  # back to the short way, now and then
                wait_until(lambda: not rig.writer._parcels.spooling, "the end of the detour")
        store.delay = 0
        rig.close()
        assert 0 < rig.appended < 300

    assert store.records == [*flat(batches(300)), last_run()]
    assert rig.writer.written == Written(inserted=600)


def test_attempts_at_a_store_that_is_away_are_paced(rig: Rig) -> None:
    rig.store.error = UNREACHABLE
    start = time.monotonic()
    rig.submit(batches(1))
    wait_until(lambda: rig.store.attempts >= 4, "four attempts")

    assert time.monotonic() - start >= 0.1 + 0.2 + 0.4  # at least half of 0.2 s, 0.4 s and 0.8 s


def test_small_batches_leave_the_outbox_in_large_ones(rig: Rig) -> None:
    rig.store.error = UNREACHABLE
    rig.submit(batches(100))
    wait_until(lambda: rig.outbox.backlog.records == 200, "everything in the outbox")
    rig.store.error = None
    before = rig.store.attempts
    rig.wait_for(200)

    assert rig.store.attempts - before <= 2


# The end


def test_a_stop_while_the_store_is_away_leaves_everything_in_the_outbox_and_says_so(
    tmp_path: Path, store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.error = UNREACHABLE
    rig = Rig(tmp_path, store)
    rig.submit(batches(5))
    wait_until(lambda: store.attempts >= 1, "an attempt")
    start = time.monotonic()
    rig.close(10, rest=batches(3, first=10))
    assert time.monotonic() - start < 8
    rig.outbox.close()

    assert left_in(tmp_path) == [*flat(batches(8)), last_run()]
    assert f"17 records wait in the outbox {rig.outbox.path}; the next run writes them" in caplog.messages[-1]


def test_a_stop_while_the_store_hangs_waits_for_it_and_then_leaves_everything_in_the_outbox(
    tmp_path: Path, store: ScriptedStore
) -> None:
    store.answering.clear()
    rig = Rig(tmp_path, store, patience=50 * MILLISECOND)
    rig.submit(batches(5))
    start = time.monotonic()
    rig.close(0.3)
    assert 0.3 <= time.monotonic() - start < 5
    rig.outbox.close()

    assert left_in(tmp_path) == [*flat(batches(5)), last_run()]


def test_closing_waits_for_a_slow_store_as_long_as_it_takes_anything(rig: Rig) -> None:
    rig.store.delay = 0.1
    rig.submit(batches(QUEUED_BATCHES))
    rig.close(0.3, rest=batches(4))

    assert len(rig.store.records) == 2 * (QUEUED_BATCHES + 4) + 1


# What an earlier run left


def test_what_an_earlier_run_left_goes_first_then_the_store_is_greeted_then_comes_this_run(
    tmp_path: Path, store: ScriptedStore
) -> None:
    with closing(open_outbox(places(tmp_path, "desk"), "tests", 1 << 30)) as outbox:
        for batch in batches(5):
            outbox.append(batch, 1)
    seen: list[list[Record]] = []
    store.error = UNREACHABLE
    with rigged(tmp_path, store, greet=lambda _: seen.append(list(store.records)), away="is away") as rig:
        rig.submit(batches(5, first=10))
        wait_until(lambda: rig.outbox.backlog.records == 20, "everything in the outbox")
        assert seen == []
        store.error = None
        rig.wait_for(20)
        rig.close()

    assert seen == [flat(batches(5))]
    assert store.records == [*flat(batches(10)), last_run()]
    assert rig.writer.written == Written(inserted=10)  # what this run recorded


def test_a_store_that_answers_late_is_greeted_before_it_gets_anything(tmp_path: Path, store: ScriptedStore) -> None:
    seen: list[int] = []

    def greet(_: object) -> None:
        seen.append(len(store.records))
        if len(seen) < 3:
            raise UNREACHABLE

    with rigged(tmp_path, store, greet=greet, away="is away") as rig:
        rig.submit(batches(5))
        rig.wait_for(10)
        rig.close()

    assert seen == [0, 0, 0]
    assert store.records == [*flat(batches(5)), last_run()]


# Nothing takes anything


def test_what_neither_store_nor_outbox_takes_can_be_taken_back_and_is_told(rig: Rig) -> None:
    rig.store.error, rig.full = UNREACHABLE, True
    rig.submit(batches(QUEUED_BATCHES))
    assert rig.writer.stuck is None  # not yet: it may pass
    wait_until(lambda: rig.writer.stuck, "word of it")
    assert "the disk is full" in (rig.writer.stuck or "")
    assert not rig.writer.submit([trade(99)], timeout=0.1)

    back: list[Record] = []
    wait_until(lambda: back.extend(rig.writer.take_back() or ()) or back, "what is durable nowhere")
    assert back == flat(batches(QUEUED_BATCHES))
    assert (rig.writer.idle, rig.writer.stuck) == (True, None)

    rig.full = False
    rig.submit(batches(1, first=100))
    wait_until(lambda: rig.outbox.backlog.records == 2, "the next batch in the outbox")
    rig.store.error = None
    rig.wait_for(2)
    rig.close()
    assert rig.store.records == [*flat(batches(1, first=100)), last_run()]


def test_a_store_that_works_while_the_outbox_does_not_is_enough(tmp_path: Path, store: ScriptedStore) -> None:
    with rigged(tmp_path, store, patience=MILLISECOND) as rig:
        rig.full = True
        store.delay = 0.05
        rig.submit(batches(20))
        assert rig.writer.stuck is None
        rig.close()

    assert store.records == [*flat(batches(20)), last_run()]


def test_a_disk_that_takes_something_again_is_noticed(rig: Rig) -> None:
    rig.store.error, rig.full = UNREACHABLE, True
    rig.submit(batches(3))
    wait_until(lambda: rig.writer.stuck, "word of it")
    rig.full = False
    wait_until(lambda: rig.outbox.backlog.records == 6, "everything in the outbox")

    assert (rig.writer.idle, rig.writer.stuck) == (True, None)


def test_a_stop_while_nothing_takes_anything_says_how_much_is_lost(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.submit(batches(1))
    rig.wait_for(2)
    rig.store.error, rig.full = UNREACHABLE, True
    rig.submit(batches(3))
    start = time.monotonic()

    with pytest.raises(OutboxRefused, match="the disk is full"):
        rig.close(0.5, rest=batches(1, size=5))
    assert 0.5 <= time.monotonic() - start < 5
    assert "12 records are durable nowhere" in caplog.messages[-1]


# What never works


def test_a_refusal_ends_it_and_everything_waits_in_the_outbox(tmp_path: Path, store: ScriptedStore) -> None:
    store.error = REFUSED
    rig = Rig(tmp_path, store)
    rig.submit(batches(2))
    wait_until(lambda: rig.writer._failure, "the end of the thread")

    with pytest.raises(StoreRefused, match="not like this"):
        rig.writer.submit([trade(9)], timeout=10)
    with pytest.raises(StoreRefused, match="not like this"):
        rig.writer.raise_if_failed()
    with pytest.raises(StoreRefused, match="not like this"):
        rig.close(rest=batches(1, first=10))
    rig.outbox.close()

    assert store.attempts == 1
    assert left_in(tmp_path) == [*flat(batches(2)), *flat(batches(1, first=10)), last_run()]


@pytest.mark.parametrize("thread", ["writer", "spooler"])
def test_any_other_error_is_the_death_of_a_thread_that_has_a_name(rig: Rig, thread: str) -> None:
    error = KeyError("series")
    if thread == "writer":
        rig.store.error = error
    else:
        rig.store.error = UNREACHABLE

        def broken(*_: object) -> int:
            raise error

        rig.outbox.append = broken  # type: ignore[method-assign]
    rig.submit(batches(1))
    wait_until(lambda: rig.writer._failure, "the end of the thread")

    with pytest.raises(ThreadDied, match=f"thread {thread} ended unexpectedly: KeyError: 'series'") as caught:
        rig.writer.raise_if_failed()
    assert caught.value.__cause__ is error


def test_a_batch_that_is_torn_in_the_outbox_costs_itself_and_nothing_around_it(
    tmp_path: Path, store: ScriptedStore
) -> None:
    several = batches(30, size=10)
    with rigged(tmp_path, store) as rig:
        store.error = UNREACHABLE
        rig.submit(several[:20])
        wait_until(lambda: rig.writer.backlog.records == 200, "the outbox to have it all")
        with closing(sqlite3.connect(rig.outbox.path)) as database, database:
            database.execute("UPDATE batches SET contents = zeroblob(50) WHERE id = 5")
        store.error = None
        rig.submit(several[20:])
        rig.wait_for(290)
        rig.close()

    assert store.records == [*flat(several[:4]), *flat(several[5:]), last_run()]


def test_gaps_go_the_same_way_as_all_else(rig: Rig) -> None:
    revisions: list[Record] = [sample("gaps", revision=revision) for revision in range(1, 30)]
    rig.store.error = UNREACHABLE
    for gap in revisions:
        rig.submit([[gap]])
    wait_until(lambda: rig.outbox.backlog.records == 29, "everything in the outbox")
    rig.store.error = None
    rig.wait_for(29)
    rig.close()

    assert [one for one in rig.store.records if isinstance(one, Gap)] == revisions


