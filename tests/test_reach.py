"""An exchange out of reach is said in one line, whoever finds out, and when it answers again in another."""

from __future__ import annotations

import pytest

from cryptofeed_cli.clock import MINUTE, SECOND
from tests.okx_market import dump
from tests.tapes import BUSINESS, PUBLIC, Tape

REFUSED = "connection refused"


def fail_everything(tape: Tape, nanoseconds: int) -> None:
    """Let time pass in which nothing is to be reached."""
    done = 0
    for _ in range(nanoseconds // SECOND):
        tape.close(reason=REFUSED)
        for fetch in tape.fetches()[done:]:
            tape.fail(fetch, REFUSED)
        done = len(tape.fetches())
        tape.wait(SECOND)


@pytest.mark.parametrize("first", ["sockets", "REST"])
def test_an_exchange_out_of_reach_is_one_line_however_long_it_lasts(first: str) -> None:
    tape = Tape()
    if first == "REST":
        tape.wait()
        tape.fail(tape.fetches()[0], REFUSED)
    fail_everything(tape, 5 * MINUTE)

    (line,) = tape.notes("warning")
    assert line.startswith("cannot reach OKX ")
    assert REFUSED in line
    assert len(tape.notes("debug")) >= 2


def test_rest_alone_out_of_reach_is_one_line_and_another_when_it_answers_again() -> None:
    tape = Tape(channels=("trades",))
    tape.open()
    tape.wait(SECOND)
    for fetch in tape.fetches():
        tape.fail(fetch, REFUSED)
    assert tape.notes("warning") == [f"cannot reach OKX over REST: {REFUSED}; will keep trying"]
    tape.wait(2 * MINUTE)
    for fetch in tape.fetches()[-3:]:
        tape.answer(fetch, dump({"code": "0", "msg": "", "data": []}))

    assert tape.notes("warning") == [f"cannot reach OKX over REST: {REFUSED}; will keep trying"]
    assert tape.notes("info")[-1] == "OKX answers REST requests again"


def test_what_is_out_of_reach_after_it_was_reached_is_said_again() -> None:
    tape = Tape()
    tape.open()
    tape.close(BUSINESS, reason="gone")
    tape.open(BUSINESS)
    tape.close(PUBLIC, reason="gone")
    tape.open(PUBLIC)
    tape.wait()
    tape.fail(tape.fetches()[0], REFUSED)

    assert [line.partition(" OKX ")[0] for line in tape.notes("warning")] == ["lost", "lost", "cannot reach"]


def test_a_connection_that_another_one_took_over_from_is_not_down() -> None:
    tape = Tape()
    tape.open()
    tape.frame(dump({"event": "notice", "code": "64008", "msg": "upgrade", "connId": "a"}), PUBLIC)
    tape.close(PUBLIC, reason="gone")
    tape.open(tape.session.connections[-1].number)
    tape.wait()
    tape.fail(tape.fetches()[0], REFUSED)

    assert tape.notes("warning")[-1] == f"cannot reach OKX over REST: {REFUSED}; will keep trying"


def test_an_answer_that_is_no_list_is_said_once_until_one_comes() -> None:
    tape = Tape()
    tape.open()
    tape.wait(SECOND)
    for _ in range(3):
        for fetch in tape.fetches("instruments")[-3:]:
            tape.answer(fetch, b"<html>")
        tape.wait(MINUTE + SECOND)

    assert len([line for line in tape.notes("warning") if "instruments" in line]) == 1
