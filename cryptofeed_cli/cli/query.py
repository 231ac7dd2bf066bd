"""``cryptofeed query``: parse, open, call, print."""

from __future__ import annotations

import re
from contextlib import closing
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cryptofeed_cli import derived
from cryptofeed_cli.cli.exporting import HERE, Question, Wish, answer, check
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
from cryptofeed_cli.clock import SystemClock, parse_duration, parse_time
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.output import Format
from cryptofeed_cli.queries import Query
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import KINDS

EXAMPLE = """Examples:\n
cryptofeed query trades -s 'BTC-*' --since 1h -o trades.csv.gz\n
cryptofeed query candles --interval 5m -s BTC-USDT-SWAP --since 1d -f table\n
cryptofeed query book -s BTC-USDT-SWAP --at 2026-11-22T10:00:00Z --depth 5\n
cryptofeed query trades --since 2026-11-21 --until 2026-11-22 -o day.parquet
"""
_NAMES = (*KINDS, *derived.DERIVED)
_FOR = {
    "interval": ("candles",), "fill": ("candles",), "at": ("book",), "depth": ("book",), "group": ("book",),
    "plot": ("candles", "spread", "book"),
}  # fmt: skip
"""The kinds that an option is for."""


class QueryCommand(TyperCommand):
    """``--plot`` may be given without a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the terminal where no file follows."""
        args = [
            f"--plot={HERE}" if arg == "--plot" and (after.startswith("-") or after in _NAMES) else arg
            for arg, after in pairwise([*args, "-"])
        ]
        return super().parse_args(ctx, args)


def query(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(_NAMES), show_default=True)] = "trades",
    symbols: Symbols = None,
    since: Since = None,
    until: Until = None,
    source: SourceOption = SourceChoice.real,
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How records are written; else the suffix of -o tells, else jsonl."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write FILE (.csv .jsonl .json .parquet, and .gz .zst)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    fields: Annotated[str | None, typer.Option("--fields", metavar="A,B", help="Only these, in this order.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, metavar="N", help="Only the first N.")] = None,
    tail: Annotated[int | None, typer.Option("--tail", min=0, metavar="N", help="Only the last N.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Print how many there are, and nothing else.")] = False,
    complete: Annotated[
        bool, typer.Option("--require-complete", help="Exit 6, naming the holes, unless nothing can be missing.")
    ] = False,
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="DURATION", help="candles: how long, 1s to 1d (default: 1m).")
    ] = None,
    fill: Annotated[bool, typer.Option("--fill", help="candles: also where nothing was traded.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="T", help="book: at this instant (default: the newest recorded).")
    ] = None,
    depth: Annotated[
        int | None, typer.Option("--depth", min=1, metavar="N", help="book: levels a side (default: 25).")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="STEP", help="book: add up levels by this price step.")
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="[FILE]", help="Draw candles, spread or book; into FILE: text, or .html."),
    ] = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> None:
    """Print what is stored, oldest first; everything, unless told otherwise.

    candles (of trades), book (of book_updates), spread (of tickers) and stats are computed. A file comes whole or not
    at all, with FILE.manifest.json beside it: what is in it, what is missing in it, and its hash.
    """
    given = {"interval": interval, "fill": fill or None, "at": at, "depth": depth, "group": group, "plot": plot}
    given = {name: value for name, value in given.items() if value is not None}
    _check_kind(kind, given)
    question = Question(
        Query(
            kind=derived.MADE_FROM.get(kind, kind if kind in KINDS else "trades"),
            symbols=split(symbols or ()), span=parse_span(since, until), sources=source.sources, limit=limit, tail=tail,
        ),
        _recipe(kind, interval, at, depth, group, fill=fill),
        {name: value for name, value in given.items() if name != "plot"},
    )  # fmt: skip
    wish = Wish(form, output, force, split([fields or ""]), count, complete, plot)
    check(question, wish)
    settings = configure(ctx, config, {"store.url": store})
    with printing() as out, closing(open_store(settings.store_url, writable=False)) as opened:
        answer(opened, question, wish, out)


def _check_kind(name: str, given: dict[str, Any]) -> None:
    if name not in _NAMES:
        near = nearest(name, list(_NAMES))
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"unknown kind {name!r}{hint} (kinds: {', '.join(_NAMES)})")
    for option in given:
        if name not in _FOR[option]:
            raise UsageError(f"--{option} is for {' and '.join(_FOR[option])}, not for {name}")


def _recipe(
    name: str, interval: str | None, at: str | None, depth: int | None, group: str | None, *, fill: bool
) -> derived.Recipe | None:
    if name not in derived.DERIVED:
        return None
    given: dict[str, Any] = {
        "interval": None if interval is None else parse_duration(interval),
        "at": None if at is None else parse_time(at, SystemClock().now()),
        "depth": depth,
        "group": None if group is None else _step(group),
    }
    return derived.Recipe(name, fill=fill, **{key: value for key, value in given.items() if value is not None})


def _step(text: str) -> Decimal:
    if not re.fullmatch(r"\d{1,20}(\.\d{1,20})?", text, re.ASCII) or not Decimal(text):
        raise UsageError(f"--group {text!r} is not a price step; give a positive number such as 0.5 or 10")
    return Decimal(text)
