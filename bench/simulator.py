"""How fast a made-up market is made: orders matched, with all trades, tickers and books that come of them.

Nobody else does the like, so the figures stand alone: orders a second on one core, handed to a sink as the market's own
records, as frames, and as the records of a session that heard those frames. Seconds are the processor's.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Any

from bench.race import Rate
from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.simulated import SimulatedFeed
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.simulation.draws import generator
from cryptofeed_cli.simulator import make_plan

GOAL = 100_000
SYMBOLS = ("BTC-USDT-SWAP", "ETH-USDT")
RATE = 4_000
"""Orders a second of market time: a busy market, as in a load test."""
SECONDS = 10
_START = 1_795_000_000 * SECOND
_CHANNELS = {"public": ("tickers", "books"), "business": ("trades-all",)}

Side = Callable[[int, int], tuple[float, int]]
"""Given a seed and seconds of market time: seconds that it took, and orders."""


def figures(*, rounds: int, quick: bool) -> list[Rate]:
    """Run all three, in turns."""
    sides: dict[str, Side] = {"records": _to_records, "frames": _to_frames, "session": _to_session}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            gc.collect()
            took, orders = side(number, 1 if quick else SECONDS)
            rates[name].append(orders / took)
    return [Rate(f"simulator: {name}", "orders", median(found), GOAL) for name, found in rates.items()]


def _to_records(seed: int, seconds: int) -> tuple[float, int]:
    stage = make_plan(SYMBOLS, seed=seed, start=_START, rate=RATE).stage(Okx())
    sink: deque[Any] = deque(maxlen=1)
    begin = time.thread_time()
    for _ in range(100 * seconds):
        sink += stage.market.step()
    return time.thread_time() - begin, stage.market.orders


def _to_frames(seed: int, seconds: int) -> tuple[float, int]:
    stage = make_plan(SYMBOLS, seed=seed, start=_START, rate=RATE).stage(Okx())
    for endpoint, channels in _CHANNELS.items():
        topics = [Topic(channel, symbol) for channel in channels for symbol in SYMBOLS]
        stage.desk(endpoint).receive(Okx().subscribe(topics, "1"))
    sink: deque[Any] = deque(maxlen=1)
    begin = time.thread_time()
    for _ in range(100 * seconds):
        sink += stage.advance()
    return time.thread_time() - begin, stage.market.orders


def _to_session(seed: int, seconds: int) -> tuple[float, int]:
    stage = make_plan(SYMBOLS, seed=seed, start=_START, rate=RATE).stage(Okx())
    feed = SimulatedFeed(stage, generator(seed))
    sink: deque[Any] = deque(maxlen=1)
    session = Session(Okx(), SessionOptions("bench", SYMBOLS, ("trades", "tickers", "book_updates")), sink.append)
    session.start(feed.now)
    begin = time.thread_time()
    while feed.elapsed < seconds * SECOND:
        session.handle(feed.take(0))
        while session.actions:
            feed.perform(session.actions.popleft())
    return time.thread_time() - begin, stage.market.orders
