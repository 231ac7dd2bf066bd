"""A durable queue of batches on local disk, for when the store takes none: in order, bounded; knows no store.

It is an SQLite file of its own. Several threads may use it; each call is one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from cryptofeed_cli.errors import OutboxError, OutboxRefused
from cryptofeed_cli.stores.outbox_file import bound, connect, in_our_words, pack, readable, transaction, unpack
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
    """One file; whoever opens it closes it.

    ``backlog`` is replaced and never changed, so it may be read at any time.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """Open the file, of at most ``limit`` bytes. Raises an `OutboxError`, or `StoreTooNew`."""
        self.path = path
        self._limit = limit
        self._lock = Lock()
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

    def append(self, records: Sequence[Record], recorded_at: int, number: int | None = None) -> int:
        """Add a batch; on return it survives a power cut. Return its number. Raises `OutboxRefused`.

        A ``number`` is that which the batch had in another file.
        """
        count, size, contents = pack(records)
        with self._lock, in_our_words(self.path):
            if self.backlog.bytes + len(contents) + PAGE > self._limit:
                raise OutboxRefused(str(self.path), f"holds as much as outbox_max allows ({self._limit:,} bytes)")
            with transaction(self._connection):
                given = self._connection.execute(
                    "INSERT INTO batches (id, records, bytes, recorded_at, contents) VALUES (?, ?, ?, ?, ?)",
                    (number, count, size, recorded_at, contents),
                ).lastrowid
            self._look(count)
        return given or 0

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

    def goes_on(self, other: Outbox) -> None:
        """Take the place of ``other``: what an earlier run left to that is what an earlier run left to this."""
        self._inherited = other._inherited
        self._look()

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
                for number, records, recorded_at in readable(damaged, source):
                    self.append(records, recorded_at, number)
                    saved += len(records)
        with in_our_words(self.path):
            (busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise OutboxRefused(str(self.path), "locked by another program")
        return saved


def inspect(path: Path) -> Backlog:
    """Return what waits in an outbox, without touching it. Raises an `OutboxError`, or `StoreTooNew`."""
    with closing(connect(path, writable=False)) as connection, in_our_words(path):
        records, since, store = connection.execute(
            "SELECT coalesce(sum(records), 0), min(recorded_at), (SELECT store FROM bound) FROM batches"
        ).fetchone()
        (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return Backlog(records, pages * size if records else 0, since, store or "")
