"""``cryptofeed status``: parse, open, call, print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from cryptofeed_cli.cli.options import ConfigFile, StoreUrl, configure, printing
from cryptofeed_cli.errors import Incomplete, Unhealthy, UsageError

if TYPE_CHECKING:
    from cryptofeed_cli.config import Settings

EXAMPLE = "Example: cryptofeed status --json | jq .recorders"


def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    day: Annotated[
        str | None, typer.Option("--certify", metavar="DAY", help="Prove the trades of a day (UTC): 2026-11-22.")
    ] = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Show recorders, what is stored and what was missed; exit 5 when something is wrong."""
    settings = configure(ctx, config, {"store.url": store})
    if day is not None:
        _certify(settings, day, as_json=as_json)
        return
    from contextlib import closing

    from cryptofeed_cli.clock import SystemClock, format_nanoseconds
    from cryptofeed_cli.dashboard import draw_status, draw_unanswered
    from cryptofeed_cli.errors import StoreUnreachable
    from cryptofeed_cli.standing import is_here, read_outboxes, read_standings
    from cryptofeed_cli.status import Unanswered, gather
    from cryptofeed_cli.stores import identity, open_store

    ours = identity(settings.store_url)
    outboxes = read_outboxes(settings.data_directory)
    try:
        with closing(open_store(settings.store_url, writable=False)) as opened:
            found = gather(opened, opened.now(), outboxes, ours, is_here)
    except StoreUnreachable as exc:
        recorders = [one for one in read_standings(settings.data_directory) if one.store == ours]
        at = format_nanoseconds(SystemClock().now())
        known = Unanswered(exc.url, at, exc.reason, recorders, outboxes)
        with printing() as out:
            out.write(_json(known) if as_json else draw_unanswered(known).encode())
        raise
    with printing() as out:
        out.write(_json(found) if as_json else draw_status(found).encode())
    if not found.healthy:
        raise Unhealthy("; ".join(found.reasons))


def _json(told: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def _certify(settings: Settings, day: str, *, as_json: bool) -> None:
    """Print what can be proven of a day; exit 6 where something cannot, 3 where the exchange does not answer."""
    from contextlib import closing

    from cryptofeed_cli.assembly import build_asker
    from cryptofeed_cli.certificate import certify
    from cryptofeed_cli.clock import DAY, SystemClock, parse_time
    from cryptofeed_cli.dashboard import draw_certificates
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
