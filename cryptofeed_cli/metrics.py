"""A running recorder as Prometheus metrics, read when they are asked for; records and counts nothing itself.

The figures are those of the latest `View`, which the recorder's thread publishes: a scrape touches nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cryptofeed_cli.clock import SECOND, Clock
from cryptofeed_cli.errors import ThreadDied, UsageError
from cryptofeed_cli.views import State, SymbolView, View

LOG = logging.getLogger(__name__)

_PREFIX = "cryptofeed"
_THREAD = "metrics"

Figure = Callable[[SymbolView], float | None]


@contextmanager
def serving(host: str, port: int, clock: Clock) -> Iterator[Callable[[View], None]]:
    """Serve ``/metrics`` while the block runs; yields what has to be called with every `View`.

    That raises `ThreadDied` once the server's thread is gone. Raises `UsageError` where nobody can listen there.
    """
    figures = Figures(clock)
    registry = CollectorRegistry()
    registry.register(figures)
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise UsageError(f"--metrics {host}:{port}: {reason}; name another address") from exc
    LOG.info("metrics at http://%s:%d/metrics", host, server.server_port)

    def publish(view: View) -> None:
        if not thread.is_alive():
            raise ThreadDied(_THREAD, RuntimeError("its server ended"))
        figures.view = view

    try:
        yield publish
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Figures(Collector):
    """What is collected of the latest view; nothing before the first one."""

    def __init__(self, clock: Clock) -> None:
        self.view: View | None = None
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Yield every metric. Called by the server's thread."""
        view = self.view
        if view is not None:
            yield from _totals(view)
            yield from _states(view, self._clock.now())
            yield from _symbols(view)


def _totals(view: View) -> Iterator[Metric]:
    yield _counter("frames", "Frames received.", view.frames)
    yield _counter("rejects", "Frames that could not be understood.", view.rejects)
    yield _counter("connects", "Connections made.", view.connects)
    yield _counter("simulated_episodes", "Times that a simulation stood in for the exchange.", view.episodes)
    written = view.written
    what = "Records by what became of them in the store."
    outcomes = CounterMetricFamily(f"{_PREFIX}_written", what, labels=["outcome"])
    for name in ("inserted", "duplicates", "conflicts", "refused"):
        outcomes.add_metric([name], getattr(written, name))
    yield outcomes


def _states(view: View, now: int) -> Iterator[Metric]:
    what = "What the recorder is doing: 1 for that, 0 for the rest."
    states = GaugeMetricFamily(f"{_PREFIX}_state", what, labels=["state"])
    for state in State:
        states.add_metric([state.lower()], state is view.state)
    yield states
    yield _gauge("store_up", "Whether the store takes records, as far as is known.", view.away is None)
    yield _gauge("uptime_seconds", "Since the recording began.", view.elapsed / SECOND)
    if view.clock_offset_ms is not None:
        yield _gauge("clock_offset_seconds", "The exchange's clock minus ours.", view.clock_offset_ms / 1000)
    outbox = view.outbox
    yield _gauge("outbox_records", "Records that wait for the store on the local disk.", outbox.records)
    yield _gauge("outbox_bytes", "What they take there.", outbox.bytes)
    age = 0.0 if outbox.since is None else max(now - outbox.since, 0) / SECOND
    yield _gauge("outbox_age_seconds", "How long the oldest of them waits; 0: nothing does.", age)


def _symbols(view: View) -> Iterator[Metric]:
    what = "Records in the store since the start, second copies included."
    records = CounterMetricFamily(f"{_PREFIX}_records", what, labels=["symbol", "kind"])
    for row in view.symbols:
        for kind, count in row.stored.items():
            records.add_metric([row.symbol, kind], count)
    yield records
    gaps = CounterMetricFamily(f"{_PREFIX}_gaps", "Gaps that were opened.", labels=["symbol"])
    for row in view.symbols:
        gaps.add_metric([row.symbol], row.gaps)
    yield gaps
    for name, documentation, figure in _BY_SYMBOL:
        family = GaugeMetricFamily(f"{_PREFIX}_{name}", documentation, labels=["symbol"])
        for row in view.symbols:
            value = figure(row)
            if value is not None:
                family.add_metric([row.symbol], value)
        yield family


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


_BY_SYMBOL: tuple[tuple[str, str, Figure], ...] = (
    ("gaps_open", "Gaps that have not ended, or may be filled still.", lambda row: row.open_gaps),
    ("lag_seconds", "Receipt minus exchange time of the last record.", lambda row: _seconds(row.lag_ms)),
    ("last_frame_age_seconds", "Since the last frame, heartbeats too.", lambda row: _seconds(row.heard_ms)),
    ("book_valid", "Whether the book is right at this moment.", lambda row: row.book_valid),
)


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}_{name}", documentation, value=value)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", documentation, value=value)
