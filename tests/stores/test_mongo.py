from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import bson.errors
import mongomock
import mongomock.filtering
import pymongo.errors
import pytest
from bson import DatetimeMS
from mongomock.collection import BulkOperationBuilder
from pymongo import MongoClient

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.errors import StoreError, StoreRefused, StoreTooNew, StoreUnreachable, StoreUrlInvalid
from cryptofeed_cli.stores import mongo, open_store
from cryptofeed_cli.stores.base import Series, Span, Store, Written
from cryptofeed_cli.stores.layout import Layout, layouts
from cryptofeed_cli.stores.mongo import MongoStore
from cryptofeed_cli.stores.mongo_documents import Document
from cryptofeed_cli.stores.mongo_errors import in_our_words, translated
from cryptofeed_cli.stores.mongo_filters import passages
from cryptofeed_cli.stores.mongo_schema import META, VERSION, VERSION_ID, Update
from cryptofeed_cli.types import KINDS
from tests.mongod import Mongod, MongodMissing
from tests.stores.contract import ServedContract, StoreContract
from tests.stores.records import NOON, realistic_trades, sample, trade

TRADES = KINDS["trades"]
BTC = Series("OKX", "BTC-USDT")
FAST = "serverSelectionTimeoutMS=200"


@pytest.fixture
def store(mongo_url: str) -> Iterator[MongoStore]:
    opened = open_store(mongo_url, writable=True)
    assert isinstance(opened, MongoStore)
    yield opened
    opened.close()


class TestMongo(ServedContract):
    @pytest.fixture
    def store(self, mongo_url: str) -> Iterator[Store]:
        opened = open_store(mongo_url, writable=True)
        yield opened
        opened.close()


def without_sort(old: Callable[..., Any]) -> Callable[..., Any]:
    """A bulk operation of mongomock as the driver calls it since it can sort."""

    def new(*args: Any, sort: object = None, **options: Any) -> Any:
        return old(*args, **options)

    return new


class MockedStore(MongoStore):
    """Makes of whole documents what the server makes of them: mongomock knows no expressions in a projection."""

    def _find(self, layout: Layout, wanted: Document, order: list[tuple[str, int]], most: int) -> list[Document]:
        def sent(value: Any) -> Any:
            return str(int(value)) if isinstance(value, int | DatetimeMS) and not isinstance(value, bool) else value

        projection = self._documents[layout.kind.name, layout.simulated].row
        names = [re.findall(r"\$(\w+)", str(field))[-1] for field in projection["row"]]
        found = self._database[layout.name].find(wanted).sort(order).limit(most)
        return [{"row": [sent(document.get(name)) for name in names]} for document in found]


class TestMongomock(StoreContract):
    """The shapes of writes and queries, where there is no server."""

    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> Store:
        known: Callable[[Any], Any] = mongomock.filtering._get_compare_type
        date = known(DatetimeMS(0).as_datetime())
        monkeypatch.setattr(
            mongomock.filtering, "_get_compare_type", lambda one: date if isinstance(one, DatetimeMS) else known(one)
        )
        for name in ("add_update", "add_replace"):
            old = getattr(BulkOperationBuilder, name)
            monkeypatch.setattr(BulkOperationBuilder, name, without_sort(old))
        database = mongomock.MongoClient().get_database("cryptofeed")
        store = MockedStore("mongodb://mock", database, writable=True)
        store.prepare()
        for layout in layouts().values():
            database.create_collection(layout.name)  # it knows no compression
        return store


@contextmanager
def started(directory: Path) -> Iterator[Mongod]:
    """A server of the test's own, to be killed."""
    try:
        with Mongod(directory) as server:
            yield server
    except MongodMissing as exc:
        pytest.skip(str(exc))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_trade_is_kept_under_names_and_types_that_others_can_use(store: MongoStore) -> None:
    store.write([trade(7, NOON, rpi=None)])

    document = store._database["trades"].find_one()

    assert document == {
        "_id": "BTC-USDT:OKX:0000000000000000007",
        "timestamp": DatetimeMS(NOON),
        "received_at": NOON * MILLISECOND,
        "exchange": "OKX",
        "symbol": "BTC-USDT",
        "source": "live",
        "trade_id": 7,
        "price": "91250.1",
        "size": "0.05",
        "side": "buy",
        "rpi": None,
    }
    typed = {"trade_id": {"$type": "long"}, "received_at": {"$type": "long"}, "timestamp": {"$type": "date"}}
    assert store._database["trades"].count_documents(typed) == 1


