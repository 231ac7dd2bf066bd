"""A store that is opened when it is first needed, and tried again until it answers; knows no database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cryptofeed_cli.stores.base import Series, Span, Store, Tally, Written
from cryptofeed_cli.types import Kind, Record


class LazyStore(Store):
    """Everything it does opens the store first, and raises what that raises: `StoreUnreachable` may pass."""

    def __init__(self, url: str, opener: Callable[[], Store]) -> None:
        """``url`` is for messages."""
        self.url = url
        self._opener = opener
        self._store: Store | None = None

    def open(self) -> Store:
        """Open it, unless that is done. Raises `StoreError`."""
        if self._store is None:
            self._store = self._opener()
        return self._store

    def write(self, records: Sequence[Record]) -> Written:
        """Store a batch durably."""
        return self.open().write(records)

    def now(self) -> int:
        """Return the store's own clock."""
        return self.open().now()

    def scan(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
        descending: bool = False,
    ) -> Iterator[Any]:
        """Yield the records of one series in the kind's order."""
        return self.open().scan(kind, series, span=span, simulated=simulated, descending=descending)

    def series(self, kind: Kind, *, simulated: bool = False) -> list[Series]:
        """Return the series of a market kind that have records, sorted."""
        return self.open().series(kind, simulated=simulated)

    def tally(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
    ) -> Tally:
        """Count one series, or a span of it."""
        return self.open().tally(kind, series, span=span, simulated=simulated)

    def trade_ids(self, series: Series, first: int, last: int) -> Iterator[int]:
        """Yield the ids from ``first`` to ``last`` that are stored."""
        return self.open().trade_ids(series, first, last)

    def remove(
        self, kind: Kind, series: Series | None, before: int, limit: int, *, simulated: bool = False
    ) -> int:
        """Remove the first records of one series."""
        return self.open().remove(kind, series, before, limit, simulated=simulated)

    def shrink(self) -> bool:
        """Give back a little of the room that removed records had."""
        return self.open().shrink()

    def close(self) -> None:
        """Let go of the database, if it was ever opened."""
        if self._store is not None:
            self._store.close()
