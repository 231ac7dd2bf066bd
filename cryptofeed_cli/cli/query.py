"""``cryptofeed query``: what is stored, as lines on stdout; knows no database."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from cryptofeed_cli import queries
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
)
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.output import write_csv, write_jsonl
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import KINDS, Kind

EXAMPLE = "Example: cryptofeed query trades -s BTC-USDT-SWAP --since 1h -f csv > trades.csv"


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
    asked = queries.Query(
        kind=_kind(kind).name,
        symbols=_split(symbols or ()),
        span=parse_span(since, until),
        sources=source.sources,
        limit=limit,
        tail=tail,
    )
    settings = configure(ctx, config, {"store.url": store})
    with printing() as out, closing(open_store(settings.store_url, writable=False)) as opened:
        if count:
            out.write(f"{queries.count(opened, asked)}\n".encode())
            return
        write = write_csv if form is Format.csv else write_jsonl
        write(asked.what, queries.run(opened, asked), out)


def _kind(name: str) -> Kind:
    if name not in KINDS:
        near = nearest(name, list(KINDS))
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"unknown kind {name!r}{hint} (kinds: {', '.join(KINDS)})")
    return KINDS[name]


def _split(symbols: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for symbol in symbols for part in symbol.split(",") if part.strip()))
