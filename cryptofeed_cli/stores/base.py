"""The one narrow interface of every store; knows no database.

A market kind and its simulated twin never share a table: ``simulated=True`` reads the twin, and `Store.write` puts
every record with source ``simulated`` there, whatever its caller meant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from cryptofeed_cli.types import Kind, Record


class Series(NamedTuple):
    """The records of one symbol of one exchange."""

    exchange: str
    symbol: str


class Span(msgspec.Struct, frozen=True):
    """``[since, until)`` in nanoseconds; None: without that bound."""

    since: int | None = None
    until: int | None = None


class Written(msgspec.Struct, frozen=True):
    """What became of a batch: every record is one of these."""

    inserted: int = 0
    duplicates: int = 0
    """Already stored with the same content (or, for an upsert, with a higher revision)."""
    conflicts: int = 0
    """Same key, other content: the first one stays, the second one is kept in ``rejects``."""
    refused: int = 0
    """The database cannot hold it; kept in ``rejects`` with the reason."""


class Tally(msgspec.Struct, frozen=True):
    """How much of one series is stored. ``first`` and ``last`` are in the unit of the kind's range field."""

    series: Series | None
    count: int
    first: int | None
    last: int | None


class Room(NamedTuple):
    """How much a store takes on its disk, in bytes, and how much that has left; None: it does not tell."""

    size: int | None = None
    free: int | None = None


Page = list[Sequence[Any]]
"""Some records of one kind as columns: one for every field, in the order of the record. At least one record."""

FIRST_PAGE = 64
PAGE = 1024
"""How many records a page holds at most."""


def records_of(kind: Kind, pages: Iterable[Page]) -> Iterator[Any]:
    """Yield the records of pages."""
    return chain.from_iterable(map(kind.record, *page) for page in pages)


def page_of(kind: Kind, records: Sequence[Any]) -> Page:
    """Return records as a page."""
    return [list(map(attrgetter(name), records)) for name in kind.record.__struct_fields__]


class Store(ABC):
    """Records in, records out. Opened by `cryptofeed_cli.stores.open_store`; used by one thread at a time."""

    url: str
    """For messages: never with a password in it."""

    @abstractmethod
    def write(self, records: Sequence[Record]) -> Written:
        """Store a batch durably; on return it survives a power cut.

        Idempotent: what is stored already is counted, not stored again. Gaps are upserted when their revision is
        higher, runs always. What the database cannot hold is put into ``rejects`` and not tried again. Raises
        `StoreUnreachable` (the batch may be written again, whole) or `StoreRefused`.
        """

    @abstractmethod
    def now(self) -> int:
        """Return the store's own clock, in nanoseconds since 1970 UTC: the same for all who use it."""

    @abstractmethod
    def scan(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
        descending: bool = False,
    ) -> Iterator[Any]:
        """Yield the records of one series in the kind's order, in constant memory and without a long transaction.

        ``series`` is given for market kinds and None for the others. The range field selects ``[since, until)``; a
        span's two fields select by overlap, both ends included (an absent start or end is open). Any other record whose
        range field is None is yielded only when the span has no bound. Absent times come before all others.
        """

    def pages(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
        descending: bool = False,
        most: int = PAGE,
    ) -> Iterator[Page]:
        """Yield what `scan` yields in pages, small ones first: whoever wants a few records does not read many.

        Args: ``most`` is how many records a page holds at most. Stores override this where they can do it faster.
        """
        records = self.scan(kind, series, span=span, simulated=simulated, descending=descending)
        size = FIRST_PAGE
        while batch := list(islice(records, min(size, most))):
            yield page_of(kind, batch)
            size *= 4

    @abstractmethod
    def series(self, kind: Kind, *, simulated: bool = False) -> list[Series]:
        """Return the series of a market kind that have records, sorted."""

    @abstractmethod
    def tally(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
    ) -> Tally:
        """Count one series, or what `scan` would yield of a span of it, by an index.

        ``series`` is None for a kind that has none; not for kinds that cover a span of time themselves.
        """

    @abstractmethod
    def trade_ids(self, series: Series, first: int, last: int) -> Iterator[int]:
        """Yield the ids from ``first`` to ``last``, both included, of which real trades are stored, ascending."""

    @abstractmethod
    def remove(
        self, kind: Kind, series: Series | None, before: int, limit: int, *, simulated: bool = False
    ) -> int:
        """Remove the first records of one series, at most ``limit``, durably and in one short step; return how many.

        Only what has a time, and one before ``before`` (nanoseconds). Not for kinds that cover a span of time.
        """

    def shrink(self) -> bool:
        """Give a little of the room that removed records had back to the disk; return whether there is more."""
        return False

    def room(self) -> Room:
        """Return how much room it takes, indexes and logs included, and how much there is."""
        return Room()

    @abstractmethod
    def close(self) -> None:
        """Let go of the database. A second call does nothing."""
