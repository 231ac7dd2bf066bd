"""Records that a store cannot hold, made into rejects; knows no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from cryptofeed_cli.printable import escape
from cryptofeed_cli.stores.conflicts import digest
from cryptofeed_cli.types import KIND_OF, Reject

LONGEST = 1 << 20
"""How many characters of such a record are kept: what is too large for a store would be so as a reject."""


def unstorable(record: Any, reason: str) -> Reject:
    """Return what to keep of a record that cannot be held. The same record gives the same reject."""
    try:
        text = msgspec.json.encode(record).decode()
    except (ValueError, OverflowError):  # what has no JSON: halves of surrogate pairs, say
        text = repr(record)
    symbol = getattr(record, "symbol", None)
    return Reject(
        received_at=min(max(_told_at(record), 0), 2**63 - 1),
        exchange=escape(str(getattr(record, "exchange", ""))),
        channel=KIND_OF[type(record)].name,
        symbol=None if symbol is None else escape(str(symbol)),
        reason=f"cannot be stored: {escape(reason)}",
        frame=escape(text[:LONGEST]),
        reject_id=f"unstorable-{digest([escape(text)]):016x}",
    )


def sorted_out(records: Iterable[Any], fails: Callable[[Any], str | None]) -> tuple[list[Any], list[Reject]]:
    """Split records into those that ``fails`` has nothing against, and the rejects of the others."""
    good, rejects = [], []
    for record in records:
        reason = fails(record)
        if reason is None:
            good.append(record)
        else:
            rejects.append(unstorable(record, reason))
    return good, rejects


def _told_at(record: Any) -> int:
    for name in ("received_at", "updated_at", "heartbeat_at"):
        if isinstance(at := getattr(record, name, None), int):
            return at
    return 0
