"""How much is stored of every channel of every symbol, how fast and how late it came; knows no database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from io import BytesIO

from cryptofeed_cli.clock import MILLISECOND
from cryptofeed_cli.derived.candles import label
from cryptofeed_cli.derived.records import STATS, Stats
from cryptofeed_cli.output import Fields, Format, writer
from cryptofeed_cli.queries import Query, chosen, of_series, twins
from cryptofeed_cli.stores.base import Page, Series, Store, page_of
from cryptofeed_cli.types import CHANNELS

_EXACT_BELOW = 1_000


def measure(store: Store, query: Query) -> Iterator[Page]:
    """Yield one record for every channel of every symbol, by symbol. Of ``query`` the kind does not count."""
    found = []
    for channel in CHANNELS:
        of_channel = Query(channel, query.symbols, query.span, query.sources)
        for simulated in twins(of_channel):
            for series in chosen(store, of_channel, simulated=simulated):
                one = _measure(store, of_channel, series, simulated=simulated)
                if one is not None:
                    found.append(one)
    found.sort(key=lambda one: (one.symbol, one.exchange, one.source))
    if found:
        yield page_of(STATS, found)


def _measure(store: Store, query: Query, series: Series, *, simulated: bool) -> Stats | None:
    names = query.what.record.__struct_fields__
    sink = _Counter()
    lines = writer(Format.jsonl, Fields(query.what), sink)
    rows, lags = 0, Counter[int]()
    first = last = None
    for page in of_series(store, query, series, simulated=simulated):
        lines.write(page)
        columns = dict(zip(names, page, strict=True))
        rows += len(page[0])
        times = [time for time in columns["timestamp"] if time is not None]
        if times:
            first, last = times[0] if first is None else first, times[-1]
        lags.update(_lags(columns["timestamp"], columns["received_at"], columns["source"]))
    if not rows:
        return None
    seconds = Decimal((last or 0) - (first or 0)) / 1000
    rate = f"{rows / seconds:.3f}" if seconds else None
    return Stats(
        *series, query.kind, label(query, simulated=simulated), rows, rate, sink.size, first, last,
        *(percentile(lags, share) for share in (50, 90, 99)),
    )  # fmt: skip


def _lags(times: Sequence[int | None], receipts: Sequence[int], sources: Sequence[str]) -> Iterator[int]:
    for timestamp, received_at, source in zip(times, receipts, sources, strict=True):
        if timestamp is not None and source != "backfill":
            yield rounded_down((received_at - timestamp * MILLISECOND) // MILLISECOND)


def rounded_down(lag: int) -> int:
    """Keep three digits of what has more, so that not too many different lags are counted."""
    size = abs(lag)
    if size < _EXACT_BELOW:
        return lag
    unit = 10 ** (len(str(size)) - 3)
    return int(lag // unit * unit)


def percentile(counted: Counter[int], share: int) -> int | None:
    """Return the smallest value that ``share`` percent do not exceed (nearest rank); None of none."""
    rank = -(-counted.total() * share // 100)
    for value in sorted(counted):
        rank -= counted[value]
        if rank <= 0:
            return value
    return None


class _Counter(BytesIO):
    """Counts what is written to it, and forgets it."""

    size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.size += len(data)
        return len(data)
