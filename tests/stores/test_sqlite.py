from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest

from cryptofeed_cli.errors import StoreBusy, StoreError, StoreRefused, StoreTooNew, StoreUnreachable
from cryptofeed_cli.stores import open_store, sqlite_schema
from cryptofeed_cli.stores.base import Series, Store, Written
from cryptofeed_cli.stores.sqlite import SqliteStore
from cryptofeed_cli.stores.sqlite_file import in_our_words, network_filesystem, open_file
from cryptofeed_cli.types import KINDS
from tests.stores.contract import ServedContract
from tests.stores.records import NOON, realistic_trades, trade

TRADES = KINDS["trades"]
BTC = Series("OKX", "BTC-USDT")


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "market.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = open_store(url_of(path), writable=True)
    assert isinstance(opened, SqliteStore)
    yield opened
    opened.close()


class TestSqlite(ServedContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        opened = open_store(url_of(tmp_path / "contract.db"), writable=True)
        yield opened
        opened.close()


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_file_is_made_with_a_log_room_to_shrink_and_its_version(store: SqliteStore, path: Path) -> None:
    found = {name: pragma(path, name) for name in ("journal_mode", "auto_vacuum", "application_id", "user_version")}

    assert found == {
        "journal_mode": "wal",
        "auto_vacuum": 2,
        "application_id": sqlite_schema.APPLICATION_ID,
        "user_version": sqlite_schema.VERSION,
    }


def test_every_commit_reaches_the_disk(store: SqliteStore) -> None:
    full = 2

    assert store._connection.execute("PRAGMA synchronous").fetchone() == (full,)


def test_what_was_written_is_there_when_opened_again(path: Path) -> None:
    for number in (1, 2):
        with closing(open_store(url_of(path), writable=True)) as store:
            store.write([trade(number)])

    with closing(open_store(url_of(path), writable=False)) as reader:
        assert list(reader.scan(TRADES, BTC)) == [trade(1), trade(2)]


def test_a_relative_path_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    open_store("sqlite:///my %41.db", writable=True).close()

    assert (tmp_path / "my %41.db").is_file()


def test_a_reader_makes_no_file(path: Path) -> None:
    with pytest.raises(StoreUnreachable, match=r"market\.db: no such file; record something first$"):
        open_store(url_of(path), writable=False)

    assert not path.exists()


def test_a_reader_of_an_empty_file_is_told_to_record_first(path: Path) -> None:
    path.touch()

    with pytest.raises(StoreUnreachable, match="record something first"):
        open_store(url_of(path), writable=False)


def test_a_reader_cannot_write(store: SqliteStore, path: Path) -> None:
    with (
        closing(open_store(url_of(path), writable=False)) as reader,
        pytest.raises(StoreRefused, match="is read-only; make it writable"),
    ):
        reader.write([trade(1)])


@pytest.mark.parametrize("writable", [True, False])
def test_a_file_of_another_kind_is_refused_untouched(path: Path, writable: bool) -> None:
    path.write_bytes(b"name,price\n" * 1000)

    with pytest.raises(StoreRefused, match="is not an SQLite database"):
        open_store(url_of(path), writable=writable)

    assert path.read_bytes() == b"name,price\n" * 1000


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("made_by", ["CREATE TABLE a (b)", "PRAGMA user_version = 1", "PRAGMA application_id = 7"])
def test_a_database_of_another_program_is_refused_untouched(path: Path, made_by: str, writable: bool) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(made_by)
    before = path.read_bytes()

    with pytest.raises(StoreRefused, match="is a database of another program"):
        open_store(url_of(path), writable=writable)

    assert path.read_bytes() == before


@pytest.mark.parametrize("writable", [True, False])
def test_a_file_of_a_newer_version_is_refused(store: SqliteStore, path: Path, writable: bool) -> None:
    store._connection.execute(f"PRAGMA user_version = {sqlite_schema.VERSION + 1}")

    with pytest.raises(StoreTooNew, match="is newer than this program's"):
        open_store(url_of(path), writable=writable)


def test_a_reader_of_an_older_version_is_told_what_brings_it_up_to_date(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_schema, "VERSION", sqlite_schema.VERSION + 1)

    with pytest.raises(StoreRefused, match="older schema version 1; `cryptofeed record` brings it up to date"):
        open_store(url_of(path), writable=False)


def test_an_older_version_is_migrated_with_what_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_store(url_of(path), writable=True)) as store:
        store.write([trade(1)])
    addition = ("CREATE TABLE extra (x ANY) STRICT",)
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, addition))
    monkeypatch.setattr(sqlite_schema, "VERSION", 2)

    with closing(open_store(url_of(path), writable=True)) as store:
        assert list(store.scan(TRADES, BTC)) == [trade(1)]

    assert pragma(path, "user_version") == 2


