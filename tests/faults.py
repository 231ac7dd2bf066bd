"""An exchange that goes wrong on request while a real recorder records it, and what the store must hold afterwards."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from cryptofeed_cli.output import write_jsonl
from cryptofeed_cli.queries import Query, run
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import KINDS
from tests.okx_market import BUSINESS, PUBLIC, Market, Push, dump, generate, instrument, write_frame
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, wait_until

SYMBOLS = ("BTC-USDT", "ETH-USDT-SWAP")
CHANNELS = ("trades", "tickers", "orderbooks", "book_updates")
WIRES = {"trades": "trades-all", "tickers": "tickers", "books": "books"}
SLACK_MS = 1000
MALFORMED = (
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"arg":{}}', b'{"arg":{"channel":"books","instId":"BTC-USDT"}}',
    b'{"arg":{"channel":"trades-all","instId":"BTC-USDT"},"data":[{"tradeId":"x"}]}',
    b'{"arg":{"channel":"trades-all","instId":"NO-SUCH"},"data":[]}', b"[" * 5000, b'{"event":"news"}', b"pong",
    b'{"event":"error","code":"60012","msg":"Invalid request"}',
)  # fmt: skip


class Scene:
    """A market, the server that tells of it, and what was done to both."""

    def __init__(self, server: OkxServer, recording: Recording, rng: Random, count: int) -> None:
        self.server = server
        self.recording = recording
        self.rng = rng
        begin = time.time_ns() // 10**6 - 30 * 60_000  # the market runs faster than the clock
        self._tape = iter(generate(SYMBOLS, count, rng, begin))
        self.sequences: dict[tuple[str, int], tuple[list[list[str]], list[list[str]]]] = {}
        """Every book that ever was: by symbol and sequence its bids and asks."""
        self.absent: dict[str, set[int]] = {symbol: set() for symbol in SYMBOLS}
        """Ids that neither push nor REST ever showed."""
        self.last: dict[str, dict[str, Push]] = {}

    def next(self, channel: str | None = None) -> Push:
        """Return the next thing to happen, of one channel if need be: what is passed over happens first."""
        while True:
            push = next(self._tape)
            if channel in (None, push.channel):
                return push
            self.happen(push)

    def happen(self, *pushes: Push) -> None:
        """Let something happen, and remember the truth of it."""
        for push in pushes:
            self.server.push(push)
            self.last.setdefault(push.symbol, {})[push.channel] = push
            if push.channel == "books":
                book = self.server.market.books[push.symbol]
                bids, asks = ([level[:2] for level in book.side(side)] for side in ("bids", "asks"))
                self.sequences[push.symbol, push.row["seqId"]] = (bids, asks)

    def go(self, count: int = 10) -> None:
        """Let the market go on."""
        for _ in range(count):
            self.happen(self.next())

    @contextmanager
    def unheard(self, channel: str, symbol: str) -> Iterator[None]:
        """What happens in here is not pushed."""
        self.server.silence(channel=WIRES[channel], symbol=symbol)
        yield
        self.server.silence(False, channel=WIRES[channel], symbol=symbol)

    def lose(self, channel: str) -> Push:
        """Let one thing happen that is not pushed."""
        push = self.next(channel)
        with self.unheard(channel, push.symbol):
            self.happen(push)
        return push

    def settle(self) -> None:
        """Let every channel of every symbol speak once more, so that no loss is at the very end."""
        due = {(symbol, channel) for symbol in SYMBOLS for channel in WIRES}
        while due:
            push = self.next()
            self.happen(push)
            due.discard((push.symbol, push.channel))


# Faults: each is done to a scene. None of them waits for anything.


def reset(scene: Scene) -> None:
    scene.server.drop(scene.rng.choice((PUBLIC, BUSINESS, None)))


def close(scene: Scene, code: int | None = None) -> None:
    scene.server.close(scene.rng.choice((PUBLIC, BUSINESS)), code=code or scene.rng.choice((4004, 4005, 1009, 1001)))


def refusal(scene: Scene) -> None:
    scene.server.outage(scene.rng.uniform(0.05, 0.5))


def lost_update(scene: Scene) -> None:
    scene.lose("books")


def lost_trade(scene: Scene) -> None:
    scene.lose("trades")


def absent_trade(scene: Scene) -> None:
    """A trade that exists for nobody, but for its id."""
    push = scene.next("trades")
    scene.absent[push.symbol].add(int(push.row["tradeId"]))


def duplicate(scene: Scene) -> None:
    for symbol in SYMBOLS:
        for channel, push in scene.last.get(symbol, {}).items():
            wire = WIRES[channel]
            path = BUSINESS if channel == "trades" else PUBLIC
            scene.server.send(write_frame(wire, symbol, push.row, push.action), path)


def swapped(scene: Scene, channel: str | None = None) -> None:
    """Two frames in the wrong order, less than the grace apart."""
    channel = channel or scene.rng.choice(("books", "trades"))
    late = scene.lose(channel)
    scene.happen(scene.next(channel))
    path = BUSINESS if channel == "trades" else PUBLIC
    scene.server.send(write_frame(WIRES[channel], late.symbol, late.row, late.action), path)


def other_time(scene: Scene) -> None:
    """A trade whose push and REST disagree about when it was."""
    push = scene.lose("trades")
    row = {**push.row, "ts": str(int(push.row["ts"]) + 1)}
    scene.server.send(write_frame("trades-all", push.symbol, row), BUSINESS)


def legal_reset(scene: Scene) -> None:
    """The exchange renumbers a book: the update that does it has a lower sequence than the one before."""
    push = scene.next("books")
    symbol, low = push.symbol, scene.rng.randrange(10**6)
    row = {**push.row, "seqId": low}
    scene.happen(push._replace(row=row))
    scene.server.market.books[symbol].last["seqId"] = low
    following = scene.next("books")
    while following.symbol != symbol:
        scene.happen(following)
        following = scene.next("books")
    scene.happen(following._replace(row={**following.row, "prevSeqId": low}))


def upgrade(scene: Scene) -> None:
    path = scene.rng.choice((PUBLIC, BUSINESS))
    scene.server.notice(path)


def malformed(scene: Scene) -> None:
    scene.server.send(scene.rng.choice(MALFORMED), scene.rng.choice((PUBLIC, BUSINESS)))


def rest_in_trouble(scene: Scene) -> None:
    status, body = scene.rng.choice((
        (429, dump({"code": "50011", "msg": "Too Many Requests", "data": []})),
        (200, dump({"code": "50011", "msg": "Too Many Requests", "data": []})),
        (503, b"Service Unavailable"), (200, b"<html>"), (200, b""), (200, dump({"code": "0", "msg": "", "data": []})),
    ))  # fmt: skip
    scene.server.answer_rest("/api/v5/market/history-trades", status, body)
    scene.server.after(scene.rng.uniform(0.05, 0.4), scene.server.heal_rest)


def half_open(scene: Scene) -> None:
    """Sockets that stay open and say nothing, not even to a ping."""
    before = sum(seen.kind == "disconnect" for seen in scene.server.seen)
    scene.server.silence()
    scene.go(30)
    scene.server.wait_for("disconnect", count=before + 2)
    scene.server.silence(False)


def dead_channel(scene: Scene, channel: str) -> None:
    """One channel that says nothing, while everything else goes on."""
    scene.server.silence(channel=WIRES[channel])
    said = f"{WIRES[channel]} fell silent"
    wait_until(lambda: said in scene.recording.said or scene.go(5), said)
    scene.server.silence(False, channel=WIRES[channel])


def slow(scene: Scene) -> None:
    scene.server.delay(scene.rng.uniform(0.01, 0.2))
    scene.server.after(0.3, scene.server.delay, 0.0)


def data_before_acknowledgement(scene: Scene) -> None:
    scene.server.late_acknowledgements = True
    reset(scene)
    scene.server.after(1.0, setattr, scene.server, "late_acknowledgements", False)


FAULTS: dict[str, Callable[[Scene], None]] = {
    "tcp reset": reset,
    "close 4004": lambda scene: close(scene, 4004),
    "close 4005": lambda scene: close(scene, 4005),
    "close 4006": lambda scene: close(scene, 4006),
    "close 1009": lambda scene: close(scene, 1009),
    "refused for a while": refusal,
    "a book update lost": lost_update,
    "a trade lost from the push": lost_trade,
    "a trade lost from push and REST": absent_trade,
    "duplicates": duplicate,
    "book updates swapped": lambda scene: swapped(scene, "books"),
    "trades swapped": lambda scene: swapped(scene, "trades"),
    "two times of one trade": other_time,
    "legal reset": legal_reset,
    "notice 64008": upgrade,
    "malformed frames": malformed,
    "REST in trouble": lambda scene: (rest_in_trouble(scene), lost_trade(scene))[0],
    "everything late": slow,
    "data before its acknowledgement": data_before_acknowledgement,
}
SLOW_FAULTS: dict[str, Callable[[Scene], None]] = {
    "half-open sockets": half_open,
    "dead trades": lambda scene: dead_channel(scene, "trades"),
    "dead tickers": lambda scene: dead_channel(scene, "tickers"),
}
"""Faults that take as long as it takes to notice them."""


def recorder(
    home: Path, server: OkxServer, *arguments: str, url: str | None = None, **variables: str
) -> Recording:
    """Start a recorder of everything the server has; its store is in ``home`` unless another one is named."""
    usual = {
        "CRYPTOFEED_ORDERBOOK_DEPTH": "400",
        "CRYPTOFEED_ORDERBOOK_INTERVAL": "0s",
        "CRYPTOFEED_NETWORK_RETRY_MAX": "500ms",
        # Longer than a busy machine may stall: what is silent for so long was silenced.
        "CRYPTOFEED_OKX_PING_INTERVAL": "5s",
        "CRYPTOFEED_OKX_SILENCE": "5s",
    }
    store = url or f"sqlite:///{home}/market.db"
    flags = [*SYMBOLS, "--channels", ",".join(CHANNELS), "--store", store, *arguments]
    return Recording(flags, environment(home, server, **{**usual, **variables}), home)


@contextmanager
def recorded_scene(
    home: Path, seed: int, count: int, *arguments: str, url: str | None = None, away: bool = False, **variables: str
) -> Iterator[tuple[Scene, Recording, str]]:
    """A scene that a real recorder is subscribed to, and the URL of its store, which may be ``away``."""
    url = url or f"sqlite:///{home}/market.db"
    with (
        OkxServer(Market(map(instrument, SYMBOLS))) as server,
        recorder(home, server, *arguments, url=url, **variables) as recording,
    ):
        for wire in WIRES.values():
            for symbol in SYMBOLS:
                server.wait_for("subscribe", channel=wire, symbol=symbol)
        scene = Scene(server, recording, Random(seed), count)
        scene.settle()
        # What came before the first record of a symbol is nobody's loss.
        if not away:
            wait_until(lambda: all(rows(url, "trades", symbol) for symbol in SYMBOLS), "the first trades")
        yield scene, recording, url


def rows(url: str, kind: str, symbol: str | None = None, tail: int | None = None) -> list[dict[str, Any]]:
    """Return what a query tells."""
    stream = io.BytesIO()
    with closing(open_store(url, writable=False)) as store:
        records = run(store, Query(kind, symbols=() if symbol is None else (symbol,), tail=tail))
        write_jsonl(KINDS[kind], records, stream)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def ids(gaps: Iterable[dict[str, Any]]) -> set[int]:
    """Return the ids that gaps name."""
    return {
        number
        for gap in gaps
        if gap["channel"] == "trades" and gap["missing"]
        for number in range(int(gap["first_missing"]), int(gap["last_missing"]) + 1)
    }


def finish(scene: Scene, recording: Recording, url: str, *, speak: bool = True, complete: bool = True) -> None:
    """Let every channel ``speak`` once more, wait until the recorder has caught up, and end the recording.

    If it will not be ``complete``, the last of everything is waited for and no more.
    """
    market = scene.server.market

    def caught_up() -> bool:
        gaps = {symbol: rows(url, "gaps", symbol) for symbol in SYMBOLS}
        return not any(gap["status"] == "open" for told in gaps.values() for gap in told) and all(
            scene.absent[symbol] <= ids(gaps[symbol])
            and (not complete or len(rows(url, "trades", symbol)) == len(market.trades[symbol]))
            and rows(url, "trades", symbol, tail=1)[0]["trade_id"] == market.trades[symbol][-1]["tradeId"]
            and rows(url, "orderbooks", symbol, tail=1)[0]["sequence"] == market.books[symbol].last["seqId"]
            for symbol in SYMBOLS
        )

    if speak:
        scene.settle()
    wait_until(caught_up, "the recorder to catch up")
    assert recording.stop() == 0, recording.said


# What must hold afterwards


def check(scene: Scene, url: str) -> None:
    """Compare the store with the truth."""
    for symbol in SYMBOLS:
        gaps = rows(url, "gaps", symbol)
        check_trades(scene, symbol, rows(url, "trades", symbol), gaps)
        check_books(scene, symbol, rows(url, "orderbooks", symbol))
        check_chain(rows(url, "book_updates", symbol), gaps)
        check_others(gaps)


def check_trades(scene: Scene, symbol: str, stored: list[dict[str, Any]], gaps: list[dict[str, Any]]) -> None:
    """Every trade, once; and the ledger names what was fetched and what nobody has, and nothing else."""
    truth = {row["tradeId"]: row for row in scene.server.market.trades[symbol]}
    assert [trade["trade_id"] for trade in stored] == sorted(truth, key=int)
    for trade in stored:
        row = truth[trade["trade_id"]]
        assert (trade["price"], trade["size"], trade["side"]) == (row["px"], row["sz"], row["side"])
    times = {int(trade_id): int(row["ts"]) for trade_id, row in truth.items()}
    named = ids(gaps)
    for gap in gaps:
        if gap["channel"] != "trades":
            continue
        assert gap["status"] in ("filled", "absent_at_source"), gap
        if gap["missing"]:
            first, last = int(gap["first_missing"]), int(gap["last_missing"])
            inside = [at for number, at in times.items() if first <= number <= last]
            neighbours = [times[number] for number in (first - 1, last + 1) if number in times]
            start, end = (ms(gap[side]) for side in ("start", "end"))
            assert all(start <= at + SLACK_MS and at - SLACK_MS <= end for at in inside), gap
            assert all(start - SLACK_MS <= at <= end + SLACK_MS for at in neighbours), gap
            assert gap["missing"] == last - first + 1 or gap["kind"] in ("trade_ids", "writer"), gap
        else:
            assert (gap["status"], gap["missing"], gap["filled"]) == ("filled", 0, 0), gap
    fetched = {int(trade["trade_id"]) for trade in stored if trade["source"] == "backfill"}
    assert named == fetched | scene.absent[symbol] & set(range(min(times), max(times)))


def check_books(scene: Scene, symbol: str, stored: list[dict[str, Any]]) -> None:
    """Every book that was published was the exchange's at that sequence."""
    assert stored
    for book in stored:
        assert (book["bids"], book["asks"]) == scene.sequences[symbol, book["sequence"]], book["sequence"]