@pytest.mark.parametrize(
    ("record", "identity"),
    [
        (sample("orderbooks", depth=5, group="10"), f"BTC-USDT:OKX:00{NOON}:{51200400:019}:{5:019}:10"),
        (sample("book_updates", timestamp=None), f"BTC-USDT:OKX::{51200400:019}:{51200377:019}:update"),
        (sample("instruments"), f"BTC-USDT:OKX:{NOON * MILLISECOND}"),
        (trade(7, source="simulated", run_id="r", episode=2), f"BTC-USDT:OKX:{7:019}:r:{2:019}"),
        (sample("gaps"), "gap-1"),
    ],
)
def test_an_id_begins_with_the_symbol_and_sorts_as_text(store: MongoStore, record: Any, identity: str) -> None:
    store.write([record])

    names = store._database.list_collection_names(filter={"name": {"$ne": META}})
    assert [document["_id"] for name in names for document in store._database[name].find()] == [identity]


def test_the_database_is_cryptofeed_where_the_url_names_none(mongod: Mongod) -> None:
    with closing(open_store(mongod.url, writable=True)) as store:
        assert isinstance(store, MongoStore)
        assert store._database.name == "cryptofeed"
        store._database.client.drop_database("cryptofeed")


def test_a_write_is_acknowledged_by_a_majority_and_its_journal(store: MongoStore) -> None:
    assert store._database.write_concern.document == {"w": "majority", "j": True}


def test_a_url_cannot_weaken_what_a_write_promises(mongo_url: str) -> None:
    with closing(open_store(f"{mongo_url}?w=0&journal=false", writable=True)) as store:
        assert isinstance(store, MongoStore)
        assert store._database.write_concern.document == {"w": "majority", "j": True}


def test_collections_and_indexes_are_compressed(store: MongoStore) -> None:
    store.write([trade(1)])

    (found,) = store._database.list_collections(filter={"name": "trades"})

    configuration = {"wiredTiger": {"configString": "block_compressor=zstd"}}
    assert found["options"]["storageEngine"] == configuration
    assert found["options"]["indexOptionDefaults"] == {"storageEngine": configuration}


