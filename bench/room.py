"""The bytes that one record of each kind takes: on the wire, in the SQLite store and in MongoDB, indexes included.

The records are those of captured frames, again and again under later times and ids. The plan in ``docs/scaling.md`` is
worked out from these figures.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from pymongo import MongoClient

from bench.race import Size, Skipped
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Frame, Opened, Tick
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import CHANNELS, KIND_OF
from tests.captures import SYMBOLS, capture_tape
from tests.mongod import Mongod, MongodMissing
from tests.okx_market import Push, write_frame

RECORDS = 20_000
"""About so many of each kind."""
QUICK_RECORDS = 300
BATCH = 1_000
DIGITS = 3
"""How many last digits differ from copy to copy."""

_WIRES = {"trades": "trades-all", "tickers": "tickers", "books": "books"}
_KINDS_OF_WIRE = {"trades": "trades", "tickers": "tickers", "books": "book_updates"}


def sizes(*, quick: bool) -> list[Size]:
    """Measure every kind. Raises `Skipped`."""
    if not os.environ.get("CRYPTOFEED_CAPTURES"):
        raise Skipped("CRYPTOFEED_CAPTURES is not set: there are no real frames")
    tape = capture_tape()
    once = _records(tape)
    found = []
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        for wire, kind in _KINDS_OF_WIRE.items():
            frames = [len(_frame(push)) for push in tape if push.channel == wire]
            found.append(Size(f"wire: frame of {kind}", sum(frames) / len(frames), None))
        for kind, records in once.items():
            copies = max(1, (QUICK_RECORDS if quick else RECORDS) // len(records))
            found.append(Size(f"sqlite: {kind}", _in_sqlite(Path(directory, f"{kind}.db"), records, copies), None))
        try:
            with Mongod(Path(directory, "mongod")) as server:
                for kind, records in once.items():
                    copies = max(1, (QUICK_RECORDS if quick else RECORDS) // len(records))
                    found.append(Size(f"mongodb: {kind}", _in_mongodb(server.url, kind, records, copies), None))
        except MongodMissing as exc:
            raise Skipped(str(exc)) from exc
    return found


def _frame(push: Push) -> bytes:
    return write_frame(_WIRES[push.channel], push.symbol, push.row, push.action)


def _records(tape: list[Push]) -> dict[str, list[Any]]:
    """Return what a recorder makes of the tape, by kind."""
    emitted: list[Any] = []
    session = Session(Okx(), SessionOptions("bench", SYMBOLS, CHANNELS), emitted.append)
    session.start(Tick(1, 1))
    session.handle(Opened(connection.number, 1, 1) for connection in session.connections)
    numbers = {connection.endpoint: connection.number for connection in session.connections}
    for push in tape:
        number = numbers["business" if push.channel == "trades" else "public"]
        at = int(push.row["ts"]) * 10**6 + 40_000_000
        session.handle([Frame(number, _frame(push), at, at)])
    by_kind: dict[str, list[Any]] = {kind: [] for kind in CHANNELS}
    for record in emitted:
        if (kind := KIND_OF[type(record)].name) in by_kind:
            by_kind[kind].append(record)
    return by_kind


def _batches(records: list[Any], copies: int) -> Iterator[list[Any]]:
    """Yield the records again and again, each time later, under new ids, and with other last digits everywhere.

    Compression would else find in every copy the one before it.
    """
    rng = random.Random(1)
    for copy in range(copies):
        batch = []
        for record in records:
            later = copy * 20_000
            changes = {"timestamp": record.timestamp + later, "received_at": record.received_at + later * 10**6}
            if hasattr(record, "trade_id"):
                changes["trade_id"] = str(int(record.trade_id) + copy * 1_000)
            changes |= {name: _other(value, rng) for name, value in _figures(record)}
            batch.append(msgspec.structs.replace(record, **changes))
        for start in range(0, len(batch), BATCH):
            yield batch[start : start + BATCH]


def _figures(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of what is a price, a size, or levels of both."""
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, list) or (isinstance(value, str) and name != "trade_id" and value[:1].isdigit()):
            yield name, value


def _other(value: Any, rng: random.Random) -> Any:
    """Return figures of the same length, with other last digits."""
    if isinstance(value, list):
        return [(_other(price, rng), _other(size, rng), *rest) for price, size, *rest in value]
    kept, changed = value[:-DIGITS], value[-DIGITS:]
    return kept + "".join(rng.choice("0123456789") if character.isdigit() else character for character in changed)


def _in_sqlite(path: Path, records: list[Any], copies: int) -> float:
    store = open_store(f"sqlite:///{path}", writable=True)
    for batch in _batches(records, copies):
        store.write(batch)
    store.close()  # which moves the log into the file
    return path.stat().st_size / (len(records) * copies)


def _in_mongodb(url: str, kind: str, records: list[Any], copies: int) -> float:
    store = open_store(f"{url}/room", writable=True)
    for batch in _batches(records, copies):
        store.write(batch)
    store.close()
    with MongoClient[dict[str, Any]](url) as client:
        client.admin.command("fsync")
        taken = client["room"].command("collStats", kind)
    return float(taken["storageSize"] + taken["totalIndexSize"]) / (len(records) * copies)
