"""Records as Parquet: typed times, text for what must be exact, row groups as they fill; knows no store.

Prices, sizes and ids stay text: files of all days and symbols then have one schema, and hold what the exchange sent
character by character.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.output.columns import Column, Fields
from cryptofeed_cli.output.text import Writer
from cryptofeed_cli.stores.base import Page
from cryptofeed_cli.types import BookUpdate, Encoding

GROUP = 1 << 14
"""Records of a row group: one of 65,536 took 20 MB more memory."""
GROUP_OF_LEVELS = 1 << 11
"""The same, where a record holds a book."""
_UTC_MS, _UTC_NS = pa.timestamp("ms", "UTC"), pa.timestamp("ns", "UTC")
_LEVEL = [pa.field("price", pa.string()), pa.field("size", pa.string())]
_TYPES: dict[Encoding, pa.DataType] = {
    Encoding.TEXT: pa.string(),
    Encoding.INTEGER: pa.int64(),
    Encoding.BOOLEAN: pa.bool_(),
    Encoding.MILLISECONDS: _UTC_NS,
    Encoding.NANOSECONDS: _UTC_NS,
    Encoding.JSON: pa.string(),
}


class Parquet(Writer):
    """Times are UTC nanoseconds, levels lists of structs, other objects JSON; compressed with zstd."""

    def __init__(self, fields: Fields, stream: BinaryIO) -> None:
        super().__init__(fields, stream)
        types = [_type(fields, name, encoding) for name, encoding in zip(fields.names, fields.encodings, strict=True)]
        self._makers = [_maker(type_, encoding) for type_, encoding in zip(types, fields.encodings, strict=True)]
        self._schema = pa.schema(list(zip(fields.names, types, strict=True)))
        self._group = GROUP_OF_LEVELS if any(pa.types.is_list(type_) for type_ in types) else GROUP
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd")

    def write(self, page: Page) -> None:
        """Keep some records until they fill a row group."""
        try:
            arrays = [make(column) for make, column in zip(self._makers, self.fields.of(page), strict=True)]
        except (pa.ArrowInvalid, OverflowError) as exc:
            raise UsageError(f"a value has no place in Parquet: {exc}; export as csv or jsonl") from exc
        self._waiting.append(pa.record_batch(arrays, schema=self._schema))
        self._rows += len(page[0])
        if self._rows >= self._group:
            self._flush()

    def end(self) -> None:
        """Write the last row group and the foot of the file."""
        self._flush()
        self._writer.close()
        super().end()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=max(self._rows, 1))
            self._waiting, self._rows = [], 0


def _type(fields: Fields, name: str, encoding: Encoding) -> pa.DataType:
    if name in ("bids", "asks"):
        counted = fields.kind.record is BookUpdate
        return pa.list_(pa.struct([*_LEVEL, pa.field("orders", pa.int64())] if counted else _LEVEL))
    return _TYPES[encoding]


def _maker(type_: pa.DataType, encoding: Encoding) -> Callable[[Column], Any]:
    match encoding:
        case Encoding.MILLISECONDS:
            # Checked: beyond the year 2262 there are no nanoseconds.
            return lambda column: pa.array(column, pa.int64()).cast(_UTC_MS).cast(_UTC_NS)
        case Encoding.NANOSECONDS:
            return lambda column: pa.array(column, pa.int64()).cast(_UTC_NS)
        case Encoding.JSON if not pa.types.is_list(type_):
            encode = msgspec.json.Encoder().encode
            return lambda column: pa.array([None if value is None else encode(value) for value in column], type_)
        case _:
            return lambda column: pa.array(column, type_)