def test_a_trade_takes_at_most_110_bytes_with_its_indexes(store: MongoStore) -> None:
    trades = realistic_trades(50_000)
    for first in range(0, len(trades), 2000):
        store.write(trades[first : first + 2000])
    store._database.client.admin.command("fsync")

    found = store._database.command("collStats", "trades")

    assert (found["storageSize"] + found["totalIndexSize"]) / len(trades) <= 110


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("kind", ["trades", "tickers"])
def test_a_page_costs_what_it_returns_and_not_what_is_stored(store: MongoStore, kind: str, descending: bool) -> None:
    own = {"trades": "trade_id", "tickers": "last"}[kind]
    store.write([sample(kind, timestamp=NOON + n // 3, received_at=n, **{own: str(n)}) for n in range(6000)])
    layout = layouts()[kind, False]
    span = Span(since=(NOON + 100) * MILLISECOND, until=(NOON + 1900) * MILLISECOND)
    (passage,) = passages(layout, BTC, span, descending=descending)
    collection = store._database[kind]
    middle = collection.find(passage.after(None)).sort(passage.sort).skip(2500).next()

    plan = collection.find(passage.after(middle)).sort(passage.sort).limit(100).explain()

    assert plan["executionStats"]["nReturned"] == 100
    assert plan["executionStats"]["totalKeysExamined"] <= 110


def test_the_series_are_told_from_the_index_and_not_from_the_documents(store: MongoStore) -> None:
    store.write([trade(number, symbol=f"S{number % 3}") for number in range(3000)])

    plan = store._database.command("explain", {"distinct": "trades", "key": "symbol"}, verbosity="executionStats")

    assert plan["executionStats"]["totalKeysExamined"] <= 4
    assert plan["executionStats"]["totalDocsExamined"] == 0


def test_a_reader_makes_no_database(mongod: Mongod, mongo_url: str) -> None:
    with pytest.raises(StoreUnreachable, match="nothing is recorded there yet; record something first"):
        open_store(mongo_url, writable=False)

    with MongoClient[Any](mongod.url) as client:
        assert mongo_url.rpartition("/")[2] not in client.list_database_names()


def test_a_reader_reads_and_cannot_write(store: MongoStore, mongo_url: str) -> None:
    store.write([trade(1)])

    with closing(open_store(mongo_url, writable=False)) as reader:
        assert list(reader.scan(TRADES, BTC)) == [trade(1)]
        with pytest.raises(StoreRefused, match="was opened for reading only"):
            reader.write([trade(2)])


def pretend_a_second_version(monkeypatch: pytest.MonkeyPatch, *more: Update) -> None:
    """Let this program be one that marks every trade as checked."""
    marked = Update("trades", {"checked": {"$exists": False}}, {"$set": {"checked": False}})
    monkeypatch.setattr(mongo, "MIGRATIONS", ((marked, *more),))
    monkeypatch.setattr(mongo, "VERSION", 2)


def version_of(store: MongoStore) -> int:
    found = store._database[META].find_one({"_id": VERSION_ID})
    assert found is not None
    return int(found["version"])


def test_an_older_database_is_migrated_while_an_older_recorder_goes_on(
    store: MongoStore, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "ID_PAGE", 100)
    old = [trade(number, NOON + number) for number in range(250)]
    store.write(old)
    pretend_a_second_version(monkeypatch)
    with closing(open_store(mongo_url, writable=True)) as newer:
        store.write([trade(1000, NOON + 1000)])
        newer.write([trade(1001, NOON + 1001), trade(1000, NOON + 1000)])
        everything = [*old, trade(1000, NOON + 1000), trade(1001, NOON + 1001)]

        assert version_of(store) == 2
        assert store._database["trades"].count_documents({"checked": False}) == 250
        assert [list(one.scan(TRADES, BTC)) for one in (store, newer)] == [everything, everything]


def test_a_reader_of_an_older_database_changes_nothing(
    store: MongoStore, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([trade(1)])
    pretend_a_second_version(monkeypatch)
    with closing(open_store(mongo_url, writable=False)) as reader:
        assert list(reader.scan(TRADES, BTC)) == [trade(1)]

    assert version_of(store) == 1


def test_a_migration_that_fails_is_made_whole_by_the_next_start(
    store: MongoStore, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([trade(1)])
    with monkeypatch.context() as broken:
        pretend_a_second_version(broken, Update("trades", {"checked": False}, {"$nonsense": {}}))
        with pytest.raises(StoreRefused):
            open_store(mongo_url, writable=True)
    assert version_of(store) == 1

    pretend_a_second_version(monkeypatch)
    open_store(mongo_url, writable=True).close()

    assert version_of(store) == 2


def test_two_programs_may_migrate_at_once(store: MongoStore, mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write([trade(number) for number in range(2000)])
    pretend_a_second_version(monkeypatch)
    monkeypatch.setattr(mongo, "ID_PAGE", 50)
    threads = [Thread(target=lambda: open_store(mongo_url, writable=True).close()) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert version_of(store) == 2
    assert store._database["trades"].count_documents({"checked": False}) == 2000


@pytest.mark.parametrize("writable", [True, False])
def test_a_collection_of_another_program_is_refused_untouched(mongod: Mongod, mongo_url: str, writable: bool) -> None:
    name = mongo_url.rpartition("/")[2]
    with MongoClient[Any](mongod.url) as client:
        client[name]["trades"].insert_one({"_id": 1})

        with pytest.raises(StoreRefused, match="has a collection 'trades' of another program; name another database"):
            open_store(mongo_url, writable=writable)

        assert client[name].list_collection_names() == ["trades"]


def test_collections_with_names_of_their_own_are_no_trouble(mongod: Mongod, mongo_url: str) -> None:
    with MongoClient[Any](mongod.url) as client:
        client[mongo_url.rpartition("/")[2]]["invoices"].insert_one({"_id": 1})

    with closing(open_store(mongo_url, writable=True)) as store:
        assert store.write([trade(1)]) == Written(inserted=1)


@pytest.mark.parametrize("writable", [True, False])
def test_a_database_of_a_newer_version_is_refused(store: MongoStore, mongo_url: str, writable: bool) -> None:
    store._database[META].update_one({"_id": VERSION_ID}, {"$set": {"version": VERSION + 1}})

    with pytest.raises(StoreTooNew, match="is newer than this program's"):
        open_store(mongo_url, writable=writable)


@pytest.mark.parametrize("writable", [True, False])
def test_nobody_listening_is_unreachable(writable: bool) -> None:
    url = f"mongodb://user:hunter2@127.0.0.1:{free_port()}/market?{FAST}"

    with pytest.raises(StoreUnreachable, match=r"does not answer: .*Connection refused") as caught:
        open_store(url, writable=writable)

    assert caught.value.transient
    assert "hunter2" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_wrong_password_is_refused_and_not_repeated(mongo_url: str) -> None:
    with pytest.raises(StoreRefused, match="refused user or password: Authentication failed") as caught:
        open_store(mongo_url.replace("://", "://user:hunter2@"), writable=True)

    assert "user:***@" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        "mongodb://host:port/market",
        "mongodb://host:99999/market",
        "mongodb://host/market?no_such_option=1",
        "mongodb://host/market?connectTimeoutMS=soon",
        "mongodb://host/mar ket",
        "mongodb://user:hunter2@host:port/market",
        "mongodb://user:hun/ter2@host/market",
        "mongodb://user:hun@ter2@host/market",
        "mongodb://user:hun:ter2@host/market",
        "mongodb://user:hun%ter2@host/market",
        "mongodb+srv://user:hunter2@host:27017/market",
    ],
)
def test_a_malformed_url_is_invalid_and_its_password_not_shown(url: str) -> None:
    with pytest.raises(StoreUrlInvalid, match=r"is malformed: .*; write mongodb://host:27017/database") as caught:
        open_store(url, writable=True)

    assert "\n" not in str(caught.value)
    for secret in ("hunter2", "ter2"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


UNUSUAL: dict[type[Exception], tuple[Any, ...]] = {
    pymongo.errors.BulkWriteError: ({"writeErrors": []},),
    pymongo.errors.ClientBulkWriteException: ({}, False),
    pymongo.errors.EncryptedCollectionError: (ValueError("boo"), {}),
}
"""What errors are made of that are made of more than a text."""


def every_error(module: Any) -> list[type[Exception]]:
    found = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return [kind for kind in found if kind.__module__ == module.__name__]


@pytest.mark.parametrize("kind", every_error(pymongo.errors) + every_error(bson.errors))
def test_every_error_of_the_driver_has_one_of_ours(kind: type[Exception]) -> None:
    with pytest.raises(StoreError, match=r"^store mongodb://x: "), in_our_words("mongodb://x"):
        raise kind(*UNUSUAL.get(kind, ("boo",)))


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (pymongo.errors.AutoReconnect("gone"), StoreUnreachable),
        (pymongo.errors.NotPrimaryError("moved"), StoreUnreachable),
        (pymongo.errors.NetworkTimeout("slow"), StoreUnreachable),
        (pymongo.errors.WTimeoutError("slow", 64, {}), StoreUnreachable),
        (pymongo.errors.OperationFailure("shutting down", 91), StoreUnreachable),
        (pymongo.errors.OperationFailure("disk", 14031), StoreUnreachable),
        (pymongo.errors.OperationFailure("no", 13), StoreRefused),
        (pymongo.errors.OperationFailure("no", 18), StoreRefused),
        (pymongo.errors.OperationFailure("validation", 121), StoreRefused),
        (pymongo.errors.BulkWriteError({"writeErrors": [{"code": 121, "errmsg": "no"}]}), StoreRefused),
        (pymongo.errors.BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 91}]}), StoreUnreachable),
        (pymongo.errors.BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}), StoreUnreachable),
    ],
)
def test_whether_trying_again_helps_is_told_by_the_error(
    error: pymongo.errors.PyMongoError, ours: type[StoreError]
) -> None:
    assert type(translated("mongodb://x", error)) is ours


