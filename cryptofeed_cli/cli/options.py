"""The options that commands share, each declared once, and what they do to the configuration; knows no command."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from cryptofeed_cli import logs
from cryptofeed_cli.clock import SystemClock, parse_time
from cryptofeed_cli.config import Flag, Settings, load
from cryptofeed_cli.errors import ConfigurationError, OutputFailed, UsageError
from cryptofeed_cli.printable import escape
from cryptofeed_cli.stores.base import Span
from cryptofeed_cli.types import Source

LOG = logging.getLogger(__name__)


class Invocation(msgspec.Struct, frozen=True):
    """What stood before the command."""

    config: Path | None = None
    verbose: bool = False
    quiet: bool = False


class SourceChoice(StrEnum):
    """Which records a reader wants."""

    live = "live"
    backfill = "backfill"
    simulated = "simulated"
    real = "real"
    all = "all"

    @property
    def sources(self) -> frozenset[Source]:
        """The sources that this word stands for."""
        named: dict[SourceChoice, frozenset[Source]] = {
            SourceChoice.live: frozenset({"live"}),
            SourceChoice.backfill: frozenset({"backfill"}),
            SourceChoice.simulated: frozenset({"simulated"}),
            SourceChoice.real: frozenset({"live", "backfill"}),
            SourceChoice.all: frozenset({"live", "backfill", "simulated"}),
        }
        return named[self]


ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Read the configuration from FILE.")]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="sqlite:///FILE or mongodb://HOST/DATABASE.")
]
Symbols = Annotated[
    list[str] | None,
    typer.Option("--symbol", "-s", metavar="SYMBOL", help="Only this symbol or pattern (BTC-*); may be repeated."),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="T", help="From T on: 2026-11-22T10:00:00Z, 2026-11-22, now, 15m (ago), epoch."),
]
Until = Annotated[str | None, typer.Option("--until", metavar="T", help="Up to T, T itself not included.")]
SourceOption = Annotated[SourceChoice, typer.Option("--source", help="Which records; real is live and backfill.")]

Channels = Annotated[
    str | None, typer.Option("--channels", metavar="A,B", help="trades, tickers, orderbooks, book_updates.")
]
Redundancy = Annotated[str | None, typer.Option("--redundancy", metavar="N", help="Sockets per subscription.")]
ShardOption = Annotated[
    str | None, typer.Option("--shard", metavar="K/N", help="Record only the K-th of N shares of the symbols.")
]
Proxy = Annotated[
    str | None,
    typer.Option(
        "--proxy", metavar="URL", help="Reach the exchange only through it: http://, socks4://, socks5:// or socks5h://."
    ),
]
Interface = Annotated[
    str | None,
    typer.Option(
        "--interface",
        metavar="NAME|ADDRESS",
        help="Reach the exchange only through this interface, such as wg0. "
        "An ADDRESS sets no more than the source address and does not stop leaks.",
    ),
]
RecorderName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Names this recorder.")]
Simulate = Annotated[
    bool | None,
    typer.Option("--simulate/--no-simulate", help="Simulate (labelled, apart) while the exchange is away."),
]
SimulateAfter = Annotated[
    str | None, typer.Option("--simulate-after", metavar="DURATION", help="How long it must be away for that.")
]
Tape = Annotated[str | None, typer.Option("--tape", metavar="DIR", help="Keep every frame, verbatim, in DIR.")]

_FLAGS: Mapping[str, str] = {
    "record.symbols": "SYMBOL",
    "record.channels": "--channels",
    "record.redundancy": "--redundancy",
    "record.name": "--name",
    "record.tape": "--tape",
    "network.proxy": "--proxy",
    "network.interface": "--interface",
    "store.url": "--store",
    "failover.simulate": "--simulate/--no-simulate",
    "failover.after": "--simulate-after",
}


def configure(
    ctx: typer.Context,
    config: Path | None,
    given: Mapping[str, object],
    *,
    environ: Mapping[str, str] = os.environ,
    quietly: bool = False,
) -> Settings:
    """Load the configuration with a command's options on top, start the log, and log the warnings.

    Args: ``config`` is the command's own ``--config``; ``given`` the options by dotted key, None where not given;
    ``quietly``: the caller shows the warnings, and of the log only errors are to be heard.
    """
    before = ctx.obj if isinstance(ctx.obj, Invocation) else Invocation()
    settings = load(config or before.config, environ, flags(before, given))
    _start_log(settings)
    if quietly:
        logging.getLogger(logs.ROOT).setLevel("ERROR")
    for warning in settings.warnings:
        LOG.warning("%s", warning)
    return settings


def flags(before: Invocation, given: Mapping[str, object]) -> list[Flag]:
    """Return a command's options, and ``-v`` or ``-q`` before it, as flags of the configuration."""
    found = [
        Flag(_FLAGS[key], key, ",".join(value) if isinstance(value, list) else value)
        for key, value in given.items()
        if value not in (None, [])
    ]
    if before.verbose:
        found.append(Flag("-v", "log.level", "debug"))
    if before.quiet:
        found.append(Flag("-q", "log.level", "warning"))
    return found


def parse_span(since: str | None, until: str | None) -> Span:
    """Understand ``--since`` and ``--until``; raise `UsageError` where that is no range."""
    now = SystemClock().now()
    start = None if since is None else parse_time(since, now)
    end = None if until is None else parse_time(until, now)
    if start is not None and end is not None and start >= end:
        raise UsageError(f"--since {since} is not before --until {until}")
    return Span(since=start, until=end)


def split(values: Sequence[str]) -> tuple[str, ...]:
    """Return what several options, each of which may hold commas, name: each once, in order."""
    return tuple(dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip()))


def print_configuration(settings: Settings) -> None:
    """Print the effective configuration as TOML, secrets hidden, each value with where it came from."""
    for table, keys in groupby(settings.effective(), key=lambda one: one.key.partition(".")[0]):
        typer.echo(f"[{table}]")
        for key, value, origin in keys:
            typer.echo(f"{key.partition('.')[2]} = {msgspec.json.encode(value).decode()}  # {escape(origin)}")


@contextmanager
def printing() -> Iterator[BinaryIO]:
    """Yield stdout for data; raise `UsageError` where it is closed, `OutputFailed` where it takes no more."""
    if sys.stdout is None:
        raise UsageError("standard output is closed; there is nowhere to print to")
    try:
        yield sys.stdout.buffer
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputFailed("standard output", exc.strerror or str(exc)) from exc


def _start_log(settings: Settings) -> None:
    log = settings.log
    file = None if log.file is None else Path(log.file).expanduser()
    try:
        logs.configure(level=log.level, form=log.format, file=file, stream=sys.stderr)
    except OSError as exc:
        raise ConfigurationError(
            settings.origin("log.file"), "log.file", log.file, f"cannot be written: {exc.strerror}"
        ) from exc
