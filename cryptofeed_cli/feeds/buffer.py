"""The one queue between the feed's threads and whoever takes its events; knows nothing of sockets.

Bounded by bytes and by count. When it is full the producer waits, so TCP pushes back and the exchange, not we, decides
what to drop: it closes the socket, and that is seen and recorded. Nothing is ever dropped here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from cryptofeed_cli.feeds.base import Event

EVENT_BYTES = 128
"""What an event weighs besides its data."""


class Depth(msgspec.Struct, frozen=True):
    """How full the buffer is, how full it ever was, and how often a producer had to wait for room."""

    events: int
    bytes: int
    most_events: int
    most_bytes: int
    waits: int


class EventBuffer:
    """Events in order, from many threads to one."""

    def __init__(self, max_bytes: int, max_events: int) -> None:
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._events: list[Event] = []
        self._bytes = self._most_events = self._most_bytes = self._waits = 0
        self._closed = False

    def put(self, event: Event, size: int, given_up: Callable[[], bool]) -> bool:
        """Add an event with ``size`` bytes of data, waiting for room; return False when ``given_up()`` came first."""
        with self._lock:
            if self._full():
                self._waits += 1
                self._emptied.wait_for(lambda: self._closed or given_up() or not self._full())
            if self._closed or given_up():
                return False
            self._add(event, size)
            return True

    def put_now(self, event: Event, size: int = 0) -> None:
        """Add an event even above the bounds: for what the taker itself causes, since it cannot wait for itself."""
        with self._lock:
            if not self._closed:
                self._add(event, size)

    def take(self, timeout: float) -> list[Event]:
        """Return all events in order; wait at most ``timeout`` seconds for the first."""
        with self._lock:
            if not self._events:
                self._filled.wait_for(lambda: self._events or self._closed, timeout)
            events, self._events = self._events, []
            self._bytes = 0
            self._emptied.notify_all()
            return events

    def recheck(self) -> None:
        """Make every waiting producer ask ``given_up`` again; on return none that has given up adds anything."""
        with self._lock:
            self._emptied.notify_all()

    def depth(self) -> Depth:
        """Return the counters."""
        with self._lock:
            return Depth(len(self._events), self._bytes, self._most_events, self._most_bytes, self._waits)

    def close(self) -> None:
        """Take nothing more, and wake everybody."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._emptied.notify_all()

    def _full(self) -> bool:
        return self._bytes >= self._max_bytes or len(self._events) >= self._max_events

    def _add(self, event: Event, size: int) -> None:
        self._events.append(event)
        self._bytes += size + EVENT_BYTES
        self._most_events = max(self._most_events, len(self._events))
        self._most_bytes = max(self._most_bytes, self._bytes)
        if len(self._events) == 1:
            self._filled.notify()
