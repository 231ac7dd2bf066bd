"""Whether a MongoDB database could be recorded into, by what the server says of itself; writes nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pymongo import MongoClient

from cryptofeed_cli.errors import StoreRefused, StoreUnreachable
from cryptofeed_cli.stores.mongo import DATABASE, open_mongo
from cryptofeed_cli.stores.mongo_errors import in_our_words
from cryptofeed_cli.stores.urls import redact

_PATIENCE_MS = 5_000


def probe_mongo(url: str) -> str:
    """Return what the server is like; raise `StoreError`."""
    shown = redact(url)
    with suppress(StoreUnreachable):  # nothing is recorded there yet, or it does not answer: then below, too
        open_mongo(url, writable=False).close()
    with in_our_words(shown):
        client: MongoClient[dict[str, Any]] = MongoClient(url, serverSelectionTimeoutMS=_PATIENCE_MS)
        try:
            hello = client.admin.command("hello")
            name = client.get_default_database(DATABASE).name
            status = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
            version = client.server_info()["version"]
        finally:
            client.close()
    if not hello.get("isWritablePrimary"):
        raise StoreUnreachable(shown, "has no primary, so nothing can be written now")
    privileges = status["authenticatedUserPrivileges"]
    if status["authenticatedUsers"] and not any(_lets_insert(one, name) for one in privileges):
        raise StoreRefused(shown, f"the user may not insert into {name}; grant the role readWrite on it")
    return f"{shown} may be written, MongoDB {version}"


def _lets_insert(privilege: dict[str, Any], database: str) -> bool:
    resource = privilege["resource"]
    everywhere = resource.get("anyResource", False) or resource.get("db") in ("", database)
    return everywhere and "insert" in privilege["actions"] and not resource.get("collection")
