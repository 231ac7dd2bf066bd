"""Streams and a session that have to take back what was not stored, or learn late what an earlier run left."""

from __future__ import annotations

from typing import Any

import pytest

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.feeds.base import Connect, Drop
from cryptofeed_cli.past import Past
from cryptofeed_cli.streams import Sampling
from cryptofeed_cli.types import BookUpdate, Gap, Ticker, Trade
from tests.okx_market import dump
from tests.tapes import BUSINESS, PUBLIC, START_MS, SYMBOL, Tape, book_frame, fill_frame, ticker_frame

EVERY_CHANGE = Sampling(depth=400, interval_ms=0)
CHANNELS = ("trades", "tickers", "orderbooks", "book_updates")


def history(*ids: int) -> bytes:
    rows = [
        {"instId": SYMBOL, "tradeId": str(one), "px": "100", "sz": "1", "side": "buy", "ts": str(START_MS + one)}
        for one in reversed(ids)
    ]
    return dump({"code": "0", "msg": "", "data": rows})


@pytest.fixture
def tape() -> Tape:
    """A recording that is up and has heard something of everything."""
    tape = Tape(sampling=EVERY_CHANGE, backfill=True)
    tape.open()
    tape.frame(fill_frame(1, 2, 3, ms=10), BUSINESS)
    tape.frame(ticker_frame(10))
    tape.frame(book_frame(-1, 10, 10, bids=[("100", "1")]))
    return tape


def halt(tape: Tape, stored: int) -> list[Any]:
    """Halt with only the first ``stored`` records durable; return what was refused."""
    refused = tape.records[stored:]
    durable: dict[tuple[str, str], int] = {}
    names = {Trade: "trades", Ticker: "tickers", BookUpdate: "book_updates"}
    for record in tape.records[:stored]:
        if type(record) in names:
            durable[names[type(record)], record.symbol] = record.timestamp
        elif not isinstance(record, Gap):
            durable["orderbooks", record.symbol] = record.timestamp
    tape.session.halt("the disk is full", refused, durable, tape.now)
    tape._collect()
    return refused


def again(tape: Tape) -> None:
    """Go on, with every connection up."""
    tape.session.go_on(tape.now)
    tape._collect()
    tape.open()


def business(tape: Tape) -> int:
    return next(one.number for one in tape.session.connections if one.endpoint == "business")


def test_halting_drops_every_connection_and_going_on_makes_new_ones(tape: Tape) -> None:
    halt(tape, len(tape.records))

    assert [one for one in tape.actions if isinstance(one, Drop)] == [Drop(BUSINESS), Drop(PUBLIC)]
    assert tape.session.halted
    assert tape.session.connections == []
    tape.wait(60 * SECOND)
    connects = [one for one in tape.actions if isinstance(one, Connect)]
    tape.session.go_on(tape.now)
    tape._collect()
    more = [one for one in tape.actions if isinstance(one, Connect)][len(connects) :]

    assert [one.endpoint for one in more] == ["business", "public"]
    assert not {one.connection for one in more} & {BUSINESS, PUBLIC}


def test_every_stream_has_a_gap_from_its_last_durable_record_to_the_first_one_after(tape: Tape) -> None:
    stored = len(tape.records)
    tape.frame(fill_frame(4, 5, ms=500), BUSINESS)
    tape.frame(ticker_frame(500))
    tape.frame(book_frame(10, 11, 500, bids=[("100", "2")]))
    halt(tape, stored)
    tape.wait(10 * SECOND)
    again(tape)
    tape.frame(fill_frame(9, ms=10_500), business(tape))
    tape.frame(ticker_frame(10_500))
    tape.frame(book_frame(-1, 20, 10_500, bids=[("100", "1")]))

    gaps = {gap.channel: gap for gap in tape.gaps()}
    assert set(gaps) == set(CHANNELS)
    for gap in gaps.values():
        assert (gap.kind, gap.fault, gap.reason) == ("writer", "us", "the disk is full")
        assert (gap.start, gap.end) == (START_MS + 10, START_MS + 10_500)
    trades = gaps["trades"]
    assert (trades.first_missing, trades.last_missing, trades.missing, trades.status) == ("4", "8", 5, "open")


