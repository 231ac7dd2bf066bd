"""The recorder: when it flushes, what it says, how it ends; with scripted parts, and real ones where they matter."""

from __future__ import annotations

import random
import re
import signal
import socket
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain, pairwise
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest

from cryptofeed_cli import recorder as recording
from cryptofeed_cli.clock import MILLISECOND, SECOND, SystemClock
from cryptofeed_cli.connections import Note
from cryptofeed_cli.errors import NothingReceived, OutboxRefused, StoreUnreachable, SymbolsRefused, ThreadDied
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Answer, Closed, Connect, Died, Drop, Event, Fetch, Frame, Opened, Send
from cryptofeed_cli.recorder import HEARTBEAT, TICK, Recorder
from cryptofeed_cli.session import Session, SessionOptions
from cryptofeed_cli.standing import Standing
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.types import KINDS, Gap, Record, Run, Trade
from cryptofeed_cli.views import State, View
from cryptofeed_cli.writer import Writer
from tests.okx_market import dump, generate
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, wait_until
from tests.raw_server import RawServer
from tests.scripted import ManualClock, MemoryOutbox, Script, ScriptedFeed, ScriptedStore, trade_frame
from tests.stores.records import NOON, sample

SYMBOL = "BTC-USDT"


class NotingWriter(Writer):
    """Notes when each batch was submitted; waiting in vain lasts as long on a clock that is manual."""

    def __init__(self, store: Store, outbox: Any, clock: Any, patience: int) -> None:
        super().__init__(store, outbox, clock=clock, rng=random.Random(1), patience=patience)
        self.submitted: list[tuple[int, list[Record]]] = []
        self._noted_by = clock

    def submit(self, batch: Sequence[Record], timeout: float) -> bool:
        taken = super().submit(batch, timeout)
        if taken:
            self.submitted.append((self._noted_by.monotonic(), list(batch)))
        elif isinstance(self._noted_by, ManualClock):
            self._noted_by.advance(int(timeout * SECOND))
        return taken


