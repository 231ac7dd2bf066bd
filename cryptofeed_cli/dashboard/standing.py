"""The status and certificates, for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cryptofeed_cli.certificate import Certificate
from cryptofeed_cli.clock import MILLISECOND, format_nanoseconds, parse_time
from cryptofeed_cli.dashboard.terminal import DAYS, SECONDS, open_console, plain_table
from cryptofeed_cli.printable import escape
from cryptofeed_cli.standing import OutboxStatus
from cryptofeed_cli.status.report import (
    ChannelStatus,
    Continuity,
    RecorderStatus,
    RoomStatus,
    SeriesStatus,
    Status,
    Unanswered,
)
from cryptofeed_cli.stores.outbox import Backlog

FEW = 40
"""So many channels are shown one by one."""
MOST_NAMED = 20
WIDE = 100
"""Columns from which on there is room for more."""
_COLOURS = {
    "LIVE": "green", "RECONNECTING": "yellow", "SIMULATED": "magenta", "HALTED": "red", "DEAD": "bold red",
    "FAILED": "bold red",
}  # fmt: skip

def draw_status(status: Status, *, everything: bool = False, console: Console | None = None) -> str:
    """Return a status as text for people, in colour where stdout is a terminal.

    More than `FEW` channels are summed up, and those that want something are named; ``everything``: all of them are.
    """
    console = console or open_console(sys.stdout)
    with console.capture() as drawn:
        console.print(f"store {escape(status.store)}", soft_wrap=True)
        if room := _room(status.room):
            console.print(room, soft_wrap=True)
        console.print(_recorders_table(status.recorders, status.at))
        for reason in status.reasons:
            console.print(Text(f"! {escape(reason)}", "bold red"), soft_wrap=True)
        if everything or len(status.channels) <= FEW:
            console.print(channels_table(status.channels, wide=console.width >= WIDE))
            console.print(_series_table(status.series))
        else:
            console.print(_sums_table(status.channels))
            if wanting := sorted(filter(_wants, status.channels), key=_urgency)[:MOST_NAMED]:
                console.print(channels_table(wanting, wide=console.width >= WIDE))
            console.print(_kinds_table(status.series))
        for reason, count in status.rejects.items():
            console.print(f"rejects: {count:,} {escape(reason)}", soft_wrap=True)
        _print_outboxes(console, status.outboxes)
    return drawn.get()


@contextmanager
def in_place(*, shown: bool) -> Iterator[Callable[[Callable[[Console], str]], None] | None]:
    """Yield what shows a drawing in the place of the last one, on a screen of its own; the last one stays in the end.

    Yields None where it is not to be ``shown``, or stdout is no terminal.
    """
    console = open_console(sys.stdout)
    if not shown or not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    last = ""
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:

        def show(draw: Callable[[Console], str]) -> None:
            nonlocal last
            last = draw(open_console(sys.stdout))
            live.update(Text.from_ansi(last, no_wrap=True, overflow="ellipsis"), refresh=True)

        yield show
    console.out(last, end="", highlight=False)


def draw_unanswered(known: Unanswered, *, console: Console | None = None) -> str:
    """Return what is known while the store does not answer, as text for people."""
    console = console or open_console(sys.stdout)
    with console.capture() as drawn:
        console.print(f"store unreachable: {escape(known.store)}: {escape(known.unreachable)}", soft_wrap=True)
        for one in known.recorders:
            durable = "nothing durable yet" if one.durable_at is None else f"durable up to {one.durable_at[:SECONDS]}"
            console.print(
                f"recorder {escape(one.name)} (pid {one.pid}): {one.state} at {one.at[:SECONDS]}, {durable}",
                soft_wrap=True,
            )
        _print_outboxes(console, known.outboxes)
    return drawn.get()


def _print_outboxes(console: Console, outboxes: Sequence[OutboxStatus]) -> None:
    for one in outboxes:
        size = f"{one.records:,} records, {one.bytes / 2**20:,.1f} MiB"
        told = one.problem or f"{size} since {(one.since or '-')[:SECONDS]}, for {one.store}"
        console.print(f"outbox {escape(one.path)}: {escape(told)}", soft_wrap=True)


def draw_certificates(found: Sequence[Certificate]) -> str:
    """Return certificates as text for people."""
    console = open_console(sys.stdout)
    with console.capture() as drawn:
        for one in found:
            word = Text("proven", "green") if one.proven else Text("NOT PROVEN", "bold red")
            ids = f", ids {one.first_id} to {one.last_id}" if one.trades else ""
            told = f"  {one.trades:,} trades{ids}; {one.minutes:,} minutes equal the exchange's candles"
            console.print(Text.assemble(escape(one.symbol), "  ", word, told), soft_wrap=True)
            for line in (*one.problems, *one.notes):
                console.print(f"    {escape(line)}", soft_wrap=True)
    return drawn.get()


def _room(room: RoomStatus) -> str:
    """Write how large the store is, and how large it may become."""
    told = [] if room.size is None else [size_told(room.size)]
    told += [] if room.free is None else [f"{size_told(room.free)} free"]
    told += [] if room.growth is None else [f"grows {size_told(room.growth)} a day"]
    full = "" if room.days_left is None else f": full in {room.days_left:,.0f} days"
    return f"room  {', '.join(told)}{full}" if told else ""


def _recorders_table(recorders: Sequence[RecorderStatus], at: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("recorder", overflow="fold")
    for name in ("state", "since", "heard", "connects", "stored", "gaps"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("state", "since") else "right")
    now = parse_time(at, 0)
    for one in recorders:
        counters = [f"{one.counters.get(name, 0):,}" for name in ("connects", "stored", "gaps")]
        state = one.doing or one.state.upper()
        heard = ago((now - parse_time(one.heartbeat_at, 0)) // MILLISECOND)
        since = (one.since or "-")[:SECONDS]
        table.add_row(escape(one.name), Text(state, _COLOURS.get(state, "")), since, heard, *counters)
    return table


def channels_table(rows: Sequence[ChannelStatus], *, wide: bool) -> Table:
    """Make a table of channels: when each was heard, how late and how much, what is proven, missed, left and lost."""
    lags = ("lag p50", "p99 ms") if wide else ("lag ms",)
    table = plain_table("channel", "heard", *lags, "rec/s", "verified", "clean", "missed", "left", "lost")
    table.collapse_padding = True  # a usual symbol leaves 80 columns no more room
    for row in rows:
        told = row.coverage
        lag = (row.lag_p50_ms, row.lag_p99_ms) if wide else (row.lag_p99_ms,)
        table.add_row(
            escape(row.symbol), row.channel, ago(row.heard_ms), *map(_count, lag), _rate(row.rate),
            _share(told.verified), _share(told.clean), _some(told.missing), _some(_left(row)),
            _some(told.unrecoverable), style="bold" if _wants(row) else "",
        )  # fmt: skip
    return table


def _sums_table(rows: Sequence[ChannelStatus]) -> Table:
    """One row a channel: the worst of what cannot be added up."""
    shares, counts = ("verified", "clean"), ("missed", "left", "lost")
    table = plain_table("symbols", "heard", "lag ms", "rec/s", *shares, *counts, first="channel")
    for channel in dict.fromkeys(row.channel for row in rows):
        these = [row for row in rows if row.channel == channel]
        worst = (
            min((share for row in these if (share := getattr(row.coverage, name)) is not None), default=None)
            for name in shares
        )
        table.add_row(
            channel, f"{len(these):,}", ago(_worst(row.heard_ms for row in these)),
            _count(_worst(row.lag_p99_ms for row in these)), _rate(sum(row.rate or 0 for row in these)),
            *map(_share, worst), _some(sum(row.coverage.missing for row in these)), _some(sum(map(_left, these))),
            _some(sum(row.coverage.unrecoverable for row in these)),
        )  # fmt: skip
    return table


def _series_table(rows: Sequence[SeriesStatus]) -> Table:
    table = plain_table("kind", "records", "first", "last")
    for row in rows:
        kind = f"simulated {row.kind}" if row.simulated else row.kind
        first, last = (row.first or "-")[:DAYS], (row.last or "-")[:SECONDS]
        table.add_row(escape(row.symbol), kind, f"{row.records:,}", first, last)
    return table


def _kinds_table(rows: Sequence[SeriesStatus]) -> Table:
    table = plain_table("symbols", "records", "first", "last", first="kind")
    for kind, simulated in dict.fromkeys((row.kind, row.simulated) for row in rows):
        these = [row for row in rows if (row.kind, row.simulated) == (kind, simulated)]
        first = min((row.first for row in these if row.first is not None), default="-")[:DAYS]
        last = max((row.last for row in these if row.last is not None), default="-")[:SECONDS]
        name = f"simulated {kind}" if simulated else kind
        table.add_row(name, f"{len(these):,}", f"{sum(row.records for row in these):,}", first, last)
    return table


def continuity_table(rows: Sequence[Continuity]) -> Table:
    """Make a table of how complete channels are."""
    table = plain_table("channel", "verified", "clean", "missing", "filled", "absent", "unrecoverable")
    table.collapse_padding = True  # a usual symbol leaves 80 columns no more room
    for row in rows:
        told = row.coverage
        counts = (told.missing, told.filled, told.absent, told.unrecoverable)
        shares = (_percent(told.verified), _percent(told.clean))
        table.add_row(escape(row.symbol), row.channel, *shares, *(f"{count:,}" for count in counts))
    return table


def outbox_told(backlog: Backlog) -> str:
    """Write what waits in an outbox."""
    since = "" if backlog.since is None else f" since {format_nanoseconds(backlog.since)[:SECONDS]}"
    return f"{backlog.records:,} records, {backlog.bytes / 2**20:,.1f} MiB{since}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f} %"


def size_told(count: int) -> str:
    """Write a number of bytes: ``1.2 GiB``."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1000 or unit == "TiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" or size >= 100 else f"{size:,.1f} {unit}"


def ago(milliseconds: int | None) -> str:
    """Write how long ago something was, in five characters at most."""
    if milliseconds is None:
        return "-"
    seconds = milliseconds / 1000
    for most, size, unit in ((10, 1, "s"), (100, 1, "s"), (6_000, 60, "m"), (172_800, 3_600, "h")):
        if seconds < most:
            return f"{seconds:.1f}{unit}" if most == 10 else f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86_400:,.0f}d"


def _left(row: ChannelStatus) -> int:
    """How many records are missing that may still be had, as far as their number is known; else how many gaps."""
    return max(row.coverage.missing - row.coverage.filled - row.coverage.absent, row.open)


def _wants(row: ChannelStatus) -> bool:
    return bool(_left(row)) or row.coverage.verified != 100


def _urgency(row: ChannelStatus) -> tuple[int, float, str]:
    return -_left(row), row.coverage.verified or 0.0, row.symbol


def _worst(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _some(count: int) -> str:
    return f"{count:,}" if count else "-"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}%"
