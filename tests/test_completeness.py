"""What is proven complete, and where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.completeness import Completeness, Hole, Ledgers
from cryptofeed_cli.stores.base import Span
from cryptofeed_cli.types import Gap, Run
from tests.test_coverage import BASE, CHANNEL, SYMBOL, gap, run

MINUTE = 60_000


def judge(
    runs: list[Run], *gaps: Gap, since: int | None = 0, until: int | None = 1000, now: int = 1000
) -> Completeness:
    """Judge ``[since, until)``; times in ms after the base."""
    span = Span(*(None if ms is None else (BASE + ms) * MILLISECOND for ms in (since, until)))
    return Ledgers(runs, gaps).judge("OKX", SYMBOL, CHANNEL, span, (BASE + now) * MILLISECOND)


def holes(found: Completeness) -> list[tuple[int | None, int | None, str]]:
    """The holes, their times in ms after the base."""
    return [
        (None if hole.start is None else hole.start - BASE, None if hole.end is None else hole.end - BASE, hole.why)
        for hole in found.holes
    ]


def test_a_span_within_a_run_without_gaps_is_complete() -> None:
    assert judge([run(0, 1000)]).complete


def test_two_runs_that_touch_cover_a_span_together() -> None:
    assert judge([run(0, 500), run(500, 1000)]).complete
    assert holes(judge([run(0, 500), run(501, 1000)])) == [(500, 501, "not recorded")]


def test_what_is_before_and_after_the_recording_is_named() -> None:
    assert holes(judge([run(100, 900)])) == [(0, 100, "not recorded"), (900, 1000, "not recorded")]


@pytest.mark.parametrize("status", ["open", "deferred", "partial", "unrecoverable"])
def test_a_gap_that_may_hide_a_loss_is_a_hole(status: str) -> None:
    assert holes(judge([run(0, 1000)], gap(100, 300, status))) == [(100, 300, f"disconnect gap ({status})")]


@pytest.mark.parametrize("status", ["filled", "absent_at_source"])
def test_a_gap_that_was_repaired_is_none(status: str) -> None:
    assert judge([run(0, 1000)], gap(100, 300, status, missing=3)).complete


def test_an_unproven_gap_is_a_hole_whatever_became_of_it() -> None:
    assert not judge([run(0, 1000)], gap(100, 300, "filled", kind="unproven")).complete


def test_gaps_of_other_symbols_and_channels_do_not_count() -> None:
    others: list[Any] = [gap(1, 2), gap(1, 2)]
    others[0] = type(others[0])(*[*list_of(others[0])[:3], "ETH-USDT", *list_of(others[0])[4:]])
    others[1] = type(others[1])(*[*list_of(others[1])[:4], "tickers", *list_of(others[1])[5:]])

    assert judge([run(0, 1000)], *others).complete


def list_of(one: Gap) -> list[Any]:
    return [getattr(one, name) for name in one.__struct_fields__]


def test_a_gap_between_trades_of_one_millisecond_is_a_hole() -> None:
    assert not judge([run(0, 1000)], gap(500, 500)).complete


def test_a_gap_that_ends_where_the_span_begins_may_reach_into_it() -> None:
    assert not judge([run(-500, 1000)], gap(-100, 0)).complete
    assert judge([run(-500, 1000)], gap(-100, -1)).complete


def test_a_gap_that_begins_where_the_span_ends_is_outside() -> None:
    assert judge([run(0, 2000)], gap(1000, 1500)).complete


def test_a_gap_without_end_or_beginning_reaches_to_infinity() -> None:
    assert not judge([run(0, 1000)], gap(900, None)).complete
    assert not judge([run(0, 1000)], gap(None, 100)).complete
    assert judge([run(0, 1000)], gap(None, -1)).complete


def test_an_open_beginning_is_the_first_subscription() -> None:
    found = judge([run(300, 1000)], since=None)

    assert (found.complete, found.since) == (True, BASE + 300)


def test_an_open_end_is_the_last_sign_of_life_while_a_recorder_lives() -> None:
    found = judge([run(0, None, heartbeat=5_000)], until=None, now=9_000)

    assert (found.complete, found.until) == (True, BASE + 5_000)


def test_an_open_end_is_now_when_no_recorder_lives() -> None:
    found = judge([run(0, None, heartbeat=5_000)], until=None, now=10 * MINUTE)

    assert holes(found) == [(5_000, 10 * MINUTE, "not recorded")]


def test_everything_ends_with_the_last_sign_of_life() -> None:
    assert judge([run(0, 5_000)], since=None, until=None, now=10 * MINUTE).complete


def test_what_was_never_recorded_is_never_complete() -> None:
    found = judge([], since=None, until=None)

    assert found.holes == [Hole(None, None, "never recorded")]
    assert str(found.holes[0]) == "never recorded"
    assert holes(judge([])) == [(0, 1000, "not recorded")]


def test_a_hole_says_where_it_is() -> None:
    assert str(judge([run(0, 1000)], gap(100, 300)).holes[0]) == (
        "disconnect gap (open) from 2026-11-18T11:06:40.100Z to 2026-11-18T11:06:40.300Z"
    )


@pytest.mark.parametrize(
    ("start", "end", "complete"),
    [(0, 100, True), (0, 101, False), (100, 101, False), (300, 301, False), (301, 400, True), (901, 1001, False)],
)
def test_a_proof_tells_of_any_span(start: int, end: int, complete: bool) -> None:
    proof = Ledgers([run(0, 1000)], [gap(100, 300), gap(250, 280)]).proof("OKX", SYMBOL, CHANNEL)

    assert proof.covers(BASE + start, BASE + end) == complete


@pytest.mark.parametrize(
    ("instant", "why"),
    [
        (-1, "not recorded"), (0, None), (99, None), (100, "inside a gap"), (299, "inside a gap"), (300, None),
        (1000, None), (1001, "not recorded"),
    ],
)  # fmt: skip
def test_a_proof_tells_of_an_instant_why_it_is_not_known(instant: int, why: str | None) -> None:
    assert Ledgers([run(0, 1000)], [gap(100, 300)]).proof("OKX", SYMBOL, CHANNEL).at(BASE + instant) == why
