"""The stores, chosen by URL; knows none of them until it is asked for one."""

from __future__ import annotations

from pathlib import Path

from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.stores.urls import identity, redact, scheme, sqlite_path, store_name

__all__ = ["Store", "identity", "open_store", "redact", "set_aside", "store_name"]


def open_store(url: str, *, writable: bool, recorder: str | None = None) -> Store:
    """Open the store that ``url`` names: to write into it, made where it is missing, or only to read it.

    ``recorder`` names who records into it; a store that takes one recorder only refuses a second one with `StoreBusy`.
    Raises `StoreUrlInvalid`, `StoreUnreachable` (also for a reader, where nothing is recorded yet), `StoreRefused`
    or `StoreTooNew`. Whoever opens it closes it.
    """
    if scheme(url) == "sqlite":
        from cryptofeed_cli.stores.sqlite import open_sqlite

        return open_sqlite(redact(url), sqlite_path(url), writable=writable, recorder=recorder)
    from cryptofeed_cli.stores.mongo import open_mongo

    return open_mongo(url, writable=writable)


def set_aside(url: str) -> Path | None:
    """Rename the damaged file of the store that ``url`` names; return its new name. Raises `OSError`.

    None: it has no file, or one that is not ours.
    """
    if scheme(url) != "sqlite":
        return None
    from cryptofeed_cli.stores import sqlite_file

    return sqlite_file.set_aside(sqlite_path(url))
