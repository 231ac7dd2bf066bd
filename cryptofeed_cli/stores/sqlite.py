"""A store in one SQLite file; knows rows and transactions, not what records mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptofeed_cli.stores.base import PAGE, Page, Series, Span, Store, Tally, Written, records_of
from cryptofeed_cli.stores.conflicts import Conflicts
from cryptofeed_cli.stores.layout import bounds, grouped, layouts
from cryptofeed_cli.stores.sqlite_file import in_our_words, open_file
from cryptofeed_cli.stores.sqlite_rows import Clause, Table
from cryptofeed_cli.types import Kind, Record

ID_PAGE = 10_000


def open_sqlite(url: str, path: Path, *, writable: bool) -> SqliteStore:
    """Open the store in ``path``. ``url`` is for messages. Raises `StoreError`."""
    return SqliteStore(url, open_file(url, path, writable=writable))


class SqliteStore(Store):
    """Keeps every kind in a table; one series number stands for exchange and symbol."""

    def __init__(self, url: str, connection: sqlite3.Connection) -> None:
        self.url = url
        self._connection = connection
        self._tables = {name: Table(layout) for name, layout in layouts().items()}
        self._numbers: dict[tuple[str, str], int] = {}
        self._conflicts = Conflicts()

    def write(self, records: Sequence[Record]) -> Written:
        """Store a batch durably, in one transaction."""
        inserted = conflicts = 0
        with in_our_words(self.url), self._transaction():
            for name, batch in grouped(records):
                table = self._tables[name]
                rows = [table.row(record, self._number(record, table)) for record in batch]
                fresh = self._connection.executemany(table.insert, rows).rowcount
                inserted += fresh
                if fresh < len(rows) and table.may_conflict:
                    contradicting = self._contradicting(table, rows)
                    conflicts += len(contradicting)
                    self._reject(table, [batch[index] for index in contradicting])
        return Written(inserted, len(records) - inserted - conflicts, conflicts)

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

    def tally(self, kind: Kind, series: Series, *, simulated: bool = False) -> Tally:
        """Count one series."""
        name, field = self._tables[kind.name, simulated].layout.name, kind.range[0]
        among = f'FROM "{name}" WHERE series = :series'
        # Three queries in one: SQLite takes an end from the index only where nothing else is asked.
        sql = f"""SELECT (SELECT count(*) {among}), (SELECT min("{field}") {among} AND "{field}" >= 0),
            (SELECT max("{field}") {among} AND "{field}" >= 0)"""
        with in_our_words(self.url):
            row = self._connection.execute(sql, {"series": self._known_number(series)}).fetchone()
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

    def close(self) -> None:
        """Let go of the file."""
        with in_our_words(self.url):
            self._connection.close()

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

    def _reject(self, table: Table, records: list[Any]) -> None:
        rejects = self._tables["rejects", False]
        rows = [rejects.row(reject, 0) for reject in self._conflicts.rejects(table.layout, records)]
        self._connection.executemany(rejects.insert, rows)


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
