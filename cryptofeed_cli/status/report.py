"""What a status tells, as data: its JSON form is this. Times are text, sizes bytes, rates a second, lags ms."""

from __future__ import annotations

import msgspec

from cryptofeed_cli.coverage import Coverage
from cryptofeed_cli.standing import OutboxStatus, Standing


class RecorderStatus(msgspec.Struct, frozen=True):
    """The latest run of one recorder."""

    name: str
    run_id: str
    host: str
    pid: int
    version: str
    state: str
    """``running``, ``stopped``, ``failed``, or ``dead``: said to run, and not heard of."""
    doing: str | None
    """While it runs, in one word, as the live view has it: ``LIVE``, ``RECONNECTING``, ``SIMULATED``, ``HALTED``."""
    since: str | None
    """Since when it does that; of one that ended, since when it is over."""
    started_at: str
    heartbeat_at: str
    ended_at: str | None
    clock_offset_ms: int | None
    counters: dict[str, int]


class SeriesStatus(msgspec.Struct, frozen=True):
    """What is stored of one kind of one symbol."""

    exchange: str
    symbol: str
    kind: str
    simulated: bool
    records: int
    first: str | None
    last: str | None
    gaps: dict[str, int]
    """How many gaps there are, by their status; what was removed on purpose is ``pruned``."""


class ChannelStatus(msgspec.Struct, frozen=True):
    """How one channel of one symbol comes in, and how complete it is. Real data only."""

    exchange: str
    symbol: str
    channel: str
    heard_ms: int | None
    """How long ago its last frame came, heartbeats of books included, when a running recorder of this machine told so
    last; else how long ago its last record did."""
    lag_p50_ms: int | None
    """Receipt minus exchange time of its latest live records: the median,"""
    lag_p99_ms: int | None
    """and the 99th percentile."""
    rate: float | None
    """Records a second, over the last minute."""
    coverage: Coverage
    open: int
    """Gaps that are open, deferred or partly filled: `cryptofeed backfill` may fetch them."""


class RoomStatus(msgspec.Struct, frozen=True):
    """How much room there is, and for how long."""

    size: int | None
    """What the store takes on its disk, indexes included; null: it does not tell."""
    free: int | None
    """What its disk has left."""
    data_free: int | None
    """What the disk of the data directory has left: outboxes grow there."""
    growth: int | None
    """Bytes a day, by what was recorded within the last one; null: too little was."""
    days_left: float | None
    """Until the store's disk is full; null: that is not known, or the store does not grow."""


class Status(msgspec.Struct, frozen=True):
    """Everything at one instant."""

    store: str
    at: str
    healthy: bool
    reasons: list[str]
    """Why it is not healthy; empty: it is."""
    recorders: list[RecorderStatus]
    channels: list[ChannelStatus]
    series: list[SeriesStatus]
    rejects: dict[str, int]
    """How many frames are kept that could not be understood, by reason."""
    room: RoomStatus
    outboxes: list[OutboxStatus] = []
    """What waits on this machine, for this store or others."""


class Unanswered(msgspec.Struct, frozen=True):
    """What is known while the store does not answer: what the local files of this machine tell."""

    store: str
    at: str
    unreachable: str
    """Why."""
    recorders: list[Standing]
    outboxes: list[OutboxStatus]
    healthy: bool = False


class Continuity(msgspec.Struct, frozen=True):
    """How complete one channel of one symbol is."""

    exchange: str
    symbol: str
    channel: str
    coverage: Coverage
