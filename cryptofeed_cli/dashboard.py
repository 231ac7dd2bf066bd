"""The live view of a recording, its report at the end, and the status, for people; computes nothing but rates."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cryptofeed_cli import logs
from cryptofeed_cli.certificate import Certificate
from cryptofeed_cli.clock import MILLISECOND, SECOND, format_nanoseconds
from cryptofeed_cli.copying import Copied
from cryptofeed_cli.printable import escape
from cryptofeed_cli.pruning import Portion
from cryptofeed_cli.recorder import State, SymbolView, View
from cryptofeed_cli.refill import Refilled
from cryptofeed_cli.standing import OutboxStatus
from cryptofeed_cli.status import Continuity, RecorderStatus, SeriesStatus, Status, Unanswered
from cryptofeed_cli.stores.outbox import Backlog
from cryptofeed_cli.types import Gap

REFRESH = 500 * MILLISECOND
RATE_OVER = 10
"""How many refreshes a rate is averaged over."""
LOG_LINES = 4
FURNITURE = 4
"""Lines of the screen besides symbols and log lines: two heads, how many do not fit, and the one below it all."""
UNSEEN_LINES = 100
FILE_WIDTH = 160
"""Columns where nobody's terminal says how many it has."""
DAYS, SECONDS = len("2026-11-22"), len("2026-11-22T12:00:00")
"""How much of a time is shown."""
_COLOURS = {
    State.CONNECTING: "yellow", State.LIVE: "green", State.RECONNECTING: "yellow", State.SIMULATED: "magenta",
    State.HALTED: "red",
}  # fmt: skip
_KINDS = ("trades", "tickers", "orderbooks", "book_updates")


@contextmanager
def live_view(store: str, *, shown: bool | None) -> Iterator[Callable[[View], object] | None]:
    """Show the recording in place on stderr while the block runs; yields what has to be called with every `View`.

    ``shown`` False: log lines instead; they are also what is had where stderr is not a terminal. In the view log lines
    have their place; those that came too late to be seen there follow it. Yields None where nothing is shown.
    """
    console = _console(sys.stderr)
    if shown is False or not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    screen = _Screen(store, console)
    live = Live(
        Text("starting"), console=console, auto_refresh=False, transient=True, redirect_stdout=False,
        redirect_stderr=False,
    )  # fmt: skip
    try:
        with logs.diverted(screen.say), live:

            def watch(view: View) -> None:
                if screen.due(view):
                    live.update(screen.draw(view), refresh=True)

            yield watch
    finally:
        for line in screen.unseen:
            console.print(line, soft_wrap=True)


def print_report(view: View, store: str, continuity: Sequence[Continuity] = ()) -> None:
    """Print on stderr what a recording brought, and how complete it is."""
    console = _console(sys.stderr)
    written = view.written
    console.print(f"recorded {_span(view.elapsed)} into {escape(store)}", soft_wrap=True)
    console.print(_report_table(view.symbols))
    console.print(
        f"{written.inserted:,} stored, {written.duplicates:,} duplicates, {written.conflicts:,} conflicts, "
        f"{view.rejects:,} rejects",
        soft_wrap=True,
    )
    flawed = [row for row in continuity if not _is_flawless(row)]
    if flawed:
        console.print(_continuity_table(flawed))
    if len(flawed) < len(continuity):
        rest = "everything else: " if flawed else ""
        console.print(f"{rest}100 % verified and clean, nothing missing ({len(continuity) - len(flawed):,} channels)")
    if view.outbox.records:
        console.print(f"outbox: {_backlog(view.outbox)}", soft_wrap=True)
    for symbol, reason in view.refused.items():
        console.print(f"refused: {escape(symbol)}: {escape(reason)}", soft_wrap=True)


def print_drained(records: int, store: str) -> None:
    """Print on stderr what came out of an outbox."""
    _console(sys.stderr).print(f"{records:,} records written into {escape(store)}; the outbox is empty", soft_wrap=True)


@contextmanager
def refill_progress(done: Mapping[str, Refilled]) -> Iterator[Callable[[], None]]:
    """Show on a terminal how far a backfill is; yield what is to be called for that."""
    console = _console(sys.stderr)
    with console.status("asking") as line:

        def watch() -> None:
            missing, fetched = (sum(getattr(one, name) for one in done.values()) for name in ("missing", "fetched"))
            line.update(f"{fetched:,} of {missing:,} trades fetched")

        yield watch if console.is_terminal else lambda: None


def print_refill(done: Sequence[Refilled], left_alone: Sequence[Gap]) -> None:
    """Print on stderr what a backfill brought."""
    console = _console(sys.stderr)
    if done:
        table = _table("gaps", "missing", "fetched", "absent", "left")
        for one in done:
            cells = (one.gaps, one.missing, one.fetched, one.absent, one.left)
            table.add_row(escape(one.symbol), *(f"{count:,}" for count in cells))
        console.print(table)
    else:
        console.print("nothing to fetch")
    if left_alone:
        symbols = ", ".join(sorted({escape(gap.symbol) for gap in left_alone}))
        reason = "a recorder is at it, or nobody knows yet what is missing"
        console.print(f"left alone: {len(left_alone):,} gaps of {symbols}: {reason}", soft_wrap=True)


