"""The ledger: one identity a hole, and every revision of it higher than the one before."""

from __future__ import annotations

from typing import Any

import pytest

from cryptofeed_cli.gaps import KEPT, Ledger, gap_id
from cryptofeed_cli.types import Gap


class Kept:
    """A ledger and everything it emitted."""

    def __init__(self, run_id: str = "run") -> None:
        self.emitted: list[Gap] = []
        self.ledger = Ledger("OKX", run_id, self.emitted.append)

    def open(self, start: int | None = 1000, **given: Any) -> str:
        options = {"fault": "network", "reason": "gone", "at": 5, "start": start, **given}
        return self.ledger.open("disconnect", "BTC-USDT", "trades", **options)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_two_recorders_give_one_hole_the_same_identity() -> None:
    assert Kept("one").open() == Kept("two").open() == gap_id("OKX", "BTC-USDT", "trades", "disconnect", "1000")


def test_whatever_tells_holes_apart_changes_the_identity() -> None:
    one = gap_id("OKX", "BTC-USDT", "trades", "trade_ids", "7")
    others = {
        gap_id("OKX-DEMO", "BTC-USDT", "trades", "trade_ids", "7"),
        gap_id("OKX", "ETH-USDT", "trades", "trade_ids", "7"),
        gap_id("OKX", "BTC-USDT", "tickers", "trade_ids", "7"),
        gap_id("OKX", "BTC-USDT", "trades", "disconnect", "7"),
        gap_id("OKX", "BTC-USDT", "trades", "trade_ids", "77"),
    }
    assert len(others | {one}) == 6


def test_the_lower_bound_is_the_first_missing_id_where_it_is_known(kept: Kept) -> None:
    assert kept.open(1000, first_missing="7") == kept.open(2000, first_missing="7") != kept.open(1000)


def test_an_open_gap_is_emitted_with_what_is_known(kept: Kept) -> None:
    identity = kept.open(first_missing="7", last_missing="9", missing=3)
    assert kept.emitted == [
        Gap(
            identity, "run", "OKX", "BTC-USDT", "trades", "disconnect", "network",
            1000, None, "7", "9", 3, 0, "open", "gone", 1, 5,
        )
    ]  # fmt: skip


def test_an_amended_gap_is_emitted_as_its_next_revision(kept: Kept) -> None:
    identity = kept.open()
    kept.ledger.amend(identity, 6, end=2000)
    kept.ledger.amend(identity, 7, status="unrecoverable")
    assert [(gap.revision, gap.updated_at, gap.end, gap.status) for gap in kept.emitted] == [
        (1, 5, None, "open"), (2, 6, 2000, "open"), (3, 7, 2000, "unrecoverable"),
    ]  # fmt: skip


def test_a_gap_is_filled_when_all_that_was_missing_came(kept: Kept) -> None:
    identity = kept.open(missing=3)
    kept.ledger.fill(identity, 6, 2)
    kept.ledger.fill(identity, 7, 1)
    assert [(gap.filled, gap.status) for gap in kept.emitted] == [(0, "open"), (2, "open"), (3, "filled")]


def test_a_finished_gap_is_amended_no_more(kept: Kept) -> None:
    identity = kept.open()
    kept.ledger.finish(identity)
    kept.ledger.amend(identity, 6, end=2000)
    kept.ledger.fill(identity, 6, 1)
    assert len(kept.emitted) == 1


@pytest.mark.parametrize("finished", [True, False])
def test_a_gap_that_opens_again_goes_on_from_its_last_revision(kept: Kept, finished: bool) -> None:
    identity = kept.open()
    kept.ledger.amend(identity, 6, status="filled")
    if finished:
        kept.ledger.finish(identity)
    assert kept.open() == identity
    kept.ledger.amend(identity, 8, missing=5)
    assert [gap.revision for gap in kept.emitted] == [1, 2, 3, 4]


def test_only_so_many_gaps_are_kept_and_the_oldest_goes_first(kept: Kept) -> None:
    identities = [kept.open(start) for start in range(KEPT + 1)]
    emitted = len(kept.emitted)
    kept.ledger.amend(identities[0], 6, end=1)
    assert len(kept.emitted) == emitted
    kept.ledger.amend(identities[1], 6, end=1)
    assert len(kept.emitted) == emitted + 1


def test_gaps_are_counted_by_symbol(kept: Kept) -> None:
    kept.open(1000)
    kept.open(2000)
    assert kept.ledger.opened == {"BTC-USDT": 2}
