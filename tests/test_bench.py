"""The benchmarks run and say what they should; how fast anything is, is not a test's business."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RATE = r"[\d,]+ (?:frames|trades|queries)/s"
RACE = rf"{RATE} +{RATE} +\d+\.\d\dx  \(\d+\.\d\d\.\.\d+\.\d\d\)"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the benchmarks."""
    command = [sys.executable, "-W", "error", "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def table(name: str) -> str:
    """Return what a tiny run of one benchmark prints, or skip the test where its parts are missing."""
    done = bench(name, "--quick")
    assert done.returncode == 0, done.stderr
    skipped = re.search(r"skipped: (.+)", done.stdout)
    if skipped:
        pytest.skip(skipped[1])
    return done.stdout


@pytest.mark.parametrize("channel", ["trades", "tickers", "books"])
def test_frames_are_raced_against_the_peer(channel: str) -> None:
    assert re.search(rf"^{channel}: frame to record +{RACE} +>= 1\.5x$", table(channel), re.MULTILINE)


@pytest.mark.parametrize(("store", "limit"), [("sqlite", 125), ("mongodb", 110)])
def test_a_store_is_raced_against_its_bare_driver_and_measured(store: str, limit: int) -> None:
    printed = table(store)

    assert re.search(rf"^{store}: write +{RACE} +>= 0\.6x$", printed, re.MULTILINE)
    assert re.search(rf"^{store}: read +{RACE}$", printed, re.MULTILINE)
    assert re.search(rf"^{store}: size of a trade +[\d.]+ B +<= {limit} B$", printed, re.MULTILINE)


def test_a_recorder_beside_a_pruner_is_raced_against_one_alone() -> None:
    each = r" +\d+ flushes/s"
    assert re.search(rf"^sqlite: durable, p99{each}{each} .+ >= 0\.5x$", table("pruning"), re.MULTILINE)


def test_the_room_that_every_kind_takes_is_measured_in_both_stores() -> None:
    printed = table("room")

    for kind in ("trades", "tickers", "orderbooks", "book_updates"):
        assert len(re.findall(rf"^(?:sqlite|mongodb): {kind} +[\d,.]+ B$", printed, re.MULTILINE)) == 2, printed


def test_an_idle_outbox_and_its_draining_are_raced_against_the_store_alone() -> None:
    printed = table("outbox")

    for store in ("sqlite", "mongodb"):
        assert re.search(rf"^{store}: outbox idle +{RACE} +>= 0\.95x$", printed, re.MULTILINE)
        assert re.search(rf"^{store}: drain +{RACE} +>= 0\.8x$", printed, re.MULTILINE)


def test_the_simulator_is_measured_three_ways() -> None:
    printed = table("simulator")

    for way in ("records", "frames", "session"):
        assert re.search(rf"^simulator: {way} +[\d,]+ orders/s +>= 100,000$", printed, re.MULTILINE)


def test_a_replay_is_measured_at_its_fastest_and_at_two_paces() -> None:
    printed = table("replay")

    for name in ("trades", "with tickers"):
        assert re.search(rf"^replay: {name} +[\d,]+ records/s +>= 150,000$", printed, re.MULTILINE)
    for speed in (1, 10):
        assert re.search(rf"^replay: p99 at speed {speed} +[\d.]+ ms +<= 5 ms$", printed, re.MULTILINE)


def test_exports_are_raced_against_the_tools_of_the_databases() -> None:
    printed = table("export-sqlite")

    assert re.search(rf"^sqlite: CSV +{RACE} +>= 0\.4x$", printed, re.MULTILINE)
    assert re.search(rf"^sqlite: CSV, same text +{RACE}$", printed, re.MULTILINE)
    assert re.search(rf"^sqlite: JSON lines +{RACE} +>= 0\.4x$", printed, re.MULTILINE)
    assert len(re.findall(r"^sqlite: memory, \w+ +[\d.]+ MiB +<= 150 MiB$", printed, re.MULTILINE)) == 3


def test_a_tail_is_raced_against_that_of_a_small_store() -> None:
    assert re.search(rf"^query --tail 5, 10 M trades +{RACE} +>= 0\.667x$", table("tail"), re.MULTILINE)


def test_an_unknown_benchmark_is_refused_and_the_known_ones_named() -> None:
    done = bench("speed")

    assert done.returncode == 2
    names = "trades, tickers, books, sqlite, pruning, mongodb, room, outbox, replay, simulator"
    assert f"unknown name 'speed' (choose from {names}, export-sqlite, export-mongodb, tail)" in done.stderr
