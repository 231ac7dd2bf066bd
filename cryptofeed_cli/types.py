"""The public vocabulary: every record that is stored or printed; knows nothing of exchanges or stores.

Prices, sizes and trade ids are strings exactly as the exchange sent them. ``None`` is absent, never zero.
Exchange times are integer milliseconds, our own times integer nanoseconds, both since 1970 UTC.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

Milliseconds = Annotated[int, "ms"]
"""Exchange time."""
Nanoseconds = Annotated[int, "ns"]
"""Our own time."""
Level = tuple[str, str]
"""``(price, size)``."""
CountedLevel = tuple[str, str, int]
"""``(price, size, orders)``; a size of ``"0"`` removes the price."""

Source = Literal["live", "backfill", "simulated"]
Side = Literal["buy", "sell"]
Action = Literal["snapshot", "update", "checkpoint"]
GapKind = Literal[
    "trade_ids", "sequence", "disconnect", "silence", "downtime",
    "writer", "clock", "not_subscribed", "pruned", "unproven",
]  # fmt: skip
GapStatus = Literal["open", "deferred", "filled", "partial", "absent_at_source", "unrecoverable"]
Fault = Literal["venue", "network", "us"]
RunState = Literal["running", "stopped", "failed"]


class MarketRecord(msgspec.Struct, frozen=True, gc=False):
    """The envelope that every market record begins with."""

    timestamp: Milliseconds | None
    """Exchange time; None where the exchange gave none."""
    received_at: Nanoseconds
    """Our clock when the frame left the socket; never runs backwards within a connection."""
    exchange: str
    symbol: str
    """The exchange's own id, such as ``BTC-USDT-SWAP``."""
    source: Source


class Trade(MarketRecord, frozen=True, gc=False):
    """One single fill, never an aggregate. Its identity is (exchange, symbol, trade_id)."""

    trade_id: str
    """Canonical decimal digits, below 2**63."""
    price: str
    size: str
    side: Side
    """The taker's (aggressor's) side."""
    rpi: bool | None = None
    """Whether the maker order was Retail Price Improvement liquidity; None where not told."""
    run_id: str | None = None
    episode: int | None = None


class Ticker(MarketRecord, frozen=True, gc=False):
    """Best prices and 24-hour figures; conflated by the exchange, so continuity cannot be proven."""

    last: str | None
    last_size: str | None
    bid: str | None
    bid_size: str | None
    ask: str | None
    ask_size: str | None
    open_24h: str | None
    high_24h: str | None
    low_24h: str | None
    volume_24h: str | None
    volume_currency_24h: str | None
    open_utc0: str | None
    open_utc8: str | None
    run_id: str | None = None
    episode: int | None = None


class OrderBook(MarketRecord, frozen=True, gc=False):
    """The best levels of a whole book at one instant, best first."""

    sequence: int
    depth: int
    """How many levels a side were asked for (there may be fewer)."""
    group: str | None
    """Price step the levels are aggregated by; None: as the exchange sent them."""
    bids: list[Level]
    asks: list[Level]
    run_id: str | None = None
    episode: int | None = None


class BookUpdate(MarketRecord, frozen=True, gc=False):
    """A change of a book as sent, or our own full book (``checkpoint``)."""

    action: Action
    prev_sequence: int | None
    """The sequence this one follows; None: a chain starts here, or a checkpoint."""
    sequence: int
    bids: list[CountedLevel]
    asks: list[CountedLevel]
    run_id: str | None = None
    episode: int | None = None


class Instrument(MarketRecord, frozen=True, gc=False):
    """What the exchange says of a symbol; a new record whenever that changes."""

    type: str
    base: str | None
    quote: str | None
    settle: str | None
    tick_size: str | None
    lot_size: str | None
    min_size: str | None
    contract_value: str | None
    contract_multiplier: str | None
    contract_type: str | None
    listed_at: Milliseconds | None
    expires_at: Milliseconds | None
    state: str | None
    raw: str
    """The exchange's own JSON object, verbatim."""
    run_id: str | None = None
    episode: int | None = None


class Gap(msgspec.Struct, frozen=True, gc=False):
    """A span in which something was, or may have been, missed. Upserted: the higher revision wins."""

    gap_id: str
    run_id: str
    exchange: str
    symbol: str
    channel: str
    kind: GapKind
    fault: Fault
    start: Milliseconds | None
    """Exchange time of the last record before the hole."""
    end: Milliseconds | None
    """Exchange time of the first record after it; None while the far side is not known."""
    first_missing: str | None
    """First missing trade id; for a book the sequence that the first missing update follows."""
    last_missing: str | None
    """Last missing trade id; for a book the sequence of the last missing update."""
    missing: int | None
    """How many records; None where it cannot be known (sequences are identifiers, not counters)."""
    filled: int
    status: GapStatus
    reason: str
    revision: int
    updated_at: Nanoseconds


