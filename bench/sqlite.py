"""Trades into and out of the SQLite store, against bare ``sqlite3`` on a file of the same schema and durability."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.race import Figure, Size
from bench.stores import BATCHES, SERIES, race_store
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Series
from cryptofeed_cli.stores.layout import layout
from cryptofeed_cli.stores.sqlite_file import open_file
from cryptofeed_cli.stores.sqlite_rows import Table
from cryptofeed_cli.types import KINDS, Trade

LIMIT = 125
"""Bytes a trade."""


class BareSqlite:
    """``executemany`` of tuples, a transaction a batch; a plain ``SELECT``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._table = Table(layout(KINDS["trades"]))
        self._numbers = {series: number for number, series in enumerate(SERIES)}
        rows = [(number, *series) for series, number in self._numbers.items()]
        connection.executemany("INSERT INTO series (id, exchange, symbol) VALUES (?, ?, ?)", rows)
        names = self._table.columns
        self._insert = f"INSERT INTO trades ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
        self._select = f"SELECT {', '.join(names)} FROM trades WHERE series = ? ORDER BY timestamp, trade_id"  # noqa: S608

    def ready(self, trades: list[Trade]) -> list[Any]:
        """Return the rows."""
        rows = [self._table.row(trade, self._numbers[Series(trade.exchange, trade.symbol)]) for trade in trades]
        trade_id = self._table.columns.index("trade_id")
        return [(*row[:trade_id], int(row[trade_id]), *row[trade_id + 1 :]) for row in rows]

    def write(self, batch: list[Any]) -> None:
        """Insert rows in a transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(self._insert, batch)
        self._connection.execute("COMMIT")

    def read(self, series: Series) -> Iterable[Any]:
        """Select rows."""
        return self._connection.execute(self._select, (self._numbers[series],))


def figures(*, rounds: int, quick: bool) -> list[Figure | Size]:
    """Race writing and reading; measure the file."""
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        path = Path(directory, "ours.db")
        store = open_store(f"sqlite:///{path}", writable=True)
        connection = open_file("bare", Path(directory, "bare.db"), writable=True)
        try:
            raced, stored = race_store(
                "sqlite", store, BareSqlite(connection), rounds=rounds, batches=1 if quick else BATCHES
            )  # fmt: skip
        finally:
            store.close()  # which moves the log into the file
            connection.close()
        return [*raced, Size("sqlite: size of a trade", path.stat().st_size / stored, LIMIT)]
