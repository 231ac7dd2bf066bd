"""``cryptofeed backfill``: parse, open, call, print."""

from __future__ import annotations

from threading import Event
from typing import Annotated

import typer

from cryptofeed_cli.cli.options import ConfigFile, Interface, Proxy, Since, StoreUrl, Until, configure, parse_span
from cryptofeed_cli.cli.signals import stop_on_signals
from cryptofeed_cli.errors import Incomplete

EXAMPLE = "Example: cryptofeed backfill 'BTC-*' --since 7d"


def backfill(
    ctx: typer.Context,
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT-SWAP or 'BTC-*'; none: all.")
    ] = None,
    since: Since = None,
    until: Until = None,
    proxy: Proxy = None,
    interface: Interface = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Fetch missed trades that can still be had; a recorder may run beside it."""
    stop = Event()
    stop_on_signals(stop)
    settings = configure(ctx, config, {"store.url": store, "network.proxy": proxy, "network.interface": interface})
    from contextlib import closing

    from cryptofeed_cli.assembly import build_feed
    from cryptofeed_cli.clock import SystemClock
    from cryptofeed_cli.dashboard.errands import print_refill, refill_progress
    from cryptofeed_cli.exchanges.okx import Okx
    from cryptofeed_cli.refill import Refill, fillable
    from cryptofeed_cli.stores import open_store

    clock = SystemClock()
    span = parse_span(since, until)
    exchange = Okx(settings.okx.region)
    with closing(open_store(settings.store_url, writable=True)) as opened:
        gaps, left_alone = fillable(opened, exchange.name, symbols or (), span, clock.now())
        with closing(build_feed(settings, exchange, clock)) as feed:
            refill = Refill(opened, exchange, feed, clock, rate_share=settings.okx.rate_share)
            with refill_progress(refill.done) as watch:
                refill.run(gaps, stop, watch)
    print_refill(sorted(refill.done.values(), key=lambda done: done.symbol), left_alone)
    left = sum(done.left for done in refill.done.values())
    if left:
        raise Incomplete(f"{left:,} trades are missing still; run backfill again")
