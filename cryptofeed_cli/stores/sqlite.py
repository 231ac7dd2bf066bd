"""A store in one SQLite file; knows rows and transactions, not what records mean."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cryptofeed_cli.errors import StoreBusy, StoreRefused
from cryptofeed_cli.stores.base import PAGE, Page, Room, Series, Span, Store, Tally, Written, records_of
from cryptofeed_cli.stores.conflicts import Conflicts
from cryptofeed_cli.stores.layout import bounds, grouped, layouts
from cryptofeed_cli.stores.locks import FileLock, Held
from cryptofeed_cli.stores.sqlite_file import in_our_words, open_file
from cryptofeed_cli.stores.sqlite_rows import Clause, Table
from cryptofeed_cli.stores.unstorable import sorted_out
from cryptofeed_cli.types import Kind, Record, Reject

ID_PAGE = 10_000
SHRINK_PAGES = 128
"""Pages moved and cut off at once: half a megabyte."""

_UNSTORABLE = (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError, sqlite3.DataError)
"""What a value causes that no column can hold."""


class _Undo(Exception):
    """It worked, and is not meant to stay."""


def open_sqlite(url: str, path: Path, *, writable: bool, recorder: str | None = None) -> SqliteStore:
    """Open the store in ``path``. ``url`` is for messages; as ``recorder`` of that name, alone. Raises `StoreError`."""
    connection = open_file(url, path, writable=writable)
    try:
        lock = None if recorder is None else _lock(url, path, recorder)
    except BaseException:
        connection.close()
        raise
    return SqliteStore(url, path, connection, lock)


def _lock(url: str, path: Path, recorder: str) -> FileLock:
    real = path.resolve()  # of one file with two names there is one lock
    try:
        return FileLock(real.with_name(f"{real.name}.lock"), recorder)
    except Held as exc:
        raise StoreBusy(url, f"{exc} records into it; stop that, or name another store") from None
    except OSError as exc:
        raise StoreRefused(url, f"cannot be locked: {exc.strerror}") from exc


class SqliteStore(Store):
    """Keeps every kind in a table; one series number stands for exchange and symbol."""

    def __init__(self, url: str, path: Path, connection: sqlite3.Connection, lock: FileLock | None = None) -> None:
        self.url = url
        self._path = path
        self._connection = connection
        self._lock = lock
        self._tables = {name: Table(layout) for name, layout in layouts().items()}
        self._numbers: dict[tuple[str, str], int] = {}
        self._conflicts = Conflicts()

    def write(self, records: Sequence[Record]) -> Written:
        """Store a batch durably, in one transaction."""
        with in_our_words(self.url):
            try:
                return self._write(records)
            except _UNSTORABLE:
                good, rejects = sorted_out(records, self._misfit)
                if not rejects:
                    raise
                return self._write(good, rejects)

    def _write(self, records: Sequence[Record], rejects: Sequence[Reject] = ()) -> Written:
        inserted = conflicts = 0
        with self._transaction():
            for name, batch in grouped(records):
                table = self._tables[name]
                fresh = self._connection.executemany(table.insert, rows := self._rows(table, batch)).rowcount
                inserted += fresh
                if fresh < len(rows) and table.may_conflict:
                    contradicting = self._contradicting(table, rows)
                    conflicts += len(contradicting)
                    self._reject(self._conflicts.rejects(table.layout, [batch[index] for index in contradicting]))
            self._reject(rejects)
        return Written(inserted, len(records) - inserted - conflicts, conflicts, len(rejects))

    def now(self) -> int:
        """Return this machine's clock: the file is on it."""
        return time.time_ns()

    def scan(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
        descending: bool = False,
    ) -> Iterator[Any]:
        """Yield the records of one series in the kind's order."""
        return records_of(kind, self.pages(kind, series, span=span, simulated=simulated, descending=descending))

    def pages(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
        descending: bool = False,
        most: int = PAGE,
    ) -> Iterator[Page]:
        """Yield the same in pages, each read in a transaction of its own."""
        table = self._tables[kind.name, simulated]
        with in_our_words(self.url):
            among = self._among(series)
        position: list[Any] | None = None
        size = page = 0
        while size == page:  # the last page is the one that is not full
            page = min(table.layout.page(page), most)
            clauses = [among, *_selected(table, span, position, descending=descending)]
            sql, values = table.select(clauses, descending=descending, limit=page)
            with in_our_words(self.url):
                # Nothing stays open between pages: an open statement would keep the log from being truncated.
                rows = self._connection.execute(sql, values).fetchall()
            size = len(rows)
            if rows:
                yield table.page(rows, series)
                position = table.position(rows[-1])

    def series(self, kind: Kind, *, simulated: bool = False) -> list[Series]:
        """Return the series of a market kind that have records, sorted."""
        name = self._tables[kind.name, simulated].layout.name
        sql = f'SELECT exchange, symbol FROM series WHERE EXISTS (SELECT 1 FROM "{name}" WHERE series = id)'  # noqa: S608
        with in_our_words(self.url):
            return sorted(Series(*row) for row in self._connection.execute(sql))

    def tally(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
    ) -> Tally:
        """Count one series."""
        table, field = self._tables[kind.name, simulated], kind.range[0]
        with in_our_words(self.url):
            among = [self._among(series), *_selected(table, span, None, descending=False)]
            where = " AND ".join(sql for sql, _ in among)
            where = f'FROM "{table.layout.name}" WHERE {where}'
            # Three queries in one: SQLite takes an end from the index only where nothing else is asked.
            sql = f"""SELECT (SELECT count(*) {where}), (SELECT min("{field}") {where} AND "{field}" >= 0),
                (SELECT max("{field}") {where} AND "{field}" >= 0)"""
            row = self._connection.execute(sql, [value for _, values in among for value in values] * 3).fetchone()
        return Tally(series, *row)

    def trade_ids(self, series: Series, first: int, last: int) -> Iterator[int]:
        """Yield the ids from ``first`` to ``last`` that are stored."""
        sql = "SELECT trade_id FROM trades WHERE series = ? AND trade_id BETWEEN ? AND ? ORDER BY trade_id LIMIT ?"
        page = [first - 1]
        while page:
            with in_our_words(self.url):
                values = (self._known_number(series), page[-1] + 1, last, ID_PAGE)
                page = [number for (number,) in self._connection.execute(sql, values).fetchall()]
            yield from page

    def remove(
        self, kind: Kind, series: Series | None, before: int, limit: int, *, simulated: bool = False
    ) -> int:
        """Remove the first records of one series, in one transaction."""
        table = self._tables[kind.name, simulated]
        with in_our_words(self.url), self._transaction():
            among = [self._among(series), *_selected(table, Span(until=before), None, descending=False)]
            last = self._connection.execute(*table.place(among, limit - 1)).fetchone()
            return self._connection.execute(*table.delete(among, last)).rowcount

    def shrink(self) -> bool:
        """Cut off some of the free pages of the file; return whether there are more."""
        with in_our_words(self.url):
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            if free:
                # A script, since `execute` takes one step of a statement without columns, and this is a page a step.
                self._connection.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")
        return bool(free > SHRINK_PAGES)

    def room(self) -> Room:
        """Return the size of the file and its log, and what their disk has left."""
        path = self._path.resolve()
        files = (path, path.with_name(f"{path.name}-wal"))
        return Room(sum(file.stat().st_size for file in files if file.exists()), shutil.disk_usage(path.parent).free)

    def close(self) -> None:
        """Let go of the file."""
        with in_our_words(self.url):
            self._connection.close()
        if self._lock is not None:
            self._lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._numbers.clear()  # some may have been given out in what is undone now
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _number(self, record: Any, table: Table) -> int:
        if not table.layout.kind.market:
            return 0
        series = (record.exchange, record.symbol)
        number = self._numbers.get(series)
        if number is None:
            sql = "INSERT INTO series (exchange, symbol) VALUES (?, ?) ON CONFLICT DO NOTHING"
            self._connection.execute(sql, series)
            self._numbers[series] = number = self._known_number(series)
        return number

    def _known_number(self, series: tuple[str, str]) -> int:
        """Return the number of a series, -1 where it has none."""
        sql = "SELECT id FROM series WHERE exchange = ? AND symbol = ?"
        row = self._connection.execute(sql, series).fetchone()
        return -1 if row is None else int(row[0])

    def _among(self, series: Series | None) -> Clause:
        return ("TRUE", []) if series is None else ('"series" = ?', [self._known_number(series)])

    def _contradicting(self, table: Table, rows: list[list[Any]]) -> list[int]:
        """Return which rows are not what is stored under their key."""
        find = self._connection.execute
        return [i for i, row in enumerate(rows) if find(table.find, table.key(row)).fetchone() != table.content(row)]

    def _reject(self, rejects: Sequence[Reject]) -> None:
        table = self._tables["rejects", False]
        self._connection.executemany(table.insert, self._rows(table, rejects))

    def _rows(self, table: Table, records: Sequence[Any]) -> list[list[Any]]:
        return [table.row(record, self._number(record, table)) for record in records]

    def _misfit(self, record: Any) -> str | None:
        """Try one record and leave no trace; return what is wrong with it."""
        ((name, batch),) = grouped([record])
        table = self._tables[name]
        try:
            with suppress(_Undo), self._transaction():
                self._connection.executemany(table.insert, self._rows(table, batch))
                raise _Undo
        except _UNSTORABLE as exc:
            return str(exc)
        return None


def _selected(table: Table, span: Span, position: list[Any] | None, *, descending: bool) -> list[Clause]:
    """The conditions for the next page of a span, behind the position where the last one ended."""
    layout = table.layout
    low, high = bounds(layout.kind, span)
    first, last = layout.kind.range
    after = before = None
    if high is not None:
        before = (f'"{first}" < ?', [high])
    if low is not None and not layout.ranged_by_span:
        after = (f'"{first}" >= ?', [low])
    if position is not None:
        # Takes the place of the bound it implies: SQLite starts a search at one bound only, and not at the better one.
        columns, marks = ", ".join(f'"{name}"' for name in layout.order), ", ".join("?" * len(position))
        bound = (f"({columns}) {'<' if descending else '>'} ({marks})", position)
        after, before = (after, bound) if descending else (bound, before)
    overlap = (f'("{last}" IS NULL OR "{last}" >= ?)', [low]) if low is not None and layout.ranged_by_span else None
    return [clause for clause in (after, before, overlap) if clause is not None]
