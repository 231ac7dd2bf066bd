"""Records that contradict what is stored, made into rejects; knows no database."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from cryptofeed_cli.clock import HOUR
from cryptofeed_cli.stores.layout import Layout
from cryptofeed_cli.types import Reject

REASON = "conflict: other content is stored under the same key"
KEPT_PER_HOUR = 100


def digest(parts: Sequence[Any]) -> int:
    """Return 63 bits that tell one sequence of plain values from another."""
    return int.from_bytes(blake2b(msgspec.json.encode(parts), digest_size=8).digest(), "big") >> 1


class Conflicts:
    """Keeps the first hundred conflicts of every hour; the others are only counted, by the caller."""

    def __init__(self) -> None:
        self._hour = 0
        self._kept = 0

    def rejects(self, layout: Layout, records: Sequence[Any]) -> list[Reject]:
        """Return what to keep of records that contradict stored ones. The same record gives the same reject."""
        kept = []
        for record in records:
            hour = record.received_at // HOUR
            if hour != self._hour:
                self._hour, self._kept = hour, 0
            if self._kept < KEPT_PER_HOUR:
                self._kept += 1
                kept.append(_reject(layout, record))
        return kept


def _reject(layout: Layout, record: Any) -> Reject:
    identity = [layout.name, record.exchange, record.symbol]
    identity += [getattr(record, field) for field in layout.key + layout.content]
    return Reject(
        received_at=record.received_at,
        exchange=record.exchange,
        channel=layout.kind.name,
        symbol=record.symbol,
        reason=REASON,
        frame=msgspec.json.encode(record).decode(),
        reject_id=f"conflict-{digest(identity):016x}",
    )
