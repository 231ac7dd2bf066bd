"""What the outbox costs while it is idle, and how fast it is drained: against the store alone, in turns.

Idle: batches through the writer, no more than a few on their way, against the same batches written by a thread without
an outbox. Draining: what waits in an outbox, in batches as a recorder of one symbol makes them, against large batches
written by hand.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.race import Figure, Skipped, race
from bench.stores import BATCH, BATCHES, made_batches
from cryptofeed_cli.clock import SECOND, SystemClock
from cryptofeed_cli.errors import StoreUnreachable
from cryptofeed_cli.keeping import drain_into
from cryptofeed_cli.stores import Store, open_store
from cryptofeed_cli.stores.places import places
from cryptofeed_cli.stores.recorder_outbox import RecorderOutbox, open_outbox
from cryptofeed_cli.types import Run, Trade
from cryptofeed_cli.writer import Writer
from tests.mongod import Mongod, MongodMissing

IDLE_GOAL = 0.95
DRAIN_GOAL = 0.8
ON_THEIR_WAY = 2
SMALL = 200
"""Records of a batch that waits in the outbox."""


def figures(*, rounds: int, quick: bool) -> Iterator[Figure]:
    """Race both, with either store. Raises `Skipped`."""
    batches = 1 if quick else BATCHES
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        here = Path(directory)
        ours, bare = (f"sqlite:///{here / name}" for name in ("ours.db", "bare.db"))
        yield from _with_store("sqlite", ours, bare, here, rounds, batches)
        try:
            with Mongod(here / "db") as server:
                yield from _with_store("mongodb", f"{server.url}/ours", f"{server.url}/bare", here, rounds, batches)
        except MongodMissing as exc:
            raise Skipped(str(exc)) from exc


def _with_store(name: str, url: str, bare_url: str, here: Path, rounds: int, batches: int) -> Iterator[Figure]:
    with _opened(url) as ours, _opened(bare_url) as bare, _outbox(here, name) as outbox:
        yield race(
            f"{name}: outbox idle", "trades",
            lambda number: _through_writer(ours, outbox, made_batches(number, batches)),
            lambda number: _in_a_thread(bare, made_batches(number, batches)),
            amount=batches * BATCH, rounds=rounds, goal=IDLE_GOAL,
        )  # fmt: skip
        later = rounds + 1
        yield race(
            f"{name}: drain", "trades",
            lambda number: _drained(ours, outbox, made_batches(later + number, batches)),
            lambda number: _by_hand(bare, made_batches(later + number, batches)),
            amount=batches * BATCH, rounds=rounds, goal=DRAIN_GOAL,
        )  # fmt: skip


@contextmanager
def _opened(url: str) -> Iterator[Store]:
    store = open_store(url, writable=True)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _outbox(here: Path, name: str) -> Iterator[RecorderOutbox]:
    outbox = open_outbox(places(here, name), "bench", 1 << 30)
    try:
        yield outbox
    finally:
        outbox.close()


def _through_writer(store: Store, outbox: RecorderOutbox, made: list[list[Trade]]) -> float:
    writer = Writer(store, outbox, clock=SystemClock(), rng=random.Random(1), patience=10 * SECOND)
    begin = time.perf_counter()
    for batch in made:
        writer.submit(batch, 60)
        writer.wait_for(ON_THEIR_WAY - 1, 60)
    writer.wait_for(0, 60)
    taken = time.perf_counter() - begin
    writer.close((), 60, _run)
    if outbox.backlog.records or writer.written.inserted != len(made) * BATCH:
        raise AssertionError(f"{writer.written} of {len(made) * BATCH} trades are stored")
    return taken


def _by_hand(store: Store, made: list[list[Trade]]) -> float:
    begin = time.perf_counter()
    for batch in made:
        store.write(batch)
    return time.perf_counter() - begin


def _in_a_thread(store: Store, made: list[list[Trade]]) -> float:
    """What a recorder without an outbox would do: the store has a thread of its own, and the same memory as that."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_by_hand, store, made).result()


def _drained(store: Store, outbox: RecorderOutbox, made: list[list[Trade]]) -> float:
    for batch in made:
        for start in range(0, len(batch), SMALL):
            outbox.append(batch[start : start + SMALL], 1)
    begin = time.perf_counter()
    with suppress(StoreUnreachable):
        while outbox.backlog.records:
            drain_into(store, outbox)
    return time.perf_counter() - begin


def _run() -> Run:
    return Run("bench", "bench", "bench", 1, "0", {}, 1, 1, "stopped", 1, None, {})
