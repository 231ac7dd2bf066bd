"""`record` end to end: a real process, the OKX-speaking server, real stores, read back by `query`."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cryptofeed_cli.cli.main import app
from cryptofeed_cli.queries import Query
from cryptofeed_cli.queries import run as run_query
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import KINDS
from tests.captures import SYMBOLS, capture_market, capture_tape
from tests.okx_market import Push
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, query, run, wait_until

CHANNELS = "trades,tickers,orderbooks,book_updates"
WHOLE_BOOKS = {"CRYPTOFEED_ORDERBOOK_DEPTH": "400", "CRYPTOFEED_ORDERBOOK_INTERVAL": "0s"}


def naive_books(tape: list[Push]) -> Iterator[tuple[str, int, list[list[str]], list[list[str]]]]:
    """Rebuild every book in the plainest way: (symbol, sequence, bids, asks) after each frame."""
    books: dict[str, dict[str, dict[str, str]]] = {}
    for push in tape:
        if push.channel != "books":
            continue
        if push.action == "snapshot":
            books[push.symbol] = {"bids": {}, "asks": {}}
        for side, levels in books[push.symbol].items():
            for price, size, *_ in push.row[side]:
                levels.pop(price, None)
                if size != "0":
                    levels[price] = size
        bids, asks = (
            sorted(([*level] for level in books[push.symbol][side].items()), key=lambda level: Decimal(level[0]))
            for side in ("bids", "asks")
        )
        yield push.symbol, push.row["seqId"], bids[::-1], asks


def record_capture(url: str, home: Path) -> None:
    """Record the whole capture into a store with a real process, and stop it with Ctrl-C."""
    market, tape = capture_market()
    with OkxServer(market) as server:
        arguments = [*SYMBOLS, "--channels", CHANNELS, "--store", url]
        with Recording(arguments, environment(home, server, **WHOLE_BOOKS), home) as recording:
            for channel in ("trades-all", "tickers", "books"):
                for symbol in SYMBOLS:
                    server.wait_for("subscribe", channel=channel, symbol=symbol)
            server.play(tape).result(30)
            last = {push.symbol: push.row["seqId"] for push in tape if push.channel == "books"}
            wait_until(lambda: _holds(url, last, home), "the last book of each symbol in the store")
            assert recording.stop(signal.SIGINT) == 0
            assert "0 rejects" in recording.said


def _holds(url: str, last: dict[str, int], home: Path) -> bool:
    if url.startswith("sqlite") and not Path(url.removeprefix("sqlite:///")).exists():
        return False
    lines = query(url, "orderbooks", cwd=home).splitlines()
    seen = {(book["symbol"], book["sequence"]) for book in map(json.loads, lines)}
    counts = (int(query(url, kind, "--count", cwd=home)) for kind in ("trades", "tickers"))
    return set(last.items()) <= seen and tuple(counts) == (74, 28)


@pytest.fixture(params=["sqlite", "mongodb"])
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that holds the capture."""
    url: str = f"sqlite:///{tmp_path}/market.db" if request.param == "sqlite" else request.getfixturevalue("mongo_url")
    record_capture(url, tmp_path)
    return url


def test_every_trade_ticker_and_book_of_the_capture_is_stored_exactly(recorded: str, tmp_path: Path) -> None:
    tape = capture_tape()
    trades = [json.loads(line) for line in query(recorded, "trades", cwd=tmp_path).splitlines()]
    tickers = [json.loads(line) for line in query(recorded, "tickers", cwd=tmp_path).splitlines()]
    books = [json.loads(line) for line in query(recorded, "orderbooks", cwd=tmp_path).splitlines()]
    stored = {(book["symbol"], book["sequence"]): (book["bids"], book["asks"]) for book in books}

    assert {(t["symbol"], t["trade_id"], t["price"], t["size"], t["side"]) for t in trades} == {
        (p.symbol, p.row["tradeId"], p.row["px"], p.row["sz"], p.row["side"]) for p in tape if p.channel == "trades"
    }
    assert len(trades) == 74
    assert len(tickers) == 28
    assert sorted((t["symbol"], t["last"], t["bid_size"]) for t in tickers) == sorted(
        (p.symbol, p.row["last"], p.row["bidSz"]) for p in tape if p.channel == "tickers"
    )
    assert len([push for push in tape if push.channel == "books"]) == 290
    shown: dict[str, object] = {}
    for symbol, sequence, bids, asks in naive_books(tape):
        # An update that changes nothing (it deletes what is not there) repeats no book.
        shown[symbol] = stored.get((symbol, sequence), shown.get(symbol))
        assert shown[symbol] == (bids, asks), f"{symbol} at {sequence}"
    assert query(recorded, "gaps", cwd=tmp_path) == b""
    assert query(recorded, "rejects", cwd=tmp_path) == b""


