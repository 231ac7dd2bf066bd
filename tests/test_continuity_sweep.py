"""A book is right or marked, whichever frame is lost.

The property: take a tape of book frames whose sequence chain holds, and let any one of them be lost. Whenever an update
of that symbol follows before its next snapshot, the chain shows the loss, and then

* a gap of kind ``sequence`` is recorded for each channel of the book, from the last update before the loss until the
  snapshot that ends it;
* no book is ever published that differs from the exchange's own at the same sequence, neither as ``orderbooks`` nor
  rebuilt from ``book_updates``;
* the book is published again after the snapshot, and other symbols lose nothing.

Where the chain cannot show it (a heartbeat, the last frame before a snapshot or before the end) nothing wrong is
published either.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache

import pytest

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.streams import Sampling
from cryptofeed_cli.types import BookUpdate, OrderBook
from tests.captures import SYMBOLS, capture_tape
from tests.okx_market import Book, Market, Push, generate, instrument
from tests.tapes import START_MS, Tape, rebuild

CHANNELS = ("orderbooks", "book_updates")
EVERY_CHANGE = Sampling(depth=400, interval_ms=0)
COINS = ("ETH-USDT", "SOL-USDT", "XRP-USDT")

Levels = list[tuple[str, str]]
State = tuple[str, int | None, int]
"""Symbol, exchange time and sequence: a sequence alone may come again after a reset."""


def with_everything(pushes: Sequence[Push]) -> list[Push]:
    """Add to a chained tape what the exchange may legally do to each symbol's book, at moments of its own.

    An idle heartbeat now and then, a snapshot that repeats the book as it is, one that brings changes with it, and a
    renumbering.
    """
    events = []
    renumbered: dict[str, int] = {}
    counts: dict[str, int] = dict.fromkeys(COINS, 0)
    market = Market(instrument(coin) for coin in COINS)
    for push in pushes:
        coin = push.symbol
        shift = renumbered.get(coin, 0)
        count = counts[coin] = counts[coin] + 1
        row = {**push.row, "seqId": push.row["seqId"] - shift}
        if push.action == "update":
            row["prevSeqId"] -= shift
        if count == 20:
            renumbered[coin] = push.row["seqId"] - 5
            row["seqId"] = 5
        push = push._replace(row=row)
        consume(market, push)
        last = market.books[coin].row()
        if count == 14:
            push = push._replace(row=last, action="snapshot")
        events.append(push)
        if count % 6 == 4:
            idle = {"asks": [], "bids": [], "ts": last["ts"], "prevSeqId": last["seqId"], "seqId": last["seqId"]}
            events.append(Push(0.0, "books", coin, idle, "update"))
        if count == 9:
            events.append(Push(0.0, "books", coin, last, "snapshot"))
    return events


def consume(market: Market, push: Push) -> None:
    for _ in market.publish(push):
        pass


@cache
def generated() -> tuple[Push, ...]:
    """A tape of three symbols in which everything happens."""
    return tuple(with_everything(books(generate(COINS, 170, random.Random(7), START_MS, pace=0.04))))


@cache
def captured(symbol: str) -> tuple[Push, ...]:
    """The real book frames of one symbol."""
    return tuple(books(capture_tape(), symbol))


def books(pushes: Sequence[Push], symbol: str | None = None) -> list[Push]:
    """Leave only books on a tape, at their own pace."""
    kept = []
    after = 0.0
    for push in pushes:
        after += push.after
        if push.channel == "books" and symbol in (None, push.symbol):
            kept.append(push._replace(after=after))
            after = 0.0
    return kept


def truth(pushes: Sequence[Push]) -> dict[State, tuple[Levels, Levels]]:
    """The exchange's own books, best first, after each push."""
    kept: dict[str, Book] = {}
    states = {}
    for push in pushes:
        book = kept.setdefault(push.symbol, Book())
        book.apply(push.row, push.action)
        bids, asks = ([(level[0], level[1]) for level in book.side(side)] for side in ("bids", "asks"))
        states[push.symbol, int(push.row["ts"]), push.row["seqId"]] = bids, asks
    return states


def is_idle(push: Push) -> bool:
    return push.action == "update" and push.row["seqId"] == push.row["prevSeqId"]


def shows(pushes: Sequence[Push], lost: int) -> bool:
    """Whether the chain can show the loss of one frame: something of the symbol follows that is not a snapshot.

    A heartbeat is no loss, and neither is a snapshot that repeats what was known.
    """
    push = pushes[lost]
    before = next((other for other in reversed(pushes[:lost]) if other.symbol == push.symbol), None)
    after = next((other for other in pushes[lost + 1 :] if other.symbol == push.symbol), None)
    repeats = before is not None and before.row["seqId"] == push.row["seqId"]
    return not is_idle(push) and not repeats and after is not None and after.action == "update"


