"""Each symbol's trades and tickers: what is passed on, and what is recorded as missing, when and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations

import pytest

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.exchanges.base import Fold
from cryptofeed_cli.ids import HOLES
from cryptofeed_cli.streams import TickerStream, TradeStream
from cryptofeed_cli.types import Gap, Ticker, Trade
from tests.captures import captures
from tests.tapes import SYMBOL, Outcome, Stage, Tape, fill_frame, fold_frame

GRACE = SECOND


@pytest.fixture
def stage() -> Stage:
    return Stage()


# Trades


def trade(number: int, ms: int | None = None) -> Trade:
    return Trade(1000 + number if ms is None else ms, 1, "OKX", SYMBOL, "live", str(number), "100", "1", "buy")


class Trades:
    """A stream of trades on its stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.stream = TradeStream(SYMBOL, stage.ledger, stage.emitted.append, GRACE)

    def come(self, *numbers: int) -> None:
        self.stream.take([trade(number) for number in numbers], self.stage.now)

    def disconnect(self) -> None:
        self.stream.interrupt("disconnect", "network", "gone", self.stage.now)

    def wait(self, nanoseconds: int = GRACE) -> None:
        self.stream.check(self.stage.later(nanoseconds))

    def gaps(self) -> list[Outcome]:
        return self.stage.outcomes()


@pytest.fixture
def trades(stage: Stage) -> Trades:
    return Trades(stage)


def test_contiguous_trades_leave_no_gap(trades: Trades) -> None:
    trades.come(5, 6)
    trades.come(7)
    trades.wait()
    assert [record.trade_id for record in trades.stage.emitted] == ["5", "6", "7"]


def test_a_duplicate_trade_is_counted_and_left_to_the_store(trades: Trades) -> None:
    trades.come(5, 6, 6, 5)
    assert trades.stream.duplicates == 2
    assert [record.trade_id for record in trades.stage.of(Trade)] == ["5", "6", "6", "5"]
    assert not trades.gaps()


def test_missing_trades_are_one_gap_that_names_them_after_the_grace(trades: Trades) -> None:
    trades.come(5, 9)
    trades.wait(GRACE - 1)
    assert not trades.gaps()
    trades.wait(1)
    (gap,) = trades.stage.gaps()
    assert trades.gaps()[0] == ("trade_ids", "6", "8", 3, 0, "open")
    assert (gap.start, gap.end, gap.fault) == (1005, 1009, "venue")


def test_a_hole_is_recorded_once(trades: Trades) -> None:
    trades.come(5, 9)
    trades.wait()
    trades.wait()
    assert len(trades.stage.of(Gap)) == 1