class Rig:
    """A recorder of trades of one symbol whose feed, clock and (unless another is given) store do as they are told."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        clock: Any = None,
        channels: Sequence[str] = ("trades",),
        flush_interval: int = SECOND // 4,
        flush_records: int = 2000,
        queued: Sequence[Event] = (),
        patience: int = 3600 * SECOND,
    ) -> None:
        self.clock = clock or ManualClock()
        self.stop = Flag()
        self.store = store or ScriptedStore()
        self.views: list[View] = []
        self.feed = ScriptedFeed(self.clock, self.stop, queued)
        self.outbox = MemoryOutbox()
        if isinstance(self.store, ScriptedStore):
            self.store.clock = self.clock.now
        self.writer = NotingWriter(self.store, self.outbox, self.clock, patience)
        self.told: list[Standing] = []
        records: list[Record] = []
        options = SessionOptions(run_id="run-1", symbols=(SYMBOL,), channels=tuple(channels))
        self.session = Session(Okx(), options, records.append)
        run = sample("runs", started_at=self.clock.now(), heartbeat_at=self.clock.now(), counters={})
        self.recorder = Recorder(
            self.feed, self.session, records, self.writer, run,
            clock=self.clock, flush_interval=flush_interval, flush_records=flush_records, watch=self.views.append,
            tell=self.told.append,
        )  # fmt: skip

    def play(self, script: Script, until: int | None = None) -> View:
        """Record until the script is over; it begins when the connections have been asked for."""
        self.feed.play(chain([[]], script))
        return self.recorder.record(self.stop, until)

    def opened(self, announced: str | None = None) -> list[Event]:
        """Every connection that was asked for is up."""
        numbers = self.feed.connections().values()
        return [Opened(number, self.clock.now(), self.clock.monotonic(), announced) for number in numbers]

    def closed(self, reason: str, code: int | None = None) -> list[Event]:
        """No connection is up."""
        now, monotonic = self.clock.now(), self.clock.monotonic()
        return [Closed(n, now, monotonic, code, reason, SECOND) for n in self.feed.connections().values()]

    def trade(self, trade_id: int, price: str = "100.5") -> Frame:
        """A trade of this moment."""
        return trade_frame(self.feed.connections()["business"], trade_id, self.clock, price=price)

    def frame(self, message: object) -> Frame:
        """Any frame of this moment on the socket of the trades."""
        connection = self.feed.connections()["business"]
        return Frame(connection, dump(message), self.clock.now(), self.clock.monotonic())

    def stored(self, kind: type[Any]) -> list[Any]:
        """The records of one type that a scripted store was given."""
        assert isinstance(self.store, ScriptedStore)
        return [record for record in self.store.records if isinstance(record, kind)]

    def batches(self, kind: type[Any]) -> list[tuple[int, int]]:
        """When a batch with records of a type was submitted, in nanoseconds since the start, and how many it held."""
        found = [(at - 7 * SECOND, [r for r in batch if isinstance(r, kind)]) for at, batch in self.writer.submitted]
        return [(at, len(records)) for at, records in found if records]


def ids(trades: Sequence[Trade]) -> list[int]:
    return [int(trade.trade_id) for trade in trades]


# Flushing


def test_records_wait_for_the_flush_interval_and_no_longer() -> None:
    rig = Rig(flush_interval=SECOND)

    def script() -> Script:
        yield rig.opened()
        for number in range(1, 101):
            yield [rig.trade(number)]

    rig.play(script())
    flushes = rig.batches(Trade)

    assert [at2 - at1 for (at1, _), (at2, _) in pairwise(flushes)] == [SECOND] * 4
    assert ids(rig.stored(Trade)) == list(range(1, 101))


def test_records_do_not_wait_once_there_are_enough_and_no_batch_is_larger() -> None:
    rig = Rig(flush_interval=3600 * SECOND, flush_records=10)

    def script() -> Script:
        yield rig.opened()
        for number in range(1, 10):
            yield [rig.trade(number)]
        assert rig.batches(Trade) == []
        yield [rig.trade(number) for number in range(10, 36)]
        assert [size for _, size in rig.batches(Trade)] == [10, 10, 10, 5]

    rig.play(script())

    assert ids(rig.stored(Trade)) == list(range(1, 36))


def test_what_the_feed_still_held_at_the_stop_is_recorded() -> None:
    rig = Rig()
    rig.feed._queued = [trade_frame(connection, number, rig.clock) for connection in (0, 1) for number in (2, 3)]

    def script() -> Script:
        yield rig.opened()
        rig.feed._queued = [rig.trade(2), rig.trade(3)]
        yield [rig.trade(1)]

    view = rig.play(script())

    assert ids(rig.stored(Trade)) == [1, 2, 3]
    assert view.frames == 3


# A store that is stuck


def test_a_store_that_is_stuck_holds_the_frames_back_in_the_feed_and_nothing_is_lost() -> None:
    store = ScriptedStore()
    store.answering.clear()
    rig = Rig(store, clock=SystemClock(), flush_interval=MILLISECOND, flush_records=10)
    progress: list[int] = []

    def watch(_: View) -> None:
        progress.append(rig.feed.taken)
        if len(progress) > 5 and len(set(progress[-5:])) == 1:
            store.answering.set()

    rig.recorder._watch = watch
    total = 400

    def script() -> Script:
        yield rig.opened()
        for number in range(1, total, 4):
            yield [rig.trade(number + place) for place in range(4)]
            if not store.answering.is_set():
                assert number < 150, "the feed was asked for more although nothing was stored"

    rig.play(script())

    assert ids(rig.stored(Trade)) == list(range(1, total + 1))


def test_a_store_that_is_away_holds_nothing_back_and_a_stop_leaves_everything_in_the_outbox() -> None:
    store = ScriptedStore()
    store.error = StoreUnreachable("scripted:", "does not answer")
    rig = Rig(store, clock=SystemClock(), flush_interval=MILLISECOND, flush_records=10)

    def script() -> Script:
        yield rig.opened()
        for number in range(1, 500):
            yield [rig.trade(number)]

    view = rig.play(script())

    kept = [record for batch in rig.outbox.batches.values() for record in batch]
    assert ids([record for record in kept if isinstance(record, Trade)]) == list(range(1, 500))
    assert isinstance(kept[-1], Run)
    assert kept[-1].state == "stopped"
    assert (view.away, view.outbox.records, view.written.inserted) == ("does not answer", len(kept), 0)
    assert (rig.told[-1].state, rig.told[-1].outbox_records) == ("STOPPED", len(kept))


# Nothing takes anything


class Stuck(Rig):
    """Neither its store nor its outbox takes anything, from `shut` to `open`."""

    def __init__(self) -> None:
        super().__init__(
            ScriptedStore(), clock=SystemClock(), flush_interval=MILLISECOND, flush_records=10, channels=CHANNELS
        )

    def shut(self) -> None:
        self.scripted.error = StoreUnreachable("scripted:", "does not answer")
        self.outbox.full = True

    def open(self) -> None:
        self.scripted.error, self.outbox.full = None, False

    @property
    def scripted(self) -> ScriptedStore:
        assert isinstance(self.store, ScriptedStore)
        return self.store

    def until(self, true: Callable[[], object]) -> Script:
        """Let it turn and turn until something holds."""
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.01)
            yield []

    def is_in(self, state: State) -> Callable[[], bool]:
        return lambda: self.recorder._state is state


CHANNELS = ("trades", "tickers")


def test_a_recorder_that_can_keep_nothing_halts_and_names_what_was_refused_once_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Stuck()

    def script() -> Script:
        yield rig.opened()
        for number in range(1, 101):
            yield [rig.trade(number)]
        yield from rig.until(lambda: len(rig.stored(Trade)) == 100)
        rig.shut()
        for number in range(101, 111):
            yield [rig.trade(number)]
        yield from rig.until(rig.is_in(State.HALTED))
        yield []
        assert [action for action in rig.feed.actions if isinstance(action, Drop)] == [Drop(0), Drop(1)]
        rig.open()
        yield from rig.until(rig.is_in(State.RECONNECTING))
        yield rig.opened()
        yield [rig.trade(121), rig.trade(122)]

    rig.play(script())
    latest = {gap.gap_id: gap for gap in rig.stored(Gap)}
    (gap,) = [gap for gap in latest.values() if gap.channel == "trades"]

    assert ids(rig.stored(Trade)) == [*range(1, 101), 121, 122]
    assert (gap.kind, gap.fault, gap.status) == ("writer", "us", "open")
    assert (gap.first_missing, gap.last_missing, gap.missing) == ("101", "120", 20)
    assert gap.start == rig.stored(Trade)[99].timestamp
    assert gap.end == rig.stored(Trade)[100].timestamp
    assert "nothing can be made durable (outbox scripted.outbox: the disk is full; make room)" in caplog.text
    assert "something can be made durable again" in caplog.text
    assert State.HALTED in {view.state for view in rig.views}


def test_a_halted_recorder_keeps_little_in_memory_and_stops_on_request_saying_what_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recording, "PATIENCE", 0.2)
    rig = Stuck()

    def script() -> Script:
        yield rig.opened()
        for number in range(1, 101):
            yield [rig.trade(number)]
        rig.shut()
        yield [rig.trade(101)]
        yield from rig.until(rig.is_in(State.HALTED))
        assert len(rig.recorder._kept) < 10
        for number in range(1000):
            yield [rig.trade(number)]  # of a connection that is none any more
        assert len(rig.recorder._records) + len(rig.recorder._kept) < 20

    with pytest.raises(OutboxRefused, match="the disk is full"):
        rig.play(script())
    assert re.search(r"\d+ records are durable nowhere", caplog.text)


def test_no_connection_is_taken_for_dead_while_its_frames_wait_for_the_store() -> None:
    store = ScriptedStore()
    rig = Rig(store, flush_interval=MILLISECOND, flush_records=1)
    looks = 0

    def watch(_: View) -> None:
        nonlocal looks
        if rig.recorder._behind:
            looks += 1
            rig.clock.advance(60 * SECOND)
            if looks == 5:
                store.answering.set()

    rig.recorder._watch = watch

    def script() -> Script:
        yield rig.opened()
        yield [rig.frame({"event": "subscribe", "arg": {"channel": "trades-all", "instId": SYMBOL}})]
        store.answering.clear()
        for number in range(1, 31):
            yield [rig.trade(number)]

    rig.play(script())

    assert looks >= 5
    # Neither a ping nor a reset.
    assert [type(action) for action in rig.feed.actions if not isinstance(action, Fetch)] == [Connect, Send]
    assert ids(rig.stored(Trade)) == list(range(1, 31))


# What ends a recording


def test_a_dead_thread_is_named_after_everything_before_it_was_stored() -> None:
    rig = Rig()
    error = ZeroDivisionError("division by zero")

    def script() -> Script:
        yield rig.opened()
        now, monotonic = rig.clock.now(), rig.clock.monotonic()
        yield [rig.trade(1), rig.trade(2), Died("feed-business-0", now, monotonic, error)]
        pytest.fail("the recording went on")

    with pytest.raises(ThreadDied, match="thread feed-business-0 ended unexpectedly: ZeroDivisionError") as caught:
        rig.play(script())
    assert caught.value.__cause__ is error
    assert ids(rig.stored(Trade)) == [1, 2]
    assert rig.stored(Run)[-1].state == "failed"
    assert rig.feed.closed


@pytest.mark.parametrize("thread", ["writer", "spooler"])
def test_no_thread_dies_without_the_recording_ending(monkeypatch: pytest.MonkeyPatch, thread: str) -> None:
    monkeypatch.setattr(recording, "PATIENCE", 0.2)
    store = ScriptedStore()
    rig = Rig(store, clock=SystemClock(), flush_interval=MILLISECOND)

    def broken(*_: object) -> int:
        raise ZeroDivisionError("division by zero")

    def script() -> Script:
        yield rig.opened()
        yield [rig.trade(1)]
        if thread == "writer":
            store.error = ZeroDivisionError("division by zero")
        else:
            store.error = StoreUnreachable("scripted:", "does not answer")
            rig.outbox.append = broken  # type: ignore[method-assign]
        deadline = time.monotonic() + 60
        for number in range(2, 10**6):
            assert time.monotonic() < deadline, "the recording went on"
            yield [rig.trade(number)]

    with pytest.raises(ThreadDied, match=f"thread {thread} ended unexpectedly: ZeroDivisionError"):
        rig.play(script())
    assert rig.feed.closed


def test_a_duration_without_one_frame_says_what_was_in_the_way() -> None:
    rig = Rig()

    def script() -> Script:
        while True:
            yield rig.closed("connection refused")

    with pytest.raises(NothingReceived, match=r"OKX: not one live frame was received \(connection refused\)"):
        rig.play(script(), until=rig.clock.monotonic() + 2 * SECOND)
    assert rig.clock.elapsed <= 2 * SECOND + TICK
    assert rig.stored(Run)[-1].state == "stopped"


def test_a_refusal_of_everything_ends_it() -> None:
    rig = Rig()

    def script() -> Script:
        yield rig.opened()
        text = f"Wrong URL or channel:trades-all,instId:{SYMBOL} doesn't exist."
        yield [rig.frame({"event": "error", "code": "60018", "msg": text, "id": "c0r1"})]
        yield []
        pytest.fail("the recording went on")

    with pytest.raises(SymbolsRefused):
        rig.play(script())
    assert rig.stored(Run)[-1].state == "failed"


# What is said and counted


def test_every_note_is_logged_once_in_order_and_at_its_level(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard(deque[Any]):
        """The queues of a session, which tell of every note that they are given."""

        def append(self, given: Any) -> None:
            if isinstance(given, Note):
                heard.append((given.level.upper(), given.text))
            super().append(given)

    heard: list[tuple[str, str]] = []
    caplog.set_level("DEBUG", "cryptofeed_cli.recorder")
    monkeypatch.setattr("cryptofeed_cli.session.deque", Heard)
    rig = Rig(channels=("trades", "tickers"))

    def script() -> Script:
        yield rig.closed("connection refused")
        yield rig.closed("connection refused")
        yield rig.opened()
        yield [rig.trade(1)]
        yield rig.closed("going away", 1001)
        rig.feed._queued = rig.opened()

    rig.play(script())

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == heard
    assert caplog.text.count("cannot reach OKX business") == 1
    assert caplog.text.count("lost OKX business: going away") == 1
    assert caplog.messages[-1].startswith("connected to OKX")


def test_a_run_shows_itself_at_once_and_then_every_five_seconds() -> None:
    rig = Rig(flush_interval=3600 * SECOND)

    def script() -> Script:
        yield rig.opened()
        while rig.clock.elapsed < 61 * SECOND:
            yield []
            wait_until(lambda: rig.writer.idle, "the writer, for whom a minute passed in no time")

    rig.play(script())
    running = [run for run in rig.stored(Run) if run.state == "running"]
    beats = [run.heartbeat_at - NOON * MILLISECOND for run in running]

    assert beats[0] <= TICK
    assert [later - earlier for earlier, later in pairwise(beats)] == [HEARTBEAT] * 12
    assert all(run.ended_at is None for run in running)
    assert rig.stored(Run)[-1].state == "stopped"
    assert rig.stored(Run)[-1].ended_at == rig.clock.now()


def test_the_final_counters_are_what_is_stored(tmp_path: Path) -> None:
    with closing(open_store(f"sqlite:///{tmp_path}/market.db", writable=True)) as store:
        rig = Rig(store)

        def script() -> Script:
            fetch = next(action for action in rig.feed.actions if isinstance(action, Fetch))
            yield [Answer(fetch.request_id, rig.clock.now(), rig.clock.monotonic(), None, b"", "not now")]
            yield rig.opened()
            yield [rig.trade(number) for number in (1, 2, 3, 3, 4)]
            yield [rig.trade(2, price="7")]
            yield [rig.frame("nonsense")]
            yield [rig.trade(9)]
            yield from [[]] * 40  # longer than the grace of the hole

        view = rig.play(script())
        counters = next(store.scan(KINDS["runs"])).counters
    with closing(sqlite3.connect(tmp_path / "market.db")) as database:
        rows = {
            kind: database.execute(f"SELECT count(*) FROM {kind}").fetchone()[0]  # noqa: S608
            for kind in ("trades", "gaps", "rejects")
        }

    assert rows == {"trades": 5, "gaps": 1, "rejects": 2}
    assert (counters["frames"], counters["connects"]) == (8, 1)
    assert counters["gaps"] == rows["gaps"]
    assert counters["conflicts"] == 1
    assert counters["rejects"] == 1  # the conflict is the store's own
    assert counters["duplicates"] == 1
    assert counters["stored"] == rows["trades"] + rows["gaps"] + counters["rejects"]
    assert view.written.inserted == counters["stored"]


def test_the_state_in_one_word() -> None:
    rig = Rig(channels=("trades", "tickers"))

    def script() -> Script:
        yield from [[]] * 4
        yield rig.opened()
        yield from [[]] * 4
        yield rig.closed("bye")[:1]
        yield from [[]] * 4
        yield rig.opened()
        yield from [[]] * 4
        yield rig.closed("bye")
        yield rig.opened("simulated")
        yield from [[]] * 4

    rig.play(script())
    states = [view.state for view in rig.views]
    changes = [after for before, after in zip([None, *states], states, strict=False) if after != before]

    assert changes == [
        State.CONNECTING, State.LIVE, State.RECONNECTING, State.LIVE, State.RECONNECTING, State.SIMULATED
    ]  # fmt: skip


def test_a_view_tells_how_each_symbol_stands() -> None:
    rig = Rig()

    def script() -> Script:
        yield rig.opened()
        frame = rig.trade(1, price="100.50")
        yield [Frame(frame.connection, frame.data, frame.at + 40 * MILLISECOND, frame.monotonic)]
        yield from [[]] * 10

    (row,) = rig.play(script()).symbols

    assert (row.symbol, row.price, row.lag_ms, row.book_valid, row.gaps) == (SYMBOL, "100.50", 40, None, 0)
    assert row.stored == {"trades": 1}


def test_a_clock_that_is_set_back_does_not_touch_the_time_elapsed() -> None:
    rig = Rig()

    def script() -> Script:
        yield rig.opened()
        rig.clock.now = lambda: 0  # type: ignore[method-assign]
        yield from [[rig.trade(1)], [], []]

    assert rig.play(script()).elapsed == rig.clock.elapsed


# With real parts


def test_nothing_that_a_real_server_sent_is_lost(tmp_path: Path) -> None:
    tape = generate([SYMBOL], 3000, random.Random(3), time.time_ns() // MILLISECOND)
    trades = [int(push.row["tradeId"]) for push in tape if push.channel == "trades"]
    with OkxServer() as server, Recording([SYMBOL], environment(tmp_path, server), tmp_path) as process:
        for channel in ("trades-all", "books", "tickers"):
            server.wait_for("subscribe", channel=channel, symbol=SYMBOL)
        server.play(tape).result(30)
        last = [(trades[-1],)]
        wait_until(lambda: rows(tmp_path, "SELECT max(trade_id) FROM trades") == last, "the last trade in the store")
        assert process.stop() == 0

    assert rows(tmp_path, "SELECT trade_id FROM trades ORDER BY timestamp, trade_id") == [(one,) for one in trades]
    assert rows(tmp_path, "SELECT * FROM gaps") == []


def rows(directory: Path, sql: str) -> list[Any]:
    """Ask the store that a process records into; nothing where there is none yet."""
    try:
        with closing(sqlite3.connect(f"file:{directory}/market.db?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return []


@contextmanager
def nobody_answers() -> Iterator[str]:
    """An address at which connecting neither succeeds nor fails: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers: list[socket.socket] = []
        try:
            for _ in range(20):
                filler = socket.socket()
                fillers.append(filler)
                filler.settimeout(0.3)
                try:
                    filler.connect(listener.getsockname())
                except TimeoutError:
                    yield f"127.0.0.1:{listener.getsockname()[1]}"
                    return
            pytest.skip("this system takes connections beyond its backlog")
        finally:
            for filler in fillers:
                filler.close()


