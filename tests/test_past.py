"""What a recorder finds in its store at the start: where earlier runs ended, and what they did not live to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cryptofeed_cli.clock import HOUR, MILLISECOND, SECOND
from cryptofeed_cli.ids import Unnamed
from cryptofeed_cli.past import PAST_UNKNOWN, UNSETTLED, Past, blind_no_more, ended_unseen, living, recall
from cryptofeed_cli.shards import Shard
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.types import KINDS, Gap, Run
from tests.stores.records import NOON, sample, trade
from tests.tapes import START_MS, SYMBOL, Tape, fill_frame, ticker_frame

OTHERS = [not Shard(number, 2).holds("SOL-USDC") for number in (1, 2)]
"""Which halves of all symbols have nothing to do with the other one."""
LONG_AGO = NOON - 2 * UNSETTLED // 1_000_000


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/m.db" if request.param == "sqlite" else request.getfixturevalue("mongo_url")
    with closing(open_store(url, writable=True)) as opened:
        yield opened


def past(store: Store) -> Past:
    return recall(store, "OKX", [SYMBOL])[SYMBOL]


def hole(first: int, last: int, **changes: Any) -> Gap:
    usual = {"gap_id": f"{first}", "first_missing": str(first), "last_missing": str(last), "missing": last - first + 1}
    gap: Gap = sample("gaps", **{**usual, **changes})
    return gap


def test_of_an_empty_store_nothing_is_known(store: Store) -> None:
    assert past(store) == Past()


def test_the_highest_trade_and_the_last_times_are_known(store: Store) -> None:
    store.write([trade(10, NOON), trade(12, NOON + 1), trade(11, NOON + 2), sample("tickers", timestamp=NOON + 7)])
    known = past(store)
    assert known.last_trade == (12, NOON + 1)
    assert known.last_times == {"trades": NOON + 1, "tickers": NOON + 7}


def test_a_hole_in_the_last_trades_that_no_gap_names_is_found(store: Store) -> None:
    store.write([trade(number, NOON + number) for number in (10, 11, 15, 16, 20)])
    assert past(store).unnamed == [Unnamed(12, 14, NOON + 11, NOON + 15), Unnamed(17, 19, NOON + 16, NOON + 20)]


@pytest.mark.parametrize("status", ["open", "filled", "absent_at_source", "deferred"])
def test_what_a_gap_names_is_not_named_twice(store: Store, status: str) -> None:
    store.write([trade(number, NOON + number) for number in (10, 20)])
    store.write([hole(12, 14, status=status), hole(18, 30, status=status)])
    found = past(store).unnamed
    assert [(one.first, one.last) for one in found] == [(11, 11), (15, 17)]


def test_holes_of_long_ago_had_their_time_to_be_named(store: Store) -> None:
    store.write([trade(10, LONG_AGO), trade(12, LONG_AGO + 1), trade(13, NOON)])
    assert past(store).unnamed == []


def test_a_trade_that_is_older_than_its_id_leaves_no_hole(store: Store) -> None:
    store.write([trade(10, NOON), trade(11, LONG_AGO), trade(12, NOON + 1)])
    assert past(store).unnamed == []


def test_an_unnamed_hole_is_named_and_asked_for_at_once() -> None:
    left = Past(last_trade=(20, START_MS), last_times={"trades": START_MS}, unnamed=[Unnamed(12, 14, 5, 6)])
    tape = Tape((SYMBOL,), ("trades",), pasts={SYMBOL: left}, backfill=True)
    tape.open()
    tape.wait(SECOND)
    named = [(gap.kind, gap.first_missing, gap.last_missing, gap.missing, gap.status) for gap in tape.gaps()]
    assert ("trade_ids", "12", "14", 3, "open") in named
    assert [fetch.path for fetch in tape.fetches("history-trades")] == [
        f"/api/v5/market/history-trades?instId={SYMBOL}&type=1&after=16&limit=100"
    ]


def test_a_gap_that_opens_where_an_earlier_one_ended_replaces_it_in_the_store(store: Store) -> None:
    """A symbol so quiet that three runs in a row begin after the same trade: what the third one misses is told."""
    channels = ("trades", "tickers")

    def one_run(*ids: int) -> None:
        tape = Tape((SYMBOL,), channels, pasts=recall(store, "OKX", [SYMBOL]))
        tape.open()
        tape.frame(fill_frame(*ids), 0)
        tape.frame(ticker_frame(0))
        tape.wait()
        tape.finish()
        store.write(tape.records)

    one_run(100)
    one_run(100)
    one_run(151)
    (gap,) = [gap for gap in store.scan(KINDS["gaps"]) if gap.channel == "trades"]
    assert (gap.kind, gap.first_missing, gap.last_missing, gap.missing) == ("downtime", "101", "150", 50)
    assert gap.status == "open"



@pytest.mark.parametrize(("age", "status", "asked"), [(1, "open", 1), (5, "deferred", 0)])
def test_an_open_hole_of_an_earlier_run_is_filled_unless_it_is_older_than_the_limit(
    age: int, status: str, asked: int
) -> None:
    start = START_MS - age * HOUR // MILLISECOND
    gap = hole(12, 14, symbol=SYMBOL, start=start, end=start + 1, status="open")
    left = Past(holes=[(gap, [(12, 14)])])
    tape = Tape((SYMBOL,), ("trades",), pasts={SYMBOL: left}, backfill=True, backfill_limit=3 * HOUR)
    tape.open()
    tape.wait(SECOND)
    assert len(tape.fetches("history-trades")) == asked
    assert [one.status for one in tape.gaps()] == ([status] if status == "deferred" else [])


OURS = sample("runs", run_id="ours", name="desk", host="here", pid=1)


@pytest.mark.parametrize(
    ("changes", "over", "beside"),
    [
        ({"name": "other", "host": "here", "pid": 7}, False, True),  # alive, however long ago its last sign of life
        ({"name": "other", "host": "here", "pid": 8}, True, False),
        ({"name": "desk", "host": "here", "pid": 7}, True, False),  # our own name: it was an earlier one
        ({"name": "other", "host": "there", "pid": 7}, True, False),
        ({"name": "other", "host": "here", "pid": 8, "state": "stopped"}, False, False),
    ],
)
def test_a_run_is_over_by_its_process_here_and_by_its_silence_elsewhere(
    store: Store, changes: dict[str, Any], over: bool, beside: bool
) -> None:
    store.write([OURS, sample("runs", **{"run_id": "other", "heartbeat_at": 1, **changes})])
    ended = ended_unseen(store, OURS, lambda pid: pid == 7)
    assert [(run.run_id, run.state) for run in ended] == [("other", "failed")] * over
    store.write(ended)
    assert [run.run_id for run in living(store, OURS, lambda pid: pid == 7)] == ["other"] * beside


def test_another_machine_that_was_heard_of_just_now_may_be_dead_all_the_same(store: Store) -> None:
    store.write([OURS, sample("runs", run_id="other", host="there", heartbeat_at=store.now())])
    assert ended_unseen(store, OURS, lambda _: True) == living(store, OURS, lambda _: True) == []


def test_trades_are_never_left_to_another_recorder(store: Store) -> None:
    store.write([trade(10, NOON), trade(12, NOON), sample("tickers")])
    known = past(store)
    for channel in ("trades", "tickers"):
        known.leave(channel)
    assert known.last_trade == (12, NOON)
    assert known.unnamed
    assert known.last_times == {"trades": NOON}


def blind_run(symbols: list[str], shard: str | None = None) -> Run:
    """A run that never learnt its past."""
    record: dict[str, Any] = {"symbols": symbols} | ({} if shard is None else {"shard": shard})
    run: Run = sample("runs", config={"record": record}, counters={PAST_UNKNOWN: 1})
    return run


@pytest.mark.parametrize(
    ("run", "over"),
    [
        (blind_run([SYMBOL]), True),
        (blind_run(["*-USDT"]), True),
        (blind_run([SYMBOL, "SOL-USDC"]), False),
        (blind_run(["*"]), False),
        (blind_run(["*"], "1/2"), OTHERS[0]),
        (blind_run(["*"], "2/2"), OTHERS[1]),
    ],
    ids=["named", "by a pattern", "with another one", "by a pattern with another one", "half", "other half"],
)
def test_a_run_has_learnt_its_past_once_all_that_it_may_have_recorded_is_looked_through(
    store: Store, run: Run, over: bool
) -> None:
    store.write([run, trade(1), sample("trades", symbol="SOL-USDC")])

    assert [one.counters[PAST_UNKNOWN] for one in blind_no_more(store, {SYMBOL: Past()})] == ([0] if over else [])
