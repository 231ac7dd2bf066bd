"""The trades of one symbol: every id, or a gap that names it; knows no connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from cryptofeed_cli.clock import MILLISECOND, Moment
from cryptofeed_cli.exchanges.base import Fold
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.ids import Hole, TradeIds, Unnamed, joined, outside, ranges_of
from cryptofeed_cli.types import Fault, Gap, GapKind, Trade

IMPLAUSIBLE_RATE = 10_000
"""Trades per second of one symbol that nobody has seen: ids that jump further were renumbered, not missed."""

RENUMBERED_AFTER_MS = 10_000
"""A trade this much later than the highest id known, with a lower id that nobody missed, was numbered anew."""

Want = Callable[[str, int, int], object]
"""Asks for missing ids of a symbol: first and last."""

Look = Callable[[str, int, int, Moment], object]
"""Asks the store which of the missing ids of a symbol it lacks: first and last; `TradeStream.looked_up` is told."""


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
        look: Look | None = None,
    ) -> None:
        """``want`` None: nothing is filled. Holes older than ``limit`` nanoseconds are left for later.

        ``look`` None: nobody else writes to the store, so what is missing here is missing there.
        """
        self._symbol, self._ledger, self._emit, self._grace = symbol, ledger, emit, grace
        self._want, self._limit, self._look = want, limit, look
        self._ids = TradeIds()
        self._first: tuple[int, int | None] | None = None
        """The first id that came, and its exchange time; None: none came yet."""
        self._outage: str | None = None
        self._retracted: list[tuple[int, int]] = []
        """Ids that came and were not stored: the outage's, with those that are missed in it."""
        self.last: Trade | None = None
        self.heard = 0
        """Monotonic time of the last push."""
        self.duplicates = 0

    @property
    def interrupted(self) -> bool:
        """Whether nothing was heard since nothing carried this stream."""
        return self._outage is not None

    def resume(self, last_id: int, timestamp: int | None, outage: Gap | None, now: Moment) -> None:
        """Go on where an earlier run ended: after ``last_id``, or in an outage that it recorded.

        It may be told late: then what was missed ends at the first trade of this run.
        """
        if self._first is not None:
            self._bridge(last_id, timestamp, outage, self._first, now)
            return
        self._ids.next, self._ids.timestamp = last_id + 1, timestamp
        if outage is None:
            self.interrupt("downtime", "us", "no recorder was running", now)
        else:
            self._ledger.adopt(outage)
            self._outage = outage.gap_id

    def _bridge(
        self, last_id: int, timestamp: int | None, outage: Gap | None, first: tuple[int, int | None], now: Moment
    ) -> None:
        if outage is not None:
            self._ledger.adopt(outage)
        missed = Unnamed(last_id + 1, first[0] - 1, timestamp, first[1], unattended=True)
        self._miss_unattended(missed, now, None if outage is None else outage.gap_id)

    def miss(self, missed: Unnamed, now: Moment) -> None:
        """Take note of ids that earlier runs passed over and did not name: they are named and filled."""
        if missed.unattended:
            self._miss_unattended(missed, now)
            return
        ranges = [(missed.first, missed.last)]
        self._ids.add(Hole(ranges, missed.start, missed.end, now.monotonic - self._grace))
        self.check(now)

    def _miss_unattended(self, missed: Unnamed, now: Moment, identity: str | None = None) -> None:
        first, last, start, end, _ = missed
        identity = identity or self._ledger.open(
            "downtime", self._symbol, "trades", fault="us", reason="no recorder was running", at=now.at, start=start
        )
        hole = None
        if first <= last:
            hole = Hole([(first, last)], start, end, now.monotonic)
            self._ids.add(hole)
        self._settle(identity, hole, end, now)

    def adopt(self, gap: Gap, ranges: Sequence[tuple[int, int]], now: Moment) -> None:
        """Go on filling a gap of an earlier run, of which ``ranges`` are missing still, or leave it for later."""
        self._ledger.adopt(gap)
        hole = Hole(list(ranges), gap.start, gap.end, now.monotonic, gap.gap_id)
        if gap.missing is not None and hole.missing + gap.filled < gap.missing:
            self._ledger.fill(gap.gap_id, now.at, gap.missing - gap.filled - hole.missing)
        if hole.ranges and self._is_late(hole, now):
            self._ledger.amend(gap.gap_id, now.at, status="deferred")
            self._ledger.finish(gap.gap_id)
        elif hole.ranges:
            self._ids.add(hole)
            self._ask(hole)

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

    def looked_up(self, first: int, last: int, missing: Sequence[tuple[int, int]], now: Moment) -> None:
        """Take note of which ids of ``first..last`` the store lacks, and ask for those."""
        holes = [hole for hole in self._ids.holes if hole.ranges[0][0] <= last and first <= hole.ranges[-1][1]]
        held: Counter[str | None] = Counter()
        for low, high in outside([(first, last)], missing):
            for hole, count in self._ids.reclaim(low, high):
                held[hole.gap_id] += count
        for hole in holes:
            if hole.gap_id is not None:
                if held[hole.gap_id]:
                    self._ledger.hold(hole.gap_id, now.at, held[hole.gap_id], hole.ranges, defer=hole.late)
                if not hole.late:
                    self._ask(hole)

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

    def retract(self, refused: Sequence[Trade], durable: Mapping[str, int], reason: str, now: Moment) -> None:
        """Note that nothing is stored any more: what was refused is missing, with all that follows until trades come.

        ``durable`` is how far this symbol is stored, by kind.
        """
        if self._ids.next is None:
            return
        self.check(now, final=True)
        times = [trade.timestamp for trade in refused if trade.timestamp is not None]
        times += [durable["trades"]] if "trades" in durable else [] if times else [self._ids.timestamp or 0]
        start = min(times)
        if self._outage is None:
            self._outage = self._ledger.open(
                "writer", self._symbol, "trades", fault="us", reason=reason, at=now.at, start=start
            )
        elif refused:
            self._ledger.amend(self._outage, now.at, kind="writer", fault="us", reason=reason, start=start)
        # What an earlier halt cost, and is not fetched yet, is a part of the same gap.
        pending = [hole for hole in self._ids.holes if hole.gap_id == self._outage]
        for hole in pending:
            self._ids.holes.remove(hole)
        before = [*self._retracted, *(part for hole in pending for part in hole.ranges)]
        self._retracted = joined([*before, *ranges_of(int(trade.trade_id) for trade in refused)])

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
                self._fill(hole, now)

    def _account(self, first: int, last: int, timestamp: int | None, now: Moment) -> None:
        if self._is_renumbered(first, last, timestamp):
            self._begin_anew(first, timestamp, now)
        known = self._ids.next
        if self._first is None and known is None:
            self._first = (first, timestamp)
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
        if self._retracted:
            gap = self._ledger.find(outage)
            if hole is not None:
                self._ids.holes.remove(hole)
            ranges = joined([*self._retracted, *(() if hole is None else hole.ranges)])
            hole = Hole(ranges, None if gap is None else gap.start, timestamp, now.monotonic)
            self._ids.add(hole)
            self._retracted = []
        self._settle(outage, hole, timestamp, now)

    def _settle(self, outage: str, hole: Hole | None, timestamp: int | None, now: Moment) -> None:
        """Record what an outage came to: nothing, or a hole that can be filled or cannot."""
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
            self._fill(hole, now)
            return
        hole.late = self._is_late(hole, now)
        self._ledger.amend(
            outage, now.at, end=timestamp, first_missing=str(first), last_missing=str(last), missing=hole.missing,
            status="deferred" if hole.late else "open",
        )  # fmt: skip
        self._fill(hole, now)

    def _is_late(self, hole: Hole, now: Moment) -> bool:
        """Tell whether a hole is left for later."""
        if self._limit is None or self._want is None or hole.start is None:
            return False
        return now.at - hole.start * MILLISECOND > self._limit

    def _fill(self, hole: Hole, now: Moment) -> None:
        if not _is_plausible(hole):
            self._ids.holes.remove(hole)
        elif self._look is not None:
            self._look(self._symbol, hole.ranges[0][0], hole.ranges[-1][1], now)
        elif not hole.late:
            self._ask(hole)

    def _ask(self, hole: Hole) -> None:
        if self._want is not None:
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
