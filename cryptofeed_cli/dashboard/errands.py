"""What the commands that fetch, remove and copy did, and how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from cryptofeed_cli.clock import format_nanoseconds
from cryptofeed_cli.copying import Copied
from cryptofeed_cli.dashboard.terminal import SECONDS, open_console, plain_table
from cryptofeed_cli.printable import escape
from cryptofeed_cli.pruning import Portion
from cryptofeed_cli.refill import Refilled
from cryptofeed_cli.types import Gap


@contextmanager
def refill_progress(done: Mapping[str, Refilled]) -> Iterator[Callable[[], None]]:
    """Show on a terminal how far a backfill is; yield what is to be called for that."""
    console = open_console(sys.stderr)
    with console.status("asking") as line:

        def watch() -> None:
            missing, fetched = (sum(getattr(one, name) for one in done.values()) for name in ("missing", "fetched"))
            line.update(f"{fetched:,} of {missing:,} trades fetched")

        yield watch if console.is_terminal else lambda: None


def print_refill(done: Sequence[Refilled], left_alone: Sequence[Gap]) -> None:
    """Print on stderr what a backfill brought."""
    console = open_console(sys.stderr)
    if done:
        table = plain_table("gaps", "missing", "fetched", "absent", "left")
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
    console = open_console(sys.stdout)
    table = plain_table("kind", "from", "up to", "records")
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
    console = open_console(sys.stderr)
    with console.status("looking") as line:
        yield lambda: line.update(f"{sum(removed.values()):,} records removed")


@contextmanager
def copy_progress(done: Sequence[Copied], total: int) -> Iterator[Callable[[], None]]:
    """Show on a terminal how far a copy is; yield what is to be called for that."""
    console = open_console(sys.stderr)
    with console.status("looking") as line:

        def watch() -> None:
            read = sum(one.read for one in done)
            line.update(f"{read:,} records, series {len(done):,} of {total:,}: {escape(str(done[-1].portion))}")

        yield watch


def draw_copy(done: Sequence[Copied]) -> str:
    """Return what was copied as text for people, one line a kind."""
    console = open_console(sys.stdout)
    table = plain_table("series", "read", "new", "verified", first="kind")
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
