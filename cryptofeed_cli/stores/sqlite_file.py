"""Opening the file of an SQLite store, and what SQLite says in our words; knows no records."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from cryptofeed_cli.errors import StoreDamaged, StoreError, StoreRefused, StoreTooNew, StoreUnreachable
from cryptofeed_cli.stores import sqlite_schema

BUSY_SECONDS = 5.0
"""How long a statement waits for another process."""

WAL_LIMIT = 64 * 1024 * 1024
"""What is left of the write-ahead log after a checkpoint, in bytes."""

DAMAGED = ".damaged-"
"""Added to the name of a file that is set aside, before its time."""
MOUNTS = Path("/proc/mounts")
_APPLICATION_ID_AT = 68
"""Where the header of an SQLite file has it."""
_NETWORK = ("nfs", "cifs", "smb", "afs", "ceph", "gluster", "lustre", "9p", "sshfs", "davfs", "ncpfs")

_TRANSIENT = {
    sqlite3.SQLITE_BUSY: f"locked by another program for {BUSY_SECONDS:g} s; try again",
    sqlite3.SQLITE_LOCKED: "locked by another connection; try again",
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_IOERR: "the disk does not read or write; check it",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_PROTOCOL: "locked by another program; try again",
}
_FINAL = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that the file and its directory may be written",
    sqlite3.SQLITE_READONLY: "is read-only; make it writable or name another file",
    sqlite3.SQLITE_PERM: "permission denied",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; name another file",
}
_DAMAGED = "is damaged; move it away, or read what can be read with `sqlite3 FILE .recover`"


@contextmanager
def in_our_words(url: str) -> Iterator[None]:
    """Turn what SQLite raises into `StoreUnreachable` (again later), `StoreDamaged` or `StoreRefused` (never)."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _translated(url, exc) from exc
    except (OverflowError, UnicodeEncodeError) as exc:
        raise StoreRefused(url, f"a value cannot be stored: {exc}") from exc


def open_file(url: str, path: Path, *, writable: bool, mounts: Path = MOUNTS) -> sqlite3.Connection:
    """Open a file of ours, made where it is missing and ``writable``. Raises `StoreError`."""
    _check_place(url, path, writable=writable, mounts=mounts)
    with in_our_words(url):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if writable else 'ro'}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _prepare(url, connection, writable=writable)
        except BaseException:
            connection.close()
            raise
    return connection


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file of ours and its logs; return its new name, None where it is not ours. Raises `OSError`.

    Who reads it reads on: a new name is no new file.
    """
    path = path.resolve()
    with path.open("rb") as file:
        file.seek(_APPLICATION_ID_AT)
        if int.from_bytes(file.read(4)) != sqlite_schema.APPLICATION_ID:
            return None
    stem = f"{path.name}{DAMAGED}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    names = (path.with_name(stem if number == 1 else f"{stem}-{number}") for number in count(1))
    aside = next(name for name in names if not name.exists())
    for suffix in ("", "-wal", "-shm"):  # the file first: as long as it is in its place it needs its log
        with suppress(FileNotFoundError):
            path.with_name(f"{path.name}{suffix}").rename(aside.with_name(f"{aside.name}{suffix}"))
    return aside


def network_filesystem(path: Path, mounts: str) -> str | None:
    """Return the type of the network file system that holds ``path``, by the text of ``/proc/mounts``; else None."""
    best, found = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if len(point.parts) >= best and path.is_relative_to(point):
            best, found = len(point.parts), fields[2]
    return found if found.removeprefix("fuse.").startswith(_NETWORK) else None


def _check_place(url: str, path: Path, *, writable: bool, mounts: Path) -> None:
    try:
        exists, is_directory, has_directory = path.exists(), path.is_dir(), path.parent.is_dir()
    except OSError as exc:
        raise StoreRefused(url, f"cannot be opened: {exc.strerror}") from exc
    if is_directory:
        raise StoreRefused(url, "is a directory; name a file in it")
    if not exists and not writable:
        raise StoreUnreachable(url, "no such file; record something first")
    if not has_directory:
        raise StoreRefused(url, f"the directory {path.parent} does not exist; create it first")
    network = network_filesystem(path.resolve(), mounts.read_text()) if mounts.exists() else None
    if network is not None:
        raise StoreRefused(url, f"lies on {network}, where SQLite's locks do not hold; use a local disk or mongodb://")


def _prepare(url: str, connection: sqlite3.Connection, *, writable: bool) -> None:
    version = sqlite_schema.version_of(connection)
    if version is None:
        raise StoreRefused(url, "is a database of another program; name another file")
    if version > sqlite_schema.VERSION:
        raise StoreTooNew(url, version, sqlite_schema.VERSION)
    if not writable:
        if version == 0:
            raise StoreUnreachable(url, "nothing is recorded there yet; record something first")
        if version < sqlite_schema.VERSION:
            raise StoreRefused(url, f"has the older schema version {version}; `cryptofeed record` brings it up to date")
        return
    # auto_vacuum can only be chosen before the first page is written, which journal_mode does.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreRefused(url, f"cannot keep a write-ahead log there (journal mode {mode}); use a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    if version < sqlite_schema.VERSION:
        sqlite_schema.migrate(connection)


def _translated(url: str, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code; the rest only says more
    if code in _TRANSIENT:
        return StoreUnreachable(url, _TRANSIENT[code])
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreDamaged(url, _DAMAGED)
    return StoreRefused(url, _FINAL.get(code, f"SQLite says: {error}"))
