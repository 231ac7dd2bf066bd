"""The thread that alone touches the store: batches as they come, or first what waits in the outbox; parses nothing.

A store that does not answer is asked again, ever more patiently, for as long as the recording runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event as Flag
from typing import TypeVar

from cryptofeed_cli.clock import MINUTE, SECOND, Clock
from cryptofeed_cli.errors import OutboxRefused, StoreUnreachable
from cryptofeed_cli.feeds.pacing import Backoff
from cryptofeed_cli.parcels import Parcel, Parcels
from cryptofeed_cli.stores.base import Store, Written
from cryptofeed_cli.stores.recorder_outbox import RecorderOutbox
from cryptofeed_cli.types import Record

LOG = logging.getLogger(__name__)

MOST_RECORDS = 10_000
MOST_BYTES = 2 << 20
"""How much out of the outbox is written into the store at once, before compression: small batches together are fast."""
CLOCK_EVERY = 10 * MINUTE
"""How often the store's clock is asked for."""
OPEN_EVERY = 10 * SECOND
"""How often it is tried to open an outbox that had no room to be."""
_LOOK_EVERY = 1.0

Outcome = TypeVar("Outcome")


class Deliverer:
    """Runs in a thread of its own until ``stop`` is set."""

    def __init__(
        self,
        parcels: Parcels,
        store: Store,
        outbox: RecorderOutbox,
        *,
        clock: Clock,
        backoff: Backoff,
        stop: Flag,
        stored: Callable[[Sequence[Record], Written], object],
        greet: Callable[[Store], object] | None,
        away: str | None,
    ) -> None:
        """``stored`` is told what became of every batch of this run.

        ``greet`` is called with the store when it has everything that earlier runs left, and nothing of this one.
        """
        self._parcels, self._store, self._outbox = parcels, store, outbox
        self._clock, self._backoff, self._stop = clock, backoff, stop
        self._stored, self._greet = stored, greet
        self.away = away
        """Why the store takes nothing; None: it does, as far as is known."""
        self.clock_offset = 0
        """The store's clock minus ours, in nanoseconds; 0 where the difference is smaller than asking takes."""
        self._clock_due = self._open_due = clock.monotonic()
        if away or outbox.backlog.records:
            parcels.spool()

    def run(self) -> None:
        """Do the work. Raises a `StoreError` or `OutboxError` that does not pass."""
        while (task := self._next()) is not None:
            task()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None: it is over."""
        parcels = self._parcels
        with parcels.changed:
            while not self._stop.is_set():
                task = self._task()
                if task is not None:
                    return task
                parcels.changed.wait(_LOOK_EVERY)
        return None

    def _task(self) -> Callable[[], None] | None:
        parcels = self._parcels
        if self._clock.monotonic() >= self._clock_due:
            return self._compare_clocks
        if not self._outbox.is_open and self._clock.monotonic() >= self._open_due:
            return self._reopen
        if self._greet is not None and not self._outbox.inherits:
            return self._meet
        if parcels.copying is not None and parcels.copying.stored:
            return None  # its copy goes at once, and must not be found here
        if self._outbox.backlog.records:
            return self._drain
        if parcels.copying is None:
            if parcels.spooling and self.away is None:
                parcels.spooling = False
                parcels.changed.notify_all()
            if parcels.waiting and (not parcels.spooling or parcels.refusal is not None):
                parcel = parcels.waiting[0]
                return lambda: self._deliver(parcel)
        return None

    def _compare_clocks(self) -> None:
        self._clock_due = self._clock.monotonic() + CLOCK_EVERY
        before = self._clock.now()
        told = self._attempt(self._store.now)
        after = self._clock.now()
        if told is not None:
            self.clock_offset = 0 if before <= told <= after else told - (before + after) // 2

    def _reopen(self) -> None:
        self._open_due = self._clock.monotonic() + OPEN_EVERY
        with suppress(OutboxRefused):  # said when it was first refused
            self._outbox.reopen()

    def _meet(self) -> None:
        greet = self._greet
        if greet is not None and self._attempt(lambda: (greet(self._store),)) is not None:
            self._greet = None

    def _deliver(self, parcel: Parcel) -> None:
        written = self._attempt(lambda: self._store.write(parcel.records))
        if written is None:
            return
        with self._parcels.changed:
            parcel.stored = True
            self._parcels.settle(parcel)
            copy = parcel.copy
        self._stored(parcel.records, written)
        if copy is not None:
            with suppress(OutboxRefused):  # else it is written once more, and known by then
                self._outbox.discard(copy)

    def _drain(self) -> None:
        try:
            batch = self._outbox.peek(MOST_RECORDS, MOST_BYTES)
        except OutboxRefused as exc:
            LOG.debug("%s; trying again", exc)
            self._stop.wait(self._backoff.next() / SECOND)
            return
        if batch is None:
            return
        written = self._attempt(lambda: self._store.write(batch.records))
        if written is None:
            return
        while not self._removed(batch.number):
            if self._stop.wait(self._backoff.next() / SECOND):
                return
        if not batch.inherited:
            self._stored(batch.records, written)
        with self._parcels.changed:
            self._parcels.changed.notify_all()

    def _removed(self, number: int) -> bool:
        try:
            self._outbox.remove(number)
        except OutboxRefused as exc:
            LOG.debug("%s; trying again", exc)
            return False
        return True

    def _attempt(self, act: Callable[[], Outcome]) -> Outcome | None:
        """Do something with the store. Where it does not answer: say so, let the outbox take over, wait; None."""
        try:
            outcome = act()
        except StoreUnreachable as exc:
            LOG.log(logging.DEBUG if self.away else logging.WARNING, "%s; recording into the outbox", exc)
            self.away = exc.reason
            self._parcels.spool()
            self._stop.wait(self._backoff.next() / SECOND)
            return None
        if self.away:
            waiting = self._outbox.backlog.records
            LOG.info("store %s answers again; %s records wait in the outbox", self._store.url, f"{waiting:,}")
        self.away = None
        self._backoff.reset()
        return outcome
