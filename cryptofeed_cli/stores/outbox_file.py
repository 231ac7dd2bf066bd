"""The file of an outbox: its tables, what SQLite says of it in our words, and batches as bytes; knows no store.

A batch is MessagePack of its records by kind, compressed with a checksum, so that what is torn is noticed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from cryptofeed_cli.errors import OutboxDamaged, OutboxError, OutboxRefused, StoreTooNew
from cryptofeed_cli.stores.unstorable import sorted_out
from cryptofeed_cli.types import KIND_OF, KINDS, Record

APPLICATION_ID = 0x6366656F
"""Marks a file as an outbox of ours (``cfeo``); its schema version is SQLite's ``user_version``."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE bound (store TEXT NOT NULL) STRICT",
        """CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    contents BLOB NOT NULL
) STRICT""",
    ),
)
"""What each version adds to the one before it. Never edited once released: a change is a new entry."""

VERSION = len(MIGRATIONS)
LOG_BYTES = 4 << 20
"""What is left of the write-ahead log after a checkpoint: room to remove batches in when the disk is full."""
BUSY_SECONDS = 5.0
MOST_FAILURES = 10_000
"""Numbers in a row that a salvage cannot seek before it gives up; a page holds far fewer."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_TRANSIENT = {
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_IOERR: "the disk does not read or write; check it",
    sqlite3.SQLITE_BUSY: f"locked by another program for {BUSY_SECONDS:g} s",
    sqlite3.SQLITE_NOMEM: "out of memory",
}
_LATER = {
    sqlite3.SQLITE_READONLY: "its disk is read-only; make it writable",
    sqlite3.SQLITE_CANTOPEN: "its files cannot be opened; see to the directory",
    sqlite3.SQLITE_PERM: "permission denied",
}
"""What may pass once the outbox is in use, and hardly by itself where it is to be opened."""

_Contents = msgspec.defstruct(
    "_Contents",
    [(kind.name, list[kind.record], msgspec.field(default_factory=list)) for kind in KINDS.values()],  # type: ignore[name-defined]
    omit_defaults=True,
)
_decode = msgspec.msgpack.Decoder(_Contents).decode
_LEVEL = 1
"""Of compression: a fifth of the size at a tenth of what the commit costs."""


@contextmanager
def in_our_words(path: Path, *, opening: bool = False) -> Iterator[None]:
    """Turn what SQLite raises into `OutboxRefused` (again later), `OutboxDamaged` or `OutboxError` (never)."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            raise OutboxDamaged(str(path), f"is damaged ({exc})") from exc
        if code in _TRANSIENT:
            raise OutboxRefused(str(path), _TRANSIENT[code]) from exc
        if code in _LATER and not opening:
            raise OutboxRefused(str(path), _LATER[code]) from exc
        raise OutboxError(str(path), f"cannot be used: {exc}") from exc


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the file, made where it is missing and ``writable``; raise an `OutboxError` or `StoreTooNew`."""
    with in_our_words(path, opening=True):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if writable else 'ro'}",
            uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        try:
            _prepare(path, connection, writable=writable)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application not in (0, APPLICATION_ID):
        raise OutboxDamaged(str(path), "is a file of another program")
    if version > VERSION:
        raise StoreTooNew(str(path), version, VERSION)
    if not writable:
        return
    # auto_vacuum can only be chosen before the first page is written, which journal_mode does.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    with transaction(connection):
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if version < VERSION:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it, durably, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def bound(connection: sqlite3.Connection) -> str:
    """Return for which store a damaged file is; empty: that cannot be read."""
    try:
        (store,) = connection.execute("SELECT store FROM bound").fetchone() or ("",)
    except sqlite3.Error:
        return ""
    return str(store)


def readable(path: Path, connection: sqlite3.Connection) -> Iterator[tuple[int, list[Record], int]]:
    """Yield the batches of a damaged file that can be read, in order: number, records, and when they were recorded."""
    sql = "SELECT recorded_at, contents FROM batches WHERE id = ?"
    for number in _numbers(connection):
        try:
            recorded_at, contents = connection.execute(sql, (number,)).fetchone()
            records = unpack(path, contents)
        except (OutboxDamaged, sqlite3.Error, TypeError):  # TypeError: no such row, or a blob that is none
            continue
        if isinstance(recorded_at, int):
            yield number, records, recorded_at


def _numbers(connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of all batches of a damaged file but of those on torn pages, in order."""
    found, ended = _walk(connection, "SELECT min(id) FROM batches WHERE id >= ?", 1, 1)
    if ended:
        return found
    # The first page may be the torn one, and the numbers on it high: what is behind it is reached from the end.
    with suppress(sqlite3.Error, TypeError):
        (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'batches'").fetchone()
        found += _walk(connection, "SELECT max(id) FROM batches WHERE id <= ?", last, -1)[0]
    return sorted(set(found))


def _walk(connection: sqlite3.Connection, seek: str, number: int, step: int) -> tuple[list[int], bool]:
    """Seek one number after the other; return them, and whether that came to the end.

    A seek that meets a torn page fails, and one of a number that is not on it does not. It includes the number asked
    for: the one after the last of a page leads to the next page, where that very number may be the first.
    """
    found: list[int] = []
    failed = 0
    while failed < MOST_FAILURES:
        try:
            (one,) = connection.execute(seek, (number,)).fetchone()
        except (sqlite3.Error, OverflowError):  # OverflowError: after a number that a torn page made up
            one, failed = number, failed + 1
        else:
            if one is None:
                return found, True
            if (one - number) * step < 0:
                return found, False  # a page in disorder would lead in circles
            found.append(one)
            failed = 0
        number = one + step
    return found, False


def pack(records: Sequence[Record]) -> tuple[int, int, bytes]:
    """Return how many records there are, their size, and their bytes. What has no bytes is there as a reject."""
    try:
        plain = _encoded(records)
    except (ValueError, OverflowError):
        good, rejects = sorted_out(records, _unencodable)
        records = [*good, *rejects]
        plain = _encoded(records)
    return len(records), len(plain), zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(plain)


def unpack(path: Path, contents: bytes) -> list[Record]:
    """Return the records of a batch, by kind and in order; raise `OutboxDamaged`."""
    try:
        found: Any = _decode(zstandard.ZstdDecompressor().decompress(contents))
    except (zstandard.ZstdError, msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise OutboxDamaged(str(path), f"is damaged ({exc})") from exc
    return list(chain.from_iterable(getattr(found, name) for name in KINDS))


def _encoded(records: Sequence[Record]) -> bytes:
    by_kind: dict[str, list[Record]] = {}
    for record in records:
        by_kind.setdefault(KIND_OF[type(record)].name, []).append(record)
    return msgspec.msgpack.encode(by_kind)


def _unencodable(record: Record) -> str | None:
    try:
        _encoded([record])
    except (ValueError, OverflowError) as exc:
        return str(exc)
    return None