def draw_pruning(counted: Mapping[Portion, int], verb: str) -> str:
    """Return what goes, or went, as text for people, one line for every kind of every symbol."""
    if not counted:
        return f"nothing {verb}\n"
    console = _console(sys.stdout)
    table = _table("kind", "from", "up to", "records")
    for portion, count in counted.items():
        symbol = "" if portion.series is None else portion.series.symbol
        kind = f"simulated {portion.kind.name}" if portion.simulated else portion.kind.name
        first, until = (format_nanoseconds(at)[:SECONDS] for at in (portion.first, portion.until))
        table.add_row(escape(symbol), kind, first, until, f"{count:,}")
    with console.capture() as drawn:
        console.print(table)
        console.print(f"{sum(counted.values()):,} records {verb}")
    return drawn.get()


@contextmanager
def pruning_progress(removed: Mapping[Portion, int]) -> Iterator[Callable[[], None]]:
    """Show on a terminal how far a pruning is; yield what is to be called for that."""
    console = _console(sys.stderr)
    with console.status("looking") as line:
        yield lambda: line.update(f"{sum(removed.values()):,} records removed")


@contextmanager
def copy_progress(done: Sequence[Copied], total: int) -> Iterator[Callable[[], None]]:
    """Show on a terminal how far a copy is; yield what is to be called for that."""
    console = _console(sys.stderr)
    with console.status("looking") as line:

        def watch() -> None:
            read = sum(one.read for one in done)
            line.update(f"{read:,} records, series {len(done):,} of {total:,}: {escape(str(done[-1].portion))}")

        yield watch


def draw_copy(done: Sequence[Copied]) -> str:
    """Return what was copied as text for people, one line a kind."""
    console = _console(sys.stdout)
    table = _table("series", "read", "new", "verified", first="kind")
    kinds = dict.fromkeys((one.portion.kind.name, one.portion.simulated) for one in done)
    for kind, simulated in kinds:
        these = [one for one in done if (one.portion.kind.name, one.portion.simulated) == (kind, simulated)]
        sums = [f"{sum(getattr(one, name) for one in these):,}" for name in ("read", "written")]
        name = f"simulated {kind}" if simulated else kind
        verified = f"{sum(one.equal for one in these):,}"
        table.add_row(name, f"{len(these):,}", *sums, verified)
    with console.capture() as drawn:
        console.print(table)
    return drawn.get()


def draw_status(status: Status) -> str:
    """Return a status as text for people, in colour where stdout is a terminal."""
    console = _console(sys.stdout)
    with console.capture() as drawn:
        console.print(f"store {escape(status.store)}", soft_wrap=True)
        console.print(_recorders_table(status.recorders))
        console.print(_series_table(status.series))
        if status.continuity:
            console.print(_continuity_table(status.continuity))
        for reason, count in status.rejects.items():
            console.print(f"rejects: {count:,} {escape(reason)}", soft_wrap=True)
        _print_outboxes(console, status.outboxes)
    return drawn.get()


def draw_unanswered(known: Unanswered) -> str:
    """Return what is known while the store does not answer, as text for people."""
    console = _console(sys.stdout)
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
    console = _console(sys.stdout)
    with console.capture() as drawn:
        for one in found:
            word = Text("proven", "green") if one.proven else Text("NOT PROVEN", "bold red")
            ids = f", ids {one.first_id} to {one.last_id}" if one.trades else ""
            told = f"  {one.trades:,} trades{ids}; {one.minutes:,} minutes equal the exchange's candles"
            console.print(Text.assemble(escape(one.symbol), "  ", word, told), soft_wrap=True)
            for line in (*one.problems, *one.notes):
                console.print(f"    {escape(line)}", soft_wrap=True)
    return drawn.get()


def _recorders_table(recorders: list[RecorderStatus]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("recorder", overflow="fold")
    for name in ("state", "last heard of", "connects", "stored", "gaps"):
        table.add_column(name, no_wrap=True)
    for one in recorders:
        counters = [f"{one.counters.get(name, 0):,}" for name in ("connects", "stored", "gaps")]
        table.add_row(escape(one.name), one.state, one.heartbeat_at[:SECONDS], *counters)
    return table


def _series_table(rows: list[SeriesStatus]) -> Table:
    table = _table("kind", "records", "first", "last", "gaps")
    for row in rows:
        kind = f"simulated {row.kind}" if row.simulated else row.kind
        gaps = ", ".join(f"{count:,} {name}" for name, count in row.gaps.items()) or "-"
        first, last = (row.first or "-")[:DAYS], (row.last or "-")[:SECONDS]
        table.add_row(escape(row.symbol), kind, f"{row.records:,}", first, last, gaps)
    return table


def _continuity_table(rows: Sequence[Continuity]) -> Table:
    table = _table("channel", "verified", "clean", "missing", "filled", "absent", "unrecoverable")
    table.collapse_padding = True  # a usual symbol leaves 80 columns no more room
    for row in rows:
        told = row.coverage
        counts = (told.missing, told.filled, told.absent, told.unrecoverable)
        shares = (_percent(told.verified), _percent(told.clean))
        table.add_row(escape(row.symbol), row.channel, *shares, *(f"{count:,}" for count in counts))
    return table


def _backlog(backlog: Backlog) -> str:
    since = "" if backlog.since is None else f" since {format_nanoseconds(backlog.since)[:SECONDS]}"
    return f"{backlog.records:,} records, {backlog.bytes / 2**20:,.1f} MiB{since}"


def _is_flawless(row: Continuity) -> bool:
    told = row.coverage
    return told.verified == told.clean == 100 and not told.missing


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f} %"