def test_both_stores_answer_every_query_byte_for_byte_the_same(tmp_path: Path, mongo_url: str) -> None:
    sqlite_url = f"sqlite:///{tmp_path}/market.db"
    record_capture(sqlite_url, tmp_path)
    with (
        closing(open_store(sqlite_url, writable=False)) as source,
        closing(open_store(mongo_url, writable=True)) as target,
    ):
        for kind in KINDS:
            target.write(list(run_query(source, Query(kind=kind))))

    def answer(url: str, arguments: list[str]) -> bytes:
        done = CliRunner().invoke(app, ["query", *arguments, "--store", url], env=environment(tmp_path))
        assert done.exit_code == 0, done.stderr
        return done.stdout_bytes

    selections: list[list[str]] = [
        [], ["--since", "2022-05-13T16:27:08Z", "--until", "2022-05-13T16:27:12.5Z"], ["-s", "BTC-USDT"],
        ["-n", "7"], ["--tail", "5"], ["--count"], ["--source", "all"], ["-f", "csv"],
    ]  # fmt: skip
    for kind in KINDS:
        for selection in selections:
            assert answer(mongo_url, [kind, *selection]) == answer(sqlite_url, [kind, *selection]), (kind, selection)
    assert answer(sqlite_url, ["trades", "--count"]) == b"74\n"


def test_an_exchange_out_of_reach_is_one_line_and_a_clean_stop(tmp_path: Path) -> None:
    with OkxServer() as server:
        server.refuse_connections()
        with Recording(["--store", "sqlite:///m.db"], environment(tmp_path, server), tmp_path) as recording:
            recording.wait_for_line("cannot reach OKX")
            assert recording.stop(signal.SIGINT) == 0
        assert recording.said.count("cannot reach OKX") == 1


