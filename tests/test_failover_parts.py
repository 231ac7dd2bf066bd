"""When a simulation begins and ends, and from where it goes on: driven by hand, on a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.failover import MOST_SYMBOLS, FailOver
from cryptofeed_cli.feeds.base import Tick
from cryptofeed_cli.session import SessionOptions
from cryptofeed_cli.types import BookUpdate, MarketRecord, Ticker, Trade
from tests.tapes import PUBLIC, STEP, SYMBOL, Tape, book_frame, fill_frame

AFTER = 5 * SECOND


class Bridged:
    """A live session, and the fail-over beside it, on one clock."""

    def __init__(self, symbols: tuple[str, ...] = (SYMBOL,)) -> None:
        self.tape = Tape(symbols)
        self.emitted: list[Any] = []
        options = SessionOptions("run", symbols, ("trades", "tickers", "orderbooks", "book_updates"))
        self.failover = FailOver(Okx(), options, self.emitted.append, after=AFTER, clock=self)

    def now(self) -> int:
        return self.tape.now.at

    def monotonic(self) -> int:
        return self.tape.now.monotonic

    def wait(self, nanoseconds: int) -> None:
        """Let time pass for both; a connection that is given up closes."""
        for _ in range(nanoseconds // STEP):
            given_up = len(self.tape.resets())
            self.tape.wait(STEP)
            for reset in self.tape.resets()[given_up:]:
                self.tape.close(reset.connection)
            self.turn()

    def turn(self) -> None:
        self.failover.turn(self.tape.session, Tick(self.now(), self.monotonic()))

    @property
    def active(self) -> bool:
        return self.failover.streams is not None

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.emitted if isinstance(one, kind)]


@pytest.fixture
def live() -> Bridged:
    """A recording that has a book and a trade."""
    bridged = Bridged()
    bridged.turn()
    bridged.tape.open()
    bids = [(f"{100 - step / 10:.1f}", "5") for step in range(20)]
    asks = [(f"{100.2 + step / 10:.1f}", "5") for step in range(20)]
    bridged.tape.frame(book_frame(-1, 10, bids=bids, asks=asks), PUBLIC)
    bridged.tape.frame(fill_frame(7), 0)
    bridged.wait(SECOND)
    return bridged


def test_nothing_is_simulated_while_the_exchange_speaks(live: Bridged) -> None:
    for sequence in range(10, 20):
        live.tape.frame(book_frame(sequence, sequence + 1), PUBLIC)
        live.wait(10 * SECOND)

    assert live.emitted == []


def test_it_begins_so_long_after_the_last_connection_went(live: Bridged) -> None:
    live.tape.close()
    live.wait(AFTER)
    assert live.emitted == []
    live.wait(SECOND // 2)
    assert live.emitted != []


def test_a_connection_that_is_back_in_time_prevents_it(live: Bridged) -> None:
    live.tape.close()
    live.wait(4 * SECOND)
    live.tape.open()
    live.wait(20 * SECOND)

    assert live.emitted == []


def test_it_begins_where_the_exchange_never_was() -> None:
    bridged = Bridged()
    bridged.wait(AFTER + SECOND)

    assert bridged.active


def test_it_begins_on_an_open_socket_that_says_nothing(live: Bridged) -> None:
    live.wait(33 * SECOND)
    assert not live.active
    live.wait(3 * SECOND)
    assert live.active


def test_it_goes_on_from_the_last_price_and_book(live: Bridged) -> None:
    live.tape.close()
    live.wait(AFTER + 2 * SECOND)

    first = live.of(BookUpdate)[0]
    assert first.action == "snapshot"
    assert {"100", "99.9", "99.8", "98.1"} <= {price for price, _, _ in first.bids}
    assert all(abs(float(one.price) - 100.1) < 2 for one in live.of(Trade))
    assert all(abs(float(one.bid) - 100.1) < 2 for one in live.of(Ticker))


def test_the_first_live_frame_ends_it_at_once(live: Bridged) -> None:
    live.tape.close()
    live.wait(AFTER + 2 * SECOND)
    live.tape.open()
    live.wait(SECOND)
    assert live.active
    live.tape.frame(fill_frame(8), 0)
    live.turn()
    count = len(live.emitted)
    assert not live.active
    live.wait(2 * SECOND)

    assert len(live.emitted) == count


def test_every_record_says_which_run_and_episode_it_is_of(live: Bridged) -> None:
    for number in (8, 9):
        live.tape.close()
        live.wait(AFTER + 2 * SECOND)
        live.tape.open()
        live.tape.frame(fill_frame(number), 0)
        live.wait(SECOND)

    assert {(one.source, one.run_id) for one in live.of(MarketRecord)} == {("simulated", "run")}
    episodes = [one.episode for one in live.emitted]
    assert episodes == sorted(episodes)
    assert set(episodes) == {1, 2}
    assert live.failover.simulated == pytest.approx(4 * SECOND, abs=SECOND)


def test_open_gaps_say_that_there_is_simulated_data(live: Bridged) -> None:
    live.tape.close()
    live.wait(AFTER + SECOND)

    assert all("; simulated data from 20" in gap.reason for gap in live.tape.gaps())
    assert live.tape.gaps()


def test_what_the_live_session_records_is_the_same_with_and_without_it(live: Bridged) -> None:
    alone = Tape()
    for tape in (live.tape, alone):
        assert [one for one in tape.records if getattr(one, "source", "live") != "live"] == []
    live.tape.close()
    live.wait(AFTER + 2 * SECOND)

    assert {one.source for one in live.tape.of(MarketRecord)} == {"live"}
    assert all(one.source == "simulated" for one in live.emitted)


def test_what_cannot_be_simulated_is_left_out() -> None:
    bridged = Bridged(("BTC-USD-261225-50000-C", SYMBOL))
    bridged.wait(AFTER + SECOND)

    assert {one.symbol for one in bridged.emitted} == {SYMBOL}


def test_of_many_symbols_only_so_many_are_simulated() -> None:
    bridged = Bridged(tuple(f"A{number}-USDT" for number in range(MOST_SYMBOLS + 10)))
    bridged.wait(AFTER + SECOND)

    assert len({one.symbol for one in bridged.emitted}) == MOST_SYMBOLS
