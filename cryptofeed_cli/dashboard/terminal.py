"""A terminal to draw on, and what every screen is made of."""

from __future__ import annotations

from contextlib import suppress
from typing import TextIO, cast

from rich.console import Console
from rich.table import Table

from cryptofeed_cli.clock import SECOND

FILE_WIDTH = 160
"""Columns where nobody's terminal says how many it has."""
DAYS, SECONDS = len("2026-11-22"), len("2026-11-22T12:00:00")
"""How much of a time is shown."""


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


def open_console(stream: TextIO | None) -> Console:
    """A console that takes every text literally, and draws for a terminal only where there is one."""
    terminal = stream is not None and stream.isatty()
    file = None if stream is None else cast(TextIO, _Terminal(stream))
    console = Console(file=file, force_terminal=terminal, markup=False, emoji=False, highlight=False)
    if not terminal:
        console.width = FILE_WIDTH
    return console


def plain_table(*columns: str, first: str = "symbol") -> Table:
    """Make a table without lines: ``first`` to the left, the rest to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def clock_span(nanoseconds: int) -> str:
    """Write how long something takes as a clock shows it: ``1:02:03``."""
    minutes, seconds = divmod(nanoseconds // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
