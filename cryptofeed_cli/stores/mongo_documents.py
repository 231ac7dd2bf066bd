"""Records as documents of the MongoDB store and back; opens no database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
from bson import DatetimeMS, Int64

from cryptofeed_cli.stores.base import Page
from cryptofeed_cli.stores.layout import Layout
from cryptofeed_cli.stores.mongo_schema import identity, sort_fields
from cryptofeed_cli.types import Encoding

Document = dict[str, Any]
_Convert = Callable[[Any], Any]

_LEVELS = ("bids", "asks")


class Documents:
    """What the documents of one collection look like. Field names are those of the records."""

    def __init__(self, layout: Layout) -> None:
        self._hidden = tuple(name for name in layout.kind.record.__struct_fields__ if name not in layout.fields)
        self._build = layout.kind.record
        self.identity = identity(layout)
        self.wanted = None if "_id" in sort_fields(layout) else {"_id": False}
        """What a page needs of the documents, as a projection."""
        self._pick_from_document = itemgetter(*layout.fields)
        self.content = attrgetter(*(layout.content or layout.fields))
        """What two records of one key must agree in."""
        chosen = [(name, _encoder(name, layout.encodings[name])) for name in layout.fields]
        self._encoders = [(name, encode) for name, encode in chosen if encode is not None]
        decoders = [_decoder(name, layout.encodings[name]) for name in layout.fields]
        self._decoders = [(place, decode) for place, decode in enumerate(decoders) if decode is not None]

    def document(self, record: Any) -> Document:
        """Return the document of a record, ``_id`` included."""
        document: Document = msgspec.structs.asdict(record)
        for name in self._hidden:
            del document[name]
        document["_id"] = self.identity(record)
        for name, encode in self._encoders:
            if document[name] is not None:
                document[name] = encode(document[name])
        return document

    def page(self, documents: Sequence[Document]) -> Page:
        """Return the columns of documents."""
        columns: Page = list(zip(*map(self._pick_from_document, documents), strict=True))
        for place, decode in self._decoders:
            column = columns[place]
            columns[place] = (
                [None if value is None else decode(value) for value in column] if None in column
                else list(map(decode, column))
            )  # fmt: skip
        return columns + [[None] * len(documents)] * len(self._hidden)

    def record(self, document: Document) -> Any:
        """Return the record of a document."""
        values = list(self._pick_from_document(document))
        for place, decode in self._decoders:
            if values[place] is not None:
                values[place] = decode(values[place])
        return self._build(*values)


def _encoder(name: str, encoding: Encoding) -> _Convert | None:
    if name == "trade_id":
        return Int64
    match encoding:
        case Encoding.MILLISECONDS:
            return DatetimeMS
        case Encoding.INTEGER:
            return Int64  # of one width, however small; nanoseconds since 1970 are never small
        case _:
            return None


def _decoder(name: str, encoding: Encoding) -> _Convert | None:
    if name == "trade_id":
        return str
    if name in _LEVELS:
        return _levels
    match encoding:
        case Encoding.MILLISECONDS | Encoding.INTEGER | Encoding.NANOSECONDS:
            return int
        case Encoding.JSON:
            return _plain
        case _:
            return None


def _levels(levels: list[list[Any]]) -> list[tuple[Any, ...]]:
    return [(level[0], level[1], *map(int, level[2:])) for level in levels]


def _plain(value: Any) -> Any:
    """Without the driver's own kind of integer, which is no `int` to others."""
    match value:
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case Int64():
            return int(value)
        case _:
            return value
