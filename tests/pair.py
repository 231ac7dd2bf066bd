"""One market told by two servers to two real recorders of one store, so that each can have faults of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random
from threading import RLock
from typing import Any

from websockets import Request

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import KINDS, Run
from tests.faults import CHANNELS, SYMBOLS, WIRES, Scene, ids, recorder, rows
from tests.okx_market import Market, Push, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import Recording, wait_until

SETTLED_NS = 5 * SECOND
"""After so long a recorder has noticed, looked up, fetched and written what it missed."""


class SharedMarket(Market):
    """A market that two servers tell of, each in a thread of its own."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lock = RLock()

    def publish(self, push: Push) -> Iterator[tuple[str, bytes]]:
        with self.lock:
            yield from list(super().publish(push))

    def current(self, channel: str, symbol: str) -> bytes | None:
        with self.lock:
            return super().current(channel, symbol)


class Echo(SharedMarket):
    """The same market, of which nothing happens that did not happen there: its frames once more."""

    def __init__(self, market: SharedMarket) -> None:
        self.__dict__ = market.__dict__

    def publish(self, push: Push) -> Iterator[tuple[str, bytes]]:
        with self.lock:
            frames = list(self._trade_frames(push.symbol)) if push.channel == "trades" else [
                (push.channel, push.frame())
            ]  # fmt: skip
        yield from frames


class SharedServer(OkxServer):
    """Answers over REST while the market is told of elsewhere."""

    def _answer(self, request: Request) -> tuple[int, bytes]:
        assert isinstance(self.market, SharedMarket)
        with self.market.lock:
            return super()._answer(request)


class PairScene(Scene):
    """What happens is told by both servers; a fault is done to ``server``, one of them."""

    def __init__(self, servers: tuple[OkxServer, OkxServer], recordings: list[Recording], seed: int, count: int):
        super().__init__(servers[0], recordings[0], Random(seed), count)
        self.servers, self.recordings = servers, recordings
        # On the clock's time, unlike a scene of one recorder: what a recorder was there for is told by both.
        self._tape = iter(generate(SYMBOLS, count, self.rng, time.time_ns() // 10**6))

    def happen(self, *pushes: Push) -> None:
        afflicted = self.server
        for push in pushes:
            self.server = self.servers[0]
            super().happen(push)
            self.servers[1].push(push)
        self.server = afflicted

    @contextmanager
    def at(self, which: int) -> Iterator[None]:
        """Do faults to one of the servers, and its recorder."""
        self.server, self.recording = self.servers[which], self.recordings[which]
        yield
        self.server, self.recording = self.servers[0], self.recordings[0]


@contextmanager
def recorded_pair(home: Path, url: str, seed: int, count: int) -> Iterator[PairScene]:
    """A scene that two real recorders are subscribed to."""
    market = SharedMarket(map(instrument, SYMBOLS))
    with ExitStack() as stack:
        servers = (
            stack.enter_context(SharedServer(market)),
            stack.enter_context(SharedServer(Echo(market))),
        )
        recordings = []
        for number, server in enumerate(servers):
            place = home / str(number)
            place.mkdir()
            flags = ["--store", url, "--name", f"recorder-{number}"]
            recordings.append(stack.enter_context(recorder(place, server, *flags)))
        for server in servers:
            for wire in WIRES.values():
                for symbol in SYMBOLS:
                    server.wait_for("subscribe", channel=wire, symbol=symbol)
        scene = PairScene(servers, recordings, seed, count)
        scene.settle()
        settle(scene, url)
        yield scene


def runs(url: str) -> list[Run]:
    with closing(open_store(url, writable=False)) as store:
        return list(store.scan(KINDS["runs"]))


def settle(scene: PairScene, url: str) -> None:
    """Wait until both recorders have heard the last that happened, and have done what there was to do about it."""
    scene.settle()
    since = time.time_ns() + SETTLED_NS
    wait_until(lambda: all(run.heartbeat_at > since for run in runs(url)), "a sign of life of both recorders")
    wait_until(lambda: not any(gap["status"] == "open" for gap in rows(url, "gaps")), "every gap to be closed")


def check_union(scene: PairScene, url: str) -> None:
    """Every trade is stored once, with what the exchange said; every book that is stored was the exchange's."""
    market = scene.servers[0].market
    for symbol in SYMBOLS:
        truth = {row["tradeId"]: (row["px"], row["sz"], row["side"]) for row in market.trades[symbol]}
        stored = rows(url, "trades", symbol)
        assert [trade["trade_id"] for trade in stored] == sorted(truth, key=int)
        assert {trade["trade_id"]: (trade["price"], trade["size"], trade["side"]) for trade in stored} == truth
        gaps = [gap for gap in rows(url, "gaps", symbol) if gap["channel"] == "trades"]
        assert {gap["status"] for gap in gaps} <= {"filled", "absent_at_source"}, gaps
        assert scene.absent[symbol] & set(range(int(min(truth, key=int)), int(max(truth, key=int)))) <= ids(gaps)
        for book in rows(url, "orderbooks", symbol):
            assert (book["bids"], book["asks"]) == scene.sequences[symbol, book["sequence"]]
        for kind in CHANNELS:
            records = [str(row | {"received_at": None}) for row in rows(url, kind, symbol)]
            assert len(records) == len(set(records)), f"something is twice in {kind} of {symbol}"
