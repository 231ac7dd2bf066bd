"""The writer: order, patience with a store that does not answer, an end for one that refuses, and honest counts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress

import pytest

from cryptofeed_cli.errors import CryptofeedError, StoreRefused, StoreUnreachable, ThreadDied
from cryptofeed_cli.types import Record, Run
from cryptofeed_cli.writer import QUEUED_BATCHES, Writer
from tests.processes import wait_until
from tests.scripted import ScriptedStore
from tests.stores.records import sample, trade

UNREACHABLE = StoreUnreachable("scripted:", "does not answer")
REFUSED = StoreRefused("scripted:", "not like this")


def last_run() -> Run:
    run: Run = sample("runs", state="stopped")
    return run


@contextmanager
def writing(store: ScriptedStore) -> Iterator[Writer]:
    """A writer whose thread does not outlive the test."""
    writer = Writer(store)
    try:
        yield writer
    finally:
        store.error = None
        store.answering.set()
        with suppress(CryptofeedError):
            writer.close((), 5, last_run)


@pytest.fixture
def store() -> Iterator[ScriptedStore]:
    with closing(ScriptedStore()) as store:
        yield store


def batches(count: int, size: int = 2) -> list[list[Record]]:
    return [[trade(number * size + place) for place in range(size)] for number in range(count)]


def submit_all(writer: Writer, several: Sequence[Sequence[Record]]) -> None:
    for batch in several:
        assert writer.submit(batch, timeout=10)


def flat(several: Sequence[Sequence[Record]]) -> list[Record]:
    return [record for batch in several for record in batch]


def test_everything_is_written_in_the_order_submitted(store: ScriptedStore) -> None:
    some, rest = batches(30)[:25], batches(30)[25:]
    with writing(store) as writer:
        submit_all(writer, some)
        writer.close(rest, 5, last_run)

    assert store.records == [*flat(some), *flat(rest), last_run()]


def test_the_last_record_is_made_and_written_after_everything_else(store: ScriptedStore) -> None:
    def last() -> Run:
        run: Run = sample("runs", counters={"stored": writer.written.inserted, "here": len(store.records)})
        return run

    store.delay = 0.01
    with writing(store) as writer:
        submit_all(writer, batches(5))
        writer.close(batches(3), 5, last)

    assert store.records[-1] == sample("runs", counters={"stored": 16, "here": 16})


def test_a_store_that_is_away_for_a_while_loses_and_reorders_nothing(
    store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    store.error = UNREACHABLE
    with writing(store) as writer:
        submit_all(writer, batches(4))
        wait_until(lambda: store.attempts >= 3, "three attempts")
        assert store.records == []
        store.error = None
        writer.close((), 10, last_run)

    assert store.records == [*flat(batches(4)), last_run()]
    assert [record.getMessage() for record in caplog.records] == [
        "store scripted:: does not answer; trying again",
        "store scripted: answers again",
    ]


def test_attempts_at_a_store_that_is_away_are_paced(store: ScriptedStore) -> None:
    store.error = UNREACHABLE
    with writing(store) as writer:
        start = time.monotonic()
        submit_all(writer, batches(1))
        wait_until(lambda: store.attempts >= 3, "three attempts")

        assert time.monotonic() - start >= 0.6  # 0.2 s, then 0.4 s, and more by chance


def test_a_refusal_ends_it_and_is_raised_to_whoever_submits(store: ScriptedStore) -> None:
    store.error = REFUSED
    with writing(store) as writer:
        submit_all(writer, batches(1))
        wait_until(lambda: not writer._thread.is_alive(), "the end of the thread")

        with pytest.raises(StoreRefused, match="not like this"):
            writer.submit([trade(9)], timeout=10)
        with pytest.raises(StoreRefused, match="not like this"):
            writer.raise_if_failed()
        with pytest.raises(StoreRefused, match="not like this"):
            writer.close((), 10, last_run)
    assert store.attempts == 1


def test_any_other_error_is_the_death_of_a_thread_that_has_a_name(store: ScriptedStore) -> None:
    store.error = KeyError("series")
    with writing(store) as writer:
        submit_all(writer, batches(1))
        wait_until(lambda: not writer._thread.is_alive(), "the end of the thread")

        with pytest.raises(ThreadDied, match="thread writer ended unexpectedly: KeyError: 'series'") as caught:
            writer.raise_if_failed()
        assert caught.value.__cause__ is store.error


def test_a_full_queue_takes_nothing_until_there_is_room(store: ScriptedStore) -> None:
    store.answering.clear()
    with writing(store) as writer:
        submit_all(writer, batches(1))
        wait_until(lambda: store.attempts == 1, "the first batch to be in the store's hands")
        submit_all(writer, batches(QUEUED_BATCHES))
        start = time.monotonic()

        assert not writer.submit([trade(99)], timeout=0.2)
        assert time.monotonic() - start >= 0.2
        store.answering.set()
        assert writer.submit([trade(99)], timeout=10)
        writer.close((), 10, last_run)
    assert store.records == [*flat(batches(1)), *flat(batches(QUEUED_BATCHES)), trade(99), last_run()]


def test_closing_gives_up_a_store_that_does_not_answer_and_says_how_much_it_did_not_take(
    store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    with writing(store) as writer:
        submit_all(writer, batches(2))
        wait_until(lambda: writer.written.inserted == 4, "four records in the store")
        store.error = UNREACHABLE
        submit_all(writer, batches(3))
        start = time.monotonic()

        with pytest.raises(StoreUnreachable, match="does not answer"):
            writer.close(batches(1, size=5), 0.3, last_run)
        assert time.monotonic() - start >= 0.3
        # In the queue, in the thread's hands, and never queued.
        assert caplog.messages[-1] == "11 records were not stored"


def test_closing_gives_up_a_store_that_hangs(store: ScriptedStore, caplog: pytest.LogCaptureFixture) -> None:
    store.answering.clear()
    with writing(store) as writer:
        submit_all(writer, batches(1))
        wait_until(lambda: store.attempts == 1, "the first batch to be in the store's hands")

        with pytest.raises(StoreUnreachable, match=r"did not answer within 0\.4 s"):
            writer.close((), 0.2, last_run)
        assert "2 records were not stored" in caplog.text


def test_closing_waits_for_a_slow_store_as_long_as_it_takes_anything(store: ScriptedStore) -> None:
    store.delay = 0.1
    with writing(store) as writer:
        submit_all(writer, batches(QUEUED_BATCHES))
        writer.close(batches(4), 0.3, last_run)

    assert len(store.records) == 2 * (QUEUED_BATCHES + 4) + 1


def test_what_was_stored_is_counted_by_symbol_and_kind(store: ScriptedStore) -> None:
    with writing(store) as writer:
        submit_all(writer, [[trade(1), trade(2, symbol="ETH-USDT")]])
        wait_until(lambda: writer.written.inserted == 2, "two records in the store")
        before = writer.stored
        submit_all(writer, [[trade(3), sample("tickers"), sample("runs")]])
        wait_until(lambda: writer.written.inserted == 4, "four records in the store")

        assert writer.stored == {"BTC-USDT": {"trades": 2, "tickers": 1}, "ETH-USDT": {"trades": 1}}
        # It is read while the thread goes on, so it must never change under its reader.
        assert before == {"BTC-USDT": {"trades": 1}, "ETH-USDT": {"trades": 1}}


def test_the_records_of_the_run_itself_are_not_counted_as_recorded(store: ScriptedStore) -> None:
    with writing(store) as writer:
        submit_all(writer, [[sample("runs")], [trade(1), sample("runs")]])
        writer.close((), 5, last_run)

        assert len(store.records) == 4
        assert writer.written.inserted == 1
