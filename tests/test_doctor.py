"""`doctor`: every step is looked at, what fails is named with its cure, and nothing is left behind."""

from __future__ import annotations

import json
import random
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pymongo import MongoClient

from cryptofeed_cli.clock import SystemClock
from cryptofeed_cli.config import load
from cryptofeed_cli.doctor import NAMES, Check, Verdict, examine
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.stores.places import places
from cryptofeed_cli.stores.recorder_outbox import open_outbox
from tests.certificates import Authority
from tests.okx_market import generate
from tests.okx_server import SYMBOLS, OkxServer
from tests.processes import environment, run
from tests.proxies import MoodyProxy, RealProxy, say
from tests.stores.records import trade

TIME = "/api/v5/public/time"
HTML = b"<html>Access denied</html>"


@contextmanager
def exchange(tls: ssl.SSLContext | None = None) -> Iterator[OkxServer]:
    """A server in whose market something has happened."""
    with OkxServer(tls=tls) as server:
        server.play(generate(SYMBOLS, 100, random.Random(1), time.time_ns() // 10**6)).result(60)
        yield server


def look(home: Path, server: OkxServer | None = None, **variables: str) -> dict[str, Check]:
    """Run every check, and return them by name."""
    fast = {"CRYPTOFEED_NETWORK_CONNECT_TIMEOUT": "2s", **variables}
    env = {name: value for name, value in environment(home, server, **fast).items() if name.startswith("CRYPTOFEED_")}
    shown: list[Check] = []
    checks = examine(lambda: load(None, env), SystemClock(), shown.append)
    assert shown == checks
    assert tuple(check.name for check in checks) == NAMES
    assert [check.number for check in checks] == list(range(1, 15))
    return {check.name: check for check in checks}


def verdicts(checks: dict[str, Check], verdict: Verdict) -> list[str]:
    return [check.name for check in checks.values() if check.verdict is verdict]


def test_where_everything_works_everything_passes_and_nothing_is_left(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    with exchange(authority.issue()) as server:
        checks = look(
            home, server, CRYPTOFEED_NETWORK_CA_FILE=str(authority.certificate), CRYPTOFEED_STORE_OUTBOX_MAX="1B"
        )

    assert verdicts(checks, Verdict.PASS) == list(NAMES)
    assert all(check.cure is None for check in checks.values())
    certificate = "127.0.0.1: TLSv1.3, certificate by cryptofeed tests authority, good until 20"
    assert checks["TLS"].detail.startswith(certificate)
    assert checks["subscription"].detail.count(" of BTC-USDT-SWAP") == 3
    assert list(home.iterdir()) == []


def test_a_server_out_of_reach_fails_step_by_step_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    with exchange() as server:
        server.refuse_connections()
        checks = look(tmp_path, server)

    assert verdicts(checks, Verdict.FAIL) == ["TCP", "WebSocket upgrade", "REST"]
    assert checks["TCP"].detail == f"cannot connect to 127.0.0.1:{server.port}: connection refused"
    assert checks["TLS"].detail == "needs 4 (TCP)"
    assert checks["WebSocket upgrade"].cure == "see name resolution, TCP and TLS above"
    assert (checks["first frame"].verdict, checks["first frame"].detail) == (Verdict.SKIPPED, "needs 7 (subscription)")
    assert {"store", "free disk", "outbox"}.isdisjoint(verdicts(checks, Verdict.SKIPPED))


def test_a_certificate_that_expired_fails_with_the_clock_in_mind(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.issue(valid_from=timedelta(days=-2), valid_for=timedelta(days=1))
    with OkxServer(tls=context) as server:
        checks = look(tmp_path, server, CRYPTOFEED_NETWORK_CA_FILE=str(authority.certificate))

    assert verdicts(checks, Verdict.FAIL) == ["TLS", "WebSocket upgrade", "REST"]
    assert "has expired; is this machine's clock right?" in checks["TLS"].detail


def test_a_spare_host_out_of_reach_is_a_warning(tmp_path: Path) -> None:
    with exchange() as server, OkxServer() as absent:
        absent.refuse_connections()
        checks = look(tmp_path, server, CRYPTOFEED_OKX_REST_URL=f"{server.rest_url},{absent.rest_url}")

    assert (checks["TCP"].verdict, verdicts(checks, Verdict.FAIL)) == (Verdict.WARN, [])
    assert checks["TCP"].detail.startswith(f"cannot connect to 127.0.0.1:{absent.port}")


def test_the_next_host_is_asked_where_the_first_does_not_answer(tmp_path: Path) -> None:
    with exchange() as server, OkxServer() as absent:
        absent.refuse_connections()
        url = f"{absent.public_url},{server.public_url}"
        checks = look(tmp_path, server, CRYPTOFEED_OKX_PUBLIC_URL=url, CRYPTOFEED_NETWORK_RETRY_MAX="100ms")

    assert checks["TCP"].verdict is Verdict.FAIL


def test_a_symbol_that_does_not_exist_fails_at_its_subscription(tmp_path: Path) -> None:
    with exchange() as server:
        checks = look(tmp_path, server, CRYPTOFEED_RECORD_SYMBOLS="NO-SUCH")

    assert verdicts(checks, Verdict.FAIL) == ["subscription"]
    assert checks["subscription"].detail.startswith("refused: ")
    assert checks["first frame"].detail == "needs 7 (subscription)"


@pytest.mark.parametrize(("channels", "verdict"), [("trades", Verdict.WARN), ("trades,tickers", Verdict.FAIL)])
def test_silence_after_the_acknowledgement_is_told(tmp_path: Path, channels: str, verdict: Verdict) -> None:
    with exchange() as server:
        for channel in ("tickers", "trades-all"):
            server.silence(channel=channel)
        checks = look(tmp_path, server, CRYPTOFEED_RECORD_CHANNELS=channels)

    assert (checks["first frame"].verdict, checks["first frame"].detail) == (verdict, "none in 2s")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, HTML, "global: refused by what stands before the exchange, probably for where we are (HTTP 403)"),
        (451, b"", "global: refused for legal reasons where we are (HTTP 451)"),
        (
            200,
            b'{"code":"50051","msg":"This is not available in your country","data":[]}',
            "global: refused for where we are (error 50051: This is not available in your country)",
        ),
    ],
)
def test_a_block_is_recognised_by_its_answer(tmp_path: Path, status: int, body: bytes, words: str) -> None:
    with exchange() as server:
        server.answer_rest(TIME, status, body)
        checks = look(tmp_path, server)

    assert verdicts(checks, Verdict.FAIL) == ["REST", "region"]
    assert checks["region"].detail == words
    assert "okx.region" in str(checks["region"].cure)


def test_a_block_of_the_upgrade_is_recognised_too(tmp_path: Path) -> None:
    with MoodyProxy() as wall:
        wall.answer = say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        url = f"127.0.0.1:{wall.port}"
        checks = look(
            tmp_path, CRYPTOFEED_OKX_PUBLIC_URL=f"ws://{url}", CRYPTOFEED_OKX_BUSINESS_URL=f"ws://{url}",
            CRYPTOFEED_OKX_REST_URL=f"http://{url}",
        )  # fmt: skip

    assert verdicts(checks, Verdict.FAIL) == ["WebSocket upgrade", "REST", "region"]
    assert checks["WebSocket upgrade"].detail.count("HTTP 403 instead of an upgrade") == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"code":"0","msg":"","data":[]}'),
        (429, b'{"code":"50011","msg":"Too Many Requests"}'),
        (503, HTML),
        (403, b'{"code":"50026","msg":"System error"}'),
    ],
)
def test_an_ordinary_error_is_no_block(status: int, body: bytes) -> None:
    assert Okx().blocked(status, body) is None


