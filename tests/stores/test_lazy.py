"""A store that is opened late, and replaced where it turns out damaged before anything is recorded."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from cryptofeed_cli.errors import StoreDamaged, StoreRefused, StoreUnreachable
from cryptofeed_cli.stores import open_store, set_aside
from cryptofeed_cli.stores.base import Series
from cryptofeed_cli.stores.lazy import LazyStore
from cryptofeed_cli.types import KINDS
from tests.stores.records import trade

TRADES = KINDS["trades"]
BTC = Series("OKX", "BTC-USDT")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of trades, the inner pages of which are torn."""
    path = tmp_path / "market.db"
    with closing(open_store(f"sqlite:///{path}", writable=True)) as store:
        store.write([trade(number) for number in range(2000)])
    schema = 45 * 4096
    path.write_bytes(path.read_bytes()[:schema].ljust(path.stat().st_size, b"\xff"))
    return path


@pytest.fixture
def store(path: Path) -> Iterator[LazyStore]:
    url = f"sqlite:///{path}"
    opener = partial(open_store, url, writable=True, recorder="tests")
    with closing(LazyStore(url, opener, partial(set_aside, url))) as store:
        yield store


def asides(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.damaged-*"))


def test_what_a_read_finds_damaged_is_set_aside_and_another_file_takes_its_place(store: LazyStore, path: Path) -> None:
    with pytest.raises(StoreUnreachable, match=r"was damaged, and is set aside as market\.db\.damaged-"):
        list(store.scan(TRADES, BTC))

    assert len(asides(path)) == 1
    store.write([trade(1)])
    assert list(store.scan(TRADES, BTC)) == [trade(1)]


def test_once_something_is_recorded_what_is_damaged_is_refused_and_stays(store: LazyStore, path: Path) -> None:
    store.open()
    store.keep()

    with pytest.raises(StoreDamaged):
        list(store.scan(TRADES, BTC))
    assert path.exists()
    assert asides(path) == []


def test_a_damaged_file_of_another_program_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE theirs (a)")
        database.executemany("INSERT INTO theirs VALUES (?)", [("x" * 1000,) for _ in range(100)])
    path.write_bytes(path.read_bytes()[:-4096])
    url = f"sqlite:///{path}"

    with pytest.raises(StoreRefused):
        LazyStore(url, partial(open_store, url, writable=True), partial(set_aside, url)).open()
    assert asides(path) == []


def test_two_that_are_set_aside_in_one_second_are_both_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda *_: "20260101T000000Z")
    content = path.read_bytes()
    for _ in range(2):
        path.write_bytes(content)
        set_aside(f"sqlite:///{path}")

    assert len(asides(path)) == 2
