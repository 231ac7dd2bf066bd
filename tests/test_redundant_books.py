"""A book carried by several sockets at once, through random faults: right or marked, whatever arrives in which order.

The session is driven by hand, so thousands of orders of events can be tried: each socket has a queue and a latency of
its own, sockets close and come back, updates are lost on all of them or come late, the exchange renumbers and announces
upgrades. Afterwards every published book is the exchange's own at its sequence, and the ledger holds exactly one gap
for every snapshot but the first; a snapshot no newer than what was known before loses nothing, and its gap says so.
"""

from __future__ import annotations

import json
from collections import deque
from itertools import pairwise
from random import Random

import pytest

from cryptofeed_cli.clock import MILLISECOND, SECOND
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.feeds.base import Closed, Connect, Drop, Opened, Reset, Send
from cryptofeed_cli.streams import Sampling
from cryptofeed_cli.types import BookUpdate, OrderBook
from tests.okx_market import Book, dump, write_frame
from tests.tapes import START_MS, SYMBOL, Tape

TOPIC = Topic("books", SYMBOL)
SLOWEST_MS = 400
"""The longest latency of a socket; the grace is more than twice as long."""


class Socket:
    """One connection as the exchange sees it."""

    def __init__(self) -> None:
        self.up = self.subscribed = False
        self.latency_ms = 0
        self.queue: deque[tuple[int, bytes]] = deque()
        self.opens_ms: int | None = 0
        """When it is opened; None: it is open."""