def test_a_migration_that_fails_leaves_the_version_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(url_of(path), writable=True).close()
    broken = ("CREATE TABLE extra (x ANY) STRICT", "CREATE NONSENSE")
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, broken))
    monkeypatch.setattr(sqlite_schema, "VERSION", 2)

    with pytest.raises(StoreRefused, match="syntax error"):
        open_store(url_of(path), writable=True)

    assert pragma(path, "user_version") == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM sqlite_master WHERE name = 'extra'").fetchall() == []


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match=r"the directory .*/none does not exist; create it first$"):
        open_store(url_of(tmp_path / "none" / "market.db"), writable=True)


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="is a directory; name a file in it"):
        open_store(url_of(tmp_path), writable=True)


def test_a_place_that_takes_no_files_is_refused() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc, where not even root makes files")

    with pytest.raises(StoreRefused, match="cannot be opened; check that the file and its directory may be written"):
        open_store("sqlite:////proc/self/market.db", writable=True)


def test_a_name_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="cannot be opened"):
        open_store(url_of(tmp_path / ("x" * 300)), writable=True)


def test_a_locked_file_is_unreachable_for_now(store: SqliteStore, path: Path) -> None:
    store._connection.execute("PRAGMA busy_timeout = 20")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnreachable, match="locked by another program") as caught:
            store.write([trade(1)])

    assert caught.value.transient
    assert store.write([trade(1)]) == Written(inserted=1)


def test_a_full_disk_is_unreachable_for_now_and_the_batch_is_undone_whole(store: SqliteStore) -> None:
    connection = store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    batch = [trade(number, symbol=f"S{number % 3}") for number in range(3000)]

    with pytest.raises(StoreUnreachable, match="the disk is full; make room"):
        store.write(batch)
    connection.execute("PRAGMA max_page_count = 1000000")

    assert store.write(batch) == Written(inserted=3000)
    assert sum(len(list(store.scan(TRADES, series))) for series in store.series(TRADES)) == 3000


def test_a_damaged_file_is_refused(path: Path) -> None:
    with closing(open_store(url_of(path), writable=True)) as store:
        store.write([trade(number) for number in range(2000)])
    schema = 45 * 4096
    path.write_bytes(path.read_bytes()[:schema].ljust(path.stat().st_size, b"\xff"))

    with (
        closing(open_store(url_of(path), writable=False)) as reader,
        pytest.raises(StoreRefused, match="is damaged; move it away"),
    ):
        list(reader.scan(TRADES, BTC))


@pytest.mark.parametrize(
    "error", [kind for kind in vars(sqlite3).values() if isinstance(kind, type) and issubclass(kind, sqlite3.Error)]
)
def test_every_error_of_sqlite_has_one_of_ours(error: type[sqlite3.Error]) -> None:
    with pytest.raises(StoreError, match=r"^store sqlite:///x: SQLite says: boo$"), in_our_words("sqlite:///x"):
        raise error("boo")


MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
nas:/export /mnt/nas nfs4 rw 0 0
//nas/share /mnt/my\040share cifs rw 0 0
user@host: /home/user/remote fuse.sshfs rw 0 0
/dev/sdb1 /mnt/nas/disk xfs rw 0 0
nonsense
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/data/market.db", None),
        ("/mnt/nas/market.db", "nfs4"),
        ("/mnt/nas/disk/market.db", None),
        ("/mnt/nastier/market.db", None),
        ("/mnt/my share/a/market.db", "cifs"),
        ("/home/user/remote/market.db", "fuse.sshfs"),
    ],
)
def test_a_network_file_system_is_told_by_the_innermost_mount(path: str, found: str | None) -> None:
    assert network_filesystem(Path(path), MOUNTS) == found


