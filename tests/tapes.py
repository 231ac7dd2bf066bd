"""Drives a session by hand: connections, frames and time in, records and requests out; opens no socket."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cryptofeed_cli.clock import MILLISECOND, SECOND
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Action, Answer, Closed, Fetch, Frame, Opened, Reset, Send, Tick
from cryptofeed_cli.gaps import Ledger
from cryptofeed_cli.past import Past
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.types import CHANNELS, BookUpdate, Gap
from tests.okx_market import dump, write_frame

SYMBOL = "BTC-USDT"
START_MS = 1_795_000_000_000
"""Exchange time at the start of a tape: a whole second, 200 s before a multiple of five minutes."""
STEP = 100 * MILLISECOND
BUSINESS, PUBLIC = 0, 1
"""The connections of a session that records trades and something else, of few symbols."""

Given = TypeVar("Given")


class Tape:
    """One session, and everything that came out of it. Its two clocks run together, from different starts."""

    def __init__(
        self,
        symbols: Sequence[str] = (SYMBOL,),
        channels: Sequence[str] = CHANNELS,
        *,
        pasts: Mapping[str, Past] | None = None,
        **options: Any,
    ) -> None:
        self.records: list[Any] = []
        self.actions: list[Action] = []
        self.session = Session(
            Okx(), SessionOptions("run", tuple(symbols), tuple(channels), **options), self.records.append, pasts
        )
        self._elapsed = self._suspended = 0
        self.session.start(self.now)
        self._collect()

    @property
    def now(self) -> Tick:
        """This moment."""
        return Tick(START_MS * MILLISECOND + self._elapsed + self._suspended, 7 * SECOND + self._elapsed)

    def of(self, kind: type[Given]) -> list[Given]:
        """Return the records of one type so far, in order."""
        return [record for record in self.records if isinstance(record, kind)]

    def gaps(self, channel: str | None = None) -> list[Gap]:
        """Return the last revision of every gap, in the order they were opened."""
        latest = {gap.gap_id: gap for gap in self.of(Gap)}
        return [gap for gap in latest.values() if channel in (None, gap.channel)]

    def requests(self) -> list[tuple[str, list[Topic]]]:
        """Return the operation and the topics of each request sent so far (pings left out), in order."""
        sent = [json.loads(text) for text in self.sent() if text != "ping"]
        return [(one["op"], [Topic(arg["channel"], arg["instId"]) for arg in one["args"]]) for one in sent]

    def sent(self, connection: int | None = None) -> list[str]:
        """Return the texts sent so far."""
        sends = [action for action in self.actions if isinstance(action, Send)]
        return [send.text for send in sends if connection in (None, send.connection)]

    def resets(self) -> list[Reset]:
        """Return the connections that were given up so far."""
        return [action for action in self.actions if isinstance(action, Reset)]

    def fetches(self, part: str = "") -> list[Fetch]:
        """Return the REST requests made so far whose path has a part."""
        return [action for action in self.actions if isinstance(action, Fetch) and part in action.path]

    def notes(self, level: str) -> list[str]:
        """Return what the session had to say so far."""
        return [note.text for note in self.session.notes if note.level == level]

    def open(self, connection: int | None = None, *, announced: str | None = None, acknowledge: bool = True) -> None:
        """Bring one connection up, or all of them; acknowledge what it asks for."""
        for member in self.session.connections:
            if connection in (None, member.number):
                self._handle(Opened(member.number, self.now.at, self.now.monotonic, announced))
                for topic in member.topics if acknowledge else ():
                    self.acknowledge(topic, member.number)

    def close(self, connection: int | None = None, code: int | None = None, reason: str = "gone") -> None:
        """Take one connection down, or all of them."""
        for member in self.session.connections:
            if connection in (None, member.number):
                self._handle(Closed(member.number, self.now.at, self.now.monotonic, code, reason, SECOND))

    def acknowledge(self, topic: Topic, connection: int | None = None) -> None:
        """Let the exchange acknowledge a topic."""
        arg = {"channel": topic.channel, "instId": topic.symbol}
        self.frame(dump({"event": "subscribe", "arg": arg, "connId": "e7d193b0"}), connection)

    def frame(self, data: bytes, connection: int | None = None) -> None:
        """Let one frame arrive now, on the last connection (it is a public one) unless told otherwise."""
        number = self.session.connections[-1].number if connection is None else connection
        self._handle(Frame(number, data, self.now.at, self.now.monotonic))

    def frames(self, frames: Iterable[bytes], connection: int | None = None) -> None:
        """Let frames arrive now, in order."""
        for data in frames:
            self.frame(data, connection)

    def answer(self, fetch: Fetch, body: bytes, *, announced: str | None = None) -> None:
        """Let the exchange answer a REST request."""
        self._handle(Answer(fetch.request_id, self.now.at, self.now.monotonic, 200, body, announced=announced))

    def fail(self, fetch: Fetch, error: str) -> None:
        """Let a REST request bring nothing."""
        self._handle(Answer(fetch.request_id, self.now.at, self.now.monotonic, None, b"", error))

    def wait(self, nanoseconds: int = STEP) -> None:
        """Let time pass, with a tick every 100 ms and one at the end."""
        end = self._elapsed + nanoseconds
        while self._elapsed < end:
            self._elapsed = min(self._elapsed + STEP, end)
            self._handle(self.now)

    def suspend(self, nanoseconds: int) -> None:
        """Let time pass that the monotonic clock does not see."""
        self._suspended += nanoseconds

    def finish(self) -> None:
        """End the recording."""
        self.session.finish(self.now)

    def _handle(self, event: Any) -> None:
        self.session.handle([event])
        self._collect()

    def _collect(self) -> None:
        self.actions += self.session.actions
        self.session.actions.clear()


Outcome = tuple[str, str | None, str | None, int | None, int, str]
"""A gap's kind, first and last missing, how many are missing and filled, and its status."""


