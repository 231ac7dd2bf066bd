"""The live view of a recording: one calm screen of any size, drawn in the place of the last one."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cryptofeed_cli import logs
from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.dashboard.motion import Motion
from cryptofeed_cli.dashboard.standing import ago, outbox_told
from cryptofeed_cli.dashboard.terminal import clock_span, open_console, plain_table
from cryptofeed_cli.printable import escape
from cryptofeed_cli.views import State, SymbolView, View

REFRESH = 500 * MILLISECOND
LOG_LINES = 4
FURNITURE = 3
"""Lines besides heads, symbols and log lines: names of columns, what does not fit, and the one below all."""
LOW = 8
"""Lines of a terminal below which there is one head only."""
UNSEEN_LINES = 100
TAKEN = 76
"""Columns that a usual row takes; what is left shows how the price moved."""
LONGEST_SPARK = 40
WIDE = 110
"""Columns from which on there is room for the book and what is stored."""
SILENT = 10_000
"""Milliseconds after which the time since a symbol's last frame stands in the place of its lag."""
_COLOURS = {
    State.CONNECTING: "yellow", State.LIVE: "green", State.RECONNECTING: "yellow", State.SIMULATED: "magenta",
    State.HALTED: "red",
}  # fmt: skip
_UP, _DOWN = Text("\u25b2", "green"), Text("\u25bc", "red")


@contextmanager
def live_view(store: str, *, shown: bool | None, endpoint: str = "") -> Iterator[Callable[[View], object] | None]:
    """Show the recording in place on stderr while the block runs; yields what has to be called with every `View`.

    ``shown`` False: log lines instead; they are also what is had where stderr is not a terminal. In the view log lines
    have their place; those that came too late to be seen there follow it. Yields None where nothing is shown.
    ``endpoint`` is where the data comes from.
    """
    console = open_console(sys.stderr)
    if shown is False or not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    screen = _Screen(store, endpoint, console)
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


class _Screen:
    """Turns views into what stands on the screen, never more than fits: what scrolls away could not be taken back."""

    def __init__(self, store: str, endpoint: str, console: Console) -> None:
        self._store, self._endpoint = store, endpoint
        self._console = console
        self._motion = Motion()
        self._drawn: int | None = None
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self.unseen: deque[str] = deque(maxlen=UNSEEN_LINES)
        """Log lines that came after the last drawing."""

    def say(self, line: str) -> None:
        self._lines.append(line)
        self.unseen.append(line)

    def due(self, view: View) -> bool:
        return self._drawn is None or view.elapsed - self._drawn >= REFRESH

    def draw(self, view: View) -> Group:
        self._drawn = view.elapsed
        self._motion.follow(view)
        self.unseen.clear()
        size = self._console.size
        lines = list(self._lines)
        heads = self._heads(view)[: 1 if size.height < LOW else 2]
        room = max(size.height - FURNITURE - len(heads) - len(lines), 1)
        shown, rest = view.symbols[:room], view.symbols[room:]
        parts: list[RenderableType] = [*heads, self._table(shown, size.width)]
        if rest:
            parts.append(_one_line(Text(_summed_up(rest), "dim")))
        said = [Text(line, "dim") for line in lines]
        for one in said:  # room for a Ctrl-C: what the terminal echoes would else begin a line that is not taken back
            one.truncate(max(size.width - len("^C"), 1), overflow="ellipsis")
        parts.append(Text("\n").join(said))
        return Group(*parts)

    def _heads(self, view: View) -> list[Text]:
        first = Text.assemble(
            (f" {view.state} ", f"bold reverse {_COLOURS[view.state]}"),
            f"  {clock_span(view.elapsed)}  {view.frames:,} frames  {view.written.inserted:,} stored"
            f"  {view.rejects:,} rejects",
        )
        second = Text.assemble((f"{escape(self._endpoint)}  " if self._endpoint else "", "dim"))
        second.append(escape(self._store), "dim")
        if view.state is State.HALTED:
            second = Text("neither the store nor the outbox takes anything: make room, or bring the store back", "bold")
        elif view.away is not None:
            second = Text(f"store away: {escape(view.away)}", "bold")
        if view.outbox.records:
            second.append(f"  outbox {outbox_told(view.outbox)}", "bold")
        return [_one_line(first), _one_line(second)]

    def _table(self, rows: Sequence[SymbolView], width: int) -> Table:
        wide, spark = width >= WIDE, min(max(width - TAKEN - (22 if width >= WIDE else 0), 0), LONGEST_SPARK)
        columns = ["", "last", "spread", "trades/s", "updates/s", "lag", "gaps"]
        table = plain_table(*columns, *(("book", "stored") if wide else ()))
        if spark:
            table.add_column("", no_wrap=True)
        for row in rows:
            rates = (f"{rate:,.1f}" for rate in self._motion.rates(row.symbol))
            more = (_book(row), f"{sum(row.stored.values()):,}") if wide else ()
            line = (self._motion.spark(row.symbol, spark),) if spark else ()
            table.add_row(
                escape(row.symbol), self._arrow(row), escape(row.price or "-"), _spread(row), *rates, _lag(row),
                _gaps(row), *more, *line, style="bold" if row.open_gaps or row.book_valid is False else "",
            )  # fmt: skip
        return table

    def _arrow(self, row: SymbolView) -> Text:
        rising = self._motion.rising(row.symbol)
        return Text(" ") if rising is None else _UP if rising else _DOWN


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _summed_up(rest: Sequence[SymbolView]) -> str:
    told = f"and {len(rest):,} more"
    gaps = sum(bool(row.open_gaps) for row in rest)
    waiting = sum(row.book_valid is False for row in rest)
    silent = sum((row.heard_ms or 0) >= SILENT for row in rest)
    counts = ((gaps, "with open gaps"), (waiting, "without a book"), (silent, "silent"))
    wanting = [f"{count:,} {what}" for count, what in counts if count]
    return f"{told}: {', '.join(wanting)}" if wanting else told


def _spread(row: SymbolView) -> str:
    try:
        return "-" if row.bid is None or row.ask is None else f"{Decimal(row.ask) - Decimal(row.bid):f}"
    except InvalidOperation:  # an empty text, where nobody offers
        return "-"


def _lag(row: SymbolView) -> str:
    if row.heard_ms is not None and row.heard_ms >= SILENT:
        return f"{ago(row.heard_ms)} ago"
    if row.lag_ms is None:
        return "-"
    return f"{row.lag_ms} ms" if abs(row.lag_ms) < 10_000 else f"{row.lag_ms // 1000:,} s"


def _gaps(row: SymbolView) -> str:
    return f"{row.open_gaps:,} open" if row.open_gaps else f"{row.gaps:,}"


def _book(row: SymbolView) -> str:
    return "-" if row.book_valid is None else "ok" if row.book_valid else "waiting"