class _Screen:
    """Turns views into what stands on the screen, never more than fits: what scrolls away could not be taken back."""

    def __init__(self, store: str, console: Console) -> None:
        self._store = store
        self._console = console
        self._views: deque[View] = deque(maxlen=RATE_OVER)
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self.unseen: deque[str] = deque(maxlen=UNSEEN_LINES)
        """Log lines that came after the last drawing."""

    def say(self, line: str) -> None:
        self._lines.append(line)
        self.unseen.append(line)

    def due(self, view: View) -> bool:
        return not self._views or view.elapsed - self._views[-1].elapsed >= REFRESH

    def draw(self, view: View) -> Group:
        before = self._views[0] if self._views else view
        self._views.append(view)
        self.unseen.clear()
        lines = list(self._lines)
        head = Text.assemble(
            (f" {view.state} ", f"bold reverse {_COLOURS[view.state]}"),
            f"  {_span(view.elapsed)}  {view.frames:,} frames  {view.written.inserted:,} stored"
            f"  {view.rejects:,} rejects  ",
            (escape(self._store), "dim"),
        )
        if view.outbox.records:
            head.append(f"  outbox {_backlog(view.outbox)}", "yellow")
        head.no_wrap, head.overflow = True, "ellipsis"
        room = max(self._console.size.height - FURNITURE - len(lines), 1)
        parts: list[RenderableType] = [head, _live_table(view.symbols[:room], _rates(before, view))]
        if len(view.symbols) > room:
            parts.append(Text(f"and {len(view.symbols) - room:,} more", style="dim", no_wrap=True))
        said = [Text(line, "dim") for line in lines]
        for one in said:  # room for a Ctrl-C: what the terminal echoes would else begin a line that is not taken back
            one.truncate(max(self._console.size.width - len("^C"), 1), overflow="ellipsis")
        parts.append(Text("\n").join(said))
        return Group(*parts)


class _Terminal:
    """Standard error as a place to draw: when it is gone nobody watches any more, and the recording goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _console(stream: TextIO | None) -> Console:
    """A console that takes every text literally, and draws for a terminal only where there is one."""
    terminal = stream is not None and stream.isatty()
    file = None if stream is None else cast(TextIO, _Terminal(stream))
    console = Console(file=file, force_terminal=terminal, markup=False, emoji=False, highlight=False)
    if not terminal:
        console.width = FILE_WIDTH
    return console


def _rates(before: View, now: View) -> dict[str, float]:
    """Trades per second between two views, by symbol."""
    elapsed = (now.elapsed - before.elapsed) / SECOND
    counts = {row.symbol: row.stored.get("trades", 0) for row in before.symbols}
    return {
        row.symbol: (row.stored.get("trades", 0) - counts[row.symbol]) / elapsed for row in now.symbols if elapsed > 0
    }


def _live_table(rows: list[SymbolView], rates: Mapping[str, float]) -> Table:
    table = _table("last", "trades/s", "lag", "book", "gaps", "stored")
    for row in rows:
        cells = (row.price or "-", f"{rates.get(row.symbol, 0):.1f}", _lag(row), _book(row))
        table.add_row(escape(row.symbol), *cells, f"{row.gaps:,}", f"{sum(row.stored.values()):,}", style=_style(row))
    return table


def _report_table(rows: list[SymbolView]) -> Table:
    kinds = [kind for kind in _KINDS if any(kind in row.stored for row in rows)]
    table = _table(*kinds, "gaps")
    for row in rows:
        cells = [f"{row.stored.get(kind, 0):,}" for kind in kinds]
        table.add_row(escape(row.symbol), *cells, f"{row.gaps:,}", style=_style(row))
    return table


def _table(*columns: str, first: str = "symbol") -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _style(row: SymbolView) -> str:
    return "bold" if row.gaps else ""


def _lag(row: SymbolView) -> str:
    if row.lag_ms is None:
        return "-"
    return f"{row.lag_ms} ms" if abs(row.lag_ms) < 10_000 else f"{row.lag_ms // 1000:,} s"


def _book(row: SymbolView) -> str:
    return "-" if row.book_valid is None else "ok" if row.book_valid else "waiting"


def _span(nanoseconds: int) -> str:
    minutes, seconds = divmod(nanoseconds // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
