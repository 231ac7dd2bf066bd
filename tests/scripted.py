"""Parts of a recording that do as they are told: a store, a feed and a clock; for what real ones do too rarely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptofeed_cli.clock import MILLISECOND, SECOND
from cryptofeed_cli.errors import OutboxRefused
from cryptofeed_cli.feeds.base import Action, Connect, Event, Frame
from cryptofeed_cli.stores.base import Store, Tally, Written
from cryptofeed_cli.stores.outbox import Backlog, Batch
from cryptofeed_cli.types import Record
from tests.okx_market import write_frame
from tests.stores.records import NOON

Script = Iterator[Sequence[Event]]


class ScriptedStore(Store):
    """Keeps what it is given, in order and without looking at it."""

    url = "scripted:"

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.attempts = 0
        self.error: Exception | None = None
        """What every write ends in while it is set."""
        self.delay = 0.0
        """Seconds that a write takes."""
        self.answering = threading.Event()
        """While it is not set, a write hangs."""
        self.answering.set()
        self.clock: Callable[[], int] = time.time_ns

    def write(self, records: Sequence[Record]) -> Written:
        self.attempts += 1
        self.answering.wait()
        time.sleep(self.delay)
        if self.error is not None:
            raise self.error
        self.records += records
        return Written(inserted=len(records))

    def now(self) -> int:
        return self.clock()

    def scan(self, *_: Any, **__: Any) -> Iterator[Any]:
        return iter(())

    def series(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def tally(self, *_: Any, **__: Any) -> Tally:
        raise NotImplementedError

    def trade_ids(self, *_: Any, **__: Any) -> Iterator[int]:
        return iter(())

    def remove(self, *_: Any, **__: Any) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self.answering.set()


class MemoryOutbox:
    """Keeps batches in order, durable nowhere; takes none while it is ``full``."""

    path = Path("scripted.outbox")
    is_open = True

    def __init__(self) -> None:
        self.batches: dict[int, list[Record]] = {}
        self.backlog = Backlog()
        self.inherits = False
        self.full = False
        self._number = 0
        self._lock = threading.Lock()

    def append(self, records: Sequence[Record], _: int) -> int:
        if self.full:
            raise OutboxRefused("scripted.outbox", "the disk is full; make room")
        with self._lock:
            self._number += 1
            self.batches[self._number] = list(records)
            self._look()
            return self._number

    def peek(self, *_: int) -> Batch | None:
        with self._lock:
            return next((Batch(number, records, False) for number, records in self.batches.items()), None)

    def remove(self, number: int) -> None:
        with self._lock:
            self.batches = {at: batch for at, batch in self.batches.items() if at > number}
            self._look()

    def discard(self, number: int) -> None:
        with self._lock:
            self.batches.pop(number, None)
            self._look()

    def _look(self) -> None:
        count = sum(map(len, self.batches.values()))
        self.backlog = Backlog(count, count, NOON if count else None, "scripted:")


class ManualClock:
    """Stands still until it is advanced. Its two clocks run together, from different starts."""

    def __init__(self) -> None:
        self.elapsed = 0

    def now(self) -> int:
        return NOON * MILLISECOND + self.elapsed

    def monotonic(self) -> int:
        return 7 * SECOND + self.elapsed

    def advance(self, nanoseconds: int) -> None:
        self.elapsed += nanoseconds


class ScriptedFeed:
    """Plays a script: every `take` lasts as long as it may and brings what the script yields next.

    At the end of the script the recording is stopped. ``queued`` is what is there to take after it was closed.
    """

    def __init__(self, clock: Any, stop: threading.Event, queued: Sequence[Event] = ()) -> None:
        self.actions: list[Action] = []
        self.taken = 0
        self.closed = False
        self._stop = stop
        self._queued = list(queued)
        self._script: Script = iter(())
        self._pass_time: Callable[[float], object] = lambda _: None
        if isinstance(clock, ManualClock):
            self._pass_time = lambda seconds: clock.advance(int(seconds * SECOND))

    def play(self, script: Script) -> None:
        self._script = script

    def take(self, timeout: float) -> list[Event]:
        if self.closed:
            queued, self._queued = self._queued, []
            return queued
        self.taken += 1
        self._pass_time(timeout)
        try:
            return list(next(self._script))
        except StopIteration:
            self._stop.set()
            return []

    def perform(self, action: Action) -> None:
        self.actions.append(action)

    def close(self) -> None:
        self.closed = True

    def connections(self) -> dict[str, int]:
        """Which connection was asked for at each endpoint."""
        return {action.endpoint: action.connection for action in self.actions if isinstance(action, Connect)}


def trade_frame(connection: int, trade_id: int, clock: Any, symbol: str = "BTC-USDT", price: str = "100.5") -> Frame:
    """Return the frame of one trade, of this moment."""
    row = {
        "instId": symbol, "tradeId": str(trade_id), "px": price, "sz": "1", "side": "buy", "source": "0",
        "ts": str(clock.now() // MILLISECOND),
    }  # fmt: skip
    return Frame(connection, write_frame("trades-all", symbol, row), clock.now(), clock.monotonic())