class Stage:
    """What a single stream needs around it: a ledger, and the time. Everything emitted is kept."""

    def __init__(self) -> None:
        self.emitted: list[Any] = []
        self.ledger = Ledger("OKX", "run", self.emitted.append)
        self.now = Tick(10**18, 10**9)

    def later(self, nanoseconds: int) -> Tick:
        """Let time pass."""
        self.now = Tick(self.now.at + nanoseconds, self.now.monotonic + nanoseconds)
        return self.now

    def of(self, kind: type[Given]) -> list[Given]:
        """Return the records of one type so far, in order."""
        return [record for record in self.emitted if isinstance(record, kind)]

    def gaps(self) -> list[Gap]:
        """Return the last revision of each gap; on the way there revisions must have risen one by one."""
        latest: dict[str, Gap] = {}
        for gap in self.of(Gap):
            assert gap.revision == (latest[gap.gap_id].revision if gap.gap_id in latest else 0) + 1
            latest[gap.gap_id] = gap
        return list(latest.values())

    def outcomes(self, channel: str | None = None) -> list[Outcome]:
        """Return what became of each gap."""
        gaps = [gap for gap in self.gaps() if channel in (None, gap.channel)]
        return [(g.kind, g.first_missing, g.last_missing, g.missing, g.filled, g.status) for g in gaps]


def book_frame(
    previous: int,
    sequence: int,
    ms: int = 0,
    *,
    bids: Sequence[tuple[str, str]] = (),
    asks: Sequence[tuple[str, str]] = (),
    symbol: str = SYMBOL,
) -> bytes:
    """Write an update, ``ms`` after the start of the tape; with ``previous`` -1 it is a snapshot."""
    row = {
        "asks": [[price, size, "0", "0" if size == "0" else "1"] for price, size in asks],
        "bids": [[price, size, "0", "0" if size == "0" else "1"] for price, size in bids],
        "ts": str(START_MS + ms),
        "checksum": 0,
        "prevSeqId": previous,
        "seqId": sequence,
    }
    return write_frame("books", symbol, row, "snapshot" if previous == -1 else "update")


def fill_frame(*ids: int, ms: int = 0, symbol: str = SYMBOL) -> bytes:
    """Write single fills in one frame."""
    rows = [
        {"instId": symbol, "tradeId": str(number), "px": "100", "sz": "1", "side": "buy", "ts": str(START_MS + ms)}
        for number in ids
    ]
    return dump({"arg": {"channel": "trades-all", "instId": symbol}, "data": rows})


def fold_frame(first: int, last: int, ms: int = 0, *, symbol: str = SYMBOL) -> bytes:
    """Write aggregated trades."""
    row = {"instId": symbol, "tradeId": str(last), "px": "100", "sz": "1", "side": "buy", "ts": str(START_MS + ms)}
    return write_frame("trades", symbol, {**row, "count": str(last - first + 1), "seqId": 1})


def ticker_frame(ms: int = 0, *, symbol: str = SYMBOL, last: str = "100") -> bytes:
    """Write a ticker."""
    return write_frame("tickers", symbol, {"instId": symbol, "last": last, "ts": str(START_MS + ms)})


Sides = tuple[dict[str, str], dict[str, str]]


def rebuild(updates: Iterable[BookUpdate]) -> Iterator[tuple[BookUpdate, Sides]]:
    """Rebuild one book from its records, as whoever reads them would; yield it (bids, asks) after each of them."""
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    for update in updates:
        if update.action != "update":
            bids.clear()
            asks.clear()
        for side, levels in ((bids, update.bids), (asks, update.asks)):
            for price, size, _ in levels:
                if size == "0":
                    side.pop(price, None)
                else:
                    side[price] = size
        yield update, (bids, asks)