def test_what_was_refused_is_fetched_with_what_was_missed_meanwhile(tape: Tape) -> None:
    stored = len(tape.records)
    tape.frame(fill_frame(4, 5, ms=500), BUSINESS)
    halt(tape, stored)
    again(tape)
    tape.frame(fill_frame(9, ms=900), business(tape))
    tape.wait(SECOND)
    (fetch,) = tape.fetches("history-trades")
    before = len(tape.of(Trade))
    tape.answer(fetch, history(4, 5, 6, 7, 8))

    assert [trade.trade_id for trade in tape.of(Trade)[before:]] == ["4", "5", "6", "7", "8"]
    (gap,) = tape.gaps("trades")
    assert (gap.status, gap.missing, gap.filled) == ("filled", 5, 5)


def test_what_was_refused_is_missing_even_when_nothing_happened_meanwhile(tape: Tape) -> None:
    stored = len(tape.records)
    tape.frame(fill_frame(4, 5, ms=500), BUSINESS)
    halt(tape, stored)
    again(tape)
    tape.frame(fill_frame(6, ms=900), business(tape))

    (gap,) = tape.gaps("trades")
    assert (gap.first_missing, gap.last_missing, gap.missing) == ("4", "5", 2)


def test_a_halt_that_refused_nothing_and_missed_nothing_ends_filled(tape: Tape) -> None:
    halt(tape, len(tape.records))
    again(tape)
    tape.frame(fill_frame(4, ms=900), business(tape))

    (gap,) = tape.gaps("trades")
    assert (gap.kind, gap.missing, gap.status) == ("writer", 0, "filled")


def test_trades_refused_out_of_the_middle_are_missing_one_by_one(tape: Tape) -> None:
    tape.frame(fill_frame(8, ms=100), BUSINESS)  # leaves 4 to 7 for REST
    tape.wait(2 * SECOND)
    stored = len(tape.records)
    tape.answer(tape.fetches("history-trades")[0], history(4, 5, 6, 7))
    tape.frame(fill_frame(9, 10, ms=2500), BUSINESS)
    halt(tape, stored)
    again(tape)
    tape.frame(fill_frame(12, ms=4000), business(tape))

    gap = next(gap for gap in tape.gaps("trades") if gap.kind == "writer")
    assert (gap.first_missing, gap.last_missing, gap.missing) == ("4", "11", 7)  # 8 was stored
    tape.wait(5 * SECOND)
    (asked,) = {fetch.path for fetch in tape.fetches("history-trades")[1:]}
    assert "after=13" in asked  # what is near to each other shares a page


def test_an_outage_that_was_running_becomes_the_writers_where_something_was_refused(tape: Tape) -> None:
    stored = len(tape.records)
    tape.frame(fill_frame(4, ms=500), BUSINESS)
    tape.close()
    halt(tape, stored)
    again(tape)
    tape.frame(fill_frame(7, ms=2000), business(tape))

    (trades,) = tape.gaps("trades")
    (tickers,) = tape.gaps("tickers")
    assert (trades.kind, trades.fault, trades.start, trades.missing) == ("writer", "us", START_MS + 10, 3)
    assert (tickers.kind, tickers.fault) == ("disconnect", "network")


def test_an_answer_that_comes_while_halted_is_asked_for_again(tape: Tape) -> None:
    tape.frame(fill_frame(8, ms=100), BUSINESS)
    tape.wait(2 * SECOND)
    (fetch,) = tape.fetches("history-trades")
    halt(tape, len(tape.records))
    before = len(tape.records)
    tape.answer(fetch, history(4, 5, 6, 7))
    assert tape.records[before:] == []
    again(tape)
    tape.wait(5 * SECOND)

    assert [one.path for one in tape.fetches("history-trades")] == [fetch.path] * 2


def test_simulated_data_takes_no_harm_and_has_no_gaps() -> None:
    tape = Tape(sampling=EVERY_CHANGE)
    tape.open(announced="simulated")
    tape.frame(fill_frame(1, 2, ms=10), BUSINESS)
    halt(tape, 0)
    again(tape)
    tape.frame(fill_frame(3, ms=500), business(tape))

    assert tape.gaps() == []


# Learning late


def past() -> dict[str, Past]:
    times = dict.fromkeys(("tickers", "orderbooks", "book_updates"), START_MS - 5000)
    return {SYMBOL: Past(last_trade=(90, START_MS - 5000), last_times=times)}


