"""How the recording stands, read off the store: recorders, what is stored, what was missed; prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from cryptofeed_cli.clock import MILLISECOND, MINUTE, format_milliseconds, format_nanoseconds
from cryptofeed_cli.coverage import Coverage, measure
from cryptofeed_cli.past import DEAD_AFTER
from cryptofeed_cli.standing import OutboxStatus, Standing
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.stores.conflicts import REASON as CONFLICT
from cryptofeed_cli.types import CHANNELS, KINDS, Encoding, Gap, Kind, Run

WAITING_LONG = MINUTE
"""What waits in an outbox for longer is a reason to worry."""


class RecorderStatus(msgspec.Struct, frozen=True):
    """The latest run of one recorder."""

    name: str
    run_id: str
    host: str
    pid: int
    version: str
    state: str
    """``running``, ``stopped``, ``failed``, or ``dead``: said to run, and not heard of."""
    started_at: str
    heartbeat_at: str
    ended_at: str | None
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


class Continuity(msgspec.Struct, frozen=True):
    """How complete one channel of one symbol is."""

    exchange: str
    symbol: str
    channel: str
    coverage: Coverage


class Status(msgspec.Struct, frozen=True):
    """Everything at one instant."""

    store: str
    at: str
    healthy: bool
    reasons: list[str]
    """Why it is not healthy; empty: it is."""
    recorders: list[RecorderStatus]
    series: list[SeriesStatus]
    rejects: dict[str, int]
    """How many frames are kept that could not be understood, by reason."""
    continuity: list[Continuity] = []
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


def gather(
    store: Store,
    now: int,
    outboxes: list[OutboxStatus],
    ours: str,
    is_here: Callable[[Run], bool] = lambda _: False,
) -> Status:
    """Read the status off the store. ``now`` is the store's clock in nanoseconds; ``ours`` is the store's identity.

    ``is_here`` tells whether a run is a process of this machine that goes on: its signs of life may wait behind data.
    """
    runs = list(store.scan(KINDS["runs"]))
    latest = {(run.name, run.host): run for run in runs}
    recorders = [_recorder(run, now, alive=is_here(run)) for run in latest.values()]
    rejects = Counter(reject.reason for reject in store.scan(KINDS["rejects"]))
    reasons = [*_troubles(recorders), *_contradictions(rejects), *_delays(outboxes, ours, now)]
    return Status(
        store.url, format_nanoseconds(now), not reasons, reasons, recorders, _series(store),
        dict(rejects.most_common()), _continuity(store, runs, list(store.scan(KINDS["gaps"]))), outboxes,
    )  # fmt: skip


def of_run(store: Store, run_id: str) -> list[Continuity]:
    """Return how complete one run is, by symbol and channel."""
    runs = [run for run in store.scan(KINDS["runs"]) if run.run_id == run_id]
    since = min((run.started_at // MILLISECOND for run in runs), default=0)
    gaps = [gap for gap in store.scan(KINDS["gaps"]) if gap.run_id == run_id and (gap.end is None or gap.end > since)]
    return _continuity(store, runs, gaps)


def _continuity(store: Store, runs: list[Run], gaps: list[Gap]) -> list[Continuity]:
    by_series: dict[tuple[str, Series], list[Gap]] = {
        (channel, series): [] for channel in CHANNELS for series in store.series(KINDS[channel])
    }
    for gap in gaps:
        by_series.setdefault((gap.channel, Series(gap.exchange, gap.symbol)), []).append(gap)
    found = [
        Continuity(*series, channel, measure(runs, own, series.symbol, channel, _first(store, channel, series)))
        for (channel, series), own in by_series.items()
    ]
    known = [one for one in found if one.coverage.verified is not None]
    return sorted(known, key=lambda one: (one.exchange, one.symbol))


def _first(store: Store, channel: str, series: Series) -> int | None:
    record = next(store.scan(KINDS[channel], series, span=Span(since=0)), None)
    return None if record is None else int(record.timestamp)


def _troubles(recorders: list[RecorderStatus]) -> Iterator[str]:
    for one in recorders:
        if one.state == "dead":
            yield f"recorder {one.name} is dead: last heard of {one.heartbeat_at}"
        elif one.state == "failed":
            yield f"recorder {one.name} failed: ended {one.ended_at}"
    if not any(one.state == "running" for one in recorders):
        yield "no recorder is running"


def _contradictions(rejects: Mapping[str, int]) -> Iterator[str]:
    if CONFLICT in rejects:
        yield f"{rejects[CONFLICT]:,} records that contradict stored ones are kept in the rejects"


def _delays(outboxes: list[OutboxStatus], ours: str, now: int) -> Iterator[str]:
    for one in outboxes:
        if one.problem is not None:
            yield f"outbox {one.path}: {one.problem}"
        elif one.store == ours and one.since is not None and one.since < format_nanoseconds(now - WAITING_LONG):
            yield f"{one.records:,} records wait in the outbox {one.path} since {one.since}"


def _recorder(run: Run, now: int, *, alive: bool) -> RecorderStatus:
    silent = run.state == "running" and now - run.heartbeat_at > DEAD_AFTER
    state = "dead" if silent and not alive else run.state
    return RecorderStatus(
        run.name, run.run_id, run.host, run.pid, run.version, state,
        format_nanoseconds(run.started_at), format_nanoseconds(run.heartbeat_at),
        None if run.ended_at is None else format_nanoseconds(run.ended_at), run.counters,
    )  # fmt: skip


def _series(store: Store) -> list[SeriesStatus]:
    missed: dict[str, dict[Series, Counter[str]]] = {}
    for gap in store.scan(KINDS["gaps"]):
        of_channel = missed.setdefault(gap.channel, {})
        fate = "pruned" if gap.kind == "pruned" else gap.status
        of_channel.setdefault(Series(gap.exchange, gap.symbol), Counter())[fate] += 1
    found = []
    for kind in KINDS.values():
        for simulated in (False, True) if kind.market else ():
            counted = {} if simulated else missed.get(kind.name, {})
            for series in {*store.series(kind, simulated=simulated), *counted}:
                tally = store.tally(kind, series, simulated=simulated)
                found.append(
                    SeriesStatus(
                        series.exchange, series.symbol, kind.name, simulated, tally.count,
                        _time(kind, tally.first), _time(kind, tally.last), dict(counted.get(series, {})),
                    )
                )  # fmt: skip
    return sorted(found, key=lambda one: (one.exchange, one.symbol, one.simulated))


def _time(kind: Kind, value: Any) -> str | None:
    if value is None:
        return None
    milliseconds = kind.encodings[kind.range[0]] is Encoding.MILLISECONDS
    return format_milliseconds(value) if milliseconds else format_nanoseconds(value)
