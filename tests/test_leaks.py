"""Nothing leaves by another way than the chosen one: real processes, two real routes, and the kernel's counters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fills import fills, gaps, stored
from tests.name_server import NameServer
from tests.namespaces import EXCHANGE, GATEWAY, Lab
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, run, wait_until
from tests.proxies import RealProxy

NAME = "ws.okx.test"
HOSTILE = {"ALL_PROXY": "http://10.77.2.1:1", "HTTPS_PROXY": "http://10.77.2.1:1", "NO_PROXY": "*"}


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two ways out."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def server(lab: Lab) -> Iterator[OkxServer]:
    """The exchange, at the far end of both."""
    with lab.inside("far"):
        server = OkxServer(host=EXCHANGE)
    with server:
        yield server


@pytest.fixture
def names(lab: Lab) -> Iterator[NameServer]:
    """The name server, at the far end of both."""
    with lab.inside("far"):
        server = NameServer({NAME: [EXCHANGE]}, EXCHANGE, 53)
    with server:
        yield server


def by_name(home: Path, server: OkxServer, **variables: str) -> dict[str, str]:
    """An environment in which the exchange is given by its name."""
    urls = {
        f"CRYPTOFEED_OKX_{key}_URL": url.replace(EXCHANGE, NAME)
        for key, url in (
            ("PUBLIC", server.public_url), ("BUSINESS", server.business_url), ("REST", server.rest_url),
        )
    }  # fmt: skip
    fast = {
        "CRYPTOFEED_OKX_PING_INTERVAL": "1s", "CRYPTOFEED_NETWORK_CONNECT_TIMEOUT": "3s",
        "CRYPTOFEED_NETWORK_RETRY_MAX": "1s",
    }  # fmt: skip
    return environment(home, server, **{**urls, **fast, **HOSTILE, **variables})


def record(lab: Lab, home: Path, env: dict[str, str], *options: str) -> Recording:
    with lab.inside("home"):
        return Recording(["BTC-USDT", "--channels", "trades", *options], env, home)


def push_and_wait(server: OkxServer, home: Path, first: int, count: int, since: int = 0) -> None:
    """Wait for a subscription, let trades happen, and wait until all up to them are stored."""
    server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT", since=since)
    server.push(*fills(first, count))
    wait_until(lambda: stored(home) == first + count - 1, "every trade in the store")


def test_without_a_wish_everything_takes_the_other_way(lab: Lab, server: OkxServer, tmp_path: Path) -> None:
    """So the counters of the following tests count what they should."""
    before = lab.sent("wan0"), lab.sent("vpn0")
    with record(lab, tmp_path, environment(tmp_path, server)) as recording:
        push_and_wait(server, tmp_path, 1, 3)
        assert recording.stop() == 0
    assert lab.sent("wan0") > before[0]
    assert lab.sent("vpn0") == before[1]


def test_with_an_interface_nothing_leaves_by_the_other_way(
    lab: Lab, server: OkxServer, names: NameServer, tmp_path: Path
) -> None:
    before = lab.sent("wan0")
    env = by_name(tmp_path, server, CRYPTOFEED_NETWORK_DNS=EXCHANGE)
    with record(lab, tmp_path, env, "--interface", "vpn0") as recording:
        push_and_wait(server, tmp_path, 1, 3)
        seen = len(server.seen)
        lab.vpn_down()
        recording.wait_for_line("cannot reach OKX business")
        server.push(*fills(4, 5))
        lab.vpn_up()
        push_and_wait(server, tmp_path, 9, 2, since=seen)
        asked = len(names.asked)
        names.silent = True
        seen = len(server.seen)
        server.drop()
        wait_until(lambda: len(names.asked) > asked + 2, "questions that are not answered")
        names.silent = False
        push_and_wait(server, tmp_path, 11, 2, since=seen)
        assert recording.stop() == 0
    assert lab.sent("wan0") == before
    assert (NAME, "A") in names.asked
    first, *_ = gaps(tmp_path)
    assert (first["kind"], first["fault"], first["status"]) == ("disconnect", "network", "filled")
    assert str(first["reason"]).endswith("interface vpn0 is down")
    assert "cannot reach OKX business: cannot connect to" in recording.said
    assert "interface vpn0 is down; will keep trying" in recording.said


def test_an_interface_that_is_missing_is_waited_for(lab: Lab, server: OkxServer, tmp_path: Path) -> None:
    before = lab.sent("wan0")
    env = environment(tmp_path, server, **HOSTILE, CRYPTOFEED_NETWORK_RETRY_MAX="1s")
    with record(lab, tmp_path, env, "--interface", "late0") as recording:
        recording.wait_for_line("interface late0 is missing; will keep trying")
        lab.vpn_down()
        lab.vpn_up("late0")
        push_and_wait(server, tmp_path, 1, 3)
        assert recording.stop() == 0
    assert lab.sent("wan0") == before


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_with_a_proxy_nothing_leaves_by_the_other_way(
    lab: Lab, server: OkxServer, tmp_path: Path, scheme: str
) -> None:
    before = lab.sent("wan0")
    with lab.inside("far"):
        proxy = RealProxy(host=GATEWAY, hosts={NAME: EXCHANGE})
    with proxy, record(lab, tmp_path, by_name(tmp_path, server), "--proxy", proxy.url(scheme)) as recording:
        push_and_wait(server, tmp_path, 1, 3)
        seen = len(server.seen)
        proxy.kill()
        recording.wait_for_line("cannot reach OKX business")
        server.push(*fills(4, 5))
        with lab.inside("far"):
            proxy.start()
        push_and_wait(server, tmp_path, 9, 2, since=seen)
        assert recording.stop() == 0
    assert lab.sent("wan0") == before
    assert f"the proxy {scheme}://{GATEWAY}:{proxy.port} cannot be reached: connection refused" in recording.said


def test_an_interface_without_a_way_to_resolve_names_over_it_is_exit_2(
    lab: Lab, server: OkxServer, tmp_path: Path
) -> None:
    before = lab.sent("wan0")
    with lab.inside("home"):
        done = run(
            ["record", "--interface", "vpn0", "--duration", "1s"], by_name(tmp_path, server), tmp_path
        )
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("cryptofeed: --interface: network.interface = vpn0: no name (ws.okx.test) can be resolved")
    assert lab.sent("wan0") == before


def test_a_source_address_does_not_stop_leaks_and_says_so(lab: Lab, server: OkxServer, tmp_path: Path) -> None:
    before = lab.sent("wan0")
    env = environment(tmp_path, server, CRYPTOFEED_NETWORK_INTERFACE="10.77.1.2")
    with record(lab, tmp_path, env) as recording:
        push_and_wait(server, tmp_path, 1, 3)
        assert recording.stop() == 0
    assert "from source address 10.77.1.2 (which does not stop leaks" in recording.said
    assert lab.sent("wan0") > before


def test_doctor_takes_no_other_way_either(lab: Lab, server: OkxServer, names: NameServer, tmp_path: Path) -> None:
    before = lab.sent("wan0")
    env = by_name(tmp_path, server, CRYPTOFEED_NETWORK_DNS=EXCHANGE, CRYPTOFEED_RECORD_CHANNELS="trades")
    with lab.inside("home"):
        up = run(["doctor", "BTC-USDT", "--interface", "vpn0", "--json"], env, tmp_path)
        lab.vpn_down()
        down = run(["doctor", "BTC-USDT", "--interface", "vpn0", "--json"], env, tmp_path)
    checks = {check["name"]: check for check in json.loads(up.stdout)["checks"]}
    assert up.returncode == 0, up.stdout.decode()
    assert checks["name resolution"]["detail"] == (
        f"{NAME}: {EXCHANGE}, by name server {EXCHANGE} over interface vpn0"
    )
    checks = {check["name"]: check for check in json.loads(down.stdout)["checks"]}
    assert (down.returncode, checks["route"]["verdict"], checks["TCP"]["verdict"]) == (5, "fail", "skipped")
    assert lab.sent("wan0") == before
