"""The exchange's clock against ours, steps of ours, announced maintenances, and how often anything is asked."""

from __future__ import annotations

import pytest

from cryptofeed_cli.clock import MILLISECOND, MINUTE, SECOND
from cryptofeed_cli.connections import Connection, Note
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Action, Reset, Send, Tick
from cryptofeed_cli.steps import Steps
from tests.okx_market import dump
from tests.tapes import BUSINESS, PUBLIC, START_MS, Tape, book_frame, fill_frame, ticker_frame


def told(*rows: dict[str, str]) -> bytes:
    return dump({"code": "0", "msg": "", "data": list(rows)})


def maintenance(begin: int, end: int) -> dict[str, str]:
    return {"title": "Trading engine upgrade", "state": "scheduled", "begin": str(begin), "end": str(end)}


@pytest.fixture
def tape() -> Tape:
    tape = Tape()
    tape.open()
    tape.frame(fill_frame(1), BUSINESS)
    tape.frame(ticker_frame(), PUBLIC)
    tape.frame(book_frame(-1, 10), PUBLIC)
    tape.wait()
    return tape


def test_the_clock_offset_is_measured_at_the_middle_of_the_question(tape: Tape) -> None:
    (fetch,) = tape.fetches("public/time")
    tape.wait(SECOND)
    tape.answer(fetch, told({"ts": str(START_MS + 600 + 250)}))  # asked at 100 ms, answered at 1100 ms

    assert tape.session.clock_offset_ms == 250


def test_an_answer_that_took_long_says_nothing_of_the_clock(tape: Tape) -> None:
    (fetch,) = tape.fetches("public/time")
    tape.wait(3 * SECOND)
    tape.answer(fetch, told({"ts": str(START_MS)}))

    assert tape.session.clock_offset_ms is None


def test_clock_and_maintenances_are_asked_for_every_ten_minutes_and_after_a_failure_in_one(tape: Tape) -> None:
    tape.wait(SECOND)
    tape.answer(tape.fetches("public/time")[0], told({"ts": str(START_MS)}))
    tape.fail(tape.fetches("system/status")[0], "connection refused")
    tape.wait(MINUTE + SECOND)
    assert (len(tape.fetches("public/time")), len(tape.fetches("system/status"))) == (1, 2)
    tape.answer(tape.fetches("system/status")[1], told())
    tape.wait(10 * MINUTE + SECOND)
    assert (len(tape.fetches("public/time")), len(tape.fetches("system/status"))) == (2, 3)


def test_an_announced_maintenance_stands_in_the_reason(tape: Tape) -> None:
    tape.wait(SECOND)
    tape.answer(tape.fetches("system/status")[0], told(maintenance(START_MS, START_MS + 60_000)))
    tape.close(reason="reset by peer")

    (gap,) = tape.gaps("trades")
    assert (gap.fault, gap.reason) == ("venue", "reset by peer; announced maintenance: Trading engine upgrade")


def test_a_maintenance_of_another_time_does_not(tape: Tape) -> None:
    tape.wait(SECOND)
    tape.answer(tape.fetches("system/status")[0], told(maintenance(START_MS - 60_000, START_MS)))
    tape.close(reason="reset by peer")

    (gap,) = tape.gaps("trades")
    assert (gap.fault, gap.reason) == ("network", "reset by peer")


# Steps of the clock


@pytest.mark.parametrize(("wall", "monotonic", "step"), [(5, 5, 0), (6, 5, 0), (20, 5, 15), (-20, 5, -25), (60, 60, 0)])
def test_a_step_is_how_far_the_wall_clock_leaves_the_monotonic_one(wall: int, monotonic: int, step: int) -> None:
    steps = Steps()
    assert steps.check(Tick(10**18, 10**9)) == 0
    assert steps.check(Tick(10**18 + wall * SECOND, 10**9 + monotonic * SECOND)) == step * SECOND
    assert steps.check(Tick(10**18 + (wall + 1) * SECOND, 10**9 + (monotonic + 1) * SECOND)) == 0


def test_after_a_suspend_every_channel_has_a_clock_gap_and_every_socket_is_made_anew(tape: Tape) -> None:
    tape.suspend(60 * SECOND)
    tape.wait()

    assert {(gap.channel, gap.kind, gap.fault, gap.start) for gap in tape.gaps()} == {
        (channel, "clock", "us", START_MS) for channel in ("trades", "tickers", "orderbooks", "book_updates")
    }
    assert [reset.connection for reset in tape.resets()] == [BUSINESS, PUBLIC]


def test_after_a_step_back_every_socket_is_made_anew(tape: Tape) -> None:
    tape.suspend(-5 * SECOND)
    tape.wait()

    assert {gap.kind for gap in tape.gaps()} == {"clock"}
    assert [reset.connection for reset in tape.resets()] == [BUSINESS, PUBLIC]


def test_a_small_step_keeps_the_sockets_and_trades_that_go_on_lost_nothing(tape: Tape) -> None:
    tape.suspend(5 * SECOND)
    tape.wait()
    tape.frame(fill_frame(2, ms=5_200), BUSINESS)

    assert tape.resets() == []
    assert [(gap.kind, gap.status, gap.missing) for gap in tape.gaps("trades")] == [("clock", "filled", 0)]


# Requests


def test_a_connection_that_used_up_its_requests_is_made_anew() -> None:
    actions: list[Action] = []
    notes: list[Note] = []
    topic = Topic("tickers", "BTC-USDT")
    line = Connection(0, "public", [topic], Okx(), 15 * SECOND, actions.append, notes.append)
    now = Tick(10**18, 10**9)
    line.opened("live", now)
    for _ in range(300):
        now = Tick(now.at + MILLISECOND, now.monotonic + MILLISECOND)
        line.subscribed(topic, now)
        line.renew([topic], now)
    sends = [action for action in actions if isinstance(action, Send)]

    assert len(sends) == 480
    assert Reset(0, "480 requests in an hour are all the exchange takes") in actions
    line.opened("live", now)
    assert isinstance(actions[-1], Send)
