"""The ledger of gaps: what was missed, from when to when, why, and what became of it; does not detect anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from cryptofeed_cli.types import Fault, Gap, GapKind, GapStatus

KEPT = 10_000
"""How many gaps are kept in memory for amending; the oldest is forgotten first."""
_OPEN = ("open", "partial")
KEPT_FINISHED = 1_000
"""How many are kept for opening again: one that does has lost nothing since, so it was finished just now."""


def gap_id(exchange: str, symbol: str, channel: str, kind: GapKind, lower_bound: str) -> str:
    """Return the identity of a gap: the same for every recorder that sees the same hole."""
    text = "\0".join((exchange, symbol, channel, kind, lower_bound))
    return blake2b(text.encode(), digest_size=16).hexdigest()


class Ledger:
    """Opens and amends gaps, and emits every revision of them."""

    def __init__(self, exchange: str, run_id: str, emit: Callable[[Gap], object]) -> None:
        self._exchange = exchange
        self._run_id = run_id
        self._emit = emit
        self._unfinished: dict[str, Gap] = {}
        self._finished: dict[str, int] = {}
        """The last revision of finished gaps: one that opens again is the same gap, and goes on from there."""
        self._earlier: dict[str, int] = {}
        """The same of gaps of earlier runs."""
        self._absent: Counter[str] = Counter()
        """How many missing records of a gap the exchange lacks too."""
        self.opened: Counter[str] = Counter()
        """How many gaps were opened so far, by symbol."""

    def open(
        self,
        kind: GapKind,
        symbol: str,
        channel: str,
        *,
        fault: Fault,
        reason: str,
        at: int,
        start: int | None,
        end: int | None = None,
        first_missing: str | None = None,
        last_missing: str | None = None,
        missing: int | None = None,
        status: GapStatus = "open",
    ) -> str:
        """Record a new gap and return its id. Its lower bound is the first missing id, else its start.

        Missing trades are missing whoever looks. What else a recorder did not hear is its own affair, since nobody can
        tell whether another one of the same exchange heard it: there the run belongs to the lower bound.
        """
        bound = first_missing or str(start)
        if channel != "trades":
            bound = f"{bound} {self._run_id}"
        identity = gap_id(self._exchange, symbol, channel, kind, bound)
        self.finish(identity)
        gap = Gap(
            identity, self._run_id, self._exchange, symbol, channel, kind, fault, start, end,
            first_missing, last_missing, missing, 0, status, reason, self._revision(identity) + 1, at,
        )  # fmt: skip
        self.opened[symbol] += 1
        _keep(self._unfinished, identity, gap)
        self._emit(gap)
        return identity

    def remember(self, revisions: Mapping[str, int]) -> None:
        """Take note of the last revision of gaps that earlier runs finished: they may open again."""
        self._earlier.update(revisions)

    def _revision(self, identity: str) -> int:
        return max(self._finished.pop(identity, 0), self._earlier.pop(identity, 0))

    def amend(self, identity: str, at: int, **changes: Any) -> None:
        """Record a new revision of a gap; nothing happens when it is not known any more."""
        gap = self._unfinished.get(identity)
        if gap is None:
            return
        gap = msgspec.structs.replace(gap, revision=gap.revision + 1, updated_at=at, **changes)
        self._unfinished[identity] = gap
        self._emit(gap)

    def find(self, identity: str) -> Gap | None:
        """Return the last revision of a gap that may be amended still."""
        return self._unfinished.get(identity)

    def open_by_symbol(self) -> Counter[str]:
        """Count the gaps that have not ended, or may be filled still, by symbol."""
        return Counter(gap.symbol for gap in self._unfinished.values() if gap.status in _OPEN)

    def remark(self, at: int, text: str) -> None:
        """Add to the reason of every gap whose far side is not known yet."""
        for gap in list(self._unfinished.values()):
            if gap.end is None:
                self.amend(gap.gap_id, at, reason=f"{gap.reason}; {text}")

    def adopt(self, gap: Gap) -> None:
        """Go on with a gap that an earlier run left unfinished."""
        _keep(self._unfinished, gap.gap_id, gap)

    def fill(self, identity: str, at: int, count: int) -> None:
        """Record that ``count`` missing records came after all."""
        gap = self._unfinished.get(identity)
        if gap is not None:
            self._settle(gap, at, gap.filled + count)

    def hold(self, identity: str, at: int, count: int, ranges: Sequence[tuple[int, int]], *, defer: bool) -> None:
        """Record that ``count`` of the missing records are stored: another recorder had them, so nothing was missed.

        ``ranges`` are the ids missing still; with ``defer`` they are left for later.
        """
        gap = self._unfinished.get(identity)
        if gap is None or gap.missing is None:
            return
        changes: dict[str, Any] = {"missing": gap.missing - count, "status": "deferred" if defer else "open"}
        if changes["missing"] == 0:
            changes |= {"first_missing": None, "last_missing": None}
        elif ranges and not gap.filled:
            changes |= {"first_missing": str(ranges[0][0]), "last_missing": str(ranges[-1][1])}
        self._settle(gap, at, gap.filled, **changes)

    def lack(self, identity: str, at: int, count: int) -> None:
        """Record that the exchange lacks ``count`` of the missing records too."""
        gap = self._unfinished.get(identity)
        if gap is not None:
            self._absent[identity] += count
            self._settle(gap, at, gap.filled)

    def _settle(self, gap: Gap, at: int, filled: int, **changes: Any) -> None:
        absent = self._absent[gap.gap_id]
        settled = filled + absent == changes.get("missing", gap.missing)
        if settled:
            changes["status"] = "absent_at_source" if absent else "filled"
        self.amend(gap.gap_id, at, filled=filled, **changes)
        if settled:
            self.finish(gap.gap_id)

    def finish(self, identity: str) -> None:
        """Forget a gap that will not be amended any more, unless it opens again."""
        gap = self._unfinished.pop(identity, None)
        self._absent.pop(identity, None)
        if gap is not None:
            _keep(self._finished, identity, gap.revision, KEPT_FINISHED)


def _keep(kept: dict[str, Any], key: str, value: Any, most: int = KEPT) -> None:
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[key] = value
