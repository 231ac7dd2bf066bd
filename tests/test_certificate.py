"""`status --certify`: a day of trades is proven by its ids and by the exchange's candles, or what is not is named."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cryptofeed_cli.clock import DAY, MILLISECOND, format_milliseconds
from cryptofeed_cli.stores import open_store
from cryptofeed_cli.types import Gap
from tests.okx_market import Market, Push, instrument
from tests.okx_server import OkxServer
from tests.processes import environment, run
from tests.stores.records import trade

START = (time.time_ns() // DAY - 1) * DAY // MILLISECOND
"""Yesterday's first millisecond."""
YESTERDAY = format_milliseconds(START)[:10]
IDS = range(1000, 1300)


def at(number: int) -> int:
    """Return when a trade was: one every four minutes or so, and none at the edges of the day."""
    return START + (number - 999) * 250_000


@pytest.fixture
def server() -> OkxServer:
    """An exchange with trades yesterday."""
    with OkxServer(Market([instrument("BTC-USDT")])) as server:
        rows = (
            {"instId": "BTC-USDT", "tradeId": str(n), "px": "1", "sz": "0.1", "side": "buy", "ts": str(at(n))}
            for n in IDS
        )
        server.push(*(Push(0.0, "trades", "BTC-USDT", row) for row in rows))
        yield server


@pytest.fixture(params=["sqlite", "mongodb"])
def certify(request: pytest.FixtureRequest, tmp_path: Path, server: OkxServer) -> Callable[..., tuple[int, str, str]]:
    """Certifies a day of a store; returns exit code, output and what was said."""
    url = f"sqlite:///{tmp_path}/m.db" if request.param == "sqlite" else request.getfixturevalue("mongo_url")

    def call(records: Sequence[Any], *arguments: str, day: str = YESTERDAY) -> tuple[int, str, str]:
        with closing(open_store(url, writable=True)) as store:
            store.write(records)
        flags = ["status", "--certify", day, "--store", url, *arguments]
        done = run(flags, environment(tmp_path, server), tmp_path)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return call


def trades(without: Sequence[int] = (), **changes: Any) -> list[Any]:
    return [trade(n, at(n), size="0.1", **changes) for n in IDS if n not in without]


def test_a_whole_day_is_proven(certify: Callable[..., tuple[int, str, str]]) -> None:
    code, out, said = certify(trades())

    assert (code, said) == (0, "")
    assert out == (
        "BTC-USDT  proven  300 trades, ids 1000 to 1299; 1,440 minutes equal the exchange's candles\n"
    )


def test_a_missing_id_is_named_with_its_minute(certify: Callable[..., tuple[int, str, str]]) -> None:
    code, out, said = certify(trades(without=[1100, 1101]))
    minutes = [format_milliseconds(at(n))[11:16] for n in (1100, 1101)]

    assert code == 6
    assert said == f"cryptofeed: {YESTERDAY} is not proven: BTC-USDT\n"
    assert out.splitlines()[1:] == [
        "    missing ids: 1100..1101",
        "    minutes whose volume differs: "
        + ", ".join(f"{minute} (stored 0, exchange 0.1)" for minute in minutes),
    ]


@pytest.mark.parametrize("number", [IDS[0], IDS[-1]], ids=["first", "last"])
def test_the_candles_prove_the_edges_that_ids_cannot(
    certify: Callable[..., tuple[int, str, str]], number: int
) -> None:
    code, out, _ = certify(trades(without=[number]))

    assert code == 6
    assert "missing ids" not in out
    assert f"{format_milliseconds(at(number))[11:16]} (stored 0, exchange 0.1)" in out


def test_a_trade_too_much_is_found_by_the_candles(certify: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = certify([*trades(), trade(1300, at(1299), size="0.5")])

    assert code == 6
    assert "(stored 0.6, exchange 0.1)" in out


def test_simulated_trades_prove_nothing(certify: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = certify([*trades(without=[1100]), trade(1100, at(1100), source="simulated", run_id="r", episode=1)])

    assert code == 6
    assert "missing ids: 1100\n" in out


def test_ids_that_the_exchange_lacks_too_are_a_note(
    certify: Callable[..., tuple[int, str, str]], server: OkxServer
) -> None:
    server.market.trades["BTC-USDT"] = [row for row in server.market.trades["BTC-USDT"] if row["tradeId"] != "1100"]
    gap = Gap(
        "g", "r", "OKX", "BTC-USDT", "trades", "trade_ids", "venue", at(1099), at(1101), "1100", "1100", 1, 0,
        "absent_at_source", "", 1, 1,
    )  # fmt: skip
    code, out, _ = certify([*trades(without=[1100]), gap])

    assert code == 0
    assert out.splitlines()[1:] == ["    ids that the exchange lacks too: 1100"]


def test_a_day_of_which_something_was_pruned_is_told_apart_from_a_loss(
    certify: Callable[..., tuple[int, str, str]],
) -> None:
    end = at(IDS[10])
    pruned = Gap(
        "g", "", "OKX", "BTC-USDT", "trades", "pruned", "us", START - 1, end, None, None, None, 0, "unrecoverable",
        "", 1, 1,
    )  # fmt: skip
    code, printed, _ = certify([*trades(without=IDS[:10]), pruned])

    assert code == 6
    assert f"removed on purpose up to {format_milliseconds(end)}" in printed


def test_an_exchange_that_cannot_be_asked_is_exit_3_and_the_ids_are_told(
    certify: Callable[..., tuple[int, str, str]], server: OkxServer
) -> None:
    server.stop()
    code, out, said = certify(trades(without=[1100]))

    assert code == 3
    assert "connection refused" in said
    assert out.splitlines()[1:] == [
        "    missing ids: 1100", "    the exchange could not be asked for its candles"
    ]  # fmt: skip


def test_the_certificate_is_data_on_request(certify: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = certify(trades(), "--json")

    assert json.loads(out) == [
        {
            "symbol": "BTC-USDT", "proven": True, "trades": 300, "first_id": "1000", "last_id": "1299",
            "minutes": 1440, "problems": [], "notes": [],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("day", "said"),
    [
        ("now", "'now' is not a day; write it like 2026-11-22 (UTC)"),
        (format_milliseconds(time.time_ns() // MILLISECOND)[:10], "is not over yet (UTC)"),
        ("yesterday", "yesterday"),
    ],
)
def test_only_a_day_that_is_over_can_be_certified(
    certify: Callable[..., tuple[int, str, str]], day: str, said: str
) -> None:
    code, out, err = certify([], day=day)

    assert (code, out) == (2, "")
    assert said in err


def test_a_store_without_trades_proves_nothing(certify: Callable[..., tuple[int, str, str]]) -> None:
    code, out, said = certify([])

    assert (code, out) == (6, "")
    assert "the store holds no trades" in said