def test_a_past_that_is_learnt_late_ends_at_the_first_records_of_this_run() -> None:
    tape = Tape(sampling=EVERY_CHANGE, backfill=True)
    tape.open()
    for ms in (10, 20):
        tape.frame(fill_frame(100 + ms, ms=ms), BUSINESS)
        tape.frame(ticker_frame(ms, last=str(ms)))
    tape.frame(book_frame(-1, 10, 10, bids=[("100", "1")]))
    tape.session.learn(past(), tape.now)
    tape.frame(fill_frame(121, ms=30), BUSINESS)
    tape.wait(SECOND)

    downtime = {gap.channel: gap for gap in tape.gaps() if gap.kind == "downtime"}
    assert set(downtime) == set(CHANNELS)
    for gap in downtime.values():
        assert (gap.start, gap.end) == (START_MS - 5000, START_MS + 10)
    trades = downtime["trades"]
    assert (trades.first_missing, trades.last_missing, trades.missing) == ("91", "109", 19)
    assert {gap.status for channel, gap in downtime.items() if channel != "trades"} == {"unrecoverable"}
    assert any("after=111" in fetch.path for fetch in tape.fetches("history-trades"))


def test_a_past_that_is_learnt_before_anything_came_is_as_if_it_had_been_known() -> None:
    late, known = Tape(sampling=EVERY_CHANGE), Tape(sampling=EVERY_CHANGE, pasts=past())
    late.session.learn(past(), late.now)
    for tape in (late, known):
        tape.open()
        tape.frame(fill_frame(100, ms=10), BUSINESS)
        tape.frame(ticker_frame(10))
        tape.frame(book_frame(-1, 10, 10, bids=[("100", "1")]))

    assert late.gaps() == known.gaps()
    assert len(late.gaps()) == 4


def test_an_outage_of_an_earlier_run_is_ended_late_too(tape: Tape) -> None:
    outage = Gap(
        "gap", "before", "OKX", SYMBOL, "trades", "disconnect", "network", START_MS - 5000, None, None, None, None, 0,
        "open", "gone", 3, 1,
    )  # fmt: skip
    tape.session.learn({SYMBOL: Past(last_trade=(0, START_MS - 5000), outages={"trades": outage})}, tape.now)

    (gap,) = tape.gaps("trades")
    assert (gap.gap_id, gap.kind, gap.missing, gap.status) == ("gap", "disconnect", 0, "filled")
    assert gap.revision > outage.revision


def test_a_second_halt_before_anything_was_fetched_forgets_nothing_of_the_first(tape: Tape) -> None:
    stored = len(tape.records)
    tape.frame(fill_frame(4, 5, ms=20), BUSINESS)
    halt(tape, stored)
    again(tape)
    tape.wait()
    refused = tape.records[stored:]
    tape.session.halt("the disk is full", [one for one in refused if isinstance(one, Trade)], {}, tape.now)
    again(tape)
    tape.frame(fill_frame(9, ms=90), business(tape))
    tape.wait(2 * SECOND)

    (gap,) = [gap for gap in tape.gaps("trades") if gap.kind == "writer"]
    assert (gap.first_missing, gap.last_missing, gap.missing, gap.status) == ("4", "8", 5, "open")


def test_a_halt_while_the_hole_of_the_one_before_is_asked_for_keeps_that_hole(tape: Tape) -> None:
    stored = len(tape.records)
    tape.frame(fill_frame(4, 5, ms=20), BUSINESS)
    refused = halt(tape, stored)
    again(tape)
    tape.frame(fill_frame(7, ms=70), business(tape))  # ends the outage: 4 to 6 are asked for
    durable = {("trades", SYMBOL): START_MS + 10}
    fresh = [one for one in tape.records[stored:] if one not in refused]
    tape.session.halt("the disk is full", fresh, durable, tape.now)
    again(tape)
    tape.frame(fill_frame(9, ms=90), business(tape))
    tape.wait(2 * SECOND)

    gap = [gap for gap in tape.gaps("trades") if gap.kind == "writer"][-1]
    assert (gap.first_missing, gap.last_missing, gap.status) == ("4", "8", "open")


def test_a_halted_recording_is_not_one_that_was_refused_everything(tape: Tape) -> None:
    tape.session.refused[tape.session.connections[0].topics[0]] = "no"
    halt(tape, len(tape.records))

    assert not tape.session.all_refused