def check_chain(updates: list[dict[str, Any]], gaps: list[dict[str, Any]]) -> None:
    """The ledger of a book holds one loss for every snapshot after the first that is not of the same book.

    Beside them it holds only gaps in which nothing was lost.
    """
    updates = [update for update in updates if update["action"] != "checkpoint"]
    breaks = []
    for before, after in pairwise(updates):
        if after["action"] == "snapshot":
            if after["sequence"] != before["sequence"]:
                breaks.append((before["timestamp"], after["timestamp"], before["sequence"]))
        elif before["action"] == "update" or before["source"] == "live":
            assert after["prev_sequence"] == before["sequence"]
    mine = [gap for gap in gaps if gap["channel"] == "book_updates"]
    assert all(gap["status"] == "unrecoverable" or (gap["status"], gap["missing"]) == ("filled", 0) for gap in mine)
    lost = [gap for gap in mine if gap["status"] != "filled"]
    assert sorted((gap["start"], gap["end"]) for gap in lost) == sorted((start, end) for start, end, _ in breaks)
    last_before = {(start, end): str(sequence) for start, end, sequence in breaks}
    for gap in lost:
        if gap["kind"] == "sequence":
            assert gap["first_missing"] == last_before[gap["start"], gap["end"]], gap


def check_others(gaps: list[dict[str, Any]]) -> None:
    """What samples miss is what their book misses; tickers are only missed when nothing carried or stored them."""
    spans = {channel: [] for channel in CHANNELS}
    for gap in gaps:
        spans[gap["channel"]].append((gap["kind"], gap["start"], gap["end"], gap["status"]))
    assert sorted(spans["orderbooks"]) == sorted(spans["book_updates"])
    assert {kind for kind, *_ in spans["tickers"]} <= {"disconnect", "downtime", "silence", "writer"}
    assert {status for *_, status in spans["tickers"]} <= {"filled", "unrecoverable"}


def ms(text: str) -> int:
    """Turn a time of an output into milliseconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone
    return int(Decimal(seconds) * 1000) + int(fraction[:3])