def test_a_file_on_a_network_file_system_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"nas:/export {tmp_path.resolve()} nfs rw 0 0\n")

    with pytest.raises(StoreRefused, match="lies on nfs, where SQLite's locks do not hold; use a local disk"):
        open_file("sqlite:///x", tmp_path / "market.db", writable=True, mounts=mounts)


def _record_some(path: Path, first: int) -> None:
    with closing(open_store(url_of(path), writable=True)) as store:
        for number in range(first, first + 200, 20):
            store.write([trade(trade_id, symbol=f"S{trade_id % 5}") for trade_id in range(number, number + 20)])


def test_two_processes_write_one_new_file_and_nothing_is_lost(path: Path) -> None:
    open_store(url_of(path), writable=True).close()
    spawn = get_context("spawn")
    writers = [spawn.Process(target=_record_some, args=(path, first)) for first in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    assert [writer.exitcode for writer in writers] == [0, 0]
    with closing(open_store(url_of(path), writable=False)) as reader:
        ids = [int(one.trade_id) for series in reader.series(TRADES) for one in reader.scan(TRADES, series)]
    assert sorted(ids) == list(range(300))


def test_a_reader_left_open_does_not_grow_the_log(store: SqliteStore, path: Path) -> None:
    store.write([trade(number, NOON + number) for number in range(3000)])
    log = path.with_name("market.db-wal")

    def write(first: int) -> int:
        for number in range(first, first + 60_000, 2000):
            store.write([trade(trade_id, NOON + trade_id) for trade_id in range(number, number + 2000)])
        return log.stat().st_size

    with closing(open_store(url_of(path), writable=False)) as reader:
        scan = reader.scan(TRADES, BTC)
        for _ in range(100):
            next(scan)

        beside_our_reader = write(10_000)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM trades").fetchone()
            beside_an_open_transaction = write(100_000)

        assert len(list(scan)) == 3000 + 2 * 60_000 - 100
    assert beside_our_reader < 6 * 1024 * 1024 < beside_an_open_transaction


def test_a_page_costs_what_it_returns_and_not_what_is_stored(store: SqliteStore) -> None:
    store.write([trade(number, NOON + number) for number in range(20_000)])
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    store._connection.set_progress_handler(step, 100)
    scan = store.scan(TRADES, BTC, descending=True)
    for _ in range(5):
        next(scan)
    for_five = steps
    steps = 0
    for _ in scan:
        pass

    assert for_five < 40
    assert steps < 20_000  # a scan that began anew with every page would need ten times that


def test_a_trade_takes_at_most_125_bytes(path: Path) -> None:
    trades = realistic_trades(50_000)
    with closing(open_store(url_of(path), writable=True)) as store:
        for first in range(0, len(trades), 2000):
            store.write(trades[first : first + 2000])

    assert path.stat().st_size / len(trades) <= 125


# One recorder a file


def test_a_second_recorder_is_refused_by_name_and_everybody_else_is_welcome(tmp_path: Path) -> None:
    path = tmp_path / "market.db"
    linked = tmp_path / "linked.db"
    with closing(open_store(url_of(path), writable=True, recorder="desk (pid 7)")) as store:
        store.write([trade(1)])
        linked.symlink_to(path)
        for name in (path, linked):
            with pytest.raises(StoreBusy, match=r"desk \(pid 7\) records into it; stop that, or name another store"):
                open_store(url_of(name), writable=True, recorder="other")
        with closing(open_store(url_of(path), writable=True)) as importer:
            importer.write([trade(2)])
        with closing(open_store(url_of(path), writable=False)) as reader:
            assert list(reader.scan(TRADES, BTC)) == [trade(1), trade(2)]
    open_store(url_of(path), writable=True, recorder="other").close()
