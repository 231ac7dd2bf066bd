"""Records as rows of the SQLite store and back, and the statements over them; opens no database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec

from cryptofeed_cli.stores.base import Page, Series
from cryptofeed_cli.stores.conflicts import digest
from cryptofeed_cli.stores.layout import Layout
from cryptofeed_cli.types import Encoding

Clause = tuple[str, list[Any]]
"""A piece of SQL and its parameters."""


class Table:
    """One table: what its rows look like and how they are asked for."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._hidden = len(layout.kind.record.__struct_fields__) - len(layout.fields)
        market = layout.kind.market
        # A market record's exchange and symbol are kept once, as its series.
        fields = tuple(name for name in layout.fields if not (market and name in Series._fields))
        self.digested = "content" in layout.key
        self.columns = (*(("series",) if market else ()), *fields, *(("content",) if self.digested else ()))
        self.may_conflict = market and not self.digested
        keys = tuple(name for name in ("series", *layout.key) if name in self.columns)
        self._key = [self.columns.index(name) for name in keys]
        self._content = [self.columns.index(name) for name in layout.content]

        self._pick = attrgetter(*fields)
        self._pick_content = attrgetter(*(layout.content or fields))
        places = {name: index for index, name in enumerate(self.columns)}
        self._absent = [(places[name], absent) for name in fields if (absent := _absent(layout, name)) is not None]
        self._json = [places[name] for name in fields if layout.encodings[name] is Encoding.JSON]
        self._decoders = [
            (index, decode) for index, name in enumerate(fields) if (decode := _decoder(layout, name)) is not None
        ]
        self._width = len(fields)
        selected = tuple(dict.fromkeys((*fields, *layout.order)))
        self._selected = ", ".join(_selected(name) for name in selected)
        self._trade_id = selected.index("trade_id") if "trade_id" in selected else -1
        self._order = [selected.index(name) for name in layout.order]
        self._absent_selected = [
            (index, absent) for index, name in enumerate(fields) if (absent := _absent(layout, name)) is not None
        ]

        self.insert = _insert(layout.name, self.columns, _on_conflict(layout, self.columns))
        self.find = f'SELECT {_listed(layout.content)} FROM "{layout.name}" WHERE {_equal(keys)}'  # noqa: S608

    def row(self, record: Any, series: int) -> list[Any]:
        """Return the values of ``columns``; ``series`` counts for market kinds only."""
        row = [series, *self._pick(record)] if self.layout.kind.market else [*self._pick(record)]
        for index, absent in self._absent:
            if row[index] is None:
                row[index] = absent
        for index in self._json:
            row[index] = msgspec.json.encode(row[index]).decode()
        if self.digested:
            row.append(digest(self._pick_content(record)))
        return row

    def page(self, rows: Sequence[tuple[Any, ...]], series: Series | None) -> Page:
        """Return the columns of selected rows."""
        columns: Page = [*islice(zip(*rows, strict=True), self._width)]
        for index, absent in self._absent_selected:
            if absent in columns[index]:
                columns[index] = [None if value == absent else value for value in columns[index]]
        for index, decode in self._decoders:
            columns[index] = [None if value is None else decode(value) for value in columns[index]]
        if series is not None:
            columns[2:2] = [[name] * len(rows) for name in series]
        return columns + [[None] * len(rows)] * self._hidden

    def position(self, row: tuple[Any, ...]) -> list[Any]:
        """Return where a selected row stands in the order."""
        return [int(row[place]) if place == self._trade_id else row[place] for place in self._order]

    def key(self, row: list[Any]) -> list[Any]:
        """Return the parameters of ``find``."""
        return [row[index] for index in self._key]

    def content(self, row: list[Any]) -> tuple[Any, ...]:
        """Return what ``find`` returns for the same record."""
        return tuple(row[index] for index in self._content)

    def select(self, clauses: list[Clause], *, descending: bool, limit: int) -> Clause:
        """Return the query for one page of rows: their fields, and what else orders them."""
        direction = "DESC" if descending else "ASC"
        order = ", ".join(f'"{name}" {direction}' for name in self.layout.order)
        where, values = _joined(clauses)
        sql = f'SELECT {self._selected} FROM "{self.layout.name}" WHERE {where} ORDER BY {order} LIMIT ?'  # noqa: S608
        return sql, [*values, limit]

    def place(self, clauses: list[Clause], ahead: int) -> Clause:
        """Return the query for the position of the row that has ``ahead`` rows before it."""
        where, values = _joined(clauses)
        columns = _listed(self.layout.order)
        sql = f'SELECT {columns} FROM "{self.layout.name}" WHERE {where} ORDER BY {columns} LIMIT 1 OFFSET ?'  # noqa: S608
        return sql, [*values, ahead]

    def delete(self, clauses: list[Clause], last: tuple[Any, ...] | None) -> Clause:
        """Return the statement that removes rows up to a position, that one included; None: all."""
        if last is not None:
            marks = ", ".join("?" * len(last))
            clauses = [*clauses, (f"({_listed(self.layout.order)}) <= ({marks})", list(last))]
        where, values = _joined(clauses)
        return f'DELETE FROM "{self.layout.name}" WHERE {where}', values  # noqa: S608


def _joined(clauses: list[Clause]) -> Clause:
    return " AND ".join(sql for sql, _ in clauses) or "TRUE", [value for _, values in clauses for value in values]


def _absent(layout: Layout, name: str) -> int | str | None:
    """What stands for absent where the field may be None, yet a key or an order needs the column NOT NULL."""
    if name not in layout.optional or name not in layout.key + layout.order:
        return None
    return "" if layout.encodings[name] is Encoding.TEXT else -1


def _decoder(layout: Layout, name: str) -> Callable[[Any], Any] | None:
    match layout.encodings[name]:
        case Encoding.JSON:
            return msgspec.json.Decoder(layout.hints[name]).decode
        case Encoding.BOOLEAN:
            return bool
        case _:
            return None


def _selected(name: str) -> str:
    """The column as SQL gives it back. The column of a trade id made an integer of its digits by its affinity."""
    return 'CAST("trade_id" AS TEXT)' if name == "trade_id" else f'"{name}"'


def _on_conflict(layout: Layout, columns: tuple[str, ...]) -> str:
    updates = ", ".join(f'"{name}" = excluded."{name}"' for name in columns)
    match layout.kind.name:
        case "gaps":
            return f"(gap_id) DO UPDATE SET {updates} WHERE excluded.revision > gaps.revision"
        case "runs":
            return f"(run_id) DO UPDATE SET {updates}"
        case _:
            return "DO NOTHING"


def _insert(table: str, columns: tuple[str, ...], on_conflict: str) -> str:
    marks = ", ".join("?" * len(columns))
    return f'INSERT INTO "{table}" ({_listed(columns)}) VALUES ({marks}) ON CONFLICT {on_conflict}'  # noqa: S608


def _listed(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _equal(columns: tuple[str, ...]) -> str:
    return " AND ".join(f'"{name}" = ?' for name in columns)
