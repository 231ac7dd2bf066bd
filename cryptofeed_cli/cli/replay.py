"""``cryptofeed replay``: parse, open, call, print."""

from __future__ import annotations

import logging
from contextlib import closing
from threading import Event
from typing import Annotated

import typer

from cryptofeed_cli.cli.options import (
    ConfigFile,
    Since,
    SourceChoice,
    SourceOption,
    StoreUrl,
    Symbols,
    Until,
    configure,
    parse_span,
    printing,
    split,
)
from cryptofeed_cli.clock import SystemClock, format_duration
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.queries import Query
from cryptofeed_cli.replayer import OnGap, Pace
from cryptofeed_cli.replayer import replay as play
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import CHANNELS

LOG = logging.getLogger(__name__)

EXAMPLE = "Example: cryptofeed replay trades tickers -s BTC-USDT-SWAP --since 1h --speed 10 --on-gap mark"
_USUAL = ("trades", "tickers", "orderbooks")


def replay(
    ctx: typer.Context,
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND]...", help=f"{', '.join(CHANNELS)}; else the first three.")
    ] = None,
    symbols: Symbols = None,
    since: Since = None,
    until: Until = None,
    source: SourceOption = SourceChoice.real,
    speed: Annotated[
        float, typer.Option(min=0.0, max=1e6, metavar="X", help="So many times as fast; 0: as fast as it can.")
    ] = 1.0,
    on_gap: Annotated[
        OnGap, typer.Option("--on-gap", help="Where something may be missing: print the gap, or stop with exit 6.")
    ] = OnGap.ignore,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end, until stopped.")] = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Print what is stored again, on one timeline, at the pace it was recorded.

    JSON lines by the time of the exchange: a trade that was fetched later stands where it was made. The same records
    come in the same order every time; at the end their digest is on stderr.
    """
    span = parse_span(since, until)
    names = split(symbols or ())
    wanted = [Query(kind, names, span, source.sources) for kind in dict.fromkeys(map(_known, kinds or _USUAL))]
    settings = configure(ctx, config, {"store.url": store})
    from cryptofeed_cli.cli.signals import stop_on_signals

    clock, stop = SystemClock(), Event()
    with printing() as out, closing(open_store(settings.store_url, writable=False)) as opened:
        stop_on_signals(stop)
        while not stop.is_set():
            begun = clock.monotonic()
            pace = Pace(speed, clock, stop.wait) if speed else None
            replayed = play(opened, wanted, out, on_gap=on_gap, pace=pace, over=stop.is_set)
            LOG.info(
                "replayed %s records and %s gaps in %s, digest %s", f"{replayed.records:,}", f"{replayed.gaps:,}",
                format_duration(clock.monotonic() - begun), replayed.digest,
            )  # fmt: skip
            if not replayed.records and not stop.is_set():
                kinds_named = ", ".join(query.kind for query in wanted)
                LOG.warning("nothing of that is stored: %s of %s", kinds_named, " ".join(names) or "any symbol")
                break
            if not loop:
                break


def _known(kind: str) -> str:
    if kind not in CHANNELS:
        near = nearest(kind, list(CHANNELS))
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"{kind!r} cannot be replayed{hint} (kinds: {', '.join(CHANNELS)})")
    return kind
