"""Trades into and out of the MongoDB store, against bare ``pymongo`` on a collection of the same options and index.

Both talk to one real server on loopback, and wait for its journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from bench.race import Figure, Size, Skipped
from bench.stores import BATCHES, race_store
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Series
from cryptofeed_cli.stores.layout import layout
from cryptofeed_cli.stores.mongo_documents import Document, Documents
from cryptofeed_cli.stores.mongo_schema import COMPRESSED, index
from cryptofeed_cli.types import KINDS, Trade
from tests.mongod import Mongod, MongodMissing

LIMIT = 110
"""Bytes a trade, indexes included."""


class BareMongo:
    """``insert_many`` of documents, unordered; a plain ``find``."""

    def __init__(self, database: Database[Document]) -> None:
        trades = layout(KINDS["trades"])
        self._documents = Documents(trades)
        self._order = index(trades)
        self._collection = database.create_collection("trades", **COMPRESSED)
        self._collection.create_index(self._order)

    def ready(self, trades: list[Trade]) -> list[Any]:
        """Return the documents, ``_id`` included."""
        return [self._documents.document(trade) for trade in trades]

    def write(self, batch: list[Any]) -> None:
        """Insert documents."""
        self._collection.insert_many(batch, ordered=False)

    def read(self, series: Series) -> Iterable[Any]:
        """Find documents."""
        return self._collection.find(series._asdict()).sort(self._order)


def figures(*, rounds: int, quick: bool) -> list[Figure | Size]:
    """Race writing and reading; measure the collection. Raises `Skipped`."""
    with TemporaryDirectory(prefix="cryptofeed-bench-") as directory:
        try:
            with Mongod(Path(directory)) as server:
                return _figures(server.url, rounds, 1 if quick else BATCHES)
        except MongodMissing as exc:
            raise Skipped(str(exc)) from exc


def _figures(url: str, rounds: int, batches: int) -> list[Figure | Size]:
    store = open_store(f"{url}/ours", writable=True)
    client: MongoClient[Document] = MongoClient(url, w="majority", journal=True)
    try:
        raced, stored = race_store("mongodb", store, BareMongo(client["bare"]), rounds=rounds, batches=batches)
        client.admin.command("fsync")
        taken = client["ours"].command("collStats", "trades")
    finally:
        store.close()
        client.close()
    return [*raced, Size("mongodb: size of a trade", (taken["storageSize"] + taken["totalIndexSize"]) / stored, LIMIT)]
