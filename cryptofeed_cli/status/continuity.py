"""How complete every channel of every symbol is, of a whole store or of one run."""

from __future__ import annotations

from collections.abc import Sequence

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.coverage import is_carried, measure
from cryptofeed_cli.status.report import Continuity
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import CHANNELS, KINDS, Gap, Run


def of_run(store: Store, run_id: str) -> list[Continuity]:
    """Return how complete one run is, by symbol and channel."""
    runs = [run for run in store.scan(KINDS["runs"]) if run.run_id == run_id]
    since = min((run.started_at // MILLISECOND for run in runs), default=0)
    gaps = [gap for gap in store.scan(KINDS["gaps"]) if gap.run_id == run_id and (gap.end is None or gap.end > since)]
    return of_all(store, runs, gaps)


def of_all(store: Store, runs: Sequence[Run], gaps: Sequence[Gap]) -> list[Continuity]:
    """Return how complete everything is, by symbol and channel."""
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


def never_delivered(store: Store, run: Run) -> list[tuple[str, str]]:
    """Return what a run is told to record, by symbol and channel, and of which nothing is stored, simulated or real."""
    record = run.config.get("record", {})
    wanted = [one for one in record.get("symbols", ()) if not {"*", "?"} & set(one)]
    silent = []
    for channel in record.get("channels", ()):
        both = (store.series(KINDS[channel], simulated=simulated) for simulated in (False, True))
        stored = {one.symbol for series in both for one in series}
        silent += [(one, channel) for one in wanted if one not in stored and is_carried(run, one, channel)]
    return silent


def _first(store: Store, channel: str, series: Series) -> int | None:
    record = next(store.scan(KINDS[channel], series, span=Span(since=0)), None)
    return None if record is None else int(record.timestamp)
