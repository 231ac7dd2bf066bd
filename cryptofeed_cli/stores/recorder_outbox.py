"""The outbox of one recorder: held by its name, opened as soon as there is room, mended where it is damaged.

It looks like the `Outbox` that it has; what passes is `OutboxRefused`, whatever is the matter.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import TypeVar

from cryptofeed_cli.errors import OutboxBusy, OutboxDamaged, OutboxError, OutboxRefused, StoreTooNew
from cryptofeed_cli.stores.locks import FileLock, Held
from cryptofeed_cli.stores.outbox import Backlog, Batch, Outbox
from cryptofeed_cli.stores.outbox_repair import mend, open_or_mend
from cryptofeed_cli.stores.places import Places
from cryptofeed_cli.types import Record

LOG = logging.getLogger(__name__)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_MENDED_AT_ONCE = 3
"""How often one call mends it: a disk that tears whatever is written is nobody's place."""

Outcome = TypeVar("Outcome")


def open_outbox(where: Places, holder: str, limit: int) -> RecorderOutbox:
    """Open the outbox of a recorder, made where it is missing, and hold it against others of the same name.

    ``holder`` is what those are told. What is damaged is set aside, loudly; what can be read of it waits on in a new
    file. Raises `OutboxBusy`, another `OutboxError` (`OutboxRefused` may pass), or `StoreTooNew`.
    """
    outbox = RecorderOutbox(where, holder, limit)
    try:
        outbox.open()
    except BaseException:
        outbox.close()
        raise
    return outbox


class RecorderOutbox:
    """Several threads may use it; ``backlog`` may be read at any time."""

    def __init__(self, where: Places, holder: str, limit: int) -> None:
        """Open nothing yet."""
        self.path: Path = where.outbox
        self._where, self._holder, self._limit = where, holder, limit
        self._store: str | None = None
        self._name: FileLock | None = None
        self._inner: Outbox | None = None
        self._backlog = Backlog()
        """What waited when it was open last."""
        self._changing = Lock()

    @property
    def is_open(self) -> bool:
        """Whether it can take anything."""
        return self._inner is not None

    @property
    def backlog(self) -> Backlog:
        """What waits, as far as is known."""
        inner = self._inner
        return self._backlog if inner is None else inner.backlog

    @property
    def inherits(self) -> bool:
        """Whether something of an earlier run waits still."""
        inner = self._inner
        return inner is not None and inner.inherits

    def open(self) -> None:
        """Open it, unless that is done. Raises an `OutboxError`; `OutboxRefused` may pass."""
        with self._changing:
            if self._inner is not None:
                return
            self._hold()
            inner = open_or_mend(self.path, self._limit)
            try:
                _check(inner, self._store)
            except BaseException:
                inner.close()
                raise
            self._inner = inner

    def reopen(self) -> None:
        """Open it, unless that is done, where it is in use already: whatever is the matter may pass.

        Raises `OutboxRefused`.
        """
        late = self._inner is None
        try:
            self.open()
        except OutboxRefused:
            raise
        except (OutboxError, StoreTooNew) as exc:
            raise OutboxRefused(str(self.path), exc.reason) from exc
        if late:
            LOG.warning("outbox %s: open again", self.path)

    def bind(self, store: str) -> None:
        """Note for which store the contents are. Where it takes that not, it is closed until it does."""
        self._store = store
        if self._inner is not None:
            try:
                _check(self._inner, store)
            except OutboxRefused as exc:
                LOG.warning("%s; recording without an outbox until it can be opened", exc)
                with self._changing:
                    self._put_away()

    def append(self, records: Sequence[Record], recorded_at: int) -> int:
        """Add a batch; on return it survives a power cut. Return its number. Raises `OutboxRefused`."""
        return self._do(lambda inner: inner.append(records, recorded_at))

    def peek(self, most_records: int, most_bytes: int) -> Batch | None:
        """Return the oldest batches, as many as fit but at least one; None: it is empty. Raises `OutboxRefused`."""
        return self._do(lambda inner: inner.peek(most_records, most_bytes))

    def remove(self, number: int) -> None:
        """Forget the batches up to a number. Raises `OutboxRefused`, where nothing is forgotten."""
        self._do(lambda inner: inner.remove(number))

    def discard(self, number: int) -> None:
        """Forget one batch. Raises `OutboxRefused`."""
        self._do(lambda inner: inner.discard(number))

    def close(self) -> None:
        """Let go of the file and the name. A second call does nothing."""
        with self._changing:
            self._put_away()
            if self._name is not None:
                self._name.release()

    def _do(self, act: Callable[[Outbox], Outcome]) -> Outcome:
        for _ in range(_MENDED_AT_ONCE):
            self.reopen()
            inner = self._inner
            if inner is None:  # put away by another thread, meanwhile
                continue
            try:
                return act(inner)
            except OutboxDamaged as exc:
                self._mend(inner, exc)
            except OutboxRefused:
                raise
            except OutboxError:
                if self._inner is inner:  # else another thread mended it, meanwhile
                    raise
        raise OutboxRefused(str(self.path), "is damaged again and again; see to its disk")

    def _mend(self, damaged: Outbox, reason: OutboxDamaged) -> None:
        with self._changing:
            if self._inner is not damaged:
                return
            self._put_away()
            self._inner = mend(damaged, self._limit, reason)

    def _put_away(self) -> None:
        if self._inner is not None:
            self._backlog = self._inner.backlog
            self._inner.close()
            self._inner = None

    def _hold(self) -> None:
        if self._name is not None:
            return
        try:
            self._name = FileLock(self._where.lock, self._holder)
        except Held as exc:
            raise OutboxBusy(str(self.path), f"held by {exc}; stop it, or give this one another --name") from None
        except OSError as exc:
            refused = OutboxRefused if exc.errno in _NO_ROOM else OutboxError
            raise refused(str(self.path), f"cannot be locked: {exc.strerror}") from exc


def _check(outbox: Outbox, store: str | None) -> None:
    """Make it the outbox of a store, unless it holds something for another one."""
    backlog = outbox.backlog
    if store is None or backlog.store == store:
        return
    if backlog.records and backlog.store:
        raise OutboxRefused(
            str(outbox.path), f"holds {backlog.records:,} records for the store {backlog.store}, not for {store}"
        )
    outbox.bind(store)
