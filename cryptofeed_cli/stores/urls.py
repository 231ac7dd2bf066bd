"""Store URLs: what they name, and how they are shown; opens nothing."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from cryptofeed_cli.errors import StoreUrlInvalid
from cryptofeed_cli.printable import escape, hide_secrets

MONGO_SCHEMES = ("mongodb", "mongodb+srv")
WAY_OUT = "write sqlite:///relative.db, sqlite:////absolute.db or mongodb://host:27017/database"


def redact(url: str) -> str:
    """Return a URL as it may be shown: on one line and without its password."""
    return hide_secrets(escape(url))


def identity(url: str) -> str:
    """Return what tells one store from another: the URL as it may be shown, a file by its whole path.

    Without the password, so that a new password does not make it another store, and whoever reads it learns nothing.
    """
    return f"sqlite:///{sqlite_path(url).resolve()}" if scheme(url) == "sqlite" else redact(url)


def store_name(url: str) -> str:
    """Return the name of the file or database that a URL names, and nothing else of it; empty where it names none."""
    try:
        path = urlsplit(url).path
    except ValueError:  # whoever opens it says what is wrong with it
        return ""
    # Where a password is not written as it should be, a part of it may stand here.
    return "" if "@" in path else path.rpartition("/")[2]


def scheme(url: str) -> str:
    """Return ``sqlite``, ``mongodb`` or ``mongodb+srv``; raise `StoreUrlInvalid` for any other URL."""
    name, separator, _ = url.partition("://")
    if not separator or name not in ("sqlite", *MONGO_SCHEMES):
        raise StoreUrlInvalid(redact(url), f"is not a store; {WAY_OUT}")
    return name


def sqlite_path(url: str) -> Path:
    """Return the path that a ``sqlite`` URL names; raise `StoreUrlInvalid` where it names none."""
    rest = url.removeprefix("sqlite://")
    path = rest.removeprefix("/")
    if path == rest or not path or "\0" in path:
        raise StoreUrlInvalid(redact(url), "names no file; write sqlite:///relative.db or sqlite:////absolute.db")
    if "?" in path or "#" in path:
        raise StoreUrlInvalid(redact(url), "takes no options; write the file's path and nothing behind it")
    return Path(path)
