"""REST requests, one after the other in a thread of their own; knows nothing of what is asked.

Every `Fetch` ends in an `Answer`, unless the fetcher is closed first.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Sequence

from cryptofeed_cli.clock import Clock
from cryptofeed_cli.errors import DialFailed, RequestFailed
from cryptofeed_cli.feeds.base import Answer, Died, Fetch
from cryptofeed_cli.feeds.buffer import EventBuffer
from cryptofeed_cli.network import explain
from cryptofeed_cli.rest import Rest

MAX_WAITING = 1000
_THREAD = "feed-rest"


class Fetcher:
    """Asks the first of several equal REST interfaces until it fails, then the next one, and so on in turn."""

    def __init__(self, rests: Sequence[Rest], events: EventBuffer, clock: Clock, announced_header: str) -> None:
        self._rests = rests
        self._events = events
        self._clock = clock
        self._announced_header = announced_header
        self._waiting: queue.Queue[Fetch | None] = queue.Queue(MAX_WAITING)
        self._closed = threading.Event()
        self.thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
        self.thread.start()

    def fetch(self, action: Fetch) -> None:
        """Ask soon; never blocks."""
        if not self._rests:
            self._events.put_now(self._failure(action, "no REST address is configured"))
            return
        try:
            self._waiting.put_nowait(action)
        except queue.Full:
            self._events.put_now(self._failure(action, f"{MAX_WAITING} requests are waiting already"))

    def close(self) -> None:
        """Stop soon."""
        self._closed.set()
        for rest in self._rests:
            rest.close()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def _run(self) -> None:
        turn = 0
        try:
            while (action := self._waiting.get()) is not None and not self._closed.is_set():
                answer = self._ask(self._rests[turn % len(self._rests)], action)
                turn += answer.error is not None
                self._events.put(answer, len(answer.body), self._closed.is_set)
        except BaseException as exc:  # the session must hear of it, whatever it is
            self._events.put_now(Died(_THREAD, self._clock.now(), self._clock.monotonic(), exc))

    def _ask(self, rest: Rest, action: Fetch) -> Answer:
        try:
            response = rest.get(action.path)
        except (DialFailed, RequestFailed) as exc:
            return self._failure(action, explain(exc))
        announced = response.headers.get(self._announced_header)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        return Answer(action.request_id, now, monotonic, response.status, response.body, announced=announced)

    def _failure(self, action: Fetch, error: str) -> Answer:
        return Answer(action.request_id, self._clock.now(), self._clock.monotonic(), None, b"", error)