class Run(msgspec.Struct, frozen=True, gc=False):
    """One run of a recorder. Upserted by ``run_id``."""

    run_id: str
    name: str
    host: str
    pid: int
    version: str
    config: dict[str, Any]
    """The effective configuration, secrets hidden."""
    started_at: Nanoseconds
    ended_at: Nanoseconds | None
    state: RunState
    heartbeat_at: Nanoseconds
    clock_offset_ms: int | None
    """Exchange clock minus ours; None where not measured."""
    counters: dict[str, int]


class Reject(msgspec.Struct, frozen=True, gc=False):
    """What could not be understood or contradicts what is stored, verbatim."""

    received_at: Nanoseconds
    exchange: str
    channel: str | None
    symbol: str | None
    reason: str
    frame: str
    """The text of the frame; where it is not UTF-8, ``base64:`` and its base64."""
    reject_id: str


Record = MarketRecord | Gap | Run | Reject


class Encoding(StrEnum):
    """What a field holds, for stores and printers."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    MILLISECONDS = "milliseconds"
    NANOSECONDS = "nanoseconds"
    JSON = "json"


class Kind(msgspec.Struct, frozen=True):
    """One kind of record: what users name in ``query KIND`` and stores keep in one table or collection."""

    name: str
    record: type[Any]
    key: tuple[str, ...]
    """The fields that make a record the same record (for a market kind within exchange and symbol)."""
    order: tuple[str, ...]
    """The fields that order the records of one symbol, numerically; then ``received_at``."""
    range: tuple[str, str]
    """The fields that ``[since, until)`` selects by: the same one twice, or a span's start and end."""
    market: bool
    """Begins with the envelope, is told apart by source, and has a ``simulated_`` twin."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields in the order they are printed, without what only stores need."""
        hidden = {"run_id", "episode"} if self.market else {"reject_id"}
        return tuple(name for name in self.record.__struct_fields__ if name not in hidden)

    @property
    def encodings(self) -> dict[str, Encoding]:
        """What every field holds, hidden ones included."""
        return _encodings_of(self.record)  # type: ignore[arg-type]  # classes can be hashed


@cache
def _encodings_of(record: type[Any]) -> dict[str, Encoding]:
    hints = get_type_hints(record, include_extras=True)
    return {name: _encoding(hint) for name, hint in hints.items()}


def _encoding(hint: Any) -> Encoding:
    options = [option for option in get_args(hint) or (hint,) if option is not type(None)]
    if get_origin(hint) in (list, dict):
        return Encoding.JSON
    if get_origin(hint) is Annotated or get_origin(options[0]) is Annotated:
        unit = (hint if get_origin(hint) is Annotated else options[0]).__metadata__[0]
        return Encoding.MILLISECONDS if unit == "ms" else Encoding.NANOSECONDS
    return {int: Encoding.INTEGER, bool: Encoding.BOOLEAN}.get(options[0], Encoding.TEXT)


_BY_TIMESTAMP = ("timestamp", "timestamp")
_BY_RECEIPT = ("received_at", "received_at")

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("trades", Trade, ("trade_id",), ("timestamp", "trade_id"), _BY_TIMESTAMP, market=True),
        Kind("tickers", Ticker, ("timestamp", "content"), ("timestamp",), _BY_TIMESTAMP, market=True),
        Kind(
            "orderbooks", OrderBook, ("timestamp", "sequence", "depth", "group"), ("timestamp", "sequence"),
            _BY_TIMESTAMP, market=True,
        ),
        Kind(
            "book_updates", BookUpdate, ("timestamp", "prev_sequence", "sequence", "action"),
            ("timestamp", "sequence"), _BY_TIMESTAMP, market=True,
        ),
        Kind("instruments", Instrument, ("received_at",), ("received_at",), _BY_RECEIPT, market=True),
        Kind("gaps", Gap, ("gap_id",), ("start", "symbol", "channel", "gap_id"), ("start", "end"), market=False),
        Kind("runs", Run, ("run_id",), ("started_at", "run_id"), ("started_at", "ended_at"), market=False),
        Kind("rejects", Reject, ("reject_id",), ("received_at", "reject_id"), _BY_RECEIPT, market=False),
    )
}  # fmt: skip
"""Every kind by name, in the order they are documented."""

KIND_OF: dict[type[Any], Kind] = {kind.record: kind for kind in KINDS.values()}
"""Every kind by its record type."""

CHANNELS = ("trades", "tickers", "orderbooks", "book_updates")
"""What ``record --channels`` takes; each yields the kind of the same name."""
