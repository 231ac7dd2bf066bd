"""Batches on their way to the store: in order, bounded, seen by all who handle them; touches no store and no disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition

import msgspec

from cryptofeed_cli.types import Record

QUEUED = 8
"""How many batches may wait in memory; then whoever hands over waits."""


class Parcel(msgspec.Struct, eq=False):
    """One batch."""

    records: Sequence[Record]
    at: int
    """When it was handed over, by the wall clock."""
    monotonic: int
    copy: int | None = None
    """Its number in the outbox; None: it is not there."""
    stored: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """The outbox takes nothing."""

    reason: str
    monotonic: int
    """Since when."""
    final: bool = False
    """It never will again."""


class Parcels:
    """What waits, and where it goes. Whoever reads or changes anything here holds ``changed``, and tells the others."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.waiting: deque[Parcel] = deque()
        """What is durable nowhere, oldest first. It leaves when it is in the store or in the outbox."""
        self.spooling = False
        """Everything goes into the outbox, until the store has what is there."""
        self.copying: Parcel | None = None
        """What is being written into the outbox at this moment."""
        self.refusal: Refusal | None = None
        self.settled = 0
        """How many records became durable."""

    def put(self, parcel: Parcel, timeout: float) -> bool:
        """Add a batch; return False where there is no room for ``timeout`` seconds."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.waiting) < QUEUED, timeout):
                return False
            self.add(parcel)
            return True

    def add(self, parcel: Parcel) -> None:
        """Add a batch, room or not."""
        with self.changed:
            self.waiting.append(parcel)
            self.changed.notify_all()

    def settle(self, parcel: Parcel) -> bool:
        """Take note that a batch is durable; return False where that was known, or it was taken back."""
        with self.changed:
            if not self.waiting or self.waiting[0] is not parcel:
                return False
            self.waiting.popleft()
            self.settled += len(parcel.records)
            self._forgive()
            self.changed.notify_all()
            return True

    def spool(self) -> None:
        """Send everything into the outbox from now on."""
        with self.changed:
            self.spooling = True
            self.changed.notify_all()

    def refuse(self, refusal: Refusal) -> None:
        """Take note that the outbox takes nothing. What was refused first counts until it takes something."""
        with self.changed:
            self.refusal = refusal if refusal.final else self.refusal or refusal
            self.changed.notify_all()

    def _forgive(self) -> None:
        if self.refusal is not None and not self.refusal.final:
            self.refusal = None

    def take_back(self) -> list[Record] | None:
        """Take everything that waits off its way; return None where a part of it is just becoming durable."""
        with self.changed:
            if self.copying is not None:
                return None
            records = [record for parcel in self.waiting for record in parcel.records]
            self.waiting.clear()
            self._forgive()
            self.changed.notify_all()
            return records

    def wait_for(self, true: Callable[[], bool], timeout: float) -> bool:
        """Wait until something holds of all this; return whether it does."""
        with self.changed:
            return self.changed.wait_for(true, timeout)
