"""The store asked, beside a feed, for trades that were missed: another recorder may have them; knows no exchange.

A feed like any other to whoever drives the session. A thread of its own asks over a connection of its own, which is
made when the first hole is to be looked up, so that the recorder's writes wait for nothing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from cryptofeed_cli.clock import SECOND, Clock
from cryptofeed_cli.errors import StoreError
from cryptofeed_cli.feeds.base import Action, Died, Event, Feed, LookedUp, Lookup
from cryptofeed_cli.ids import missing_ranges
from cryptofeed_cli.stores.base import Series, Store

RESPITE = 10 * SECOND
"""So long a store that did not answer is not asked again: each question would take until its time is over."""
_THREAD = "lookups"


class Lookups:
    """A feed that performs `Lookup` too. Used by one thread."""

    def __init__(
        self, feed: Feed, open_store: Callable[[], Store], exchange: str, clock: Clock, *, respite: int = RESPITE
    ) -> None:
        """``open_store`` opens the store to read it; one that did not answer is left alone for ``respite``."""
        self._respite = respite
        self._feed, self._open, self._exchange, self._clock = feed, open_store, exchange, clock
        self._asked: queue.SimpleQueue[Lookup | None] = queue.SimpleQueue()
        """Bounded by whoever asks: a few questions are on their way at a time."""
        self._found: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def take(self, timeout: float) -> list[Event]:
        """Return all waiting events in order, and what was looked up meanwhile."""
        events = self._feed.take(timeout)
        while not self._found.empty():
            events.append(self._found.get())
        return events

    def perform(self, action: Action) -> None:
        """Start an action; never blocks."""
        if not isinstance(action, Lookup):
            self._feed.perform(action)
            return
        self._asked.put(action)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Close the feed, and stop asking soon."""
        self._asked.put(None)
        self._feed.close()

    def _run(self) -> None:
        store: Store | None = None
        failed: int | None = None
        try:
            while (lookup := self._asked.get()) is not None:
                missing = None
                try:
                    if failed is None or self._clock.monotonic() - failed >= self._respite:
                        store = store or self._open()
                        missing = self._missing(store, lookup)
                        failed = None
                except StoreError:  # the recorder's own writes meet the same, and tell of it
                    failed = self._clock.monotonic()
                    if store is not None:
                        store.close()
                        store = None
                self._found.put(LookedUp(lookup.request_id, self._clock.now(), self._clock.monotonic(), missing))
        except BaseException as exc:  # the session must hear of it, whatever it is
            self._found.put(Died(_THREAD, self._clock.now(), self._clock.monotonic(), exc))
        finally:
            if store is not None:
                store.close()

    def _missing(self, store: Store, lookup: Lookup) -> list[tuple[int, int]]:
        held = store.trade_ids(Series(self._exchange, lookup.symbol), lookup.first, lookup.last)
        return list(missing_ranges(lookup.first, lookup.last, held))
