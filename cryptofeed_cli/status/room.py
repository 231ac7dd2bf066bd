"""How much room the store takes, how fast it grows, and when its disk will be full."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from cryptofeed_cli.clock import DAY, MILLISECOND, MINUTE
from cryptofeed_cli.status.report import RoomStatus, SeriesStatus
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import KINDS, Encoding

SHORTEST = 10 * MINUTE
"""What was recorded for a shorter time says nothing of a day."""


def measure_room(store: Store, series: Iterable[SeriesStatus], data_directory: Path, now: int) -> RoomStatus:
    """Measure and forecast. ``series`` is what is stored; ``now`` is the store's clock.

    The growth is the share of all records that is of the last day, or of the time since the first one where that is
    less, times the size: as much as a record takes on average, whatever its kind.
    """
    told = store.room()
    growth = None if told.size is None else _growth(store, list(series), told.size, now)
    left = None if not growth or told.free is None else round(told.free / growth, 1)
    return RoomStatus(told.size, told.free, _free(data_directory), growth, left)


def _growth(store: Store, series: list[SeriesStatus], size: int, now: int) -> int | None:
    total = sum(one.records for one in series)
    recent, begin = 0, now
    for one in series:
        kind, of = KINDS[one.kind], Series(one.exchange, one.symbol)
        tally = store.tally(kind, of, span=Span(since=now - DAY, until=now), simulated=one.simulated)
        recent += tally.count
        if tally.first is not None:
            milliseconds = kind.encodings[kind.range[0]] is Encoding.MILLISECONDS
            begin = min(begin, tally.first * (MILLISECOND if milliseconds else 1))
    span = now - begin
    if not total or span < SHORTEST:
        return None
    return size * recent * DAY // (total * span)


def _free(directory: Path) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None