def test_a_document_the_server_will_not_take_is_refused_and_the_others_stay(store: MongoStore) -> None:
    store.write([trade(1)])
    store._database.command("collMod", "trades", validator={"price": {"$ne": "666"}})

    assert store.write([trade(1), trade(2), trade(3, price="666")]) == Written(1, 1, 0, 1)

    assert list(store.scan(TRADES, BTC)) == [trade(1), trade(2)]
    (reject,) = store.scan(KINDS["rejects"])
    assert "Document failed validation" in reject.reason
    assert '"trade_id":"3"' in reject.frame


def test_a_document_that_is_too_large_is_refused_and_enough_of_it_kept(store: MongoStore) -> None:
    large = sample("rejects", frame="x" * (17 << 20), reject_id="large")

    assert store.write([trade(1), large]) == Written(inserted=1, refused=1)

    (reject,) = store.scan(KINDS["rejects"])
    assert "bytes are more than the 16,777,216 of a document" in reject.reason
    assert len(reject.frame) == 1 << 20


class Flaky:
    """A collection of which some documents fail for a while."""

    def __init__(self, collection: Any, failing: set[str], times: int) -> None:
        self._collection, self._failing, self._times = collection, failing, times
        self.sent: list[int] = []

    def insert_many(self, documents: list[Any], **options: Any) -> None:
        self.sent.append(len(documents))
        self._times -= 1
        bad = [place for place, one in enumerate(documents) if one["_id"] in self._failing and self._times >= 0]
        good = [one for place, one in enumerate(documents) if place not in bad]
        if good:
            self._collection.insert_many(good, **options)
        if bad:
            told = [{"index": place, "code": 11602, "errmsg": "interrupted"} for place in bad]
            raise pymongo.errors.BulkWriteError({"writeErrors": told})


