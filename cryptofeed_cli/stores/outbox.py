"""A durable queue of batches on local disk, for when the store takes none: in order, bounded; knows no store.

It is an SQLite file of its own. Several threads may use it; each call is one transaction.
"""

from __future__ import annotations

import glob
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import chain
from itertools import count as counting
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from cryptofeed_cli.errors import OutboxBusy, OutboxDamaged, OutboxError, OutboxRefused
from cryptofeed_cli.stores.locks import FileLock, Held
from cryptofeed_cli.stores.outbox_file import bound, connect, in_our_words, pack, readable, transaction, unpack
from cryptofeed_cli.stores.places import Places
from cryptofeed_cli.types import Record

LOG = logging.getLogger(__name__)

PAGE = 4096
NEW, DAMAGED = ".new", ".damaged-"
"""Added to the name of an outbox: what takes the place of a damaged one, and what is set aside, before its time."""
_LOGS = ("-wal", "-shm")
_READ_AT_ONCE = 64
_UNLIMITED = 1 << 62
"""What was taken once is not refused for want of room when it is taken over."""


class Backlog(msgspec.Struct, frozen=True):
    """What waits in an outbox."""

    records: int = 0
    bytes: int = 0
    """On disk."""
    since: int | None = None
    """When the oldest of it was recorded, by the wall clock; None: nothing waits."""
    store: str = ""
    """For which store; never with a password in it."""


class Batch(NamedTuple):
    """What was peeked at."""

    number: int
    """Of the last batch in it; `Outbox.remove` takes it."""
    records: list[Record]
    inherited: bool
    """Whether an earlier run left it; one peek never mixes those with others."""


