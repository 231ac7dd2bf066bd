"""Every key of the configuration with its type, rule and default; knows no file, environment or flag.

Durations are integer nanoseconds, sizes integer bytes, absent values None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import msgspec

from cryptofeed_cli.clock import HOUR, MILLISECOND, SECOND
from cryptofeed_cli.config.rules import (
    Choice,
    Duration,
    Flag,
    List,
    ProxyUrl,
    Rule,
    Share,
    Size,
    Step,
    Symbol,
    Url,
    Whole,
)
from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.printable import hide_secrets
from cryptofeed_cli.types import CHANNELS

GIB = 1024**3

_SOCKET_URLS = List(Url("wss", "ws", example="wss://ws.okx.com/ws/v5/public"), empty=True)
_REST_URLS = List(Url("https", "http", example="https://www.okx.com"), empty=True)
_NAME_SERVERS = List(Rule("must be the address of a name server such as 10.8.0.1 or 10.8.0.1:53"), empty=True)
_STORE = Url(
    "sqlite", "mongodb", "mongodb+srv", optional=True, host=False,
    example="sqlite:///relative.db, sqlite:////absolute.db or mongodb://host/database",
)  # fmt: skip


class RecordTable(msgspec.Struct, frozen=True):
    """What is recorded, by whom."""

    symbols: Annotated[tuple[str, ...], List(Symbol())] = ("BTC-USDT-SWAP",)
    channels: Annotated[tuple[str, ...], List(Choice(*CHANNELS))] = ("trades", "tickers", "orderbooks")
    redundancy: Annotated[int, Whole(1, 16)] = 1
    name: Annotated[str | None, Rule()] = None
    tape: Annotated[str | None, Rule()] = None
    tape_max: Annotated[int, Size()] = 100 * GIB


class OrderBookTable(msgspec.Struct, frozen=True):
    """How books are sampled."""

    depth: Annotated[int, Whole(1, 400)] = 25
    interval: Annotated[int, Duration(zero=True)] = SECOND
    """Zero: at every change."""
    group: Annotated[str | None, Step()] = None


class OkxTable(msgspec.Struct, frozen=True):
    """Which OKX, and how it is treated."""

    region: Annotated[str, Choice("global", "eea", "us", "demo")] = "global"
    public_url: Annotated[tuple[str, ...], _SOCKET_URLS] = ()
    """Tried in turn; empty: the region's own."""
    business_url: Annotated[tuple[str, ...], _SOCKET_URLS] = ()
    rest_url: Annotated[tuple[str, ...], _REST_URLS] = ()
    ping_interval: Annotated[int, Duration(below=30 * SECOND)] = 15 * SECOND
    """OKX closes a socket that was silent for 30 s."""
    silence: Annotated[int, Duration()] = 30 * SECOND
    reorder_grace: Annotated[int, Duration(zero=True)] = SECOND
    backfill: Annotated[bool, Flag()] = True
    backfill_limit: Annotated[int, Duration()] = 3 * HOUR
    rate_share: Annotated[float, Share()] = 1.0


class NetworkTable(msgspec.Struct, frozen=True):
    """The way to the exchange."""

    proxy: Annotated[str | None, ProxyUrl()] = None
    interface: Annotated[str | None, Rule()] = None
    dns: Annotated[tuple[str, ...], _NAME_SERVERS] = ()
    """Asked in turn; empty: the system resolves names."""
    ca_file: Annotated[str | None, Rule()] = None
    connect_timeout: Annotated[int, Duration()] = 10 * SECOND
    retry_initial: Annotated[int, Duration()] = SECOND
    retry_max: Annotated[int, Duration()] = 30 * SECOND


class StoreTable(msgspec.Struct, frozen=True):
    """Where records go."""

    url: Annotated[str | None, _STORE] = None
    """Never None in loaded settings: the default is a file in the data directory."""
    flush_interval: Annotated[int, Duration()] = 250 * MILLISECOND
    flush_records: Annotated[int, Whole(1, 1_000_000)] = 2000
    outbox_max: Annotated[int, Size()] = 10 * GIB
    retention: Annotated[int | None, Duration(optional=True)] = None


class FailoverTable(msgspec.Struct, frozen=True):
    """What happens while the exchange is away."""

    simulate: Annotated[bool, Flag()] = True
    after: Annotated[int, Duration(zero=True)] = 5 * SECOND


class LogTable(msgspec.Struct, frozen=True):
    """What is said on stderr."""

    level: Annotated[str, Choice("debug", "info", "warning", "error")] = "info"
    format: Annotated[str, Choice("text", "json")] = "text"
    file: Annotated[str | None, Rule()] = None


class Effective(NamedTuple):
    """One key as it is in force. ``value`` is what TOML would have, secrets hidden."""

    key: str
    value: Any
    origin: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration, and where each value came from."""

    record: RecordTable = RecordTable()
    orderbook: OrderBookTable = OrderBookTable()
    okx: OkxTable = OkxTable()
    network: NetworkTable = NetworkTable()
    store: StoreTable = StoreTable()
    failover: FailoverTable = FailoverTable()
    log: LogTable = LogTable()
    data_directory: Path
    """For the default store, outboxes and status files; it need not exist yet."""
    origins: Mapping[str, str] = {}
    """Dotted key to a file's path, an environment variable or a flag; what is not in it is a default."""
    warnings: tuple[str, ...] = ()
    """One line each, to be logged: valid, and probably not what was meant."""

    @property
    def store_url(self) -> str:
        """The store in force."""
        return self.store.url or f"sqlite:///{self.data_directory / 'market.db'}"

    def make_data_directory(self) -> None:
        """Make the data directory where it is missing; raise `ConfigurationError` where that cannot be."""
        try:
            self.data_directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigurationError(
                "the data directory", str(self.data_directory), None,
                f"cannot be made: {exc.strerror}; set CRYPTOFEED_DATA_DIR to a directory that can",
            ) from exc

    def origin(self, key: str) -> str:
        """Return where the value of a dotted key came from."""
        return self.origins.get(key, "default")

    def effective(self) -> Iterator[Effective]:
        """Yield every key in the order of the tables, with secrets hidden."""
        for key, rule in rules().items():
            table, name = key.split(".")
            shown = self.store_url if key == "store.url" else rule.show(getattr(getattr(self, table), name))
            yield Effective(key, hide_secrets(shown) if isinstance(shown, str) else shown, self.origin(key))

    def as_dict(self) -> dict[str, Any]:
        """Return the effective values by table and key, secrets hidden: what a run's record tells."""
        tables: dict[str, dict[str, Any]] = {}
        for key, value, _ in self.effective():
            table, name = key.split(".")
            tables.setdefault(table, {})[name] = value
        return tables


TABLES: Mapping[str, type[msgspec.Struct]] = {
    "record": RecordTable,
    "orderbook": OrderBookTable,
    "okx": OkxTable,
    "network": NetworkTable,
    "store": StoreTable,
    "failover": FailoverTable,
    "log": LogTable,
}
"""Every table by name, in the order they are shown."""


@cache
def rules() -> Mapping[str, Rule]:
    """Return the rule of every dotted key."""
    return {
        f"{table}.{key}": hint.__metadata__[0]
        for table, struct in TABLES.items()
        for key, hint in get_type_hints(struct, include_extras=True).items()
    }
