"""What earlier runs left in the store about each symbol, read once at the start; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from cryptofeed_cli.clock import HOUR, SECOND
from cryptofeed_cli.ids import missing_ranges, outside
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import KINDS, Gap, Instrument, Run

LOOKED_AT = 500
"""Of the latest trades, among which the highest id is looked for: times and ids may disagree by a little."""

MARGIN = HOUR
"""How much earlier is looked for what is missing in no gap's name: clocks may disagree."""
DEAD_AFTER = 20 * SECOND
"""A recorder that has not shown itself for so long is dead; it does every 5 s."""


class Unnamed(msgspec.Struct, frozen=True):
    """Trade ids ``first..last`` that are missing, with the exchange times of the trades on either side."""

    first: int
    last: int
    start: int | None
    end: int | None


class Past(msgspec.Struct):
    """One symbol as an earlier run left it. Absent: nothing of it is stored."""

    instrument: Instrument | None = None
    last_trade: tuple[int, int | None] | None = None
    """The highest trade id, and its exchange time."""
    last_times: dict[str, int] = {}
    """Exchange time of the last ticker, sample and book update, by kind."""
    outages: dict[str, Gap] = {}
    """Gaps that no end was recorded of, by channel."""
    holes: list[tuple[Gap, list[tuple[int, int]]]] = []
    """Gaps in trades that are open, and the ids still missing of each."""
    unnamed: list[Unnamed] = []
    """What is missing in trades and in no gap."""


PAST_UNKNOWN = "past_unknown"
"""The counter of a run that has not learnt yet what earlier ones left: what was missed before it is in no gap."""


def recall(store: Store, exchange: str, symbols: Iterable[str], since: int | None = None) -> dict[str, Past]:
    """Read the past of every symbol.

    Trades that are missing in no gap's name are looked for from ``since`` on, in nanoseconds, and from the beginning
    of the first run on that never learnt its own past.
    """
    blind = [run.started_at for run in store.scan(KINDS["runs"]) if run.counters.get(PAST_UNKNOWN)]
    since = min([*blind, *(() if since is None else (since,))], default=None)
    pasts = {symbol: _past(store, Series(exchange, symbol)) for symbol in symbols}
    for gap in store.scan(KINDS["gaps"]):
        past = pasts.get(gap.symbol)
        if past is None or gap.exchange != exchange or gap.status not in ("open", "partial"):
            continue
        if gap.end is None:
            past.outages[gap.channel] = gap
        elif gap.channel == "trades" and gap.first_missing is not None and gap.last_missing is not None:
            first, last = int(gap.first_missing), int(gap.last_missing)
            held = store.trade_ids(Series(exchange, gap.symbol), first, last)
            past.holes.append((gap, list(missing_ranges(first, last, held))))
    if since is not None:
        span = Span(since=max(since - MARGIN, 0))
        for symbol, past in pasts.items():
            past.unnamed = list(_unnamed(store, Series(exchange, symbol), past, span))
    return pasts


def _unnamed(store: Store, series: Series, past: Past, span: Span) -> Iterator[Unnamed]:
    """Yield what is missing between the last trade before a span and the last one in it, unless a gap names it."""
    before = next(store.scan(KINDS["trades"], series, span=Span(until=span.since), descending=True), None)
    begin = before or next(store.scan(KINDS["trades"], series, span=span), None)
    if begin is None or past.last_trade is None:
        return
    first, last = int(begin.trade_id), past.last_trade[0]
    missing = list(missing_ranges(first, last, store.trade_ids(series, first, last)))
    if not missing:
        return
    named = _named(gap for gap in store.scan(KINDS["gaps"]) if Series(gap.exchange, gap.symbol) == series)
    left = list(outside(missing, named))
    edges = {number for low, high in left for number in (low - 1, high + 1)}
    times = {first: begin.timestamp}
    times |= {
        int(trade.trade_id): trade.timestamp
        for trade in (store.scan(KINDS["trades"], series, span=span) if left else ())
        if int(trade.trade_id) in edges
    }
    for low, high in left:
        yield Unnamed(low, high, times.get(low - 1), times.get(high + 1))


def _named(gaps: Iterable[Gap]) -> list[tuple[int, int]]:
    """Return the ranges of trade ids that gaps name."""
    return sorted(
        (int(gap.first_missing), int(gap.last_missing))
        for gap in gaps
        if gap.channel == "trades" and gap.first_missing is not None and gap.last_missing is not None
    )


def blind_no_more(store: Store, pasts: Mapping[str, Past]) -> list[Run]:
    """Return the runs that never learnt their past, as they are when nothing is missing in no gap's name any more.

    Those that recorded other symbols too stay as they are.
    """
    if any(past.unnamed for past in pasts.values()):
        return []
    return [
        msgspec.structs.replace(run, counters={**run.counters, PAST_UNKNOWN: 0})
        for run in store.scan(KINDS["runs"])
        if run.counters.get(PAST_UNKNOWN) and pasts.keys() >= {*run.config.get("record", {}).get("symbols", ())}
    ]


def _past(store: Store, series: Series) -> Past:
    past = Past(instrument=next(store.scan(KINDS["instruments"], series, descending=True), None))
    trades = islice(store.scan(KINDS["trades"], series, descending=True), LOOKED_AT)
    past.last_trade = max(((int(trade.trade_id), trade.timestamp) for trade in trades), default=None)
    for kind in ("tickers", "orderbooks", "book_updates"):
        last = next(store.scan(KINDS[kind], series, descending=True), None)
        if last is not None and last.timestamp is not None:
            past.last_times[kind] = last.timestamp
    return past


def ended_unseen(store: Store, run: Run, alive: Callable[[int], bool]) -> list[Run]:
    """Return the runs that say they are running and are not, as they ended: failed, when they were last heard of.

    Those are earlier ones of the recorder whose ``run`` begins, those on its machine of which no process is
    ``alive``, and whoever has been silent for too long.
    """
    now = store.now()

    def is_over(other: Run) -> bool:
        if other.state != "running" or other.run_id == run.run_id:
            return False
        here = other.host == run.host
        return now - other.heartbeat_at > DEAD_AFTER or (here and (other.name == run.name or not alive(other.pid)))

    return [
        msgspec.structs.replace(other, state="failed", ended_at=other.heartbeat_at)
        for other in store.scan(KINDS["runs"])
        if is_over(other)
    ]