@pytest.mark.parametrize(("ahead", "verdict"), [(5_000, Verdict.WARN), (-60_000, Verdict.FAIL)])
def test_a_wrong_clock_is_told(tmp_path: Path, ahead: int, verdict: Verdict) -> None:
    with exchange() as server:
        told = SystemClock().now() // 10**6 + ahead
        server.answer_rest(TIME, 200, json.dumps({"code": "0", "msg": "", "data": [{"ts": str(told)}]}).encode())
        checks = look(tmp_path, server)

    assert checks["clock"].verdict is verdict
    assert checks["clock"].cure is not None


def test_a_missing_interface_fails_and_nothing_is_tried_another_way(tmp_path: Path) -> None:
    with exchange() as server:
        checks = look(tmp_path, server, CRYPTOFEED_NETWORK_INTERFACE="nosuch0")
        assert [seen.kind for seen in server.seen] == ["listening"]

    assert checks["route"].detail.startswith("interface nosuch0 is missing; directly, over interface nosuch0")
    assert checks["TCP"].detail == "needs 2 (route)"


def test_a_proxy_is_gone_through_and_a_wrong_password_is_told_without_showing_it(tmp_path: Path) -> None:
    with RealProxy(("jane", "right")) as proxy, exchange() as server:
        checks = look(tmp_path, server, CRYPTOFEED_NETWORK_PROXY=proxy.url("http"))
        assert verdicts(checks, Verdict.FAIL) == []
        assert checks["name resolution"].detail == "127.0.0.1: left to the proxy"

        checks = look(tmp_path, server, CRYPTOFEED_NETWORK_PROXY=proxy.url("http", "hunter2"))
    assert verdicts(checks, Verdict.FAIL) == ["TCP", "WebSocket upgrade", "REST"]
    assert "refuses this user and password; correct them in its URL" in checks["TCP"].detail
    assert "hunter2" not in repr(checks)


