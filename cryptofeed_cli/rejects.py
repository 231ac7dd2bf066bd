"""What could not be understood, kept verbatim and bounded: the first hundred per reason and hour, then a count."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

from cryptofeed_cli.clock import HOUR
from cryptofeed_cli.types import Reject

KEPT_PER_HOUR = 100
KEPT_BYTES = 256 << 10
"""Of one frame: several times the largest that is usual; no store takes documents of any size."""
REASONS = 1000
"""How many reasons are told apart in an hour; the rest share one."""


class Rejects:
    """Emits `Reject` records. ``count`` is how many there were, kept or not."""

    def __init__(self, exchange: str, emit: Callable[[Reject], object]) -> None:
        self._exchange = exchange
        self._emit = emit
        self._hour = 0
        self._reasons: Counter[str] = Counter()
        self.count = 0

    def keep(
        self, frame: bytes, reason: str, at: int, *, channel: str | None = None, symbol: str | None = None
    ) -> None:
        """Keep one frame, unless there were enough like it this hour."""
        self.count += 1
        if at // HOUR != self._hour:
            self._hour = at // HOUR
            self._reasons.clear()
        bucket = reason if reason in self._reasons or len(self._reasons) < REASONS else ""
        self._reasons[bucket] += 1
        if self._reasons[bucket] > KEPT_PER_HOUR:
            return
        kept = frame[:KEPT_BYTES]
        try:
            frame.decode()
            text = kept.decode(errors="ignore")  # it may end within a character
        except UnicodeDecodeError:
            text = f"base64:{b64encode(kept).decode()}"
        if len(kept) < len(frame):
            text += f" (cut: {len(frame)} bytes long)"
        identity = blake2b(b"\0".join((str(at).encode(), self._exchange.encode(), frame)), digest_size=16)
        self._emit(Reject(at, self._exchange, channel, symbol, reason, text, identity.hexdigest()))
