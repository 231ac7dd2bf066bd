"""A store in a MongoDB database; knows collections and queries, not what records mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import bson
from bson.errors import BSONError
from pymongo import MongoClient, ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, CollectionInvalid, OperationFailure
from pymongo.uri_parser import parse_uri

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.errors import StoreRefused, StoreTooNew, StoreUnreachable
from cryptofeed_cli.stores.base import PAGE, Page, Room, Series, Span, Store, Tally, Written, records_of
from cryptofeed_cli.stores.conflicts import Conflicts
from cryptofeed_cli.stores.layout import Layout, grouped, layouts
from cryptofeed_cli.stores.mongo_documents import Document, Documents
from cryptofeed_cli.stores.mongo_errors import TOO_LARGE, Failure, Verdict, failures, in_our_words, wrong_url
from cryptofeed_cli.stores.mongo_filters import among, passages
from cryptofeed_cli.stores.mongo_schema import COMPRESSED, META, MIGRATIONS, VERSION, VERSION_ID, index, sort_fields
from cryptofeed_cli.stores.unstorable import sorted_out, unstorable
from cryptofeed_cli.stores.urls import redact
from cryptofeed_cli.types import Kind, Record, Reject

DATABASE = "cryptofeed"
"""Where the URL names none."""

_ALL_TIMES = Span(since=0)
"""Every record that has a time."""

_ALWAYS: dict[str, Any] = {"w": "majority", "journal": True, "datetime_conversion": "DATETIME_MS"}
_UNLESS_GIVEN: dict[str, Any] = {
    "appname": "cryptofeed",
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 30_000,
}

ID_PAGE = 10_000
LARGEST = 16 << 20
"""What MongoDB takes as one document, in bytes."""
ATTEMPTS = 3
"""How often what failed of a batch is sent again at once, while the server fails for a part of it only."""

_UNSTORABLE = (BSONError, OverflowError, UnicodeEncodeError)
"""What a value causes that no document can hold."""


def open_mongo(url: str, *, writable: bool) -> MongoStore:
    """Open the store that a ``mongodb`` URL names. Raises `StoreError`."""
    shown = redact(url)
    with in_our_words(shown):
        _check(url, shown)
        given = url.lower()
        options = {name: value for name, value in _UNLESS_GIVEN.items() if name.lower() not in given}
        client: MongoClient[Document] = MongoClient(url, **_ALWAYS, **options)
        try:
            store = MongoStore(shown, client.get_default_database(DATABASE), writable=writable)
            store.prepare()
        except BaseException:
            client.close()
            raise
    return store


def _check(url: str, shown: str) -> None:
    """Refuse what the driver would only warn of: unknown options, and values that it leaves out then."""
    if not url.startswith("mongodb://"):
        return  # of the other scheme a part is told by the name server, which the client asks
    try:
        parse_uri(url, warn=False)
    except ValueError as exc:
        raise wrong_url(shown, exc) from None


class MongoStore(Store):
    """Keeps every kind in a collection, one document a record."""

    def __init__(self, url: str, database: Database[Document], *, writable: bool) -> None:
        self.url = url
        self._database = database
        self._writable = writable
        self._layouts = layouts()
        self._documents = {name: Documents(layout) for name, layout in self._layouts.items()}
        self._ready: set[str] = set()
        self._conflicts = Conflicts()

    def prepare(self) -> None:
        """Check whose database it is and of which version; mark it as ours where it is new and ``writable``."""
        with in_our_words(self.url):
            names = set(self._database.list_collection_names())
            version = self._database[META].find_one({"_id": VERSION_ID})
            if version is not None:
                if version["version"] > VERSION:
                    raise StoreTooNew(self.url, version["version"], VERSION)
                if self._writable:
                    self._migrate(version["version"])
                return
            taken = names & {META, *(layout.name for layout in self._layouts.values())}
            if taken:
                raise StoreRefused(
                    self.url, f"has a collection {min(taken)!r} of another program; name another database"
                )
            if not self._writable:
                raise StoreUnreachable(self.url, "nothing is recorded there yet; record something first")
            mark = {"$setOnInsert": {"version": VERSION}}
            self._database[META].update_one({"_id": VERSION_ID}, mark, upsert=True)

    def write(self, records: Sequence[Record]) -> Written:
        """Store a batch durably; what the server has already is found out by its unique ``_id``."""
        if not self._writable:
            raise StoreRefused(self.url, "was opened for reading only")
        inserted = conflicts = refused = 0
        with in_our_words(self.url):
            for name, batch in grouped(records):
                repeated, rejects = self._put(name, batch)
                contradicting = self._contradicting(name, repeated)
                inserted += len(batch) - len(repeated) - len(rejects)
                conflicts += len(contradicting)
                refused += len(rejects)
                self._reject([*rejects, *self._conflicts.rejects(self._layouts[name], contradicting)])
        return Written(inserted, len(records) - inserted - conflicts - refused, conflicts, refused)

    def now(self) -> int:
        """Return the server's clock."""
        with in_our_words(self.url):
            told = self._database.command("hello", codec_options=self._database.codec_options)
            return int(told["localTime"]) * MILLISECOND

    def room(self) -> Room:
        """Return what the database takes, and what its server's disk has left."""
        with in_our_words(self.url):
            told = self._database.command("dbStats", codec_options=self._database.codec_options)
        free = None if "fsTotalSize" not in told else int(told["fsTotalSize"]) - int(told["fsUsedSize"])
        return Room(int(told["storageSize"]) + int(told["indexSize"]), free)

    def scan(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
        descending: bool = False,
    ) -> Iterator[Any]:
        """Yield the records of one series in the kind's order."""
        return records_of(kind, self.pages(kind, series, span=span, simulated=simulated, descending=descending))

    def pages(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
        descending: bool = False,
        most: int = PAGE,
    ) -> Iterator[Page]:
        """Yield the same in pages, each one query: the server forgets a cursor left alone for ten minutes."""
        layout, documents = self._layouts[kind.name, simulated], self._documents[kind.name, simulated]
        for passage in passages(layout, series, span, descending=descending):
            last: Document | None = None
            size = page = 0
            while size == page:  # the last page is the one that is not full
                page = min(layout.page(page), most)
                with in_our_words(self.url):
                    chunk = self._find(layout, passage.after(last), passage.sort, page)
                size = len(chunk)
                if chunk:
                    yield documents.page(chunk)
                    last = documents.position(chunk[-1])

    def _find(self, layout: Layout, wanted: Document, order: list[tuple[str, int]], most: int) -> list[Document]:
        found = self._database[layout.name].find(wanted, self._documents[layout.kind.name, layout.simulated].row)
        return list(found.sort(order).limit(most))

    def series(self, kind: Kind, *, simulated: bool = False) -> list[Series]:
        """Return the series of a market kind that have records, sorted."""
        collection = self._database[self._layouts[kind.name, simulated].name]
        with in_our_words(self.url):
            return sorted(
                Series(exchange, symbol)
                for symbol in collection.distinct("symbol")
                for exchange in collection.distinct("exchange", {"symbol": symbol})
            )

    def tally(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
    ) -> Tally:
        """Count one series."""
        layout = self._layouts[kind.name, simulated]
        field = kind.range[0]
        with in_our_words(self.url):
            count = self._database[layout.name].count_documents(among(layout, series, span))
        timed = _ALL_TIMES if span == Span() else span
        first = next(self.scan(kind, series, span=timed, simulated=simulated), None)
        last = next(self.scan(kind, series, span=timed, simulated=simulated, descending=True), None)
        return Tally(series, count, first and getattr(first, field), last and getattr(last, field))

    def trade_ids(self, series: Series, first: int, last: int) -> Iterator[int]:
        """Yield the ids from ``first`` to ``last`` that are stored."""
        head = f"{series.symbol}:{series.exchange}:"
        page = [first - 1]
        while page:
            between = {"$gt": f"{head}{page[-1]:0>19}", "$lte": f"{head}{last:0>19}"}
            with in_our_words(self.url):
                found = self._database["trades"].find({"_id": between}, {"_id": 1}).sort("_id").limit(ID_PAGE)
                page = [int(document["_id"].removeprefix(head)) for document in found]
            yield from page

    def remove(
        self, kind: Kind, series: Series | None, before: int, limit: int, *, simulated: bool = False
    ) -> int:
        """Remove the first records of one series."""
        layout = self._layouts[kind.name, simulated]
        collection = self._database[layout.name]
        with in_our_words(self.url):
            found = collection.find(among(layout, series, Span(until=before)), {"_id": 1})
            first = found.sort([(name, 1) for name in sort_fields(layout)]).limit(limit)
            doomed = [document["_id"] for document in first]
            return collection.delete_many({"_id": {"$in": doomed}}).deleted_count if doomed else 0

    def close(self) -> None:
        """Let go of the database."""
        with in_our_words(self.url):
            self._database.client.close()

    def _migrate(self, version: int) -> None:
        """Bring the database to our version, online: another program may be at the same, and others write meanwhile."""
        for number, updates in enumerate(MIGRATIONS[version - 1 :], start=version):
            for update in updates:
                collection = self._database[update.collection]
                while page := list(collection.find(update.before, {"_id": 1}).limit(ID_PAGE)):
                    collection.update_many({"_id": {"$in": [one["_id"] for one in page]}}, update.change)
            mark = {"$set": {"version": number + 1}}
            self._database[META].update_one({"_id": VERSION_ID, "version": number}, mark)

    def _put(self, name: tuple[str, bool], batch: list[Any]) -> tuple[list[Any], list[Reject]]:
        """Insert or upsert records; return those whose ``_id`` is taken, and rejects for what cannot be held."""
        try:
            return self._send(name, batch)
        except (*_UNSTORABLE, OperationFailure) as exc:
            if isinstance(exc, OperationFailure) and exc.code != TOO_LARGE:
                raise
            good, rejects = sorted_out(batch, partial(self._misfit, name))
            if not rejects:
                raise
            repeated, refused = self._send(name, good)
            return repeated, [*rejects, *refused]

    def _send(self, name: tuple[str, bool], batch: list[Any]) -> tuple[list[Any], list[Reject]]:
        send = self._upsert if name[0] in ("gaps", "runs") else self._insert
        repeated, rejects = [], []
        for attempt in range(ATTEMPTS):
            left = []
            for failure in send(name, batch, final=attempt == ATTEMPTS - 1) if batch else ():
                record = batch[failure.place]
                match failure.verdict:
                    case Verdict.TAKEN:
                        repeated.append(record)
                    case Verdict.LATER:
                        left.append(record)
                    case Verdict.NEVER:
                        rejects.append(unstorable(record, failure.reason))
            batch = left
        return repeated, rejects

    def _insert(self, name: tuple[str, bool], batch: list[Any], *, final: bool) -> list[Failure]:
        """Insert records; return what failed. ``final``: what might succeed later raises."""
        documents = list(map(self._documents[name].document, batch))
        try:
            self._collection(self._layouts[name]).insert_many(documents, ordered=False)
        except BulkWriteError as exc:
            return failures(exc, final=final)
        return []

    def _reject(self, rejects: list[Reject]) -> None:
        _, refused = self._put(("rejects", False), rejects)
        if refused:
            raise StoreRefused(self.url, f"does not take rejects: {refused[0].reason}")

    def _misfit(self, name: tuple[str, bool], record: Any) -> str | None:
        """Return what keeps a record from being a document."""
        try:
            size = len(bson.encode(self._documents[name].document(record)))
        except _UNSTORABLE as exc:
            return str(exc)
        return None if size <= LARGEST else f"{size:,} bytes are more than the {LARGEST:,} of a document"

    def _contradicting(self, name: tuple[str, bool], records: list[Any]) -> list[Any]:
        """Return which of the records are not what is stored under their ``_id``."""
        if not records or "content" in self._layouts[name].key or not self._layouts[name].kind.market:
            return []
        documents = self._documents[name]
        ours = [(documents.identity(record), record) for record in records]
        found = self._database[self._layouts[name].name].find({"_id": {"$in": [identity for identity, _ in ours]}})
        stored = {document["_id"]: documents.content(documents.record(document)) for document in found}
        return [record for identity, record in ours if documents.content(record) != stored.get(identity)]

    def _upsert(self, name: tuple[str, bool], batch: list[Any], *, final: bool) -> list[Failure]:
        """Put gaps whose revision is higher, and runs always, in the place of what is stored; return what failed."""
        operations: list[ReplaceOne[Document] | UpdateOne] = []
        for document in map(self._documents[name].document, batch):
            identity = {"_id": document.pop("_id")}
            if name[0] == "gaps":
                # With a lower or equal revision nothing matches, and the upsert fails on the ``_id``.
                lower = {**identity, "revision": {"$lt": document["revision"]}}
                operations.append(UpdateOne(lower, {"$set": document}, upsert=True))
            else:
                operations.append(ReplaceOne(identity, document, upsert=True))
        try:
            self._collection(self._layouts[name]).bulk_write(operations, ordered=False)
        except BulkWriteError as exc:
            return failures(exc, final=final)
        return []

    def _collection(self, layout: Layout) -> Collection[Document]:
        """The collection, made with its index the first time it is written to."""
        if layout.name not in self._ready:
            with suppress(CollectionInvalid, OperationFailure):
                # It is there, or the server does not know these options: then the index makes it, plain.
                self._database.create_collection(layout.name, **COMPRESSED)
            self._database[layout.name].create_index(index(layout))
            self._ready.add(layout.name)
        return self._database[layout.name]
