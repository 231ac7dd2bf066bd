"""OKX v5 public market data. Every OKX fact of the program is in this folder, and nothing but OKX facts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from urllib.parse import quote

import msgspec

from cryptofeed_cli.clock import SECOND
from cryptofeed_cli.exchanges.base import Candle, Capabilities, Maintenance, Misconduct, Showing, Sockets, Topic, Wire
from cryptofeed_cli.exchanges.okx import answers, frames, venue
from cryptofeed_cli.types import BookUpdate, Instrument, Source, Ticker, Trade

CAPABILITIES = Capabilities(
    wires={
        # `trades` on /public folds fills together; single fills are on /business only.
        "trades": Wire("trades-all", "business"),
        "tickers": Wire("tickers", "public"),
        "orderbooks": Wire("books", "public", deep=True),
        "book_updates": Wire("books", "public", deep=True),
    },
    witness=Wire("trades", "public"),
    ping="ping",
    deep_topics_per_socket=29,  # "fewer than 30", docs: Connect
    topics_per_request=200,
    request_bytes=64 * 1024 - 1,
    requests_per_hour=480,  # docs: Connect
    book_silence=75 * SECOND,  # a heartbeat every 60 s, docs: Order book channel
    misconduct={
        1009: Misconduct.LONG_WINDED, 4005: Misconduct.SLOW, 4008: Misconduct.GREEDY, 4009: Misconduct.CROWDED,
    },
    connects_per_second=3,
    rest_per_second=10,  # 20 in 2 s, what most of its paths allow
    history_page=100,
)

_HOSTS = {
    "global": ("wss://ws.okx.com", "https://openapi.okx.com"),
    "eea": ("wss://wseea.okx.com", "https://eea.okx.com"),
    "us": ("wss://wsus.okx.com", "https://us.okx.com"),
    "demo": ("wss://wspap.okx.com", "https://openapi.okx.com"),
}
_OPTION = re.compile(r"([^-*?]+-[^-*?]+)-[\d*?]+-[\d.*?]+-[CP*?]", re.ASCII)


class Okx:
    """OKX as seen from one of its regions: ``global``, ``eea``, ``us`` or ``demo``."""

    capabilities = CAPABILITIES

    def __init__(self, region: str = "global") -> None:
        sockets, self._rest = _HOSTS[region]
        self._demo = region == "demo"
        self.name = "OKX-DEMO" if self._demo else "OKX"
        self.parse = partial(frames.parse, self.name)
        """See `Exchange.parse`: a method would be one more call for every frame."""
        self._sockets = {
            endpoint: (f"{sockets}/ws/v5/{endpoint}" + ("?brokerId=9999" if self._demo else ""),)
            for endpoint in ("public", "business")
        }

    @property
    def sockets(self) -> Mapping[str, Sequence[str]]:
        """The WebSocket URLs of each endpoint, in the order to try them."""
        return self._sockets

    @property
    def rest(self) -> Sequence[str]:
        """The base URLs of the REST interface, in the order to try them."""
        return (self._rest,)

    @property
    def rest_headers(self) -> Mapping[str, str]:
        """What every REST request must carry."""
        return {"x-simulated-trading": "1"} if self._demo else {}

    @property
    def showing(self) -> Showing:
        """How it shows its market."""
        return venue.SHOWING

    @property
    def listening(self) -> Sockets:
        """Where and how it listens."""
        return venue.SOCKETS

    def venue(self, instruments: Iterable[Instrument]) -> venue.Venue:
        """Return its other side, with nothing known but the instruments."""
        return venue.Venue(instruments)

    def subscribe(self, topics: Sequence[Topic], request_id: str) -> str:
        """Return the text that asks for ``topics``."""
        return _request("subscribe", topics, request_id)

    def unsubscribe(self, topics: Sequence[Topic], request_id: str) -> str:
        """Return the text that asks for them no more."""
        return _request("unsubscribe", topics, request_id)

    def rebukes(self, status: int, body: bytes) -> bool:
        """Tell whether a REST answer, to whatever question, says that we ask too often."""
        return answers.rebukes(status, body)

    def instrument_paths(self, symbols: Sequence[str]) -> list[str]:
        """Return the REST paths whose answers tell of ``symbols``, or patterns. Options are asked for by family."""
        families = sorted({match[1] for match in map(_OPTION.fullmatch, symbols) if match})
        queries = ["instType=SPOT", "instType=SWAP", "instType=FUTURES"]
        queries += [f"instType=OPTION&instFamily={family}" for family in families]
        return [f"/api/v5/public/instruments?{query}" for query in queries]

    def parse_instruments(self, body: bytes, received_at: int, source: Source) -> list[Instrument]:
        """Understand the answer to one of `instrument_paths`; raise `ProtocolError` where that is impossible."""
        return answers.instruments(self.name, body, received_at, source)

    def history_path(self, symbol: str, below: int) -> str:
        """Return the REST path to the fills just below trade id ``below``: by id, as times tie at page edges."""
        return f"/api/v5/market/history-trades?instId={quote(symbol)}&type=1&after={below}&limit=100"

    def newest_path(self, symbol: str) -> str:
        """Return the REST path to the newest single fills."""
        return f"/api/v5/market/trades?instId={quote(symbol)}&limit=500"

    def parse_history(self, symbol: str, status: int, body: bytes, received_at: int, source: Source) -> list[Trade]:
        """Understand the answer to `history_path` or `newest_path`: newest first."""
        return answers.trades(self.name, symbol, status, body, received_at, source)

    def book_path(self, symbol: str) -> str:
        """Return the REST path to the whole book."""
        return f"/api/v5/market/books?instId={quote(symbol)}&sz=400"

    def parse_book(self, symbol: str, status: int, body: bytes, received_at: int, source: Source) -> BookUpdate | None:
        """Understand the answer to `book_path`: a snapshot, with its sequence."""
        return answers.book(self.name, symbol, status, body, received_at, source)

    def tickers_paths(self) -> Sequence[str]:
        """Return the REST paths that together tell every ticker at once."""
        return [f"/api/v5/market/tickers?instType={kind}" for kind in ("SPOT", "SWAP", "FUTURES", "OPTION")]

    def parse_tickers(self, status: int, body: bytes, received_at: int, source: Source) -> dict[str, Ticker]:
        """Understand the answer to one of `tickers_paths`, by symbol."""
        return answers.tickers(self.name, status, body, received_at, source)

    def candles_path(self, symbol: str, before: int) -> str:
        """Return the REST path to the minutes just before a time in milliseconds, one page of them."""
        return f"/api/v5/market/history-candles?instId={quote(symbol)}&bar=1m&after={before}&limit=300"

    def parse_candles(self, status: int, body: bytes) -> list[Candle]:
        """Understand the answer to `candles_path`: newest first."""
        return answers.candles(self.name, status, body)

    def time_path(self) -> str:
        """Return the REST path to the exchange's clock."""
        return "/api/v5/public/time"

    def parse_time(self, status: int, body: bytes) -> int:
        """Understand the answer to `time_path`, in milliseconds."""
        return answers.server_time(self.name, status, body)

    def blocked(self, status: int, body: bytes) -> str | None:
        """Recognise an answer that refuses us for where we are."""
        return answers.block(status, body)

    def maintenance_path(self) -> str:
        """Return the REST path to announced maintenances."""
        return "/api/v5/system/status"

    def parse_maintenances(self, status: int, body: bytes) -> list[Maintenance]:
        """Understand the answer to `maintenance_path`."""
        return answers.maintenances(self.name, status, body)


def _request(operation: str, topics: Sequence[Topic], request_id: str) -> str:
    args = [{"channel": topic.channel, "instId": topic.symbol} for topic in topics]
    return msgspec.json.encode({"id": request_id, "op": operation, "args": args}).decode()
