"""Which documents of a series come next, as MongoDB filters; asks nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import DatetimeMS

from cryptofeed_cli.stores.base import Series, Span
from cryptofeed_cli.stores.layout import Layout, bounds
from cryptofeed_cli.stores.mongo_documents import Document
from cryptofeed_cli.stores.mongo_schema import sort_fields
from cryptofeed_cli.types import Encoding


class Passage:
    """One way through a series, page by page: over the records that have a time, or over those that have none.

    MongoDB compares values of one type only, so no one filter continues from absent times to real ones.
    """

    def __init__(self, layout: Layout, series: Series | None, span: Span, *, timed: bool, descending: bool) -> None:
        self._fields = sort_fields(layout)
        self._timed = timed
        self._descending = descending
        self._range = _between(layout, span)
        self._fixed = among(layout, series, Span())
        low, _ = bounds(layout.kind, span)
        if layout.ranged_by_span and low is not None:
            last = layout.kind.range[1]
            self._fixed["$and"] = [{"$or": [{last: None}, {last: {"$gte": _encoded(layout, last, low)}}]}]

    @property
    def sort(self) -> list[tuple[str, int]]:
        """The order of the documents."""
        return [(name, -1 if self._descending else 1) for name in self._fields]

    def after(self, document: Document | None) -> Document:
        """Return the filter for what follows a document; None: from the beginning."""
        first, rest = self._fields[0], self._fields[1:]
        query = dict(self._fixed)
        query[first] = dict(self._range) if self._timed else None
        if document is None:
            return query
        if self._timed:
            # Implied by what follows, and what makes the index start at the document.
            query[first]["$lte" if self._descending else "$gte"] = document[first]
            rest = self._fields
        query["$or"] = list(_behind(rest, document, "$lt" if self._descending else "$gt"))
        return query


def among(layout: Layout, series: Series | None, span: Span) -> Document:
    """Return the filter for the documents of a series within a span; not for kinds that cover a span themselves."""
    query: Document = {} if series is None else {"symbol": series.symbol, "exchange": series.exchange}
    return query if span == Span() else {**query, layout.kind.range[0]: _between(layout, span)}


def passages(layout: Layout, series: Series | None, span: Span, *, descending: bool) -> list[Passage]:
    """Return the passages through a series, in order."""
    timeless = layout.kind.order[0] in layout.optional and (layout.ranged_by_span or span == Span())
    ways = [False, True] if timeless else [True]
    if descending:
        ways.reverse()
    return [Passage(layout, series, span, timed=timed, descending=descending) for timed in ways]


def _between(layout: Layout, span: Span) -> Document:
    """The span, as a condition on the field that leads the order."""
    first = layout.kind.range[0]
    low, high = bounds(layout.kind, span)
    condition = {"$gte": _encoded(layout, first, 0 if low is None or layout.ranged_by_span else low)}
    if high is not None:
        condition["$lt"] = _encoded(layout, first, high)
    return condition


def _behind(fields: tuple[str, ...], document: Document, comparison: str) -> Iterator[Document]:
    for place, name in enumerate(fields):
        equal = {earlier: document[earlier] for earlier in fields[:place]}
        yield {**equal, name: {comparison: document[name]}}


def _encoded(layout: Layout, field: str, value: int) -> Any:
    return DatetimeMS(value) if layout.encodings[field] is Encoding.MILLISECONDS else value
