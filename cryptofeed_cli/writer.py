"""Batches of records into a store, in a thread of its own, in order; knows no exchange.

The queue holds a few batches. When it is full whoever submits keeps what it has, frames then wait in the feed's queue,
and nothing is dropped. A store that does not answer is asked again, ever more patiently, for as long as the recording
runs.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, Full, Queue

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)
from tenacity.nap import sleep_using_event

from cryptofeed_cli.errors import CryptofeedError, StoreError, StoreUnreachable, ThreadDied
from cryptofeed_cli.stores.base import Store, Written
from cryptofeed_cli.types import KIND_OF, Record, Run

LOG = logging.getLogger(__name__)

QUEUED_BATCHES = 8
_POLL = 0.1
_THREAD = "writer"


class Writer:
    """Writes what is submitted. Any error but a store that does not answer ends it; see `raise_if_failed`.

    Used by one thread. What is public is replaced and never changed, so it may be read at any time.
    """

    def __init__(self, store: Store) -> None:
        self.stored: Mapping[str, Mapping[str, int]] = {}
        """Records made durable since the start, by symbol and kind, duplicates included."""
        self.written = Written()
        """What became of them all, the runs' own records left out: they tell of a recording, and are none of it."""
        self._store = store
        self._batches: Queue[Sequence[Record]] = Queue(QUEUED_BATCHES)
        self._rest: Sequence[Sequence[Record]] = ()
        self._last: Callable[[], Record] | None = None
        self._taken = self._settled = 0
        self._closing = threading.Event()
        self._hurry = threading.Event()
        self._failure: CryptofeedError | None = None
        self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
        self._thread.start()

    def submit(self, batch: Sequence[Record], timeout: float) -> bool:
        """Hand over a batch; return False where the queue stays full for ``timeout`` seconds.

        Raises what ended the thread, if something did.
        """
        self.raise_if_failed()
        try:
            self._batches.put(batch, timeout=timeout)
        except Full:
            return False
        self._taken += len(batch)
        return True

    def raise_if_failed(self) -> None:
        """Raise what ended the thread, if something did: a `StoreError` or `ThreadDied`."""
        if self._failure is not None:
            raise self._failure

    def close(self, rest: Sequence[Sequence[Record]], patience: float, last: Callable[[], Record]) -> None:
        """Write what is queued, then the batches of ``rest``, then what ``last`` returns, and end.

        A store that takes nothing for ``patience`` seconds is given up; how many records it did not take is logged.
        Raises what ended the thread, or `StoreUnreachable` where nothing can end it.
        """
        self._taken += sum(map(len, rest))
        self._rest, self._last = rest, last
        self._closing.set()
        settled = -1
        while self._thread.is_alive() and settled != self._settled:
            settled = self._settled
            self._thread.join(patience)
        self._hurry.set()
        self._thread.join(patience)
        if self._taken > self._settled:
            LOG.error("%d records were not stored", self._taken - self._settled)
        self.raise_if_failed()
        if self._thread.is_alive():
            raise StoreUnreachable(self._store.url, f"did not answer within {2 * patience:g} s")

    def _run(self) -> None:
        try:
            while not (self._closing.is_set() and self._batches.empty()):
                try:
                    batch = self._batches.get(timeout=_POLL)
                except Empty:
                    continue
                self._write(batch)
            for batch in self._rest:
                self._write(batch)
            if self._last is not None:
                self._put([self._last()])
        except StoreError as exc:
            self._failure = exc
        except BaseException as exc:  # whoever submits next must hear of it, whatever it is
            self._failure = ThreadDied(_THREAD, exc)

    def _write(self, batch: Sequence[Record]) -> None:
        written, before = self._put(batch), self.written
        runs = sum(type(record) is Run for record in batch)
        self.written = Written(
            before.inserted + written.inserted - runs,
            before.duplicates + written.duplicates,
            before.conflicts + written.conflicts,
        )
        stored = dict(self.stored)
        for (of, symbol), count in Counter((type(one), getattr(one, "symbol", None)) for one in batch).items():
            if symbol is not None:
                kinds, kind = stored.get(symbol, {}), KIND_OF[of].name
                stored[symbol] = {**kinds, kind: kinds.get(kind, 0) + count}
        self.stored = stored
        self._settled += len(batch)

    def _put(self, batch: Sequence[Record]) -> Written:
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnreachable),
            wait=wait_exponential(multiplier=0.2, max=5) + wait_random(0, 0.2),
            stop=stop_when_event_set(self._hurry),
            sleep=sleep_using_event(self._hurry),
            before_sleep=_say,
            reraise=True,
        )
        written = retrying(self._store.write, batch)
        if retrying.statistics["attempt_number"] > 1:
            LOG.info("store %s answers again", self._store.url)
        return written


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    LOG.log(logging.WARNING if state.attempt_number == 1 else logging.DEBUG, "%s; trying again", error)
