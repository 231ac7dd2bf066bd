"""The exchange's REST interface is asked no faster than it allows, whoever asks, and more slowly when it complains."""

from __future__ import annotations

import pytest

from cryptofeed_cli.asking import Limiter
from cryptofeed_cli.clock import MILLISECOND, MINUTE, SECOND
from cryptofeed_cli.feeds.base import Answer, Fetch
from cryptofeed_cli.past import Past
from tests.okx_market import dump
from tests.tapes import START_MS, STEP, Tape, book_frame

SYMBOLS = tuple(f"COIN{number:03d}-USDT" for number in range(300))
TOO_FAST = dump({"code": "50011", "msg": "Too Many Requests", "data": []})


def asked(tape: Tape, nanoseconds: int) -> list[tuple[int, Fetch]]:
    """Let time pass and nobody answer; return what is asked, and when, in ticks."""
    before, found = len(tape.fetches()), []
    for tick in range(nanoseconds // STEP):
        tape.wait(STEP)
        found += [(tick, fetch) for fetch in tape.fetches()[before:]]
        before = len(tape.fetches())
    return found


def most_in_two_seconds(found: list[tuple[int, Fetch]]) -> int:
    return max(sum(start <= tick < start + 20 for tick, _ in found) for start in range(found[-1][0] + 1))


def paths(found: list[tuple[int, Fetch]], part: str) -> set[str]:
    return {fetch.path for _, fetch in found if part in fetch.path}


def test_a_rebuke_halves_the_rate_and_good_conduct_wins_it_back() -> None:
    limiter = Limiter(10)
    limiter.rebuke(0)

    def granted(start: int, end: int) -> int:
        return sum(limiter.allows(at) for at in range(start, end, MILLISECOND))

    assert 4 <= granted(0, SECOND) <= 5
    assert 9 <= granted(60 * SECOND, 61 * SECOND) <= 11  # after idling, one may be made up for


def test_the_newest_trades_of_many_quiet_symbols_are_asked_for_within_the_limit() -> None:
    pasts = {symbol: Past(last_trade=(7, START_MS - 1000)) for symbol in SYMBOLS}
    tape = Tape(SYMBOLS, ("trades",), pasts=pasts, backfill=True)
    tape.open()
    found: list[tuple[int, Fetch]] = []
    for tick in range(600):
        fresh = [fetch for _, fetch in asked(tape, STEP)]
        found += [(tick, fetch) for fetch in fresh]
        for fetch in fresh:
            tape.answer(fetch, dump({"code": "51001", "msg": "suspended", "data": []}))

    assert most_in_two_seconds(found) <= 20
    assert len(paths(found, "market/trades")) == len(SYMBOLS)


def test_many_books_without_a_snapshot_are_asked_for_within_the_limit() -> None:
    tape = Tape(SYMBOLS, ("book_updates",))
    tape.open()
    for symbol in SYMBOLS:
        for connection in tape.session.connections:
            if any(topic.symbol == symbol for topic in connection.topics):
                tape.frame(book_frame(10, 11, symbol=symbol), connection.number)
    found = asked(tape, 2 * MINUTE)

    assert most_in_two_seconds(found) <= 20
    assert len(paths(found, "market/books")) == len(SYMBOLS)


def test_holes_do_not_keep_small_questions_waiting() -> None:
    pasts = {symbol: Past(last_trade=(7, START_MS - 1000)) for symbol in SYMBOLS}
    tape = Tape(SYMBOLS, ("trades",), pasts=pasts, backfill=True)
    tape.open()
    found = asked(tape, 2 * SECOND)

    assert paths(found, "public/time")
    assert paths(found, "system/status")
    assert len(paths(found, "public/instruments")) == 3


@pytest.mark.parametrize("part", ["public/time", "public/instruments", "system/status"])
@pytest.mark.parametrize(("status", "body"), [(429, b""), (200, TOO_FAST), (429, TOO_FAST)])
def test_every_question_slows_down_at_every_rebuke(part: str, status: int, body: bytes) -> None:
    def rate(*, rebuked: bool) -> int:
        pasts = {symbol: Past(last_trade=(7, START_MS - 1000)) for symbol in SYMBOLS}
        tape = Tape(SYMBOLS, ("trades",), pasts=pasts, backfill=True)
        tape.open()
        tape.wait(SECOND)
        if rebuked:
            (fetch, *_) = tape.fetches(part)
            tape.session.handle([Answer(fetch.request_id, tape.now.at, tape.now.monotonic, status, body)])
        before = len(tape.fetches())
        for _ in range(100):
            tape.wait()
            for fetch in tape.fetches()[before:]:
                tape.fail(fetch, "gone")
        return len(tape.fetches()) - before

    assert rate(rebuked=True) <= 0.55 * rate(rebuked=False)


def test_what_was_under_way_at_a_rebuke_is_no_second_one() -> None:
    def rate(answers: int) -> int:
        pasts = {symbol: Past(last_trade=(7, START_MS - 1000)) for symbol in SYMBOLS}
        tape = Tape(SYMBOLS, ("trades",), pasts=pasts, backfill=True)
        tape.open()
        tape.wait(4 * SECOND)
        before = len(tape.fetches())
        for index, fetch in enumerate(tape.fetches("market/trades")[-8:]):
            status = 429 if index < answers else 503
            tape.session.handle([Answer(fetch.request_id, tape.now.at, tape.now.monotonic, status, b"")])
        asked(tape, SECOND)
        return len(tape.fetches()) - before

    assert rate(8) == rate(1)
