"""``cryptofeed simulate``: parse, open, call, print."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from cryptofeed_cli.cli.addresses import parse_address, tell_address
from cryptofeed_cli.cli.options import (
    Channels,
    ConfigFile,
    Since,
    StoreUrl,
    Until,
    configure,
    parse_span,
    printing,
)
from cryptofeed_cli.clock import MILLISECOND, SystemClock, format_duration, parse_duration, parse_time
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.printable import escape
from cryptofeed_cli.types import KINDS

if TYPE_CHECKING:
    from cryptofeed_cli.config import Settings
    from cryptofeed_cli.exchanges.base import Exchange
    from cryptofeed_cli.simulation.calibration import Likeness
    from cryptofeed_cli.simulation.faults import Outage
    from cryptofeed_cli.simulation.stage import Stage
    from cryptofeed_cli.simulator import Sink, Tap
    from cryptofeed_cli.stores.base import Span

LOG = logging.getLogger(__name__)

EXAMPLE = """Examples:\n
cryptofeed simulate BTC-USDT ETH-USDT --seed 7 --start 2026-11-22 --duration 1h --speed 0\n
cryptofeed simulate BTC-USDT-SWAP --serve 8765 --faults disconnects/2m:15s,gaps/30s
"""


class Format(StrEnum):
    """What is written."""

    jsonl = "jsonl"
    okx = "okx"


def simulate(
    ctx: typer.Context,
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT-SWAP.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another number, another market.")] = 1,
    start: Annotated[str, typer.Option(metavar="T", help="When the market opens, by its own clock.")] = "now",
    rate: Annotated[
        int | None, typer.Option(min=1, metavar="X", help="Orders a second, all symbols together; else 100 each.")
    ] = None,
    duration: Annotated[str | None, typer.Option(metavar="DURATION", help="How long, by the market's clock.")] = None,
    speed: Annotated[float, typer.Option(min=0.0, metavar="1|0", help="As time passes, or as fast as it can.")] = 1.0,
    faults: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="What goes wrong how often: gaps/30s,malformed/1m,disconnects/2m:15s."),
    ] = None,
    outages_from: Annotated[
        str | None, typer.Option(metavar="URL", help="The outages that this store's ledger names, since T until T.")
    ] = None,
    serve: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Be a server that speaks as the exchange does: 8765, HOST:PORT.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="SYMBOL", help="Like this one as the store recorded it since T until T.")
    ] = None,
    since: Since = None,
    until: Until = None,
    form: Annotated[Format | None, typer.Option("--format", help="Records, or frames as the exchange sends.")] = None,
    channels: Channels = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Make up a market, labelled simulated: to stdout, into a store, or as a server. Needs no network."""
    settings = configure(ctx, config, {"record.symbols": symbols, "record.channels": channels, "store.url": store})
    _refuse_contradictions(serve=serve, store=store, form=form, speed=speed)
    if like is not None and symbols:
        raise UsageError(f"--like {like} simulates {like}; leave out {' '.join(symbols)}")
    if like is None and outages_from is None and (since, until) != (None, None):
        raise UsageError("--since and --until say when --like or --outages-from was recorded; they need one")
    from cryptofeed_cli.cli.signals import stop_on_signals
    from cryptofeed_cli.exchanges.okx import Okx
    from cryptofeed_cli.feeds.simulated import Pace
    from cryptofeed_cli.simulator import Simulator, make_plan

    clock, stop = SystemClock(), Event()
    begin = parse_time(start, clock.now())
    period = None if duration is None else parse_duration(duration)
    exchange = Okx(settings.okx.region)
    span = parse_span(since, until)
    likeness = None if like is None else _look_at(settings, like, span, exchange)
    outages = () if outages_from is None else _read_outages(outages_from, span)
    plan = make_plan(
        settings.record.symbols, seed=seed, start=begin, rate=rate, faults=faults, outages=outages, like=likeness
    )
    stop_on_signals(stop)
    if serve is not None:
        _serve(serve, plan.stage(exchange), exchange, stop, speed, period)
        return
    pace = Pace(speed, clock, stop.wait) if speed else None
    with _output(settings, form, stored=store is not None) as (sink, tap):
        report = Simulator(plan, exchange, settings, sink=sink, tap=tap, pace=pace).run(stop, period)
    LOG.info(
        "simulated %s of the market: %s orders, %s frames, %s records",
        format_duration(report.elapsed), *(f"{n:,}" for n in (report.orders, report.frames, report.records)),
    )  # fmt: skip


def _refuse_contradictions(*, serve: str | None, store: str | None, form: Format | None, speed: float) -> None:
    given = {"--serve": serve, "--store": store, "--format": form}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} exclude each other: give one of them, or none for records on stdout")
    if serve is not None and not speed:
        raise UsageError("--serve needs a --speed above 0: clients have clocks of their own")


def _look_at(settings: Settings, symbol: str, span: Span, exchange: Exchange) -> Likeness:
    """Calibrate to what the store holds, and print how well that went."""
    from cryptofeed_cli.simulator import recorded_likeness
    from cryptofeed_cli.stores import open_store

    with closing(open_store(settings.store_url, writable=False)) as opened:
        likeness = recorded_likeness(opened, symbol, span, exchange)
    for line in likeness.lines():
        typer.echo(escape(line), err=True)
    return likeness


def _read_outages(url: str, span: Span) -> tuple[Outage, ...]:
    from cryptofeed_cli.simulator import recorded_outages
    from cryptofeed_cli.stores import open_store

    with closing(open_store(url, writable=False)) as opened:
        outages = recorded_outages(opened, span)
    last = format_duration(outages[-1].after_ms * MILLISECOND)
    LOG.info("%d recorded outages will happen again, the last one %s after the opening", len(outages), last)
    return outages


def _serve(address: str, stage: Stage, exchange: Exchange, stop: Event, speed: float, period: int | None) -> None:
    from cryptofeed_cli.venue_server import VenueServer

    server = VenueServer(lambda: stage, exchange.listening, clock=SystemClock(), speed=speed)
    server.run(*parse_address("--serve", address), stop, period, partial(tell_address, exchange, "simulated"))


@contextmanager
def _output(settings: Settings, form: Format | None, *, stored: bool) -> Iterator[tuple[Sink | None, Tap | None]]:
    """Open what takes the records, or the frames."""
    if stored:
        from cryptofeed_cli.stores import open_store

        settings.make_data_directory()
        with closing(open_store(settings.store_url, writable=True)) as opened:
            yield opened.write, None
        return
    from cryptofeed_cli.output import MixedLines
    from cryptofeed_cli.simulator import data_frames

    with printing() as out:
        if form is Format.okx:
            yield None, lambda events: out.writelines(b"%s\n" % frame for frame in data_frames(events))
            return
        lines, kinds = MixedLines(out), {KINDS[channel].record for channel in settings.record.channels}
        yield lambda records: lines.write([one for one in records if type(one) in kinds]), None
