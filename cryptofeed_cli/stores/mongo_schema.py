"""The collections of the MongoDB store: names, indexes, compression and version; knows no driver and no records.

``_id`` carries uniqueness and begins with the symbol, so that it can be the shard key with zones by symbol. It is
readable, and as text it sorts in the order of its parts. Times of the exchange are BSON dates, times of ours are
64-bit nanoseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cryptofeed_cli.stores.conflicts import digest
from cryptofeed_cli.stores.layout import RUN, Layout


class Update(NamedTuple):
    """A change of the documents of one collection, made a few at a time while others read and write them."""

    collection: str
    before: dict[str, Any]
    """The filter of documents that are not changed yet, and of no others."""
    change: dict[str, Any] | list[dict[str, Any]]
    """After which ``before`` does not match any more."""


MIGRATIONS: tuple[tuple[Update, ...], ...] = ()
"""What brings each version, from 1 on, to the next one. Never edited once released: a change is a new entry.

Recorders of the version before go on writing until they are restarted, and every update may be made twice. So a version
only adds: programs of both versions must read the documents of both.
"""

VERSION = 1 + len(MIGRATIONS)
META = "meta"
VERSION_ID = "schema_version"

_ZSTD = {"wiredTiger": {"configString": "block_compressor=zstd"}}
COMPRESSED: dict[str, Any] = {"storageEngine": _ZSTD, "indexOptionDefaults": {"storageEngine": _ZSTD}}
"""Options of every collection: 53 to 65 bytes a trade with its indexes, where the defaults need 130."""


def sort_fields(layout: Layout) -> tuple[str, ...]:
    """Return the fields of a total order within a series: where the kind's own order ties, ``_id`` decides."""
    return layout.order if layout.unique else tuple(dict.fromkeys((*layout.kind.order, "received_at", "_id")))


def index(layout: Layout) -> list[tuple[str, int]]:
    """Return the fields of the index that a series is read by."""
    series = ("symbol", "exchange") if layout.kind.market else ()
    return [(name, 1) for name in series + sort_fields(layout)]


def identity(layout: Layout) -> Callable[[Any], str]:
    """Return what makes the ``_id`` of a record."""
    if not layout.kind.market:
        (name,) = layout.key
        return lambda record: str(getattr(record, name))
    # The instant first, then the order within it, then whatever else is in the key.
    names = dict.fromkeys(name for name in (*layout.kind.order, *layout.key) if name in layout.key and name not in RUN)
    if layout.kind.name == "trades" and not layout.simulated:
        return lambda record: f"{record.symbol}:{record.exchange}:{record.trade_id:0>19}"
    parts = [_part(layout, name) for name in (*names, *(RUN if layout.simulated else ()))]
    return lambda record: ":".join((record.symbol, record.exchange, *[part(record) for part in parts]))


def _part(layout: Layout, name: str) -> Callable[[Any], str]:
    if name == "content":
        return lambda record: f"{digest([getattr(record, field) for field in layout.content]):016x}"
    width = 0 if name in ("action", "group", "run_id") else 15 if name == "timestamp" else 19
    return lambda record: _padded(getattr(record, name), width)


def _padded(value: Any, width: int) -> str:
    return "" if value is None else str(value).rjust(width, "0")
