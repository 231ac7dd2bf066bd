"""Candles, spreads and the depth of a book drawn in characters; computes nothing, and only here are figures floats."""

from __future__ import annotations

import html
import os
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate
from shutil import get_terminal_size
from typing import Any, BinaryIO

import plotext

from cryptofeed_cli.clock import format_milliseconds
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.printable import escape
from cryptofeed_cli.stores.base import Page, records_of
from cryptofeed_cli.types import Kind

HEIGHT = 20
"""Lines of a plot."""
PLOTS = 6
"""Symbols that are drawn at most, one under another."""
POINTS = 2_000
"""The last points of a line that are drawn."""
_MARGIN = 12
"""Columns of the scale; the others hold a candle each."""
_TICKS = 5


def draw(name: str, kind: Kind, pages: Iterable[Page], out: BinaryIO) -> None:
    """Draw ``candles``, ``spread`` or ``book`` on a stream, in colour on a terminal. Raises `UsageError`."""
    plain = not out.isatty() or bool(os.environ.get("NO_COLOR"))
    for figure in _figures(name, kind, pages):
        out.write(f"{figure.string(colorless=plain)}\n".encode())
    out.flush()


def save(name: str, kind: Kind, pages: Iterable[Page], out: BinaryIO, *, as_html: bool) -> None:
    """Write the same as plain text, or as a page for a browser."""
    figures = _figures(name, kind, pages)
    if as_html:
        title = html.escape(f"cryptofeed {name}")
        body = "\n".join(figure.html() for figure in figures)
        out.write(f'<!doctype html>\n<meta charset="utf-8">\n<title>{title}</title>\n{body}\n'.encode())
    else:
        out.write("\n".join(figure.string(colorless=True) for figure in figures).encode() + b"\n")


def _figures(name: str, kind: Kind, pages: Iterable[Page]) -> list[Any]:
    """Return one drawn figure a symbol."""
    width = max(get_terminal_size().columns, 40)
    most = width - _MARGIN if name == "candles" else POINTS
    by_title: dict[str, deque[Any]] = {}
    for record in records_of(kind, pages):
        title = escape(f"{record.symbol} {record.interval if name == 'candles' else name}")
        if title not in by_title and len(by_title) == PLOTS:
            raise UsageError(f"--plot draws at most {PLOTS} symbols; choose some with -s")
        by_title.setdefault(title, deque(maxlen=most)).append(record)
    if not by_title:
        raise UsageError(f"--plot has nothing to draw: no {name} there")
    paint = {"candles": _candles, "spread": _spread, "book": _depth}[name]
    figures = []
    for title, records in by_title.items():
        figure = plotext.figure
        figure.clear()
        figure.theme("simple")
        figure.plot_size(width, HEIGHT)
        figure.title(title)
        paint(figure, list(records))
        figures.append(figure.build())
    return figures


def _candles(figure: Any, candles: Sequence[Any]) -> None:
    prices = {name: [float(getattr(one, name)) for one in candles] for name in ("open", "close", "high", "low")}
    figure.draw(figure.candlestick({"date": list(range(len(candles))), **prices}))
    _label_times(figure, list(range(len(candles))), [one.timestamp for one in candles])
    _label_figures(figure, [*prices["low"], *prices["high"]])


def _spread(figure: Any, spreads: Sequence[Any]) -> None:
    timed = [one for one in spreads if one.timestamp is not None]
    times = [one.timestamp for one in timed]
    places = [time - times[0] for time in times]
    _line(figure, places, [float(one.spread) for one in timed], "spread")
    _label_times(figure, places, times)
    _label_figures(figure, [float(one.spread) for one in timed])


def _depth(figure: Any, books: Sequence[Any]) -> None:
    book = books[-1]
    for side, levels in (("bids", book.bids), ("asks", book.asks)):
        if levels:
            _line(
                figure, [float(price) for price, _ in levels], list(accumulate(float(size) for _, size in levels)), side
            )  # fmt: skip
    figure.label(f"price, at {format_milliseconds(book.timestamp)}" if book.timestamp is not None else "price")


def _line(figure: Any, x: list[Any], y: list[float], label: str) -> None:
    signal = figure.signal(x, y)
    signal.lines()
    signal.label(label)
    figure.draw(signal)


def _label_times(figure: Any, places: list[int], times: list[int]) -> None:
    last = len(places) - 1
    chosen = sorted({last * tick // (_TICKS - 1) for tick in range(_TICKS)})
    digits = slice(5, 16) if times[-1] - times[0] >= 86_400_000 else slice(11, 19)
    texts = [format_milliseconds(times[index])[digits].replace("T", " ") for index in chosen]
    figure.ruler("x").ticks([places[index] for index in chosen], texts)


def _label_figures(figure: Any, values: list[float]) -> None:
    low, high = min(values), max(values)
    ticks = [low + (high - low) * tick / (_TICKS - 1) for tick in range(_TICKS)] if high > low else [low]
    figure.ruler("y").ticks(ticks, [f"{tick:,.7g}" for tick in ticks])