@pytest.fixture(params=["refused", "hanging connect", "hanging upgrade"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where no connection can be made, each in another way."""
    match request.param:
        case "refused":
            with socket.socket() as unheard:
                unheard.bind(("127.0.0.1", 0))
                yield f"127.0.0.1:{unheard.getsockname()[1]}"
        case "hanging connect":
            with nobody_answers() as address:
                yield address
        case "hanging upgrade":
            with RawServer(lambda _: b"", hang_up=False) as raw:
                yield raw.url.split("/")[2]


def test_a_stop_is_prompt_where_no_connection_can_be_made(tmp_path: Path, address: str) -> None:
    urls = {
        "CRYPTOFEED_OKX_PUBLIC_URL": f"ws://{address}/ws/v5/public",
        "CRYPTOFEED_OKX_BUSINESS_URL": f"ws://{address}/ws/v5/business",
        "CRYPTOFEED_OKX_REST_URL": f"http://{address}",
        "CRYPTOFEED_NETWORK_CONNECT_TIMEOUT": "60s",
    }
    with Recording([SYMBOL], environment(tmp_path, **urls), tmp_path) as process:
        wait_until(lambda: rows(tmp_path, "SELECT 1 FROM runs"), "the first sign of life in the store")
        start = time.monotonic()
        assert process.stop(signal.SIGTERM) == 0
        assert time.monotonic() - start < RawServer.PATIENCE / 2