class Outbox:
    """Opened by `open_outbox`; whoever opens it closes it.

    ``backlog`` is replaced and never changed, so it may be read at any time.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """Open the file, of at most ``limit`` bytes. Raises an `OutboxError`, or `StoreTooNew`."""
        self.path = path
        self._limit = limit
        self._lock = Lock()
        self._file: FileLock | None = None
        self._connection = connect(path, writable=True)
        try:
            with in_our_words(path):
                last, store = self._connection.execute(
                    "SELECT (SELECT max(id) FROM batches), (SELECT store FROM bound)"
                ).fetchone()
            self._inherited = last or 0
            """The last batch that an earlier run left."""
            self.backlog = Backlog(store=store or "")
            self._look()
        except BaseException:
            # Closed later, it would remove the log of the file that then has this name.
            self._connection.close()
            raise

    def bind(self, store: str) -> None:
        """Note for which store the contents are."""
        with self._lock, in_our_words(self.path), transaction(self._connection):
            self._connection.execute("DELETE FROM bound")
            self._connection.execute("INSERT INTO bound (store) VALUES (?)", (store,))
        self.backlog = msgspec.structs.replace(self.backlog, store=store)

    @property
    def inherits(self) -> bool:
        """Whether something of an earlier run waits still."""
        return self._first <= self._inherited

    def append(self, records: Sequence[Record], recorded_at: int) -> int:
        """Add a batch; on return it survives a power cut. Return its number. Raises `OutboxRefused`."""
        count, size, contents = pack(records)
        with self._lock, in_our_words(self.path):
            if self.backlog.bytes + len(contents) + PAGE > self._limit:
                raise OutboxRefused(str(self.path), f"holds as much as outbox_max allows ({self._limit:,} bytes)")
            with transaction(self._connection):
                number = self._connection.execute(
                    "INSERT INTO batches (records, bytes, recorded_at, contents) VALUES (?, ?, ?, ?)",
                    (count, size, recorded_at, contents),
                ).lastrowid
            self._look(count)
        return number or 0

    def peek(self, most_records: int, most_bytes: int) -> Batch | None:
        """Return the oldest batches, as many as fit but at least one; None: it is empty. Raises `OutboxDamaged`."""
        records: list[Record] = []
        number, taken, inherited = 0, 0, self.inherits
        sql = "SELECT id, records, bytes, contents FROM batches WHERE id > ? ORDER BY id LIMIT ?"
        while True:
            with self._lock, in_our_words(self.path):
                rows = self._connection.execute(sql, (number, _READ_AT_ONCE)).fetchmany(_READ_AT_ONCE)
            for row_id, count, size, contents in rows:
                full = len(records) + count > most_records or taken + size > most_bytes
                if (number and full) or (inherited and row_id > self._inherited):
                    return Batch(number, records, inherited)
                records += unpack(self.path, contents)
                number, taken = row_id, taken + size
            if len(rows) < _READ_AT_ONCE:
                return Batch(number, records, inherited) if number else None

    def remove(self, number: int) -> None:
        """Forget the batches up to a number. Raises `OutboxRefused`, where nothing is forgotten."""
        self._delete("id <= ?", number)

    def discard(self, number: int) -> None:
        """Forget one batch."""
        self._delete("id = ?", number)

    def close(self) -> None:
        """Let go of the file. A second call does nothing."""
        with self._lock:
            self._connection.close()
        if self._file is not None:
            self._file.release()

    def _delete(self, which: str, number: int) -> None:
        with self._lock, in_our_words(self.path):
            (gone,) = self._connection.execute(
                f"SELECT coalesce(sum(records), 0) FROM batches WHERE {which}", (number,)  # noqa: S608
            ).fetchone()
            with transaction(self._connection):
                self._connection.execute(f"DELETE FROM batches WHERE {which}", (number,))  # noqa: S608
            self._look(-gone)
            if not self.backlog.records:
                # Nothing has to be moved, so giving the room back costs next to nothing.
                self._connection.executescript("PRAGMA incremental_vacuum")  # `execute` stops after one page
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._look(0)

    def _look(self, added: int | None = None) -> None:
        """See what waits now: ``added`` records more than before; None: count them all."""
        ask = self._connection.execute
        with in_our_words(self.path):
            first, since = ask(
                "SELECT id, recorded_at FROM batches ORDER BY id LIMIT 1"
            ).fetchone() or (self._inherited + 1, None)
            if added is None:
                (records,) = ask("SELECT coalesce(sum(records), 0) FROM batches").fetchone()
            else:
                records = self.backlog.records + added
            (pages,), (free,), (size,) = (
                ask(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
            )
        self._first = first
        self.backlog = Backlog(records, (pages - free) * size if records else 0, since, self.backlog.store)

    def salvage(self, damaged: Path, store: str | None) -> int:
        """Take over what can be read of a damaged file, all of it into the main file; return how many records.

        ``store`` is for which it is, where that is known. Raises an `OutboxError` where this file does not take it.
        """
        # Until the checkpoint, which waits for the disk, the damaged file still has it all.
        with in_our_words(self.path):
            self._connection.execute("PRAGMA synchronous = NORMAL")
        saved = 0
        try:
            source = connect(damaged, writable=False)
        except OutboxRefused:
            raise  # it may be read later
        except OutboxError as exc:
            LOG.debug("%s: nothing can be read: %s", damaged, exc)
            self.bind(store or "")
        else:
            with closing(source):
                self.bind(bound(source) if store is None else store)
                for records, recorded_at in readable(damaged, source):
                    self.append(records, recorded_at)
                    saved += len(records)
        with in_our_words(self.path):
            (busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise OutboxRefused(str(self.path), "locked by another program")
        return saved


def open_outbox(where: Places, holder: str, limit: int) -> Outbox:
    """Open the outbox of a recorder, made where it is missing, and hold it against others of the same name.

    ``holder`` is what those are told. What is damaged is set aside, loudly; what can be read of it waits on in a new
    file. Raises `OutboxBusy`, another `OutboxError`, or `StoreTooNew`.
    """
    try:
        lock = FileLock(where.lock, holder)
    except Held as exc:
        raise OutboxBusy(str(where.outbox), f"held by {exc}; stop it, or give this one another --name") from None
    except OSError as exc:
        raise OutboxError(str(where.outbox), f"cannot be locked: {exc.strerror}") from exc
    try:
        outbox = _open(where.outbox, limit)
    except BaseException:
        lock.release()
        raise
    outbox._file = lock  # noqa: SLF001 - its own module
    return outbox


def replace_damaged(outbox: Outbox, reason: OutboxDamaged) -> Outbox:
    """Set an open outbox aside and return another one in its place, which holds the name on.

    Raises an `OutboxError` where there can be no other; the damaged one is then closed, and still in its place.
    """
    lock, outbox._file = outbox._file, None  # noqa: SLF001
    outbox.close()
    try:
        fresh = _anew(outbox.path, outbox._limit, reason, outbox.backlog.store)  # noqa: SLF001
    except BaseException:
        outbox._file = lock  # noqa: SLF001 - whoever closes it lets go of the name
        raise
    fresh._file = lock  # noqa: SLF001
    return fresh


def inspect(path: Path) -> Backlog:
    """Return what waits in an outbox, without touching it. Raises an `OutboxError`, or `StoreTooNew`."""
    with closing(connect(path, writable=False)) as connection, in_our_words(path):
        records, since, store = connection.execute(
            "SELECT coalesce(sum(records), 0), min(recorded_at), (SELECT store FROM bound) FROM batches"
        ).fetchone()
        (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return Backlog(records, pages * size if records else 0, since, store or "")


def _open(path: Path, limit: int) -> Outbox:
    try:
        _finish(path)
    except OSError as exc:
        raise OutboxError(str(path), f"cannot be put in its place: {exc.strerror}") from exc
    try:
        return Outbox(path, limit)
    except OutboxDamaged as exc:
        return _anew(path, limit, exc, None)


def _anew(path: Path, limit: int, reason: OutboxDamaged, store: str | None) -> Outbox:
    """Put a new file in the place of a damaged one, which goes only when the new one has all that can be read.

    So after a kill either the damaged file is in its place, and all this is done again, or `_finish` has what to do.
    """
    new = _beside(path, NEW)
    try:
        _remove(new)
        with closing(Outbox(new, _UNLIMITED)) as fresh:
            saved = fresh.salvage(path, store)
        aside = _unused(path)
        _move(path, aside)
        new.rename(path)
    except OSError as exc:
        raise OutboxError(str(path), f"{reason.reason}, and cannot be set aside: {exc.strerror}") from exc
    outbox = Outbox(path, limit)
    LOG.error("%s; it is set aside as %s, and the %d records that can be read of it wait on", reason, aside, saved)
    return outbox


def _finish(path: Path) -> None:
    """Finish what `_anew` began in a run that was killed."""
    new, log = _beside(path, NEW), _beside(path, f"{NEW}-wal")
    if path.exists() or (log.exists() and log.stat().st_size):
        _remove(new)  # the damaged file goes only when the new one is complete, and then that has no log
    elif new.exists():
        # The log of the damaged file would be taken for the new one's.
        before = [one for one in path.parent.glob(f"{glob.escape(path.name)}{DAMAGED}*") if one.name[-4:] not in _LOGS]
        _move(path, max(before, default=_unused(path)))
        new.rename(path)
        LOG.warning("%s: what could be read of a damaged outbox is in its place, where a kill left it beside", path)


def _move(path: Path, aside: Path) -> None:
    # The file before its logs: as long as it is in its place it needs them to be read.
    for suffix in ("", *_LOGS):
        source = _beside(path, suffix)
        if source.exists():
            source.rename(_beside(aside, suffix))


def _remove(path: Path) -> None:
    # The file last: without it a log would be nobody's.
    for suffix in (*_LOGS, ""):
        _beside(path, suffix).unlink(missing_ok=True)


def _unused(path: Path) -> Path:
    aside = _beside(path, f"{DAMAGED}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    names = chain([aside], (_beside(aside, f"-{number}") for number in counting(2)))
    return next(name for name in names if not name.exists())


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")
