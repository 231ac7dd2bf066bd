"""REST requests, a few at a time, each worker in a thread of its own; knows nothing of what is asked.

Every `Fetch` ends in an `Answer`, unless the fetcher is closed first. Answers come in any order.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence

from cryptofeed_cli.clock import Clock
from cryptofeed_cli.errors import DialFailed, RequestFailed
from cryptofeed_cli.feeds.base import Answer, Died, Fetch
from cryptofeed_cli.feeds.buffer import EventBuffer
from cryptofeed_cli.network import explain
from cryptofeed_cli.rest import Rest, is_elsewhere

MAX_WAITING = 1000
MAX_WORKERS = 8
"""Answers take a tenth of a second and more to come: one at a time would not use what the exchange allows."""
_THREAD = "feed-rest"


class Fetcher:
    """Workers that ask the first of several equal REST interfaces until it fails, then the next one, and so on."""

    def __init__(
        self,
        make_rests: Callable[[], Sequence[Rest]],
        events: EventBuffer,
        clock: Clock,
        announced_header: str,
    ) -> None:
        """``make_rests`` makes the interfaces of one worker, since a connection serves one thread."""
        self._make_rests = make_rests
        self._first_rests: Sequence[Rest] | None = make_rests()
        """Made at once, so that an address that cannot be is refused at once."""
        self._events = events
        self._clock = clock
        self._announced_header = announced_header
        self._waiting: queue.Queue[Fetch | None] = queue.Queue(MAX_WAITING)
        self._idle = threading.Semaphore(0)
        self._closed = threading.Event()
        self._rests: list[Rest] = []
        self.threads: list[threading.Thread] = []

    def fetch(self, action: Fetch) -> None:
        """Ask soon; never blocks. Used by one thread."""
        try:
            self._waiting.put_nowait(action)
        except queue.Full:
            self._events.put_now(self._failure(action, f"{MAX_WAITING} requests are waiting already"))
            return
        if not self._idle.acquire(blocking=False) and len(self.threads) < MAX_WORKERS:
            rests, self._first_rests = self._first_rests or self._make_rests(), None
            self._rests += rests
            thread = threading.Thread(target=self._run, args=(rests,), name=_THREAD, daemon=True)
            self.threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop soon."""
        self._closed.set()
        for rest in self._rests:
            rest.close()
        for _ in self.threads:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(None)

    def _run(self, rests: Sequence[Rest]) -> None:
        turn = 0
        try:
            while (action := self._waiting.get()) is not None and not self._closed.is_set():
                if rests:
                    answer = self._ask(rests[turn % len(rests)], action)
                    turn += answer.status is None or is_elsewhere(answer.status)
                else:
                    answer = self._failure(action, "no REST address is configured")
                self._events.put(answer, len(answer.body), self._closed.is_set)
                self._idle.release()
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
