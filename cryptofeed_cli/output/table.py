"""Records as a table for people, as they come; what came off the wire is always escaped."""

from __future__ import annotations

import re
from typing import BinaryIO

from cryptofeed_cli.output.columns import TEXTS, Fields, converted
from cryptofeed_cli.output.text import Writer
from cryptofeed_cli.printable import escape
from cryptofeed_cli.stores.base import Page

WIDEST = 40
"""Characters of a list, an object or other long text; the rest is cut off, which "…" tells."""
_ABSENT = "-"
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


class Table(Writer):
    """Columns under their names. As wide as the first page needs; what is wider later stands out."""

    def __init__(self, fields: Fields, stream: BinaryIO) -> None:
        super().__init__(fields, stream)
        self._converters = fields.converters(TEXTS)
        self._widths: list[int] = []
        self._right: list[bool] = []
        """Which columns hold numbers, as far as the first page tells."""

    def write(self, page: Page) -> None:
        """Write a line a record."""
        columns = [
            [_ABSENT if text is None else _shown(text) for text in column]
            for column in converted(self.fields.of(page), self._converters)
        ]
        self._begin(columns)
        self._put(columns)

    def end(self) -> None:
        """Print the head of an empty table, too."""
        self._begin([[] for _ in self.fields.names])
        super().end()

    def _begin(self, columns: list[list[str]]) -> None:
        if self._widths:
            return
        self._widths = [
            max(map(_width, (name, *column))) for name, column in zip(self.fields.names, columns, strict=True)
        ]
        self._right = [
            all(text == _ABSENT or _NUMBER.fullmatch(text) for text in column) and bool(column) for column in columns
        ]
        self._put([[name] for name in self.fields.names])

    def _put(self, columns: list[list[str]]) -> None:
        cells = [
            [_padded(text, width, right=right) for text in column]
            for column, width, right in zip(columns, self._widths, self._right, strict=True)
        ]
        lines = ("  ".join(row).rstrip() for row in zip(*cells, strict=True))
        self.stream.write("".join(f"{line}\n" for line in lines).encode())


def _shown(text: str) -> str:
    text = escape(text)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _padded(text: str, width: int, *, right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
