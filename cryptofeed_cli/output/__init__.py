"""Printers: pages or records of one kind in, a format out, in constant memory; knows no store and no exchange."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, BinaryIO

from cryptofeed_cli.output.columns import Fields
from cryptofeed_cli.output.formats import Format, writer
from cryptofeed_cli.output.text import Writer
from cryptofeed_cli.stores.base import Page, page_of
from cryptofeed_cli.types import KIND_OF, Kind

__all__ = ["BATCH", "Fields", "Format", "MixedLines", "paged", "write_csv", "write_jsonl", "write_pages", "writer"]

BATCH = 256
"""Records in memory at once; a full book holds 1600 strings."""


def write_jsonl(kind: Kind, records: Iterable[Any], stream: BinaryIO, fields: Sequence[str] = ()) -> int:
    """Write records of one kind as JSON lines and return how many.

    Args: ``fields`` selects and orders; empty: all. Raises `UsageError` for an unknown field, `OSError` as it comes.
    """
    return write_pages(Format.jsonl, Fields(kind, fields), paged(kind, records), stream)


def write_csv(kind: Kind, records: Iterable[Any], stream: BinaryIO, fields: Sequence[str] = ()) -> int:
    """Write records of one kind as CSV and return how many. Args and errors: as `write_jsonl`."""
    return write_pages(Format.csv, Fields(kind, fields), paged(kind, records), stream)


def write_pages(form: Format, fields: Fields, pages: Iterable[Page], stream: BinaryIO) -> int:
    """Write pages of one kind and return how many records. Raises `OSError` as it comes."""
    to, written = writer(form, fields, stream), 0
    for page in pages:
        to.write(page)
        written += len(page[0])
    to.end()
    return written


class MixedLines:
    """Writes records of several kinds as JSON lines, in the order they come."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writers: dict[str, Writer] = {}

    def write(self, records: Sequence[Any]) -> None:
        """Write records. Raises `OSError` as it comes."""
        for of, group in groupby(records, type):
            kind = KIND_OF[of]
            if kind.name not in self._writers:
                self._writers[kind.name] = writer(Format.jsonl, Fields(kind), self._stream)
            for page in paged(kind, group):
                self._writers[kind.name].write(page)
        self._stream.flush()


def paged(kind: Kind, records: Iterable[Any]) -> Iterator[Page]:
    """Yield records as pages."""
    records = iter(records)
    while batch := list(islice(records, BATCH)):
        yield page_of(kind, batch)
