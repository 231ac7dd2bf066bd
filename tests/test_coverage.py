"""How much of a time was recorded, proven and clean."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.coverage import Coverage, measure
from cryptofeed_cli.types import Gap, Run

BASE = 1_795_000_000_000
SYMBOL, CHANNEL = "BTC-USDT", "trades"


def run(start: int, end: int | None, heartbeat: int = 0, symbols: tuple[str, ...] = (SYMBOL,)) -> Run:
    """A run; times in ms after the base."""
    config = {"record": {"symbols": list(symbols), "channels": [CHANNEL]}}
    at = [(BASE + ms) * MILLISECOND for ms in (start, end or heartbeat)]
    state = "running" if end is None else "stopped"
    return Run("r", "n", "h", 1, "0", config, at[0], None if end is None else at[1], state, at[1], None, {})


def gap(start: int | None, end: int | None, status: Any = "open", **changes: Any) -> Gap:
    kind = changes.pop("kind", "disconnect")
    return Gap(
        f"{start}", "r", "OKX", SYMBOL, CHANNEL, kind, "network", None if start is None else BASE + start,
        None if end is None else BASE + end, None, None, changes.get("missing"), changes.get("filled", 0), status,
        "", 1, 1,
    )  # fmt: skip


def shares(runs: list[Run], *gaps: Gap) -> tuple[float | None, float | None]:
    found = measure(runs, gaps, SYMBOL, CHANNEL)
    return found.verified, found.clean


def test_a_run_without_gaps_is_verified_and_clean() -> None:
    assert measure([run(0, 1000)], [], SYMBOL, CHANNEL) == Coverage(100.0, 100.0, 0, 0, 0, 0)


def test_a_run_that_goes_on_counts_up_to_its_last_sign_of_life() -> None:
    assert shares([run(0, None, heartbeat=500)], gap(400, None)) == (80.0, 80.0)


def test_the_time_between_runs_is_not_verified() -> None:
    assert shares([run(0, 600), run(900, 1000)]) == (70.0, 70.0)


def test_what_two_recorders_cover_counts_once() -> None:
    assert shares([run(0, 600), run(500, 1000)]) == (100.0, 100.0)


def test_what_was_never_recorded_has_no_share() -> None:
    assert shares([run(0, 1000, symbols=("ETH-USDT",))]) == (None, None)


def test_a_symbol_of_a_pattern_was_recorded() -> None:
    assert shares([run(0, 1000, symbols=("BTC-*",))]) == (100.0, 100.0)


def test_a_run_of_one_shard_recorded_the_symbols_of_that_shard_only() -> None:
    def of_shard(number: int) -> Run:
        config = {"record": {"symbols": ["*"], "channels": [CHANNEL], "shard": f"{number}/2"}}
        return msgspec.structs.replace(run(0, 1000), config=config)

    found = [shares([of_shard(number)]) for number in (1, 2)]

    assert sorted(found, key=str) == [(100.0, 100.0), (None, None)]


@pytest.mark.parametrize("status", ["open", "deferred", "partial", "unrecoverable"])
def test_a_gap_that_may_hide_a_loss_is_not_verified(status: str) -> None:
    assert shares([run(0, 1000)], gap(100, 350, status)) == (75.0, 75.0)


@pytest.mark.parametrize("status", ["filled", "absent_at_source"])
def test_a_gap_that_was_repaired_is_verified_and_not_clean(status: str) -> None:
    assert shares([run(0, 1000)], gap(100, 350, status, missing=3)) == (100.0, 75.0)


def test_a_gap_in_which_nothing_was_missed_is_clean() -> None:
    assert shares([run(0, 1000)], gap(100, 350, "filled", missing=0)) == (100.0, 100.0)


def test_gaps_that_overlap_count_once() -> None:
    assert shares([run(0, 1000)], gap(100, 300), gap(200, 400)) == (70.0, 70.0)


def test_downtime_between_two_runs_that_was_fetched_is_no_loss_but_was_not_recorded() -> None:
    assert shares([run(0, 500), run(750, 1000)], gap(500, 750, "filled", missing=9, kind="downtime")) == (75.0, 75.0)


def test_a_share_is_rounded_down() -> None:
    assert shares([run(0, 1_000_000)], gap(0, 1)) == (99.99, 99.99)


def test_records_are_counted_by_what_became_of_them() -> None:
    gaps = [
        gap(1, 2, "filled", missing=5, filled=5),
        gap(3, 4, "absent_at_source", missing=4, filled=1),
        gap(5, 6, "unrecoverable"),
        gap(7, 8, "open", missing=2),
    ]
    found = measure([run(0, 1000)], gaps, SYMBOL, CHANNEL)

    assert (found.missing, found.filled, found.absent, found.unrecoverable) == (11, 6, 3, 1)
