"""A store that is opened when it is first needed, and tried again until it answers; knows no database.

One that turns out damaged before anything is recorded is set aside, and another one takes its place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cryptofeed_cli.errors import StoreDamaged, StoreError, StoreRefused, StoreUnreachable
from cryptofeed_cli.stores.base import Series, Span, Store, Tally, Written
from cryptofeed_cli.types import Kind, Record

LOG = logging.getLogger(__name__)


class LazyStore(Store):
    """Everything it does opens the store first, and raises what that raises: `StoreUnreachable` may pass."""

    def __init__(
        self, url: str, opener: Callable[[], Store], set_aside: Callable[[], Path | None] | None = None
    ) -> None:
        """``url`` is for messages. ``set_aside`` renames what is damaged and returns its new name; None: it cannot."""
        self.url = url
        self._opener = opener
        self._set_aside = set_aside
        self._store: Store | None = None

    def open(self) -> Store:
        """Open it, unless that is done. Raises `StoreError`."""
        if self._store is None:
            try:
                self._store = self._opener()
            except StoreDamaged as exc:
                self._replace(exc)
                self._store = self._opener()
        return self._store

    def keep(self) -> None:
        """Refuse from now on what is damaged: others may have the file open, and would disturb a new one's log."""
        self._set_aside = None

    def write(self, records: Sequence[Record]) -> Written:
        """Store a batch durably."""
        with self._opened() as store:
            return store.write(records)

    def now(self) -> int:
        """Return the store's own clock."""
        with self._opened() as store:
            return store.now()

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
        with self._opened() as store:
            yield from store.scan(kind, series, span=span, simulated=simulated, descending=descending)

    def series(self, kind: Kind, *, simulated: bool = False) -> list[Series]:
        """Return the series of a market kind that have records, sorted."""
        with self._opened() as store:
            return store.series(kind, simulated=simulated)

    def tally(
        self,
        kind: Kind,
        series: Series | None = None,
        *,
        span: Span = Span(),  # noqa: B008 - frozen
        simulated: bool = False,
    ) -> Tally:
        """Count one series, or a span of it."""
        with self._opened() as store:
            return store.tally(kind, series, span=span, simulated=simulated)

    def trade_ids(self, series: Series, first: int, last: int) -> Iterator[int]:
        """Yield the ids from ``first`` to ``last`` that are stored."""
        with self._opened() as store:
            yield from store.trade_ids(series, first, last)

    def remove(
        self, kind: Kind, series: Series | None, before: int, limit: int, *, simulated: bool = False
    ) -> int:
        """Remove the first records of one series."""
        with self._opened() as store:
            return store.remove(kind, series, before, limit, simulated=simulated)

    def shrink(self) -> bool:
        """Give back a little of the room that removed records had."""
        with self._opened() as store:
            return store.shrink()

    def close(self) -> None:
        """Let go of the database, if it was ever opened."""
        if self._store is not None:
            self._store.close()

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        """What turns out damaged is replaced, and then it is as if the store had not answered."""
        store = self.open()
        try:
            yield store
        except StoreDamaged as exc:
            aside = self._replace(exc)
            raise StoreUnreachable(self.url, f"was damaged, and is set aside as {aside.name}") from exc

    def _replace(self, damage: StoreDamaged) -> Path:
        if self._set_aside is None:
            raise damage
        store, self._store = self._store, None
        if store is not None:
            with suppress(StoreError):
                store.close()
        try:
            aside = self._set_aside()
        except OSError as exc:
            raise StoreRefused(self.url, f"{damage.reason}; it cannot be set aside: {exc.strerror}") from damage
        if aside is None:
            raise damage
        LOG.error(
            "store %s is damaged: set aside as %s, where `sqlite3 FILE .recover` reads what can be read; "
            "what is recorded from now on goes into a new file", self.url, aside,
        )  # fmt: skip
        return aside
