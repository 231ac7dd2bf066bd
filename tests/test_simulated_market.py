"""What holds in every made-up market, whatever its seed: in the market itself, and in what a session hears of it."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest

from cryptofeed_cli.exchanges.base import Books, Folds, Tickers, Topic, Trades
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.simulation.matching import LimitBook
from cryptofeed_cli.types import BookUpdate, Instrument, MarketRecord, OrderBook, Reject, Ticker, Trade
from tests.simulations import START_MS, SYMBOLS, Rehearsal, market, plan
from tests.tapes import rebuild

SEEDS = range(10)


@pytest.fixture(scope="module", params=[1, 2])
def rehearsal(request: pytest.FixtureRequest) -> Rehearsal:
    """Twenty seconds of three symbols."""
    return Rehearsal(plan(request.param)).run(20)


# In the market


@pytest.mark.parametrize("seed", SEEDS)
def test_no_book_is_ever_crossed_or_empty(seed: int) -> None:
    opened = market(seed)
    for _ in range(300):
        opened.step()
        for pit in opened.pits.values():
            book = pit.flow.book
            assert max(book.bids) == book.bid < book.ask == min(book.asks)
            assert all(min(level.values()) > 0 for side in (book.bids, book.asks) for level in side.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_trades_gets_the_best_that_then_stood_in_the_book(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fills: list[tuple[int, int]] = []
    take = LimitBook.take

    def watched(book: LimitBook, buy: bool, size: int, limit: int) -> list[tuple[int, int]]:
        side = book.asks if buy else book.bids
        standing = [(price, one) for price in sorted(side, reverse=not buy) for one in side[price].values()]
        done = take(book, buy, size, limit)
        for (price, part), (best, whole) in zip(done, standing, strict=False):
            assert price == best
            assert part == whole or (part < whole and (price, part) == done[-1])
        assert sum(part for _, part in done) <= size
        fills.extend(done)
        return done

    monkeypatch.setattr(LimitBook, "take", watched)
    opened = market(seed)
    told = [one for _ in range(300) for one in opened.step() if isinstance(one, Trade)]

    assert len(told) == len(fills) > 0


def test_a_symbol_is_the_same_whichever_others_there_are() -> None:
    alone, among = market(5, symbols=SYMBOLS[1:2]), market(5)
    mine = [one for _ in range(500) for one in alone.step()]
    theirs = [one for _ in range(500) for one in among.step() if one.symbol == SYMBOLS[1]]

    assert mine == theirs


def test_another_seed_or_another_start_is_another_market() -> None:
    plans = plan(1), plan(2), msgspec.structs.replace(plan(1), start=(START_MS + 100) * 10**6), plan(1)
    one, other, later, again = ([frame.data for frame in Rehearsal(each).run(2).frames] for each in plans)

    assert one == again != other
    assert [data.partition(b"ts")[0] for data in one] != [data.partition(b"ts")[0] for data in later]


def test_prices_of_two_symbols_move_together() -> None:
    """Minutes of half an hour: the common part is 64 % of the variance, so the correlation is near that."""
    opened = market(3, symbols=SYMBOLS[:2], rate=20)
    fair = []
    for second in range(1800):
        for _ in range(100):
            opened.step()
        if second % 20 == 0:
            fair.append([pit.flow.fair for pit in opened.pits.values()])
    moves = [[after - before for before, after in pairwise(column)] for column in zip(*fair, strict=True)]
    means = [sum(column) / len(column) for column in moves]
    spans = [[move - mean for move in column] for column, mean in zip(moves, means, strict=True)]
    together = sum(one * other for one, other in zip(*spans, strict=True))

    assert together / (sum(x * x for x in spans[0]) * sum(x * x for x in spans[1])) ** 0.5 > 0.3


# In what is heard of it


def test_everything_heard_is_understood_and_labelled(rehearsal: Rehearsal) -> None:
    assert rehearsal.of(Reject) == []
    records = rehearsal.of(MarketRecord)
    assert {type(one) for one in records} == {Trade, Ticker, OrderBook, BookUpdate, Instrument}
    assert {one.source for one in records} == {"simulated"}
    assert {(one.run_id, one.episode) for one in records} == {("run", 1)}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_trade_ids_are_contiguous_and_times_never_run_backwards(rehearsal: Rehearsal, symbol: str) -> None:
    trades = rehearsal.of(Trade, symbol)
    assert len(trades) > 100
    assert all(int(after.trade_id) == int(before.trade_id) + 1 for before, after in pairwise(trades))
    assert all(before.timestamp <= after.timestamp for before, after in pairwise(trades))
    assert all(one.received_at > one.timestamp * 10**6 for one in trades)


def test_what_is_received_never_runs_backwards(rehearsal: Rehearsal) -> None:
    assert all(before.at <= after.at for before, after in pairwise(rehearsal.frames))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_chain_of_a_book_holds_and_the_book_is_never_crossed(rehearsal: Rehearsal, symbol: str) -> None:
    updates = rehearsal.of(BookUpdate, symbol)
    assert updates[0].action == "snapshot"
    chain = [one for one in updates if one.action == "update"]
    assert len(chain) > 100
    assert all(after.prev_sequence == before.sequence < after.sequence for before, after in pairwise(chain))
    for _, (bids, asks) in rebuild(updates):
        assert max(map(Decimal, bids)) < min(map(Decimal, asks))
        assert 0 < len(bids) <= 400 >= len(asks) > 0


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_tickers_are_the_top_of_the_book_and_the_last_trade(rehearsal: Rehearsal, symbol: str) -> None:
    tops = {}
    for update, (bids, asks) in rebuild(rehearsal.of(BookUpdate, symbol)):
        bid, ask = max(bids, key=Decimal), min(asks, key=Decimal)
        tops[update.timestamp] = (bid, bids[bid], ask, asks[ask])
    trades, tickers = rehearsal.of(Trade, symbol), rehearsal.of(Ticker, symbol)
    assert len(tickers) > 100
    assert all(after.timestamp - before.timestamp >= 100 for before, after in pairwise(tickers))
    for ticker in tickers:
        then = max(time for time in tops if time <= ticker.timestamp)
        assert (ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size) == tops[then]
        last = [one for one in trades if one.timestamp < ticker.timestamp][-1:]
        assert [(one.price, one.size) for one in last] == ([] if not last else [(ticker.last, ticker.last_size)])


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_steps_of_prices_and_sizes_are_kept(rehearsal: Rehearsal, symbol: str) -> None:
    (facts,) = rehearsal.of(Instrument, symbol)
    tick, lot = Decimal(facts.tick_size), Decimal(facts.lot_size)
    numbers = [(one.price, one.size) for one in rehearsal.of(Trade, symbol)]
    for update in rehearsal.of(BookUpdate, symbol):
        numbers += [level[:2] for level in update.bids + update.asks]
    assert all(Decimal(price) % tick == 0 and Decimal(size) % lot == 0 for price, size in numbers)
    assert not any("." in text and text.endswith("0") for pair in numbers for text in pair)


def test_folds_cover_every_fill_and_sum_up_to_the_same(rehearsal: Rehearsal) -> None:
    folds: dict[str, list[tuple[int, int]]] = {symbol: [] for symbol in SYMBOLS}
    for frame in rehearsal.frames:
        if frame.data.startswith(b'{"arg":{"channel":"trades",'):
            message = Okx().parse(frame.data, 0, "simulated")
            assert isinstance(message, Folds)
            folds[message.symbol] += [(fold.first_id, fold.last_id) for fold in message.folds]
    for symbol, spans in folds.items():
        ids = [int(one.trade_id) for one in rehearsal.of(Trade, symbol)]
        assert [number for first, last in spans for number in range(first, last + 1)] == ids
        assert any(first < last for first, last in spans)


def test_samples_show_the_book_of_their_instant(rehearsal: Rehearsal) -> None:
    for symbol in SYMBOLS:
        books = {
            update.timestamp: (max(bids, key=Decimal), min(asks, key=Decimal))
            for update, (bids, asks) in rebuild(rehearsal.of(BookUpdate, symbol))
        }
        samples = rehearsal.of(OrderBook, symbol)
        assert len(samples) >= 18
        assert all((one.bids[0][0], one.asks[0][0]) == books[one.timestamp] for one in samples)


def test_a_quiet_book_is_heard_of_after_a_minute() -> None:
    quiet = market(1, symbols=["DOGE-USDT"], rate=1)
    pit = quiet.pits["DOGE-USDT"]
    updates = [one for _ in range(300) for one in pit.show(START_MS + 60_000) if isinstance(one, BookUpdate)]

    assert [(one.bids, one.asks, one.sequence) for one in updates] == [([], [], updates[0].prev_sequence)]


def test_a_subscription_begins_with_what_there_is() -> None:
    stage = plan(1).stage(Okx())
    desk = stage.desk("public")
    stage.advance()
    for channel, kind in (("books", Books), ("tickers", Tickers)):
        replies = desk.receive(Okx().subscribe([Topic(channel, SYMBOLS[0])], "1"))
        assert isinstance(Okx().parse(replies[1], 0, "simulated"), kind)
    business = stage.desk("business")
    while not (replies := business.receive(Okx().subscribe([Topic("trades-all", SYMBOLS[0])], "1"))[1:]):
        business.close()
        stage.advance()
    assert isinstance(Okx().parse(replies[0], 0, "simulated"), Trades)
