"""How every channel of every symbol comes in: when it spoke last, how late, how much a second; counts by indexes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

from cryptofeed_cli.clock import MILLISECOND, MINUTE, SECOND
from cryptofeed_cli.status.report import ChannelStatus, Continuity
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import KINDS, Gap

RATE_OVER = MINUTE
LOOKED_AT = 100
"""Of the latest records, of which the lag is told."""
_REPARABLE = ("open", "deferred", "partial")

Heard = Mapping[str, Mapping[str, int]]
"""How many milliseconds ago the last frame of each channel of each symbol came, as recorders of this machine tell."""


def channels(
    store: Store, complete: Sequence[Continuity], gaps: Sequence[Gap], heard: Heard, now: int
) -> list[ChannelStatus]:
    """Return the status of every channel whose completeness is known, in that order. ``now`` is the store's clock."""
    reparable = Counter((gap.symbol, gap.channel) for gap in gaps if gap.status in _REPARABLE)
    return [_channel(store, one, reparable[one.symbol, one.channel], heard, now) for one in complete]


def _channel(store: Store, one: Continuity, reparable: int, heard: Heard, now: int) -> ChannelStatus:
    kind, series = KINDS[one.channel], Series(one.exchange, one.symbol)
    latest = list(islice(store.scan(kind, series, descending=True), LOOKED_AT))
    last = max((record.received_at for record in latest), default=None)
    since = None if last is None else max(now - last, 0) // MILLISECOND
    lags = sorted(
        record.received_at // MILLISECOND - record.timestamp
        for record in latest
        if record.source == "live" and record.timestamp is not None
    )
    recent = store.tally(kind, series, span=Span(now - RATE_OVER, now)).count
    return ChannelStatus(
        one.exchange, one.symbol, one.channel,
        heard.get(one.symbol, {}).get(one.channel, since),
        _percentile(lags, 50), _percentile(lags, 99),
        round(recent * SECOND / RATE_OVER, 2), one.coverage, reparable,
    )  # fmt: skip


def _percentile(ascending: Sequence[int], percent: int) -> int | None:
    return ascending[(len(ascending) - 1) * percent // 100] if ascending else None
