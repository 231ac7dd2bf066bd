"""The live view of a recording, its report at the end, and the status, for people; computes nothing but rates."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cryptofeed_cli import logs
from cryptofeed_cli.clock import MILLISECOND, SECOND
from cryptofeed_cli.printable import escape
from cryptofeed_cli.recorder import State, SymbolView, View
from cryptofeed_cli.status import Status

REFRESH = 500 * MILLISECOND
RATE_OVER = 10
"""How many refreshes a rate is averaged over."""
LOG_LINES = 4
FILE_WIDTH = 160
"""Columns where stderr is not a terminal."""
_COLOURS = {
    State.CONNECTING: "yellow", State.LIVE: "green", State.RECONNECTING: "yellow", State.SIMULATED: "magenta"
}  # fmt: skip
_KINDS = ("trades", "tickers", "orderbooks", "book_updates")


@contextmanager
def live_view(store: str, *, shown: bool | None) -> Iterator[Callable[[View], object] | None]:
    """Show the recording in place on stderr while the block runs; yields what has to be called with every `View`.

    ``shown`` None: only where stderr is a terminal. While it is shown, log lines appear in it. Yields None where there
    is nothing to show.
    """
    console = _console()
    if not (console.is_terminal if shown is None else shown) or sys.stderr is None:
        yield None
        return
    lines: deque[str] = deque(maxlen=LOG_LINES)
    with (
        logs.diverted(lines.append),
        Live(Text("starting"), console=console, auto_refresh=False, transient=True, redirect_stderr=False) as live,
    ):
        screen = _Screen(store, lines)

        def watch(view: View) -> None:
            if screen.due(view):
                live.update(screen.draw(view), refresh=True)

        yield watch


def print_report(view: View, store: str) -> None:
    """Print on stderr what a recording brought."""
    console = _console()
    written = view.written
    console.print(f"recorded {_span(view.now - view.started_at)} into {escape(store)}", markup=False, soft_wrap=True)
    console.print(_report_table(view.symbols))
    console.print(
        f"{written.inserted:,} stored, {written.duplicates:,} duplicates, {written.conflicts:,} conflicts, "
        f"{view.rejects:,} rejects",
        markup=False,
        soft_wrap=True,
    )
    for symbol, reason in view.refused.items():
        console.print(f"refused: {symbol}: {escape(reason)}", markup=False, soft_wrap=True)


def print_status(status: Status) -> None:
    """Print a status on stdout, for people."""
    console = _console(stderr=False)
    console.print(f"store {escape(status.store)}", markup=False, soft_wrap=True)
    recorders = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("recorder", "state", "started", "last heard of", "connects", "stored", "gaps"):
        recorders.add_column(name, no_wrap=True)
    for one in status.recorders:
        counters = [f"{one.counters.get(name, 0):,}" for name in ("connects", "stored", "gaps")]
        recorders.add_row(escape(one.name), one.state, one.started_at[:19], one.heartbeat_at[:19], *counters)
    console.print(recorders)
    series = _table("kind", "records", "first", "last", "gaps")
    for row in status.series:
        kind = f"simulated {row.kind}" if row.simulated else row.kind
        gaps = ", ".join(f"{count:,} {name}" for name, count in row.gaps.items()) or "-"
        first, last = ("-" if time is None else time[:19] for time in (row.first, row.last))
        series.add_row(escape(row.symbol), kind, f"{row.records:,}", first, last, gaps)
    console.print(series)
    for reason, count in status.rejects.items():
        console.print(f"rejects: {count:,} {escape(reason)}", markup=False, soft_wrap=True)


class _Screen:
    """Turns views into what stands on the screen."""

    def __init__(self, store: str, lines: deque[str]) -> None:
        self._store = store
        self._lines = lines
        self._views: deque[View] = deque(maxlen=RATE_OVER)

    def due(self, view: View) -> bool:
        return not self._views or view.now - self._views[-1].now >= REFRESH

    def draw(self, view: View) -> Group:
        before = self._views[0] if self._views else view
        self._views.append(view)
        elapsed = (view.now - before.now) / SECOND
        counts = {row.symbol: row.stored for row in before.symbols}
        rates = {
            row.symbol: (row.stored.get("trades", 0) - counts.get(row.symbol, {}).get("trades", 0)) / elapsed
            for row in view.symbols
            if elapsed > 0
        }
        head = Text.assemble(
            (f" {view.state} ", f"bold reverse {_COLOURS[view.state]}"),
            f"  {_span(view.now - view.started_at)}  {view.frames:,} frames  {view.written.inserted:,} stored"
            f"  {view.rejects:,} rejects  ",
            (escape(self._store), "dim"),
        )
        head.no_wrap, head.overflow = True, "ellipsis"
        foot = Text("\n".join(self._lines), style="dim", no_wrap=True, overflow="ellipsis")
        return Group(head, _live_table(view.symbols, rates), foot)


def _console(*, stderr: bool = True) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console


def _live_table(rows: list[SymbolView], rates: dict[str, float]) -> Table:
    table = _table("last", "trades/s", "lag", "book", "gaps", "stored")
    for row in rows:
        cells = (row.price or "-", f"{rates.get(row.symbol, 0):.1f}", _lag(row), _book(row))
        table.add_row(row.symbol, *cells, f"{row.gaps:,}", f"{sum(row.stored.values()):,}", style=_style(row))
    return table


def _report_table(rows: list[SymbolView]) -> Table:
    kinds = [kind for kind in _KINDS if any(kind in row.stored for row in rows)]
    table = _table(*kinds, "gaps")
    for row in rows:
        cells = [f"{row.stored.get(kind, 0):,}" for kind in kinds]
        table.add_row(row.symbol, *cells, f"{row.gaps:,}", style=_style(row))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("symbol", no_wrap=True)
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
