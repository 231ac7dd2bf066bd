"""``simulate`` as a user has it: real processes, to stdout, into a store, and as a server that ``record`` records."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from cryptofeed_cli import queries
from cryptofeed_cli.clock import parse_time
from cryptofeed_cli.errors import StoreUnreachable
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import KINDS, Source
from tests.processes import COMMAND, PATIENCE, Recording, Serving, environment, query, run, wait_until

FIXED = ("--seed", "7", "--start", "2026-11-22", "--speed", "0")
SIMULATED: frozenset[Source] = frozenset({"simulated"})
CHANNELS = "trades,tickers,orderbooks,book_updates"


def simulated(*arguments: str, cwd: Path, **variables: str) -> bytes:
    """Return what ``simulate`` prints; it must succeed."""
    done = run(["-q", "simulate", *arguments], environment(cwd, **variables), cwd)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def stored(store: str, kind: str, sources: frozenset[Source] = queries.REAL) -> list[Any]:
    """Return what a store holds; nothing where it is only being made."""
    try:
        opened = open_store(store, writable=False)
    except StoreUnreachable:
        return []
    with closing(opened):
        return list(queries.run(opened, queries.Query(kind, sources=sources)))


def test_one_seed_and_start_are_the_same_bytes_in_two_processes(tmp_path: Path) -> None:
    arguments = ("BTC-USDT-SWAP", "ETH-USDT", *FIXED, "--duration", "20s", "--channels", CHANNELS)
    one, other = (simulated(*arguments, cwd=tmp_path, PYTHONHASHSEED=hash_seed) for hash_seed in ("1", "2"))

    assert one == other
    assert len(one.splitlines()) > 1000


def test_what_is_printed_is_the_same_at_any_speed(tmp_path: Path) -> None:
    arguments = ("BTC-USDT", "--seed", "7", "--start", "2026-11-22", "--duration", "2s")

    assert simulated(*arguments, "--speed", "20", cwd=tmp_path) == simulated(*arguments, "--speed", "0", cwd=tmp_path)


def test_records_are_those_of_the_contract_and_say_that_they_are_simulated(tmp_path: Path) -> None:
    lines = simulated(*FIXED, "--duration", "5s", cwd=tmp_path).splitlines()
    records = [json.loads(line) for line in lines]

    assert {one["source"] for one in records} == {"simulated"}
    assert {one["symbol"] for one in records} == {"BTC-USDT-SWAP"}
    assert {tuple(one)[5] for one in records} == {"trade_id", "last", "sequence"}  # trades, tickers, order books
    times = [parse_time(one["timestamp"], 0) for one in records]
    begin = parse_time("2026-11-22", 0)
    assert begin <= min(times) < max(times) <= begin + 5 * 10**9


def test_frames_are_those_of_the_exchange(tmp_path: Path) -> None:
    lines = simulated(*FIXED, "--duration", "5s", "--format", "okx", "--channels", "trades", cwd=tmp_path).splitlines()

    assert len(lines) > 50
    assert {type(Okx().parse(line, 0, "simulated")).__name__ for line in lines} == {"Trades"}


def test_a_store_keeps_it_apart_and_the_same_again_once(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/m.db"
    arguments = (*FIXED, "--duration", "10s", "--store", store)
    assert simulated(*arguments, cwd=tmp_path) == b""
    first = stored(store, "trades", SIMULATED)
    assert simulated(*arguments, cwd=tmp_path) == b""

    assert stored(store, "trades", SIMULATED) == first
    assert len(first) > 100
    assert [kind for kind in KINDS if stored(store, kind)] == []


def test_more_orders_come_at_a_higher_rate(tmp_path: Path) -> None:
    slow, fast = (
        len(simulated(*FIXED, "--duration", "20s", "--rate", rate, "--channels", "trades", cwd=tmp_path).splitlines())
        for rate in ("50", "500")
    )

    assert 3 * slow < fast


def test_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "simulate"], env=environment(tmp_path), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert b'"source":"simulated"' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert all(json.loads(line)["source"] == "simulated" for line in out.splitlines())
    assert b"simulated" in err.splitlines()[-1]


def test_whoever_has_read_enough_ends_it_quietly(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "-q", "simulate", "--speed", "0"], env=environment(tmp_path), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["BTC"], "'BTC' cannot be simulated; write a pair"),
        (["--faults", "gap/1m"], "did you mean 'gaps'?"),
        (["--duration", "soon"], "'soon' is not a duration"),
        (["--start", "2026-11-22T10:00:00"], "has no UTC offset"),
        (["--store", "sqlite:///m.db", "--format", "okx"], "--store and --format exclude each other"),
        (["--serve", "0", "--speed", "0"], "--serve needs a --speed above 0"),
        (["--serve", "somewhere"], "'somewhere' is no address"),
        (["--rate", "1000000"], "--rate 1000000 is too much; at most"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(["simulate", *arguments], environment(tmp_path), tmp_path)

    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "m.db").exists()


# As a server


def test_a_recorder_records_it_and_labels_everything(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/m.db"
    with (
        Serving("BTC-USDT-SWAP", "ETH-USDT", "--rate", "400", cwd=tmp_path) as server,
        Recording(
            ["BTC-USDT-SWAP", "ETH-USDT", "--channels", CHANNELS, "--store", store],
            environment(tmp_path, **server.variables), tmp_path,
        ) as recording,
    ):  # fmt: skip
        wait_until(
            lambda: len(stored(store, "orderbooks", SIMULATED)) >= 6, "simulated order books"
        )
        assert recording.stop() == 0
        assert "this server announces simulated data" in recording.said
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0

    assert query(store, "trades", cwd=tmp_path) == b""
    assert [kind for kind in KINDS if stored(store, kind)] == ["runs"]
    assert [kind for kind in KINDS if stored(store, kind, SIMULATED)] == ["trades", "tickers", "orderbooks",
        "book_updates", "instruments", "runs"]  # fmt: skip
    for symbol in ("BTC-USDT-SWAP", "ETH-USDT"):
        ids = [int(one.trade_id) for one in stored(store, "trades", SIMULATED) if one.symbol == symbol]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_it_announces_itself_on_rest_and_answers_there(tmp_path: Path) -> None:
    with Serving("BTC-USDT", cwd=tmp_path) as server:
        request = Request(f"{server.rest_url}/api/v5/market/books?instId=BTC-USDT&sz=5")  # noqa: S310
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            assert answer.headers["X-Cryptofeed-Source"] == "simulated"
            (book,) = json.load(answer)["data"]
        with pytest.raises(HTTPError) as caught:
            urlopen(f"{server.rest_url}/api/v5/account/balance", timeout=PATIENCE)  # noqa: S310
        assert caught.value.code == 404
        caught.value.close()

    assert len(book["bids"]) == len(book["asks"]) == 5
    assert server.rest_url.startswith("http://127.0.0.1:")


def test_a_recorder_survives_what_it_does_on_request(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/m.db"
    arguments = ("BTC-USDT", "--rate", "200", "--faults", "disconnects/2s:500ms,malformed/1s,gaps/1s")
    variables = {"CRYPTOFEED_NETWORK_RETRY_INITIAL": "100ms"}
    with (
        Serving(*arguments, cwd=tmp_path) as server,
        Recording(
            ["BTC-USDT", "--store", store], environment(tmp_path, **server.variables, **variables), tmp_path
        ) as recording,
    ):
        recording.wait_for_line("lost OKX")
        wait_until(lambda: recording.said.count("connected to OKX business") >= 3, "two reconnects")
        wait_until(lambda: stored(store, "rejects"), "a frame that cannot be understood")
        assert recording.stop() == 0
        assert "fault: disconnects" in server.said
        assert "Traceback" not in server.said

    assert stored(store, "trades") == []


def test_a_port_in_use_is_said_so(tmp_path: Path) -> None:
    with Serving("BTC-USDT", cwd=tmp_path) as server:
        port = server.rest_url.rpartition(":")[2]
        done = run(["simulate", "--serve", port], environment(tmp_path), tmp_path)

    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: " in done.stderr.decode()
