"""Records as JSON lines, one JSON array, or CSV, in constant memory; knows no store and no file.

Records are printed in the order they come. Fields stand in the order of `Kind.fields`, or in the order asked for. What
is absent is null in JSON and empty in CSV; prices, sizes and ids are the text that they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, BinaryIO

import msgspec

from cryptofeed_cli.output.columns import TEXTS, TIMES, Column, Fields, converted
from cryptofeed_cli.printable import escape_lines
from cryptofeed_cli.stores.base import Page


class Writer(ABC):
    """Writes pages of one kind to a stream, in one format. `end` is called once, also where there was no page."""

    def __init__(self, fields: Fields, stream: BinaryIO) -> None:
        self.fields = fields
        self.stream = stream

    @abstractmethod
    def write(self, page: Page) -> None:
        """Write some records. Raises `OSError` as it comes."""

    def end(self) -> None:
        """Write what comes after the last record."""
        self.stream.flush()


class TextWriter(Writer):
    """A format that is text: on a terminal it comes without control characters."""

    def __init__(self, fields: Fields, stream: BinaryIO) -> None:
        super().__init__(fields, stream)
        self._terminal = stream.isatty()

    def put(self, data: bytes) -> None:
        """Write encoded text."""
        self.stream.write(escape_lines(data.decode()).encode() if self._terminal else data)


class JsonLines(TextWriter):
    """A JSON object a line."""

    def __init__(self, fields: Fields, stream: BinaryIO) -> None:
        super().__init__(fields, stream)
        self._row = msgspec.defstruct("Row", [(name, Any) for name in fields.names], gc=False)
        self._converters = fields.converters(TIMES)
        self._encoder = msgspec.json.Encoder()

    def lines(self, page: Page) -> bytes:
        """Return the lines of some records."""
        columns = converted(self.fields.of(page), self._converters)
        return self._encoder.encode_lines(list(map(self._row, *columns)))

    def write(self, page: Page) -> None:
        """Write a line a record."""
        self.put(self.lines(page))


class JsonArray(JsonLines):
    """One JSON array, a line a record."""

    _begun = False

    def write(self, page: Page) -> None:
        """Write some elements."""
        # No line feed stands within an object: in JSON text it is written as an escape.
        self.put((b",\n" if self._begun else b"[\n") + self.lines(page)[:-1].replace(b"\n", b",\n"))
        self._begun = True

    def end(self) -> None:
        """Close the array."""
        self.put(b"\n]\n" if self._begun else b"[]\n")
        super().end()


class Csv(TextWriter):
    """CSV (RFC 4180, lines end in a line feed) under a header; lists and objects are JSON."""

    def __init__(self, fields: Fields, stream: BinaryIO) -> None:
        super().__init__(fields, stream)
        self._converters = fields.converters(TEXTS)
        # Readers skip an empty line, so the only cell of a row is never quite empty.
        self._absent = '""' if len(fields.names) == 1 else ""
        stream.write(f"{','.join(fields.names)}\n".encode())

    def write(self, page: Page) -> None:
        """Write a line a record."""
        columns = converted(self.fields.of(page), self._converters)
        rows = zip(*(_cells(column, self._absent) for column in columns), strict=True)
        self.put(("\n".join(map(",".join, rows)) + "\n").encode())


def _cells(column: Column, absent: str) -> Sequence[str]:
    try:
        quote = _needs_quotes("".join(column))
    except TypeError:  # an absent value; looking for one first costs more than all the rest
        return [absent if text is None else _quoted(text) for text in column]
    return [_quoted(text) for text in column] if quote else column


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _needs_quotes(text) else text


def _needs_quotes(text: str) -> bool:
    return "," in text or '"' in text or "\n" in text or "\r" in text
