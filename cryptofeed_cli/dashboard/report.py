"""What a recording brought, told at its end."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.table import Table

from cryptofeed_cli.dashboard.standing import continuity_table, outbox_told
from cryptofeed_cli.dashboard.terminal import clock_span, open_console, plain_table
from cryptofeed_cli.printable import escape
from cryptofeed_cli.status.report import Continuity
from cryptofeed_cli.views import SymbolView, View

_KINDS = ("trades", "tickers", "orderbooks", "book_updates")


def print_report(view: View, store: str, continuity: Sequence[Continuity] = ()) -> None:
    """Print on stderr what a recording brought, and how complete it is."""
    console = open_console(sys.stderr)
    written = view.written
    console.print(f"recorded {clock_span(view.elapsed)} into {escape(store)}", soft_wrap=True)
    console.print(_report_table(view.symbols))
    console.print(
        f"{written.inserted:,} stored, {written.duplicates:,} duplicates, {written.conflicts:,} conflicts, "
        f"{view.rejects:,} rejects",
        soft_wrap=True,
    )
    flawed = [row for row in continuity if not _is_flawless(row)]
    if flawed:
        console.print(continuity_table(flawed))
    if len(flawed) < len(continuity):
        rest = "everything else: " if flawed else ""
        console.print(f"{rest}100 % verified and clean, nothing missing ({len(continuity) - len(flawed):,} channels)")
    if view.outbox.records:
        console.print(f"outbox: {outbox_told(view.outbox)}", soft_wrap=True)
    for symbol, reason in view.refused.items():
        console.print(f"refused: {escape(symbol)}: {escape(reason)}", soft_wrap=True)


def print_drained(records: int, store: str) -> None:
    """Print on stderr what came out of an outbox."""
    console = open_console(sys.stderr)
    console.print(f"{records:,} records written into {escape(store)}; the outbox is empty", soft_wrap=True)


def _report_table(rows: list[SymbolView]) -> Table:
    kinds = [kind for kind in _KINDS if any(kind in row.stored for row in rows)]
    table = plain_table(*kinds, "gaps")
    for row in rows:
        cells = [f"{row.stored.get(kind, 0):,}" for kind in kinds]
        table.add_row(escape(row.symbol), *cells, f"{row.gaps:,}", style="bold" if row.gaps else "")
    return table


def _is_flawless(row: Continuity) -> bool:
    told = row.coverage
    return told.verified == told.clean == 100 and not told.missing