@pytest.mark.parametrize("order", list(permutations((6, 7, 8, 9))))
def test_trades_in_any_order_within_the_grace_leave_no_gap(stage: Stage, order: Sequence[int]) -> None:
    trades = Trades(stage)
    trades.come(5)
    for number in order:
        trades.come(number)
        trades.wait(GRACE // 5)
    trades.wait()
    trades.come(10)
    assert not trades.gaps()
    assert sorted(int(record.trade_id) for record in stage.of(Trade)) == [5, 6, 7, 8, 9, 10]


def test_what_came_within_the_grace_is_not_missing(trades: Trades) -> None:
    trades.come(5, 10, 7)
    trades.wait()
    assert trades.gaps() == [("trade_ids", "6", "9", 3, 0, "open")]


def test_trades_after_the_grace_fill_their_gap(trades: Trades) -> None:
    trades.come(5, 8)
    trades.wait()
    trades.come(7)
    assert trades.gaps() == [("trade_ids", "6", "7", 2, 1, "open")]
    trades.come(6)
    assert trades.gaps() == [("trade_ids", "6", "7", 2, 2, "filled")]


def test_two_holes_are_two_gaps(trades: Trades) -> None:
    trades.come(5, 7, 9)
    trades.wait()
    assert [gap[1:3] for gap in trades.gaps()] == [("6", "6"), ("8", "8")]


def test_a_disconnect_that_missed_trades_is_one_gap_that_names_them(trades: Trades) -> None:
    trades.come(5)
    trades.disconnect()
    trades.come(9, 10)
    trades.wait()
    (gap,) = trades.stage.gaps()
    assert trades.gaps()[0] == ("disconnect", "6", "8", 3, 0, "open")
    assert (gap.start, gap.end, gap.fault, gap.reason) == (1005, 1009, "network", "gone")


def test_while_disconnected_the_far_side_is_open(trades: Trades) -> None:
    trades.come(5)
    trades.disconnect()
    (gap,) = trades.stage.gaps()
    assert (gap.start, gap.end, gap.missing, gap.status) == (1005, None, None, "open")


@pytest.mark.parametrize("first", [5, 6], ids=["the last one again", "the next one"])
def test_a_disconnect_that_missed_nothing_ends_filled(trades: Trades, first: int) -> None:
    trades.come(5)
    trades.disconnect()
    trades.come(first)
    trades.wait()
    assert trades.gaps() == [("disconnect", None, None, 0, 0, "filled")]


def test_an_older_trade_does_not_end_an_outage(trades: Trades) -> None:
    trades.come(4, 5)
    trades.disconnect()
    trades.come(4)
    assert trades.gaps()[0][-1] == "open"
    trades.come(8)
    assert trades.gaps() == [("disconnect", "6", "7", 2, 0, "open")]


def test_late_trades_fill_the_gap_of_a_disconnect(trades: Trades) -> None:
    trades.come(5)
    trades.disconnect()
    trades.come(8, 6, 7)
    assert trades.gaps() == [("disconnect", "6", "7", 2, 2, "filled")]


def test_a_hole_from_before_a_disconnect_keeps_its_own_cause(trades: Trades) -> None:
    trades.come(5, 7)
    trades.disconnect()
    trades.come(9)
    assert trades.gaps() == [("trade_ids", "6", "6", 1, 0, "open"), ("disconnect", "8", "8", 1, 0, "open")]


def test_two_disconnects_without_a_trade_between_are_one_gap(trades: Trades) -> None:
    trades.come(5)
    trades.disconnect()
    trades.disconnect()
    trades.come(7)
    assert trades.gaps() == [("disconnect", "6", "6", 1, 0, "open")]


def test_a_second_disconnect_since_the_same_trade_is_recorded_over_the_first(trades: Trades) -> None:
    trades.come(5)
    trades.disconnect()
    trades.come(5)
    trades.disconnect()
    trades.come(9)
    assert trades.gaps() == [("disconnect", "6", "8", 3, 0, "open")]


def test_before_the_first_trade_nothing_is_missing(trades: Trades) -> None:
    trades.disconnect()
    trades.come(5)
    trades.wait()
    assert not trades.gaps()


def test_what_is_undecided_at_the_end_is_recorded(trades: Trades) -> None:
    trades.come(5, 7)
    trades.stream.check(trades.stage.now, final=True)
    assert trades.gaps() == [("trade_ids", "6", "6", 1, 0, "open")]


def test_no_hole_goes_unrecorded_however_many_come_at_once(trades: Trades) -> None:
    trades.come(*range(0, 2 * HOLES + 20, 2))
    trades.wait()
    assert len(trades.stage.of(Gap)) == HOLES + 9


# The witness


def test_ids_that_fall_back_later_on_are_unproven_and_followed_from_there(trades: Trades) -> None:
    trades.come(1000, 1001)
    trades.stream.take([trade(5, 60_000), trade(6, 60_001), trade(9, 60_002)], trades.stage.now)
    trades.wait()
    assert trades.gaps() == [
        ("unproven", None, None, None, 0, "unrecoverable"), ("trade_ids", "7", "8", 2, 0, "open")
    ]  # fmt: skip
    unproven = trades.stage.gaps()[0]
    assert (unproven.start, unproven.end) == (2001, 60_000)


def test_ids_that_fall_back_during_an_outage_make_it_unproven(trades: Trades) -> None:
    trades.come(1000)
    trades.disconnect()
    trades.stream.take([trade(5, 60_000), trade(6, 60_001)], trades.stage.now)
    trades.wait()
    assert trades.gaps() == [("unproven", None, None, None, 0, "unrecoverable")]


def test_a_trade_that_was_missed_may_come_however_late(trades: Trades) -> None:
    trades.come(1000, 1002)
    trades.wait()
    trades.stream.take([trade(1001, 60_000)], trades.stage.now)
    assert trades.gaps() == [("trade_ids", "1001", "1001", 1, 1, "filled")]


def test_ids_that_jump_further_than_trades_can_come_are_unproven(stage: Stage) -> None:
    asked: list[tuple[str, int, int]] = []
    stream = TradeStream(
        SYMBOL, stage.ledger, stage.emitted.append, GRACE, want=lambda *hole: asked.append(hole), limit=None
    )
    stream.take([trade(5, 1000), trade(1_000_000, 1500)], stage.now)
    stream.check(stage.later(GRACE))
    assert stage.outcomes() == [("unproven", "6", "999999", None, 0, "unrecoverable")]
    assert asked == []


def test_the_witness_alone_follows_the_ids(trades: Trades) -> None:
    trades.stream.witness([Fold(5, 7, 1007), Fold(8, 8, 1008), Fold(11, 14, 1014)], trades.stage.now)
    trades.wait()
    assert trades.gaps() == [("trade_ids", "9", "10", 2, 0, "open")]
    assert not trades.stage.of(Trade)


def test_fills_that_come_after_their_fold_are_not_missing(trades: Trades) -> None:
    trades.come(5)
    trades.stream.witness([Fold(6, 8, 1008)], trades.stage.now)
    trades.come(6, 7, 8, 9)
    trades.wait()
    assert not trades.gaps()


def test_fills_that_never_come_after_their_fold_are_missing(trades: Trades) -> None:
    trades.come(5)
    trades.stream.witness([Fold(6, 8, 1008)], trades.stage.now)
    trades.wait()
    assert trades.gaps() == [("trade_ids", "6", "8", 3, 0, "open")]


def test_what_the_witness_saw_during_an_outage_belongs_to_the_outage(trades: Trades) -> None:
    trades.come(5)
    trades.disconnect()
    for number in (6, 7, 8):
        trades.stream.witness([Fold(number, number, 1000 + number)], trades.stage.now)
        trades.wait()
    trades.come(10)
    trades.wait()
    assert trades.gaps() == [("disconnect", "6", "9", 4, 0, "open")]


def real_folds() -> list[bytes]:
    return (captures() / "market-forge-2026-09/swap_trades.jsonl").read_bytes().splitlines()


def witnessed(frames: Sequence[bytes]) -> Tape:
    """Record nothing but the witness of trades."""
    tape = Tape(("BTC-USDT-SWAP",), ("trades",), witness=True)
    tape.open()
    tape.frames(frames)
    tape.wait(2 * SECOND)
    assert not tape.of(Trade)
    assert not tape.session.rejects.count
    return tape


def test_real_folds_show_no_gap() -> None:
    frames = real_folds()
    assert len(frames) == 40
    assert not witnessed(frames).gaps()


@pytest.mark.parametrize("removed", range(1, 39))
def test_real_folds_without_one_show_exactly_what_it_covered(removed: int) -> None:
    frames = real_folds()
    (row,) = json.loads(frames[removed])["data"]
    last = int(row["tradeId"])
    first = last - int(row["count"]) + 1
    (gap,) = witnessed(frames[:removed] + frames[removed + 1 :]).gaps()
    assert (gap.kind, gap.first_missing, gap.last_missing, gap.missing) == (
        "trade_ids", str(first), str(last), last - first + 1,
    )  # fmt: skip
    neighbours = [json.loads(frames[index])["data"][0]["ts"] for index in (removed - 1, removed + 1)]
    assert [gap.start, gap.end] == [int(time) for time in neighbours]


def test_the_witness_and_the_fills_of_a_session_meet() -> None:
    tape = Tape(channels=("trades",), witness=True)
    tape.open()
    tape.frame(fill_frame(5))
    tape.frame(fold_frame(6, 8))
    tape.frame(fill_frame(6, 8))
    tape.wait(2 * SECOND)
    assert [(gap.first_missing, gap.last_missing) for gap in tape.gaps()] == [("7", "7")]


# Tickers


def ticker(ms: int | None, last: str = "100") -> Ticker:
    return Ticker(ms, 1, "OKX", SYMBOL, "live", last, *[None] * 12)  # type: ignore[arg-type]


class Tickers:
    """A stream of tickers on its stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.stream = TickerStream(SYMBOL, stage.ledger, stage.emitted.append)

    def come(self, *times: int) -> None:
        self.stream.take([ticker(time) for time in times], self.stage.now)

    def disconnect(self) -> None:
        self.stream.interrupt("disconnect", "venue", "closed", self.stage.now)


@pytest.fixture
def tickers(stage: Stage) -> Tickers:
    return Tickers(stage)


def test_tickers_are_passed_on_as_they_are(tickers: Tickers) -> None:
    tickers.come(1000, 1100)
    assert tickers.stage.emitted == [ticker(1000), ticker(1100)]


def test_an_outage_of_tickers_is_unrecoverable_and_ends_with_the_next_one(tickers: Tickers) -> None:
    tickers.come(1000)
    tickers.disconnect()
    tickers.come(5000, 5100)
    (gap,) = tickers.stage.gaps()
    assert tickers.stage.outcomes()[0] == ("disconnect", None, None, None, 0, "unrecoverable")
    assert (gap.channel, gap.start, gap.end, gap.fault) == ("tickers", 1000, 5000, "venue")


def test_an_outage_after_which_the_same_ticker_comes_again_lost_nothing(tickers: Tickers) -> None:
    tickers.come(1000)
    tickers.disconnect()
    tickers.come(1000)
    assert tickers.stage.outcomes() == [("disconnect", None, None, 0, 0, "filled")]


def test_every_outage_of_tickers_is_told_to_the_end(tickers: Tickers) -> None:
    for _ in range(2):  # the first ticker after a subscription is the last known one
        tickers.come(1000)
        tickers.disconnect()
    tickers.come(9000)
    (gap,) = tickers.stage.gaps()
    assert (gap.revision, gap.end, gap.status) == (4, 9000, "unrecoverable")


def test_before_the_first_ticker_nothing_is_missing(tickers: Tickers) -> None:
    tickers.disconnect()
    tickers.come(1000)
    assert not tickers.stage.gaps()
