"""Prints records as the contract writes them, in constant memory; knows no store and no exchange.

Records are printed in the order they come. Fields stand in the order of `Kind.fields`, or in the order asked for.
Work goes column by column through small batches: what needs no conversion then costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice, starmap
from operator import attrgetter
from typing import Any, BinaryIO

import msgspec

from cryptofeed_cli.clock import SECOND, format_milliseconds, format_nanoseconds
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.printable import escape_lines
from cryptofeed_cli.types import KIND_OF, Encoding, Kind

BATCH = 256
"""Records in memory at once; a full book holds 1600 strings."""

Column = list[Any]
Convert = Callable[[Column], Column]
_Way = tuple[tuple[str, ...], list[Convert | None], Callable[[list[Column]], bytes]]


def write_jsonl(kind: Kind, records: Iterable[Any], stream: BinaryIO, fields: Sequence[str] = ()) -> int:
    """Write records of one kind as JSON lines and return how many; what is absent is null.

    Args: ``fields`` selects and orders; empty: all. Raises `UsageError` for an unknown field, `OSError` as it comes.
    """
    names, converters, encode = _in_json(kind, fields)
    return _write(_batches(names, converters, records), encode, stream)


class MixedLines:
    """Writes records of several kinds as JSON lines, in the order they come."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ways: dict[str, _Way] = {}

    def write(self, records: Sequence[Any]) -> None:
        """Write records; raises `OSError` as it comes."""
        for of, group in groupby(records, type):
            kind = KIND_OF[of]
            if kind.name not in self._ways:
                self._ways[kind.name] = _in_json(kind, ())
            names, converters, encode = self._ways[kind.name]
            _write(_batches(names, converters, group), encode, self._stream, flush=False)
        self._stream.flush()


def write_csv(kind: Kind, records: Iterable[Any], stream: BinaryIO, fields: Sequence[str] = ()) -> int:
    """Write records of one kind as CSV (RFC 4180, lines end in a line feed) under a header and return how many.

    What is absent is empty, booleans are ``true`` and ``false``, lists and objects are JSON. Args and errors: as
    `write_jsonl`.
    """
    names = _selected(kind, fields)
    # Readers skip an empty line, so the only cell of a row is never quite empty.
    cells = partial(_cells, absent='""' if len(names) == 1 else "")
    converters = [_IN_CSV.get(kind.encodings[name]) for name in names]
    stream.write(f"{','.join(names)}\n".encode())
    batches = _batches(names, converters, records)
    return _write(batches, lambda columns: _csv([cells(column) for column in columns]), stream)


def _in_json(kind: Kind, fields: Sequence[str]) -> _Way:
    """Return the fields of a kind, how each becomes JSON, and what writes them."""
    names = _selected(kind, fields)
    row = msgspec.defstruct("Row", [(name, Any) for name in names], gc=False)
    encode = msgspec.json.Encoder().encode_lines
    converters = [_IN_JSON.get(kind.encodings[name]) for name in names]
    return names, converters, lambda columns: encode(list(starmap(row, zip(*columns, strict=True))))


def _selected(kind: Kind, fields: Sequence[str]) -> tuple[str, ...]:
    for name in fields:
        if name not in kind.fields:
            near = nearest(name, kind.fields)
            hint = f"; did you mean {near!r}?" if near else ""
            raise UsageError(f"{kind.name} have no field {name!r}{hint} (fields: {', '.join(kind.fields)})")
    return tuple(dict.fromkeys(fields)) or kind.fields


def _batches(
    names: Sequence[str], converters: Sequence[Convert | None], records: Iterable[Any]
) -> Iterator[list[Column]]:
    columns = [(attrgetter(name), convert) for name, convert in zip(names, converters, strict=True)]
    records = iter(records)
    while batch := list(islice(records, BATCH)):
        yield [convert(list(map(get, batch))) if convert else list(map(get, batch)) for get, convert in columns]


def _write(
    batches: Iterable[list[Column]], encode: Callable[[list[Column]], bytes], stream: BinaryIO, *, flush: bool = True
) -> int:
    written = 0
    terminal = stream.isatty()
    for columns in batches:
        data = encode(columns)
        stream.write(escape_lines(data.decode()).encode() if terminal else data)
        written += len(columns[0])
    if flush:
        stream.flush()
    return written


def _times(unit: int, digits: int, write: Callable[[int], str], column: Column) -> Column:
    # Neighbours mostly share their second, and writing a date costs ten times what the rest does.
    texts: Column = []
    add = texts.append
    start = end = 0
    prefix = ""
    for time in column:
        if time is None or time < unit:
            add(time if time is None else write(time))
            continue
        if not start <= time < end:
            start = time - time % unit
            end = start + unit
            prefix = write(start).partition(".")[0]
        add(f"{prefix}.{str(time)[-digits:]}Z")
    return texts


def _json(column: Column) -> Column:
    encode = msgspec.json.Encoder().encode
    return [None if value is None else encode(value).decode() for value in column]


_BOOLEANS = {True: "true", False: "false", None: None}
_IN_JSON: dict[Encoding, Convert] = {
    Encoding.MILLISECONDS: partial(_times, 1000, 3, format_milliseconds),
    Encoding.NANOSECONDS: partial(_times, SECOND, 9, format_nanoseconds),
}
_IN_CSV: dict[Encoding, Convert] = {
    **_IN_JSON,
    Encoding.INTEGER: lambda column: [None if value is None else str(value) for value in column],
    Encoding.BOOLEAN: lambda column: [_BOOLEANS[value] for value in column],
    Encoding.JSON: _json,
}


def _csv(columns: list[Column]) -> bytes:
    return ("\n".join(map(",".join, zip(*columns, strict=True))) + "\n").encode()


def _cells(column: Column, absent: str) -> Column:
    try:
        quote = _needs_quotes("".join(column))
    except TypeError:  # an absent value; looking for one first costs more than all the rest
        return [absent if text is None else _quoted(text) for text in column]
    return [_quoted(text) for text in column] if quote else column


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _needs_quotes(text) else text


def _needs_quotes(text: str) -> bool:
    return "," in text or '"' in text or "\n" in text or "\r" in text
