"""The parts of a made-up market one by one: random numbers, the matching, arrivals, volatility, a day's figures."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.simulation.arrivals import Arrivals
from cryptofeed_cli.simulation.day import DAY_MS, MINUTE_MS, Day
from cryptofeed_cli.simulation.draws import ONE, Sizes, exponential, generator, power_law
from cryptofeed_cli.simulation.listing import Step, decimal_text, listing
from cryptofeed_cli.simulation.matching import LimitBook
from cryptofeed_cli.simulation.volatility import DEVIATION, UNIT, Volatility

# Random numbers


def test_words_alone_decide_the_bits() -> None:
    """A known value: another Python, or another machine, must not mean another market."""
    assert [generator(1, "a")(64), generator(1, "a")(64)] == [11412011701024353591] * 2
    assert generator(1, "b")(64) != generator(1, "a")(64) != generator(11, "a")(64)


def test_words_do_not_run_together() -> None:
    assert generator("ab", "c")(64) != generator("a", "bc")(64)


def test_waiting_times_have_the_mean_and_the_deviation_of_an_exponential_law() -> None:
    waits = exponential()
    mean = sum(waits) / len(waits)
    assert mean == pytest.approx(ONE, rel=0.01)
    assert sum(wait * wait for wait in waits) / len(waits) == pytest.approx(2 * mean * mean, rel=0.03)
    assert list(waits) == sorted(waits)


def test_a_power_law_halves_its_chance_where_it_should() -> None:
    sizes = power_law(2, 3)
    over = sum(size > 4 * ONE for size in sizes) / len(sizes)
    assert over == pytest.approx(4**-1.5, rel=0.02)


def test_sizes_go_beyond_their_last_quantile_and_never_beyond_their_most() -> None:
    bits, sizes = generator("sizes"), Sizes(1, 5000)
    drawn = [sizes.draw(bits) for _ in range(50_000)]
    assert min(drawn) == 1
    assert power_law(2, 3)[-1] // ONE < max(drawn) <= 5000
    assert sum(size > 100 for size in drawn) / len(drawn) == pytest.approx(100**-1.5, rel=0.3)


def test_sizes_follow_given_quantiles() -> None:
    bits, sizes = generator("given"), Sizes(1, 5000, (3, 3, 3, 7))
    drawn = [sizes.draw(bits) for _ in range(4000)]
    assert sum(size == 3 for size in drawn) / len(drawn) == pytest.approx(0.75, abs=0.03)
    assert min(size for size in drawn if size != 3) >= 7


# Matching


class Watched:
    """A book, and a plain list of the orders that should rest in it."""

    def __init__(self) -> None:
        self.book = LimitBook()
        self.resting: dict[int, tuple[bool, int, int]] = {}

    def place(self, buy: bool, price: int, size: int) -> None:
        opposite = [at for side, at, _ in self.resting.values() if side != buy]
        if opposite and (price >= min(opposite) if buy else price <= max(opposite)):
            return
        self.resting[self.book.place(buy, price, size)] = (buy, price, size)

    def best(self, buy: bool) -> list[int]:
        """The orders of one side, the first to trade first."""
        members = [(at, order) for order, (side, at, _) in self.resting.items() if side == buy]
        return [order for _, order in sorted(members, key=lambda one: (-one[0] if buy else one[0], one[1]))]

    def take(self, buy: bool, size: int, limit: int) -> list[tuple[int, int]]:
        """What should be filled: the other side in its order, but for its last level."""
        fills = []
        for order in self.best(not buy):
            _, price, rest = self.resting[order]
            left = {at for side, at, _ in self.resting.values() if side != buy}
            if not size or len(left) == 1 or (price > limit if buy else price < limit):
                break
            part = min(size, rest)
            fills.append((price, part))
            size -= part
            if part == rest:
                del self.resting[order]
            else:
                self.resting[order] = (not buy, price, rest - part)
        return fills

    def check(self) -> None:
        book = self.book
        for buy, levels, best in ((True, book.bids, book.bid), (False, book.asks, book.ask)):
            shown = {price: list(level.values()) for price, level in levels.items()}
            expected: dict[int, list[int]] = {}
            for order in self.best(buy):
                _, price, size = self.resting[order]
                expected.setdefault(price, []).append(size)
            assert shown == expected
            assert not expected or best == (max(expected) if buy else min(expected))
        assert set(book.live) == set(self.resting)


ORDERS = st.tuples(
    st.sampled_from(["place", "place", "place", "cancel", "take"]), st.booleans(), st.integers(1, 160),
    st.integers(1, 9),
)  # fmt: skip


@given(st.lists(ORDERS, max_size=60))
def test_a_book_trades_by_price_then_by_time_as_a_plain_list_would(orders: list[tuple[str, bool, int, int]]) -> None:
    watched = Watched()
    watched.place(True, 70, 5)
    watched.place(False, 90, 5)
    for kind, buy, number, size in orders:
        if kind == "place":
            watched.place(buy, number, size)
        elif kind == "take":
            expected = watched.take(buy, size, number)
            assert watched.book.take(buy, size, number) == expected
        else:
            order = list(watched.resting)[number % len(watched.resting)]
            side, price, _ = watched.resting[order]
            watched.book.cancel(order)
            if {at for one, at, _ in watched.resting.values() if one == side} != {price} or (
                sum(one == side for one, _, _ in watched.resting.values()) > 1
            ):
                del watched.resting[order]
        watched.check()


def test_what_is_beyond_the_shown_levels_is_taken_away() -> None:
    watched = Watched()
    for distance in range(10):
        watched.place(True, 99 - distance, 1)
        watched.place(False, 101 + distance, 1)
    watched.book.touched_bids.clear()
    watched.book.trim(8)
    assert sorted(watched.book.bids) == list(range(92, 100))
    assert sorted(watched.book.asks) == list(range(101, 109))
    assert watched.book.touched_bids == {90, 91}
    assert len(watched.book.live) == 16


# Arrivals and volatility


def test_arrivals_come_at_their_rate_and_in_order() -> None:
    arrivals = Arrivals(generator("rate"), 200)
    steps = [arrivals.step(1, 1) for _ in range(60_000)]
    assert sum(map(len, steps)) / 600 == pytest.approx(200, rel=0.15)
    assert all(0 <= ms < 10 for step in steps for ms in step)
    assert all(before <= after for step in steps for before, after in pairwise(step))


def test_arrivals_excite_each_other() -> None:
    """Of a Poisson process the variance is the mean; with children it is more, and grows the longer one counts."""
    arrivals = Arrivals(generator("excited"), 200)
    counts = [len(arrivals.step(1, 1)) for _ in range(100_000)]

    def dispersion(steps: int) -> float:
        sums = [sum(counts[at : at + steps]) for at in range(0, len(counts), steps)]
        mean = sum(sums) / len(sums)
        return sum((one - mean) ** 2 for one in sums) / len(sums) / mean

    assert 1.1 < dispersion(10) < dispersion(100) < dispersion(1000)


def test_volatility_keeps_its_mean_over_all_its_states() -> None:
    states = []
    process = Volatility(generator("states"))
    for _ in range(200_000):
        process.step()
        states.append(process.now)
    assert min(states) < UNIT // 4
    assert max(states) > 2 * UNIT
    means = [Volatility(generator("mean", seed)).now for seed in range(200)]
    assert sum(means) / len(means) == pytest.approx(UNIT, rel=0.25)


def test_shocks_have_no_mean_and_the_deviation_of_their_volatility() -> None:
    process = Volatility(generator("shocks"))
    shocks = [process.step() / process.now for _ in range(20_000)]
    assert sum(shocks) / len(shocks) == pytest.approx(0, abs=0.1)
    assert (sum(shock * shock for shock in shocks) / len(shocks)) ** 0.5 == pytest.approx(DEVIATION, rel=0.05)


# Listings and figures


@pytest.mark.parametrize(
    ("step", "count", "text"),
    [("0.1", 600_001, "60000.1"), ("0.1", 600_000, "60000"), ("0.05", 3, "0.15"), ("1", 20, "20"), ("0.01", 7, "0.07")],
)
def test_steps_are_written_without_needless_zeros_and_read_back(step: str, count: int, text: str) -> None:
    assert Step.parse(step).write(count) == text
    assert Step.parse(step).count(text) == count


def test_a_whole_number_keeps_its_zeros() -> None:
    assert decimal_text(1200, 0) == "1200"


@pytest.mark.parametrize("symbol", ["BTC", "BTC-", "btc-usdt", "BTC-*", "BTC-USDT-PERP", "BTC-USD-261225-50000-C", ""])
def test_a_symbol_of_another_shape_is_refused_by_name(symbol: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(symbol))):
        listing(symbol)


def test_a_day_forgets_what_is_older() -> None:
    day = Day(0, 100)
    day.trade(130, 2)
    day.pass_to(MINUTE_MS)
    day.trade(90, 3)
    assert (day.open, day.high, day.low, day.volume, day.turnover) == (130, 130, 90, 5, 530)
    day.pass_to(DAY_MS)
    assert (day.high, day.low, day.volume) == (90, 90, 3)
    day.pass_to(DAY_MS + MINUTE_MS)
    assert (day.open, day.volume, day.open_utc0) == (90, 0, 90)


def test_a_day_begins_at_midnight_of_two_places() -> None:
    day = Day(15 * 3_600_000, 100)
    day.trade(110, 1)
    day.pass_to(16 * 3_600_000)
    assert (day.open_utc0, day.open_utc8) == (100, 110)


def test_a_pause_of_days_leaves_an_even_day() -> None:
    day = Day(0, 100)
    day.trade(120, 1)
    day.pass_to(3 * DAY_MS)
    assert len(day.minutes) == 1440
    assert [minute.volume for minute in day.minutes] == [0] * 1440
    assert day.minutes[0].start == 2 * DAY_MS + MINUTE_MS
