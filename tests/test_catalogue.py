"""Instruments: asked for every hour, recorded when they change."""

from __future__ import annotations

from typing import Any

import pytest

from cryptofeed_cli.catalogue import EVERY, RETRY_AFTER
from cryptofeed_cli.clock import HOUR, MINUTE, SECOND
from cryptofeed_cli.past import Past
from cryptofeed_cli.types import Instrument
from tests.okx_market import dump, instrument
from tests.tapes import SYMBOL, Tape

HOSTILE = (
    b'{"instId":"BTC-USDT","instType":"SPOT","later":1e999}',
    b'{"instId":"BTC-USDT","instType":"SPOT","later":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
)


def rows(*members: dict[str, Any] | bytes) -> bytes:
    """Write an answer of these instruments."""
    data = b",".join(member if isinstance(member, bytes) else dump(member) for member in members)
    return b'{"code":"0","msg":"","data":[' + data + b"]}"


@pytest.fixture
def tape() -> Tape:
    """A tape whose session has asked for instruments."""
    tape = Tape()
    tape.wait(SECOND)
    return tape


def versions(tape: Tape) -> list[Instrument]:
    return tape.of(Instrument)


def test_instruments_are_asked_for_at_the_start_and_every_hour(tape: Tape) -> None:
    first = len(tape.fetches("instruments"))
    assert {fetch.path for fetch in tape.fetches("instruments")} == {
        f"/api/v5/public/instruments?instType={kind}" for kind in ("SPOT", "SWAP", "FUTURES")
    }
    for fetch in tape.fetches("instruments"):
        tape.answer(fetch, rows())
    tape.wait(EVERY - 2 * SECOND)
    assert len(tape.fetches("instruments")) == first
    tape.wait(2 * SECOND)
    assert len(tape.fetches("instruments")) == 2 * first


def test_options_are_asked_for_by_family() -> None:
    tape = Tape(("BTC-USD-261225-50000-C", "BTC-USD-261225-60000-P"))
    tape.wait(SECOND)
    assert [fetch.path for fetch in tape.fetches("instruments") if "OPTION" in fetch.path] == [
        "/api/v5/public/instruments?instType=OPTION&instFamily=BTC-USD"
    ]


def test_the_first_version_of_what_is_recorded_is_kept(tape: Tape) -> None:
    tape.answer(tape.fetches("instruments")[0], rows(instrument("ETH-USDT"), instrument(SYMBOL)))
    assert [(one.symbol, one.source, one.tick_size) for one in versions(tape)] == [(SYMBOL, "backfill", "0.1")]


def test_what_did_not_change_is_not_repeated(tape: Tape) -> None:
    row = instrument(SYMBOL)
    tape.answer(tape.fetches("instruments")[0], rows(row))
    tape.wait(HOUR)
    tape.answer(tape.fetches("instruments")[3], rows(dict(reversed(row.items()))))
    assert len(versions(tape)) == 1


def test_every_change_is_a_new_version(tape: Tape) -> None:
    tape.answer(tape.fetches("instruments")[0], rows(instrument(SYMBOL)))
    tape.wait(HOUR)
    tape.answer(tape.fetches("instruments")[3], rows(instrument(SYMBOL, state="suspend")))
    assert [one.state for one in versions(tape)] == ["live", "suspend"]


def test_a_change_of_a_field_that_is_not_read_is_a_new_version(tape: Tape) -> None:
    tape.answer(tape.fetches("instruments")[0], rows(instrument(SYMBOL)))
    tape.wait(HOUR)
    tape.answer(tape.fetches("instruments")[3], rows(instrument(SYMBOL, brandNew="1")))
    assert len(versions(tape)) == 2


def test_what_the_store_knows_already_is_not_repeated() -> None:
    first = Tape()
    first.wait(SECOND)
    first.answer(first.fetches("instruments")[0], rows(instrument(SYMBOL)))
    again = Tape(pasts={SYMBOL: Past(instrument=versions(first)[0])})
    again.wait(SECOND)
    again.answer(again.fetches("instruments")[0], rows(instrument(SYMBOL)))
    assert versions(again) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>", "not a list of instruments"),
        (b'{"code":"50011","msg":"Too Many Requests","data":[]}', "error 50011: Too Many Requests"),
    ],
)
def test_an_answer_that_cannot_be_used_is_told_and_asked_for_again(tape: Tape, body: bytes, problem: str) -> None:
    asked = len(tape.fetches("instruments"))
    tape.answer(tape.fetches("instruments")[0], body)
    assert any(problem in note and "instType=SPOT" in note for note in tape.notes("warning"))
    tape.wait(RETRY_AFTER + SECOND)
    assert len(tape.fetches("instruments")) == 2 * asked


def test_a_request_that_fails_while_connections_are_up_is_told_and_made_again(tape: Tape) -> None:
    tape.open()
    asked = len(tape.fetches("instruments"))
    tape.fail(tape.fetches("instruments")[0], "connection refused")
    assert any("connection refused" in note for note in tape.notes("warning"))
    tape.wait(MINUTE + SECOND)
    assert len(tape.fetches("instruments")) == 2 * asked


def test_an_answer_counts_once(tape: Tape) -> None:
    tape.answer(tape.fetches("instruments")[0], rows(instrument(SYMBOL)))
    tape.answer(tape.fetches("instruments")[0], rows(instrument(SYMBOL, state="suspend")))
    assert [one.state for one in versions(tape)] == ["live"]


@pytest.mark.parametrize("row", HOSTILE, ids=["a number out of range", "deep nesting"])
def test_fields_that_no_parser_takes_do_not_end_the_recording(tape: Tape, row: bytes) -> None:
    for round_ in range(3):
        tape.answer(tape.fetches("instruments")[3 * round_], rows(row))
        tape.wait(HOUR)
    assert len(versions(tape)) <= 1


def test_instruments_of_a_server_that_announces_itself_are_simulated(tape: Tape) -> None:
    tape.answer(tape.fetches("instruments")[0], rows(instrument(SYMBOL)), announced="simulated")
    assert [(one.source, one.run_id, one.episode) for one in versions(tape)] == [("simulated", "run", 1)]