def test_a_recording_that_heard_nothing_is_exit_3(tmp_path: Path) -> None:
    with OkxServer() as server:
        server.refuse_connections()
        done = run(["record", "--store", "sqlite:///m.db", "--duration", "1s"], environment(tmp_path, server), tmp_path)

    assert done.returncode == 3
    assert done.stderr.decode().splitlines()[-1].startswith("cryptofeed: OKX: not one live frame was received (")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_flushes_reports_and_exits_0(tmp_path: Path, number: int) -> None:
    with OkxServer() as server, Recording(["BTC-USDT"], environment(tmp_path, server), tmp_path) as recording:
        server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT")

        assert recording.stop(number) == 0
        assert "recorded 0:0" in recording.said
    with closing(sqlite3.connect(tmp_path / "market.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


PATTERN = ("*-USDT", "--store", "sqlite:///m.db")


def test_a_pattern_waits_for_an_exchange_out_of_reach_says_so_once_and_is_recorded_then(tmp_path: Path) -> None:
    with OkxServer() as server:
        server.refuse_connections()
        with Recording(PATTERN, environment(tmp_path, server), tmp_path) as recording:
            recording.wait_for_line("will keep trying")
            server.refuse_connections(False)
            server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT")
            assert recording.stop() == 0
        assert recording.said.count("will keep trying") == 1


def test_a_pattern_that_waits_can_be_stopped(tmp_path: Path) -> None:
    with OkxServer() as server:
        server.refuse_connections()
        with Recording(PATTERN, environment(tmp_path, server), tmp_path) as recording:
            recording.wait_for_line("will keep trying")
            assert recording.stop() == 0
        assert recording.said.splitlines()[1:] == ["stopped before it was known which symbols to record"]


def test_a_pattern_that_waited_in_vain_is_exit_3(tmp_path: Path) -> None:
    with OkxServer() as server:
        server.refuse_connections()
        done = run(["record", *PATTERN, "--duration", "2s"], environment(tmp_path, server), tmp_path)

    assert done.returncode == 3
    waiting, last = done.stderr.decode().splitlines()
    assert "will keep trying" in waiting
    assert last.startswith("cryptofeed: ")
    assert "connection refused" in last


@pytest.mark.parametrize(
    ("loaded", "code"),
    [
        ("cryptofeed_cli.errors", 130), ("typer.main", 130), ("cryptofeed_cli.config", 130),
        ("requests", 0), ("cryptofeed_cli.session", 0), ("cryptofeed_cli.assembly", 0),
    ],
)  # fmt: skip
def test_ctrl_c_while_the_program_still_loads_ends_it_without_a_traceback(
    tmp_path: Path, loaded: str, code: int
) -> None:
    with OkxServer() as server:
        url = f"sqlite:///{tmp_path}/m.db"
        with subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "cryptofeed_cli", "record", "--store", url],
            env=environment(tmp_path, server), cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            for line in process.stderr:
                if line.rpartition("|")[2].strip() == loaded:
                    break
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()

    said = [line for line in rest.splitlines() if not line.startswith("import time:")]
    assert process.returncode == code, said
    assert (said == []) if code else (said[0].startswith("recorded 0:00"))


def test_a_symbol_that_does_not_exist_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    with (
        OkxServer() as server,
        Recording(["BTC-USDT", "NO-SUCH"], environment(tmp_path, server), tmp_path) as recording,
    ):
        recording.wait_for_line("OKX refused")
        server.push(*_trades("BTC-USDT", 3))
        url = f"sqlite:///{tmp_path}/market.db"
        wait_until(lambda: int(query(url, "--count", cwd=tmp_path)) == 3, "the trades of the other symbol")

        assert recording.stop() == 0
    assert "refused: NO-SUCH" in recording.said


def test_symbols_that_are_all_refused_are_exit_3(tmp_path: Path) -> None:
    with OkxServer() as server:
        done = run(["record", "NO-SUCH", "NOR-THIS"], environment(tmp_path, server), tmp_path)

    assert done.returncode == 3
    assert "cryptofeed: OKX refused every symbol: NO-SUCH (and 1 more)" in done.stderr.decode().splitlines()[-1]


def test_what_a_server_announces_as_simulated_never_reaches_an_ordinary_query(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/market.db"
    with (
        OkxServer(announced="simulated") as server,
        Recording(["BTC-USDT"], environment(tmp_path, server), tmp_path) as recording,
    ):
        server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT")
        server.push(*_trades("BTC-USDT", 3))
        wait_until(
            lambda: query(url, "--count", "--source", "simulated", cwd=tmp_path) == b"3\n", "three simulated trades"
        )
        assert recording.stop() == 0

    assert query(url, cwd=tmp_path) == b""
    assert query(url, "instruments", cwd=tmp_path) == b""
    simulated = [json.loads(line) for line in query(url, "--source", "all", cwd=tmp_path).splitlines()]
    assert [trade["source"] for trade in simulated] == ["simulated"] * 3


def test_the_configuration_in_force_is_printed_and_nothing_is_recorded(tmp_path: Path) -> None:
    env = environment(tmp_path, CRYPTOFEED_STORE_URL="mongodb://user:hunter2@db.example/market")
    done = run(["record", "ETH-USDT", "--dry-run"], env, tmp_path)

    assert done.returncode == 0
    assert b'symbols = ["ETH-USDT"]' in done.stdout
    assert b"hunter2" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"CRYPTOFEED_RECORD_SYMBOL": "BTC-USDT"}, 2, "did you mean"),
        ({"CRYPTOFEED_RECORD_REDUNDANCY": "many"}, 2, "CRYPTOFEED_RECORD_REDUNDANCY"),
        ({"CRYPTOFEED_STORE_FLUSH_INTERVAL": "soon"}, 2, "soon"),
        ({"CRYPTOFEED_OKX_REGION": "mars"}, 2, "global"),
        ({"CRYPTOFEED_NETWORK_PROXY": "socks6://127.0.0.1:9"}, 2, "network.proxy"),
        ({"CRYPTOFEED_STORE_URL": "sqlite:////proc/none/market.db"}, 4, "/proc/none"),
        ({"CRYPTOFEED_STORE_URL": "mongodb://:0"}, 4, "mongodb"),
        ({"CRYPTOFEED_STORE_URL": "postgres://host/db"}, 2, "sqlite"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code(
    tmp_path: Path, variables: dict[str, str], code: int, said: str
) -> None:
    done = run(["record", "--duration", "1s"], environment(tmp_path, **variables), tmp_path)

    assert done.returncode == code, done.stderr.decode()
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("cryptofeed: ")
    assert said in line


@pytest.mark.parametrize("command", [("record", "--duration", "1s"), ("query",), ("status",), ("-v", "query")])
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mongodb://127.0.0.1:1/x?foo=1", "127.0.0.1:1/x?foo=1: is malformed: Unknown option"),
        ("mongodb://user:hunter2@127.0.0.1:1/x?foo=1", "is malformed: percent-encode"),
        ("mongodb://user:hunter2@host:99999/x", "is malformed: percent-encode"),
        ("mongodb://user:hunter2@[::1/x", "is malformed: percent-encode"),
        ("mongodb://user:hunter2@/x", "is malformed: percent-encode"),
        ("mongodb://user:hunter2@host/a b", "must be a URL"),
        ("mongodb://user:x@hunter2@host/x", "is malformed: percent-encode"),
        ("mongodb://user:x/hunter2@host/x", "is malformed: percent-encode"),
        ("mongodb://user:x?hunter2@host/x", "is malformed: percent-encode"),
        ("mongodb://user:x hunter2@host/x", "must be a URL"),
        ("mongodb://user:x%hunter2@host/x", "is malformed: percent-encode"),
        ("mongodb://user:x:hunter2@host/x", "is malformed: percent-encode"),
        ("mongodb+srv://user:hunter2@host:27017/x", "is malformed: percent-encode"),
        ("mongodb://host/x?tlsCertificateKeyFilePassword=hunter2&foo=1", "is malformed: "),
        ("mongodb:/user:hunter2@host/x", "must be a URL"),
        ("mongo://user:hunter2@host/x", "must be a URL"),
        ("user:hunter2@host", "must be a URL"),
        ("sqlite://user:hunter2@host", "names no file"),
        ("sqlite:///x.db?password=hunter2", "takes no options"),
    ],
)  # fmt: skip
def test_of_a_malformed_store_the_reason_is_printed_and_never_the_password(
    tmp_path: Path, command: tuple[str, ...], url: str, why: str
) -> None:
    said = CliRunner().invoke(app, [*command, "--store", url], env=environment(tmp_path))

    assert said.exit_code in (2, 4)
    assert "hunter2" not in said.output
    last = said.stderr.splitlines()[-1]
    assert last.startswith("cryptofeed: ")
    assert why in last


