"""Batches of records into a store, in a thread of its own, in order; knows no exchange.

The queue holds a few batches. When it is full whoever submits waits, frames then wait in the feed's queue, and nothing
is dropped. A store that does not answer is asked again, ever more patiently, for as long as the recording runs.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, Full, Queue

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set, wait_exponential_jitter
from tenacity.nap import sleep_using_event

from cryptofeed_cli.errors import StoreUnreachable
from cryptofeed_cli.stores.base import Store, Written
from cryptofeed_cli.types import KIND_OF, Record

LOG = logging.getLogger(__name__)

QUEUED_BATCHES = 8
_POLL = 0.1


class Writer:
    """Writes what is submitted. Any error but a store that does not answer ends it; see `raise_if_failed`."""

    def __init__(self, store: Store) -> None:
        self.stored: Counter[tuple[str, str | None]] = Counter()
        """Records made durable since the start, by kind and symbol, duplicates included."""
        self.written = Written()
        self._store = store
        self._batches: Queue[Sequence[Record]] = Queue(QUEUED_BATCHES)
        self._closing = threading.Event()
        self._hurry = threading.Event()
        self._failure: BaseException | None = None
        self._last: Callable[[], Record] | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Sequence[Record]) -> None:
        """Hand over a batch; wait while the queue is full. Raises what ended the thread, if something did."""
        while True:
            self.raise_if_failed()
            try:
                self._batches.put(batch, timeout=_POLL)
            except Full:
                continue
            return

    def raise_if_failed(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def close(self, patience: float, last: Callable[[], Record]) -> None:
        """Write what is queued, then what ``last`` returns, and end.

        A store that has not answered after ``patience`` seconds is given up.
        """
        self._last = last
        self._closing.set()
        self._thread.join(patience)
        self._hurry.set()
        self._thread.join()
        if self._batches.qsize():
            LOG.error("%d records were not stored", sum(map(len, self._batches.queue)))
        self.raise_if_failed()

    def _run(self) -> None:
        try:
            while not (self._closing.is_set() and self._batches.empty()):
                with suppress(Empty):
                    self._write(self._batches.get(timeout=_POLL))
            if self._last is not None:
                self._write([self._last()])
        except BaseException as exc:  # whoever submits next must hear of it, whatever it is
            self._failure = exc

    def _write(self, batch: Sequence[Record]) -> None:
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnreachable),
            wait=wait_exponential_jitter(initial=0.2, max=5),
            stop=stop_when_event_set(self._hurry),
            sleep=sleep_using_event(self._hurry),
            before_sleep=_say,
            reraise=True,
        )
        written = retrying(self._store.write, batch)
        self.written = Written(
            self.written.inserted + written.inserted,
            self.written.duplicates + written.duplicates,
            self.written.conflicts + written.conflicts,
        )
        self.stored.update((KIND_OF[type(record)].name, getattr(record, "symbol", None)) for record in batch)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    LOG.log(logging.WARNING if state.attempt_number == 1 else logging.DEBUG, "%s; trying again", error)