@pytest.mark.parametrize("times", [2, 3], ids=["passes", "stays"])
def test_of_a_batch_that_failed_in_part_only_that_part_is_sent_again(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    batch = [trade(number) for number in range(100)]
    failing = {store._documents["trades", False].identity(one) for one in batch[10:20]}
    flaky = Flaky(store._collection(store._layouts["trades", False]), failing, times)
    monkeypatch.setattr(store, "_collection", lambda _: flaky)

    if times == 2:
        assert store.write(batch) == Written(inserted=100)
    else:
        with pytest.raises(StoreUnreachable, match="interrupted"):
            store.write(batch)

    assert flaky.sent == [100, 10, 10]


def test_what_was_acknowledged_survives_a_killed_server_and_the_batch_is_written_again_whole(tmp_path: Path) -> None:
    batch = [trade(number) for number in range(2000)]
    with (
        started(tmp_path / "db") as server,
        closing(open_store(f"{server.url}/market?{FAST}", writable=True)) as store,
    ):
        store.write(batch[:1500])
        server.kill()

        with pytest.raises(StoreUnreachable):
            store.write(batch)
        with pytest.raises(StoreUnreachable):
            list(store.scan(TRADES, BTC))

        server.start()
        assert store.write(batch) == Written(inserted=500, duplicates=1500)
        assert list(store.scan(TRADES, BTC)) == batch


def test_two_recorders_on_one_database_store_every_trade_once(mongo_url: str) -> None:
    trades = [trade(number) for number in range(500)]
    with (
        closing(open_store(mongo_url, writable=True)) as one,
        closing(open_store(mongo_url, writable=True)) as other,
    ):
        written = [store.write(trades[first : first + 100]) for first in range(0, 500, 50) for store in (one, other)]

        assert sum(each.inserted for each in written) == 500
        assert sum(each.conflicts for each in written) == 0
        assert list(one.scan(TRADES, BTC)) == trades
