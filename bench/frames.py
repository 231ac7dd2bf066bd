"""Bytes in to exact records handed to a sink, continuity included: our session against cryptofeed's OKX handler.

Both get the same captured frames. Ours come as bytes, in batches, as the feed delivers them; the peer's come as text,
as its WebSocket library delivers them, so decoding UTF-8 costs it nothing here. Seconds are the processor's: either
side is one thread that never waits, and whatever else the machine does is left out. The frames are few enough to stay
in the processor's cache, where a frame is that has just left a socket, and pass many times.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from typing import Any

from bench.race import Figure, Skipped, race
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Frame, Opened, Tick
from cryptofeed_cli.session import Session, SessionOptions
from tests.captures import SYMBOLS, capture_tape
from tests.okx_market import Push, fill_row, write_frame

GOAL = 1.5
BATCH = 50
PASSES = {"trades": 4, "tickers": 10, "books": 1}
"""How many copies of the captured frames there are: some 300 frames of each channel."""
REPEATS = {"trades": 25, "tickers": 25, "books": 5}
"""How often they are gone through in a round, which takes some 50 ms and more."""

_OURS = {"trades": "trades", "tickers": "tickers", "books": "book_updates"}
_PEERS_SYMBOLS = {"BTC-USDT": "BTC-USDT", "UNI-USD-PERP": "UNI-USD-SWAP", "BTC-USD-22K27": "BTC-USD-220527"}

_Handler = Callable[[str, Any, float], Awaitable[None]]
_Callback = Callable[[Any, float], Awaitable[None]]


def figure(channel: str, *, rounds: int, quick: bool) -> Figure:
    """Race one of ``trades``, ``tickers`` and ``books``. Raises `Skipped`."""
    if not os.environ.get("CRYPTOFEED_CAPTURES"):
        raise Skipped("CRYPTOFEED_CAPTURES is not set: there are no real frames")
    if find_spec("cryptofeed") is None:
        raise Skipped("the peer is not installed: pip install '.[bench]', or make bench")
    pushes = list(_pushes(channel, 1 if quick else PASSES[channel]))
    ours = [_our_frame(push) for push in pushes]
    theirs = [push.frame().decode() for push in pushes]
    _check(channel, ours, theirs)
    handler = _handler(channel, _nothing)
    repeats = 1 if quick else REPEATS[channel]
    return race(
        f"{channel}: frame to record", "frames",
        lambda _: sum(_run_ours(_session(channel, deque(maxlen=1).append), ours) for _ in range(repeats)),
        lambda _: sum(asyncio.run(_run_theirs(handler, theirs)) for _ in range(repeats)),
        amount=len(pushes) * repeats, rounds=rounds, goal=GOAL,
    )  # fmt: skip


def _pushes(channel: str, passes: int) -> Iterator[Push]:
    """Yield the captured pushes, again and again: trade ids go on, and a book begins anew with its snapshot."""
    captured = [push for push in capture_tape() if push.channel == channel]
    ids: dict[str, int] = {}
    for _ in range(passes):
        for push in captured:
            if channel == "trades":
                number = ids.get(push.symbol, int(push.row["tradeId"]) - 1) + 1
                ids[push.symbol] = number
                yield push._replace(row=fill_row({**push.row, "tradeId": str(number)}))
            else:
                yield push


def _our_frame(push: Push) -> bytes:
    # We subscribe to single fills; the peer subscribes to the channel that folds them together.
    channel = "trades-all" if push.channel == "trades" else push.channel
    return write_frame(channel, push.symbol, push.row, push.action)


def _check(channel: str, ours: list[bytes], theirs: list[str]) -> None:
    """Hold that both sides understand every frame, and that ours finds no hole."""
    records: list[Any] = []
    session = _session(channel, records.append)
    _run_ours(session, ours)
    if len(records) != len(ours) or session.rejects.count or session.ledger.opened:
        raise AssertionError(f"{channel}: {len(records)} records of {len(ours)} frames, some of them rejects or gaps")
    calls = 0

    async def count(_record: Any, _received: float) -> None:
        nonlocal calls
        calls += 1

    asyncio.run(_run_theirs(_handler(channel, count), theirs))
    if calls != len(theirs):
        raise AssertionError(f"{channel}: the peer understood {calls} of {len(theirs)} frames")


def _session(channel: str, sink: Callable[[Any], object]) -> Session:
    session = Session(Okx(), SessionOptions("bench", SYMBOLS, (_OURS[channel],)), sink)
    session.start(Tick(1, 1))
    session.handle(Opened(connection.number, 1, 1) for connection in session.connections)
    return session


def _run_ours(session: Session, frames: list[bytes]) -> float:
    number = session.connections[0].number
    begin = time.thread_time()
    for place in range(0, len(frames), BATCH):
        session.handle([Frame(number, data, 1, 1) for data in frames[place : place + BATCH]])
    return time.thread_time() - begin


async def _run_theirs(handle: _Handler, frames: list[str]) -> float:
    begin = time.thread_time()
    for text in frames:
        await handle(text, None, 1.0)
    return time.thread_time() - begin


def _handler(channel: str, callback: _Callback) -> _Handler:
    from cryptofeed.defines import L2_BOOK, TICKER, TRADES
    from cryptofeed.exchanges import OKX
    from cryptofeed.symbols import Symbols

    Symbols.set("OKX", _PEERS_SYMBOLS, {"instrument_type": {}})  # else it asks the exchange for them
    theirs = {"trades": TRADES, "tickers": TICKER, "books": L2_BOOK}[channel]
    feed = OKX(symbols=["BTC-USDT"], channels=[theirs], callbacks={theirs: callback})
    handler: _Handler = feed.message_handler
    return handler


async def _nothing(_record: Any, _received: float) -> None:
    pass
