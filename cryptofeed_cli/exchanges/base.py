"""What every exchange must answer; knows none of them.

An exchange is pure: bytes in, messages out. It opens no socket, reads no clock and keeps no state between frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from cryptofeed_cli.types import BookUpdate, Instrument, Source, Ticker, Trade


class Topic(NamedTuple):
    """One subscription in the exchange's words: a channel of its own, and a symbol."""

    channel: str
    symbol: str


class Wire(msgspec.Struct, frozen=True):
    """How one of our channels is had from the exchange."""

    channel: str
    """The exchange's name for it."""
    endpoint: str
    """The socket it is served on."""
    deep: bool = False
    """Counts against the exchange's limit of depth subscriptions per socket."""


class Misconduct(StrEnum):
    """What we did that made the exchange close a socket."""

    SLOW = "slow"
    """We read too slowly."""
    CROWDED = "crowded"
    """We asked for too many topics on it."""
    GREEDY = "greedy"
    """We asked for too many topics on all sockets together."""
    LONG_WINDED = "long-winded"
    """Our request was too long."""


class Capabilities(msgspec.Struct, frozen=True):
    """What the session and the feed need to know of an exchange, as data."""

    wires: Mapping[str, Wire]
    """Our channel (`cryptofeed_cli.types.CHANNELS`) to where it comes from. Two of ours may share one."""
    witness: Wire | None
    """A second channel of trades that proves continuity and is not stored; None: there is none."""
    ping: str
    """The text that keeps a socket alive."""
    deep_topics_per_socket: int
    topics_per_request: int
    request_bytes: int
    """The largest request the exchange takes."""
    requests_per_hour: int
    """On one connection."""
    book_silence: int
    """Nanoseconds of silence after which a book is dead: its heartbeats come more often."""
    misconduct: Mapping[int, Misconduct]
    """By close code: the closes that are our own fault."""
    connects_per_second: int
    """New sockets, per IP address."""
    rest_per_second: float
    """REST requests of any kind, per IP address."""
    history_page: int
    """Past trades in one answer."""


class Trades(msgspec.Struct, frozen=True, gc=False):
    """Single fills of one symbol, in the order sent."""

    symbol: str
    records: list[Trade]


class Tickers(msgspec.Struct, frozen=True, gc=False):
    """Tickers of one symbol, in the order sent."""

    symbol: str
    records: list[Ticker]


class Books(msgspec.Struct, frozen=True, gc=False):
    """Changes of one book, in the order sent, heartbeats included (no levels, ``prev_sequence == sequence``)."""

    symbol: str
    records: list[BookUpdate]


class Fold(msgspec.Struct, frozen=True, gc=False):
    """Fills folded into one message by the exchange: it covers every id from ``first_id`` to ``last_id``."""

    first_id: int
    last_id: int
    timestamp: int | None


class Folds(msgspec.Struct, frozen=True, gc=False):
    """Aggregated trades: a witness of continuity, never stored as trades."""

    symbol: str
    folds: list[Fold]


class Subscribed(msgspec.Struct, frozen=True, gc=False):
    """The exchange accepted one topic."""

    topic: Topic


class Unsubscribed(msgspec.Struct, frozen=True, gc=False):
    """The exchange ended one topic, as asked: nothing more comes of that subscription."""

    topic: Topic


class Verdict(StrEnum):
    """What a refusal means for what was asked."""

    RETRY = "retry"
    """The exchange is at fault or busy: ask again later."""
    GIVE_UP_TOPIC = "give up topic"
    """This topic cannot be had; everything else goes on."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The exchange refused a request, or one topic of it where it says which."""

    code: str
    reason: str
    verdict: Verdict
    request_id: str | None
    topic: Topic | None


