"""``cryptofeed doctor``: parse, look, print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cryptofeed_cli.cli.options import ConfigFile, Interface, Proxy, StoreUrl, configure, printing
from cryptofeed_cli.errors import Unhealthy

if TYPE_CHECKING:
    from cryptofeed_cli.doctor import Check

EXAMPLE = "Example: cryptofeed doctor ETH-USDT --proxy socks5h://127.0.0.1:1080"
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}


def doctor(
    ctx: typer.Context,
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT-SWAP.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    proxy: Proxy = None,
    interface: Interface = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Find out, step by step, why no data comes; exit 5 when something fails."""
    import msgspec

    from cryptofeed_cli.clock import SystemClock
    from cryptofeed_cli.config import Settings
    from cryptofeed_cli.doctor import Verdict, examine

    given = {
        "record.symbols": symbols,
        "network.proxy": proxy,
        "network.interface": interface,
        "store.url": store,
    }

    def load() -> Settings:
        return configure(ctx, config, given, quietly=True)

    with printing() as out:

        def show(check: Check) -> None:
            if not as_json:
                out.write(_lines(check, colour=sys.stdout.isatty()).encode())
                out.flush()

        checks = examine(load, SystemClock(), show)
        failed = [check for check in checks if check.verdict is Verdict.FAIL]
        if as_json:
            found = {"healthy": not failed, "checks": checks}
            out.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if failed:
        raise Unhealthy(f"{len(failed)} of {len(checks)} checks failed: {', '.join(one.name for one in failed)}")


def _lines(check: Check, *, colour: bool) -> str:
    verdict = f"{check.verdict:7}"
    if colour:
        verdict = typer.style(verdict, fg=_COLOURS.get(check.verdict))
    lines = f"{check.number:2} {verdict} {check.name:17} {check.milliseconds:6,} ms  {check.detail}\n"
    return lines if check.cure is None else f"{lines}{'':39} -> {check.cure}\n"