class Exchange:
    """One book, the sockets that carry it, and what goes wrong with both."""

    def __init__(self, rng: Random, redundancy: int) -> None:
        self.rng = rng
        self.ms = 0
        self.book = Book()
        self.books: dict[tuple[int, int], tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {}
        """The truth by exchange time and sequence."""
        self.sockets: dict[int, Socket] = {}
        self.sequence = 10**15
        levels = [[str(price), "1", "0", "1"] for price in range(90, 100)]
        asks = [[str(price), "1", "0", "1"] for price in range(101, 111)]
        self._change({"bids": levels, "asks": asks}, "snapshot")
        self.tape = Tape(
            (SYMBOL,), ("orderbooks", "book_updates"), redundancy=redundancy,
            sampling=Sampling(depth=400, interval_ms=0), reorder_grace=SECOND,
        )  # fmt: skip
        self._done = 0
        self._obey()

    # What happens

    def update(self, *, lost: bool = False, reset: bool = False) -> bytes:
        """Change the book and tell everybody, or nobody."""
        before = self.sequence
        self.sequence = self.rng.randrange(before // 2) if reset else before + self.rng.choice((1, 7, 20))
        side, price = self.rng.choice((("bids", self.rng.randrange(90, 100)), ("asks", self.rng.randrange(101, 111))))
        level = [str(price), str(self.rng.randrange(1, 50)), "0", "1"]
        row = {"bids": [], "asks": [], side: [level]}
        self._change(row, "update", before)
        frame = write_frame("books", SYMBOL, self.book.last, "update")
        if not lost:
            self.tell(frame)
        return frame

    def heartbeat(self) -> None:
        row = {"bids": [], "asks": [], "ts": str(START_MS + self.ms), "prevSeqId": self.sequence}
        self.tell(write_frame("books", SYMBOL, {**row, "seqId": self.sequence}, "update"))

    def tell(self, frame: bytes) -> None:
        for socket in self.sockets.values():
            if socket.up and socket.subscribed:
                self._queue(socket, frame)

    def close(self, number: int) -> None:
        socket = self.sockets[number]
        if socket.up:
            socket.up = socket.subscribed = False
            socket.queue.clear()
            socket.opens_ms = self.ms + self.rng.randrange(50, 3000)
            now = self.tape.now
            self.tape._handle(Closed(number, now.at, now.monotonic, None, "gone", SECOND))
            self._obey()

    def notice(self) -> None:
        up = [number for number, socket in self.sockets.items() if socket.up]
        if up:
            note = {"event": "notice", "code": "64008", "msg": "The connection will soon be closed.", "connId": "a"}
            self.tape.frame(dump(note), self.rng.choice(up))
            self._obey()

    def go(self, ms: int) -> None:
        """Let time pass, and everything that is due with it."""
        end = self.ms + ms
        while self.ms < end:
            step = min(20, end - self.ms)
            self.ms += step
            self.tape.wait(step * MILLISECOND)
            self._obey()
            for number, socket in list(self.sockets.items()):
                self._open(number, socket)
                while socket.queue and socket.queue[0][0] <= self.ms:
                    self.tape.frame(socket.queue.popleft()[1], number)
                    self._obey()

    # How

    def _change(self, row: dict[str, object], action: str, previous: int = -1) -> None:
        row = {**row, "ts": str(START_MS + self.ms), "checksum": 0, "prevSeqId": previous, "seqId": self.sequence}
        self.book.apply(row, action)
        bids, asks = ([(level[0], level[1]) for level in self.book.side(side)] for side in ("bids", "asks"))
        self.books[START_MS + self.ms, self.sequence] = bids, asks

    def _open(self, number: int, socket: Socket) -> None:
        if socket.opens_ms is not None and self.ms >= socket.opens_ms:
            socket.opens_ms, socket.up = None, True
            socket.latency_ms = self.rng.randrange(SLOWEST_MS)
            now = self.tape.now
            self.tape._handle(Opened(number, now.at, now.monotonic))
            self._obey()

    def _queue(self, socket: Socket, frame: bytes) -> None:
        earliest = socket.queue[-1][0] if socket.queue else 0
        socket.queue.append((max(earliest, self.ms + socket.latency_ms), frame))

    def _obey(self) -> None:
        while self._done < len(self.tape.actions):
            action = self.tape.actions[self._done]
            self._done += 1
            match action:
                case Connect(number, _):
                    self.sockets[number] = Socket()
                    self.sockets[number].opens_ms = self.ms + self.rng.randrange(10, 500)
                case Drop(number):
                    del self.sockets[number]
                case Reset(number, _):
                    self.close(number)
                case Send(number, text) if text != "ping" and number in self.sockets:
                    self._asked(self.sockets[number], json.loads(text))
                case Send(number, "ping") if number in self.sockets:
                    self._queue(self.sockets[number], b"pong")

    def _asked(self, socket: Socket, request: dict[str, object]) -> None:
        subscribe = request["op"] == "subscribe"
        socket.subscribed = subscribe
        arg = {"channel": "books", "instId": SYMBOL}
        acknowledgement = dump({"event": request["op"], "arg": arg, "connId": "a"})
        frames = [acknowledgement]
        if subscribe:
            frames.append(write_frame("books", SYMBOL, self.book.row(), "snapshot"))
        if subscribe and self.rng.random() < 0.1:
            frames.reverse()  # data before its acknowledgement
        for frame in frames:
            self._queue(socket, frame)


def trouble(exchange: Exchange) -> None:
    """Let one thing go wrong."""
    rng = exchange.rng
    match rng.randrange(7):
        case 0:
            exchange.update(lost=True)
        case 1:
            late = exchange.update(lost=True)
            exchange.update()
            exchange.go(rng.randrange(1, 200))
            exchange.tell(late)
        case 2 | 3:
            exchange.close(rng.choice(list(exchange.sockets)))
        case 4:
            for number in list(exchange.sockets):
                exchange.close(number)
        case 5:
            exchange.update(reset=True)
        case 6:
            exchange.notice()


def check(exchange: Exchange) -> None:
    """Compare what was published and what the ledger holds with the truth."""
    tape = exchange.tape
    for book in tape.of(OrderBook):
        assert book.timestamp is not None
        assert (book.bids, book.asks) == exchange.books[book.timestamp, book.sequence]
    updates = [one for one in tape.of(BookUpdate) if one.action != "checkpoint"]
    breaks = set()
    for before, after in pairwise(updates):
        assert before.timestamp is not None
        assert after.timestamp is not None
        if after.action != "snapshot":
            assert after.prev_sequence == before.sequence
        elif after.sequence != before.sequence and after.timestamp >= before.timestamp:
            breaks.add((before.timestamp, after.timestamp))
    for channel in ("orderbooks", "book_updates"):
        lost = [gap for gap in tape.gaps(channel) if gap.status != "filled"]
        assert {gap.status for gap in lost} <= {"unrecoverable"}
        assert sorted((gap.start, gap.end) for gap in lost) == sorted(breaks)
    assert updates[-1].sequence == exchange.sequence
    assert tape.session.rejects.count == 0


@pytest.mark.parametrize("redundancy", [1, 2, 3])
@pytest.mark.parametrize(
    ("first", "count"), [(0, 40), pytest.param(40, 1000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_books_carried_redundantly_are_right_or_marked(redundancy: int, first: int, count: int) -> None:
    for seed in range(first, first + count):
        rng = Random(seed)
        exchange = Exchange(rng, redundancy)
        exchange.go(2000)
        for _ in range(12):
            for _ in range(rng.randrange(1, 8)):
                exchange.update()
                exchange.go(rng.randrange(1, 150))
            if rng.random() < 0.8:
                trouble(exchange)
        exchange.heartbeat()
        exchange.go(40_000)
        exchange.update()
        exchange.go(2000)
        exchange.tape.finish()
        try:
            check(exchange)
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}") from exc
