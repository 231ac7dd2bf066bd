"""Missed trades are asked for by id: completely, politely, and without believing a stale answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.asking import Gate, Limiter
from cryptofeed_cli.backfill import Backfill
from cryptofeed_cli.clock import MILLISECOND, SECOND, Moment
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Answer, Fetch, Tick
from cryptofeed_cli.types import Trade

Respond = Callable[[int, int], tuple[int, bytes]]
"""From the id asked below and the number of the request to status and body."""


def rows(ids: list[int]) -> bytes:
    data = [
        {"instId": "BTC-USDT", "tradeId": str(n), "px": "1.5", "sz": "2", "side": "buy", "ts": str(1_795_000_000 + n)}
        for n in ids
    ]
    return json.dumps({"code": "0", "msg": "", "data": data}).encode()


class Bench:
    """A backfill whose questions are answered by a function, on a clock that is turned by hand."""

    def __init__(self, respond: Respond, *, rate_share: float = 1.0, latency: int = 50 * MILLISECOND) -> None:
        self.respond = respond
        self.latency = latency
        self.now = 0
        self.found: list[int] = []
        self.absent: list[tuple[int, int]] = []
        self.asked: list[tuple[int, int]] = []
        self.pending: list[tuple[int, Fetch]] = []
        self.gate = Gate(Okx(), self._act, Limiter(10 * rate_share))
        self.backfill = Backfill(Okx(), self.gate.ask, self._found, self._absent, self._found)

    def run(self, seconds: float) -> None:
        """Turn the clock in steps of 10 ms until nothing is left to be had, or the time is over."""
        end = self.now + int(seconds * SECOND)
        while self.backfill.busy and self.now < end:
            due = [fetch for at, fetch in self.pending if at <= self.now]
            self.pending = [(at, fetch) for at, fetch in self.pending if at > self.now]
            for fetch in due:
                below = int(parse_qs(urlsplit(fetch.path).query)["after"][0])
                status, body = self.respond(below, fetch.request_id)
                answer = Answer(fetch.request_id, self.now, self.now, status, body)
                self.gate.hear(answer)
                assert self.backfill.answer(answer)
            self.backfill.check(Tick(self.now, self.now))
            self.now += 10 * MILLISECOND

    def _act(self, fetch: Fetch) -> None:
        self.asked.append((self.now, fetch.request_id))
        self.pending.append((self.now + self.latency, fetch))

    def _found(self, _symbol: str, trades: list[Trade], _now: Moment) -> None:
        self.found += [int(trade.trade_id) for trade in trades]

    def _absent(self, _symbol: str, first: int, last: int, _now: Moment) -> None:
        self.absent.append((first, last))


def truth(*, lacking: range = range(0)) -> Respond:
    """An exchange that has every id but ``lacking``."""

    def respond(below: int, _number: int) -> tuple[int, bytes]:
        return 200, rows([n for n in range(below - 1, max(0, below - 300), -1) if n not in lacking][:100])

    return respond


def test_every_missing_id_is_found_once() -> None:
    bench = Bench(truth())
    bench.backfill.want("BTC-USDT", 1000, 1949)
    bench.run(10)

    assert sorted(bench.found) == list(range(1000, 1950))
    assert bench.absent == []


def test_what_rest_lacks_too_is_absent_only_after_it_stayed_away() -> None:
    bench = Bench(truth(lacking=range(1040, 1046)))
    bench.backfill.want("BTC-USDT", 1000, 1099)
    bench.run(20)

    assert sorted(bench.found) == [*range(1000, 1040), *range(1046, 1100)]
    assert bench.absent == [(1040, 1045)]
    assert len(bench.asked) == 3


def test_a_stale_cache_is_not_believed() -> None:
    def respond(below: int, number: int) -> tuple[int, bytes]:
        newest = 1050 if number == 1 else 1100
        return 200, rows([n for n in range(below - 1, below - 101, -1) if n <= newest])

    bench = Bench(respond)
    bench.backfill.want("BTC-USDT", 1000, 1099)
    bench.run(10)

    assert sorted(bench.found) == list(range(1000, 1100))
    assert bench.absent == []


def stale(newest: int, answers: int) -> Respond:
    """An exchange with ids up to 1500, out of a cache that knows them up to ``newest`` for so many answers."""

    def respond(below: int, number: int) -> tuple[int, bytes]:
        known = newest if number <= answers else 1500
        return 200, rows(list(range(min(below - 1, known), 0, -1))[:100])

    return respond


@pytest.mark.parametrize("newest", [0, 900, 1000, 1050, 1099])
@pytest.mark.parametrize("answers", [3, 8])
def test_a_cache_that_stays_stale_for_long_loses_nothing(newest: int, answers: int) -> None:
    bench = Bench(stale(newest, answers))
    bench.backfill.want("BTC-USDT", 1000, 1099)
    bench.run(1000)

    assert sorted(bench.found) == list(range(1000, 1100))
    assert bench.absent == []


def test_a_cache_that_is_stale_for_ever_proves_nothing_and_is_given_up_in_the_end() -> None:
    bench = Bench(stale(1050, 10**6))
    bench.backfill.want("BTC-USDT", 1000, 1099)
    bench.run(3600)

    assert sorted(bench.found) == list(range(1000, 1051))
    assert bench.absent == []
    assert not bench.backfill.busy
    assert len(bench.asked) < 20


NEWEST = 1400
Holes = list[tuple[int, int]]


@st.composite
def markets(draw: st.DrawFn) -> tuple[Holes, set[int]]:
    """Holes between ids that exist, and ids that truly do not, at whatever places inside of them."""
    edges = draw(st.lists(st.integers(1, NEWEST - 1), min_size=2, max_size=12, unique=True).map(sorted))
    holes = [
        (first + 1, last - 1) for first, last in zip(edges[::2], edges[1::2], strict=False) if last - first > 1
    ]  # fmt: skip
    absent: set[int] = set()
    for first, last in holes:
        for low in draw(st.lists(st.one_of(st.integers(first, last), st.sampled_from([first, last])), max_size=4)):
            absent |= set(range(low, min(last, low + draw(st.sampled_from([0, 1, 98, 99, 100, 300]))) + 1))
    return holes, absent


@given(markets(), st.lists(st.integers(0, NEWEST), max_size=8), st.sampled_from([1, 30, 350]))
def test_what_is_absent_and_what_is_not_is_told_apart_whatever_the_age_of_a_cache(
    market: tuple[Holes, set[int]], ages: list[int], latency: int
) -> None:
    holes, lacking = market
    existing = [n for n in range(NEWEST, 0, -1) if n not in lacking]

    def respond(below: int, number: int) -> tuple[int, bytes]:
        newest = NEWEST - (ages[number - 1] if number <= len(ages) else 0)
        return 200, rows([n for n in existing if n <= newest and n < below][:100])

    bench = Bench(respond, latency=latency * MILLISECOND)
    for first, last in holes:
        bench.backfill.want("BTC-USDT", first, last)
    bench.run(3600)

    missing = {n for first, last in holes for n in range(first, last + 1)}
    assert sorted(bench.found) == sorted(missing - lacking)
    assert sorted(n for first, last in bench.absent for n in range(first, last + 1)) == sorted(lacking)
    assert not bench.backfill.busy


def test_a_long_block_of_ids_that_never_were_takes_few_requests() -> None:
    bench = Bench(lambda below, _: (200, rows([n for n in range(below - 1, 0, -1) if not 2000 <= n < 7000][:100])))
    bench.backfill.want("BTC-USDT", 1900, 7099)
    bench.run(600)

    assert sorted(bench.found) == [*range(1900, 2000), *range(7000, 7100)]
    assert {n for first, last in bench.absent for n in range(first, last + 1)} == set(range(2000, 7000))
    assert len(bench.asked) < 20


def test_holes_near_to_each_other_share_a_request() -> None:
    bench = Bench(truth())
    for number in range(1000, 1095, 5):
        bench.backfill.want("BTC-USDT", number, number + 1)
    bench.backfill.want("BTC-USDT", 500, 501)
    bench.run(10)

    assert len(bench.asked) == 2
    assert sorted(bench.found) == [500, 501, *(n for n in range(1000, 1095) if n % 5 < 2)]


def test_errors_are_asked_again_until_they_end() -> None:
    bodies = [
        (429, b""), (200, b'{"code":"50011","msg":"Too Many Requests","data":[]}'), (503, b"<html>"), (200, b"{"),
        (200, b'{"code":"50013","msg":"busy","data":[]}'),
    ]  # fmt: skip

    def respond(below: int, number: int) -> tuple[int, bytes]:
        return bodies[number - 1] if number <= len(bodies) else truth()(below, number)

    bench = Bench(respond)
    bench.backfill.want("BTC-USDT", 5, 50)
    bench.run(120)

    assert sorted(bench.found) == list(range(5, 51))


def test_an_instrument_that_is_gone_is_not_asked_for_again() -> None:
    bench = Bench(lambda _below, _number: (200, b'{"code":"51001","msg":"no such instrument","data":[]}'))
    bench.backfill.want("BTC-USDT", 1, 99)
    bench.run(10)

    assert bench.absent == [(1, 99)]
    assert len(bench.asked) == 1


def test_requests_stay_within_the_rate_and_use_it() -> None:
    bench = Bench(truth(), latency=300 * MILLISECOND)
    bench.backfill.want("BTC-USDT", 1, 30_000)
    bench.run(60)

    times = [at for at, _ in bench.asked]
    assert len(bench.found) == 30_000
    assert all(times[n + 20] - times[n] >= 2 * SECOND for n in range(len(times) - 20))
    # 20 requests in 2 s, 100 trades each: 30 s is what the limit allows.
    assert times[-1] <= 36 * SECOND


def test_a_share_of_the_rate_is_a_share() -> None:
    bench = Bench(truth(), rate_share=0.5)
    bench.backfill.want("BTC-USDT", 1, 3_000)
    bench.run(60)

    assert 5.5 * SECOND <= bench.asked[-1][0] <= 7 * SECOND


def test_a_hole_of_any_size_costs_no_memory() -> None:
    bench = Bench(truth())
    bench.backfill.want("BTC-USDT", 1, 10**18)
    bench.backfill.check(Tick(0, 0))

    assert len(bench.asked) == 1
