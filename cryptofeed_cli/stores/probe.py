"""Whether a store could be recorded into; writes nothing and makes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from cryptofeed_cli.errors import StoreRefused
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.urls import redact, scheme, sqlite_path


def probe(url: str, *, made_on_demand: Path) -> str:
    """Return what the store is like; raise `StoreError` where a recording could not use it.

    ``made_on_demand`` is the one directory that a recording makes where it is missing.
    """
    if scheme(url) != "sqlite":
        from cryptofeed_cli.stores.mongo_probe import probe_mongo

        return probe_mongo(url)
    path = sqlite_path(url).absolute()
    if path.exists():
        if path.stat().st_size:
            open_store(url, writable=False).close()
        for place in (path, path.parent):
            if not os.access(place, os.W_OK):
                raise StoreRefused(redact(url), f"{place} may not be written by this user; correct its permissions")
        return f"{redact(url)} may be written, {path.stat().st_size:,} bytes"
    directory = path.parent
    if not directory.exists():
        if directory != made_on_demand:
            raise StoreRefused(redact(url), f"the directory {directory} does not exist; create it first")
        while not directory.exists():
            directory = directory.parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StoreRefused(redact(url), f"{directory} may not be written by this user; correct its permissions")
    return f"{redact(url)} can be made"
