"""What was recorded, in the order of every output: series merged, sources chosen; knows no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import compress
from typing import Any

import msgspec

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.merging import chained, merge
from cryptofeed_cli.stores.base import FIRST_PAGE, PAGE, Page, Series, Span, Store, records_of
from cryptofeed_cli.types import KINDS, BookUpdate, Kind, Source

REAL: frozenset[Source] = frozenset({"live", "backfill"})
HELD = PAGE
"""How many records of all series together are held at once, as far as the smallest pages allow."""


class Query(msgspec.Struct, frozen=True):
    """Which records are wanted. Raises `UsageError` where that contradicts itself."""

    kind: str
    """A name in `KINDS`."""
    symbols: tuple[str, ...] = ()
    """Names, and patterns such as ``BTC-*``. Empty: all. Kinds without symbols take no notice."""
    span: Span = Span()
    sources: frozenset[Source] = REAL
    """Kinds without sources take no notice."""
    limit: int | None = None
    """The first so many."""
    tail: int | None = None
    """The last so many, in ascending order all the same."""

    @property
    def what(self) -> Kind:
        """The kind itself."""
        return KINDS[self.kind]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown kind {self.kind!r} (kinds: {', '.join(KINDS)})")
        if self.limit is not None and self.tail is not None:
            raise UsageError("--limit and --tail exclude each other; give one of them")
        for name, value in (("--limit", self.limit), ("--tail", self.tail)):
            if value is not None and value < 0:
                raise UsageError(f"{name} {value} is negative; give the number of records wanted")


def run(store: Store, query: Query) -> Iterator[Any]:
    """Yield what a query asks for, ordered by time, symbol, trade id or sequence (numerically), then receipt.

    Book updates of one instant follow the chain of their sequences. Hardly anything is read beyond the limit, and
    nothing but a tail is held in memory.
    """
    return records_of(query.what, pages(store, query))


def pages(store: Store, query: Query) -> Iterator[Page]:
    """Yield the same as pages of columns."""
    if query.tail is None:
        return first_of(query.limit, _merged(store, query, descending=False))
    last = list(first_of(query.tail, _merged(store, query, descending=True)))
    return ([column[::-1] for column in page] for page in last[::-1])


def count(store: Store, query: Query) -> int:
    """Count what `run` would yield."""
    most = query.limit if query.tail is None else query.tail
    if query.what.market and query.span == Span() and not 0 < len(query.sources & REAL) < len(REAL):
        found = sum(
            store.tally(query.what, series, simulated=simulated).count
            for simulated in twins(query)
            for series in chosen(store, query, simulated=simulated)
        )
        return found if most is None else min(found, most)
    found = 0
    for _, _, stream in _streams(store, query, descending=False):
        for page in stream:
            found += len(page[0])
            if most is not None and found >= most:
                return most
    return found


def twins(query: Query) -> list[bool]:
    """Return which of the two tables of a market kind are wanted: the real one, the simulated one, or both."""
    return [simulated for simulated, sources in ((False, REAL), (True, {"simulated"})) if query.sources & sources]


def chosen(store: Store, query: Query, *, simulated: bool) -> list[Series]:
    """Return the series of a market kind that a query means, of one of its tables."""
    means = chooser(query.symbols)
    return [series for series in store.series(query.what, simulated=simulated) if means(series.symbol)]


def is_pattern(symbol: str) -> bool:
    """Tell whether a symbol stands for several: ``*`` is any text, ``?`` any character."""
    return "*" in symbol or "?" in symbol


def chooser(symbols: Iterable[str]) -> Callable[[str | None], bool]:
    """Return what tells whether a symbol is one of those named, or matches a pattern; none are named: all are."""
    named = frozenset(symbols)
    patterns = [symbol.replace("[", "[[]") for symbol in named if is_pattern(symbol)]

    def means(symbol: str | None) -> bool:
        if not named or symbol in named:
            return True
        return symbol is not None and any(fnmatchcase(symbol, pattern) for pattern in patterns)

    return means


def of_series(
    store: Store, query: Query, series: Series, *, simulated: bool, descending: bool = False, most: int = PAGE
) -> Iterator[Page]:
    """Yield the pages of one series, from the sources that are wanted; limit and tail do not count."""
    kind = query.what
    found = store.pages(kind, series, span=query.span, simulated=simulated, descending=descending, most=most)
    if not simulated and not query.sources >= REAL:
        found = _selected(found, kind, "source", query.sources.__contains__)
    return chained(found, kind, descending=descending) if kind.record is BookUpdate else found


def _streams(store: Store, query: Query, *, descending: bool) -> list[tuple[str, str, Iterator[Page]]]:
    """Return symbol, exchange and stream of every series, in that order, real before simulated."""
    kind = query.what
    if not kind.market:
        found = store.pages(kind, span=query.span, descending=descending)
        if "symbol" in kind.record.__struct_fields__ and query.symbols:
            found = _selected(found, kind, "symbol", chooser(query.symbols))
        return [("", "", found)]
    wanted = sorted(
        (series.symbol, series.exchange, simulated)
        for simulated in twins(query)
        for series in chosen(store, query, simulated=simulated)
    )
    most = max(min(PAGE, HELD // max(len(wanted), 1)), FIRST_PAGE)
    return [
        (
            symbol, exchange,
            of_series(
                store, query, Series(exchange, symbol), simulated=simulated, descending=descending, most=most
            ),
        )
        for symbol, exchange, simulated in wanted
    ]  # fmt: skip


def _merged(store: Store, query: Query, *, descending: bool) -> Iterator[Page]:
    streams = _streams(store, query, descending=descending)
    distinct = len({symbol for symbol, _, _ in streams}) == len(streams)
    return merge(query.what, [stream for _, _, stream in streams], distinct=distinct, descending=descending)


def _selected(found: Iterable[Page], kind: Kind, name: str, wanted: Callable[[Any], bool]) -> Iterator[Page]:
    """Yield those rows whose field ``name`` is wanted."""
    place = kind.record.__struct_fields__.index(name)
    for page in found:
        chosen = list(map(wanted, page[place]))
        if any(chosen):
            yield page if all(chosen) else [list(compress(column, chosen)) for column in page]


def first_of(most: int | None, found: Iterator[Page]) -> Iterator[Page]:
    """Yield the first ``most`` rows; None: all."""
    if most is None:
        yield from found
        return
    while most > 0 and (page := next(found, None)) is not None:
        yield page if len(page[0]) <= most else [column[:most] for column in page]
        most -= len(page[0])
