"""Several connections for the same topics: redundancy, and make before break; nothing twice, nothing lost."""

from __future__ import annotations

import pytest

from cryptofeed_cli.carriers import OVERLAP
from cryptofeed_cli.clock import MILLISECOND, MINUTE, SECOND
from cryptofeed_cli.feeds.base import Connect, Drop
from cryptofeed_cli.types import BookUpdate, Trade
from tests.okx_market import dump
from tests.tapes import Tape, book_frame, fill_frame, ticker_frame

NOTICE = dump({"event": "notice", "code": "64008", "msg": "The connection will soon be closed.", "connId": "a"})
BUSINESS, OTHER_BUSINESS, PUBLIC, OTHER_PUBLIC = range(4)


@pytest.fixture
def pair() -> Tape:
    """Two sockets for everything, all up."""
    tape = Tape(redundancy=2)
    tape.open()
    tape.wait()
    return tape


def connects(tape: Tape) -> list[tuple[int, str]]:
    return [(action.connection, action.endpoint) for action in tape.actions if isinstance(action, Connect)]


def drops(tape: Tape) -> list[int]:
    return [action.connection for action in tape.actions if isinstance(action, Drop)]


def chain(tape: Tape) -> list[tuple[str, int]]:
    return [(update.action, update.sequence) for update in tape.of(BookUpdate)]


def test_every_subscription_is_made_on_as_many_sockets_as_asked_for(pair: Tape) -> None:
    assert connects(pair) == [
        (BUSINESS, "business"), (OTHER_BUSINESS, "business"), (PUBLIC, "public"), (OTHER_PUBLIC, "public")
    ]  # fmt: skip
    topics = [set(connection.topics) for connection in pair.session.connections]
    assert topics[0] == topics[1] != topics[2] == topics[3]


def test_killing_sockets_in_turn_leaves_no_gap(pair: Tape) -> None:
    for number in (PUBLIC, OTHER_PUBLIC):
        pair.frame(book_frame(-1, 10), number)
    sequence = 10
    for round_ in range(10):
        down = PUBLIC + round_ % 2
        other = OTHER_PUBLIC - round_ % 2
        pair.close(down)
        pair.close(BUSINESS + round_ % 2)
        for _ in range(5):
            pair.frame(book_frame(sequence, sequence + 1, 100 * sequence, bids=[("100", str(sequence))]), other)
            pair.frame(fill_frame(sequence), OTHER_BUSINESS - round_ % 2)
            pair.frame(ticker_frame(100 * sequence), other)
            sequence += 1
            pair.wait()
        pair.open(down)
        pair.open(BUSINESS + round_ % 2)
        pair.frame(book_frame(-1, sequence, 100 * sequence), down)
        pair.wait(2 * SECOND)

    assert pair.gaps() == []
    assert chain(pair)[0] == ("snapshot", 10)
    assert chain(pair)[1:] == [("update", number) for number in range(11, sequence + 1)]
    assert [int(trade.trade_id) for trade in pair.of(Trade)] == list(range(10, sequence))


def test_what_the_second_socket_repeats_changes_nothing(pair: Tape) -> None:
    frames = [book_frame(-1, 10)]
    frames += [book_frame(n, n + 1, 100 * n, bids=[("100", str(n))]) for n in range(10, 20)]
    pair.frames(frames, PUBLIC)
    pair.frames(frames, OTHER_PUBLIC)
    pair.wait(5 * SECOND)

    assert chain(pair) == [("snapshot", 10)] + [("update", n) for n in range(11, 21)]
    assert pair.gaps() == []


def test_a_second_socket_that_began_earlier_repeats_what_came_before_the_snapshot(pair: Tape) -> None:
    pair.frame(book_frame(-1, 20, 2000), PUBLIC)
    pair.frame(book_frame(-1, 10, 1000), OTHER_PUBLIC)
    for n in range(10, 20):
        pair.frame(book_frame(n, n + 1, 100 * n, bids=[("100", str(n))]), OTHER_PUBLIC)
    pair.frame(book_frame(20, 21, 2100, bids=[("100", "1")]), OTHER_PUBLIC)
    pair.wait(5 * SECOND)

    assert chain(pair) == [("snapshot", 20), ("update", 21)]
    assert pair.gaps() == []


def test_a_second_socket_that_is_ahead_is_waited_for(pair: Tape) -> None:
    pair.frame(book_frame(-1, 10), PUBLIC)
    pair.frame(book_frame(-1, 13, 300), OTHER_PUBLIC)
    pair.frame(book_frame(13, 14, 400, bids=[("100", "14")]), OTHER_PUBLIC)
    for n in range(10, 13):
        pair.frame(book_frame(n, n + 1, 100 * (n - 9), bids=[("100", str(n))]), PUBLIC)
    pair.wait(5 * SECOND)

    assert chain(pair) == [("snapshot", 10)] + [("update", n) for n in range(11, 15)]
    assert pair.gaps() == []


