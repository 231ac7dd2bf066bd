"""The book against models that a child could check: a dict by value, and sums by `Decimal`."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.book import Book
from cryptofeed_cli.types import CountedLevel

PRICES = ("100", "100.0", "100.00", "99.5", "99.50", "101", "0.1", "0.10", "0", "0.0", "7", "70", "700", "1000.000")
ZEROS = ("0", "0.0", "0.00000")
levels = st.lists(
    st.tuples(
        st.sampled_from(PRICES),
        st.sampled_from((*ZEROS, "1", "1.0", "10", "0.5", "0.05", "100")),
        st.integers(0, 3),
    ),
    max_size=12,
)
Model = dict[Decimal, CountedLevel]


def set_levels(model: Model, changes: list[CountedLevel]) -> None:
    for price, size, orders in changes:
        if Decimal(size) == 0:
            model.pop(Decimal(price), None)
        else:
            model[Decimal(price)] = price, size, orders


def ordered(model: Model, *, descending: bool) -> list[CountedLevel]:
    return [model[price] for price in sorted(model, reverse=descending)]


def by_value(changes: list[CountedLevel]) -> list[tuple[Decimal, str, int]]:
    """Levels as they compare: a price may be shown in the spelling it first came in."""
    return [(Decimal(price), size, orders) for price, size, orders in changes]


@given(st.lists(st.tuples(st.booleans(), levels, levels), max_size=8))
def test_the_book_is_a_dict_by_price(changes: list[tuple[bool, list[CountedLevel], list[CountedLevel]]]) -> None:
    book, bids, asks = Book(), Model(), Model()
    for whole, bid_changes, ask_changes in changes:
        before = by_value(list(bids.values())), by_value(list(asks.values()))
        if whole:
            bids.clear()
            asks.clear()
        set_levels(bids, bid_changes)
        set_levels(asks, ask_changes)
        if whole:
            book.replace(bid_changes, ask_changes)
        elif not book.apply(bid_changes, ask_changes):
            assert before == (by_value(list(bids.values())), by_value(list(asks.values())))
        held_bids, held_asks = book.levels()
        assert by_value(held_bids) == by_value(ordered(bids, descending=True))
        assert by_value(held_asks) == by_value(ordered(asks, descending=False))


@given(levels, levels, st.integers(1, 15))
def test_the_best_are_the_first_of_all(bids: list[CountedLevel], asks: list[CountedLevel], depth: int) -> None:
    book = Book()
    book.replace(bids, asks)
    all_bids, all_asks = book.levels()
    assert book.best(depth) == (
        [(price, size) for price, size, _ in all_bids[:depth]],
        [(price, size) for price, size, _ in all_asks[:depth]],
    )


numbers = st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False, allow_infinity=False)


@given(
    st.dictionaries(numbers, numbers.filter(bool), max_size=30),
    st.sampled_from(("0.00000001", "0.1", "0.25", "1", "3", "10", "1000")),
    st.integers(1, 10),
)
def test_grouping_sums_sizes_by_steps(sides: dict[Decimal, Decimal], step: str, depth: int) -> None:
    book, given_levels = Book(), [(f"{price:f}", f"{size:f}", 1) for price, size in sides.items()]
    book.replace(given_levels, given_levels)
    down, up = defaultdict(Decimal), defaultdict(Decimal)
    for price, size in sides.items():
        steps = price / Decimal(step)
        down[steps.to_integral_value(ROUND_FLOOR) * Decimal(step)] += size
        up[steps.to_integral_value(ROUND_CEILING) * Decimal(step)] += size
    bids, asks = book.best(depth, Decimal(step))
    assert [(Decimal(price), Decimal(size)) for price, size in bids] == sorted(down.items(), reverse=True)[:depth]
    assert [(Decimal(price), Decimal(size)) for price, size in asks] == sorted(up.items())[:depth]


def test_grouping_is_exact_for_the_longest_numbers() -> None:
    book = Book()
    price, size = "9" * 40 + "." + "9" * 40, "0." + "0" * 39 + "1"
    book.replace([(price, size, 1), ("9" * 40, "9" * 40, 1)], [(price, size, 1)])
    assert book.best(5, Decimal(1)) == ([("9" * 40, "9" * 40 + "." + "0" * 39 + "1")], [("1" + "0" * 40, size)])


def test_grouped_levels_are_written_without_an_exponent() -> None:
    book = Book()
    book.replace([("123456", "1", 1)], [("123456", "1", 1)])
    assert book.best(1, Decimal("1E+5")) == ([("100000", "1")], [("200000", "1")])


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("orders", [0, 2])
def test_a_size_of_zero_removes_the_price_however_both_are_spelled(zero: str, orders: int) -> None:
    book = Book()
    book.replace([("100.0", "5", 1)], [])
    assert book.apply([("100", zero, orders)], [])
    assert book.levels() == ([], [])


def test_a_delete_of_a_price_never_held_changes_nothing() -> None:
    book = Book()
    book.replace([("100", "5", 1)], [])
    assert not book.apply([("99", "0", 0)], [("100", "0", 0)])
    assert book.levels() == ([("100", "5", 1)], [])


def test_another_count_of_orders_is_a_change() -> None:
    book = Book()
    book.replace([("100", "5", 1)], [])
    assert not book.apply([("100", "5", 1)], [])
    assert book.apply([("100", "5", 2)], [])


def test_the_last_of_two_sizes_for_one_price_holds() -> None:
    book = Book()
    book.replace([("100", "5", 1), ("100.0", "6", 1)], [])
    assert book.levels() == ([("100.0", "6", 1)], [])


def test_a_crossed_book_is_kept_as_it_is() -> None:
    book = Book()
    book.replace([("101", "1", 1)], [("100", "1", 1)])
    assert book.best(1) == ([("101", "1")], [("100", "1")])
