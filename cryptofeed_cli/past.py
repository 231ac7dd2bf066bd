"""What earlier runs left in the store about each symbol, read once at the start; decides nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice

import msgspec

from cryptofeed_cli.clock import HOUR, MILLISECOND, MINUTE, SECOND
from cryptofeed_cli.ids import Unnamed, missing_ranges, outside
from cryptofeed_cli.shards import WHOLE, parse_shard
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import KINDS, Gap, Instrument, Run

LOOKED_AT = 500
"""Of the latest trades, among which the highest id is looked for: times and ids may disagree by a little."""
UNSETTLED = MINUTE
"""A run that is killed may leave holes in its last trades that no gap names yet: they are given the time to close."""
MARGIN = HOUR
"""How much earlier is looked for what is missing in no gap's name where nobody looked: clocks may disagree."""
DEAD_AFTER = 20 * SECOND
"""A recorder that has not shown itself for so long is dead; it does every 5 s."""


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
    """What is missing in trades and in no gap: the last run was killed before it could say so, or never looked."""
    revisions: dict[str, int] = {}
    """Of the gaps that begin where the data ends: should one open there again, it is the same gap, and goes on."""


    def leave(self, channel: str) -> None:
        """Another recorder is at a channel: nothing was missed since it wrote last, and its gaps are its business.

        Not of trades, whose ids tell what was missed, whoever was there.
        """
        if channel != "trades":
            self.last_times.pop(channel, None)
            self.outages.pop(channel, None)


PAST_UNKNOWN = "past_unknown"
"""The counter of a run that has not learnt yet what earlier ones left: what was missed before it is in no gap."""


def recall(store: Store, exchange: str, symbols: Iterable[str], since: int | None = None) -> dict[str, Past]:
    """Read the past of every symbol.

    Trades that are missing in no gap's name are looked for among the last ones, from ``since`` on, in nanoseconds, and
    from the beginning of the first run on that never learnt its own past.
    """
    blind = [run.started_at for run in store.scan(KINDS["runs"]) if run.counters.get(PAST_UNKNOWN)]
    since = min([*blind, *(() if since is None else (since,))], default=None)
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
        past.unnamed = list(_unnamed(store, Series(exchange, symbol), past, sorted(named[symbol]), since, blind))
    return pasts


def _unnamed(
    store: Store,
    series: Series,
    past: Past,
    named: Sequence[tuple[int, int]],
    since: int | None,
    blind: Sequence[int],
) -> Iterator[Unnamed]:
    """Yield what is missing between the last trade before some time and the last one of all, unless a gap names it."""
    if past.last_trade is None:
        return
    begin = past.last_times.get("trades", 0) * MILLISECOND - UNSETTLED
    span = Span(since=max(begin if since is None else min(begin, since - MARGIN), 0))
    before = next(store.scan(KINDS["trades"], series, span=Span(until=span.since), descending=True), None)
    start = before or next(store.scan(KINDS["trades"], series, span=span), None)
    if start is None:
        return
    first, last = int(start.trade_id), past.last_trade[0]
    left = list(outside(missing_ranges(first, last, store.trade_ids(series, first, last)), named))
    edges = {number for low, high in left for number in (low - 1, high + 1)}
    times = {first: start.timestamp}
    times |= {
        int(trade.trade_id): trade.timestamp
        for trade in (store.scan(KINDS["trades"], series, span=span) if left else ())
        if int(trade.trade_id) in edges
    }
    for low, high in left:
        since_when, until_when = times.get(low - 1), times.get(high + 1)
        begun = any((since_when or 0) <= at // MILLISECOND <= (until_when or at) for at in blind)
        yield Unnamed(low, high, since_when, until_when, unattended=begun)


def blind_no_more(store: Store, pasts: Mapping[str, Past]) -> list[Run]:
    """Return the runs that never learnt their past, as they are when nothing is missing in no gap's name any more.

    Those that may have recorded other symbols too, of which trades are stored, stay as they are.
    """
    if any(past.unnamed for past in pasts.values()):
        return []
    others = [one.symbol for one in store.series(KINDS["trades"]) if one.symbol not in pasts]
    return [
        msgspec.structs.replace(run, counters={**run.counters, PAST_UNKNOWN: 0})
        for run in store.scan(KINDS["runs"])
        if run.counters.get(PAST_UNKNOWN) and not any(_may_have_recorded(run, symbol) for symbol in others)
    ]


def _may_have_recorded(run: Run, symbol: str) -> bool:
    record = run.config.get("record", {})
    shard = parse_shard(record["shard"]) if "shard" in record else WHOLE
    patterns = (pattern.replace("[", "[[]") for pattern in record.get("symbols", ()))
    return any(fnmatchcase(symbol, pattern) for pattern in patterns) and shard.holds(symbol)


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


def living(store: Store, run: Run, alive: Callable[[int], bool]) -> list[Run]:
    """Return the other runs of this machine that go on for sure: of others only the past is known."""
    return [
        other
        for other in store.scan(KINDS["runs"])
        if other.state == "running" and other.run_id != run.run_id and other.host == run.host and alive(other.pid)
    ]


def ended_unseen(store: Store, run: Run, alive: Callable[[int], bool]) -> list[Run]:
    """Return the runs that say they are running and are not, as they ended: failed, when they were last heard of.

    Those are earlier ones of the recorder whose ``run`` begins, those on its machine of which no process is
    ``alive``, and those on others that have been silent for too long.
    """
    now = store.now()

    def is_over(other: Run) -> bool:
        if other.state != "running" or other.run_id == run.run_id:
            return False
        if other.host == run.host:  # its signs of life may wait behind its data
            return other.name == run.name or not alive(other.pid)
        return now - other.heartbeat_at > DEAD_AFTER

    return [
        msgspec.structs.replace(other, state="failed", ended_at=other.heartbeat_at)
        for other in store.scan(KINDS["runs"])
        if is_over(other)
    ]
