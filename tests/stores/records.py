"""Records for the tests of stores and queries: one plain sample a kind, and any record at all."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import strategies as st

from cryptofeed_cli.clock import MAX_MILLISECONDS, MILLISECOND
from cryptofeed_cli.types import BookUpdate, Gap, Instrument, OrderBook, Reject, Run, Ticker, Trade

NOON = 1_795_003_200_000
"""2026-11-18T12:00:00Z, in milliseconds."""

SAMPLES: dict[str, Any] = {
    "trades": Trade(NOON, NOON * MILLISECOND, "OKX", "BTC-USDT", "live", "338000001", "91250.1", "0.05", "buy", True),
    "tickers": Ticker(
        NOON, NOON * MILLISECOND, "OKX", "BTC-USDT", "live", "91250.1", "0.05", "91250", "1", "91250.1", "2",
        "90000", "92000", "89000", "8350", "750000000", None, "90100",
    ),
    "orderbooks": OrderBook(
        NOON, NOON * MILLISECOND, "OKX", "BTC-USDT", "live", 51200400, 25, None, [("91250", "1")], [("91250.1", "2")]
    ),
    "book_updates": BookUpdate(
        NOON, NOON * MILLISECOND, "OKX", "BTC-USDT", "live", "update", 51200377, 51200400, [("91250", "1", 3)], []
    ),
    "instruments": Instrument(
        NOON, NOON * MILLISECOND, "OKX", "BTC-USDT", "live", "SPOT", "BTC", "USDT", None, "0.1", "0.00000001",
        "0.00001", None, None, None, 1548133413000, None, "live", '{"instId":"BTC-USDT"}',
    ),
    "gaps": Gap(
        "gap-1", "run-1", "OKX", "BTC-USDT", "trades", "trade_ids", "network", NOON, NOON + 500, "338000002",
        "338000009", 8, 0, "open", "ids 338000002 to 338000009 did not come", 1, NOON * MILLISECOND,
    ),
    "runs": Run(
        "run-1", "desk", "host", 4711, "1.0", {"record": {"symbols": ["BTC-USDT"]}}, NOON * MILLISECOND, None,
        "running", NOON * MILLISECOND, -12, {"trades": 1},
    ),
    "rejects": Reject(NOON * MILLISECOND, "OKX", "trades", "BTC-USDT", "not JSON", "{", "reject-1"),
}  # fmt: skip
MARKET = ("trades", "tickers", "orderbooks", "book_updates", "instruments")


def sample(kind: str, **changes: Any) -> Any:
    """Return the sample of a kind with other values in some fields."""
    return msgspec.structs.replace(SAMPLES[kind], **changes)


def numbered(kind: str, number: int) -> Any:
    """Return one of many records of a kind, each with a time and key of its own, absent values here and there."""
    at = NOON + number // 3
    own = {
        "trades": {"trade_id": str(number), "rpi": (True, False, None)[number % 3]},
        "tickers": {"last": str(number), "bid": None}, "orderbooks": {"sequence": number},
        "book_updates": {"prev_sequence": number or None, "sequence": number + 1},
        "instruments": {"received_at": NOON * MILLISECOND + number}, "gaps": {"gap_id": f"gap-{number}", "start": at},
        "runs": {"run_id": f"run-{number}", "started_at": at * MILLISECOND},
        "rejects": {"reject_id": f"reject-{number}", "received_at": at * MILLISECOND, "symbol": None},
    }  # fmt: skip
    return sample(kind, **({"timestamp": at} if kind in MARKET else {}), **own[kind])


def trade(trade_id: int, timestamp: int | None = NOON, **changes: Any) -> Trade:
    """Return a trade."""
    made: Trade = sample("trades", trade_id=str(trade_id), timestamp=timestamp, **changes)
    return made


def update(prev: int | None, sequence: int, **changes: Any) -> BookUpdate:
    """Return a change of a book."""
    made: BookUpdate = sample("book_updates", prev_sequence=prev, sequence=sequence, **changes)
    return made


def realistic_trades(count: int) -> list[Trade]:
    """Return trades as a busy market makes them: bursts within a millisecond, a wandering price, odd sizes."""
    rng = random.Random(1)
    made, now, price = [], NOON, 9_125_010
    for number in range(count):
        if rng.random() < 0.4:
            now += rng.randrange(1, 200)
            price += rng.randrange(-30, 31)
        made.append(
            trade(
                338_000_000 + number,
                now,
                received_at=now * MILLISECOND + rng.randrange(20_000_000, 90_000_000),
                price=f"{price / 100:.1f}",
                size=f"{rng.randrange(1, 100_000) / 100_000}",
                side=rng.choice(("buy", "sell")),
                rpi=rng.random() < 0.1,
            )
        )
    return made


# Everything that Unicode has, NUL and control characters included; halves of surrogate pairs are no text.
texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = texts.filter(bool)
numbers = st.integers(0, 2**63 - 1)
milliseconds = st.integers(0, MAX_MILLISECONDS)
levels = st.lists(st.tuples(texts, texts), max_size=3)
counted_levels = st.lists(st.tuples(texts, texts, numbers), max_size=3)
_numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_scalars = st.none() | st.booleans() | _numbers | texts
_keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
configurations = st.dictionaries(
    _keys, st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3))
)

_OWN = {
    "timestamp": st.none() | milliseconds, "received_at": numbers, "trade_id": numbers.map(str), "exchange": names,
    "symbol": names, "group": st.none() | names, "sequence": numbers, "prev_sequence": st.none() | numbers,
    "config": configurations, "counters": st.dictionaries(_keys, numbers, max_size=3),
    "start": st.none() | milliseconds, "run_id": names, "episode": numbers,
}  # fmt: skip


def records(kind: str, *, simulated: bool = False) -> st.SearchStrategy[Any]:
    """Return a strategy for any record of a kind that can come to a store."""
    record = type(SAMPLES[kind])
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(record):
        fields[field.name] = _OWN[field.name] if field.name in _OWN else _of(field.type, field.name, kind)
    if kind in MARKET:
        fields["source"] = st.just("simulated") if simulated else st.sampled_from(["live", "backfill"])
        if not simulated:
            fields["run_id"] = fields["episode"] = st.none()
    return st.builds(record, **fields)


def _of(hint: Any, name: str, kind: str) -> st.SearchStrategy[Any]:
    if name in ("bids", "asks"):
        return levels if kind == "orderbooks" else counted_levels
    described = msgspec.inspect.type_info(hint)
    options = described.types if isinstance(described, msgspec.inspect.UnionType) else (described,)
    return st.one_of(*map(_described, options))


def _described(option: Any) -> st.SearchStrategy[Any]:
    match option:
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return numbers
        case msgspec.inspect.LiteralType():
            return st.sampled_from(option.values)
        case msgspec.inspect.StrType():
            return texts
        case msgspec.inspect.Metadata():
            return _described(option.type)
    raise AssertionError(f"no strategy for {option}")
