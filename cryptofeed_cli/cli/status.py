"""``cryptofeed status``: parse, open, call, print."""

from __future__ import annotations

from typing import Annotated

import typer

from cryptofeed_cli.cli.options import ConfigFile, StoreUrl, binary_stdout, configure
from cryptofeed_cli.errors import Unhealthy

EXAMPLE = "Example: cryptofeed status --json | jq .recorders"


def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Show recorders, what is stored and what was missed; exit 5 when something is wrong."""
    settings = configure(ctx, config, {"store.url": store})
    from contextlib import closing

    import msgspec

    from cryptofeed_cli.clock import SystemClock
    from cryptofeed_cli.dashboard import draw_status
    from cryptofeed_cli.status import gather
    from cryptofeed_cli.stores import open_store

    out = binary_stdout()
    with closing(open_store(settings.store_url, writable=False)) as opened:
        found = gather(opened, SystemClock().now())
    if as_json:
        out.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    else:
        out.write(draw_status(found).encode())
    if not found.healthy:
        raise Unhealthy("; ".join(found.reasons))
