"""OKX v5 public market data. Every OKX fact of the program is in this folder, and nothing but OKX facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from cryptofeed_cli.exchanges.base import Capabilities, Message, Topic, Wire
from cryptofeed_cli.exchanges.okx import answers, frames
from cryptofeed_cli.types import Instrument, Source

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
    connects_per_second=3,
)

_HOSTS = {
    "global": ("wss://ws.okx.com", "https://openapi.okx.com"),
    "eea": ("wss://wseea.okx.com", "https://eea.okx.com"),
    "us": ("wss://wsus.okx.com", "https://us.okx.com"),
    "demo": ("wss://wspap.okx.com", "https://openapi.okx.com"),
}
_OPTION = re.compile(r"(.+-.+)-\d{6}-[\d.]+-[CP]", re.ASCII)


class Okx:
    """OKX as seen from one of its regions: ``global``, ``eea``, ``us`` or ``demo``."""

    capabilities = CAPABILITIES

    def __init__(self, region: str = "global") -> None:
        sockets, self._rest = _HOSTS[region]
        self._demo = region == "demo"
        self.name = "OKX-DEMO" if self._demo else "OKX"
        # Bound once: it is called for every frame.
        self.parse: Callable[[bytes, int, Source], Message] = partial(frames.parse, self.name)
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

    def subscribe(self, topics: Sequence[Topic], request_id: str) -> str:
        """Return the text that asks for ``topics``."""
        return _request("subscribe", topics, request_id)

    def unsubscribe(self, topics: Sequence[Topic], request_id: str) -> str:
        """Return the text that asks for them no more."""
        return _request("unsubscribe", topics, request_id)

    def instrument_paths(self, symbols: Sequence[str]) -> list[str]:
        """Return the REST paths whose answers tell of ``symbols``. Options are asked for by their family."""
        families = sorted({match[1] for match in map(_OPTION.fullmatch, symbols) if match})
        queries = ["instType=SPOT", "instType=SWAP", "instType=FUTURES"]
        queries += [f"instType=OPTION&instFamily={family}" for family in families]
        return [f"/api/v5/public/instruments?{query}" for query in queries]

    def parse_instruments(self, body: bytes, received_at: int, source: Source) -> list[Instrument]:
        """Understand the answer to one of `instrument_paths`; raise `ProtocolError` where that is impossible."""
        return answers.instruments(self.name, body, received_at, source)


def _request(operation: str, topics: Sequence[Topic], request_id: str) -> str:
    args = [{"channel": topic.channel, "instId": topic.symbol} for topic in topics]
    return msgspec.json.encode({"id": request_id, "op": operation, "args": args}).decode()