def test_an_impossible_duration_is_exit_2(tmp_path: Path) -> None:
    done = run(["record", "--duration", "a while"], environment(tmp_path), tmp_path)

    assert (done.returncode, done.stderr.decode().count("\n")) == (2, 1)
    assert "'a while'" in done.stderr.decode()


def test_a_mongodb_that_is_away_is_said_in_one_line_and_recorded_for_all_the_same(tmp_path: Path) -> None:
    with OkxServer() as server:
        nobody = "mongodb://user:hunter2@127.0.0.1:9/market?serverSelectionTimeoutMS=300"
        arguments = ["record", "BTC-USDT", "--store", nobody, "--duration", "3s"]
        server.push(*_trades("BTC-USDT", 3))
        done = run(arguments, environment(tmp_path, server), tmp_path)
    said = done.stderr.decode()

    assert done.returncode in (0, 3), said  # 3 where the machine is too slow to hear anything in three seconds
    assert said.count("recording into the outbox until it answers") == 1
    assert "records wait in the outbox" in said
    assert "hunter2" not in said
    assert b"hunter2" not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


def test_a_store_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/market.db"
    open_store(url, writable=True).close()
    with closing(sqlite3.connect(tmp_path / "market.db")) as database:
        database.execute("PRAGMA user_version = 999")
        database.commit()
    before = (tmp_path / "market.db").read_bytes()

    done = run(["record", "--store", url, "--duration", "1s"], environment(tmp_path), tmp_path)

    assert (done.returncode, done.stderr.decode().count("\n")) == (4, 1)
    assert b"newer than this program's" in done.stderr
    assert (tmp_path / "market.db").read_bytes() == before


def _trades(symbol: str, count: int) -> list[Push]:
    return [
        Push(0.0, "trades", symbol, {
            "instId": symbol, "tradeId": str(1000 + number), "px": "100.5", "sz": "0.10", "side": "buy",
            "source": "0", "ts": str(1_795_000_000_000 + number),
        })
        for number in range(count)
    ]  # fmt: skip
