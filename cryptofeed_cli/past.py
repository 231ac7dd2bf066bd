"""What earlier runs left in the store about each symbol, read once at the start; decides nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

import msgspec

from cryptofeed_cli.clock import MILLISECOND, MINUTE
from cryptofeed_cli.ids import Unnamed, missing_ranges
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import KINDS, Gap, Instrument

LOOKED_AT = 500
"""Of the latest trades, among which the highest id is looked for: times and ids may disagree by a little."""
UNSETTLED = MINUTE
"""A run that is killed may leave holes in its last trades that no gap names yet: they are given the time to close."""


class Past(msgspec.Struct):
    """One symbol as an earlier run left it. Absent: nothing of it is stored."""

    instrument: Instrument | None = None
    last_trade: tuple[int, int | None] | None = None
    """The highest trade id, and its exchange time."""
    last_times: dict[str, int] = {}
    """Exchange time of the last record, by channel."""
    outages: dict[str, Gap] = {}
    """Gaps that no end was recorded of, by channel."""
    holes: list[tuple[Gap, list[tuple[int, int]]]] = []
    """Gaps in trades that are open, and the ids still missing of each."""
    unnamed: list[Unnamed] = []
    """Holes that the last run did not live to name."""
    revisions: dict[str, int] = {}
    """Of the gaps that begin where the data ends: should one open there again, it is the same gap, and goes on."""


def recall(store: Store, exchange: str, symbols: Iterable[str]) -> dict[str, Past]:
    """Read the past of every symbol."""
    pasts = {symbol: _past(store, Series(exchange, symbol)) for symbol in symbols}
    named: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for gap in store.scan(KINDS["gaps"]):
        past = pasts.get(gap.symbol)
        if past is None or gap.exchange != exchange:
            continue
        ids = None
        if gap.channel == "trades" and gap.first_missing is not None and gap.last_missing is not None:
            ids = int(gap.first_missing), int(gap.last_missing)
            named[gap.symbol].append(ids)
        if gap.start is not None and gap.start >= past.last_times.get(gap.channel, gap.start):
            past.revisions[gap.gap_id] = gap.revision
        if gap.status not in ("open", "partial"):
            continue
        if gap.end is None:
            past.outages[gap.channel] = gap
        elif ids is not None:
            held = store.trade_ids(Series(exchange, gap.symbol), *ids)
            past.holes.append((gap, list(missing_ranges(*ids, held))))
    for symbol, past in pasts.items():
        past.unnamed = list(_unnamed(store, Series(exchange, symbol), past, named[symbol]))
    return pasts


def _past(store: Store, series: Series) -> Past:
    past = Past(instrument=next(store.scan(KINDS["instruments"], series, descending=True), None))
    trades = islice(store.scan(KINDS["trades"], series, descending=True), LOOKED_AT)
    past.last_trade = max(((int(trade.trade_id), trade.timestamp) for trade in trades), default=None)
    if past.last_trade is not None and past.last_trade[1] is not None:
        past.last_times["trades"] = past.last_trade[1]
    for kind in ("tickers", "orderbooks", "book_updates"):
        last = next(store.scan(KINDS[kind], series, descending=True), None)
        if last is not None and last.timestamp is not None:
            past.last_times[kind] = last.timestamp
    return past


def _unnamed(store: Store, series: Series, past: Past, named: list[tuple[int, int]]) -> Iterator[Unnamed]:
    """Yield the holes in the last trades of a series that none of the ``named`` ranges covers."""
    if "trades" not in past.last_times:
        return
    since = past.last_times["trades"] * MILLISECOND - UNSETTLED
    recent = store.scan(KINDS["trades"], series, span=Span(since=since))
    ordered = sorted((int(trade.trade_id), trade.timestamp) for trade in recent)
    for (before, start), (after, end) in pairwise(ordered):
        if after - before <= 1:
            continue
        # Of ids and times that disagree by a little some were left out above, and are no hole.
        for hole in missing_ranges(before + 1, after - 1, store.trade_ids(series, before + 1, after - 1)):
            for first, last in _outside(hole, named):
                yield Unnamed(first, last, start, end)


def _outside(hole: tuple[int, int], named: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    left = [hole]
    for low, high in named:
        left = [
            part
            for first, last in left
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        ]
    return left
