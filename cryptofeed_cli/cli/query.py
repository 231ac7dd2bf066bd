"""``cryptofeed query``: what is stored, as lines on stdout; knows no database."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
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
    binary_stdout,
    configure,
)
from cryptofeed_cli.clock import SystemClock, parse_time
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.stores.base import Span
from cryptofeed_cli.types import KINDS, Kind


class Format(StrEnum):
    """How records are written."""

    jsonl = "jsonl"
    csv = "csv"


def query(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS), show_default=True)] = "trades",
    symbols: Symbols = None,
    since: Since = None,
    until: Until = None,
    source: SourceOption = SourceChoice.real,
    form: Annotated[Format, typer.Option("--format", "-f", help="How records are written.")] = Format.jsonl,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, metavar="N", help="Only the first N.")] = None,
    tail: Annotated[int | None, typer.Option("--tail", min=0, metavar="N", help="Only the last N.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Print how many there are, and nothing else.")] = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Print stored records, oldest first; everything, unless told otherwise."""
    if limit is not None and tail is not None:
        raise UsageError("--limit and --tail exclude each other; give one of them")
    what = _kind(kind)
    span = _span(since, until)
    settings = configure(ctx, config, {"store.url": store})

    from cryptofeed_cli import output, queries, stores

    asked = queries.Query(
        kind=what.name, symbols=_split(symbols or ()), span=span, sources=source.sources, limit=limit, tail=tail
    )
    out = binary_stdout()
    opened = stores.open_store(settings.store_url, writable=False)
    try:
        if count:
            out.write(f"{queries.count(opened, asked)}\n".encode())
            return
        write = output.write_csv if form is Format.csv else output.write_jsonl
        write(what, queries.run(opened, asked), out)
    finally:
        opened.close()


def _kind(name: str) -> Kind:
    if name not in KINDS:
        near = nearest(name, list(KINDS))
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"unknown kind {name!r}{hint} (kinds: {', '.join(KINDS)})")
    return KINDS[name]


def _span(since: str | None, until: str | None) -> Span:
    now = SystemClock().now()
    start = None if since is None else parse_time(since, now)
    end = None if until is None else parse_time(until, now)
    if start is not None and end is not None and start >= end:
        raise UsageError(f"--since {since} is not before --until {until}")
    return Span(since=start, until=end)


def _split(symbols: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for symbol in symbols for part in symbol.split(",") if part.strip()))
