"""Books whose snapshot does not come: spliced out of REST by sequence, and by nothing else."""

from __future__ import annotations

import pytest

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.feeds.base import Fetch
from cryptofeed_cli.resync import STALE, TIMEOUT
from cryptofeed_cli.types import BookUpdate
from tests.okx_market import dump
from tests.tapes import START_MS, Tape, book_frame


def book(sequence: int, *, ms: int = 0, bid: str = "90") -> bytes:
    """Write the answer to the question for a book."""
    row = {"asks": [], "bids": [[bid, "1", "0", "1"]], "ts": str(START_MS + ms), "seqId": sequence}
    return dump({"code": "0", "msg": "", "data": [row]})


def asked(tape: Tape) -> Fetch:
    """Return the last question for a book."""
    return tape.fetches("market/books")[-1]


def stored(tape: Tape) -> list[tuple[str, str, int]]:
    return [(update.source, update.action, update.sequence) for update in tape.of(BookUpdate)]


@pytest.fixture
def tape() -> Tape:
    """A book whose snapshot did not come, while updates did: 10 to 13. REST has just been asked."""
    tape = Tape(channels=("book_updates",))
    tape.open()
    for sequence in range(10, 13):
        tape.frame(book_frame(sequence, sequence + 1, 100 * sequence, bids=[("100", str(sequence))]))
    tape.wait(TIMEOUT)
    assert stored(tape) == []
    return tape


def test_a_book_out_of_rest_goes_on_with_the_updates_that_came_meanwhile(tape: Tape) -> None:
    tape.answer(asked(tape), book(11))
    tape.frame(book_frame(13, 14, 1400, bids=[("101", "1")]))

    assert stored(tape) == [
        ("backfill", "snapshot", 11), ("live", "update", 12), ("live", "update", 13), ("live", "update", 14)
    ]  # fmt: skip


def test_an_update_may_cover_the_book_out_of_rest(tape: Tape) -> None:
    tape.frame(book_frame(13, 20, 1400, bids=[("101", "1")]))
    tape.answer(asked(tape), book(17))
    tape.frame(book_frame(20, 21, 1500, bids=[("101", "2")]))

    assert [sequence for *_, sequence in stored(tape)] == [17, 20, 21]
    assert [gap.status for gap in tape.gaps()] == ["unrecoverable"]


def test_a_book_newer_than_every_update_waits_for_the_next(tape: Tape) -> None:
    tape.answer(asked(tape), book(15))
    tape.frame(book_frame(13, 14, 1400, bids=[("101", "1")]))
    tape.frame(book_frame(14, 16, 1500, bids=[("101", "2")]))
    tape.wait(5 * SECOND)

    assert [sequence for *_, sequence in stored(tape)] == [15, 16]
    assert len(tape.gaps()) == 1


def test_a_book_older_than_the_first_update_is_asked_for_again(tape: Tape) -> None:
    tape.answer(asked(tape), book(9))
    assert stored(tape) == []
    before = len(tape.fetches("market/books"))
    tape.wait(SECOND)
    assert len(tape.fetches("market/books")) == before + 1
    tape.answer(asked(tape), book(10))

    assert [sequence for *_, sequence in stored(tape)] == [10, 11, 12, 13]


@pytest.mark.parametrize("body", [b"<html>", dump({"code": "50011", "msg": "Busy", "data": []}), book(11)[:-9]])
def test_an_answer_without_a_book_is_followed_by_another_subscription(tape: Tape, body: bytes) -> None:
    tape.answer(asked(tape), body)
    before = len(tape.requests())
    tape.wait(TIMEOUT + SECOND)

    assert [operation for operation, _ in tape.requests()[before:]] == ["unsubscribe", "subscribe"]


def test_a_snapshot_that_came_first_makes_the_answer_useless(tape: Tape) -> None:
    tape.frame(book_frame(-1, 30, 3000, bids=[("100", "1")]))
    tape.answer(asked(tape), book(12))

    assert stored(tape) == [("live", "snapshot", 30)]


def test_simulated_books_do_not_become_real_ones(tape: Tape) -> None:
    tape.answer(asked(tape), book(11), announced="simulated")

    assert stored(tape) == []


def test_a_book_older_than_what_was_published_is_not_gone_back_to(tape: Tape) -> None:
    tape.frame(book_frame(-1, 120, 3000, bids=[("100", "1")]))
    tape.close()
    tape.open()
    tape.wait(TIMEOUT)
    tape.answer(asked(tape), book(105, ms=1500))
    assert stored(tape)[-1] != ("backfill", "snapshot", 105)
    tape.wait(SECOND)
    tape.answer(asked(tape), book(130, ms=3500))
    assert stored(tape)[-1] == ("backfill", "snapshot", 130)
    assert [(gap.start, gap.end) for gap in tape.gaps()][-1] == (START_MS + 3000, START_MS + 3500)


@pytest.mark.parametrize(("found", "following"), [(12, [13, 5, 6]), (5, [6]), (6, [])])
def test_a_book_is_spliced_on_either_side_of_a_renumbering(tape: Tape, found: int, following: list[int]) -> None:
    tape.frame(book_frame(13, 5, 1400, bids=[("100", "5")]))
    tape.frame(book_frame(5, 6, 1500, bids=[("100", "6")]))
    tape.answer(asked(tape), book(found, ms=1600))
    assert [sequence for *_, sequence in stored(tape)] == [found, *following]


def test_a_book_from_before_a_renumbering_that_nothing_goes_on_from_is_refused(tape: Tape) -> None:
    tape.frame(book_frame(13, 5, 1400, bids=[("100", "5")]))
    tape.answer(asked(tape), book(40, ms=1000))
    assert stored(tape) == []


def test_after_some_old_books_the_subscription_is_asked_again(tape: Tape) -> None:
    before = len(tape.requests())
    for _ in range(STALE + 1):
        tape.answer(asked(tape), book(9))
        tape.wait(SECOND)
    tape.wait(TIMEOUT)
    assert [operation for operation, _ in tape.requests()[before:]] == ["unsubscribe", "subscribe"]


def test_many_books_are_asked_for_anew_in_few_requests() -> None:
    symbols = [f"N{number}-USDT" for number in range(300)]
    tape = Tape(symbols, ("book_updates",))
    tape.open()
    for connection in tape.session.connections:
        for topic in connection.topics:
            tape.frame(book_frame(-1, 10, symbol=topic.symbol), connection.number)
    tape.wait()
    before = len(tape.requests())
    tape.suspend(10 * SECOND)  # every book is lost at once
    tape.wait()
    asked_anew = tape.requests()[before:]
    sockets = len(tape.session.connections)
    assert [operation for operation, _ in asked_anew] == ["unsubscribe", "subscribe"] * sockets
    assert {topic.symbol for _, topics in asked_anew for topic in topics} == set(symbols)
    assert len([note for note in tape.notes("warning") if "asking OKX" in note]) == 1
