"""Batches made durable, in order, by two threads: in the store, or in the outbox until the store has them.

Steadily the store's thread takes a batch after the other and the outbox is not touched. A batch that the store has not
acknowledged in time, or refused for now, goes into the outbox, and so does all that follows, until the store has
everything that is there. Knows no exchange.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from random import Random

from cryptofeed_cli.clock import SECOND, Clock
from cryptofeed_cli.deliverer import Deliverer
from cryptofeed_cli.errors import CryptofeedError, OutboxError, OutboxRefused, StoreError, ThreadDied
from cryptofeed_cli.feeds.pacing import Backoff
from cryptofeed_cli.parcels import QUEUED, Parcel, Parcels, Refusal
from cryptofeed_cli.spooler import Spooler
from cryptofeed_cli.stores.base import Store, Written
from cryptofeed_cli.stores.outbox import Backlog
from cryptofeed_cli.stores.recorder_outbox import RecorderOutbox
from cryptofeed_cli.types import KIND_OF, MarketRecord, Record, Run

LOG = logging.getLogger(__name__)

QUEUED_BATCHES = QUEUED
STUCK_AFTER = SECOND
"""So long nothing is taken, neither by the store nor by the outbox, before that is believed."""
_RETRY_INITIAL, _RETRY_MAX = SECOND // 5, 2 * SECOND
_PROBE_MAX = 2 * SECOND
_DELIVERER, _SPOOLER = "writer", "spooler"
_SYMBOL = attrgetter("symbol")

Durable = Mapping[tuple[str, str], int]
"""Exchange time of the last durable record, by kind and symbol."""


class Writer:
    """Makes durable what is submitted; see `raise_if_failed` for what ends it.

    Used by one thread. What is public is replaced and never changed, so it may be read at any time.
    """

    def __init__(
        self,
        store: Store,
        outbox: RecorderOutbox,
        *,
        clock: Clock,
        rng: Random,
        patience: int,
        greet: Callable[[Store], object] | None = None,
        away: str | None = None,
    ) -> None:
        """The store has ``patience`` nanoseconds to acknowledge a batch; ``away``: why it is known to take nothing yet.

        ``greet`` is called in the store's thread, once, with the store as earlier runs left it: when it has all that
        waited for it, and nothing of this run.
        """
        self.stored: Mapping[str, Mapping[str, int]] = {}
        """Records in the store since the start, by symbol and kind, duplicates included."""
        self.durable: Durable = {}
        """How far real data is durable, in the store or in the outbox."""
        self.durable_at: int | None = None
        """When something became durable last, by the wall clock."""
        self.written = Written()
        """What became of all that is in the store, the runs' own records left out: they tell of a recording, and are
        none of it."""
        self._store, self._outbox, self._clock = store, outbox, clock
        self._stop = threading.Event()
        self._failure: CryptofeedError | None = None
        self._parcels = Parcels()
        self._noting = threading.Lock()
        self._deliverer = Deliverer(
            self._parcels, store, outbox, clock=clock, backoff=Backoff(_RETRY_INITIAL, _RETRY_MAX, rng),
            stop=self._stop, stored=self._count, greet=greet, away=away,
        )  # fmt: skip
        self._spooler = Spooler(
            self._parcels, outbox, clock=clock, patience=patience, backoff=Backoff(_RETRY_INITIAL, _PROBE_MAX, rng),
            stop=self._stop, kept=lambda parcel: self._note(parcel.records, _counted(parcel.records)),
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self._guard, args=(name, work), name=name, daemon=True)
            for name, work in ((_DELIVERER, self._deliverer.run), (_SPOOLER, self._spooler.run))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def backlog(self) -> Backlog:
        """What waits in the outbox."""
        return self._outbox.backlog

    @property
    def clock_offset(self) -> int:
        """The store's clock minus ours, in nanoseconds."""
        return self._deliverer.clock_offset

    @property
    def away(self) -> str | None:
        """Why the store takes nothing; None: it does, as far as is known."""
        return self._deliverer.away

    @property
    def idle(self) -> bool:
        """Whether everything submitted is durable."""
        return not self._parcels.waiting

    @property
    def stuck(self) -> str | None:
        """Why neither the store nor the outbox takes anything, and has not for a while."""
        refusal = self._parcels.refusal
        if refusal is None or self._clock.monotonic() - refusal.monotonic < STUCK_AFTER:
            return None
        return refusal.reason

    def submit(self, batch: Sequence[Record], timeout: float) -> bool:
        """Hand over a batch; return False where there is no room for ``timeout`` seconds.

        Raises what ended a thread, if something did.
        """
        self.raise_if_failed()
        return self._parcels.put(self._parcel(batch), timeout)

    def wait_for(self, batches: int, timeout: float) -> bool:
        """Wait until no more than so many batches are durable nowhere; return whether that came to be."""
        return self._parcels.wait_for(lambda: len(self._parcels.waiting) <= batches, timeout)

    def take_back(self) -> list[Record] | None:
        """Take back what is not durable, in order; None: some of it is just becoming so, ask again."""
        return self._parcels.take_back()

    def raise_if_failed(self) -> None:
        """Raise what ended a thread, if something did: a `StoreError` or `ThreadDied`."""
        if self._failure is not None:
            raise self._failure

    def close(self, rest: Sequence[Sequence[Record]], patience: float, last: Callable[[], Record]) -> None:
        """Make durable what waits, then the batches of ``rest``, then what ``last`` returns, and end.

        What nothing takes for ``patience`` seconds is given up: how many records that is, is logged, and
        `OutboxRefused` raised. For as long the store may take what is in the outbox; what waits there still is
        logged. Raises what ended a thread.
        """
        for batch in rest:
            self._parcels.add(self._parcel(batch))
        taken = self._settle(patience)
        answers = self._await_store(patience)
        self._parcels.add(self._parcel([last()]))
        self._settle(patience if taken else 0)
        self._await_store(patience if answers else 0)
        self._stop.set()
        self._parcels.spool()  # wakes them
        for thread in self._threads:
            thread.join(1)  # one that hangs in the store ends with the process
        lost = sum(len(parcel.records) for parcel in self._parcels.waiting)
        if lost:
            LOG.error("%s records are durable nowhere", f"{lost:,}")
        self.raise_if_failed()
        if lost:
            raise OutboxRefused(str(self._outbox.path), self._spooler.trouble or "takes nothing")
        if self.backlog.records:
            LOG.warning(
                "%s records wait in the outbox %s; the next run writes them into the store first",
                f"{self.backlog.records:,}", self._outbox.path,
            )  # fmt: skip

    def _settle(self, patience: float) -> bool:
        """Wait until nothing waits in memory, or nothing becomes durable any more; return whether it is the former."""
        parcels, before = self._parcels, -1
        while parcels.waiting and parcels.settled != before:
            before = parcels.settled
            parcels.wait_for(lambda: not parcels.waiting or self._dead, patience)
        return not parcels.waiting

    def _await_store(self, patience: float) -> bool:
        """Give the store a chance to take what is in the outbox, if it answers at all; return whether it took it."""
        deadline = self._clock.monotonic() + round(patience * SECOND)
        while self.backlog.records and not self.away and self._failure is None:
            if self._clock.monotonic() >= deadline:
                break
            self._parcels.wait_for(lambda: not self.backlog.records, 0.05)
        return not self.backlog.records

    @property
    def _dead(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _parcel(self, batch: Sequence[Record]) -> Parcel:
        return Parcel(batch, self._clock.now(), self._clock.monotonic())

    def _guard(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except StoreError as exc:
            self._fail(name, exc)
        except BaseException as exc:  # whoever submits next must hear of it, whatever it is
            self._fail(name, ThreadDied(name, exc))

    def _fail(self, name: str, error: CryptofeedError) -> None:
        """What one thread cannot do any more, the other one does until the end."""
        self._failure = self._failure or error
        with self._parcels.changed:
            self._parcels.spool()
            if name == _SPOOLER or isinstance(error, OutboxError):
                self._parcels.copying = None
                self._parcels.refuse(Refusal(str(error), self._clock.monotonic(), final=True))

    def _count(self, batch: Sequence[Record], written: Written) -> None:
        counts = _counted(batch)
        self._note(batch, counts)
        runs, before = counts.get((Run, None), 0), self.written
        self.written = Written(
            before.inserted + written.inserted - runs,
            before.duplicates + written.duplicates,
            before.conflicts + written.conflicts,
            before.refused + written.refused,
        )
        stored = dict(self.stored)
        for (of, symbol), count in counts.items():
            if symbol is not None:
                kinds, kind = stored.get(symbol, {}), KIND_OF[of].name
                stored[symbol] = {**kinds, kind: kinds.get(kind, 0) + count}
        self.stored = stored

    def _note(self, batch: Sequence[Record], counts: Mapping[tuple[type, str | None], int]) -> None:
        reached: dict[tuple[type, str | None], int] = {}
        expected = sum(issubclass(of, MarketRecord) for of, _ in counts)
        for one in reversed(batch):  # whose last live record of each kind is near its end
            if len(reached) == expected:
                break
            if isinstance(one, MarketRecord) and one.source == "live" and one.timestamp is not None:
                reached.setdefault((type(one), one.symbol), one.timestamp)
        with self._noting:
            durable = dict(self.durable)
            for (of, symbol), timestamp in reached.items():
                key = (KIND_OF[of].name, symbol or "")
                durable[key] = max(timestamp, durable.get(key, 0))
            self.durable, self.durable_at = durable, self._clock.now()


def _counted(batch: Sequence[Record]) -> Counter[tuple[type, str | None]]:
    """Count records by type and symbol; runs have none."""
    types = list(map(type, batch))
    # Nearly every batch is without one, and then no Python runs for each record: this is the store's thread.
    symbols = (getattr(one, "symbol", None) for one in batch) if Run in types else map(_SYMBOL, batch)
    return Counter(zip(types, symbols, strict=True))
