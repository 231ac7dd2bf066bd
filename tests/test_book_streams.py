"""The book of a symbol: published while its chain holds and at no other time, sampled and saved by exchange time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import msgspec
import pytest

from cryptofeed_cli.chain import HELD
from cryptofeed_cli.clock import MINUTE, SECOND
from cryptofeed_cli.streams import CHECKPOINT_MS, BookStream, Sampling
from cryptofeed_cli.types import BookUpdate, CountedLevel, OrderBook
from tests.tapes import START_MS, SYMBOL, Outcome, Stage

GRACE = SECOND
EVERY_CHANGE = Sampling(depth=400, interval_ms=0)
EVERY_SECOND = Sampling(depth=400, interval_ms=1000)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def change(
    previous: int | None,
    sequence: int,
    ms: int | None = 0,
    bids: Sequence[CountedLevel] = (("100", "1", 1),),
    asks: Sequence[CountedLevel] = (),
) -> BookUpdate:
    return BookUpdate(
        None if ms is None else START_MS + ms, 1, "OKX", SYMBOL, "live",
        "update" if previous is not None else "snapshot", previous, sequence, list(bids), list(asks),
    )  # fmt: skip


def heartbeat(sequence: int, ms: int) -> BookUpdate:
    return change(sequence, sequence, ms, bids=())


def sized(size: int) -> list[CountedLevel]:
    return [("100", str(size), 1)]


class Books:
    """A stream of one book on its stage."""

    def __init__(self, stage: Stage, sampling: Sampling = EVERY_CHANGE, channels: Sequence[str] = ()) -> None:
        self.stage = stage
        names = tuple(channels) or ("orderbooks", "book_updates")
        self.stream = BookStream(SYMBOL, names, stage.ledger, stage.emitted.append, GRACE, sampling)

    def come(self, *updates: BookUpdate) -> None:
        for update in updates:
            self.stream.take([update], self.stage.now)

    def disconnect(self) -> None:
        self.stream.interrupt("disconnect", "network", "gone", self.stage.now)

    def wait(self, nanoseconds: int = GRACE) -> bool:
        return self.stream.check(self.stage.later(nanoseconds))

    @property
    def published(self) -> list[int]:
        return [book.sequence for book in self.stage.of(OrderBook)]

    @property
    def recorded(self) -> list[tuple[str, int]]:
        return [(update.action, update.sequence) for update in self.stage.of(BookUpdate)]

    def gaps(self) -> list[Outcome]:
        """The gaps of the book: the same for each of its channels."""
        assert self.stage.outcomes("book_updates") == self.stage.outcomes("orderbooks")
        return self.stage.outcomes("book_updates")


@pytest.fixture
def books(stage: Stage) -> Books:
    return Books(stage)


def test_at_interval_zero_every_change_is_published(books: Books) -> None:
    books.come(change(None, 10), change(10, 20, bids=sized(2)))
    books.come(change(20, 30, bids=sized(2)), change(30, 40, bids=sized(3)))
    assert books.published == [10, 20, 40]
    assert [book.bids for book in books.stage.of(OrderBook)] == [[("100", str(size))] for size in (1, 2, 3)]


def test_a_published_book_is_that_of_the_update_it_shows(books: Books) -> None:
    books.come(change(None, 10, 0), change(10, 20, 5, sized(2), [("101", "7", 1)]))
    assert books.stage.of(OrderBook)[-1] == OrderBook(
        START_MS + 5, 1, "OKX", SYMBOL, "live", 20, 400, None, [("100", "2")], [("101", "7")]
    )


def test_a_published_book_has_as_many_levels_as_asked_for(stage: Stage) -> None:
    books = Books(stage, Sampling(depth=2, interval_ms=0))
    books.come(change(None, 10, bids=[(str(price), "1", 1) for price in (98, 100, 99)], asks=[("101", "1", 1)]))
    (book,) = stage.of(OrderBook)
    assert (book.depth, book.bids, book.asks) == (2, [("100", "1"), ("99", "1")], [("101", "1")])


def test_a_grouped_book_says_by_which_step(stage: Stage) -> None:
    books = Books(stage, Sampling(depth=2, interval_ms=0, group="10"))
    books.come(change(None, 10, bids=[("99", "1", 1), ("91", "2", 1)], asks=[("101", "1", 1), ("110", "2", 1)]))
    (book,) = stage.of(OrderBook)
    assert (book.group, book.bids, book.asks) == ("10", [("90", "3")], [("110", "3")])


def test_everything_that_changes_the_book_is_recorded_as_sent(books: Books) -> None:
    sent = [change(None, 10), change(10, 20, bids=()), change(20, 3), change(3, 5)]
    books.come(*sent)
    assert books.stage.of(BookUpdate) == sent


def test_heartbeats_are_not_recorded(books: Books) -> None:
    books.come(change(None, 10), heartbeat(10, 60_000), heartbeat(10, 120_000))
    assert books.recorded == [("snapshot", 10)]
    assert books.published == [10]
    assert not books.gaps()


def test_the_chain_goes_on_after_a_legal_reset(books: Books) -> None:
    books.come(change(None, 10), change(10, 3, bids=sized(2)))
    books.come(change(3, 5, bids=sized(3)), change(5, 10, bids=sized(4)))
    assert books.published == [10, 3, 5, 10]
    assert not books.gaps()


def test_a_duplicate_update_is_counted_not_recorded(books: Books) -> None:
    books.come(change(None, 10), change(10, 20, bids=sized(2)), change(10, 20, bids=sized(2)))
    assert books.stream.duplicates == 1
    assert books.recorded == [("snapshot", 10), ("update", 20)]


def test_before_a_snapshot_nothing_is_published_and_the_loss_is_marked(books: Books) -> None:
    books.come(change(10, 20, 5), change(20, 30, 6))
    assert not books.published
    assert not books.recorded
    assert books.stream.swallowed == 2
    assert {gap.start for gap in books.stage.gaps()} == {START_MS + 5}
    books.come(change(None, 30, 7))
    assert books.gaps() == [("sequence", None, None, None, 0, "unrecoverable")]
    assert {gap.end for gap in books.stage.gaps()} == {START_MS + 7}


def test_a_broken_chain_is_a_gap_from_its_last_update_to_the_next_snapshot(books: Books) -> None:
    books.come(change(None, 10, 0), change(10, 20, 100), change(30, 40, 300))
    assert not books.wait(GRACE - 1)
    assert books.wait(1)
    assert books.gaps() == [("sequence", "20", "30", None, 0, "open")]
    books.come(change(None, 70, 5000))
    assert books.gaps() == [("sequence", "20", "30", None, 0, "unrecoverable")]
    assert {(gap.start, gap.end, gap.fault) for gap in books.stage.gaps()} == {
        (START_MS + 100, START_MS + 5000, "venue")
    }


def test_after_a_break_nothing_is_published_until_a_snapshot(books: Books) -> None:
    books.come(change(None, 10), change(30, 40, bids=sized(2)))
    books.wait()
    books.come(change(40, 50, bids=sized(3)), change(10, 20, bids=sized(4)), heartbeat(50, 9))
    assert (books.published, books.recorded) == ([10], [("snapshot", 10)])
    assert not books.stream.valid
    books.come(change(None, 60), change(60, 70, bids=sized(5)))
    assert books.published == [10, 60, 70]


def test_a_heartbeat_shows_that_the_last_update_before_it_was_lost(books: Books) -> None:
    books.come(change(None, 10), heartbeat(20, 60_000))
    books.wait()
    assert books.gaps() == [("sequence", "10", "20", None, 0, "open")]


def test_a_snapshot_does_not_hide_a_loss_that_was_seen(books: Books) -> None:
    books.come(change(None, 10, 0), change(20, 30, 200), change(None, 30, 300))
    assert books.gaps() == [("sequence", "10", "20", None, 0, "unrecoverable")]
    assert {(gap.start, gap.end) for gap in books.stage.gaps()} == {(START_MS, START_MS + 300)}
    assert not books.wait()


def test_a_snapshot_in_an_unbroken_chain_is_no_gap(books: Books) -> None:
    books.come(change(None, 10), change(10, 20, bids=sized(2)))
    books.come(change(None, 20, bids=sized(2)), change(20, 30, bids=sized(3)))
    books.wait()
    assert not books.gaps()
    assert books.recorded == [("snapshot", 10), ("update", 20), ("snapshot", 20), ("update", 30)]


IN_ORDER = (
    change(10, 20, 100, sized(2)),
    change(20, 30, 1100, sized(3)),
    change(30, 25, 1200, sized(4)),
    change(25, 40, 2300, sized(5)),
)


@pytest.mark.parametrize("sampling", [EVERY_CHANGE, EVERY_SECOND], ids=["every change", "every second"])
@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_updates_in_any_order_within_the_grace_come_out_in_the_order_of_the_chain(
    order: Sequence[int], sampling: Sampling
) -> None:
    straight, shuffled = Books(Stage(), sampling), Books(Stage(), sampling)
    for books, indexes in ((straight, range(4)), (shuffled, order)):
        books.come(change(None, 10))
        for index in indexes:
            books.come(IN_ORDER[index])
            books.wait(GRACE // 5)
        books.wait()
    assert shuffled.stage.emitted == straight.stage.emitted
    assert not straight.gaps()


def test_an_early_heartbeat_breaks_nothing_when_the_missing_one_comes(books: Books) -> None:
    books.come(change(None, 10), heartbeat(20, 50), change(20, 30, bids=sized(3)), change(10, 20, bids=sized(2)))
    books.wait()
    assert books.published == [10, 20, 30]
    assert not books.gaps()


def test_holding_is_bounded(books: Books) -> None:
    books.come(change(None, 10))
    for number in range(100, 100 + HELD):
        books.come(change(number, number + 1))
    assert books.stream.valid
    books.come(change(9000, 9001))
    assert not books.stream.valid
    assert books.gaps() == [("sequence", "10", "100", None, 0, "open")]


def test_an_outage_of_books_is_unrecoverable_and_ends_with_the_next_snapshot(books: Books) -> None:
    books.come(change(None, 10, 0), change(10, 20, 100))
    books.disconnect()
    assert books.gaps() == [("disconnect", None, None, None, 0, "open")]
    books.come(change(None, 50, 9000))
    assert books.gaps() == [("disconnect", None, None, None, 0, "unrecoverable")]
    assert {(gap.start, gap.end, gap.fault) for gap in books.stage.gaps()} == {
        (START_MS + 100, START_MS + 9000, "network")
    }


@pytest.mark.parametrize(
    "snapshot", [change(None, 20, 100), change(None, 10, 0)], ids=["the same book", "an earlier book"]
)
def test_an_outage_that_a_subscription_reaches_back_over_lost_nothing(books: Books, snapshot: BookUpdate) -> None:
    books.come(change(None, 10, 0), change(10, 20, 100))
    books.disconnect()
    books.come(snapshot)
    assert books.gaps() == [("disconnect", None, None, 0, 0, "filled")]
    assert {gap.end for gap in books.stage.gaps()} == {START_MS + 100}


def test_what_does_not_come_is_lost_up_to_the_snapshot_that_another_subscription_began_with(books: Books) -> None:
    books.come(change(None, 10, 0))
    books.stream.take([change(None, 40, 400), change(40, 50, 500)], books.stage.now, {SYMBOL: 1})
    books.wait()
    assert books.recorded == [("snapshot", 10), ("snapshot", 40), ("update", 50)]
    assert books.gaps() == [("sequence", "10", "40", None, 0, "unrecoverable")]


def test_a_disconnect_of_a_broken_book_adds_no_second_gap(books: Books) -> None:
    books.come(change(None, 10), change(20, 30))
    books.disconnect()
    books.come(change(None, 50))
    assert books.gaps() == [("sequence", "10", "20", None, 0, "unrecoverable")]


def test_gaps_are_recorded_for_the_channels_that_are(stage: Stage) -> None:
    books = Books(stage, channels=("orderbooks",))
    books.come(change(None, 10), change(20, 30))
    books.wait()
    assert [gap.channel for gap in stage.gaps()] == ["orderbooks"]
    assert not books.recorded


def test_book_updates_alone_publish_no_books(stage: Stage) -> None:
    books = Books(stage, channels=("book_updates",))
    books.come(change(None, 10), change(10, 20, bids=sized(2)))
    assert not books.published
    assert books.recorded == [("snapshot", 10), ("update", 20)]


# Sampling


@pytest.fixture
def sampled(stage: Stage) -> Books:
    return Books(stage, EVERY_SECOND)


def test_a_sample_is_the_book_after_the_last_update_before_a_boundary(sampled: Books) -> None:
    sampled.come(change(None, 10, 100), change(10, 20, 900, sized(2)), change(20, 30, 999, sized(3)))
    assert not sampled.published
    sampled.come(change(30, 40, 1000, sized(4)))
    (book,) = sampled.stage.of(OrderBook)
    assert (book.sequence, book.timestamp, book.bids) == (30, START_MS + 999, [("100", "3")])


def test_a_heartbeat_passes_a_boundary(sampled: Books) -> None:
    sampled.come(change(None, 10, 100), heartbeat(10, 60_000))
    assert [(book.sequence, book.timestamp) for book in sampled.stage.of(OrderBook)] == [(10, START_MS + 100)]


def test_an_unchanged_book_is_not_repeated(sampled: Books) -> None:
    sampled.come(change(None, 10, 100), heartbeat(10, 1100), heartbeat(10, 2100))
    sampled.come(change(10, 20, 3100), heartbeat(20, 4100))
    assert sampled.published == [10]


def test_several_boundaries_at_once_are_one_sample(sampled: Books) -> None:
    sampled.come(change(None, 10, 100), change(10, 20, 7300, sized(2)), heartbeat(20, 9000))
    assert sampled.published == [10, 20]


def test_an_update_without_a_time_does_not_hide_a_boundary(sampled: Books) -> None:
    sampled.come(change(None, 10, 100), change(10, 20, None, sized(2)), change(20, 30, 1100, sized(3)))
    assert sampled.published == [20]


def test_no_sample_is_taken_across_a_break(sampled: Books) -> None:
    sampled.come(change(None, 10, 100), change(20, 30, 1100))
    sampled.wait()
    sampled.come(change(None, 30, 2100), change(30, 40, 3100, sized(2)))
    assert sampled.published == [30]


def test_two_recorders_that_start_at_different_moments_agree() -> None:
    tape = [change(10 * n, 10 * (n + 1), 130 * n, sized(n % 4)) for n in range(1, 60)]
    early, late = Books(Stage(), EVERY_SECOND), Books(Stage(), EVERY_SECOND)
    early.come(change(None, 10, 0))
    early.come(*tape)
    begin = 23
    whole = [*sized(begin % 4)] if begin % 4 else []
    late.come(change(None, tape[begin - 1].sequence, 130 * begin, whole))
    late.come(*tape[begin:])
    samples = late.stage.of(OrderBook)
    assert len(samples) > 3
    assert early.stage.of(OrderBook)[-len(samples) :] == samples


# Checkpoints


def test_a_checkpoint_is_the_whole_book_at_each_five_minutes(stage: Stage) -> None:
    books = Books(stage)
    boundary = CHECKPOINT_MS - START_MS % CHECKPOINT_MS
    books.come(change(None, 10, 0, asks=[("101", "2", 3)]), change(10, 20, boundary - 1, sized(7)))
    assert ("checkpoint", 20) not in books.recorded
    books.come(change(20, 30, boundary, sized(8)))
    assert books.recorded[-2:] == [("checkpoint", 20), ("update", 30)]
    checkpoint = stage.of(BookUpdate)[-2]
    assert checkpoint == msgspec.structs.replace(
        change(10, 20, boundary - 1, sized(7), [("101", "2", 3)]), action="checkpoint", prev_sequence=None
    )


def test_every_five_minutes_of_a_changing_book_have_a_checkpoint(books: Books) -> None:
    books.come(change(None, 10, 0))
    for number in range(1, 40):
        books.come(change(10 * number, 10 * number + 10, number * MINUTE // 10**6, sized(number)))
    checkpoints = [update for update in books.stage.of(BookUpdate) if update.action == "checkpoint"]
    times = [checkpoint.timestamp // CHECKPOINT_MS for checkpoint in checkpoints]
    assert times == list(range(times[0], times[0] + 8))


def test_a_heartbeat_makes_a_checkpoint_due(books: Books) -> None:
    books.come(change(None, 10, 0), change(10, 20, 100, sized(2)), heartbeat(20, CHECKPOINT_MS))
    assert books.recorded[-1] == ("checkpoint", 20)


def test_a_clean_stop_leaves_a_checkpoint(books: Books) -> None:
    books.come(change(None, 10), change(10, 20, bids=sized(2)))
    books.stream.save()
    books.stream.save()
    assert books.recorded == [("snapshot", 10), ("update", 20), ("checkpoint", 20)]


def test_a_book_that_did_not_change_since_its_snapshot_needs_no_checkpoint(books: Books) -> None:
    books.come(change(None, 10, 0), heartbeat(10, CHECKPOINT_MS))
    books.stream.save()
    assert books.recorded == [("snapshot", 10)]


def test_a_broken_book_leaves_no_checkpoint(books: Books) -> None:
    books.come(change(None, 10), change(10, 20, bids=sized(2)), change(30, 40))
    books.wait()
    books.stream.save()
    assert books.recorded == [("snapshot", 10), ("update", 20)]
