"""The book of a symbol at an instant, out of its recorded updates: exact, or refused; knows no format."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from cryptofeed_cli.book import Book
from cryptofeed_cli.chain import Chain, Link
from cryptofeed_cli.clock import MILLISECOND, format_milliseconds
from cryptofeed_cli.completeness import Ledgers
from cryptofeed_cli.errors import Incomplete
from cryptofeed_cli.queries import Query, chosen, of_series, twins
from cryptofeed_cli.stores.base import Page, Series, Span, Store, page_of, records_of
from cryptofeed_cli.types import KINDS, BookUpdate, OrderBook

_UPDATES = KINDS["book_updates"]
WHOLE = ("snapshot", "checkpoint")


def books_at(
    store: Store, query: Query, ledgers: Ledgers, *, at: int | None, depth: int, group: Decimal | None
) -> Iterator[Page]:
    """Yield the book of every symbol at an instant, by symbol. ``at`` in ns; None: the newest recorded.

    Raises `Incomplete` where one is not known: nothing recorded, a broken chain, inside a gap, or no recorder then.
    """
    found = []
    for simulated in twins(query):
        for series in chosen(store, query, simulated=simulated):
            proof = None if simulated else ledgers.proof(*series, "book_updates")
            instant = _newest(store, query, series, simulated=simulated) if at is None else at // MILLISECOND
            why = None if proof is None or at is None else proof.at(instant)
            book = None if why else book_at(store, query, series, instant, simulated=simulated)
            if book is None:
                raise Incomplete(
                    f"the book of {series.symbol} at {format_milliseconds(instant)} is not known: "
                    f"{why or 'no unbroken chain of updates leads there'}; "
                    f"`query gaps -s {series.symbol}` tells more, and without --at comes the newest"
                )
            found.append(_sample(*book, depth, group))
    if not found:
        raise Incomplete(f"no book_updates are stored of {', '.join(query.symbols) or 'any symbol'}")
    found.sort(key=lambda book: (book.symbol, book.exchange))
    yield page_of(KINDS["orderbooks"], found)


def book_at(
    store: Store, query: Query, series: Series, instant: int, *, simulated: bool
) -> tuple[Book, BookUpdate] | None:
    """Return the book after the last update at or before an instant (ms), and that update; None: it is not known."""
    until = (instant + 1) * MILLISECOND
    begin = _whole_before(store, query, series, until, simulated=simulated)
    if begin is None:
        return None
    book, chain, last = Book(), Chain(), None
    since = None if begin.timestamp is None else begin.timestamp * MILLISECOND
    for update in _updates(store, query, series, Span(since, until), simulated=simulated):
        if last is None and update != begin:
            continue  # of the same instant, and before it
        if update.action in WHOLE:
            chain = _begun(update)
            book.replace(update.bids, update.asks)
        else:
            match chain.judge(update):
                case Link.FOLLOWS | Link.RESET:
                    book.apply(update.bids, update.asks)
                case Link.HEARTBEAT | Link.DUPLICATE:
                    continue
                case _:
                    return None  # of what follows nothing is whole, else it were the newest whole book
        last = update
    return None if last is None else (book, last)


def _begun(whole: BookUpdate) -> Chain:
    chain = Chain()
    if whole.source == "backfill":  # out of REST: the next update may begin before it
        chain.splice(whole)
    else:
        chain.judge(msgspec.structs.replace(whole, action="snapshot"))
    return chain


def _whole_before(
    store: Store, query: Query, series: Series, until: int, *, simulated: bool
) -> BookUpdate | None:
    """Find the newest whole book before ``until`` (ns)."""
    span = Span(query.span.since, until)
    found = _updates(store, query, series, span, simulated=simulated, descending=True)
    return next((update for update in found if update.action in WHOLE), None)


def _newest(store: Store, query: Query, series: Series, *, simulated: bool) -> int:
    span = Span(0, query.span.until)
    newest = next(_updates(store, query, series, span, simulated=simulated, descending=True), None)
    return 0 if newest is None or newest.timestamp is None else newest.timestamp


def _updates(
    store: Store, query: Query, series: Series, span: Span, *, simulated: bool, descending: bool = False
) -> Iterator[BookUpdate]:
    asked = msgspec.structs.replace(query, span=span)
    return records_of(_UPDATES, of_series(store, asked, series, simulated=simulated, descending=descending))


def _sample(book: Book, last: BookUpdate, depth: int, group: Decimal | None) -> OrderBook:
    bids, asks = book.best(depth, group)
    return OrderBook(
        last.timestamp, last.received_at, last.exchange, last.symbol, last.source, last.sequence, depth,
        None if group is None else f"{group:f}", bids, asks,
    )  # fmt: skip
