"""The status gathered from a store and the local files of this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptofeed_cli.clock import format_milliseconds, format_nanoseconds
from cryptofeed_cli.past import DEAD_AFTER
from cryptofeed_cli.standing import SINCE, OutboxStatus, Standing
from cryptofeed_cli.status.channels import channels
from cryptofeed_cli.status.continuity import never_delivered, of_all
from cryptofeed_cli.status.health import contradictions, delays, holes, narrows, silences, troubles
from cryptofeed_cli.status.report import RecorderStatus, SeriesStatus, Status
from cryptofeed_cli.status.room import measure_room
from cryptofeed_cli.stores.base import Series, Store
from cryptofeed_cli.types import KINDS, Encoding, Gap, Kind, Run


def gather(
    store: Store,
    now: int,
    outboxes: list[OutboxStatus],
    ours: str,
    is_here: Callable[[Run], bool] = lambda _: False,
    standings: Sequence[Standing] = (),
    data_directory: Path = Path(),
) -> Status:
    """Read the status off the store. ``now`` is the store's clock in nanoseconds; ``ours`` is the store's identity.

    ``is_here`` tells whether a run is a process of this machine that goes on: its signs of life may wait behind data.
    ``standings`` is how recorders of this machine say they stand.
    """
    runs, gaps = list(store.scan(KINDS["runs"])), list(store.scan(KINDS["gaps"]))
    latest = {(run.name, run.host): run for run in runs}
    recorders = [_recorder(run, now, alive=is_here(run)) for run in latest.values()]
    running = {one.run_id for one in recorders if one.state == "running"}
    heard = {
        symbol: times for one in standings if one.run_id in running for symbol, times in one.heard.items()
    }
    rejects = Counter(reject.reason for reject in store.scan(KINDS["rejects"]))
    series = _series(store, gaps)
    room = measure_room(store, series, data_directory, now)
    silent = [one for run in latest.values() if run.run_id in running for one in never_delivered(store, run)]
    reasons = [
        *troubles(recorders), *silences(silent), *contradictions(rejects), *delays(outboxes, ours, now),
        *holes(gaps, now), *narrows(room),
    ]  # fmt: skip
    return Status(
        store.url, format_nanoseconds(now), not reasons, reasons, recorders,
        channels(store, of_all(store, runs, gaps), gaps, heard, now), series,
        dict(rejects.most_common()), room, outboxes,
    )  # fmt: skip


def _recorder(run: Run, now: int, *, alive: bool) -> RecorderStatus:
    silent = run.state == "running" and now - run.heartbeat_at > DEAD_AFTER
    state = "dead" if silent and not alive else run.state
    doing, since = next(
        ((name.removeprefix(SINCE).upper(), at) for name, at in run.counters.items() if name.startswith(SINCE)),
        (None, None),
    )
    ended = run.heartbeat_at if state == "dead" else run.ended_at
    begun = since if state == "running" else ended
    return RecorderStatus(
        run.name, run.run_id, run.host, run.pid, run.version, state, doing if state == "running" else None,
        None if begun is None else format_nanoseconds(begun),
        format_nanoseconds(run.started_at), format_nanoseconds(run.heartbeat_at),
        None if run.ended_at is None else format_nanoseconds(run.ended_at), run.clock_offset_ms,
        {name: count for name, count in run.counters.items() if not name.startswith(SINCE)},
    )  # fmt: skip


def _series(store: Store, gaps: Sequence[Gap]) -> list[SeriesStatus]:
    missed: dict[str, dict[Series, Counter[str]]] = {}
    for gap in gaps:
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
