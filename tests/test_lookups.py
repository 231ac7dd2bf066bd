"""What a recorder missed and another one has: looked up in the store before the exchange is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from cryptofeed_cli.clock import HOUR, MILLISECOND, SECOND, SystemClock
from cryptofeed_cli.feeds.base import Drop, LookedUp, Lookup, Tick
from cryptofeed_cli.lookups import Lookups
from cryptofeed_cli.stores import Store, open_store
from cryptofeed_cli.streams import TradeStream
from tests.processes import wait_until
from tests.scripted import ScriptedFeed
from tests.stores.records import trade
from tests.tapes import SYMBOL, Stage, Tape, fill_frame

GRACE = SECOND


class Trades:
    """A stream of trades that looks holes up, and what it asked."""

    def __init__(self, limit: int | None = None) -> None:
        self.stage = Stage()
        self.looked: list[tuple[int, int]] = []
        self.wanted: list[tuple[int, int]] = []
        self.stream = TradeStream(
            SYMBOL, self.stage.ledger, self.stage.emitted.append, GRACE, limit=limit,
            want=lambda _, first, last: self.wanted.append((first, last)),
            look=lambda _, first, last, __: self.looked.append((first, last)),
        )  # fmt: skip

    def push(self, *numbers: int) -> None:
        for number in numbers:
            self.stream.take([trade(number, self.stage.now.at // MILLISECOND)], self.stage.now)

    def grace(self) -> None:
        self.stream.check(self.stage.later(GRACE))

    def found(self, missing: list[tuple[int, int]]) -> None:
        self.stream.looked_up(*self.looked[-1], missing, self.stage.now)

    @property
    def gap(self) -> Any:
        return [one for one in self.stage.emitted if hasattr(one, "gap_id")][-1]

    @property
    def outcome(self) -> tuple[Any, ...]:
        gap = self.gap
        return gap.first_missing, gap.last_missing, gap.missing, gap.filled, gap.status


def test_a_hole_is_looked_up_before_it_is_asked_for() -> None:
    trades = Trades()
    trades.push(1, 10)
    trades.grace()

    assert (trades.looked, trades.wanted) == ([(2, 9)], [])
    assert trades.outcome == ("2", "9", 8, 0, "open")


def test_what_the_store_holds_whole_was_not_missed() -> None:
    trades = Trades()
    trades.push(1, 10)
    trades.grace()
    trades.found([])

    assert trades.wanted == []
    assert trades.outcome == (None, None, 0, 0, "filled")


def test_what_the_store_holds_in_part_leaves_what_is_missing() -> None:
    trades = Trades()
    trades.push(1, 10)
    trades.grace()
    trades.found([(4, 5), (8, 8)])

    assert trades.wanted == [(4, 5), (8, 8)]
    assert trades.outcome == ("4", "8", 3, 0, "open")
    trades.stream.recover([trade(number) for number in (4, 5, 8)], trades.stage.now)
    assert trades.outcome == ("4", "8", 3, 3, "filled")


def test_what_the_store_lacks_whole_is_asked_for_as_it_was_told() -> None:
    trades = Trades()
    trades.push(1, 10)
    trades.grace()
    trades.found([(2, 9)])

    assert trades.wanted == [(2, 9)]
    assert trades.gap.revision == 1


def test_what_came_late_meanwhile_is_filled_and_the_rest_was_not_missed() -> None:
    trades = Trades()
    trades.push(1, 10)
    trades.grace()
    trades.push(3)
    trades.found([(3, 3)])

    assert trades.wanted == []
    assert trades.outcome == ("2", "9", 1, 1, "filled")


def test_an_outage_that_another_recorder_covered_ends_with_nothing_missing() -> None:
    trades = Trades()
    trades.push(1)
    trades.stream.interrupt("disconnect", "network", "gone", trades.stage.now)
    trades.stage.later(5 * SECOND)
    trades.push(10)
    trades.found([])

    assert trades.gap.kind == "disconnect"
    assert trades.outcome == (None, None, 0, 0, "filled")


def test_an_outage_that_is_too_old_to_be_filled_is_looked_up_all_the_same() -> None:
    trades = Trades(limit=HOUR)
    trades.push(1)
    trades.stream.interrupt("disconnect", "network", "gone", trades.stage.now)
    trades.stage.later(2 * HOUR)
    trades.push(10)
    assert (trades.looked, trades.outcome) == ([(2, 9)], ("2", "9", 8, 0, "deferred"))
    trades.found([(7, 9)])

    assert trades.wanted == []
    assert trades.outcome == ("7", "9", 3, 0, "deferred")


def test_the_store_is_asked_once_others_had_the_time_to_write() -> None:
    tape = Tape((SYMBOL,), ("trades",), shared=True, backfill=True)
    tape.open()
    tape.frame(fill_frame(1, symbol=SYMBOL), 0)
    tape.frame(fill_frame(5, symbol=SYMBOL), 0)
    tape.wait(SECOND + SECOND // 2)
    assert lookups(tape) == []
    tape.wait(SECOND)
    (lookup,) = lookups(tape)
    tape.wait(10 * SECOND)

    assert (lookup.symbol, lookup.first, lookup.last) == (SYMBOL, 2, 4)
    assert tape.fetches("history-trades") == []
    tape.session.handle([LookedUp(lookup.request_id, tape.now.at, tape.now.monotonic, [(3, 3)])])
    tape.wait(SECOND)
    assert len(tape.fetches("history-trades")) == 1
    assert [(gap.first_missing, gap.last_missing, gap.missing) for gap in tape.gaps()] == [("3", "3", 1)]


def test_a_store_that_does_not_answer_leaves_everything_missing() -> None:
    tape = Tape((SYMBOL,), ("trades",), shared=True, backfill=True)
    tape.open()
    tape.frame(fill_frame(1, symbol=SYMBOL), 0)
    tape.frame(fill_frame(5, symbol=SYMBOL), 0)
    tape.wait(3 * SECOND)
    (lookup,) = lookups(tape)
    tape.session.handle([LookedUp(lookup.request_id, tape.now.at, tape.now.monotonic, None)])
    tape.wait(SECOND)

    assert [(gap.missing, gap.status) for gap in tape.gaps()] == [(3, "open")]
    assert len(tape.fetches("history-trades")) == 1


def test_few_questions_are_on_their_way_at_a_time() -> None:
    tape = Tape((SYMBOL,), ("trades",), shared=True)
    tape.open()
    for number in range(1, 200, 2):
        tape.frame(fill_frame(number, symbol=SYMBOL), 0)
    tape.wait(5 * SECOND)

    assert len(lookups(tape)) == 8


def lookups(tape: Tape) -> list[Lookup]:
    return [action for action in tape.actions if isinstance(action, Lookup)]


# The thread that asks


@contextmanager
def asking(url: str, respite: int = 0) -> Iterator[tuple[Lookups, ScriptedFeed]]:
    feed = ScriptedFeed(SystemClock(), Event())

    def opener() -> Store:
        return open_store(url, writable=False)

    with closing(Lookups(feed, opener, "OKX", SystemClock(), respite=respite)) as lookups:
        yield lookups, feed


def answer(lookups: Lookups) -> LookedUp:
    found: list[Any] = []
    wait_until(lambda: found.extend(lookups.take(0)) or found, "an answer of the store")
    return found[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["sqlite", "mongodb"])
def test_the_store_is_asked_by_its_own_thread_whoever_writes(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/m.db" if kind == "sqlite" else request.getfixturevalue("mongo_url")
    with closing(open_store(url, writable=True)) as store, asking(url) as (lookups, _):
        for number in (3, 7):
            store.write([trade(number)])
            lookups.perform(Lookup(number, SYMBOL, 1, 9))
            found = answer(lookups)
            assert found.request_id == number

    assert found.missing == [(1, 2), (4, 6), (8, 9)]


def test_a_store_that_is_not_there_is_no_answer_and_asked_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with asking(url) as (lookups, _):
        lookups.perform(Lookup(1, SYMBOL, 1, 2))
        assert answer(lookups).missing is None
        with closing(open_store(url, writable=True)) as store:
            store.write([trade(1)])
        lookups.perform(Lookup(2, SYMBOL, 1, 2))
        assert answer(lookups).missing == [(2, 2)]


def test_a_store_that_did_not_answer_is_left_alone_for_a_while(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with asking(url, HOUR) as (lookups, _):
        lookups.perform(Lookup(1, SYMBOL, 1, 2))
        assert answer(lookups).missing is None
        open_store(url, writable=True).close()
        lookups.perform(Lookup(2, SYMBOL, 1, 2))
        assert answer(lookups).missing is None


def test_everything_else_is_the_feeds() -> None:
    with asking("sqlite:///none.db") as (lookups, feed):
        event = Tick(1, 1)
        feed.play(iter([[event]]))
        lookups.perform(Drop(1))

        assert lookups.take(0) == [event]
        assert feed.actions == [Drop(1)]
    assert feed.closed


def test_an_answer_for_a_symbol_that_has_left_meanwhile_is_taken_all_the_same() -> None:
    tape = Tape((SYMBOL,), ("trades",), shared=True, backfill=True)
    tape.open()
    tape.frame(fill_frame(1, 5), 0)
    tape.wait(3 * SECOND)
    (asked,) = [action for action in tape.actions if isinstance(action, Lookup)]
    tape.session.streams.leave(SYMBOL, tape.now)
    tape._handle(LookedUp(asked.request_id, tape.now.at, tape.now.monotonic, []))

    (gap,) = [gap for gap in tape.gaps("trades") if gap.kind == "trade_ids"]
    assert (gap.status, gap.missing) == ("filled", 0)
