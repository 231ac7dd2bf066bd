"""How much of a time was recorded, proven and clean, from runs and gaps; reads no store.

*verified*: a recorder was subscribed, and no gap that may hide a loss overlaps. *clean*: verified, and nothing had to
be fetched afterwards or turned out to be missing at the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.types import Gap, Run

PROVEN = ("filled", "absent_at_source")
"""How a gap ends that hides no loss."""

Span = tuple[int, int]


class Coverage(msgspec.Struct, frozen=True):
    """What can be said of one channel of one symbol."""

    verified: float | None
    """Percent of the time from the first subscription to the last sign of life; rounded down; None: never recorded."""
    clean: float | None
    missing: int
    """Records that were missed, as far as their number is known."""
    filled: int
    """Of those, how many were fetched afterwards."""
    absent: int
    """Of those, how many the exchange lacks too."""
    unrecoverable: int
    """Gaps of which nothing can be had any more."""


def measure(runs: Iterable[Run], gaps: Iterable[Gap], symbol: str, channel: str) -> Coverage:
    """Measure one channel of one symbol. ``gaps`` are its own, the latest revision of each."""
    gaps = list(gaps)
    spans = union(
        (run.started_at // MILLISECOND, (run.ended_at or run.heartbeat_at) // MILLISECOND)
        for run in runs
        if carried(run, symbol, channel)
    )
    end = spans[-1][1] if spans else 0
    verified = subtract(spans, (_span(gap, end) for gap in gaps if gap.status not in PROVEN))
    clean = subtract(verified, (_span(gap, end) for gap in gaps if gap.status in PROVEN and gap.missing != 0))
    whole = end - spans[0][0] if spans else 0
    return Coverage(
        _percent(verified, whole),
        _percent(clean, whole),
        missing=sum(gap.missing or 0 for gap in gaps),
        filled=sum(gap.filled for gap in gaps),
        absent=sum((gap.missing or 0) - gap.filled for gap in gaps if gap.status == "absent_at_source"),
        unrecoverable=sum(gap.status == "unrecoverable" for gap in gaps),
    )


def carried(run: Run, symbol: str, channel: str) -> bool:
    record = run.config.get("record", {})
    patterns, channels = record.get("symbols", ()), record.get("channels", ())
    return channel in channels and any(fnmatchcase(symbol, pattern) for pattern in patterns)


def _span(gap: Gap, end: int) -> Span:
    """When a gap was; one whose far side is not known lasts still."""
    last = end if gap.end is None else gap.end
    return (last if gap.start is None else gap.start), last


def union(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined


def subtract(spans: list[Span], holes: Iterable[Span]) -> list[Span]:
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