def test_a_legal_reset_on_both_sockets_is_one_reset(pair: Tape) -> None:
    before = [book_frame(-1, 100), book_frame(100, 103, 100, bids=[("100", "1")])]
    after = [book_frame(103, 5, 200, bids=[("100", "2")]), book_frame(5, 6, 300, bids=[("100", "3")])]
    pair.frames([*before, *after], PUBLIC)
    pair.frames([*before, *after], OTHER_PUBLIC)
    pair.wait(5 * SECOND)

    assert [sequence for _, sequence in chain(pair)] == [100, 103, 5, 6]
    assert pair.gaps() == []


def test_what_one_socket_lost_the_other_one_brings(pair: Tape) -> None:
    pair.frame(book_frame(-1, 10), PUBLIC)
    pair.frame(book_frame(11, 12, 200, bids=[("100", "12")]), PUBLIC)
    pair.frame(fill_frame(1), BUSINESS)
    pair.frame(fill_frame(3), BUSINESS)
    pair.wait(SECOND // 2)
    pair.frame(book_frame(10, 11, 100, bids=[("100", "11")]), OTHER_PUBLIC)
    pair.frame(fill_frame(2), OTHER_BUSINESS)
    pair.wait(5 * SECOND)

    assert [sequence for _, sequence in chain(pair)] == [10, 11, 12]
    assert pair.gaps() == []


# Make before break


@pytest.fixture
def tape() -> Tape:
    """One socket for everything, up, with a book and a trade."""
    tape = Tape()
    tape.open()
    tape.frame(book_frame(-1, 10), 1)
    tape.frame(fill_frame(1), 0)
    tape.wait()
    return tape


def test_a_socket_that_will_close_is_replaced_once(tape: Tape) -> None:
    tape.frame(NOTICE, 1)
    tape.frame(NOTICE, 1)
    tape.wait(MINUTE)

    assert connects(tape)[2:] == [(2, "public")]
    assert drops(tape) == []


def test_the_old_socket_goes_when_the_new_one_has_carried_everything_for_a_while(tape: Tape) -> None:
    tape.frame(NOTICE, 1)
    tape.wait(SECOND)
    tape.open(2)
    tape.frame(book_frame(-1, 11, 150), 2)
    tape.wait(OVERLAP - 100 * MILLISECOND)
    assert drops(tape) == []
    tape.wait(SECOND)
    assert drops(tape) == [1]


def test_the_chain_of_a_book_does_not_break_over_a_replacement(tape: Tape) -> None:
    tape.frame(NOTICE, 1)
    tape.open(2)
    tape.frame(book_frame(-1, 12, 200), 2)
    for n in range(10, 14):
        tape.frame(book_frame(n, n + 1, 100 * (n - 9), bids=[("100", str(n))]), 1)
        if n >= 12:
            tape.frame(book_frame(n, n + 1, 100 * (n - 9), bids=[("100", str(n))]), 2)
        tape.wait(2 * SECOND)
    assert drops(tape) == [1]
    tape.frame(book_frame(14, 15, 600, bids=[("100", "9")]), 2)
    tape.wait(5 * SECOND)

    assert chain(tape) == [("snapshot", 10)] + [("update", n) for n in range(11, 16)]
    assert tape.gaps() == []


def test_an_old_socket_that_closes_early_makes_room_and_its_loss_is_told(tape: Tape) -> None:
    tape.frame(NOTICE, 1)
    tape.close(1, 4006, "upgrade")
    tape.wait()
    tape.open(2)
    tape.frame(book_frame(-1, 20, 1000), 2)

    assert drops(tape) == [1]
    assert [(gap.kind, gap.fault, gap.status) for gap in tape.gaps("book_updates")] == [
        ("disconnect", "venue", "unrecoverable")
    ]
    assert [connection.number for connection in tape.session.connections] == [0, 2]


def test_an_old_socket_that_closes_after_the_new_one_carries_costs_nothing(tape: Tape) -> None:
    tape.frame(NOTICE, 1)
    tape.open(2)
    tape.frame(book_frame(-1, 10, 100), 2)
    tape.close(1, 4006, "upgrade")
    tape.frame(book_frame(10, 11, 200, bids=[("100", "1")]), 2)
    tape.wait(5 * SECOND)

    assert tape.gaps() == []
    assert chain(tape) == [("snapshot", 10), ("update", 11)]
