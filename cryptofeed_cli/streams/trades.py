"""The trades of one symbol: every id, or a gap that names it; knows no connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from cryptofeed_cli.clock import MILLISECOND, Moment
from cryptofeed_cli.exchanges.base import Fold
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.ids import Hole, TradeIds
from cryptofeed_cli.types import Fault, Gap, GapKind, Trade

IMPLAUSIBLE_RATE = 10_000
"""Trades per second of one symbol that nobody has seen: ids that jump further were renumbered, not missed."""

RENUMBERED_AFTER_MS = 10_000
"""A trade this much later than the highest id known, with a lower id that nobody missed, was numbered anew."""

Want = Callable[[str, int, int], object]
"""Asks for missing ids of a symbol: first and last."""


class TradeStream:
    """Follows the ids of one symbol. It survives its connections: while none carries it there is an outage."""

    def __init__(
        self,
        symbol: str,
        ledger: Ledger,
        emit: Callable[[Trade], object],
        grace: int,
        *,
        want: Want | None = None,
        limit: int | None = None,
    ) -> None:
        """``want`` None: nothing is filled. Holes older than ``limit`` nanoseconds are left for later."""
        self._symbol, self._ledger, self._emit, self._grace = symbol, ledger, emit, grace
        self._want, self._limit = want, limit
        self._ids = TradeIds()
        self._outage: str | None = None
        self.last: Trade | None = None
        self.heard = 0
        """Monotonic time of the last push."""
        self.duplicates = 0

    @property
    def interrupted(self) -> bool:
        """Whether nothing was heard since nothing carried this stream."""
        return self._outage is not None

    def resume(self, last_id: int, timestamp: int | None, outage: Gap | None, now: Moment) -> None:
        """Go on where an earlier run ended: after ``last_id``, or in an outage that it recorded."""
        self._ids.next, self._ids.timestamp = last_id + 1, timestamp
        if outage is None:
            self.interrupt("downtime", "us", "no recorder was running", now)
        else:
            self._ledger.adopt(outage)
            self._outage = outage.gap_id

    def adopt(self, gap: Gap, ranges: Sequence[tuple[int, int]], now: Moment) -> None:
        """Go on filling a gap of an earlier run, of which ``ranges`` are missing still."""
        self._ledger.adopt(gap)
        hole = Hole(list(ranges), gap.start, gap.end, now.monotonic, gap.gap_id)
        if gap.missing is not None and hole.missing + gap.filled < gap.missing:
            self._ledger.fill(gap.gap_id, now.at, gap.missing - gap.filled - hole.missing)
        if hole.ranges:
            self._ids.add(hole)
            self._fill(hole)

    def take(self, trades: list[Trade], now: Moment, _carriers: object = None) -> None:
        """Check the continuity of single fills and pass them on, duplicates too: the store knows them for sure."""
        ids, emit = self._ids, self._emit
        self.heard = now.monotonic
        for trade in trades:
            number = int(trade.trade_id)
            if number == ids.next and self._outage is None:
                ids.next = number + 1
                ids.timestamp = trade.timestamp
            else:
                self._account(number, number, trade.timestamp, now)
            emit(trade)
        if trades:
            self.last = trades[-1]

    def witness(self, folds: list[Fold], now: Moment) -> None:
        """Check continuity by aggregated trades. Where fills come too, a fold only tells that its last id exists."""
        for fold in folds:
            if self.last is None:
                self._account(fold.first_id, fold.last_id, fold.timestamp, now)
            elif self._outage is None and self._ids.next is not None and fold.last_id >= self._ids.next:
                self._ids.arrive(fold.last_id + 1, fold.last_id, fold.timestamp, now.monotonic)

    def recover(self, trades: Sequence[Trade], now: Moment) -> None:
        """Take missed trades, ascending, that were asked for; those that came meanwhile are left out."""
        filled: Counter[str | None] = Counter()
        for trade in trades:
            number = int(trade.trade_id)
            for hole, count in self._ids.reclaim(number, number):
                filled[hole.gap_id] += count
                self._emit(trade)
        for identity, count in filled.items():
            if identity is not None:
                self._ledger.fill(identity, now.at, count)

    def lack(self, first: int, last: int, now: Moment) -> None:
        """Take note that the exchange lacks missed ids too."""
        for hole, count in self._ids.reclaim(first, last):
            if hole.gap_id is not None:
                self._ledger.lack(hole.gap_id, now.at, count)

    def catch_up(self, newest: Sequence[Trade], now: Moment) -> None:
        """Take the newest trades there are, ascending: the next one pushed may be hours away.

        An answer older than what is known already proves nothing, and is ignored.
        """
        known = self._ids.next
        if known is None or not newest or int(newest[-1].trade_id) < known - 1:
            return
        fresh = [trade for trade in newest if int(trade.trade_id) >= known]
        if not fresh and self._outage is not None:
            self._end_outage(self._outage, None, self._ids.timestamp, now)
        for trade in fresh:
            self._account(int(trade.trade_id), int(trade.trade_id), trade.timestamp, now)
            self._emit(trade)

    def interrupt(self, kind: GapKind, fault: Fault, reason: str, now: Moment) -> None:
        """Note that nothing carries this stream any more."""
        if self._outage is None and self._ids.next is not None:
            self.check(now, final=True)  # holes from before have their own cause
            self._outage = self._ledger.open(
                kind, self._symbol, "trades", fault=fault, reason=reason, at=now.at, start=self._ids.timestamp
            )

    def check(self, now: Moment, *, final: bool = False) -> None:
        """Record the holes that stayed open for longer than the grace, or all of them when nothing will follow."""
        for hole in [hole for hole in self._ids.holes if hole.gap_id is None]:
            if final or now.monotonic - hole.noticed >= self._grace:
                plausible = _is_plausible(hole)
                hole.gap_id = self._ledger.open(
                    "trade_ids" if plausible else "unproven", self._symbol, "trades", fault="venue", at=now.at,
                    reason="trade ids were passed over on an open connection" if plausible else _RENUMBERED,
                    start=hole.start, end=hole.end, missing=hole.missing if plausible else None,
                    first_missing=str(hole.ranges[0][0]), last_missing=str(hole.ranges[-1][1]),
                    status="open" if plausible else "unrecoverable",
                )  # fmt: skip
                self._fill(hole)

    def _account(self, first: int, last: int, timestamp: int | None, now: Moment) -> None:
        if self._is_renumbered(first, last, timestamp):
            self._begin_anew(first, timestamp, now)
        known = self._ids.next
        if self._ids.is_full:
            self.check(now, final=True)
        hole = self._ids.arrive(first, last, timestamp, now.monotonic)
        if known is not None and first < known:
            self._arrived_late(first, min(last, known - 1), now)
        if self._outage is not None and (known is None or last >= known - 1):
            self._end_outage(self._outage, hole, timestamp, now)

    def _is_renumbered(self, first: int, last: int, timestamp: int | None) -> bool:
        """Tell whether ids fell back: a relisting, say."""
        known, before = self._ids.next, self._ids.timestamp
        if known is None or last >= known or before is None or timestamp is None:
            return False
        return timestamp - before > RENUMBERED_AFTER_MS and not self._ids.misses(first, last)

    def _begin_anew(self, first: int, timestamp: int | None, now: Moment) -> None:
        self.check(now, final=True)
        before = self._ids.timestamp
        if self._outage is not None:
            self._ledger.amend(
                self._outage, now.at, end=timestamp, kind="unproven", status="unrecoverable", reason=_FELL_BACK
            )
            self._ledger.finish(self._outage)
            self._outage = None
        else:
            self._ledger.open(
                "unproven", self._symbol, "trades", fault="venue", reason=_FELL_BACK, at=now.at, start=before,
                end=timestamp, status="unrecoverable",
            )  # fmt: skip
        self._ids.next, self._ids.timestamp = first, timestamp

    def _arrived_late(self, first: int, last: int, now: Moment) -> None:
        reclaimed = self._ids.reclaim(first, last)
        self.duplicates += (last - first + 1) - sum(count for _, count in reclaimed)
        for hole, count in reclaimed:
            if hole.gap_id is not None:
                self._ledger.fill(hole.gap_id, now.at, count)

    def _end_outage(self, outage: str, hole: Hole | None, timestamp: int | None, now: Moment) -> None:
        """Trades are back: the outage covers what was missed between the last one before and the first one after."""
        self._outage = None
        if hole is None:
            self._ledger.amend(outage, now.at, end=timestamp, missing=0, status="filled")
            self._ledger.finish(outage)
            return
        hole.gap_id = outage
        first, last = hole.ranges[0][0], hole.ranges[-1][1]
        if not _is_plausible(hole):
            self._ledger.amend(
                outage, now.at, end=timestamp, first_missing=str(first), last_missing=str(last), kind="unproven",
                status="unrecoverable", reason=_RENUMBERED,
            )  # fmt: skip
            self._fill(hole)
            return
        late = self._limit is not None and hole.start is not None and now.at - hole.start * MILLISECOND > self._limit
        self._ledger.amend(
            outage, now.at, end=timestamp, first_missing=str(first), last_missing=str(last), missing=hole.missing,
            status="deferred" if late and self._want is not None else "open",
        )  # fmt: skip
        if not late:
            self._fill(hole)

    def _fill(self, hole: Hole) -> None:
        if not _is_plausible(hole):
            self._ids.holes.remove(hole)
        elif self._want is not None:
            for first, last in hole.ranges:
                self._want(self._symbol, first, last)


_FELL_BACK = "the ids fell back: they were renumbered and are not comparable"
_RENUMBERED = "the ids jumped further than trades can come: they are not comparable"


def _is_plausible(hole: Hole) -> bool:
    """Tell whether so many trades can have been missed in that time; without a time they can."""
    if hole.start is None or hole.end is None:
        return True
    seconds = max(0, hole.end - hole.start) // 1000 + 1
    return hole.missing <= IMPLAUSIBLE_RATE * seconds
