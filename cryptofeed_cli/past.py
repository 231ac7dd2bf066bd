"""What earlier runs left in the store about each symbol, read once at the start; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import msgspec

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.ids import missing_ranges
from cryptofeed_cli.stores.base import Series, Store
from cryptofeed_cli.types import KINDS, Gap, Instrument, Run

LOOKED_AT = 500
"""Of the latest trades, among which the highest id is looked for: times and ids may disagree by a little."""

DEAD_AFTER = 20 * SECOND
"""A recorder that has not shown itself for so long is dead; it does every 5 s."""


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


def recall(store: Store, exchange: str, symbols: Iterable[str]) -> dict[str, Past]:
    """Read the past of every symbol."""
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
    return pasts


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