def play(pushes: Sequence[Push], lost: int | None = None) -> Tape:
    """Record a tape but for one frame, from an exchange that answers every subscription with a snapshot."""
    symbols = tuple(dict.fromkeys(push.symbol for push in pushes))
    market = Market(instrument(symbol) for symbol in symbols)
    tape = Tape(symbols, CHANNELS, sampling=EVERY_CHANGE, reorder_grace=SECOND // 5)
    tape.open()
    served = len(tape.requests())
    for index, push in enumerate(pushes):
        tape.wait(round(push.after * SECOND))
        for operation, topics in tape.requests()[served:]:
            served += 1
            for topic in topics if operation == "subscribe" else ():
                serve(tape, market, topic)
        consume(market, push)
        if index != lost:
            tape.frame(push.frame())
    tape.wait(SECOND)
    tape.finish()
    return tape


def serve(tape: Tape, market: Market, topic: Topic) -> None:
    tape.acknowledge(topic)
    snapshot = market.current(*topic)
    if snapshot is not None:
        tape.frame(snapshot)


def wrong_books(tape: Tape, right: dict[State, tuple[Levels, Levels]]) -> Iterator[State]:
    """Every state whose book was published otherwise than it was."""
    for book in tape.of(OrderBook):
        state = book.symbol, book.timestamp, book.sequence
        if right.get(state) != (book.bids, book.asks):
            yield state
    for symbol in tape.session.symbols:
        for update, (bids, asks) in rebuild(one for one in tape.of(BookUpdate) if one.symbol == symbol):
            state = symbol, update.timestamp, update.sequence
            if tuple(map(dict, right.get(state, ((), ())))) != (bids, asks):
                yield state


def sweep(pushes: Sequence[Push]) -> int:
    """Show the property for the loss of each frame in turn; return how many books came back before the end."""
    right = truth(pushes)
    resumed = 0
    for lost, push in enumerate(pushes):
        tape = play(pushes, lost)
        assert not list(wrong_books(tape, right)), lost
        gaps = tape.gaps()
        if not shows(pushes, lost):
            assert not gaps, lost
            continue
        assert sorted((gap.symbol, gap.kind, gap.channel) for gap in gaps) == [
            (push.symbol, "sequence", channel) for channel in sorted(CHANNELS)
        ], lost
        before = [other for other in pushes[:lost] if other.symbol == push.symbol and not is_idle(other)]
        published = [book for book in tape.of(OrderBook) if book.symbol == push.symbol]
        after = [book for book in published if (book.timestamp or 0) >= int(push.row["ts"])]
        for gap in gaps:
            if before:
                assert gap.start == int(before[-1].row["ts"]), lost
                assert gap.first_missing == str(before[-1].row["seqId"]), lost
            assert gap.status == ("unrecoverable" if after else "open"), lost
            assert gap.end == (after[0].timestamp if after else None), lost
        resumed += bool(after)
    return resumed


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_lost_frame_of_a_real_tape_makes_a_wrong_book(symbol: str) -> None:
    pushes = captured(symbol)
    assert sweep(pushes) > len(pushes) // 2


def test_no_lost_frame_of_an_eventful_tape_makes_a_wrong_book() -> None:
    pushes = generated()
    assert sweep(pushes) > len(pushes) // 2


def test_the_eventful_tape_is_eventful() -> None:
    pushes = generated()
    assert {push.symbol for push in pushes} == set(COINS)
    assert sum(is_idle(push) for push in pushes) >= 3 * len(COINS)
    assert sum(push.action == "snapshot" for push in pushes) == 3 * len(COINS)
    assert sum(-1 < push.row["seqId"] < push.row["prevSeqId"] for push in pushes) == len(COINS)
    assert sum(not shows(pushes, index) for index in range(len(pushes))) < len(pushes) // 3


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_whole_real_tape_is_published_change_by_change_without_a_gap(symbol: str) -> None:
    pushes = captured(symbol)
    tape = play(pushes)
    right = truth(pushes)
    assert not tape.gaps()
    assert not list(wrong_books(tape, right))
    published = {book.sequence: (book.bids, book.asks) for book in tape.of(OrderBook)}
    shown = None
    for (_, _, sequence), levels in right.items():
        shown = published.get(sequence, shown)  # an update that changes nothing repeats no book
        assert shown == levels
    assert [one.sequence for one in tape.of(BookUpdate)] == [push.row["seqId"] for push in pushes] + [sequence]
    assert tape.of(BookUpdate)[-1].action == "checkpoint"


def test_a_whole_eventful_tape_leaves_no_gap() -> None:
    pushes = generated()
    tape = play(pushes)
    assert not tape.gaps()
    assert not list(wrong_books(tape, truth(pushes)))
    updates = [(one.symbol, one.sequence) for one in tape.of(BookUpdate) if one.action != "checkpoint"]
    assert updates == [(push.symbol, push.row["seqId"]) for push in pushes if not is_idle(push)]
