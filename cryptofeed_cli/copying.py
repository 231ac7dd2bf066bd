"""The records of one store brought into another one: in constant memory, resumable, and proven; knows no database.

What is copied is what was there at the start; a recorder may go on writing into the source. Gaps and runs come first: a
hole that is filled meanwhile is then told as open rather than as filled. A copy that was interrupted goes on, in every
series, at the last time that the target has, since writing something twice does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import islice, takewhile
from typing import Any

import msgspec

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import KINDS, Encoding, Kind, Record

BATCH = 2_000
"""Records written at once."""
LARGE_BATCH = 100
"""The same of kinds whose records may hold whole books."""
DIGEST_BYTES = 16

_LARGE = ("orderbooks", "book_updates")


class Portion(msgspec.Struct, frozen=True):
    """One series as it was at the start: everything up to its ``last`` time, in nanoseconds."""

    kind: Kind
    series: Series | None
    simulated: bool
    last: int | None
    """None: no record has a time."""
    unit: int = MILLISECOND
    """Nanoseconds in the unit that the kind is ranged by."""

    def time(self, record: Record) -> int | None:
        """Return what a record is ranged by, in nanoseconds."""
        value = getattr(record, self.kind.range[0])
        return None if value is None else value * self.unit

    def __str__(self) -> str:
        name = f"simulated_{self.kind.name}" if self.simulated else self.kind.name
        return name if self.series is None else f"{name} of {self.series.symbol}"


class Copied(msgspec.Struct):
    """What became of a series."""

    portion: Portion
    read: int = 0
    written: int = 0
    """Of those, how many the target did not have."""
    here: int = 0
    """How many there are in the source, as far as they were copied."""
    there: int = 0
    """How many there are in the target in the same time."""
    equal: bool = False
    """Whether both have the same records: the same number, and the same digest."""


class Digest:
    """The number and the sum of the hashes of records, with every field; their order does not matter."""

    def __init__(self, portion: Portion, records: Iterable[Any] = ()) -> None:
        self.count = self.total = 0
        self.first: int | None = None
        """When the first record was; None where it has no time."""
        self._portion = portion
        self._encode = msgspec.json.Encoder(order="deterministic").encode
        self.add(records)

    def add(self, records: Iterable[Any]) -> None:
        """Take records in."""
        for record in records:
            if not self.count:
                self.first = self._portion.time(record)
            self.count += 1
            self.total += int.from_bytes(blake2b(self._encode(record), digest_size=DIGEST_BYTES).digest())
        self.total %= 1 << 8 * DIGEST_BYTES

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and (self.count, self.total) == (other.count, other.total)

    __hash__ = None  # type: ignore[assignment]


def portions(source: Store) -> list[Portion]:
    """Return what there is to copy, in the order it is copied."""
    kinds = sorted(KINDS.values(), key=lambda kind: kind.market)
    return [
        _portion(source, kind, series, simulated=simulated)
        for kind in kinds
        for simulated in ((False, True) if kind.market else (False,))
        for series in (source.series(kind, simulated=simulated) if kind.market else (None,))
    ]


def _portion(source: Store, kind: Kind, series: Series | None, *, simulated: bool) -> Portion:
    unit = MILLISECOND if kind.encodings[kind.range[0]] is Encoding.MILLISECONDS else 1
    portion = Portion(kind, series, simulated, None, unit)
    last = next(source.scan(kind, series, simulated=simulated, descending=True), None)
    return portion if last is None else msgspec.structs.replace(portion, last=portion.time(last))


class Copier:
    """Copies portions. ``done`` tells what became of them, while it works."""

    def __init__(self, source: Store, target: Store) -> None:
        self.done: list[Copied] = []
        self._source, self._target = source, target

    def run(self, wanted: Iterable[Portion], watch: Callable[[], object] = lambda: None) -> None:
        """Copy and compare. ``watch`` is called after every batch. Raises a `StoreError` of either store."""
        for portion in wanted:
            self.done.append(copied := Copied(portion))
            begun = self._begun(portion)
            ours = self._transfer(copied, begun, watch)
            if begun is not None:
                ours = Digest(portion, _upto(self._source, portion))
            self._compare(copied, ours)
            if begun is not None and not copied.equal:
                # Something came, or was filled, before the time at which this copy went on.
                self._compare(copied, self._transfer(copied, None, watch))

    def _begun(self, portion: Portion) -> int | None:
        """Return the time from which a portion is to be copied; None: from its beginning."""
        if not portion.kind.market or portion.last is None:
            return None  # gaps and runs may have changed since
        span = Span(since=0, until=portion.last + 1)
        found = self._target.scan(
            portion.kind, portion.series, span=span, simulated=portion.simulated, descending=True
        )
        last = next(found, None)
        return None if last is None else portion.time(last)

    def _transfer(self, copied: Copied, since: int | None, watch: Callable[[], object]) -> Digest:
        portion = copied.portion
        records, digest = _upto(self._source, portion, since), Digest(portion)
        size = LARGE_BATCH if portion.kind.name in _LARGE else BATCH
        while batch := list(islice(records, size)):
            digest.add(batch)
            copied.written += self._target.write(batch).inserted
            copied.read += len(batch)
            watch()
        return digest

    def _compare(self, copied: Copied, ours: Digest) -> None:
        theirs = Digest(copied.portion, _upto(self._target, copied.portion, ours.first) if ours.count else ())
        copied.here, copied.there, copied.equal = ours.count, theirs.count, ours == theirs


def _upto(store: Store, portion: Portion, since: int | None = None) -> Iterator[Any]:
    """Yield the records of a portion, from a time on."""
    def within(record: Any) -> bool:
        at = portion.time(record)
        return at is None or (portion.last is not None and at <= portion.last)

    # A span that covers time itself is selected by overlap, and would leave out nothing before its start.
    bounded = since is not None and portion.kind.range[0] == portion.kind.range[1]
    span = Span(since=since) if bounded else Span()
    records = store.scan(portion.kind, portion.series, span=span, simulated=portion.simulated)
    later = (one for one in records if since is None or (at := portion.time(one)) is None or at >= since)
    return takewhile(within, later)
