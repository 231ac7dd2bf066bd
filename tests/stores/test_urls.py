from __future__ import annotations

from pathlib import Path

import pytest

from cryptofeed_cli.errors import StoreUrlInvalid
from cryptofeed_cli.stores import open_store, redact
from cryptofeed_cli.stores.urls import sqlite_path, store_name


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative.db", "relative.db"),
        ("sqlite:///below/relative.db", "below/relative.db"),
        ("sqlite:////absolute.db", "/absolute.db"),
        ("sqlite:////with space/ü %20.db", "/with space/ü %20.db"),
    ],
)
def test_a_sqlite_url_names_a_path_after_three_slashes(url: str, path: str) -> None:
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "store : is not a store; write sqlite:///relative.db, "),
        ("market.db", "store market.db: is not a store; write sqlite:///relative.db, "),
        ("postgres://user:hunter2@host/db", "store postgres://user:***@host/db: is not a store; "),
        ("user:hunter2@host", "store user:***@host: is not a store; "),
        ("sqlite:market.db", "store sqlite:market.db: is not a store; "),
        ("sqlite://", "store sqlite://: names no file; write sqlite:///relative.db or sqlite:////absolute.db"),
        ("sqlite:///", "store sqlite:///: names no file; "),
        ("sqlite://market.db", "store sqlite://market.db: names no file; "),
        ("sqlite:///a\0b", r"store sqlite:///a\x00b: names no file; "),
        ("sqlite:///market.db?mode=ro", "store sqlite:///market.db?mode=ro: takes no options; "),
    ],
)
@pytest.mark.parametrize("writable", [True, False])
def test_any_other_url_is_invalid_and_says_what_is_right(url: str, text: str, writable: bool) -> None:
    with pytest.raises(StoreUrlInvalid) as caught:
        open_store(url, writable=writable)

    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////data/market.db", "sqlite:////data/market.db"),
        ("mongodb://host:27017/market", "mongodb://host:27017/market"),
        ("mongodb://user@host/market", "mongodb://user@host/market"),
        ("mongodb://user:hunter2@host:27017/market?w=1", "mongodb://user:***@host:27017/market?w=1"),
        ("mongodb+srv://user:hunter2@host/", "mongodb+srv://user:***@host/"),
        ("mongodb://user:hunt/er2@host", "mongodb://user:***@host"),
        ("mongodb://user:hunt@er2@host", "mongodb://user:***@host"),
        ("mongodb://user:hunt\ner2@host", "mongodb://user:***@host"),
        ("mongodb://h/?tlsCertificateKeyFilePassword=hunter2&w=1", "mongodb://h/?tlsCertificateKeyFilePassword=***&w=1"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:////data/market.db", "market.db"),
        ("mongodb://joe:hunter2@db1/market?w=1", "market"),
        ("mongodb://joe:hunter2@db1", ""),
        ("mongodb://joe:hunter2@db1:27017,db2/?tlsCertificateKeyFilePassword=se/cret", ""),
        ("mongodb://joe:hun/ter2@db1/market", ""),
        ("mongodb://joe:hunter2@[::1/market", ""),
    ],
)
def test_the_name_of_a_store_tells_nothing_else_of_its_url(url: str, name: str) -> None:
    assert store_name(url) == name
