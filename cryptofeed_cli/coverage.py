"""How much of a time was recorded, proven and clean, from runs and gaps; reads no store.

*verified*: a recorder was subscribed, and no gap of its own that may hide a loss overlaps: of several recorders one is
enough. Ids that the store lacks are missing whoever was subscribed. *clean*: verified, and nothing had to be fetched
afterwards or turned out to be missing at the exchange. Time that was removed on purpose does not count at all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.shards import parse_shard
from cryptofeed_cli.types import Gap, Run

PROVEN = ("filled", "absent_at_source")
"""How a gap ends that hides no loss."""

Span = tuple[int, int]


class Coverage(msgspec.Struct, frozen=True):
    """What can be said of one channel of one symbol."""

    verified: float | None
    """Percent of the time from the first record to the last sign of life; rounded down; None: never recorded."""
    clean: float | None
    missing: int
    """Records that were missed, as far as their number is known."""
    filled: int
    """Of those, how many were fetched afterwards."""
    absent: int
    """Of those, how many the exchange lacks too."""
    unrecoverable: int
    """Gaps of which nothing can be had any more, and that no other recorder covers."""


def measure(
    runs: Iterable[Run], gaps: Iterable[Gap], symbol: str, channel: str, first: int | None = None
) -> Coverage:
    """Measure one channel of one symbol. ``gaps`` are its own, the latest revision of each.

    ``first`` is the exchange time of its first record: nothing is said of the time before. None: from the beginning of
    the first run.
    """
    gaps = list(gaps)
    pruned = max((gap.end or 0 for gap in gaps if gap.kind == "pruned"), default=0)
    gaps = [gap for gap in gaps if gap.kind != "pruned" and (gap.end is None or gap.end > pruned)]
    runs = [run for run in runs if is_carried(run, symbol, channel)]
    lived = union(map(_lifetime, runs))
    begin, end = (max(lived[0][0], pruned, first or 0), lived[-1][1]) if lived else (0, 0)
    doubtful = [gap for gap in gaps if gap.status not in PROVEN]
    verified = subtract(_subscribed(runs, doubtful, end), [(0, begin)])
    clean = subtract(verified, (_span(gap, end) for gap in gaps if gap.status in PROVEN and gap.missing != 0))
    return Coverage(
        _percent(verified, end - begin),
        _percent(clean, end - begin),
        missing=sum(gap.missing or 0 for gap in gaps),
        filled=sum(gap.filled for gap in gaps),
        absent=sum((gap.missing or 0) - gap.filled for gap in gaps if gap.status == "absent_at_source"),
        unrecoverable=sum(_lost(gap, verified, end) for gap in gaps if gap.status == "unrecoverable"),
    )


def _subscribed(runs: Iterable[Run], doubtful: Iterable[Gap], end: int) -> list[Span]:
    """When any recorder was subscribed without a gap."""
    by_recorder: dict[str, list[Span]] = {}
    names = {}
    for run in runs:
        by_recorder.setdefault(run.name, []).append(_lifetime(run))
        names[run.run_id] = run.name
    holes: dict[str, list[Span]] = {name: [] for name in by_recorder}
    for gap in doubtful:
        # What the end of one run left open the next run of that recorder closes: hence by name.
        name = names.get(gap.run_id)
        for one in holes if name is None or _concerns_all(gap) else (name,):
            holes[one].append(_span(gap, end))
    return union(part for name, spans in by_recorder.items() for part in subtract(union(spans), holes[name]))


def _concerns_all(gap: Gap) -> bool:
    """Tell whether a gap is judged against the store, whoever wrote to it, or against the exchange."""
    return gap.kind == "unproven" or (gap.channel == "trades" and gap.first_missing is not None)


def _lost(gap: Gap, verified: list[Span], end: int) -> bool:
    """Tell whether a gap hides a loss: some of it is verified by nobody."""
    start, last = _span(gap, end)
    place = bisect_right(verified, (start, end)) - 1
    return start == last or place < 0 or verified[place][1] < last


def _lifetime(run: Run) -> Span:
    return run.started_at // MILLISECOND, (run.ended_at or run.heartbeat_at) // MILLISECOND


def is_carried(run: Run, symbol: str, channel: str) -> bool:
    """Tell whether a run records one channel of one symbol."""
    record = run.config.get("record", {})
    patterns, channels = record.get("symbols", ()), record.get("channels", ())
    meant = channel in channels and any(fnmatchcase(symbol, pattern) for pattern in patterns)
    return meant and ("shard" not in record or parse_shard(record["shard"]).holds(symbol))


def _span(gap: Gap, end: int) -> Span:
    """When a gap was; one whose far side is not known lasts still. No gap is so short that it does not count."""
    last = end if gap.end is None else gap.end
    start = last if gap.start is None else gap.start
    return start, max(last, start + 1)


def union(spans: Iterable[Span]) -> list[Span]:
    """Return spans as one or several that are apart from each other, ascending; empty ones are left out."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined


def subtract(spans: list[Span], holes: Iterable[Span]) -> list[Span]:
    """Return what of spans, ascending and apart from each other, is in none of the holes."""
    left = spans
    for low, high in union(holes):
        left = [
            part
            for start, end in left
            for part in ((start, min(end, low)), (max(start, high), end))
            if part[0] < part[1]
        ]
    return left


def _percent(spans: list[Span], whole: int) -> float | None:
    """Return a share of the whole in percent, to two places, rounded down: 100 means all of it."""
    if whole <= 0:
        return None
    return sum(end - start for start, end in spans) * 10_000 // whole / 100
