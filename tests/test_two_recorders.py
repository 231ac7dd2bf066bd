"""Two recorders of the same symbols on one store: complete together, nothing twice, and what one has is not missing."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from cryptofeed_cli.status.gathering import gather
from cryptofeed_cli.stores import open_store
from tests.faults import CHANNELS, FAULTS, SYMBOLS, rows
from tests.pair import PairScene, check_union, recorded_pair, runs, settle
from tests.processes import wait_until


def fetches(scene: PairScene) -> int:
    """How often trades were asked for over REST."""
    return sum(
        seen.kind == "fetch" and "history-trades" in seen.path for server in scene.servers for seen in server.seen
    )


def test_recorders_that_fail_by_turns_miss_nothing_together(tmp_path: Path, mongo_url: str) -> None:
    with recorded_pair(tmp_path, mongo_url, 21, 20_000) as scene:
        asked = fetches(scene)
        for which in (0, 1):
            server = scene.servers[which]
            subscribed = Counter(seen.channel for seen in server.seen if seen.kind == "subscribe")["books"]
            server.refuse_connections()
            server.drop()
            wait_until(lambda: server.open_sockets() == 0, "a recorder without an exchange")  # noqa: B023
            scene.go(200)
            server.refuse_connections(False)
            server.wait_for("subscribe", channel="books", count=subscribed + len(SYMBOLS))
            settle(scene, mongo_url)
        assert fetches(scene) == asked, "trades that the other recorder has were asked for"
        assert [recording.stop() for recording in scene.recordings] == [0, 0]
        check_union(scene, mongo_url)
        with closing(open_store(mongo_url, writable=False)) as store:
            status = gather(store, 0, [], "")
        stored = {symbol: rows(mongo_url, "book_updates", symbol) for symbol in SYMBOLS}
        sequences = scene.sequences

    gaps = rows(mongo_url, "gaps")
    assert {(gap["kind"], gap["channel"]) for gap in gaps} == {("disconnect", channel) for channel in CHANNELS}
    assert {(gap["status"], gap["missing"]) for gap in gaps if gap["channel"] == "trades"} == {("filled", 0)}
    assert sorted(one.name for one in status.recorders) == ["recorder-0", "recorder-1"]
    for one in status.channels:
        assert (one.coverage.verified, one.coverage.missing, one.coverage.unrecoverable) == (100.0, 0, 0), one
    for symbol, updates in stored.items():
        held = {update["sequence"] for update in updates}
        assert {number for of, number in sequences if of == symbol} <= held


@pytest.mark.parametrize(
    ("seed", "faults"),
    [(22, 24), pytest.param(23, 200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
)
def test_under_different_faults_the_union_is_complete_and_nothing_is_stored_twice(
    tmp_path: Path, mongo_url: str, seed: int, faults: int
) -> None:
    rng = Random(seed)
    with recorded_pair(tmp_path, mongo_url, seed, 200 * faults + 20_000) as scene:
        for _ in range(faults):
            with scene.at(rng.randrange(2)):
                FAULTS[rng.choice(list(FAULTS))](scene)
            scene.go(rng.randrange(1, 40))
        settle(scene, mongo_url)
        scene.go(300)  # both are back: they hear the same
        settle(scene, mongo_url)
        assert [recording.stop() for recording in scene.recordings] == [0, 0]
        check_union(scene, mongo_url)
    counters = [run.counters for run in runs(mongo_url)]

    # What both heard is a duplicate for one of them, and they heard nearly everything.
    assert sum(one["duplicates"] for one in counters) > 100
    assert sum(one["conflicts"] for one in counters) == 0


def test_what_both_miss_is_fetched_once_and_told(tmp_path: Path, mongo_url: str) -> None:
    with recorded_pair(tmp_path, mongo_url, 24, 5000) as scene:
        lost = []
        for symbol in SYMBOLS:
            push = scene.next("trades")
            while push.symbol != symbol:
                scene.happen(push)
                push = scene.next("trades")
            with scene.unheard("trades", symbol), scene.at(1), scene.unheard("trades", symbol):
                scene.happen(push)
            lost.append((symbol, push.row["tradeId"]))
            scene.go(20)
        settle(scene, mongo_url)
        assert [recording.stop() for recording in scene.recordings] == [0, 0]
        check_union(scene, mongo_url)

    told = [(gap["symbol"], gap["first_missing"], gap["missing"], gap["status"]) for gap in rows(mongo_url, "gaps")]
    assert sorted(told) == sorted((symbol, number, 1, "filled") for symbol, number in lost)
