"""The book at an instant, against all updates up to it applied one by one; refused where it is not known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.completeness import Ledgers
from cryptofeed_cli.derived import Recipe, derive
from cryptofeed_cli.errors import Incomplete
from cryptofeed_cli.queries import Query
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Store, records_of
from cryptofeed_cli.types import KINDS, BookUpdate, CountedLevel, Gap, OrderBook, Run
from tests.stores.records import NOON, sample, update

Sides = tuple[dict[Decimal, str], dict[Decimal, str]]
END = NOON + 3_600_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/market.db", writable=True)) as opened:
        yield opened


def recording(*gaps: Gap) -> Ledgers:
    config = {"record": {"symbols": ["*"], "channels": ["book_updates"]}}
    begin, end = NOON * MILLISECOND, END * MILLISECOND
    return Ledgers([Run("r", "n", "h", 1, "0", config, begin, end, "stopped", end, None, {})], gaps)


def book(
    store: Store, at: int | None, ledgers: Ledgers | None = None, depth: int = 400, **recipe: Any
) -> list[OrderBook]:
    asked = Recipe("book", at=None if at is None else at * MILLISECOND, depth=depth, **recipe)
    return list(records_of(KINDS["orderbooks"], derive(store, Query("book_updates"), asked, ledgers or recording())))


def market(seed: int, updates: int) -> tuple[list[BookUpdate], list[Sides]]:
    """A chain with checkpoints, resets and several updates an instant; the sides after each of them, kept naively."""
    rng = random.Random(seed)
    bids: dict[Decimal, str] = {}
    asks: dict[Decimal, str] = {}
    made, states, now, sequence = [], [], NOON, 10**9
    for number in range(updates):
        now += rng.choice((0, 0, 1, 100))
        changes: list[list[CountedLevel]] = []
        for side, base in ((bids, 100), (asks, 200)):
            levels: list[CountedLevel] = []
            for place in rng.sample(range(20), rng.randrange(1, 5)):
                price, size = f"{base + place}.{rng.choice(('5', '50'))}", rng.choice(("0", "1.0", "2.50"))
                side.pop(Decimal(price), None)
                if size != "0":
                    side[Decimal(price)] = size
                levels.append((price, size, 1))
            changes.append(levels)
        whole = number == 0
        step = -1_000_000 if rng.random() < 0.05 else rng.choice((1, 9))  # sometimes the exchange renumbers
        previous, sequence = sequence, sequence + step
        made.append(
            update(
                None if whole else previous, sequence, timestamp=now, received_at=number,
                action="snapshot" if whole else "update", bids=changes[0], asks=changes[1],
            )
        )  # fmt: skip
        states.append((dict(bids), dict(asks)))
        if number % 37 == 36:
            full = [[(str(price), size, 1) for price, size in side.items()] for side in (bids, asks)]
            made.append(
                update(
                    None, sequence, timestamp=now, received_at=number, action="checkpoint", bids=full[0], asks=full[1]
                )
            )  # fmt: skip
            states.append((dict(bids), dict(asks)))
    return made, states


def sides(one: OrderBook) -> Sides:
    return {Decimal(price): size for price, size in one.bids}, {Decimal(price): size for price, size in one.asks}


@pytest.mark.parametrize("seed", range(8))
def test_the_book_is_that_of_all_updates_up_to_the_instant(store: Store, seed: int) -> None:
    updates, states = market(seed, 300)
    store.write(random.Random(seed).sample(updates, len(updates)))
    rng = random.Random(seed)
    first, last = updates[0].timestamp or 0, updates[-1].timestamp or 0

    for at in [first, last, last + 5_000, *(rng.randrange(first, last) for _ in range(25))]:
        (found,) = book(store, at)
        place = max(place for place, one in enumerate(updates) if (one.timestamp or 0) <= at)

        assert sides(found) == states[place]
        assert (found.timestamp, found.sequence) == (updates[place].timestamp, updates[place].sequence)
        assert [Decimal(price) for price, _ in found.bids] == sorted(states[place][0], reverse=True)
        assert [Decimal(price) for price, _ in found.asks] == sorted(states[place][1])


def whole(sequence: int, at: int, **changes: Any) -> BookUpdate:
    changes = {"action": "snapshot", "bids": [("100", "1", 1), ("99", "2", 1)], "asks": [("101", "3", 1)], **changes}
    return update(None, sequence, timestamp=at, **changes)


def test_depth_cuts_and_group_adds_up(store: Store) -> None:
    store.write([whole(1, NOON, bids=[("100.4", "1", 1), ("100.2", "2", 1), ("99", "4", 1)])])

    (found,) = book(store, NOON, depth=1)
    assert (found.depth, found.group, found.bids) == (1, None, [("100.4", "1")])
    (found,) = book(store, NOON, depth=2, group=Decimal("1"))
    assert (found.group, found.bids) == ("1", [("100", "3"), ("99", "4")])


def test_without_an_instant_it_is_the_newest(store: Store) -> None:
    store.write([whole(1, NOON), update(1, 2, timestamp=NOON + 50, bids=[("100", "9", 1)], asks=[])])

    (found,) = book(store, None, Ledgers((), ()))
    assert (found.timestamp, found.bids[0]) == (NOON + 50, ("100", "9"))


def test_every_symbol_has_its_own_book(store: Store) -> None:
    store.write([whole(1, NOON, symbol="B"), whole(5, NOON, symbol="A")])

    assert [(one.symbol, one.sequence) for one in book(store, NOON)] == [("A", 5), ("B", 1)]


def test_a_book_spliced_from_rest_goes_on_with_an_update_that_begins_before_it(store: Store) -> None:
    store.write([
        whole(10, NOON, source="backfill"),
        update(8, 12, timestamp=NOON + 1, bids=[("100", "7", 1)], asks=[]),
    ])  # fmt: skip

    (found,) = book(store, NOON + 1)
    assert (found.sequence, found.bids[0]) == (12, ("100", "7"))


def test_inside_a_gap_the_book_is_refused_and_behind_it_known_again(store: Store) -> None:
    store.write([whole(1, NOON), whole(9, NOON + 500)])
    gap = sample(
        "gaps", channel="book_updates", start=NOON + 100, end=NOON + 500, status="unrecoverable"
    )

    assert book(store, NOON + 99, recording(gap))[0].sequence == 1
    for inside in (NOON + 100, NOON + 499):
        with pytest.raises(Incomplete, match=r"^the book of BTC-USDT at .* is not known: inside a gap; "):
            book(store, inside, recording(gap))
    assert book(store, NOON + 500, recording(gap))[0].sequence == 9


def test_a_broken_chain_is_refused_even_where_no_gap_tells(store: Store) -> None:
    store.write([whole(1, NOON), update(5, 6, timestamp=NOON + 10)])

    assert book(store, NOON + 9)[0].sequence == 1
    with pytest.raises(Incomplete, match="no unbroken chain of updates leads there"):
        book(store, NOON + 10)


def test_where_no_recorder_was_and_before_the_first_book_it_is_refused(store: Store) -> None:
    store.write([whole(1, NOON + 10)])

    with pytest.raises(Incomplete, match="no unbroken chain"):
        book(store, NOON + 9)
    for at in (NOON - 1, END + 1):
        with pytest.raises(Incomplete, match="not recorded"):
            book(store, at)
    with pytest.raises(Incomplete, match="no book_updates are stored of any symbol"):
        list(derive(store, Query("book_updates", sources=frozenset({"simulated"})), Recipe("book"), recording()))
