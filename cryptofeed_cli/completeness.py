"""What is proven complete and where it is not, from runs and gaps; knows no format and asks no exchange.

*Complete*: every instant lies in a span in which a recorder was subscribed, and no gap overlaps that is open,
deferred, partial, unrecoverable or unproven. Times are the exchange's, in milliseconds; a recorder's own clock says
when it ran.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

import msgspec

from cryptofeed_cli.clock import MILLISECOND, format_milliseconds
from cryptofeed_cli.coverage import PROVEN, is_carried, subtract, union
from cryptofeed_cli.stores.base import Span, Store
from cryptofeed_cli.types import KINDS, Gap, Run

ALIVE = 20_000
"""A recorder that was heard of so many milliseconds ago is alive; it shows itself every 5 s."""
FOREVER = 2**63 - 1


class Hole(msgspec.Struct, frozen=True):
    """A span of which nothing is proven. None: from the beginning, or not over yet."""

    start: int | None
    end: int | None
    why: str
    gap_id: str | None = None

    def __str__(self) -> str:
        if self.start is None and self.end is None:
            return self.why
        start, end = (None if at is None else format_milliseconds(at) for at in (self.start, self.end))
        return f"{self.why} from {start or 'the beginning'} to {end or 'now'}"


class Completeness(msgspec.Struct, frozen=True):
    """What is proven of one channel of one symbol in ``[since, until)``; both None: it was never recorded."""

    symbol: str
    channel: str
    since: int | None
    until: int | None
    holes: list[Hole]

    @property
    def complete(self) -> bool:
        """Whether nothing can be missing."""
        return not self.holes


class Ledgers:
    """The runs and gaps of a store, read once."""

    def __init__(self, runs: Iterable[Run], gaps: Iterable[Gap]) -> None:
        self._runs = list(runs)
        self._gaps = list(gaps)

    def judge(self, exchange: str | None, symbol: str, channel: str, span: Span, now: int) -> Completeness:
        """Judge a span, ``now`` being the wall clock (ns).

        An open beginning is the first subscription. An open end is the last sign of life of a recorder; where no
        recorder is alive and the span has a beginning, it is now: who asks for the last hour means all of it.
        """
        spans = self._recorded(symbol, channel)
        since = None if span.since is None else -(-span.since // MILLISECOND)
        until = None if span.until is None else -(-span.until // MILLISECOND)
        if since is None:
            since = spans[0][0] if spans else None
        if until is None:
            last, present = spans[-1][1] if spans else None, now // MILLISECOND
            until = present if span.since is not None and (last is None or present - last > ALIVE) else last
        if since is None or until is None:
            return Completeness(symbol, channel, None, None, [Hole(since, until, "never recorded")])
        unrecorded = [Hole(start, end, "not recorded") for start, end in subtract([(since, until)], spans)]
        gaps = [
            Hole(gap.start, gap.end, f"{gap.kind} gap ({gap.status})", gap.gap_id)
            for gap in self.doubtful(exchange, symbol, channel)
            # The records beside a gap may share their millisecond with missing ones.
            if (gap.start is None or gap.start < until) and (gap.end is None or gap.end >= since)
        ]
        return Completeness(symbol, channel, since, until, sorted(unrecorded + gaps, key=_by_start))

    def doubtful(self, exchange: str | None, symbol: str, channel: str) -> Iterator[Gap]:
        """Yield the gaps of a channel that may hide a loss."""
        for gap in self._gaps:
            of_channel = gap.symbol == symbol and gap.channel == channel and exchange in (None, gap.exchange)
            if of_channel and (gap.status not in PROVEN or gap.kind == "unproven"):
                yield gap

    def proof(self, exchange: str, symbol: str, channel: str) -> Proof:
        """Return what tells of any span whether it is complete."""
        gaps = self.doubtful(exchange, symbol, channel)
        return Proof(self._recorded(symbol, channel), [_closed(gap) for gap in gaps])

    def _recorded(self, symbol: str, channel: str) -> list[tuple[int, int]]:
        return union(
            (run.started_at // MILLISECOND, (run.ended_at or run.heartbeat_at) // MILLISECOND)
            for run in self._runs
            if is_carried(run, symbol, channel)
        )


class Proof:
    """Tells of spans, however many, whether they are complete."""

    def __init__(self, recorded: list[tuple[int, int]], gaps: Iterable[tuple[int, int]]) -> None:
        self._recorded = recorded
        self._doubts = union((start, end + 1) for start, end in gaps)  # an end may share its millisecond with a loss

    def covers(self, start: int, end: int) -> bool:
        """Tell whether ``[start, end)`` is complete."""
        return _within(self._recorded, start, end) and not _touched(self._doubts, start, end)

    def at(self, instant: int) -> str | None:
        """Return why a state that gaps invalidate is not known at an instant; None: it is."""
        if not any(start <= instant <= end for start, end in self._recorded):
            return "not recorded"
        return None if self.covers_instant(instant) else "inside a gap"

    def covers_instant(self, instant: int) -> bool:
        """Tell whether no gap is open at an instant; where it ends all is well again."""
        return not any(start <= instant < end - 1 for start, end in self._doubts)


def ledgers(store: Store, span: Span = Span()) -> Ledgers:  # noqa: B008 - frozen
    """Read the runs of a store, and the gaps that touch a span."""
    return Ledgers(store.scan(KINDS["runs"]), store.scan(KINDS["gaps"], span=span))


def _by_start(hole: Hole) -> int:
    return -1 if hole.start is None else hole.start


def _closed(gap: Gap) -> tuple[int, int]:
    return (0 if gap.start is None else gap.start), (FOREVER if gap.end is None else gap.end)


def _within(spans: list[tuple[int, int]], start: int, end: int) -> bool:
    place = bisect_left(spans, (start + 1,)) - 1
    return place >= 0 and spans[place][0] <= start and end <= spans[place][1]


def _touched(spans: list[tuple[int, int]], start: int, end: int) -> bool:
    place = bisect_left(spans, (end,))
    return place > 0 and spans[place - 1][1] > start
