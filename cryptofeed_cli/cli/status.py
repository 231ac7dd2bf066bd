"""``cryptofeed status``: parse, open, call, print."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from cryptofeed_cli.cli.options import ConfigFile, StoreUrl, configure, printing
from cryptofeed_cli.clock import SECOND, parse_duration
from cryptofeed_cli.errors import Incomplete, StoreUnreachable, Unhealthy, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from cryptofeed_cli.config import Settings
    from cryptofeed_cli.status.report import Status, Unanswered

EXAMPLE = """Examples:\n
cryptofeed status --watch\n
cryptofeed status --json | jq .recorders
"""
_REST = 4
"""So many times as long as it takes to be read a store is left alone."""


def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, on a terminal in place.")] = False,
    every: Annotated[str, typer.Option(metavar="DURATION", help="How often, with --watch.")] = "2s",
    everything: Annotated[bool, typer.Option("--all", help="Every channel, however many there are.")] = False,
    day: Annotated[
        str | None, typer.Option("--certify", metavar="DAY", help="Prove the trades of a day (UTC): 2026-11-22.")
    ] = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Show recorders, what is stored and what was missed; exit 5 when something is wrong."""
    settings = configure(ctx, config, {"store.url": store})
    if day is not None:
        if watch:
            raise UsageError("--certify and --watch exclude each other: a day that is over does not change")
        _certify(settings, day, as_json=as_json)
        return
    from cryptofeed_cli.status.report import Unanswered

    interval = parse_duration(every)
    if watch:
        found = _watch(settings, interval, as_json=as_json, everything=everything)
    else:
        found = _gather(settings)
        with printing() as out:
            out.write(_json(found) if as_json else _drawn(found, everything=everything).encode())
    if isinstance(found, Unanswered):
        raise StoreUnreachable(found.store, found.unreachable)
    if not found.healthy:
        raise Unhealthy("; ".join(found.reasons))


def _gather(settings: Settings) -> Status | Unanswered:
    """Read the status off the store, or what the local files tell while that does not answer."""
    from contextlib import closing

    from cryptofeed_cli.clock import SystemClock, format_nanoseconds
    from cryptofeed_cli.standing import is_here, read_outboxes, read_standings
    from cryptofeed_cli.status.gathering import gather
    from cryptofeed_cli.status.report import Unanswered
    from cryptofeed_cli.stores import identity, open_store

    ours = identity(settings.store_url)
    directory = settings.data_directory
    outboxes = read_outboxes(directory)
    standings = [one for one in read_standings(directory) if one.store == ours]
    try:
        with closing(open_store(settings.store_url, writable=False)) as opened:
            return gather(opened, opened.now(), outboxes, ours, is_here, standings, directory)
    except StoreUnreachable as exc:
        at = format_nanoseconds(SystemClock().now())
        return Unanswered(exc.url, at, exc.reason, standings, outboxes)


def _watch(settings: Settings, interval: int, *, as_json: bool, everything: bool) -> Status | Unanswered:
    """Show the status again and again until a signal comes; return the last one.

    A store is left alone for four times as long as reading it took, however short the interval is.
    """
    from threading import Event

    from cryptofeed_cli.cli.signals import stop_on_signals
    from cryptofeed_cli.dashboard.standing import in_place

    stop = Event()
    stop_on_signals(stop)
    with printing() as out, in_place(shown=not as_json) as show:
        while True:
            begun = time.monotonic()
            found = _gather(settings)
            if show is not None:
                show(lambda console: _drawn(found, everything=everything, console=console))  # noqa: B023 - drawn at once
            else:
                line = msgspec.json.encode(found) + b"\n"
                out.write(line if as_json else _drawn(found, everything=everything).encode())
                out.flush()
            if stop.wait(max(interval / SECOND, _REST * (time.monotonic() - begun))):
                return found


def _drawn(found: Status | Unanswered, *, everything: bool, console: Console | None = None) -> str:
    from cryptofeed_cli.dashboard.standing import draw_status, draw_unanswered
    from cryptofeed_cli.status.report import Unanswered

    if isinstance(found, Unanswered):
        return draw_unanswered(found, console=console)
    return draw_status(found, everything=everything, console=console)


def _json(told: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def _certify(settings: Settings, day: str, *, as_json: bool) -> None:
    """Print what can be proven of a day; exit 6 where something cannot, 3 where the exchange does not answer."""
    from contextlib import closing

    from cryptofeed_cli.assembly import build_asker
    from cryptofeed_cli.certificate import certify
    from cryptofeed_cli.clock import DAY, SystemClock, parse_time
    from cryptofeed_cli.dashboard.standing import draw_certificates
    from cryptofeed_cli.errors import ExchangeError
    from cryptofeed_cli.exchanges.okx import Okx
    from cryptofeed_cli.stores import open_store
    from cryptofeed_cli.types import KINDS

    clock = SystemClock()
    start = parse_time(day, clock.now())
    if start % DAY:
        raise UsageError(f"{day!r} is not a day; write it like 2026-11-22 (UTC)")
    if start + DAY > clock.now():
        raise UsageError(f"{day} is not over yet (UTC); a day can be certified from its end on")
    exchange = Okx(settings.okx.region)
    problem: ExchangeError | None = None
    with (
        closing(open_store(settings.store_url, writable=False)) as opened,
        build_asker(settings, exchange, clock) as ask,
    ):
        found = []
        for series in opened.series(KINDS["trades"]):
            if series.exchange != exchange.name:
                continue
            try:
                found.append(certify(opened, exchange, series, start, None if problem else ask))
            except ExchangeError as exc:
                problem = exc
                found.append(certify(opened, exchange, series, start, None))
    with printing() as out:
        out.write(_json(found) if as_json else draw_certificates(found).encode())
    if problem is not None:
        raise problem
    unproven = [one.symbol for one in found if not one.proven]
    if unproven or not found:
        raise Incomplete(f"{day} is not proven: {', '.join(unproven) or 'the store holds no trades'}")
