"""Records as documents of the MongoDB store and back; opens no database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
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
_ROW = "row"


class Documents:
    """What the documents of one collection look like. Field names are those of the records."""

    def __init__(self, layout: Layout) -> None:
        self._hidden = tuple(name for name in layout.kind.record.__struct_fields__ if name not in layout.fields)
        self._build = layout.kind.record
        self.identity = identity(layout)
        columns = dict.fromkeys((*layout.fields, *sort_fields(layout)))
        self.row: Document = {"_id": False, _ROW: [_sent(name, layout.encodings.get(name)) for name in columns]}
        """A document as an array of its values, as a projection."""
        self._width = len(layout.fields)
        self._places = [(place, name) for place, name in enumerate(columns) if name in sort_fields(layout)]
        self._readers = [
            (place, read) for place, name in enumerate(layout.fields) if (read := _reader(name, layout.encodings[name]))
        ]
        restored = [(name, _encoder(name, layout.encodings[name])) for name in sort_fields(layout) if name != "_id"]
        self._restore = {name: encode for name, encode in restored if encode is not None}
        self._numbers = {name for name in layout.fields if _sent(name, layout.encodings[name]) != f"${name}"}
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
        """Return the columns of documents that were asked for as `row`."""
        rows = [document[_ROW] for document in documents]
        columns: Page = list(islice(zip(*rows, strict=True), self._width))
        for place, read in self._readers:
            column = columns[place]
            columns[place] = (
                [None if value is None else read(value) for value in column] if None in column
                else list(map(read, column))
            )  # fmt: skip
        return columns + [[None] * len(rows)] * len(self._hidden)

    def position(self, document: Document) -> Document:
        """Return what places a document that was asked for as `row`, as it is stored."""
        place: Document = {}
        for index, name in self._places:
            value = document[_ROW][index]
            if value is not None and name in self._numbers:
                value = int(value)
            encode = self._restore.get(name)
            place[name] = value if value is None or encode is None else encode(value)
        return place

    def record(self, document: Document) -> Any:
        """Return the record of a document."""
        values = list(self._pick_from_document(document))
        for place, decode in self._decoders:
            if values[place] is not None:
                values[place] = decode(values[place])
        return self._build(*values)


def _sent(name: str, encoding: Encoding | None) -> Any:
    """How a field comes over the wire. Numbers come as text: the driver makes an object of its own of each of them,
    and of each date, which took longer than all the rest together."""
    match encoding:
        case Encoding.MILLISECONDS:
            return {"$toString": {"$toLong": f"${name}"}}
        case Encoding.INTEGER | Encoding.NANOSECONDS:
            return {"$toString": f"${name}"}
        case _ if name == "trade_id":
            return {"$toString": f"${name}"}
        case _:
            return f"${name}"


def _reader(name: str, encoding: Encoding) -> _Convert | None:
    """What makes a value of what came over the wire."""
    return None if name == "trade_id" else _decoder(name, encoding)


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