def test_a_store_in_a_directory_that_does_not_exist_fails(tmp_path: Path) -> None:
    with exchange() as server:
        checks = look(tmp_path, server, CRYPTOFEED_STORE_URL=f"sqlite:///{tmp_path}/none/market.db")

    assert verdicts(checks, Verdict.FAIL) == ["store"]
    assert f"the directory {tmp_path}/none does not exist; create it first" in checks["store"].detail


def test_a_mongodb_is_asked_and_nothing_is_written(tmp_path: Path, mongo_url: str) -> None:
    with exchange() as server:
        checks = look(tmp_path, server, CRYPTOFEED_STORE_URL=mongo_url)
        assert checks["store"].verdict is Verdict.PASS
        assert "may be written, MongoDB 6." in checks["store"].detail
        with MongoClient(mongo_url) as client:
            assert mongo_url.rpartition("/")[2] not in client.list_database_names()

        server.refuse_connections()
        nobody = f"mongodb://jane:hunter2@127.0.0.1:{server.port}/market?serverSelectionTimeoutMS=300"
        checks = look(tmp_path, server, CRYPTOFEED_STORE_URL=nobody)
    assert checks["store"].verdict is Verdict.FAIL
    assert "does not answer" in checks["store"].detail
    assert "hunter2" not in repr(checks)


def test_a_full_disk_fails_and_a_fuller_one_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    with exchange() as server:
        for free, verdict in ((50 << 20, Verdict.FAIL), (1 << 30, Verdict.WARN), (20 << 30, Verdict.PASS)):
            monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
            assert look(tmp_path, server)["free disk"].verdict is verdict


def test_what_waits_in_the_outbox_is_told(tmp_path: Path) -> None:
    with closing(open_outbox(places(tmp_path, "desk"), "tests", 1 << 30)) as outbox:
        outbox.append([trade(1), trade(2)], recorded_at=1_795_003_200 * 10**9)
    with exchange() as server:
        checks = look(tmp_path, server)

    assert checks["outbox"].verdict is Verdict.WARN
    assert checks["outbox"].detail.startswith("2 records (")
    assert f"in {tmp_path}/desk.outbox since 2026-11-18T12:00:00" in checks["outbox"].detail


def test_an_outbox_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "desk.outbox").write_bytes(b"no database " * 1000)
    with exchange() as server:
        checks = look(tmp_path, server)

    assert checks["outbox"].verdict is Verdict.WARN
    assert checks["outbox"].detail.startswith(f"{tmp_path}/desk.outbox: ")


def test_an_impossible_configuration_is_the_first_failure_and_the_last_check(tmp_path: Path) -> None:
    checks = look(tmp_path, CRYPTOFEED_OKX_REGION="mars")

    assert verdicts(checks, Verdict.FAIL) == ["configuration"]
    assert verdicts(checks, Verdict.SKIPPED) == list(NAMES[1:])
    assert "must be one of global, eea, us, demo" in checks["configuration"].detail


def test_the_port_that_was_switched_off_is_a_warning(tmp_path: Path) -> None:
    url = "ws://127.0.0.1:8443/ws/v5/public"
    checks = look(tmp_path, CRYPTOFEED_OKX_PUBLIC_URL=url, CRYPTOFEED_OKX_BUSINESS_URL=url,
                  CRYPTOFEED_OKX_REST_URL="http://127.0.0.1:8443")  # fmt: skip

    assert checks["configuration"].verdict is Verdict.WARN
    assert "port 8443 is switched off since 2026-10-31" in checks["configuration"].detail


@pytest.mark.parametrize(("reachable", "code"), [(True, 0), (False, 5)])
def test_the_command_prints_what_it_found_for_people_and_for_programs(
    tmp_path: Path, reachable: bool, code: int
) -> None:
    with exchange() as server:
        server.refuse_connections(not reachable)
        env = environment(tmp_path, server, CRYPTOFEED_NETWORK_CONNECT_TIMEOUT="2s")
        plain, machine = run(["doctor", "BTC-USDT"], env, tmp_path), run(["doctor", "--json"], env, tmp_path)

    assert (plain.returncode, machine.returncode) == (code, code)
    lines = plain.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines if "->" not in line] == [str(number) for number in range(1, 15)]
    assert plain.stderr.decode().count("\n") == (0 if reachable else 1)
    found = json.loads(machine.stdout)
    assert found["healthy"] == reachable
    assert list(found["checks"][0]) == ["number", "name", "verdict", "detail", "cure", "milliseconds"]


