"""How far an export is, on a terminal: by the times of the records, since counting them first would cost as much."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cryptofeed_cli.clock import Clock
from cryptofeed_cli.stores.base import Page

Watch = Callable[[Iterable[Page]], Iterator[Page]]


@contextmanager
def export_progress(clock: Clock, place: int, ends: tuple[int, int] | None) -> Iterator[Watch]:
    """Show rows, rate and time left on stderr while pages go through what is yielded; nothing without a terminal.

    Args: ``place`` is the column of the time, ``ends`` its first and last value; None: not known.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield iter
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        first, last = ends or (0, 0)
        task = progress.add_task("", total=(last - first) or None)
        begun = clock.monotonic()

        def watch(pages: Iterable[Page]) -> Iterator[Page]:
            rows = 0
            for page in pages:
                yield page
                rows += len(page[0])
                seconds = max((clock.monotonic() - begun) / 1e9, 1e-9)
                at = page[place][-1] if ends else None
                progress.update(
                    task, description=f"{rows:,} rows, {rows / seconds:,.0f}/s",
                    completed=None if at is None else max(at - first, 0),
                )  # fmt: skip

        yield watch
