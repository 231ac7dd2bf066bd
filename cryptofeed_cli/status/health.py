"""Why a recording is not healthy: each reason in words, with what is to be seen to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cryptofeed_cli.clock import MINUTE, format_duration, format_nanoseconds
from cryptofeed_cli.standing import OutboxStatus
from cryptofeed_cli.status.report import RecorderStatus, RoomStatus
from cryptofeed_cli.stores.conflicts import REASON as CONFLICT
from cryptofeed_cli.types import Gap

WAITING_LONG = MINUTE
"""What waits in an outbox for longer is a reason to worry."""
OPEN_LONG = 15 * MINUTE
"""So long a gap in trades may be open: while the exchange answers it takes seconds."""
DAYS_LEFT = 1.0
"""A disk that will be full sooner is a reason to worry,"""
LITTLE = 256 << 20
"""and so is one with so few bytes left."""
OFFSET_MS = 1_000
"""A clock that is further off dates every record wrongly."""
_NAMED = 5


def troubles(recorders: Sequence[RecorderStatus]) -> Iterator[str]:
    """Yield what is wrong with the recorders."""
    for one in recorders:
        if one.state == "dead":
            yield f"recorder {one.name} is dead: last heard of {one.heartbeat_at}; start it again"
        elif one.state == "failed":
            yield f"recorder {one.name} failed: ended {one.ended_at}; see its log"
        elif one.state == "running" and one.doing == "HALTED":
            yield f"recorder {one.name} is halted since {one.since}: nothing can be made durable; make room"
        if one.state == "running" and abs(one.clock_offset_ms or 0) > OFFSET_MS:
            yield f"the clock of {one.host} is {one.clock_offset_ms} ms from the exchange's; set it"
    if not any(one.state == "running" for one in recorders):
        yield "no recorder is running"


def silences(missing: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield what is to be recorded and never was."""
    if missing:
        named = ", ".join(f"{channel} of {symbol}" for symbol, channel in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        yield f"nothing was ever recorded of {named}{more}; see whether the exchange has them"


def contradictions(rejects: Mapping[str, int]) -> Iterator[str]:
    """Yield what contradicts what is stored."""
    if CONFLICT in rejects:
        yield f"{rejects[CONFLICT]:,} records that contradict stored ones are kept in the rejects"


def delays(outboxes: Sequence[OutboxStatus], ours: str, now: int) -> Iterator[str]:
    """Yield what waits for too long in the outboxes of the store whose identity is ``ours``, or cannot be read."""
    for one in outboxes:
        if one.problem is not None:
            yield f"outbox {one.path}: {one.problem}"
        elif one.store == ours and one.since is not None and one.since < format_nanoseconds(now - WAITING_LONG):
            yield f"{one.records:,} records wait in the outbox {one.path} since {one.since}"


def holes(gaps: Sequence[Gap], now: int) -> Iterator[str]:
    """Yield what could be fetched and was not."""
    late = [
        gap for gap in gaps
        if gap.channel == "trades" and gap.status == "open" and gap.end is not None and gap.updated_at < now - OPEN_LONG
    ]  # fmt: skip
    if late:
        symbols = ", ".join(sorted({gap.symbol for gap in late})[:_NAMED])
        yield (
            f"{len(late):,} gaps in trades of {symbols} are open for longer than {format_duration(OPEN_LONG)}; "
            "`cryptofeed backfill` fetches what can be had"
        )


def narrows(room: RoomStatus) -> Iterator[str]:
    """Yield where room runs out."""
    if room.days_left is not None and room.days_left < DAYS_LEFT:
        yield f"the store's disk will be full in {room.days_left * 24:.1f} hours; make room, or set a retention"
    for what, free in (("the store's disk", room.free), ("the disk of the data directory", room.data_free)):
        if free is not None and free < LITTLE:
            yield f"{what} has {free / 2**20:,.0f} MiB left; make room"
