"""Old records removed on purpose, in small steps beside whoever records, and told in the ledger; knows no database.

A gap of kind ``pruned`` is written before the first record goes, so that what is missing is never taken for a loss.
It is one per symbol and channel, and grows. Of books everything stays that is needed to rebuild them at any later time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Event as Flag

import msgspec

from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock
from cryptofeed_cli.config import nearest
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.gaps import gap_id
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import CHANNELS, KINDS, Encoding, Gap, Kind

STEP = 500
"""Records removed at once: whoever writes to the same file waits for that long at most."""
LARGE_STEP = 50
"""The same of kinds whose records may hold whole books."""
REST = 4
"""How much longer than a step took the store is left alone after it."""
SHORTEST_REST = 0.02

_LARGE = ("orderbooks", "book_updates")
_KEPT = ("gaps", "runs")
_REASON = "removed on purpose"


class Portion(msgspec.Struct, frozen=True):
    """What goes of one series."""

    kind: Kind
    series: Series | None
    simulated: bool
    first: int
    """When its first record was, in nanoseconds."""
    until: int
    """When the first record that stays was, or may be, in nanoseconds."""


def prunable(name: str | None) -> tuple[Kind, ...]:
    """Return the kinds that ``--kind`` means, by default everything that grows with the market.

    Raises `UsageError` for a kind that is never removed, or unknown.
    """
    if name is None:
        return tuple(kind for kind in KINDS.values() if kind.market)
    if name in _KEPT:
        raise UsageError(f"{name} are never removed: they tell what was recorded, and what was not")
    if name not in KINDS:
        known = [kind for kind in KINDS if kind not in _KEPT]
        near = nearest(name, known)
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"unknown kind {name!r}{hint} (kinds: {', '.join(known)})")
    return (KINDS[name],)


def portions(store: Store, kinds: Iterable[Kind], before: int) -> Iterator[Portion]:
    """Yield what is older than an instant (nanoseconds) and may go, by kind and symbol."""
    for kind in kinds:
        for simulated in (False, True) if kind.market else (False,):
            for series in store.series(kind, simulated=simulated) if kind.market else (None,):
                portion = _portion(store, kind, series, before, simulated=simulated)
                if portion is not None:
                    yield portion


def count(store: Store, portion: Portion) -> int:
    """Count the records of a portion."""
    span = Span(until=portion.until)
    return store.tally(portion.kind, portion.series, span=span, simulated=portion.simulated).count


class Pruner:
    """Removes portions. ``removed`` counts records by portion, while it works."""

    def __init__(self, store: Store, clock: Clock, stop: Flag) -> None:
        """It ends early, and cleanly, once ``stop`` is set."""
        self.removed: dict[Portion, int] = {}
        self._store, self._clock, self._stop = store, clock, stop

    def run(self, doomed: Iterable[Portion], watch: Callable[[], object] = lambda: None) -> None:
        """Record what goes, remove it, and give the room back. ``watch`` is called after every step.

        Raises a `StoreError` where the store does not answer; what was removed is recorded then, and a bit more.
        """
        doomed = list(doomed)
        self._declare([portion for portion in doomed if not portion.simulated and portion.kind.name in CHANNELS])
        for portion in doomed:
            self.removed[portion] = 0
            step = LARGE_STEP if portion.kind.name in _LARGE else STEP
            while not self._stop.is_set() and (gone := self._gently(lambda: self._remove(portion, step))):  # noqa: B023
                self.removed[portion] += gone
                watch()
        while not self._stop.is_set() and self._gently(self._store.shrink):
            watch()

    def _remove(self, portion: Portion, step: int) -> int:
        gone = self._store.remove(
            portion.kind, portion.series, portion.until, step, simulated=portion.simulated
        )
        self._store.shrink()
        return gone

    def _gently(self, work: Callable[[], int]) -> int:
        """Do a step, and leave the store alone for a while after it."""
        begun = self._clock.monotonic()
        outcome = work()
        took = (self._clock.monotonic() - begun) / SECOND
        self._stop.wait(max(SHORTEST_REST, REST * took))
        return outcome

    def _declare(self, doomed: list[Portion]) -> None:
        """Record the gaps; as often as it takes, since another recorder may be pruning the same store."""
        while doomed:
            known = {gap.gap_id: gap for gap in self._store.scan(KINDS["gaps"]) if gap.kind == "pruned"}
            now = self._clock.now()
            due = [gap for portion in doomed if (gap := _gap(portion, known, now)) is not None]
            if not due:
                return
            self._store.write(due)


def _portion(store: Store, kind: Kind, series: Series | None, before: int, *, simulated: bool) -> Portion | None:
    first = next(store.scan(kind, series, span=Span(since=0), simulated=simulated), None)
    if first is None:
        return None
    field = kind.range[0]
    unit = MILLISECOND if kind.encodings[field] is Encoding.MILLISECONDS else 1
    begin = getattr(first, field) * unit
    until = _until(store, kind, series, before, simulated=simulated) if begin < before else before
    return Portion(kind, series, simulated, begin, until) if begin < until else None


def _until(store: Store, kind: Kind, series: Series | None, before: int, *, simulated: bool) -> int:
    """Return where what stays begins: with the book, or the version of an instrument, that was in force."""
    if kind.name not in ("book_updates", "instruments"):
        return before
    for record in store.scan(kind, series, span=Span(until=before + 1), simulated=simulated, descending=True):
        if kind.name == "instruments":
            return int(record.received_at)
        if record.action != "update":
            return int(record.timestamp) * MILLISECOND
    return before  # updates of a book whose beginning is gone are of no use


def _gap(portion: Portion, known: dict[str, Gap], now: int) -> Gap | None:
    """Return the gap of a portion, or the next revision of it; None: it is recorded already."""
    exchange, symbol = portion.series or ("", "")
    start, end = portion.first // MILLISECOND, -(-portion.until // MILLISECOND)
    # Its lower bound is the beginning of everything, so whoever prunes means the same gap.
    identity = gap_id(exchange, symbol, portion.kind.name, "pruned", "")
    before = known.get(identity)
    if before is not None:
        start, end = min(start, before.start or start), max(end, before.end or end)
        if (start, end) == (before.start, before.end):
            return None
    return Gap(
        gap_id=identity, run_id="", exchange=exchange, symbol=symbol, channel=portion.kind.name, kind="pruned",
        fault="us", start=start, end=end, first_missing=None, last_missing=None, missing=None, filled=0,
        status="unrecoverable", reason=_REASON, revision=1 if before is None else before.revision + 1, updated_at=now,
    )  # fmt: skip
