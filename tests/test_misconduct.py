"""Sockets that the exchange closes for what we did, and those that have nothing to carry any more."""

from __future__ import annotations

import pytest

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.feeds.base import Connect, Drop
from tests.okx_market import dump
from tests.tapes import BUSINESS, PUBLIC, START_MS, Tape, fill_frame, ticker_frame

SYMBOLS = ("A-USDT", "B-USDT", "C-USDT")


@pytest.mark.parametrize(
    ("code", "fault"),
    [(4005, "us"), (1009, "us"), (4008, "us"), (4009, "us"), (4004, "venue"), (1001, "venue"), (None, "network")],
)
def test_the_fault_of_a_close_is_whose_it_is(code: int | None, fault: str) -> None:
    tape = Tape()
    tape.open()
    tape.frame(fill_frame(1), BUSINESS)
    tape.close(BUSINESS, code=code)

    assert [gap.fault for gap in tape.gaps("trades")] == [fault]


def test_a_crowded_socket_leaves_the_half_of_its_symbols_to_another_one() -> None:
    tape = Tape(SYMBOLS, ("trades",))
    tape.open()
    tape.close(BUSINESS, code=4009)
    tape.open()

    assert [[topic.symbol for topic in one.topics] for one in tape.session.connections] == [
        ["A-USDT"], ["B-USDT", "C-USDT"]
    ]  # fmt: skip
    assert [line for line in tape.notes("warning") if "too many topics" in line] == [
        "too many topics on one connection to OKX business: at most 1 from now on"
    ]
    tape.close(1, code=4009)
    tape.open()
    assert [[topic.symbol for topic in one.topics] for one in tape.session.connections] == [
        ["A-USDT"], ["B-USDT"], ["C-USDT"]
    ]  # fmt: skip
    tape.close(1, code=4009)
    assert len(tape.session.connections) == 3
    assert [topic for _, topics in tape.requests()[-1:] for topic in topics] == [Topic("trades-all", "C-USDT")]


def test_after_a_request_that_was_too_long_the_next_ones_are_shorter_and_it_is_said() -> None:
    tape = Tape(tuple(f"COIN{number:03d}-USDT" for number in range(300)), ("trades",))
    tape.open()
    before = len(tape.sent(BUSINESS))
    for _ in range(5):
        tape.close(BUSINESS, code=1009)
        tape.open(BUSINESS, acknowledge=False)

    longest = max(map(len, tape.sent(BUSINESS)[:before]))
    first = f"a request was too long for OKX business: {longest // 2:,} bytes at most from now on"
    assert first in tape.notes("warning")
    assert max(map(len, tape.sent(BUSINESS)[-3:])) < 2048 < longest


def refuse(tape: Tape, topic: Topic, connection: int) -> None:
    arg = {"channel": topic.channel, "instId": topic.symbol}
    tape.frame(dump({"event": "error", "code": "60018", "msg": "no", "arg": arg}), connection)


def test_a_socket_whose_topics_are_all_refused_is_given_up_and_the_others_go_on() -> None:
    tape = Tape(channels=("trades", "tickers"))
    tape.open(acknowledge=False)
    refuse(tape, Topic("trades-all", "BTC-USDT"), BUSINESS)
    tape.wait(SECOND)
    tape.frame(ticker_frame(), PUBLIC)

    assert [action for action in tape.actions if isinstance(action, Drop)] == [Drop(BUSINESS)]
    assert [one.number for one in tape.session.connections] == [PUBLIC]
    assert not tape.session.all_refused
    refuse(tape, Topic("tickers", "BTC-USDT"), PUBLIC)
    tape.wait()
    assert tape.session.all_refused
    assert tape.session.connections == []


def test_a_socket_of_delisted_symbols_only_is_given_up_and_a_new_listing_gets_another_one() -> None:
    tape = Tape(("OLD-USDT-SWAP",), ("trades",), patterns=("*-USDT-SWAP",))
    tape.open()
    answered = 0

    def listed(*symbols: str) -> None:
        nonlocal answered
        tape.wait(61 * SECOND)
        fetches = tape.fetches("instruments")[answered:]
        answered += len(fetches)
        for fetch in fetches:
            rows = [
                {"instType": "SWAP", "instId": symbol, "state": "live", "expTime": str(START_MS + 60_000)}
                for symbol in symbols
            ]
            tape.answer(fetch, dump({"code": "0", "msg": "", "data": rows if "SWAP" in fetch.path else []}))
        tape.wait()

    listed("X-USD-SWAP", "OLD-USDT-SWAP")
    listed("X-USD-SWAP")
    listed("X-USD-SWAP")
    assert tape.session.connections == []
    assert not tape.session.all_refused
    listed("X-USD-SWAP", "NEW-USDT-SWAP")
    assert tape.session.symbols == ("NEW-USDT-SWAP",)
    assert [action for action in tape.actions if not hasattr(action, "path")][-1] == Connect(1, "business")
