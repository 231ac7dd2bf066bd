"""Recorded records on one timeline, printed at the pace of their own times or faster; chooses no store and no place.

The order is the same every time: by the time of the exchange, then kind by kind in the order they are documented, and
within a kind that of every output. A gap stands behind the last record before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from hashlib import blake2b
from heapq import merge
from io import BytesIO
from itertools import groupby, islice, repeat
from operator import itemgetter
from typing import BinaryIO

import msgspec

from cryptofeed_cli import queries
from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock
from cryptofeed_cli.completeness import Hole, ledgers
from cryptofeed_cli.errors import Incomplete
from cryptofeed_cli.output import Fields, write_jsonl
from cryptofeed_cli.output.text import JsonLines
from cryptofeed_cli.printable import escape_lines
from cryptofeed_cli.queries import Query
from cryptofeed_cli.stores.base import Page, Store
from cryptofeed_cli.types import CHANNELS, KINDS, Gap

LATE = SECOND // 4
"""Whoever was held up for longer (a paused process, a reader that did not read) goes on from there, without a burst."""
_AT_ONCE = 1024
"""Records written at once where nothing is waited for."""

Entry = tuple[int, int, "bytes | Gap"]
"""The time in milliseconds, the place among what has the same time, and a line or a gap."""


class OnGap(StrEnum):
    """What becomes of a gap in what is replayed."""

    ignore = "ignore"
    mark = "mark"
    stop = "stop"


class Replayed(msgspec.Struct, frozen=True):
    """What was replayed."""

    records: int
    gaps: int
    digest: str
    """BLAKE2b of every byte, 128 bits in hexadecimal."""


class Pace:
    """Lets recorded time pass ``speed`` times as fast as a clock."""

    def __init__(self, speed: float, clock: Clock, wait: Callable[[float], bool]) -> None:
        """``wait`` takes seconds, and returns early, and true, when all is over."""
        self._speed, self._clock, self._wait = speed, clock, wait
        self._from: tuple[int, int] | None = None

    def reached(self, time: int) -> bool:
        """Wait for a recorded time, in milliseconds since 1970; return false where all is over before it."""
        now = self._clock.monotonic()
        if self._from is None:
            self._from = now, time
        due = self._due(time)
        while (missing := due - now) > 0:
            if self._wait(missing / SECOND):
                return False
            now = self._clock.monotonic()
        if now - due > LATE:
            self._from = now, time
        return True

    def _due(self, time: int) -> int:
        began, first = self._from or (0, 0)
        return began + int((time - first) * MILLISECOND / self._speed)


def replay(
    store: Store,
    wanted: Sequence[Query],
    out: BinaryIO,
    *,
    on_gap: OnGap = OnGap.ignore,
    pace: Pace | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Replayed:
    """Print what queries ask for, one for each kind, as JSON lines on one timeline; ``pace`` None: as fast as it can.

    ``over`` is asked between records whether to end early. Raises `Incomplete` at a gap where those stop, everything
    before it being written; `OSError` as it comes.
    """
    streams = [_entries(store, query, out) for query in sorted(wanted, key=_place)]
    if on_gap is not OnGap.ignore:
        streams.append(_gaps(store, wanted))
    timeline = streams[0] if len(streams) == 1 else merge(*streams, key=itemgetter(0, 1))
    return play(timeline, out, stop_at_gaps=on_gap is OnGap.stop, pace=pace, over=over)


def replay_frames(
    store: Store,
    wanted: Sequence[Query],
    frames: Iterator[tuple[int, list[bytes]]],
    out: BinaryIO,
    *,
    stop_at_gaps: bool = False,
    pace: Pace | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Replayed:
    """Print frames, given by their times, one a line, as `replay` prints records."""
    timeline: Iterator[Entry] = ((time, 0, frame) for time, several in frames for frame in several)
    if stop_at_gaps:
        timeline = merge(timeline, _gaps(store, wanted), key=itemgetter(0, 1))
    return play(timeline, out, stop_at_gaps=stop_at_gaps, pace=pace, over=over)


def play(
    timeline: Iterator[Entry],
    out: BinaryIO,
    *,
    stop_at_gaps: bool,
    pace: Pace | None,
    over: Callable[[], bool],
) -> Replayed:
    """Print a timeline at its pace. Raises as `replay` does."""
    told = _Printer(out)
    for time, entries in _moments(timeline) if pace else _batches(timeline):
        if over() or (pace is not None and not pace.reached(time)):
            break
        stopped_by = told.put(entries, stop=stop_at_gaps)
        if stopped_by is not None:
            hole = Hole(stopped_by.start, stopped_by.end, f"{stopped_by.kind} gap ({stopped_by.status})")
            raise Incomplete(f"stopped at a gap in {stopped_by.channel} of {stopped_by.symbol}: {hole}")
    return told.total()


class _Printer:
    def __init__(self, out: BinaryIO) -> None:
        self._out, self._digest = out, blake2b(digest_size=16)
        self._terminal = out.isatty()
        self._records = self._gaps = 0

    def put(self, entries: Sequence[Entry], *, stop: bool) -> Gap | None:
        """Write what came up to the first gap that is to stop it, and return that."""
        lines: list[bytes] = []
        found = None
        for _, _, one in entries:
            if isinstance(one, bytes):
                lines.append(one)
            elif stop:
                found = one
                break
            else:
                self._gaps += 1
                lines.append(_line(one))
        if lines:
            data = b"\n".join(lines) + b"\n"
            self._digest.update(data)
            self._out.write(escape_lines(data.decode()).encode() if self._terminal else data)
            self._out.flush()
        self._records += len(lines)
        return found

    def total(self) -> Replayed:
        return Replayed(self._records - self._gaps, self._gaps, self._digest.hexdigest())


def _place(query: Query) -> int:
    return CHANNELS.index(query.kind)


def _moments(timeline: Iterator[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    """Yield what has one time together."""
    return ((time, list(entries)) for time, entries in groupby(timeline, key=itemgetter(0)))


def _batches(timeline: Iterator[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    while entries := list(islice(timeline, _AT_ONCE)):
        yield entries[-1][0], entries


def _entries(store: Store, query: Query, out: BinaryIO) -> Iterator[Entry]:
    kind, place = query.what, _place(query)
    column = kind.record.__struct_fields__.index(kind.order[0])
    for page, lines in _printed(queries.pages(store, query), JsonLines(Fields(kind), out)):
        yield from zip(page[column], repeat(place), lines, strict=False)


def _printed(pages: Iterator[Page], printer: JsonLines) -> Iterator[tuple[Page, list[bytes]]]:
    return ((page, printer.lines(page).splitlines()) for page in pages)


def _gaps(store: Store, wanted: Sequence[Query]) -> Iterator[Entry]:
    """Yield the gaps that may hide a loss of what is asked for, in the order of their beginnings."""
    found: dict[str, Gap] = {}
    known = ledgers(store, wanted[0].span)
    for query in wanted:
        for simulated in queries.twins(query):
            for series in queries.chosen(store, query, simulated=simulated):
                found |= {gap.gap_id: gap for gap in known.doubtful(series.exchange, series.symbol, query.kind)}
    since = wanted[0].span.since
    first = -1 if since is None else since // MILLISECOND
    for gap in sorted(found.values(), key=_gap_order):
        start = -1 if gap.start is None else gap.start
        yield (start, len(CHANNELS), gap) if start >= first else (first, -1, gap)


def _gap_order(gap: Gap) -> tuple[int, str, str, str]:
    return -1 if gap.start is None else gap.start, gap.symbol, gap.channel, gap.gap_id


def _line(gap: Gap) -> bytes:
    stream = BytesIO()
    write_jsonl(KINDS["gaps"], [gap], stream)
    return stream.getvalue().removesuffix(b"\n")
