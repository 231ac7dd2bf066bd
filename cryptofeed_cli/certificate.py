"""Proof that a day of trades is complete: ids without a hole, and the exchange's own candles as second witness.

The ids prove what lies between the first and the last of them; the volume of every minute proves the edges too, and
that nothing stored is wrong. A day that is not proven says where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice

import msgspec

from cryptofeed_cli.clock import DAY, MILLISECOND, MINUTE, format_milliseconds
from cryptofeed_cli.errors import AnswerRefused, ExchangeError
from cryptofeed_cli.exchanges.base import Candle, Exchange
from cryptofeed_cli.ids import missing_ranges
from cryptofeed_cli.rest import Response
from cryptofeed_cli.stores.base import Series, Span, Store
from cryptofeed_cli.types import KINDS

NAMED = 20
"""How many problems of one sort are named; the rest is counted."""
ATTEMPTS = 5
"""How often one page of candles is asked for."""
_MINUTE_MS = MINUTE // MILLISECOND

Ask = Callable[[str], Response]
"""Asks the exchange politely; raises `ExchangeError` where it cannot be asked."""


class Certificate(msgspec.Struct, frozen=True):
    """What could be proven of the trades of one symbol on one day."""

    symbol: str
    proven: bool
    trades: int
    first_id: str | None
    last_id: str | None
    minutes: int
    """Minutes whose volume equals the exchange's."""
    problems: list[str]
    """What is not proven."""
    notes: list[str]
    """What is worth knowing all the same."""


def certify(store: Store, exchange: Exchange, series: Series, day: int, ask: Ask | None) -> Certificate:
    """Examine one symbol. ``day`` is its first nanosecond; ``ask`` None: the exchange cannot be asked, ids only.

    Raises `ExchangeError` where the exchange does not answer.
    """
    count, first, last = 0, None, None
    volumes: dict[int, Decimal] = {}
    for trade in store.scan(KINDS["trades"], series, span=Span(day, day + DAY)):
        number = int(trade.trade_id)
        count += 1
        first = number if first is None else min(first, number)
        last = number if last is None else max(last, number)
        minute = trade.timestamp // _MINUTE_MS * _MINUTE_MS
        volumes[minute] = volumes.get(minute, Decimal(0)) + Decimal(trade.size)
    problems: list[str] = []
    notes: list[str] = []
    problems += _pruned(store, series, day // MILLISECOND)
    if first is not None and last is not None:
        _judge_ids(store, series, first, last, problems, notes)
    equal = 0
    if ask is None:
        problems.append("the exchange could not be asked for its candles")
    else:
        start = day // MILLISECOND
        candles = _candles(exchange, series.symbol, start, start + DAY // MILLISECOND, ask)
        equal = _judge_volumes(volumes, candles, start, problems)
    return Certificate(
        series.symbol, not problems, count, None if first is None else str(first), None if last is None else str(last),
        equal, problems, notes,
    )  # fmt: skip


def _pruned(store: Store, series: Series, start: int) -> Iterator[str]:
    """Tell whether some of the day was removed on purpose, which is no loss, and no proof."""
    for gap in store.scan(KINDS["gaps"]):
        mine = (gap.exchange, gap.symbol, gap.channel) == (*series, "trades")
        if mine and gap.kind == "pruned" and gap.end is not None and gap.end > start:
            yield f"removed on purpose up to {format_milliseconds(gap.end)}"


def _judge_ids(
    store: Store, series: Series, first: int, last: int, problems: list[str], notes: list[str]
) -> None:
    absent = [
        (int(gap.first_missing), int(gap.last_missing))
        for gap in store.scan(KINDS["gaps"])
        if gap.exchange == series.exchange
        and gap.symbol == series.symbol
        and gap.channel == "trades"
        and gap.status == "absent_at_source"
        and gap.first_missing is not None
        and gap.last_missing is not None
    ]
    missing = missing_ranges(first, last, store.trade_ids(series, first, last))
    lost: list[str] = []
    lacking: list[str] = []
    for low, high in missing:
        excused = any(start <= low and high <= end for start, end in absent)
        (lacking if excused else lost).append(f"{low}..{high}" if high > low else str(low))
    problems += _named("missing ids", lost)
    notes += _named("ids that the exchange lacks too", lacking)


def _judge_volumes(volumes: dict[int, Decimal], candles: dict[int, Candle], start: int, problems: list[str]) -> int:
    """Compare every minute of the day; return how many are equal."""
    equal = 0
    different: list[str] = []
    for minute in range(start, start + DAY // MILLISECOND, _MINUTE_MS):
        ours, candle = volumes.get(minute, Decimal(0)), candles.get(minute)
        if candle is None and not ours:
            continue  # neither knows of a trade: before a listing, say
        if candle is not None and candle.closed and Decimal(candle.volume) == ours:
            equal += 1
            continue
        theirs = "no candle" if candle is None else candle.volume if candle.closed else "an open candle"
        different.append(f"{format_milliseconds(minute)[11:16]} (stored {ours:f}, exchange {theirs})")
    if not equal and not different:
        problems.append("neither a trade nor a candle: nothing is known of this day")
    problems += _named("minutes whose volume differs", different)
    return equal


def _candles(exchange: Exchange, symbol: str, start: int, end: int, ask: Ask) -> dict[int, Candle]:
    found: dict[int, Candle] = {}
    before = end
    while before > start:
        page = [candle for candle in _page(exchange, symbol, before, ask) if candle.start < before]
        if not page:
            break
        found.update((candle.start, candle) for candle in page)
        before = min(candle.start for candle in page)
    return found


def _page(exchange: Exchange, symbol: str, before: int, ask: Ask) -> list[Candle]:
    path = exchange.candles_path(symbol, before)
    for attempt in range(ATTEMPTS):
        answer = ask(path)
        try:
            return exchange.parse_candles(answer.status, answer.body)
        except AnswerRefused as exc:
            if not exc.transient:
                return []  # delisted: no candle speaks for it
            if attempt == ATTEMPTS - 1:
                raise
    raise ExchangeError(f"{exchange.name} was not asked")


def _named(what: str, found: list[str]) -> Iterator[str]:
    if found:
        more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
        yield f"{what}: {', '.join(islice(found, NAMED))}{more}"
