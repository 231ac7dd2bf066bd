"""``cryptofeed record``: parse, open, call, print."""

from __future__ import annotations

from typing import Annotated

import typer

from cryptofeed_cli.cli.options import (
    Channels,
    ConfigFile,
    Interface,
    Proxy,
    RecorderName,
    Redundancy,
    StoreUrl,
    configure,
    print_configuration,
)
from cryptofeed_cli.clock import SystemClock, parse_duration

EXAMPLE = "Example: cryptofeed record BTC-USDT-SWAP ETH-USDT --channels trades,book_updates --duration 10m"


def record(
    ctx: typer.Context,
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT-SWAP.")] = None,
    channels: Channels = None,
    store: StoreUrl = None,
    duration: Annotated[str | None, typer.Option(metavar="DURATION", help="Stop after 30s, 10m, 2h, 7d.")] = None,
    name: RecorderName = None,
    redundancy: Redundancy = None,
    proxy: Proxy = None,
    interface: Interface = None,
    dashboard: Annotated[
        bool | None, typer.Option("--dashboard/--plain", help="Live view, or log lines; a terminal decides.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the effective configuration and stop.")] = False,
    config: ConfigFile = None,
) -> None:
    """Record market data until stopped (Ctrl-C)."""
    given = {
        "record.symbols": symbols,
        "record.channels": channels,
        "record.name": name,
        "record.redundancy": redundancy,
        "network.proxy": proxy,
        "network.interface": interface,
        "store.url": store,
    }
    settings = configure(ctx, config, given)
    period = None if duration is None else parse_duration(duration)
    if dry_run:
        print_configuration(settings)
        return
    from contextlib import closing
    from threading import Event

    from cryptofeed_cli.assembly import build_recorder, refuse_what_is_missing
    from cryptofeed_cli.cli.signals import stop_on_signals
    from cryptofeed_cli.dashboard import live_view, print_report
    from cryptofeed_cli.status import of_run
    from cryptofeed_cli.stores import open_store

    refuse_what_is_missing(settings)
    settings.make_data_directory()
    stop, clock = Event(), SystemClock()
    stop_on_signals(stop)
    with (
        closing(open_store(settings.store_url, writable=True)) as opened,
        live_view(opened.url, shown=dashboard) as watch,
    ):
        recorder = build_recorder(settings, opened, clock=clock, watch=watch)
        view = recorder.record(stop, None if period is None else clock.monotonic() + period)
        continuity = of_run(opened, recorder.run_id)
    print_report(view, opened.url, continuity)