class Notice(msgspec.Struct, frozen=True, gc=False):
    """The exchange is about to close this socket."""

    code: str
    reason: str


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The answer to our ping."""


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """Understood, and of no use to us."""


Message = Trades | Tickers | Books | Folds | Subscribed | Unsubscribed | Refused | Notice | Pong | Ignored


class Maintenance(msgspec.Struct, frozen=True):
    """A maintenance that the exchange announced; None: it did not say when."""

    title: str
    begin: int | None
    end: int | None


class Candle(msgspec.Struct, frozen=True):
    """What was traded in one minute, as the exchange tells it."""

    start: int
    """Exchange time in milliseconds."""
    volume: str
    """In the unit of trade sizes."""
    closed: bool
    """Whether the minute is over and the volume final."""


class Showing(msgspec.Struct, frozen=True):
    """How an exchange shows its market."""

    cadence_ms: int
    """Books and tickers are told of this often, at most."""
    heartbeat_ms: int
    """A book is told of at least this often, also unchanged."""
    levels: int
    """Of each side of a book."""


class Sockets(msgspec.Struct, frozen=True):
    """Where and how an exchange listens."""

    paths: Mapping[str, str]
    """The endpoint of each URL path."""
    idle_seconds: float
    """A socket on which nothing was sent for so long is closed."""
    request_bytes: int
    """The longest request it takes."""


class Desk(Protocol):
    """One client's connection, seen from the exchange's side."""

    topics: set[Topic]
    """What the client is subscribed to."""

    def receive(self, text: str) -> list[bytes]:
        """Do what the client asks; return what it is sent for it."""

    def close(self) -> None:
        """Forget the subscriptions."""


class Venue(Protocol):
    """An exchange from the other side, for whoever stands in for it: records in, frames and answers out."""

    def publish(self, happened: Iterable[Trade | Ticker | BookUpdate]) -> list[tuple[Topic, bytes]]:
        """Take what happened in the market, in order; return the frames that somebody wants, each with its topic."""

    def desk(self, endpoint: str) -> Desk:
        """Open a connection to an endpoint."""

    def answer(self, target: str, now_ms: int) -> tuple[int, bytes]:
        """Answer a REST request, given as path and query, with an HTTP status and a body."""


class Exchange(Protocol):
    """One exchange, as far as recording needs it."""

    @property
    def name(self) -> str:
        """The word in every record: ``OKX``."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can and cannot do, as data."""

    @property
    def sockets(self) -> Mapping[str, Sequence[str]]:
        """The WebSocket URLs of each endpoint, in the order to try them."""

    @property
    def rest(self) -> Sequence[str]:
        """The base URLs of the REST interface, in the order to try them."""

    @property
    def rest_headers(self) -> Mapping[str, str]:
        """What every REST request must carry."""

    @property
    def showing(self) -> Showing:
        """How it shows its market."""

    @property
    def listening(self) -> Sockets:
        """Where and how it listens."""

    def venue(self, instruments: Iterable[Instrument]) -> Venue:
        """Return its other side, with nothing known but the instruments."""

    def subscribe(self, topics: Sequence[Topic], request_id: str) -> str:
        """Return the text that asks for ``topics``."""

    def unsubscribe(self, topics: Sequence[Topic], request_id: str) -> str:
        """Return the text that asks for them no more."""

    def parse(self, data: bytes, received_at: int, source: Source) -> Message:
        """Understand one frame; raise `ProtocolError`, and nothing else, where that is impossible."""

    def rebukes(self, status: int, body: bytes) -> bool:
        """Tell whether a REST answer, to whatever question, says that we ask too often."""

    def instrument_paths(self, symbols: Sequence[str]) -> list[str]:
        """Return the REST paths whose answers tell of ``symbols``."""

    def parse_instruments(self, body: bytes, received_at: int, source: Source) -> list[Instrument]:
        """Understand the answer to one of `instrument_paths`; raise `ProtocolError` where that is impossible."""

    def history_path(self, symbol: str, below: int) -> str:
        """Return the REST path to the single fills just below trade id ``below``, one page of them."""

    def newest_path(self, symbol: str) -> str:
        """Return the REST path to the newest single fills."""

    def parse_history(
        self, symbol: str, status: int, body: bytes, received_at: int, source: Source
    ) -> list[Trade]:
        """Understand the answer to `history_path` or `newest_path`, in any order.

        Raises `AnswerRefused` where the exchange says no, `ProtocolError` where the answer cannot be understood; so do
        the others below.
        """

    def book_path(self, symbol: str) -> str:
        """Return the REST path to the whole book."""

    def parse_book(
        self, symbol: str, status: int, body: bytes, received_at: int, source: Source
    ) -> BookUpdate | None:
        """Understand the answer to `book_path`: a snapshot, with its sequence."""

    def tickers_paths(self) -> Sequence[str]:
        """Return the REST paths that together tell every ticker at once."""

    def parse_tickers(self, status: int, body: bytes, received_at: int, source: Source) -> dict[str, Ticker]:
        """Understand the answer to one of `tickers_paths`, by symbol."""

    def candles_path(self, symbol: str, before: int) -> str:
        """Return the REST path to the minutes just before a time in milliseconds, one page of them."""

    def parse_candles(self, status: int, body: bytes) -> list[Candle]:
        """Understand the answer to `candles_path`: newest first; empty where there is nothing older."""

    def time_path(self) -> str:
        """Return the REST path to the exchange's clock."""

    def parse_time(self, status: int, body: bytes) -> int:
        """Understand the answer to `time_path`, in milliseconds."""

    def blocked(self, status: int, body: bytes) -> str | None:
        """Return in words that an answer refuses us for where we are; None: it does not."""

    def maintenance_path(self) -> str:
        """Return the REST path to announced maintenances."""

    def parse_maintenances(self, status: int, body: bytes) -> list[Maintenance]:
        """Understand the answer to `maintenance_path`."""
