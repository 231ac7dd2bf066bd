"""A made-up market like a recorded one: what is measured, how near it comes, and what is said of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.simulation.calibration import calibrate, known_listing
from cryptofeed_cli.simulation.listing import Character, Listing, Step, listing
from cryptofeed_cli.simulation.market import Market
from cryptofeed_cli.simulation.measuring import measure
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import Ticker, Trade
from tests.processes import environment, run
from tests.simulations import START_MS

SYMBOL = "ETH-USDT"
PLAIN = Listing(SYMBOL, "SPOT", Step(1, 1), Step(1, 0), 1000)


def trade(number: int, ms: int, price: str, size: str = "1", side: Any = "buy") -> Trade:
    return Trade(START_MS + ms, 1, "OKX", SYMBOL, "live", str(number), price, size, side, False)


def ticker(ms: int, bid: str, ask: str) -> Ticker:
    prices = dict.fromkeys(("last_size", "bid_size", "ask_size"), "1")
    rest = dict.fromkeys(Ticker.__struct_fields__[5:-2], None) | prices | {"bid": bid, "ask": ask, "last": bid}
    return Ticker(START_MS + ms, 1, "OKX", SYMBOL, "live", **rest)


def recorded(character: Character, rate: int, minutes: int = 3) -> list[Any]:
    """Some minutes of a market whose character is known, passed off as recorded."""
    one = msgspec.structs.replace(listing(SYMBOL), character=character)
    market = Market((one,), "OKX", Okx().showing, seed=9, start_ms=START_MS, rate=rate)
    records = [record for _ in range(minutes * 6000) for record in market.step()]
    return [msgspec.structs.replace(record, source="live") for record in records]


def test_what_is_measured_is_what_there_was() -> None:
    records = [
        trade(1, 0, "100"), trade(2, 0, "100", "2"), trade(3, 0, "100", "4", "sell"), trade(4, 9_000, "101"),
        trade(5, 12_000, "200"), trade(6, 20_000, "103", "8"),
        ticker(20_000, "100", "100.2"), ticker(1, "100", "100.4"),
    ]  # fmt: skip
    found = measure(PLAIN, records)

    assert (found.milliseconds, found.takers, found.spread, found.price) == (20_000, 5, 300, 1030)
    assert (found.sizes[0], found.sizes[-1]) == (1, 8)
    assert found.takers_per_hour == 900
    # +1 % in the first ten seconds, +98 % in the second, each ten times the variance of one.
    moves = ((101 - 100) / 100, (200 - 101) / 101)
    assert found.volatility == pytest.approx((sum(move**2 for move in moves) / 20) ** 0.5 * 1e9, rel=1e-6)


def test_steps_are_taken_from_the_trades_where_the_instrument_is_not_known() -> None:
    known = known_listing(SYMBOL, None, [trade(1, 0, "100.25", "1"), trade(2, 0, "100", "0.125")])

    assert (known.tick, known.lot) == (Step(1, 2), Step(1, 3))


def test_a_market_comes_near_to_one_of_another_character() -> None:
    records = recorded(Character(volatility=60_000, spread=5, takers=12), rate=40)
    known = known_listing(SYMBOL, None, [one for one in records if isinstance(one, Trade)])
    likeness = calibrate(known, records, "OKX", Okx().showing)

    one, other = likeness.recorded, likeness.simulated
    for wanted, found in (
        (one.takers_per_hour, other.takers_per_hour), (one.volatility, other.volatility), (one.spread, other.spread),
        (one.sizes[32], other.sizes[32]),
    ):  # fmt: skip
        assert found == pytest.approx(wanted, rel=0.3)


def test_too_little_is_refused() -> None:
    with pytest.raises(UsageError, match="only 2 orders traded in that time"):
        calibrate(PLAIN, [trade(1, 0, "100"), trade(2, 1, "100")], "OKX", Okx().showing)


def test_simulate_like_says_how_like_it_is_and_simulates_that(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/m.db"
    with closing(open_store(store, writable=True)) as opened:
        opened.write(recorded(Character(spread=3), rate=20, minutes=1))
    env = environment(tmp_path, CRYPTOFEED_STORE_URL=store)
    done = run(["simulate", "--like", SYMBOL, "--duration", "5s", "--speed", "0"], env, tmp_path)

    assert done.returncode == 0, done.stderr
    said = done.stderr.decode()
    assert "recorded   simulated   match" in said
    assert "takers an hour" in said
    lines = done.stdout.splitlines()
    assert lines
    assert all(f'"symbol":"{SYMBOL}","source":"simulated"'.encode() in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--like", "BTC-USDT"], "has no real trade of it in that time"),
        (["--like", SYMBOL, "BTC-USDT"], "--like ETH-USDT simulates ETH-USDT; leave out BTC-USDT"),
        (["--since", "1h"], "they need one"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    store = f"sqlite:///{tmp_path}/m.db"
    with closing(open_store(store, writable=True)) as opened:
        opened.write([trade(1, 0, "100")])
    done = run(["simulate", *arguments], environment(tmp_path, CRYPTOFEED_STORE_URL=store), tmp_path)

    assert done.returncode == 2
    assert said in done.stderr.decode()
