"""A recording shown as the exchange shows its market: frames, books that are whole, and a server for any client."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import pytest
from websockets import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from cryptofeed_cli import queries
from cryptofeed_cli.clock import Moment
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.feeds.base import Tick
from cryptofeed_cli.queries import Query
from cryptofeed_cli.recorded_stage import KINDS_SHOWN, RecordedStage, Wholeness, frames, instruments
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.stores.base import Store
from cryptofeed_cli.types import BookUpdate, Trade
from tests.okx_market import Market, generate, instrument
from tests.okx_server import OkxServer
from tests.processes import PATIENCE, Recording, Serving, environment, run, wait_until
from tests.stores.records import NOON, sample, trade, update

WANTED = [Query(kind) for kind in KINDS_SHOWN]
NOW: Moment = Tick(NOON * 10**6, 1)
SYMBOL = "BTC-USDT"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/m.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(open_store(url, writable=True)) as opened:
        yield opened


def fill(store: Store, seconds: int = 3) -> list[Any]:
    """Record trades, tickers and a chain of book updates of one symbol, ten of each a second."""
    times = [NOON + 100 * number for number in range(10 * seconds)]
    records: list[Any] = [trade(number, at, price=f"{100 + number}.50") for number, at in enumerate(times)]
    records += [sample("tickers", timestamp=at, last=f"{number}") for number, at in enumerate(times)]
    records.append(update(None, 10, action="snapshot", timestamp=times[0]))
    records += [update(number + 9, number + 10, timestamp=at) for number, at in enumerate(times) if number]
    store.write(records)
    return records


def understood(shown: Iterator[tuple[int, list[bytes]]]) -> list[Any]:
    """Return the records that a client makes of frames."""
    parse = Okx().parse
    return [record for _, several in shown for one in several for record in parse(one, NOW.at, "live").records]  # type: ignore[union-attr]


def content(record: Any) -> Any:
    return msgspec.structs.replace(record, received_at=0, source="live")


# Frames


def test_frames_mean_the_records_that_they_were_made_of(store: Store) -> None:
    records = fill(store)
    told = understood(frames(store, WANTED, Okx()))

    for kind in (Trade, BookUpdate, type(sample("tickers"))):
        assert [content(one) for one in told if type(one) is kind] == [
            content(one) for one in records if type(one) is kind
        ]


def test_each_stands_at_its_time_kind_by_kind(store: Store) -> None:
    fill(store)
    shown = list(frames(store, WANTED, Okx()))

    assert [time for time, _ in shown] == sorted(time for time, _ in shown)
    assert [json.loads(one)["arg"]["channel"] for one in shown[1][1]] == ["trades-all", "tickers", "books"]


def admitted(*updates: BookUpdate) -> list[tuple[str, int | None, int]]:
    whole = Wholeness()
    return [(one.action, one.prev_sequence, one.sequence) for one in map(whole.admit, updates) if one is not None]


def test_before_a_whole_book_its_updates_mean_nothing() -> None:
    assert admitted(update(1, 2), update(2, 3), update(None, 3, action="checkpoint"), update(3, 4)) == [
        ("snapshot", None, 3), ("update", 3, 4),
    ]  # fmt: skip


def test_a_checkpoint_of_a_book_that_is_whole_is_not_sent() -> None:
    assert admitted(update(None, 3, action="snapshot"), update(None, 3, action="checkpoint"), update(3, 5)) == [
        ("snapshot", None, 3), ("update", 3, 5),
    ]  # fmt: skip


def test_after_a_break_nothing_is_sent_until_there_is_a_whole_book_again() -> None:
    first, second = update(None, 3, action="snapshot"), update(None, 20, action="snapshot")
    assert admitted(first, update(7, 8), update(8, 9), second, update(20, 21)) == [
        ("snapshot", None, 3), ("snapshot", None, 20), ("update", 20, 21),
    ]  # fmt: skip


def test_a_sequence_may_be_reset_within_its_chain() -> None:
    assert admitted(update(None, 30, action="snapshot"), update(30, 5), update(5, 6))[-2:] == [
        ("update", 30, 5), ("update", 5, 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        ("BTC-USDT", "SPOT"), ("BTC-USDT-SWAP", "SWAP"), ("BTC-USD-261225", "FUTURES"),
        ("BTC-USD-261225-90000-C", "OPTION"),
    ],
)
def test_an_instrument_that_was_never_recorded_is_known_by_its_name(store: Store, symbol: str, kind: str) -> None:
    store.write([trade(1, symbol=symbol)])

    (one,) = instruments(store, WANTED, Okx())
    assert (one.symbol, one.type) == (symbol, kind)


def test_time_passes_in_steps_and_ends_with_the_last_record(store: Store) -> None:
    fill(store, 1)
    stage = RecordedStage(store, WANTED, Okx())
    desk = stage.desk("business")
    desk.receive(Okx().subscribe([Topic("trades-all", SYMBOL)], "1"))
    sent = [(stage.now_ms, len(stage.advance())) for _ in range(91)]

    assert [at - NOON + stage.step_ms for at, count in sent if count] == list(range(0, 1000, 100))
    assert stage.over
    assert stage.shown == 30


# The command


def test_okx_frames_are_printed_one_a_line_and_the_same_every_time(tmp_path: Path, url: str, store: Store) -> None:
    records = fill(store)
    ran = [
        run(["replay", "--format", "okx", "--speed", "0", "--store", url], environment(tmp_path), tmp_path)
        for _ in range(2)
    ]

    assert ran[0].returncode == 0
    assert ran[0].stdout == ran[1].stdout
    assert len(ran[0].stdout.splitlines()) == len(records)
    assert f"replayed {len(records)} frames and 0 gaps".encode() in ran[0].stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--serve", "0", "--format", "okx"], "--serve and --format exclude each other"),
        (["--serve", "0", "--speed", "0"], "--serve needs a --speed above 0"),
        (["--serve", "0", "--on-gap", "mark"], "the exchange has no word for a gap"),
        (["--format", "okx", "--on-gap", "mark"], "the exchange has no word for a gap"),
        (["orderbooks", "--serve", "0"], "orderbooks are sampled here; the exchange sends book_updates"),
        (["--timeline", "own"], "--timeline own says whose time it is with --serve"),
        (["--serve", "nowhere"], "--serve 'nowhere' is no address"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, url: str, store: Store, arguments: list[str], said: str
) -> None:
    store.write([trade(1)])
    done = run(["replay", *arguments, "--store", url], environment(tmp_path), tmp_path)

    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert said in line


def test_where_nothing_is_stored_nothing_is_served(tmp_path: Path, url: str, store: Store) -> None:
    store.write([trade(1)])
    arguments = ["replay", "-s", "NO-SUCH", "--serve", "0", "--store", url]
    done = run(arguments, environment(tmp_path), tmp_path)

    assert done.returncode == 0
    assert b"nothing of that is stored" in done.stderr


# Its clients


def socket(server: Serving, endpoint: str) -> ClientConnection:
    return connect(server.variables[f"CRYPTOFEED_OKX_{endpoint.upper()}_URL"])


def subscribe(client: ClientConnection, channel: str) -> None:
    client.send(Okx().subscribe([Topic(channel, SYMBOL)], "1"))


def ids(client: ClientConnection, most: int = 10**6) -> list[str]:
    """Return the ids of trades that come, until the connection ends or there are so many."""
    found: list[str] = []
    while len(found) < most:
        try:
            message = json.loads(client.recv(PATIENCE))
        except ConnectionClosed:
            assert (client.close_code, client.close_reason) == (1000, "the recording is over")
            break
        found += [row["tradeId"] for row in message.get("data", ())]
    return found


def test_a_client_receives_its_subscription_at_its_pace_and_is_let_go_at_the_end(
    tmp_path: Path, url: str, store: Store
) -> None:
    fill(store)
    with Serving("--store", url, "--speed", "2", cwd=tmp_path, command="replay") as server:
        with socket(server, "business") as client:
            assert client.response is not None
            assert client.response.headers["X-Cryptofeed-Source"] == "replay"
            subscribe(client, "trades-all")
            assert ids(client)[-25:] == [str(number) for number in range(5, 30)]
        assert server.process.wait(PATIENCE) == 0


def test_rest_tells_the_time_of_the_replay_and_what_happened_until_then(
    tmp_path: Path, url: str, store: Store
) -> None:
    fill(store)

    def asked(path: str) -> Any:
        with urlopen(Request(f"{server.rest_url}/api/v5{path}"), timeout=PATIENCE) as answer:  # noqa: S310 - ours
            assert answer.headers["X-Cryptofeed-Source"] == "replay"
            return json.loads(answer.read())["data"]

    with (
        Serving("--store", url, cwd=tmp_path, command="replay") as server, socket(server, "business") as client
    ):  # fmt: skip
        subscribe(client, "trades-all")
        seen = ids(client, 8)
        (told,) = asked("/public/time")
        past = [row["tradeId"] for row in asked(f"/market/history-trades?instId={SYMBOL}")]
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0

    assert NOON + 700 <= int(told["ts"]) < NOON + 3_000
    assert set(seen) <= set(past)


def test_a_timeline_of_its_own_begins_with_each_connection(tmp_path: Path, url: str, store: Store) -> None:
    fill(store)
    with Serving("--store", url, "--timeline", "own", cwd=tmp_path, command="replay") as server:
        with socket(server, "business") as one:
            subscribe(one, "trades-all")
            assert len(ids(one, 10)) == 10
            with socket(server, "business") as other:
                subscribe(other, "trades-all")
                assert int(ids(other, 1)[0]) < 5
            assert int(ids(one, 1)[0]) >= 10
        assert server.process.poll() is None


def test_in_a_loop_the_next_client_finds_the_beginning_again(tmp_path: Path, url: str, store: Store) -> None:
    fill(store, 1)
    with Serving("--store", url, "--loop", cwd=tmp_path, command="replay") as server:
        for _ in range(2):
            with socket(server, "business") as client:
                subscribe(client, "trades-all")
                found = ids(client)
                assert (int(found[0]) < 5, found[-1]) == (True, "9")


def test_our_recorder_records_it_and_labels_everything(tmp_path: Path) -> None:
    here, there = (tmp_path / name for name in ("here", "there"))
    here.mkdir()
    there.mkdir()
    first, second = f"sqlite:///{here}/m.db", f"sqlite:///{there}/m.db"
    channels = ["--channels", "trades,tickers,book_updates"]
    with (
        OkxServer(Market([instrument(SYMBOL)])) as exchange,
        Recording([SYMBOL, *channels, "--store", first], environment(here, exchange), here) as recording,
    ):
        exchange.wait_for("subscribe", count=3)
        exchange.play(generate([SYMBOL], 300, Random(1), 1_795_000_000_000), speed=1).result(PATIENCE)
        wait_until(lambda: len(stored(first, "trades")) > 50, "trades")
        assert recording.stop() == 0
    with (
        Serving("--store", first, cwd=here, command="replay") as server,
        Recording([SYMBOL, *channels, "--store", second], environment(there, **server.variables), there) as recording,
    ):
        assert server.process.wait(PATIENCE) == 0
        assert recording.stop() == 0

    assert stored(second, "trades") == []
    for kind in KINDS_SHOWN:
        made, real = (
            [content(one) for one in found if getattr(one, "action", "") != "checkpoint"]
            for found in (stored(second, kind, simulated=True), stored(first, kind))
        )
        assert len(made) > len(real) // 2
        # Two clients come one after the other, and what was before is over: a book begins with a snapshot of its own.
        made = [one for one in made if getattr(one, "action", "") != "snapshot"]
        kept = [msgspec.structs.replace(one, run_id=None, episode=None) for one in made]
        assert kept == real[-len(kept) :]


def stored(url: str, kind: str, *, simulated: bool = False) -> list[Any]:
    with closing(open_store(url, writable=False)) as opened:
        sources = frozenset({"simulated"}) if simulated else queries.REAL
        return list(queries.run(opened, Query(kind, sources=sources)))  # type: ignore[arg-type]
