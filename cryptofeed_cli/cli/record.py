"""``cryptofeed record``: parse, open, call, print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from cryptofeed_cli.cli.addresses import parse_address
from cryptofeed_cli.cli.options import (
    Channels,
    ConfigFile,
    Interface,
    Proxy,
    RecorderName,
    Redundancy,
    ShardOption,
    Simulate,
    SimulateAfter,
    StoreUrl,
    Tape,
    configure,
    print_configuration,
)
from cryptofeed_cli.cli.signals import stop_on_signals
from cryptofeed_cli.clock import Clock, SystemClock, parse_duration
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.shards import WHOLE, Shard, parse_shard
from cryptofeed_cli.stores import redact

if TYPE_CHECKING:
    from cryptofeed_cli.config import Settings
    from cryptofeed_cli.views import View

    Watch = Callable[[View], object]

EXAMPLE = "Example: cryptofeed record BTC-USDT-SWAP ETH-USDT --channels trades,book_updates --duration 10m"


def record(
    ctx: typer.Context,
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT-SWAP.")] = None,
    channels: Channels = None,
    store: StoreUrl = None,
    duration: Annotated[str | None, typer.Option(metavar="DURATION", help="Stop after 30s, 10m, 2h, 7d.")] = None,
    name: RecorderName = None,
    redundancy: Redundancy = None,
    shard: ShardOption = None,
    simulate: Simulate = None,
    simulate_after: SimulateAfter = None,
    proxy: Proxy = None,
    interface: Interface = None,
    dashboard: Annotated[
        bool | None, typer.Option("--dashboard/--plain", help="Live view, or log lines; a terminal decides.")
    ] = None,
    tape: Tape = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Serve Prometheus metrics: 9108 (on loopback), HOST:PORT.")
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="Write what waits in the outbox into the store, and stop.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the effective configuration and stop.")] = False,
    config: ConfigFile = None,
) -> None:
    """Record market data until stopped (Ctrl-C)."""
    stop = Event()
    stop_on_signals(stop)
    given = {
        "record.symbols": symbols,
        "record.channels": channels,
        "record.name": name,
        "record.redundancy": redundancy,
        "record.tape": tape,
        "network.proxy": proxy,
        "network.interface": interface,
        "store.url": store,
        "failover.simulate": simulate,
        "failover.after": simulate_after,
    }
    settings = configure(ctx, config, given)
    period = None if duration is None else parse_duration(duration)
    part = WHOLE if shard is None else parse_shard(shard)
    address = None if metrics is None else parse_address("--metrics", metrics)
    if dry_run:
        print_configuration(settings)
        return
    from cryptofeed_cli.assembly import recorder_name

    settings.make_data_directory()
    if drain:
        from cryptofeed_cli.dashboard.report import print_drained
        from cryptofeed_cli.keeping import drain_outbox

        print_drained(drain_outbox(settings, recorder_name(settings, part)), redact(settings.store_url))
        return
    _record(settings, part, stop, period, dashboard, address)


def _record(
    settings: Settings,
    shard: Shard,
    stop: Event,
    period: int | None,
    dashboard: bool | None,
    metrics: tuple[str, int] | None,
) -> None:
    from cryptofeed_cli.assembly import build_recorder, hosts, recorder_name
    from cryptofeed_cli.dashboard.live import live_view
    from cryptofeed_cli.dashboard.report import print_report
    from cryptofeed_cli.errors import StoreUnreachable
    from cryptofeed_cli.keeping import open_keepers
    from cryptofeed_cli.retention import retention
    from cryptofeed_cli.status.continuity import of_run
    from cryptofeed_cli.status.report import Continuity
    from cryptofeed_cli.stores import open_store

    clock = SystemClock()
    with (
        _serving(metrics, clock) as publish,
        open_keepers(settings, recorder_name(settings, shard), clock) as (opened, outbox, away, since),
        live_view(opened.url, shown=dashboard, endpoint=hosts(settings)) as draw,
    ):
        until = None if period is None else clock.monotonic() + period
        recorder = build_recorder(
            settings, opened, outbox, clock=clock, stop=stop, until=until, watch=_both(draw, publish), away=away,
            waited_since=since, shard=shard,
        )  # fmt: skip
        if recorder is None:
            typer.echo("stopped before it was known which symbols to record", err=True)
            return
        opened.keep()
        # Not before: what earlier runs left has been read by now.
        with retention(settings.store.retention, lambda: open_store(settings.store_url, writable=True), clock, stop):
            view = recorder.record(stop, until)
        continuity: list[Continuity] = []
        if view.away is None and not view.outbox.records:
            with suppress(StoreUnreachable):  # all that matters is durable
                continuity = of_run(opened, recorder.run_id)
    print_report(view, opened.url, continuity)


@contextmanager
def _serving(address: tuple[str, int] | None, clock: Clock) -> Iterator[Watch | None]:
    """Serve metrics at an address while the block runs; yields what is to be shown every view."""
    if address is None:
        yield None
        return
    if find_spec("prometheus_client") is None:
        raise UsageError(
            "--metrics needs prometheus-client, which is not installed; pip install 'cryptofeed-cli[metrics]'"
        )
    from cryptofeed_cli.metrics import serving

    with serving(*address, clock) as publish:
        yield publish


def _both(draw: Watch | None, publish: Watch | None) -> Watch | None:
    if draw is None or publish is None:
        return draw or publish

    def watch(view: View) -> None:
        draw(view)
        publish(view)

    return watch
