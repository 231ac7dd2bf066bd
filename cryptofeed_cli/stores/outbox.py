"""A durable queue of batches on local disk, for when the store takes none: in order, bounded; knows no store.

It is an SQLite file of its own. Several threads may use it; each call is one transaction.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from cryptofeed_cli.errors import OutboxBusy, OutboxDamaged, OutboxError, OutboxRefused
from cryptofeed_cli.stores.locks import FileLock, Held
from cryptofeed_cli.stores.outbox_file import connect, in_our_words, pack, transaction, unpack
from cryptofeed_cli.stores.places import Places
from cryptofeed_cli.types import Record

LOG = logging.getLogger(__name__)

PAGE = 4096
_READ_AT_ONCE = 64


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
        with in_our_words(path):
            last, store = self._connection.execute(
                "SELECT (SELECT max(id) FROM batches), (SELECT store FROM bound)"
            ).fetchone()
        self._inherited = last or 0
        """The last batch that an earlier run left."""
        self.backlog = Backlog(store=store or "")
        self._look()

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

    def salvage(self, damaged: Path) -> int:
        """Take over what can be read of a damaged file; return how many records that was."""
        saved = 0
        try:
            with closing(connect(damaged, writable=False)) as connection:
                for (number,) in connection.execute("SELECT id FROM batches ORDER BY id").fetchall():
                    saved += self._take_over(connection, damaged, number)
        except (OutboxError, sqlite3.Error) as exc:
            LOG.debug("%s: no more can be read: %s", damaged, exc)
        return saved

    def _take_over(self, connection: sqlite3.Connection, damaged: Path, number: int) -> int:
        sql = "SELECT records, recorded_at, contents FROM batches WHERE id = ?"
        try:
            count, recorded_at, contents = connection.execute(sql, (number,)).fetchone()
            self._inherited = self.append(unpack(damaged, contents), recorded_at)
        except (OutboxDamaged, sqlite3.DatabaseError):
            return 0
        return int(count)


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
    """Set an open outbox aside and return another one in its place, which holds the name on."""
    lock, outbox._file = outbox._file, None  # noqa: SLF001
    store = outbox.backlog.store
    outbox.close()
    fresh = _anew(outbox.path, outbox._limit, reason)  # noqa: SLF001
    fresh._file = lock  # noqa: SLF001
    fresh.bind(store)
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
        return Outbox(path, limit)
    except OutboxDamaged as exc:
        return _anew(path, limit, exc)


def _anew(path: Path, limit: int, reason: OutboxDamaged) -> Outbox:
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(f"{path.name}{suffix}")
        if source.exists():
            source.rename(aside.with_name(f"{aside.name}{suffix}"))
    outbox = Outbox(path, limit)
    saved = outbox.salvage(aside)
    LOG.error("%s; it is set aside as %s, and the %d records that can be read of it wait on", reason, aside, saved)
    return outbox
