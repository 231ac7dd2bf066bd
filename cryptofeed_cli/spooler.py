"""The thread that writes into the outbox what the store does not take in time; touches no store.

While the store answers in time it sleeps, and nothing is written to disk twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from threading import Event as Flag

from cryptofeed_cli.clock import MINUTE, SECOND, Clock, format_duration
from cryptofeed_cli.errors import OutboxRefused
from cryptofeed_cli.feeds.pacing import Backoff
from cryptofeed_cli.parcels import Parcel, Parcels, Refusal
from cryptofeed_cli.stores.recorder_outbox import RecorderOutbox

LOG = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
"""Seconds after which a sleeping thread looks around, whatever it was told."""
_SAID_EVERY = MINUTE


class Spooler:
    """Runs in a thread of its own until ``stop`` is set."""

    def __init__(
        self,
        parcels: Parcels,
        outbox: RecorderOutbox,
        *,
        clock: Clock,
        patience: int,
        backoff: Backoff,
        stop: Flag,
        kept: Callable[[Parcel], object],
    ) -> None:
        """The store has ``patience`` nanoseconds for each batch; ``kept`` is told of each that is in the outbox."""
        self._parcels, self._outbox = parcels, outbox
        self._clock, self._patience, self._backoff, self._stop = clock, patience, backoff, stop
        self._kept = kept
        self.trouble: str | None = None
        """Why the outbox took nothing, when it last did not."""
        self._said = clock.monotonic() - _SAID_EVERY

    def run(self) -> None:
        """Do the work. Raises an `OutboxError` that does not pass."""
        while (parcel := self._next()) is not None:
            try:
                number = self._outbox.append(parcel.records, parcel.at)
            except OutboxRefused as exc:
                self._refused(exc)
            else:
                self._backoff.reset()
                self._copied(parcel, number)

    def _next(self) -> Parcel | None:
        """Wait for a batch that is due, and take it in hand; None: it is over."""
        parcels = self._parcels
        with parcels.changed:
            while not self._stop.is_set():
                wait = self._due_in()
                if wait <= 0:
                    if not parcels.spooling:
                        self._say()
                        parcels.spooling = True
                    parcels.copying = parcels.waiting[0]
                    return parcels.copying
                parcels.changed.wait(min(wait / SECOND, _LOOK_EVERY))
        return None

    def _due_in(self) -> int:
        waiting = self._parcels.waiting
        if not waiting:
            return MINUTE
        return 0 if self._parcels.spooling else waiting[0].monotonic + self._patience - self._clock.monotonic()

    def _copied(self, parcel: Parcel, number: int) -> None:
        with self._parcels.changed:
            self._parcels.copying = None
            parcel.copy = number
            settled = self._parcels.settle(parcel)
        if settled:
            self._kept(parcel)
        elif parcel.stored:
            with suppress(OutboxRefused):  # else it is written once more, and known by then
                self._outbox.discard(number)

    def _refused(self, error: OutboxRefused) -> None:
        self.trouble = error.reason
        with self._parcels.changed:
            self._parcels.copying = None
            if self._parcels.refusal is None:
                LOG.error("%s", error)
            self._parcels.refuse(Refusal(str(error), self._clock.monotonic()))
        self._stop.wait(self._backoff.next() / SECOND)

    def _say(self) -> None:
        now = self._clock.monotonic()
        if now - self._said >= _SAID_EVERY:
            self._said = now
            patience = format_duration(self._patience)
            LOG.info("the store has not acknowledged for %s: recording into the outbox", patience)
