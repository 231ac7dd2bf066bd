"""What is computed from records when it is asked for: candles, a book at an instant, spreads, stats."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from cryptofeed_cli.clock import MINUTE
from cryptofeed_cli.completeness import Ledgers
from cryptofeed_cli.derived.books import books_at
from cryptofeed_cli.derived.candles import check_interval, make_candles
from cryptofeed_cli.derived.records import DERIVED, MADE_FROM
from cryptofeed_cli.derived.spread import spreads
from cryptofeed_cli.derived.stats import measure
from cryptofeed_cli.queries import Query, first_of, pages
from cryptofeed_cli.stores.base import Page, Store

__all__ = ["DERIVED", "MADE_FROM", "Recipe", "derive"]


class Recipe(msgspec.Struct, frozen=True):
    """What is computed, and how. Raises `UsageError` where that cannot be."""

    name: str
    """A name in `DERIVED`."""
    interval: int = MINUTE
    """Of candles, in nanoseconds."""
    fill: bool = False
    at: int | None = None
    """The instant of a book, in nanoseconds; None: the newest."""
    depth: int = 25
    group: Decimal | None = None

    def __post_init__(self) -> None:
        check_interval(self.interval)


def derive(store: Store, query: Query, recipe: Recipe, ledgers: Ledgers) -> Iterator[Page]:
    """Yield what a recipe makes of the records that a query means; its limit and tail are of what is made.

    Raises `Incomplete` where a book is not known.
    """
    everything = msgspec.structs.replace(query, limit=None, tail=None)
    if query.tail is not None:
        return _last(query.tail, _made(store, everything, recipe, ledgers))
    return first_of(query.limit, _made(store, everything, recipe, ledgers))


def _made(store: Store, query: Query, recipe: Recipe, ledgers: Ledgers) -> Iterator[Page]:
    match recipe.name:
        case "candles":
            return make_candles(store, query, ledgers, interval=recipe.interval, fill=recipe.fill)
        case "book":
            return books_at(store, query, ledgers, at=recipe.at, depth=recipe.depth, group=recipe.group)
        case "spread":
            return spreads(pages(store, query))
        case _:
            return measure(store, query)


def _last(most: int, found: Iterator[Page]) -> Iterator[Page]:
    """Yield the last ``most`` rows."""
    kept: deque[Page] = deque()
    rows = 0
    for page in found:
        kept.append(page)
        rows += len(page[0])
        while kept and rows - len(kept[0][0]) >= most:
            rows -= len(kept.popleft()[0])
    for page in kept:
        surplus = max(rows - most, 0)
        rows -= len(page[0])
        if len(page[0]) > surplus:
            yield [column[surplus:] for column in page]
