"""What the MongoDB driver says, in our words; never repeats a password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any, NamedTuple

from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from cryptofeed_cli.errors import StoreError, StoreRefused, StoreUnreachable, StoreUrlInvalid
from cryptofeed_cli.printable import escape, hide_secrets

DUPLICATE_KEY = 11000
TOO_LARGE = 10334

_TRANSIENT_CODES = frozenset({
    6, 7, 89,  # host unreachable, not found, network timeout
    24, 46, 50, 112, 262,  # locks and time limits
    64, 79, 100,  # write concern not satisfied
    91, 11600, 11602,  # shutting down, interrupted
    133, 189, 10058, 10107, 13435, 13436,  # no primary just now
    14031,  # out of disk space
    43, 63, 82, 237, 365, 11601, 13388,  # killed, stale, or no progress for a moment
})  # fmt: skip
_MISFITS = frozenset({
    2, 9, 14, 22, 52, 57, 121, 16755, 17280, 17419, 17420, TOO_LARGE,
})  # fmt: skip
"""What is wrong with one document and will be for ever: its values, names, size, or a rule of the collection's."""
_LABELS = ("RetryableWriteError", "TransientTransactionError")
_REFUSED_LOGIN = (18, 8000)
_NOT_ALLOWED = 13

# What follows is about settings and topology, hundreds of characters of it.
_NOISE = re.compile(r"( \(configured timeouts| Timeout: |, Timeout: |, full error:).*", re.DOTALL)


class Verdict(Enum):
    """What the failure of one document means."""

    TAKEN = auto()
    """Its ``_id`` is stored already."""
    LATER = auto()
    NEVER = auto()
    """The server refuses this document."""


class Failure(NamedTuple):
    """One document of a batch that was not written."""

    place: int
    verdict: Verdict
    reason: str


def failures(error: BulkWriteError, *, final: bool) -> list[Failure]:
    """Return which documents of a batch failed; raise again what befell all of them, or might pass, if ``final``."""
    details = error.details or {}
    told = [_failure(one, final=final) for one in details.get("writeErrors", [])]
    codes = {one.get("code", 0) for one in details.get("writeErrors", [])}
    if details.get("writeConcernErrors") or codes & {_NOT_ALLOWED, *_REFUSED_LOGIN}:
        raise error
    if final and any(one.verdict is Verdict.LATER for one in told):
        raise error
    return told


def _failure(told: dict[str, Any], *, final: bool) -> Failure:
    code, text = told.get("code", 0), escape(str(told.get("errmsg", ""))[:240])
    # A code that is not known may be of the moment; what is refused again and again is the document's own fault.
    never = code in _MISFITS or (final and code not in _TRANSIENT_CODES)
    verdict = Verdict.TAKEN if code == DUPLICATE_KEY else Verdict.NEVER if never else Verdict.LATER
    return Failure(told["index"], verdict, f"{text} (code {code})")


@contextmanager
def in_our_words(url: str) -> Iterator[None]:
    """Turn what the driver raises into `StoreUnreachable` (again later), `StoreRefused` or `StoreUrlInvalid`."""
    try:
        yield
    except (InvalidURI, InvalidName, ConfigurationError) as exc:
        # Not chained: the driver may quote the URL.
        raise wrong_url(url, exc) from None
    except PyMongoError as exc:
        raise translated(url, exc) from exc
    except (BSONError, OverflowError, UnicodeEncodeError) as exc:
        raise StoreRefused(url, f"a value cannot be stored: {brief(exc)}") from exc


def translated(url: str, error: PyMongoError) -> StoreError:
    """Return our error for one of the driver's."""
    if isinstance(error, BulkWriteError):
        return _of_bulk(url, error)
    if isinstance(error, ConnectionFailure | WTimeoutError) or any(map(error.has_error_label, _LABELS)):
        return StoreUnreachable(url, f"does not answer: {brief(error)}")
    if isinstance(error, OperationFailure):
        return _of_code(url, error.code or 0, brief(error))
    return StoreRefused(url, f"the driver says: {brief(error)}")


def wrong_url(url: str, error: Exception) -> StoreError:
    """Return our error for a URL the driver does not take."""
    if "DNS" in str(error) and url.startswith("mongodb+srv"):
        return StoreUnreachable(url, "its name cannot be resolved")
    # With credentials in the URL the driver's words may quote a part of them.
    detail = "percent-encode what is special in user and password" if "@" in url else brief(error)
    # Without an example of credentials: what hides secrets would take all before its `@` for one.
    return StoreUrlInvalid(url, f"is malformed: {detail}; write mongodb://host:27017/database")


def brief(error: Exception) -> str:
    """Return the heart of an error's text, on one harmless line."""
    return hide_secrets(escape(_NOISE.sub("", str(error))[:240]))


def _of_bulk(url: str, error: BulkWriteError) -> StoreError:
    details = error.details or {}
    failures = [failure for failure in details.get("writeErrors", []) if failure.get("code") != DUPLICATE_KEY]
    if failures:
        return _of_code(url, failures[0].get("code", 0), escape(str(failures[0].get("errmsg", ""))[:240]))
    return StoreUnreachable(url, "did not confirm that the records are durable")


def _of_code(url: str, code: int, text: str) -> StoreError:
    if code in _TRANSIENT_CODES:
        return StoreUnreachable(url, f"cannot do it now: {text}")
    if code in _REFUSED_LOGIN:
        return StoreRefused(url, f"refused user or password: {text}")
    if code == _NOT_ALLOWED:
        return StoreRefused(url, f"the user is not allowed to: {text}")
    return StoreRefused(url, f"refused: {text} (code {code})")
