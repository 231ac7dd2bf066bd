"""``cryptofeed prune``: parse, open, call, print."""

from __future__ import annotations

from typing import Annotated

import typer

from cryptofeed_cli.cli.options import ConfigFile, StoreUrl, configure, printing
from cryptofeed_cli.clock import SystemClock, parse_time

EXAMPLE = "Example: cryptofeed prune --before 90d --kind book_updates --dry-run"


def prune(
    ctx: typer.Context,
    before: Annotated[str, typer.Option("--before", metavar="T", help="Remove what is older: 2026-11-22, 90d (ago).")],
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="Only this kind; none: all market data.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be removed and stop.")] = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Remove old records in small steps, beside a running recorder; the ledger tells of it."""
    settings = configure(ctx, config, {"store.url": store})
    from contextlib import closing
    from threading import Event

    from cryptofeed_cli.cli.signals import stop_on_signals
    from cryptofeed_cli.dashboard.errands import draw_pruning, pruning_progress
    from cryptofeed_cli.pruning import Pruner, count, portions, prunable
    from cryptofeed_cli.stores import open_store

    clock = SystemClock()
    kinds, cut = prunable(kind), min(parse_time(before, clock.now()), clock.now())
    with printing() as out, closing(open_store(settings.store_url, writable=not dry_run)) as opened:
        doomed = portions(opened, kinds, cut)
        if dry_run:
            out.write(draw_pruning({portion: count(opened, portion) for portion in doomed}, "to remove").encode())
            return
        stop = Event()
        stop_on_signals(stop)
        pruner = Pruner(opened, clock, stop)
        with pruning_progress(pruner.removed) as watch:
            pruner.run(doomed, watch)
        out.write(draw_pruning(pruner.removed, "removed").encode())
