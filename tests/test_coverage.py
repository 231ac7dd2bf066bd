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


# Several recorders


def of(name: str, one: Run) -> Run:
    return msgspec.structs.replace(one, run_id=f"{name}-run", name=name)


def by(name: str, one: Gap) -> Gap:
    return msgspec.structs.replace(one, run_id=f"{name}-run")


def test_what_one_recorder_missed_and_another_one_heard_is_verified() -> None:
    runs = [of("a", run(0, 1000)), of("b", run(0, 1000))]

    assert shares(runs, by("a", gap(100, 300))) == (100.0, 100.0)
    assert shares(runs, by("a", gap(100, 300)), by("b", gap(200, 400))) == (90.0, 90.0)


def test_a_gap_that_another_recorder_covers_is_no_loss() -> None:
    runs = [of("a", run(0, 1000)), of("b", run(500, 1000))]
    gaps = [by("a", gap(at, at + 200, "unrecoverable")) for at in (100, 400, 600)]

    assert measure(runs, gaps, SYMBOL, CHANNEL).unrecoverable == 2


def test_while_one_recorder_only_was_there_its_gaps_count() -> None:
    runs = [of("a", run(0, 1000)), of("b", run(500, 1000))]

    assert shares(runs, by("a", gap(400, 600))) == (90.0, 90.0)


def test_ids_that_the_store_lacks_are_missing_whoever_was_subscribed() -> None:
    runs = [of("a", run(0, 1000)), of("b", run(0, 1000))]
    named = msgspec.structs.replace(by("a", gap(100, 300, "partial", missing=5)), first_missing="7", last_missing="11")

    assert shares(runs, named) == (80.0, 80.0)


def test_ids_that_were_renumbered_prove_nothing_whoever_was_subscribed() -> None:
    runs = [of("a", run(0, 1000)), of("b", run(0, 1000))]

    assert shares(runs, by("a", gap(100, 300, "unrecoverable", kind="unproven"))) == (80.0, 80.0)


def test_the_gap_of_a_run_that_nobody_knows_counts_against_all() -> None:
    runs = [of("a", run(0, 1000)), of("b", run(0, 1000))]

    assert shares(runs, by("c", gap(100, 300))) == (80.0, 80.0)


def test_downtime_counts_against_the_run_before_it_too() -> None:
    killed = msgspec.structs.replace(run(0, None, heartbeat=600), run_id="killed")

    assert shares([killed, run(800, 1000)], gap(500, 900, "unrecoverable", kind="downtime")) == (60.0, 60.0)


# Removed on purpose


def test_time_that_was_pruned_does_not_count() -> None:
    pruned = gap(0, 400, "unrecoverable", kind="pruned")

    assert shares([run(0, 1000)], pruned, gap(700, 850)) == (75.0, 75.0)
    assert measure([run(0, 1000)], [pruned, gap(100, 200, missing=5)], SYMBOL, CHANNEL) == Coverage(
        100.0, 100.0, 0, 0, 0, 0
    )


def test_of_what_was_pruned_whole_nothing_is_said() -> None:
    assert shares([run(0, 1000)], gap(0, 2000, "unrecoverable", kind="pruned")) == (None, None)


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
